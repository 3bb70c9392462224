%% ejabberd's modules on sessions: what they do with a c2s process works as on a socket of its own.
-module(megaphone_session_modules_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2,
         end_per_testcase/2]).
-export([resume_after_reset/1, resume_after_lost_trunk/1, resume_on_another_trunk/1,
         resume_a_sleeping_session/1, resume_under_the_old_connection/1, resume_after_redirect/1,
         unresumed_messages_go_offline/1, acks/1, client_state/1, archive/1, room/1, push/1, offline/1,
         ping_from_client/1, ping_from_server/1, ping_timeout/1, carbons/1, roster_push/1]).

-import(megaphone_test_listeners, [call/4, connect/1, ejabberd/1]).
-import(megaphone_test_xmpp, [jid/1]).

-define(NS_SM, <<"urn:xmpp:sm:3">>).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [resume_after_reset, resume_after_lost_trunk, resume_on_another_trunk, resume_a_sleeping_session,
     resume_under_the_old_connection, resume_after_redirect, unresumed_messages_go_offline, acks,
     client_state, archive, room, push, offline, ping_from_client, ping_from_server, ping_timeout,
     carbons, roster_push].

init_per_suite(Config) ->
    megaphone_test_listeners:start(Config, #{default => "    hibernate_after: 1\n"},
                                   #{modules => "  mod_carboncopy: {}\n"
                                                "  mod_client_state: {}\n"
                                                "  mod_mam:\n"
                                                "    default: always\n"
                                                "  mod_muc:\n"
                                                "    host: conference.localhost\n"
                                                "  mod_offline: {}\n"
                                                "  mod_ping:\n"
                                                "    send_pings: true\n"
                                                "    ping_interval: 1 hour\n"
                                                "    ping_ack_timeout: 1\n"
                                                "    timeout_action: kill\n"
                                                "  mod_push: {}\n"}).

end_per_suite(Config) ->
    megaphone_test_listeners:stop(Config).

init_per_testcase(_, Config) ->
    [{trunk, connect(Config)} | Config].

end_per_testcase(_, Config) ->
    megaphone_test_yamux:close(trunk(Config)).

%% Confirms that a stream that was reset is resumed (XEP-0198, 5), with what came meanwhile.
resume_after_reset(Config) ->
    resume(Config, trunk(Config), fun(_Trunk, Client) -> megaphone_test_xmpp:drop(Client) end).

%% Confirms the same after the whole trunk was lost.
resume_after_lost_trunk(Config) ->
    resume(Config, connect(Config), fun(Trunk, _Client) -> megaphone_test_yamux:close(Trunk) end).

%% Confirms that the trunk does not matter.
resume_on_another_trunk(Config) ->
    resume(Config, connect(Config), fun(_Trunk, Client) -> megaphone_test_xmpp:drop(Client) end).

%% Confirms that the session may have slept meanwhile.
resume_a_sleeping_session(Config) ->
    resume(Config, trunk(Config),
           fun(_Trunk, Client) ->
                   Pid = session(Config, Client),
                   megaphone_test_xmpp:drop(Client),
                   await_socketless(Config, Pid),
                   megaphone_test_ejabberd:await_sleep(ejabberd(Config), Pid)
           end).

%% Confirms that a client may come back before its old connection's end is known: that one is closed.
resume_under_the_old_connection(Config) ->
    Bob = login(Config, trunk(Config), <<"bob">>),
    {Id, Bob1} = enable(Bob),
    Resumed = resumed(Config, connect(Config), Bob1, Id),
    ?assertMatch({error, _}, drain(Bob1)),
    _ = megaphone_test_xmpp:chat(login(Config, trunk(Config), <<"alice">>), Resumed, 3).

%% Confirms that a client that was sent away by see-other-uri may resume.
resume_after_redirect(Config) ->
    resume(Config, trunk(Config),
           fun(_Trunk, Client) ->
                   ok = call(Config, megaphone_session, redirect, [session(Config, Client), <<"wss://b.example/">>]),
                   {error, _} = drain(Client)
           end).

