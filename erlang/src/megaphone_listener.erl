%%% @doc The listener that an admin writes in ejabberd.yml:
%%%
%%% ```
%%% listen:
%%%   -
%%%     port: 5290
%%%     module: megaphone_listener
%%%     request_handlers:
%%%       /bosh: mod_bosh
%%%       /ws: ejabberd_http_ws
%%% '''
%%%
%%% It accepts trunks, and takes ejabberd_http's options for the connections they carry. Without
%%% `ip' it listens on 127.0.0.1: a trunk's peer speaks for all its users.
-module(megaphone_listener).

-behaviour(ejabberd_listener).

-export([start/3, start_link/3, accept/1, tcp_init/2,
         listen_opt_type/1, listen_options/0]).
%% ejabberd's hooks
-export([stopping/0, config_reloaded/0, ports_reopened/0]).

-on_load(add_hooks/0).

-include_lib("kernel/include/logger.hrl").

%% @doc Starts a trunk on an accepted socket, which ejabberd closes where there is an error.
-spec start(gen_tcp, inet:socket(), [{atom(), term()}]) -> {ok, pid()} | ignore | {error, term()}.
start(gen_tcp, Socket, Opts) ->
    admit(fun megaphone_trunk:start/2, Socket, Opts).

%% @doc As {@link start/3}, linked: for the listener's supervisor (`supervisor: true').
-spec start_link(gen_tcp, inet:socket(), [{atom(), term()}]) -> {ok, pid()} | ignore | {error, term()}.
start_link(gen_tcp, Socket, Opts) ->
    admit(fun megaphone_trunk:start_link/2, Socket, Opts).

admit(Start, Socket, Opts) ->
    Most = megaphone_listener_options:get(max_trunks, Opts),
    case megaphone_nif:admit(megaphone_listener_options:acceptor(Opts), Most) of
        true -> Start(Socket, Opts);
        false -> refuse(Socket, Most)
    end.

refuse(Socket, Most) ->
    Peer = case inet:peername(Socket) of
               {ok, Name} -> Name;
               {error, _} -> undefined
           end,
    megaphone_log:bounded(refused, warning,
                          "megaphone: a trunk from ~ts is refused: the listener has ~b, its max_trunks",
                          [megaphone_address:format(Peer), Most]),
    {error, max_trunks}.

%% @doc The trunk owns its socket now and reads.
-spec accept(pid()) -> ok.
accept(Trunk) ->
    megaphone_trunk:accept(Trunk).

%% @doc Called once the port is open; what can't be accepted here ends the listener alone.
-spec tcp_init(inet:socket(), [{atom(), term()}]) -> [{atom(), term()}].
tcp_init(ListenSocket, Opts) ->
    {ok, Address} = inet:sockname(ListenSocket),
    case check(Address, Opts) of
        ok ->
            %% ejabberd does not start it, and its version is asked for while the VM stops.
            _ = application:load(megaphone),
            add_hooks(),
            ok = megaphone_commands:register(),
            %% A trunk drains when the listener that accepted it is stopped.
            [{acceptor, self()} | megaphone_ejabberd:send_timeout(ListenSocket, Opts)];
        {error, Text} ->
            ?LOG_ERROR("megaphone_listener at ~ts does not start: ~ts",
                       [megaphone_address:format(Address), Text]),
            exit(normal)
    end.

%% Here, and as the module is loaded: the first listener may be one that a reload can't open.
-spec add_hooks() -> ok.
add_hooks() ->
    _ = megaphone_ejabberd:add_hook(ejabberd_stopping, {?MODULE, stopping}, 50),
    _ = megaphone_ejabberd:add_hook(megaphone_stopping, {?MODULE, stopping}, 50),
    %% Before and behind ejabberd's own, which closes and opens ports.
    _ = megaphone_ejabberd:add_hook(config_reloaded, {?MODULE, config_reloaded}, 10),
    _ = megaphone_ejabberd:add_hook(config_reloaded, {?MODULE, ports_reopened}, 90),
    _ = megaphone_https:add_hook(),
    ok.

check(Address, Opts) ->
    Checks = [fun check_installed/0,
              fun check_nif/0,
              fun megaphone_ejabberd_check:run/0,
              fun() -> check_tls(Opts) end,
              fun() -> check_trust(Address, Opts) end],
    first_error(Checks).

first_error([]) ->
    ok;
first_error([Check | Checks]) ->
    case Check() of
        ok -> first_error(Checks);
        {error, _} = Error -> Error
    end.

%% Once it was removed, its modules stay in the VM, but not all of them.
check_installed() ->
    File = code:which(?MODULE),
    case filelib:is_regular(File) of
        true ->
            ok;
        false ->
            {error, ["Megaphone is not installed any more: ", File, " is gone. Remove this listener from the "
                     "configuration, or install Megaphone again and restart ejabberd."]}
    end.

check_nif() ->
    case megaphone_nif:load_error() of
        none ->
            ok;
        LoadError ->
            {error, ["the NIF can't be loaded: ", LoadError, ". Build it where ejabberd runs "
                     "('make build', or 'rebar3 compile') and put priv/megaphone_nif.so next to "
                     "Megaphone's ebin folder."]}
    end.

check_tls(Opts) ->
    Missing = [Name || Name <- [certfile, cafile], megaphone_listener_options:get(Name, Opts) =:= undefined],
    case megaphone_listener_options:get(tls, Opts) andalso Missing of
        false ->
            ok;
        [] ->
            {ok, _} = application:ensure_all_started(ssl),
            ok;
        [Name | _] ->
            {error, io_lib:format("'tls: true' needs '~ts': a trunk's peer shows a certificate, "
                                  "signed by 'cafile', as we show 'certfile'.", [Name])}
    end.

check_trust(Address, Opts) ->
    Trusted = megaphone_listener_options:get(tls, Opts) orelse megaphone_listener_options:get(allow_plain, Opts)
        orelse megaphone_address:is_local(Address),
    case Trusted of
        true ->
            ok;
        false ->
            {error, "a trunk's peer speaks for all its users, and this address can be reached "
                    "from elsewhere without TLS. Set 'ip: 127.0.0.1' or 'port: unix:/path', or "
                    "'tls: true' with certificates, or 'allow_plain: true' if the network "
                    "itself is trusted."}
    end.

%% @doc The validator of an option, for ejabberd.
-spec listen_opt_type(atom()) -> econf:validator().
listen_opt_type(Name) ->
    megaphone_listener_options:type(Name).

%% @doc The options and their defaults, for ejabberd.
-spec listen_options() -> [{atom(), term()}].
listen_options() ->
    megaphone_listener_options:defaults().

%% @doc ejabberd is about to stop, or this application is about to be removed: answers in flight may finish, up to `shutdown_timeout', and
%% nobody comes back meanwhile: a peer of version 2 that is told to go away dials again at once.
-spec stopping() -> ok.
stopping() ->
    megaphone_ports:leave(),
    %% Before the ports close, so that no trunk takes it for a reload.
    megaphone_drain:begin_all(),
    lists:foreach(fun({EndPoint, Module, _Opts}) -> megaphone_ejabberd:close_listener(EndPoint, Module) end,
                  megaphone_ejabberd:listeners(?MODULE)),
    megaphone_drain:all().

%% @doc The configuration was read again: so are certificates, at the next handshake.
-spec config_reloaded() -> ok.
config_reloaded() ->
    ssl:clear_pem_cache().

%% @doc ejabberd has opened what it could.
-spec ports_reopened() -> ok.
ports_reopened() ->
    megaphone_ports:look(?MODULE).
