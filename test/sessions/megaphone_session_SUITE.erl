%% Sessions: documents (RFC 7395) on streams of a real trunk, ejabberd's own c2s at the other end.
-module(megaphone_session_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2,
         end_per_testcase/2]).
-export([login_plain/1, login_scram/1, wrong_password/1, chat/1, restart_has_a_new_id/1,
         documents_in_any_pieces/1, large_stanza/1, client_closes/1, client_finishes/1,
         server_closes/1, redirect/1]).
-export([oversize/1, malformed/1, billion_laughs/1, empty_document/1, first_is_no_open/1,
         open_in_another_namespace/1, opened_again/1, open_in_the_midst/1, starttls_is_refused/1, unknown_host/1,
         tls_required/1, denied_by_access/1]).
-export([shaper_holds_the_window/1, slow_client/1, max_queue/1, killed_session/1, reset_stream/1,
         lost_trunk/1]).
-export([oom_killer_spares_the_trunk/1, sasl2_policy/1]).
-export([info_by_transport/1, hibernates/1, sleeps_with_what_it_had/1, sleeps_again_with_what_it_has/1, sleeps_again_at_once/1, reload_keeps_sessions/1,
         shutdown/1]).

-import(megaphone_test_listeners, [call/4, connect/1, connect/2, ejabberd/1]).

-define(NS_FRAMING, "xmlns='urn:ietf:params:xml:ns:xmpp-framing'").
-define(WINDOW, 262144).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [login_plain, login_scram, wrong_password, chat, restart_has_a_new_id, documents_in_any_pieces,
     large_stanza, client_closes, client_finishes, server_closes, redirect,
     oversize, malformed, billion_laughs, empty_document, first_is_no_open, open_in_another_namespace,
     opened_again, open_in_the_midst, starttls_is_refused, unknown_host, tls_required, denied_by_access,
     shaper_holds_the_window, slow_client, max_queue, killed_session, reset_stream, lost_trunk,
     oom_killer_spares_the_trunk, sasl2_policy,
     info_by_transport, hibernates, sleeps_with_what_it_had, sleeps_again_with_what_it_has, sleeps_again_at_once,
     reload_keeps_sessions, shutdown].

init_per_suite(Config) ->
    megaphone_test_listeners:start(Config, listeners(),
                                   #{top => "shaper:\n"
                                            "  slow:\n"
                                            "    rate: 1\n"
                                            "    burst_size: 1000\n"
                                            "shaper_rules:\n"
                                            "  slow_clients: slow\n"}).

listeners() ->
    #{default => "    hibernate_after: 1\n",
      strict => "    send_timeout: 1\n"
                "    c2s:\n"
                "      max_stanza_size: 10000\n"
                "      max_fsm_queue: 50\n",
      slow => "    c2s:\n"
              "      shaper: slow_clients\n",
      encrypted => "    c2s:\n"
                   "      starttls_required: true\n",
      nobody => "    c2s:\n"
                "      access: none\n"}.

end_per_suite(Config) ->
    megaphone_test_listeners:stop(Config).

init_per_testcase(_, Config) ->
    [{trunk, connect(Config)} | Config].

end_per_testcase(_, Config) ->
    megaphone_test_yamux:close(trunk(Config)).

%% Confirms that a client logs in by PLAIN, binds and hears of its own presence.
login_plain(Config) ->
    Client = login(Config),
    ?assertMatch(<<"user", _/binary>>, megaphone_test_xmpp:jid(Client)),
    megaphone_test_xmpp:logout(Client).