resume(Config, Trunk, Break) ->
    Alice = login(Config, trunk(Config), <<"alice">>),
    Bob = login(Config, Trunk, <<"bob">>),
    {Id, Bob1} = enable(Bob),
    Pid = session(Config, Bob1),
    Alice1 = megaphone_test_xmpp:send_message(Alice, jid(Bob1), <<"before">>),
    {{_, <<"before">>}, Bob2} = megaphone_test_xmpp:recv_message(Bob1),
    Break(Trunk, Bob2),
    await_socketless(Config, Pid),
    Alice2 = megaphone_test_xmpp:send_message(Alice1, jid(Bob2), <<"meanwhile">>),
    Back = resumed(Config, connect(Config), Bob2, Id),
    %% Bob has acknowledged nothing.
    {{_, <<"before">>}, Back1} = megaphone_test_xmpp:recv_message(Back),
    {{_, <<"meanwhile">>}, Back2} = megaphone_test_xmpp:recv_message(Back1),
    {Alice3, Back3} = megaphone_test_xmpp:chat(Alice2, Back2, 3),
    ok = megaphone_test_xmpp:logout(Alice3),
    ok = megaphone_test_xmpp:logout(Back3).

%% Confirms that messages to a session that was never resumed are delivered at the next login.
unresumed_messages_go_offline(Config) ->
    Alice = login(Config, trunk(Config), <<"alice">>),
    Bob = login(Config, trunk(Config), <<"bob">>),
    {_Id, Bob1} = enable(Bob, "max='1'"),
    Pid = session(Config, Bob1),
    megaphone_test_xmpp:drop(Bob1),
    await_socketless(Config, Pid),
    {User, Host, _} = split(jid(Bob1)),
    _ = megaphone_test_xmpp:send_message(Alice, <<User/binary, "@", Host/binary>>, <<"later">>),
    await_gone(Config, Pid),
    %% Archived, so it is not sent again; the archive has it.
    Again = megaphone_test_xmpp:connect(megaphone_test_session, {trunk(Config), header()}, User, #{}),
    ?assertMatch([<<"later">> | _], lists:reverse(element(1, query_archive(Again)))).

%% Confirms that stanzas are counted and acknowledged.
acks(Config) ->
    Client = login(Config, trunk(Config), <<"user">>),
    {_, Enabled} = enable(Client),
    {_, Asked} = megaphone_test_xmpp:request(Enabled, {"get", "to='localhost'", "<ping xmlns='urn:xmpp:ping'/>"}),
    Requested = megaphone_test_xmpp:send(Asked, "<r xmlns='urn:xmpp:sm:3'/>"),
    {Answer, _} = await(<<"a">>, Requested),
    ?assertEqual(<<"1">>, megaphone_test_xml:attribute(<<"h">>, Answer)).

%% Confirms that an inactive client is left in peace until it is active again (XEP-0352).
client_state(Config) ->
    Alice = login(Config, trunk(Config), <<"alice">>),
    Bob = login(Config, trunk(Config), <<"bob">>),
    Inactive = megaphone_test_xmpp:send(Bob, "<inactive xmlns='urn:xmpp:csi:0'/>"),
    Pid = session(Config, Inactive),
    megaphone_test_wait:until("the client to be inactive",
                              fun() -> maps:get(csi_state, stream(Config, Pid), active) =:= inactive end),
    Chatting = ["<message xmlns='jabber:client' type='chat' to='", jid(Bob),
                "'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"],
    Alice1 = megaphone_test_xmpp:send(Alice, Chatting),
    %% The answer to a ping comes behind all that is not held back.
    {_, _} = megaphone_test_xmpp:request(Alice1, {"get", "to='localhost'", "<ping xmlns='urn:xmpp:ping'/>"}),
    ?assertEqual({error, timeout}, megaphone_test_session:recv_document(maps:get(state, Inactive), 100)),
    Active = megaphone_test_xmpp:send(Inactive, "<active xmlns='urn:xmpp:csi:0'/>"),
    {Held, _} = megaphone_test_xmpp:recv(Active),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"composing">>, Held)).

