%%% @doc The state of a client's c2s: the map of xmpp_stream_in, with ejabberd_c2s as its module, and what a
%%% session does with it. No other module knows a key of it.
%%%
%%% xmpp_stream_in is a p1_server whose process is the client's. Here it is given each message by another
%%% module, {@link megaphone_session}, in the same process, which is all that it looks at (`owner').
%%%
%%% ```
%%%   new -> accept -> open -> event, handle_call, handle_cast, handle_info ... -> terminate
%%% '''
%%%
%%% Read in ejabberd 23.01 (xmpp 1.6.1), 24.12 (xmpp 1.9.1) and 26.07 (xmpp 1.13.4), and the same in all of
%%% them where nothing else is said. From 26.04 on xmpp_stream_in also gives the socket new limits once the
%%% client has logged in (`post_auth_stanza_limits'); a socket without a parser, as a session's is, has none.
-module(megaphone_ejabberd_c2s).

-export([process_options/1, http_options/1, accept/1, shut_down/1]).
-export([new/3, accepted/1, takes_certificates/1, knows_bindings/0, open/2, event/2, starttls/2, resume/3, reopen/1,
         lost/3, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).
-export([timeout/1, has_logged_in/1, forget_login/1, has_stream_management/1, resumed_by/1, security/1, host/1]).
-export([place/1, may_move/1, registration/1, lend/1, start_timers/2, release/1, merge/3]).
-export([shared_keys/0, keys/1]).

-export_type([state/0, result/0, security/0, lent/0, registration/0]).

-type state() :: xmpp_stream_in:state().
-type result() :: {noreply, state(), timeout()} | {stop, term(), state()}.
%% Of the client's connection; of TLS what the login can be bound to, by the names of the bindings.
-type security() :: plain | {tls, #{binary() => binary()}}.

%% What another process goes on with, and how long the client may take there to acknowledge what it was sent
%% (milliseconds).
-type lent() :: {map(), AckLeft :: none | non_neg_integer()}.
%% By what ejabberd knows a session: its id, its host, and the user as the client has it.
-type registration() :: {megaphone_ejabberd_sm:sid(), Host :: binary(),
                         {User :: binary(), Server :: binary(), Resource :: binary()}}.

%% A key of our own in the state.
-define(RESUMED_BY, megaphone_resumed_by).

-define(NS_TLS, <<"urn:ietf:params:xml:ns:xmpp-tls">>).
-define(NS_MGMT_2, <<"urn:xmpp:sm:2">>).
-define(NS_MGMT_3, <<"urn:xmpp:sm:3">>).
-define(NS_STANZAS, <<"urn:ietf:params:xml:ns:xmpp-stanzas">>).

%% What the process and its connection have of their own, or the listener: where a session moves these stay.
-define(OWN, [owner, mod, socket, socket_monitor, socket_mod, socket_opts, ip, stream_id, access, shaper,
              tls_options, tls_required, tls_enabled, tls_verify, zlib,
              stream_encrypted, stream_compressed, allow_unencrypted_sasl2]).
%% What is past: of the login, or of a socket with a parser.
-define(PAST, [sasl_state, sasl_mech, post_auth_stanza_limits, conn, sid]).

%% By process.

%% @doc What p1_server is to do for `max_fsm_queue'.
-spec process_options(megaphone_ejabberd:options()) -> [{max_queue, pos_integer()}].
process_options(Opts) ->
    ejabberd_config:fsm_limit_opts(Opts).

%% @doc The options that say by which HTTP request a WebSocket client came, of its fields, each a line. ejabberd_c2s
%% has no use for them, but functions of its hook `c2s_init' may: ejabberd_http_ws hands them on from 25.10 on.
-spec http_options(Fields :: binary()) -> megaphone_ejabberd:options().
http_options(<<>>) -> [];
http_options(Fields) -> [{http, [{headers, megaphone_ejabberd:http_headers(Fields)}]}].

%% @doc The process gets the cast `accept'; {@link accepted/1} follows.
-spec accept(pid()) -> ok.
accept(Pid) ->
    xmpp_stream_in:accept(Pid).

%% @doc Ends a c2s with the stream error that ejabberd has for the end of a node: with others in its cluster the
%% client is to come back at once.
-spec shut_down(pid()) -> ok.
shut_down(Pid) ->
    Error = case megaphone_ejabberd:is_alone() of
                true -> xmpp:serr_system_shutdown();
                false -> xmpp:serr_reset()
            end,
    ok = ejabberd_c2s:send(Pid, Error),
    ejabberd_c2s:stop_async(Pid).

%% The steps of a state.

%% @doc The state of a connection that nothing was read of. The socket module is one of xmpp_socket's behaviour.
-spec new(module(), Socket :: term(), megaphone_ejabberd:options()) -> {ok, state(), timeout()}.
new(SocketModule, Socket, Opts) ->
    xmpp_stream_in:init([ejabberd_c2s, {SocketModule, Socket}, Opts]).

%% @doc The state once the process owns its connection; of one that was accepted before, `not_due'.
-spec accepted(state() | term()) -> {ok, state()} | {stop, term(), state()} | not_due.
accepted(#{socket_mod := _} = State) ->
    case xmpp_stream_in:handle_cast(accept, State) of
        {noreply, Accepted, _Timeout} -> {ok, Accepted};
        {stop, _, _} = Stop -> Stop
    end;
accepted(_) ->
    not_due.

%% @doc Whether clients may log in by certificate.
-spec takes_certificates(state()) -> boolean().
takes_certificates(#{tls_verify := TlsVerify}) ->
    TlsVerify.

%% @doc Whether logins can be bound to whatever the client's TLS has; before 24.02 they are to `tls-unique' alone.
-spec knows_bindings() -> boolean().
knows_bindings() ->
    erlang:function_exported(xmpp_socket, get_tls_cb_exporter, 1).

%% @doc Makes the state one of a session: TLS is the ECM's, and compression is nobody's. A client that came by TLS
%% needs no more of it; one that did not can't get it, and is refused where TLS is required.
%%
%% SASL EXTERNAL is what `tls_verify' offers to clients that are encrypted, here if they have a certificate.
%%
%% A client whose login can be bound to its TLS is encrypted to ejabberd_c2s, as it offers then that it is
%% (`-PLUS'). Of others those that would bind it say so (RFC 5802, 6), and where nothing is offered they have to
%% be believed. `sasl_channel_bindings' is known from 24.02 on. Before the socket is asked, and for `tls-unique'
%% alone, which TLS 1.3 does not have.
%%
%% ejabberd_c2s knows `allow_unencrypted_sasl2' from 24.10 on.
-spec open(state(), security()) -> state().
open(#{socket := XmppSocket, socket_monitor := Monitor} = Accepted, Security) ->
    %% The connection itself says that it broke.
    true = demonitor(Monitor, [flush]),
    Socket = xmpp_socket:reset_stream(XmppSocket),
    State = Accepted#{socket := Socket, tls_enabled => false, tls_verify => false, zlib => false},
    case Security of
        {tls, Bindings} ->
            HasCertificate = xmpp_socket:get_peer_certificate(Socket, der) =/= error,
            encrypt(Bindings, HasCertificate, State#{tls_required => false, allow_unencrypted_sasl2 => true});
        plain ->
            State
    end.

encrypt(Bindings, HasCertificate, State) ->
    case {knows_bindings(), Bindings} of
        {true, _} when map_size(Bindings) > 0 ->
            State#{stream_encrypted := true, sasl_channel_bindings => Bindings, tls_verify := HasCertificate};
        {false, #{<<"tls-unique">> := _}} ->
            State#{stream_encrypted := true, tls_verify := HasCertificate};
        {false, _} when HasCertificate ->
            State#{stream_encrypted := true, tls_verify := true};
        _ ->
            State
    end.

%% @doc Handles what a parser would have found, or that the connection has ended.
%%
%% What the client had sent as another process resumed its session, and was not handled, it sends again there: it is
%% not among the stanzas that mod_stream_mgmt said to have. This process goes on until it is told to stop, and xmpp's
%% own would handle the stanza too.
-spec event(megaphone_framing:event() | closed, state()) -> result().
event({xmlstreamelement, _}, #{mgmt_state := resumed} = State) ->
    {noreply, State, infinity};
event(Event, State) ->
    xmpp_stream_in:handle_info({'$gen_event', Event}, State).

%% @doc The same of an element that may ask for TLS, which nobody starts inside of a session: xmpp_stream_in would
%% ask the socket for it.
-spec starttls(megaphone_framing:event(), state()) -> result().
starttls({xmlstreamelement, {xmlel, _, Attributes, _}} = Event, State) ->
    case {lists:keyfind(<<"xmlns">>, 1, Attributes), State} of
        {{_, ?NS_TLS}, #{stream_state := StreamState}} when StreamState =/= wait_for_stream ->
            event(closed, xmpp_stream_in:send(State, {starttls_failure}));
        _ ->
            event(Event, State)
    end.

%% @doc The same of an element that may ask to resume a session. `Sent' says how much was sent so far.
%%
%% mod_stream_mgmt asks the session's process, and where the node of that one is gone, and its row not yet, it crashes:
%% the client would wait for an answer for as long as it may take to log in. It is told that there is no such session.
-spec resume(megaphone_framing:event(), Sent :: fun(() -> term()), state()) -> result().
resume({xmlstreamelement, {xmlel, _, Attributes, _}} = Event, Sent, #{mgmt_state := inactive} = State) ->
    Before = Sent(),
    Result = event(Event, State),
    case {Result, Sent(), lists:keyfind(<<"xmlns">>, 1, Attributes)} of
        {{noreply, #{stream_state := wait_for_bind} = Unanswered, Timeout}, Before, {_, Xmlns}}
          when Xmlns =:= ?NS_MGMT_2; Xmlns =:= ?NS_MGMT_3 ->
            {noreply, xmpp_stream_in:send(Unanswered, no_such_session(Xmlns)), Timeout};
        _ ->
            Result
    end;
resume(Event, _Sent, State) ->
    event(Event, State).

no_such_session(Xmlns) ->
    {xmlel, <<"failed">>, [{<<"xmlns">>, Xmlns}], [{xmlel, <<"item-not-found">>, [{<<"xmlns">>, ?NS_STANZAS}], []}]}.

%% @doc The state in which a stream may begin, again: xmpp_stream_in leaves to its parser that it does only
%% where that makes sense.
%%
%% A stream that is opened again gets its header and features again, as long as nothing was agreed on but who
%% the client is. There are clients that restart once too often; ejabberd_c2s drops that, and they wait. What
%% it would undo later (a second step of the login, a resource) it doesn't, and it is dropped here too.
-spec reopen(state()) -> {ok, state()} | {error, not_now}.
reopen(#{stream_state := wait_for_stream} = State) ->
    {ok, State};
reopen(#{stream_state := StreamState} = State) ->
    case may_reopen(StreamState) of
        true -> {ok, begin_again(State)};
        false -> {error, not_now}
    end.

%% 24.12 and 26.07 know `wait_for_sasl2_response'.
may_reopen(StreamState) ->
    lists:member(StreamState, [wait_for_starttls, wait_for_sasl_request, wait_for_sasl_response,
                               wait_for_sasl2_response, wait_for_bind]).

%% As xmpp_stream_in does after SASL. A login that was under way is forgotten.
begin_again(State) ->
    maps:without([sasl_state, sasl_mech],
                 State#{stream_id := xmpp_stream:new_id(),
                        stream_header_sent := false,
                        stream_state := wait_for_stream}).

%% @doc Handles that the connection has ended (`closed'), or is lost.
-spec lost(Reason :: atom(), megaphone:socket(), state()) -> result().
lost(closed, Socket, State) ->
    xmpp_stream_in:handle_info({tcp_closed, Socket}, State);
lost(Reason, Socket, State) ->
    xmpp_stream_in:handle_info({tcp_error, Socket, Reason}, State).

%% @doc p1_server's callback. If another process has resumed the session, it is known from then on.
-spec handle_call(term(), {pid(), term()}, state()) -> result().
handle_call(Call, {Caller, _} = From, State) ->
    case xmpp_stream_in:handle_call(Call, From, State) of
        {noreply, #{mgmt_state := resumed} = Resumed, Timeout} when not is_map_key(?RESUMED_BY, Resumed) ->
            {noreply, Resumed#{?RESUMED_BY => Caller}, Timeout};
        Result ->
            Result
    end.

%% @doc p1_server's callback.
-spec handle_cast(term(), state()) -> result().
handle_cast(Cast, State) ->
    xmpp_stream_in:handle_cast(Cast, State).

%% @doc p1_server's callback. A state that has none ({@link timeout/1}) gets no `timeout', and none gets a socket's
%% messages, since the session reads: to xmpp_stream_in each of these would be an end.
-spec handle_info(term(), state()) -> result().
handle_info(Info, State) ->
    xmpp_stream_in:handle_info(Info, State).

%% @doc p1_server's callback: says to the client and to ejabberd that the session ends, and closes the
%% connection.
-spec terminate(term(), state()) -> term().
terminate(Reason, State) ->
    xmpp_stream_in:terminate(Reason, State).

%% @doc p1_server's callback.
-spec code_change(term(), state(), term()) -> {ok, state()} | {error, term()}.
code_change(OldVersion, State, Extra) ->
    xmpp_stream_in:code_change(OldVersion, State, Extra).

%% What a state says.

%% @doc How long the client may take from here on for what is next (milliseconds). It is `infinity' once it
%% has logged in, and `ended' once the stream has ended, which is before the process ends. It is asked after
%% each message, so one call answers both.
-spec timeout(state()) -> timeout() | ended.
timeout(#{stream_state := disconnected}) ->
    ended;
timeout(#{stream_timeout := infinity}) ->
    infinity;
timeout(#{stream_timeout := {Timeout, Since}}) when is_integer(Timeout), is_integer(Since) ->
    max(0, Since + Timeout - erlang:monotonic_time(millisecond)).

%% @doc Whether the client has said who it is: by SASL, or as in XEP-0078, which is the same here.
-spec has_logged_in(state()) -> boolean().
has_logged_in(#{stream_authenticated := true}) -> true;
has_logged_in(_) -> false.

%% @doc The state of who has logged in without what only the login needed. Before xmpp_stream_in offers
%% SASL2 it looks up the user's password, or its hashes, which from 25.08 on it keeps for good: hundreds of
%% bytes.
-spec forget_login(state()) -> state().
forget_login(State) ->
    case maps:remove(sasl2_password_fun, State) of
        #{socket := Socket} = Rest -> Rest#{socket := xmpp_socket:reset_stream(Socket)};
        %% The client has left by now, and its session waits to be resumed.
        Rest -> Rest
    end.

%% @doc Whether what the client did not acknowledge is mod_stream_mgmt's, or was. Where the module is not
%% loaded, or no stream has begun, the key is not there.
-spec has_stream_management(state()) -> boolean().
has_stream_management(#{mgmt_state := State}) -> State =/= inactive;
has_stream_management(_) -> false.

%% @doc The process that has resumed the session of this state, if one has.
-spec resumed_by(state()) -> {ok, pid()} | none.
resumed_by(#{?RESUMED_BY := Process}) -> {ok, Process};
resumed_by(_) -> none.

%% @doc What differs between the states of clients with TLS and of those without.
-spec security(state()) -> map().
security(State) ->
    maps:with([allow_unencrypted_sasl2, stream_encrypted, tls_required, tls_verify], State).

%% @doc The host that the client named, or the first of the configuration.
-spec host(state()) -> binary().
host(#{lserver := Host}) ->
    Host.

%% A state moves to another process.
%%
%% All that ejabberd's modules keep in it goes along as it is: stream management, client state, push, presences, lists
%% of blocked users, capabilities, SASL2 and Bind 2. No hook says that a session has moved, and none of the c2s's
%% is run: `c2s_session_opened' is for a new one, `c2s_session_resumed' sends what client state holds back, and
%% `c2s_terminated' says to all that the user has left.

%% @doc Where the client of an open state is connected to.
-spec place(state()) -> megaphone_ejabberd_sm:place().
place(#{ip := Ip} = State) ->
    {Ip, conn(xmpp_stream_in:get_transport(State))}.

%% As in ejabberd_c2s, for the transports that a session has.
conn(tcp) -> c2s;
conn(tls) -> c2s_tls;
conn(Other) -> Other.

%% @doc Whether the session can move: its client has a resource and is connected, and nothing ends it.
-spec may_move(state()) -> ok | {error, Why :: string()}.
may_move(#{stop_reason := _}) ->
    {error, "the session ends"};
may_move(#{mgmt_state := Mgmt}) when Mgmt =/= active, Mgmt =/= inactive ->
    {error, "the session ends"};
may_move(#{stream_state := established, socket := _, sid := _}) ->
    ok;
may_move(#{stream_state := disconnected}) ->
    {error, "the session ends"};
may_move(_) ->
    {error, "the client has not logged in yet"}.

%% @doc By what ejabberd knows a session that can.
-spec registration(state()) -> registration().
registration(#{sid := Sid, lserver := Host, user := User, server := Server, resource := Resource}) ->
    {Sid, Host, {User, Server, Resource}}.

%% @doc What another process needs of the state. What stays has no timers until {@link start_timers/2}.
-spec lend(state()) -> {lent(), state()}.
lend(State) ->
    {AckLeft, Stopped} = stop_timers(State),
    Lent = maps:without(?OWN ++ ?PAST, queue_to_ram(Stopped)),
    {{maps:filter(fun(_, Value) -> not is_function(Value) end, Lent), AckLeft}, Stopped}.

%% What is pending has another timer, and no connection that could move.
stop_timers(#{mgmt_ack_timer := Timer} = State) ->
    Left = case erlang:cancel_timer(Timer) of
               false -> 0;
               Time -> Time
           end,
    {Left, maps:remove(mgmt_ack_timer, State)};
stop_timers(State) ->
    {none, State}.

queue_to_ram(#{mgmt_queue := Queue} = State) -> State#{mgmt_queue := p1_queue:file_to_ram(Queue)};
queue_to_ram(State) -> State.

%% @doc The timers go on with what was left of them.
-spec start_timers(lent(), state()) -> state().
start_timers({_, none}, State) ->
    State;
start_timers({_, AckLeft}, State) ->
    State#{mgmt_ack_timer => erlang:start_timer(AckLeft, self(), ack_timeout)}.

%% @doc Gives up what a state has outside of this process: it is another's.
-spec release(state()) -> ok.
release(#{mgmt_queue := Queue}) ->
    _ = p1_queue:clear(Queue),
    ok;
release(_State) ->
    ok.

%% @doc What was lent, on the connection of an open state, with an id of its own. Its timers don't run yet.
-spec merge(lent(), megaphone_ejabberd_sm:sid(), state()) -> state().
merge({Lent, _AckLeft}, Sid, Open) ->
    {_, Conn} = place(Open),
    State = maps:merge(Lent, maps:with(?OWN, Open)),
    queue_to_file(change_shaper(State#{sid => Sid, conn => Conn, stream_state => established,
                                       stream_authenticated => true, stream_timeout => infinity})).

queue_to_file(#{mgmt_queue_type := file, mgmt_queue := Queue} = State) ->
    State#{mgmt_queue := p1_queue:ram_to_file(Queue)};
queue_to_file(State) ->
    State.

%% As ejabberd_c2s does where a session opens.
change_shaper(#{shaper := Name, ip := {Ip, _}, lserver := Host, user := User, server := Server,
                resource := Resource} = State) ->
    Jid = jid:make(User, Server, Resource),
    Shaper = ejabberd_shaper:match(Host, Name, #{usr => jid:split(Jid), ip => Ip}),
    xmpp_stream_in:change_shaper(State, ejabberd_shaper:new(Shaper)).

%% Keys.

%% @doc Keys whose values may be the same in the states of many sessions: no client's own, and without pids,
%% references or text of a client. A state need not have any of them.
%%
%% Those of `mgmt' are mod_stream_mgmt's; `allow_unencrypted_sasl2' came with 24.10. `sasl_channel_bindings' has
%% a client's until it has logged in, and then none.
-spec shared_keys() -> [atom()].
shared_keys() ->
    [access, allow_unencrypted_sasl2, auth_module, codec_options, conn, csi_state, lang, lserver,
     mgmt_ack_timeout, mgmt_max_queue, mgmt_max_timeout, mgmt_queue_type, mgmt_resend, mgmt_state,
     mgmt_stanzas_in, mgmt_stanzas_out, mgmt_stanzas_req, mgmt_timeout, mod, pres_a,
     sasl_channel_bindings, server,
     shaper, stream_authenticated, stream_compressed, stream_direction, stream_encrypted,
     stream_header_sent, stream_restarted, stream_state, stream_timeout, stream_version,
     tls_enabled, tls_options, tls_required, tls_verify, xmlns, zlib].

%% @doc The keys without which a session can't work, in a new state and in one that was accepted, with what
%% their values may be: a state that has others is made in another way.
-spec keys(new | accepted) -> #{atom() => fun((term()) -> boolean())}.
keys(new) ->
    #{socket_mod => fun is_atom/1};
keys(accepted) ->
    #{lserver => fun is_binary/1,
      socket => fun is_any/1,
      socket_monitor => fun is_reference/1,
      stream_authenticated => fun is_boolean/1,
      stream_encrypted => fun is_boolean/1,
      stream_header_sent => fun is_boolean/1,
      stream_id => fun is_binary/1,
      stream_state => fun(StreamState) -> StreamState =:= wait_for_stream end,
      stream_timeout => fun is_timeout/1,
      tls_enabled => fun is_boolean/1,
      tls_required => fun is_boolean/1,
      tls_verify => fun is_boolean/1}.

is_any(_) -> true.

is_timeout(infinity) -> true;
is_timeout({Timeout, Since}) -> is_integer(Timeout) andalso is_integer(Since);
is_timeout(_) -> false.