%% Confirms that a client logs in by SCRAM, without and with TLS; with TLS no channel binding is
%% offered, since ejabberd does not have its keys, and a client that could do it is let in.
login_scram(Config) ->
    lists:foreach(
      fun({Fields, Flag}) ->
              User = megaphone_test_stage:user(Config, <<"scram">>),
              {State, Features} = open(trunk(Config), Fields),
              Mechanisms = [megaphone_test_xml:text(Mechanism)
                            || Mechanism <- megaphone_test_xml:children(
                                              megaphone_test_xml:child(<<"mechanisms">>, Features))],
              ?assert(lists:member(<<"SCRAM-SHA-1">>, Mechanisms)),
              ?assertEqual([], [Name || Name <- Mechanisms, binary:match(Name, <<"-PLUS">>) =/= nomatch]),
              ok = megaphone_test_session:authenticate_scram(State, Flag, User, <<"megaphone">>),
              {ok, _} = megaphone_test_session:restart(State),
              {ok, Bind} = megaphone_test_session:recv_document(State),
              ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"bind">>, Bind))
      end, [{#{}, <<"n,,">>}, {#{tls => <<"TLSv1.3">>}, <<"n,,">>}, {#{tls => <<"TLSv1.3">>}, <<"y,,">>}]).

%% Confirms that a wrong password is answered as RFC 6120 (6.4.5) wants, and the client may try again.
wrong_password(Config) ->
    User = megaphone_test_stage:user(Config, <<"user">>),
    {State, _} = open(trunk(Config), #{}),
    ok = megaphone_test_session:send_document(State, megaphone_test_session:auth(User, <<"wrong">>)),
    {ok, Failure} = megaphone_test_session:recv_document(State),
    ?assertEqual(<<"failure">>, megaphone_test_xml:name(Failure)),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"not-authorized">>, Failure)),
    ok = megaphone_test_session:send_document(State, megaphone_test_session:auth(User, <<"megaphone">>)),
    {ok, Success} = megaphone_test_session:recv_document(State),
    ?assertEqual(<<"success">>, megaphone_test_xml:name(Success)).

%% Confirms that messages arrive once and in order.
chat(Config) ->
    {Alice, Bob} = megaphone_test_xmpp:chat(login(Config), login(Config), 100),
    megaphone_test_xmpp:logout(Alice),
    megaphone_test_xmpp:logout(Bob).

%% Confirms that the stream after SASL has another id (RFC 6120, 4.7.3), and the framing's form.
restart_has_a_new_id(Config) ->
    User = megaphone_test_stage:user(Config, <<"user">>),
    State = megaphone_test_session:connect(trunk(Config), megaphone_test_session:header()),
    First = await_open(State),
    {ok, _Features} = megaphone_test_session:recv_document(State),
    ok = megaphone_test_session:send_document(State, megaphone_test_session:auth(User, <<"megaphone">>)),
    {ok, _Success} = megaphone_test_session:recv_document(State),
    Second = await_open(State),
    Ids = [megaphone_test_xml:attribute(<<"id">>, Open) || Open <- [First, Second]],
    ?assertEqual(2, length(lists:usort(Ids -- [<<>>]))),
    ?assertEqual([<<"1.0">>, <<"1.0">>], [megaphone_test_xml:attribute(<<"version">>, Open)
                                          || Open <- [First, Second]]).

%% Confirms that a document may come byte by byte, and many in one frame.
documents_in_any_pieces(Config) ->
    Alice = login(Config),
    Stream = stream(Alice),
    One = [megaphone_test_session:frame(message(megaphone_test_xmpp:jid(Alice), "by bytes"))],
    [ok = megaphone_test_yamux:send(Stream, <<Byte>>) || <<Byte>> <= iolist_to_binary(One)],
    {{_, <<"by bytes">>}, Alice1} = megaphone_test_xmpp:recv_message(Alice),
    Texts = [integer_to_binary(Number) || Number <- lists:seq(1, 50)],
    ok = megaphone_test_yamux:send(
           Stream, [megaphone_test_session:frame(message(megaphone_test_xmpp:jid(Alice), Text))
                    || Text <- Texts]),
    lists:foldl(fun(Text, Client) ->
                        {{_, Text}, Next} = megaphone_test_xmpp:recv_message(Client),
                        Next
                end, Alice1, Texts).

%% Confirms that a stanza that is larger than a stream's window passes, in both directions.
large_stanza(Config) ->
    Alice = login(Config),
    Text = binary:copy(<<"large ">>, 200_000),
    Sent = megaphone_test_xmpp:send_message(Alice, megaphone_test_xmpp:jid(Alice), Text),
    {{_, Text}, _} = megaphone_test_xmpp:recv_message(Sent).

%% Confirms that a client's <close/> is answered by one, and that the connection ends then.
client_closes(Config) ->
    Client = login(Config),
    Pid = session(Config, Client),
    ok = megaphone_test_xmpp:logout(Client),
    await_session_end(Config, Client, Pid).

%% Confirms that a connection that ends without <close/> ends the session.
client_finishes(Config) ->
    Client = login(Config),
    Pid = session(Config, Client),
    ok = megaphone_test_yamux:finish(stream(Client)),
    await_session_end(Config, Client, Pid).

%% Confirms that a session that ejabberd ends gets a stream error, <close/> and the connection's end.
server_closes(Config) ->
    Client = login(Config),
    {User, Host, Resource} = split(megaphone_test_xmpp:jid(Client)),
    ok = call(Config, mod_admin_extra, kick_session, [User, Host, Resource, <<"out">>]),
    ?assertEqual({<<"conflict">>, closed}, stream_end(Client)),
    Other = login(Config),
    {User2, Host, Resource2} = split(megaphone_test_xmpp:jid(Other)),
    true = call(Config, ejabberd_sm, kick_user, [User2, Host, Resource2]),
    ?assertEqual({<<"policy-violation">>, closed}, stream_end(Other)).

%% Confirms that a session can be sent to another URI (RFC 7395, 3.6.1).
redirect(Config) ->
    Client = login(Config),
    Pid = session(Config, Client),
    ok = call(Config, megaphone_session, redirect, [Pid, <<"wss://other.example/ws">>]),
    {Close, _} = megaphone_test_xmpp:recv(Client),
    ?assertEqual(<<"close">>, megaphone_test_xml:name(Close)),
    ?assertEqual(<<"wss://other.example/ws">>, megaphone_test_xml:attribute(<<"see-other-uri">>, Close)),
    ?assertEqual({error, closed}, megaphone_test_yamux:recv(stream(Client), 1)),
    await_session_end(Config, Client, Pid).

%% Confirms that a stanza over max_stanza_size ends the stream, as soon as its length is there.
oversize(Config) ->
    Client = login(Config, strict),
    ok = megaphone_test_yamux:send(stream(Client), <<10001:32>>),
    ?assertEqual({<<"policy-violation">>, closed}, stream_end(Client)),
    Unlimited = login(Config),
    ok = megaphone_test_yamux:send(stream(Unlimited), <<16#7fffffff:32>>),
    ?assertEqual({<<"policy-violation">>, closed}, stream_end(Unlimited)).

%% Confirms that what is no XML ends the stream.
malformed(Config) ->
    lists:foreach(
      fun(Document) ->
              Client = login(Config),
              ok = megaphone_test_session:send_document(state(Client), Document),
              ?assertEqual({<<"not-well-formed">>, closed}, stream_end(Client))
      end, ["<message>", "<a><b></a></b>", "<a/><b/>", "no XML", "<a b='1' b='2'/>",
            <<"<message>", 255, "</message>">>]).

%% Confirms that entities are not expanded.
billion_laughs(Config) ->
    Client = login(Config),
    ok = megaphone_test_session:send_document(
           state(Client),
           ["<!DOCTYPE a [<!ENTITY a0 'ha'>",
            [["<!ENTITY a", integer_to_list(N), " '", lists:duplicate(10, ["&a", integer_to_list(N - 1), ";"]), "'>"]
             || N <- lists:seq(1, 9)],
            "]><message><body>&a9;</body></message>"]),
    ?assertEqual({<<"not-well-formed">>, closed}, stream_end(Client)).

%% Confirms that a document without a byte is an error: keepalives are the ECM's.
empty_document(Config) ->
    Client = login(Config),
    ok = megaphone_test_yamux:send(stream(Client), <<0:32>>),
    ?assertEqual({<<"not-well-formed">>, closed}, stream_end(Client)).

%% Confirms that a stream has to begin with <open/>: the answer is ours, and a stream error.
first_is_no_open(Config) ->
    State = megaphone_test_session:connect(trunk(Config), megaphone_test_session:header()),
    ok = megaphone_test_session:send_document(State, message(<<"somebody@localhost">>, "hello")),
    {ok, Open} = megaphone_test_session:recv_document(State),
    ?assertEqual(<<"open">>, megaphone_test_xml:name(Open)),
    ?assertEqual({<<"invalid-xml">>, closed}, stream_end(State)).

open_in_another_namespace(Config) ->
    State = megaphone_test_session:connect(trunk(Config), megaphone_test_session:header()),
    ok = megaphone_test_session:send_document(State, "<open xmlns='jabber:client' to='localhost' version='1.0'/>"),
    {ok, _Open} = megaphone_test_session:recv_document(State),
    ?assertEqual({<<"invalid-xml">>, closed}, stream_end(State)).

%% Confirms that a stream which is opened again before a login, in the midst of one or before a resource gets
%% another header and the features again, and that the login goes on from there.
opened_again(Config) ->
    User = megaphone_test_stage:user(Config, <<"user">>),
    {State, Features} = open(trunk(Config), #{}),
    ?assertEqual(Features, reopened(State)),
    ?assertEqual(Features, reopened(State)),
    ok = megaphone_test_session:send_document(
           State, ["<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>",
                   base64:encode(iolist_to_binary(["n,,", megaphone_test_scram:first(User)])), "</auth>"]),
    {ok, Challenge} = megaphone_test_session:recv_document(State),
    ?assertEqual(<<"challenge">>, megaphone_test_xml:name(Challenge)),
    ?assertEqual(Features, reopened(State)),
    %% The login that was under way is none any more.
    ok = megaphone_test_session:send_document(State, "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"),
    {ok, Failure} = megaphone_test_session:recv_document(State),
    ?assertEqual(<<"failure">>, megaphone_test_xml:name(Failure)),
    ok = megaphone_test_session:send_document(State, megaphone_test_session:auth(User, <<"megaphone">>)),
    {ok, Success} = megaphone_test_session:recv_document(State),
    ?assertEqual(<<"success">>, megaphone_test_xml:name(Success)),
    Bind = reopened(State),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"bind">>, Bind)),
    ?assertEqual(Bind, reopened(State)),
    ok = megaphone_test_session:send_document(State, "<iq xmlns='jabber:client' type='set' id='bind'><bind "
                                                     "xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"),
    {ok, Bound} = megaphone_test_session:recv_document(State),
    ?assertEqual(<<"result">>, megaphone_test_xml:attribute(<<"type">>, Bound)).

reopened(State) ->
    _ = await_open(State),
    {ok, Features} = megaphone_test_session:recv_document(State),
    Features.

%% Confirms that another host can be asked for until the client is known, and that the resource of one who
%% is logged in is not lost to another stream.
open_in_the_midst(Config) ->
    {State, _} = open(trunk(Config), #{}),
    ok = megaphone_test_session:send_document(State, megaphone_test_session:open_document(<<"elsewhere">>)),
    {ok, _Open} = megaphone_test_session:recv_document(State),
    ?assertEqual({<<"host-unknown">>, closed}, stream_end(State)),
    Client = login(Config),
    ok = megaphone_test_session:send_document(state(Client), megaphone_test_session:open_document(<<"localhost">>)),
    Jid = megaphone_test_xmpp:jid(Client),
    Sent = megaphone_test_xmpp:send_message(Client, Jid, "to myself"),
    ?assertMatch({{Jid, <<"to myself">>}, _}, megaphone_test_xmpp:recv_message(Sent)).

%% Confirms that TLS is not started inside of a session (RFC 7395, 3.10).
starttls_is_refused(Config) ->
    Ask = fun(Document) ->
                  {State, Features} = open(trunk(Config), #{}),
                  ?assertEqual(undefined, megaphone_test_xml:child(<<"starttls">>, Features)),
                  ok = megaphone_test_session:send_document(State, Document),
                  State
          end,
    [begin
         State = Ask(Document),
         {ok, Failure} = megaphone_test_session:recv_document(State),
         ?assertEqual(<<"failure">>, megaphone_test_xml:name(Failure)),
         ?assertEqual(<<"urn:ietf:params:xml:ns:xmpp-tls">>, megaphone_test_xml:namespace(Failure)),
         ?assertEqual({none, closed}, stream_end(State))
     end || Document <- ["<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
                         "<n:starttls xmlns:n='urn:ietf:params:xml:ns:xmpp-tls' xmlns='urn:other'/>"]],
    %% In another namespace it is as little as any other unknown element.
    Other = Ask("<starttls xmlns='urn:other'/>"),
    ok = megaphone_test_session:send_document(Other, megaphone_test_session:auth(<<"nobody">>, <<"wrong">>)),
    {ok, NotAuthorized} = megaphone_test_session:recv_document(Other),
    ?assertEqual(<<"urn:ietf:params:xml:ns:xmpp-sasl">>, megaphone_test_xml:namespace(NotAuthorized)).

unknown_host(Config) ->
    State = megaphone_test_session:connect(trunk(Config), megaphone_test_session:header()),
    ok = megaphone_test_session:send_document(State, megaphone_test_session:open_document(<<"elsewhere.example">>)),
    {ok, _Open} = megaphone_test_session:recv_document(State),
    ?assertEqual({<<"host-unknown">>, closed}, stream_end(State)).

%% Confirms that starttls_required lets those in who came by TLS, by whatever they speak, and no others.
tls_required(Config) ->
    Trunk = connect(Config, encrypted),
    lists:foreach(
      fun(Transport) ->
              Client = login_over(Config, Trunk, #{transport => Transport, tls => <<"TLSv1.3">>}),
              megaphone_test_xmpp:logout(Client)
      end, [<<"tcp">>, <<"websocket">>, <<"bosh">>]),
    {State, Features} = open(Trunk, #{}),
    ?assertEqual(undefined, megaphone_test_xml:child(<<"mechanisms">>, Features)),
    User = megaphone_test_stage:user(Config, <<"user">>),
    ok = megaphone_test_session:send_document(State, megaphone_test_session:auth(User, <<"megaphone">>)),
    {ok, Failure} = megaphone_test_session:recv_document(State),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"encryption-required">>, Failure)),
    megaphone_test_yamux:close(Trunk).

%% Confirms that the listener's `access' is asked at bind.
denied_by_access(Config) ->
    Trunk = connect(Config, nobody),
    User = megaphone_test_stage:user(Config, <<"user">>),
    State = authenticated(Trunk, User),
    ok = megaphone_test_session:send_document(
           State, "<iq xmlns='jabber:client' type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"),
    {ok, Answer} = megaphone_test_session:recv_document(State),
    ?assertEqual(<<"error">>, megaphone_test_xml:attribute(<<"type">>, Answer)),
    Error = megaphone_test_xml:child(<<"error">>, Answer),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"not-allowed">>, Error)),
    megaphone_test_yamux:close(Trunk).

%% Confirms that a client that is over its shaper's rate is not read, and its window stays shut; where
%% there is no shaper, all is read, and the window opens.
shaper_holds_the_window(Config) ->
    Slow = connect(Config, slow),
    %% One byte a second: the first of these is a thousand seconds' worth.
    Probe = megaphone_test_session:frame(["<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='X'>",
                                          binary:copy(<<"A">>, 3000), "</auth>"]),
    {Held, Free} = {element(1, open(Slow, #{})), element(1, open(trunk(Config), #{}))},
    [begin
         Stream = megaphone_test_session:stream(State),
         ok = megaphone_test_yamux:send(Stream, Probe),
         {ok, Failure} = megaphone_test_session:recv_document(State),
         ?assertEqual(<<"failure">>, megaphone_test_xml:name(Failure)),
         #{send_window := Left} = megaphone_test_yamux:status(Stream),
         ok = megaphone_test_yamux:send(Stream, binary:part(binary:copy(iolist_to_binary(Probe), 90), 0, Left))
     end || State <- [Held, Free]],
    megaphone_test_wait:until("the window of the client without a shaper",
                              fun() -> maps:get(send_window, status(Free)) > 0 end),
    ok = megaphone_test_yamux:ping(Slow),
    ?assertMatch(#{send_window := 0, buffered := 0}, status(Held)),
    #{buffered := Buffered} = megaphone_test_listeners:trunk_status(Config, Slow),
    ?assert(Buffered > ?WINDOW - 2 * 4000),
    megaphone_test_yamux:close(Slow).

%% Confirms that a client that reads nothing is given up after send_timeout, disturbs nobody, and that who wrote
%% to it learns what it did not get, where nobody keeps it.
slow_client(Config) ->
    Trunk = connect(Config, strict),
    Slow = login_over(Config, Trunk, #{}),
    Pid = session(Config, Slow),
    Alice = login(Config),
    Text = binary:copy(<<"x">>, 8000),
    Sent = lists:foldl(fun(_, Client) ->
                               megaphone_test_xmpp:send_message(Client, megaphone_test_xmpp:jid(Slow), Text)
                       end, Alice, lists:seq(1, 45)),
    await_session_end(Config, Slow, Pid),
    {{From, Text}, _} = megaphone_test_xmpp:recv_message(Sent),
    ?assertEqual(megaphone_test_xmpp:jid(Slow), From),
    {_, _} = megaphone_test_xmpp:chat(login(Config), login_over(Config, Trunk, #{}), 3),
    megaphone_test_yamux:close(Trunk).

%% Confirms that a session with more messages than max_fsm_queue ends, and its connection with it.
max_queue(Config) ->
    Trunk = connect(Config, strict),
    Client = login_over(Config, Trunk, #{}),
    Pid = session(Config, Client),
    %% It is a crash, as with every c2s process; a log with crashes fails the suite.
    ok = call(Config, logger, set_module_level, [proc_lib, none]),
    ok = call(Config, sys, suspend, [Pid]),
    Jid = call(Config, jid, decode, [megaphone_test_xmpp:jid(Client)]),
    [true = call(Config, ejabberd_c2s, resend_presence, [Pid, Jid]) || _ <- lists:seq(1, 60)],
    ok = call(Config, sys, resume, [Pid]),
    ?assertMatch({error, _}, drain(Client)),
    await_session_end(Config, Client, Pid),
    ok = call(Config, logger, unset_module_level, [proc_lib]),
    megaphone_test_yamux:close(Trunk).

%% Confirms that a session's crash closes its connection, and no other.
killed_session(Config) ->
    Client = login(Config),
    Other = login(Config),
    true = call(Config, erlang, exit, [session(Config, Client), kill]),
    ?assertMatch({error, _}, drain(Client)),
    _ = megaphone_test_xmpp:send_presence(Other).

%% Confirms that without stream management a reset ends the session, and others hear of it.
reset_stream(Config) ->
    {Alice, Bob} = friends(Config),
    Pid = session(Config, Bob),
    megaphone_test_xmpp:drop(Bob),
    _ = megaphone_test_session:await_presence(Alice, megaphone_test_xmpp:jid(Bob), <<"unavailable">>),
    await_session_end(Config, Bob, Pid).

%% Confirms the same for the loss of the whole trunk.
lost_trunk(Config) ->
    Trunk = connect(Config),
    Clients = [login_over(Config, Trunk, #{}) || _ <- lists:seq(1, 5)],
    Sessions = [{Client, session(Config, Client)} || Client <- Clients],
    megaphone_test_yamux:close(Trunk),
    [await_session_end(Config, Client, Pid) || {Client, Pid} <- Sessions].

%% Confirms that where memory is short ejabberd's OOM killer kills the session that does not come after its
%% messages, and neither the trunk that they came by nor any other session on it.
oom_killer_spares_the_trunk(Config) ->
    Before = [{Option, call(Config, ejabberd_option, Option, [])} || Option <- [oom_killer, oom_queue]],
    Hog = login(Config),
    Pid = session(Config, Hog),
    {Alice, Bob} = {login(Config), login(Config)},
    #{reader := Reader} = megaphone_test_listeners:trunk_status(Config, trunk(Config)),
    [call(Config, ejabberd_config, set_option, [Option, Value])
     || {Option, Value} <- [{oom_killer, true}, {oom_queue, 1000}]],
    ok = call(Config, sys, suspend, [Pid]),
    Sent = lists:foldl(fun(_, Client) ->
                               megaphone_test_xmpp:send_message(Client, megaphone_test_xmpp:jid(Hog), "more")
                       end, Alice, lists:seq(1, 2000)),
    megaphone_test_wait:until("two thousand messages in the session's queue",
                              fun() -> queue_length(Config, Pid) >= 2000 end),
    ok = call(Config, gen_event, sync_notify, [alarm_handler, {set_alarm, {system_memory_high_watermark, []}}]),
    await_session_end(Config, Hog, Pid),
    ?assert(call(Config, erlang, is_process_alive, [Reader])),
    {_, _} = megaphone_test_xmpp:chat(Sent, Bob, 3),
    ok = call(Config, gen_event, sync_notify, [alarm_handler, {clear_alarm, system_memory_high_watermark}]),
    [call(Config, ejabberd_config, set_option, [Option, Value]) || {Option, Value} <- Before].

queue_length(Config, Pid) ->
    {message_queue_len, Length} = call(Config, erlang, process_info, [Pid, message_queue_len]),
    Length.

%% Confirms that who came by TLS is in a state in which ejabberd offers SASL2 (XEP-0388), whatever he speaks,
%% and others are not. ejabberd has SASL2 since 24.02: that of 23.01 neither offers it nor looks at this.
sasl2_policy(Config) ->
    [begin
         Client = login_over(Config, trunk(Config), maps:merge(#{transport => Transport}, Tls)),
         State = stream_state(Config, session(Config, Client)),
         ?assertEqual(Allowed, maps:get(allow_unencrypted_sasl2, State, false), {Transport, Tls}),
         megaphone_test_xmpp:logout(Client)
     end || Transport <- [<<"tcp">>, <<"websocket">>, <<"bosh">>],
            {Tls, Allowed} <- [{#{}, false}, {#{tls => <<"TLSv1.3">>}, true}]].

stream_state(Config, Pid) ->
    case element(2, call(Config, sys, get_state, [Pid])) of
        State when is_map(State) -> State;
        Packed -> call(Config, megaphone_session_state, unpack, [Packed])
    end.

%% Confirms that connected_users_info has the client's address, and how it is connected.
info_by_transport(Config) ->
    lists:foreach(
      fun({Transport, Tls, Shown}) ->
              Fields = maps:merge(#{transport => Transport, source => {{192, 0, 2, 99}, 999}}, Tls),
              Client = login_over(Config, trunk(Config), Fields),
              Jid = binary_to_list(megaphone_test_xmpp:jid(Client)),
              Infos = call(Config, mod_admin_extra, connected_users_info, []),
              Info = lists:keyfind(list_to_binary(Jid), 1, Infos),
              ?assertMatch({_, Shown, "192.0.2.99", 999, _, _, _, _, _, _}, Info),
              {User, Host, Resource} = split(megaphone_test_xmpp:jid(Client)),
              ?assertEqual({{192, 0, 2, 99}, 999}, call(Config, ejabberd_sm, get_user_ip, [User, Host, Resource])),
              megaphone_test_xmpp:logout(Client)
      end, [{Transport, Tls, Shown}
            || {Transport, Plain, Encrypted} <- [{<<"tcp">>, "c2s", "c2s_tls"},
                                                 {<<"tls">>, "c2s_tls", "c2s_tls"},
                                                 {<<"websocket">>, "websocket", "websocket"},
                                                 {<<"bosh">>, "http_bind", "http_bind"}],
               {Tls, Shown} <- [{#{}, Plain}, {#{tls => <<"TLSv1.2">>}, Encrypted}]]).

%% Confirms that a session hibernates once it was idle, and is there at once when it is needed.
hibernates(Config) ->
    Alice = login(Config),
    Bob = login(Config),
    Pid = session(Config, Alice),
    megaphone_test_ejabberd:await_sleep(ejabberd(Config), Pid),
    {Alice1, Bob1} = megaphone_test_xmpp:chat(Alice, Bob, 3),
    megaphone_test_ejabberd:await_sleep(ejabberd(Config), Pid),
    ok = megaphone_test_xmpp:logout(Alice1),
    ok = megaphone_test_xmpp:logout(Bob1).

%% Confirms that a session is the same after it slept.
sleeps_with_what_it_had(Config) ->
    Client = login(Config),
    Pid = session(Config, Client),
    Jid = megaphone_test_xmpp:jid(Client),
    Presence = call(Config, ejabberd_c2s, get_presence, [Pid]),
    megaphone_test_ejabberd:await_sleep(ejabberd(Config), Pid),
    ?assertEqual(Presence, call(Config, ejabberd_c2s, get_presence, [Pid])),
    ?assertEqual(call(Config, jid, decode, [Jid]), call(Config, xmpp, get_from, [Presence])).

%% Confirms that a session which has slept before sleeps with the state that it has by then, whatever has changed; and
%% that where nothing has, it is as it was.
sleeps_again_with_what_it_has(Config) ->
    Client = login(Config),
    Pid = session(Config, Client),
    megaphone_test_ejabberd:await_sleep(ejabberd(Config), Pid),
    Packed = element(2, call(Config, sys, get_state, [Pid])),
    State = call(Config, megaphone_session_state, unpack, [Packed]),
    Again = fun(Changed) -> call(Config, megaphone_session_state, pack_again, [Changed, {Packed, State}]) end,
    ?assertEqual({ok, Packed}, Again(State)),
    #{mgmt_state := inactive, jid := Jid, pres_timestamp := {_, _, _}, user := User} = State,
    Numbered = State#{pres_timestamp := 1},
    {ok, PackedAgain} = Again(Numbered),
    ?assertEqual(Numbered, call(Config, megaphone_session_state, unpack, [PackedAgain])),
    lists:foreach(fun(Changed) -> ?assertEqual(changed, Again(Changed)) end,
                  [State#{pres_timestamp := {1, 2, 3}}, State#{mgmt_state := active}, State#{user := <<"other">>},
                   State#{more => Jid}, State#{more => 1}, maps:remove(jid, State),
                   maps:remove(mgmt_state, State), (maps:remove(user, State))#{more => User},
                   State#{mgmt_stanzas_in => 7, pres_timestamp := 2}]).

%% Confirms that a session which is woken after a long sleep by what leaves it as it was sleeps again at once, but not if
%% there is more to do, or it was woken before not long ago.
sleeps_again_at_once(Config) ->
    Client = login(Config),
    Pid = session(Config, Client),
    megaphone_test_ejabberd:await_sleep(ejabberd(Config), Pid),
    Packed = element(2, call(Config, sys, get_state, [Pid])),
    {State, First} = megaphone_session_sleep:wake(Packed, none, 60_000),
    {sleeps, Packed, Woke} = megaphone_session_sleep:at_once(State, First),
    self() ! more,
    ?assertEqual(awake, megaphone_session_sleep:at_once(State, First)),
    receive more -> ok end,
    ?assertEqual(awake, megaphone_session_sleep:at_once(State#{lang => <<"other">>}, First)),
    {State, Soon} = megaphone_session_sleep:wake(Packed, Woke, 60_000),
    ?assertEqual(awake, megaphone_session_sleep:at_once(State, Soon)),
    ?assertMatch({Packed, _}, megaphone_session_sleep:sleep(State, Soon)),
    {State, Late} = megaphone_session_sleep:wake(Packed, Woke - 60_001, 60_000),
    ?assertMatch({sleeps, Packed, _}, megaphone_session_sleep:at_once(State, Late)).

%% Confirms that sessions stay as the listener is reloaded, and that new ones find the new listener.
reload_keeps_sessions(Config) ->
    [Port] = megaphone_test_port:free(1),
    Listener = fun(Options) -> megaphone_test_config:listener(megaphone_listener, Port, Options) end,
    Dir = filename:join(proplists:get_value(priv_dir, Config), "reload"),
    {ok, Ejabberd} = megaphone_test_ejabberd:start(#{dir => Dir, listeners => [Listener("    hibernate_after: 1\n")]}),
    try
        Own = lists:keystore(ejabberd, 1, Config, {ejabberd, Ejabberd}),
        Old = megaphone_test_yamux:connect({{127, 0, 0, 1}, Port}),
        Alice = login_over(Own, Old, #{}),
        Bob = login_over(Own, Old, #{}),
        ok = megaphone_test_ejabberd:reload(Ejabberd, #{listeners => [Listener("    hibernate_after: 2\n")]}),
        {ok, 0} = megaphone_test_yamux:await_go_away(Old),
        {Alice1, Bob1} = megaphone_test_xmpp:chat(Alice, Bob, 3),
        ok = megaphone_test_xmpp:logout(Alice1),
        ok = megaphone_test_xmpp:logout(Bob1),
        %% Nothing is left on it.
        {ok, [0]} = megaphone_test_yamux:await_end(Old)
    after
        megaphone_test_ejabberd:stop(Ejabberd)
    end.

%% Confirms that all sessions hear of the end of the node.
shutdown(Config) ->
    Dir = filename:join(proplists:get_value(priv_dir, Config), "shutdown"),
    [Port] = megaphone_test_port:free(1),
    {ok, Ejabberd} = megaphone_test_ejabberd:start(
                       #{dir => Dir, listeners => [megaphone_test_config:listener(megaphone_listener, Port, "")]}),
    Own = lists:keystore(ejabberd, 1, Config, {ejabberd, Ejabberd}),
    Trunk = megaphone_test_yamux:connect({{127, 0, 0, 1}, Port}),
    Clients = [login_over(Own, Trunk, #{}) || _ <- lists:seq(1, 20)],
    {Greeted, _} = open(Trunk, #{}),
    Halt = megaphone_test_ejabberd:start_halt(Ejabberd),
    [?assertEqual({<<"system-shutdown">>, closed}, stream_end(Client)) || Client <- [Greeted | Clients]],
    ok = megaphone_test_ejabberd:await_halt(Halt),
    megaphone_test_ejabberd:stop(Ejabberd).

%% Helpers.

trunk(Config) ->
    proplists:get_value(trunk, Config).

login(Config) ->
    login_over(Config, trunk(Config), #{}).

login(Config, Listener) ->
    login_over(Config, connect(Config, Listener), #{}).

login_over(Config, Trunk, Fields) ->
    User = megaphone_test_stage:user(Config, <<"user">>),
    megaphone_test_xmpp:login(megaphone_test_session, {Trunk, megaphone_test_session:header(Fields)}, User).

%% Two who see each other's presence.
friends(Config) ->
    Alice = login(Config),
    Bob = login(Config),
    Pairs = [{Alice, Bob}, {Bob, Alice}],
    [begin
         {User, Host, _} = split(megaphone_test_xmpp:jid(Of)),
         {Contact, _, _} = split(megaphone_test_xmpp:jid(To)),
         ok = call(Config, mod_admin_extra, add_rosteritem, [User, Host, Contact, Host, Contact, <<>>, <<"both">>])
     end || {Of, To} <- Pairs],
    {megaphone_test_xmpp:send_presence(Alice), megaphone_test_xmpp:send_presence(Bob)}.

open(Trunk, Fields) ->
    State = megaphone_test_session:connect(Trunk, megaphone_test_session:header(Fields)),
    _ = await_open(State),
    {ok, Features} = megaphone_test_session:recv_document(State),
    {State, Features}.

await_open(State) ->
    ok = megaphone_test_session:send_document(State, megaphone_test_session:open_document(<<"localhost">>)),
    {ok, Open} = megaphone_test_session:recv_document(State),
    ?assertEqual({<<"open">>, <<"urn:ietf:params:xml:ns:xmpp-framing">>},
                 {megaphone_test_xml:name(Open), megaphone_test_xml:namespace(Open)}),
    Open.

authenticated(Trunk, User) ->
    {State, _} = open(Trunk, #{}),
    ok = megaphone_test_session:send_document(State, megaphone_test_session:auth(User, <<"megaphone">>)),
    {ok, Success} = megaphone_test_session:recv_document(State),
    ?assertEqual(<<"success">>, megaphone_test_xml:name(Success)),
    _ = await_open(State),
    {ok, _Features} = megaphone_test_session:recv_document(State),
    State.

state(#{state := State}) -> State;
state(State) -> State.

stream(Client) ->
    megaphone_test_session:stream(state(Client)).

status(Client) ->
    megaphone_test_yamux:status(stream(Client)).

message(To, Body) ->
    ["<message xmlns='jabber:client' type='chat' to='", To, "'><body>", Body, "</body></message>"].

split(Jid) ->
    [User, Rest] = binary:split(Jid, <<"@">>),
    [Host, Resource] = binary:split(Rest, <<"/">>),
    {User, Host, Resource}.

session(Config, Client) ->
    {User, Host, Resource} = split(megaphone_test_xmpp:jid(Client)),
    call(Config, ejabberd_sm, get_session_pid, [User, Host, Resource]).

stream_end(Client) ->
    megaphone_test_session:stream_end(state(Client)).

drain(Client) ->
    case megaphone_test_session:recv_document(state(Client)) of
        {ok, _} -> drain(Client);
        {error, _} = Error -> Error
    end.

await_session_end(Config, Client, Pid) ->
    megaphone_test_wait:until(
      "the session's end",
      fun() -> session(Config, Client) =:= none andalso not call(Config, erlang, is_process_alive, [Pid]) end).