%% Confirms that the archive is written and read (XEP-0313).
archive(Config) ->
    {Alice, Bob} = megaphone_test_xmpp:chat(login(Config, trunk(Config), <<"alice">>),
                                            login(Config, trunk(Config), <<"bob">>), 3),
    ?assertEqual(6, length(element(1, query_archive(Alice)))),
    ?assertEqual(6, length(element(1, query_archive(Bob)))).

%% Confirms that a room (XEP-0045) has its occupants on sessions, and hears of one that is lost.
room(Config) ->
    Alice = login(Config, trunk(Config), <<"alice">>),
    Bob = login(Config, trunk(Config), <<"bob">>),
    Room = <<"room", (integer_to_binary(erlang:unique_integer([positive])))/binary, "@conference.localhost">>,
    Alice1 = join(Alice, Room, <<"alice">>),
    Bob1 = join(Bob, Room, <<"bob">>),
    Alice2 = megaphone_test_xmpp:send(Alice1, ["<message xmlns='jabber:client' type='groupchat' to='", Room,
                                               "'><body>hello all</body></message>"]),
    From = <<Room/binary, "/alice">>,
    {{From, <<"hello all">>}, Alice3} = recv_body(Alice2),
    {{From, <<"hello all">>}, Bob2} = recv_body(Bob1),
    megaphone_test_xmpp:drop(Bob2),
    _ = megaphone_test_session:await_presence(Alice3, <<Room/binary, "/bob">>, <<"unavailable">>).

%% Confirms that a lost client's push service is told of a message (XEP-0357).
push(Config) ->
    Service = login(Config, trunk(Config), <<"push">>),
    Alice = login(Config, trunk(Config), <<"alice">>),
    Bob = login(Config, trunk(Config), <<"bob">>),
    {_, Bob1} = megaphone_test_xmpp:request(Bob, {"set", "", ["<enable xmlns='urn:xmpp:push:0' jid='",
                                                              jid(Service), "' node='n1'/>"]}),
    {_Id, Bob2} = enable(Bob1),
    Pid = session(Config, Bob2),
    megaphone_test_xmpp:drop(Bob2),
    await_socketless(Config, Pid),
    _ = megaphone_test_xmpp:send_message(Alice, jid(Bob2), <<"wake up">>),
    {Notification, _} = await(<<"iq">>, Service),
    Publish = megaphone_test_xml:child(<<"publish">>, megaphone_test_xml:child(<<"pubsub">>, Notification)),
    ?assertEqual(<<"n1">>, megaphone_test_xml:attribute(<<"node">>, Publish)).

%% Confirms that messages to nobody are there at the next login.
offline(Config) ->
    Alice = login(Config, trunk(Config), <<"alice">>),
    User = megaphone_test_stage:user(Config, <<"bob">>),
    Alice1 = megaphone_test_xmpp:send_message(Alice, <<User/binary, "@localhost">>, <<"for later">>),
    {_, _} = megaphone_test_xmpp:request(Alice1, {"get", "to='localhost'", "<ping xmlns='urn:xmpp:ping'/>"}),
    Bob = megaphone_test_xmpp:connect(megaphone_test_session, {trunk(Config), header()}, User, #{}),
    Present = megaphone_test_xmpp:send(Bob, "<presence xmlns='jabber:client'/>"),
    ?assertMatch({{_, <<"for later">>}, _}, recv_body(Present)).

ping_from_client(Config) ->
    Client = login(Config, trunk(Config), <<"user">>),
    {_, _} = megaphone_test_xmpp:request(Client, {"get", "to='localhost'", "<ping xmlns='urn:xmpp:ping'/>"}).

%% Confirms that the server pings (XEP-0199), and that an answer keeps the session.
ping_from_server(Config) ->
    Client = login(Config, trunk(Config), <<"user">>),
    {Ping, Pinged} = pinged(Config, Client),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"ping">>, Ping)),
    Id = megaphone_test_xml:attribute(<<"id">>, Ping),
    Answered = megaphone_test_xmpp:send(Pinged, ["<iq xmlns='jabber:client' type='result' to='localhost' id='", Id, "'/>"]),
    {_, _} = megaphone_test_xmpp:request(Answered, {"get", "to='localhost'", "<ping xmlns='urn:xmpp:ping'/>"}).

