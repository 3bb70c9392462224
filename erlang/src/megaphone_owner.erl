%%% @doc Starts the process that a new connection belongs to, by what the connection carries.
%%%
%%% | ALPN | owner |
%%% |---|---|
%%% | `http/1.1', and all of version 1 | ejabberd_http |
%%% | `xmpp-client' | ejabberd_c2s, on a raw XML stream |
%%% | `xmpp-framing' | {@link megaphone_session}, a document (RFC 7395) at a time |
-module(megaphone_owner).

-export([options/1, start/3]).

-export_type([options/0]).

-type options() :: #{protocols := [http | 'xmpp-client' | 'xmpp-framing'],
                     http := [{atom(), term()}],
                     xml_stream := [{atom(), term()}],
                     session := megaphone_session_live:options()}.

%% @doc What owners need of a listener's options.
-spec options([{atom(), term()}]) -> options().
options(Opts) ->
    %% Our own options mean nothing to ejabberd_http, and TLS is the trunk's.
    Http = [Name || {Name, _} <- megaphone_ejabberd:http_options(), Name =/= tls],
    C2s = megaphone_listener_options:get(c2s, Opts),
    #{protocols => megaphone_listener_options:get(protocols, Opts),
      http => [Opt || {Name, _} = Opt <- Opts, lists:member(Name, Http)],
      xml_stream => megaphone_stanza_limits:xml_stream(C2s),
      session => #{c2s => C2s,
                   limits => megaphone_stanza_limits:session(C2s),
                   hibernate_after => megaphone_listener_options:get(hibernate_after, Opts)}}.

%% @doc Gives a connection its owner, which finds its data waiting, however late it asks. A
%% connection that carries what the listener does not serve is reset.
-spec start(megaphone_nif:trunk(), megaphone_nif:opened(), options()) -> ok.
start(Trunk, {Handle, Protocol}, #{protocols := Protocols} = Options) ->
    Started = case lists:member(Protocol, Protocols) of
                  true -> start_owner(Protocol, megaphone:socket(Trunk, Handle), Options);
                  false -> {error, {"the listener's 'protocols' do not have ~ts", [Protocol]}}
              end,
    case Started of
        {ok, Owner} ->
            _ = megaphone_nif:own(Trunk, Handle, Owner),
            accept(Protocol, Owner);
        Error ->
            {Format, Arguments} = reason(Error),
            megaphone_log:bounded(reset, warning, "megaphone: a connection from ~ts is reset: " ++ Format,
                                  [megaphone_address:format(megaphone_nif:peername(Trunk, Handle))
                                   | Arguments]),
            megaphone_nif:reset(Trunk, Handle)
    end.

start_owner(http, Socket, #{http := Opts}) ->
    megaphone_ejabberd:start_http(Socket, Opts);
start_owner('xmpp-client', Socket, #{xml_stream := Opts}) ->
    megaphone_ejabberd:start_xml_stream(Socket, Opts);
start_owner('xmpp-framing', Socket, #{session := Options}) ->
    megaphone_session:start(Socket, Options).

%% ejabberd_http reads by itself; the others wait for the word.
accept(http, _Owner) -> ok;
accept('xmpp-client', Owner) -> megaphone_ejabberd:accept_xml_stream(Owner);
accept('xmpp-framing', Owner) -> megaphone_session:accept(Owner).

reason({error, {[_ | _] = Format, Arguments}}) -> {Format, Arguments};
reason(Error) -> {"its process does not start: ~p", [Error]}.
