%%% @doc HTTPS as ejabberd's HTTP handlers see it, which write links by it.
%%%
%%% ejabberd_http takes what comes by fast_tls for HTTPS and all else for HTTP. The TLS of our clients ends in the
%%% ECM. So where a client came by TLS each handler stands behind this module, which says so in the request. It
%%% comes after all other functions of the hook, those of modules that add handlers of their own.
-module(megaphone_https).

-export([add_hook/0, request_handlers/3, socket_handoff/3]).

%% Behind all others.
-define(SEQUENCE, 1000).

%% @doc Asks ejabberd to ask this module.
-spec add_hook() -> ok | {error, not_running}.
add_hook() ->
    megaphone_ejabberd:add_hook(http_request_handlers, {?MODULE, request_handlers}, ?SEQUENCE).

%% @doc The handlers for a request.
-spec request_handlers([megaphone_ejabberd:request_handler()], Host :: binary(), Request :: tuple()) ->
          [megaphone_ejabberd:request_handler()].
request_handlers(Handlers, _Host, Request) ->
    case megaphone_ejabberd:request_socket(Request) of
        {ok, {'$inet', megaphone, _} = Socket} ->
            case megaphone:transport(Socket) of
                {_, tls} -> [behind(Handler) || Handler <- Handlers];
                {_, plain} -> Handlers
            end;
        _ ->
            Handlers
    end.

behind({Path, Module}) -> behind({Path, Module, []});
behind({Path, Module, Opts}) -> {Path, ?MODULE, {Module, Opts}}.

%% @doc ejabberd's word that the request is for this handler.
-spec socket_handoff(LocalPath :: [binary()], Request :: tuple(), {module(), term()}) -> term().
socket_handoff(LocalPath, Request, Handler) ->
    megaphone_ejabberd:handle_request(Handler, LocalPath, megaphone_ejabberd:as_https(Request)).