%% Confirms that a client that does not answer is closed.
ping_timeout(Config) ->
    Client = login(Config, trunk(Config), <<"user">>),
    Pid = session(Config, Client),
    {_, _} = pinged(Config, Client),
    await_gone(Config, Pid),
    ?assertMatch({error, _}, drain(Client)).

%% Confirms that the other session of a user has copies (XEP-0280).
carbons(Config) ->
    Alice = login(Config, trunk(Config), <<"alice">>),
    Bob = login(Config, trunk(Config), <<"bob">>),
    {User, _, _} = split(jid(Bob)),
    Other = megaphone_test_xmpp:login(megaphone_test_session, {trunk(Config), header()}, User),
    {_, Other1} = megaphone_test_xmpp:request(Other, {"set", "", "<enable xmlns='urn:xmpp:carbons:2'/>"}),
    _ = megaphone_test_xmpp:send_message(Alice, jid(Bob), <<"once">>),
    {{_, <<"once">>}, _} = megaphone_test_xmpp:recv_message(Bob),
    {Carbon, _} = await(<<"message">>, Other1),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"received">>, Carbon)).

roster_push(Config) ->
    Client = login(Config, trunk(Config), <<"user">>),
    {_, Asked} = megaphone_test_xmpp:request(Client, {"get", "", "<query xmlns='jabber:iq:roster'/>"}),
    Set = megaphone_test_xmpp:send(Asked, ["<iq xmlns='jabber:client' type='set' id='r'><query xmlns='jabber:iq:roster'>"
                                           "<item jid='friend@localhost'/></query></iq>"]),
    {Push, _} = await_child(<<"query">>, Set),
    [Item] = megaphone_test_xml:children(megaphone_test_xml:child(<<"query">>, Push)),
    ?assertEqual(<<"friend@localhost">>, megaphone_test_xml:attribute(<<"jid">>, Item)).

%% Helpers.

trunk(Config) ->
    proplists:get_value(trunk, Config).

header() ->
    megaphone_test_session:header().

login(Config, Trunk, Name) ->
    User = megaphone_test_stage:user(Config, Name),
    megaphone_test_xmpp:login(megaphone_test_session, {Trunk, header()}, User).

enable(Client) ->
    enable(Client, "").

enable(Client, Attributes) ->
    Asked = megaphone_test_xmpp:send(Client, ["<enable xmlns='urn:xmpp:sm:3' resume='true' ", Attributes, "/>"]),
    {Enabled, Ready} = await(<<"enabled">>, Asked),
    {megaphone_test_xml:attribute(<<"id">>, Enabled), Ready}.

%% The client with its session resumed on a new stream of the trunk.
resumed(_Config, Trunk, Client, Id) ->
    {User, Host, _} = split(jid(Client)),
    {ok, State} = megaphone_test_session:open({Trunk, header()}, Host, #{}),
    {ok, _Features} = megaphone_test_session:recv_document(State),
    ok = megaphone_test_session:send_document(State, megaphone_test_session:auth(User, <<"megaphone">>)),
    {ok, {xmlel, <<"success">>, _, _}} = megaphone_test_session:recv_document(State),
    {ok, _} = megaphone_test_session:restart(State),
    {ok, _Bind} = megaphone_test_session:recv_document(State),
    ok = megaphone_test_session:send_document(State, ["<resume xmlns='urn:xmpp:sm:3' h='0' previd='", Id, "'/>"]),
    {ok, Resumed} = megaphone_test_session:recv_document(State),
    ?assertEqual({<<"resumed">>, ?NS_SM}, {megaphone_test_xml:name(Resumed), megaphone_test_xml:namespace(Resumed)}),
    megaphone_test_xmpp:update(Client, State).

query_archive(Client) ->
    Asked = megaphone_test_xmpp:send(Client, "<iq xmlns='jabber:client' type='set' id='mam'><query xmlns='urn:xmpp:mam:2'/></iq>"),
    query_results(Asked, []).

query_results(Client, Bodies) ->
    {Stanza, Received} = megaphone_test_xmpp:recv(Client),
    Result = megaphone_test_xml:child(<<"result">>, Stanza),
    case {megaphone_test_xml:name(Stanza), Result} of
        {<<"iq">>, _} ->
            {lists:reverse(Bodies), Received};
        {<<"message">>, {xmlel, _, _, _}} ->
            Message = megaphone_test_xml:child(<<"message">>, megaphone_test_xml:child(<<"forwarded">>, Result)),
            Body = megaphone_test_xml:text(megaphone_test_xml:child(<<"body">>, Message)),
            query_results(Received, [Body | Bodies]);
        _ ->
            query_results(Received, Bodies)
    end.

join(Client, Room, Nick) ->
    Sent = megaphone_test_xmpp:send(Client, ["<presence xmlns='jabber:client' to='", Room, "/", Nick,
                                             "'><x xmlns='http://jabber.org/protocol/muc'/></presence>"]),
    %% A room's subject comes last.
    {_, Joined} = await_child(<<"subject">>, Sent),
    Joined.

%% Has the server's timer run out.
pinged(Config, Client) ->
    Module = call(Config, gen_mod, get_module_proc, [<<"localhost">>, mod_ping]),
    Jid = call(Config, jid, decode, [jid(Client)]),
    _ = call(Config, erlang, send, [Module, {timeout, make_ref(), {ping, Jid}}]),
    await(<<"iq">>, Client).

recv_body(Client) ->
    case megaphone_test_xmpp:recv_message(Client) of
        {{_, <<>>}, Received} -> recv_body(Received);
        Found -> Found
    end.

%% The next stanza of that name; others are passed over.
await(Name, Client) ->
    {Stanza, Received} = megaphone_test_xmpp:recv(Client),
    case megaphone_test_xml:name(Stanza) of
        Name -> {Stanza, Received};
        _ -> await(Name, Received)
    end.

await_child(Name, Client) ->
    {Stanza, Received} = megaphone_test_xmpp:recv(Client),
    case megaphone_test_xml:child(Name, Stanza) of
        undefined -> await_child(Name, Received);
        _ -> {Stanza, Received}
    end.

drain(Client) ->
    case megaphone_test_session:recv_document(maps:get(state, Client)) of
        {ok, _} -> drain(Client);
        {error, _} = Error -> Error
    end.

split(Jid) ->
    [User, Rest] = binary:split(Jid, <<"@">>),
    [Host, Resource] = binary:split(Rest, <<"/">>),
    {User, Host, Resource}.

session(Config, Client) ->
    {User, Host, Resource} = split(jid(Client)),
    call(Config, ejabberd_sm, get_session_pid, [User, Host, Resource]).

%% The c2s state.
stream(Config, Pid) ->
    case element(2, call(Config, sys, get_state, [Pid])) of
        State when is_map(State) -> State;
        Packed -> call(Config, megaphone_session_state, unpack, [Packed])
    end.

await_socketless(Config, Pid) ->
    megaphone_test_wait:until("the session to notice that its connection broke",
                              fun() -> not is_map_key(socket, stream(Config, Pid)) end).

await_gone(Config, Pid) ->
    megaphone_test_wait:until("the session's end", fun() -> not call(Config, erlang, is_process_alive, [Pid]) end).
