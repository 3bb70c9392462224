%% Sessions move between nodes of one cluster, and between trunks of one node: the suite is the ECM, and the nodes are
%% real. Clients notice nothing, and nothing is lost, doubled or reordered.
-module(megaphone_move_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([a_session_goes_on_at_another_node/1, within_one_node/1, versions_are_told/1,
         with_stream_management/1, acknowledgements_stay_due/1, what_client_state_holds_back/1,
         what_the_row_says/1, contacts_see_nothing/1, the_blocked_stay_blocked/1, an_anonymous_user_stays/1,
         a_room_keeps_its_occupant/1, pings_come_from_the_new_node/1, the_new_listeners_shaper_counts/1,
         a_session_that_sleeps/1, many_times_under_senders/1, many_at_once/1, a_client_that_reads_slowly/1,
         a_move_right_after_another/1, a_newer_login_wins/1, a_client_that_leaves/1, before_the_login/1,
         a_listener_that_is_reloaded/1, a_node_that_is_to_drain/1, a_node_that_stops/1,
         a_node_with_little_time/1]).

-define(TIMEOUT, 10_000).

suite() ->
    [{timetrap, {minutes, 3}}].

all() ->
    [a_session_goes_on_at_another_node, within_one_node, versions_are_told,
     with_stream_management, acknowledgements_stay_due, what_client_state_holds_back,
     what_the_row_says, contacts_see_nothing, the_blocked_stay_blocked, an_anonymous_user_stays,
     a_room_keeps_its_occupant, pings_come_from_the_new_node, the_new_listeners_shaper_counts,
     a_session_that_sleeps, many_times_under_senders, many_at_once, a_client_that_reads_slowly,
     a_move_right_after_another, a_newer_login_wins, a_client_that_leaves, before_the_login,
     a_listener_that_is_reloaded, a_node_that_is_to_drain, a_node_that_stops, a_node_with_little_time].

%% The first node has sessions that sleep soon, and the third keeps what waits for acknowledgements in files.
init_per_suite(Config) ->
    Members = megaphone_test_cluster:start(
                filename:join([proplists:get_value(priv_dir, Config), ?MODULE, "cluster"]),
                [#{options => "    hibernate_after: 1\n"},
                 #{options => "    c2s:\n      shaper: slow\n    drain_timeout: 1\n"},
                 #{top => "queue_type: file\n"}],
                #{top => "anonymous_protocol: login_anon\n"
                         "shaper:\n"
                         "  slow: 20000\n"
                         "shaper_rules:\n"
                         "  slow: slow\n"
                         "append_host_config:\n"
                         "  impatient.localhost:\n"
                         "    auth_method: [internal, anonymous]\n",
                  modules => "  mod_blocking: {}\n"
                             "  mod_carboncopy: {}\n"
                             "  mod_client_state: {}\n"
                             "  mod_muc: {}\n"
                             "  mod_offline: {}\n"
                             "  mod_ping:\n"
                             "    send_pings: true\n"
                             "    ping_interval: 60\n"
                             "  mod_privacy: {}\n"}),
    [{members, Members} | Config].

end_per_suite(Config) ->
    megaphone_test_cluster:stop(members(Config)).

%% Confirms that both ways work behind a move, that the row names the new node, and that the old process ends.
a_session_goes_on_at_another_node(Config) ->
    [A, B, _] = members(Config),
    Bob = login(A, <<"bob">>),
    Alice = login(A, <<"alice">>),
    Old = process(B, Alice),
    ?assertEqual(megaphone_test_cluster:node_of(A), node(Old)),
    Moved = move(Alice, B),
    ?assertEqual(megaphone_test_cluster:node_of(B), node(process(A, Moved))),
    {Moved1, Bob1} = megaphone_test_xmpp:chat(Moved, Bob, 20),
    ok = megaphone_test_cluster:await_gone({A, Old}),
    %% And back.
    {Moved2, Bob2} = megaphone_test_xmpp:chat(move(Moved1, A), Bob1, 20),
    ok = megaphone_test_xmpp:logout(Moved2),
    ?assertEqual([], processes(A, Moved2)),
    ok = megaphone_test_xmpp:logout(Bob2).

within_one_node(Config) ->
    [A | _] = members(Config),
    Alice = login(A, <<"alice">>),
    Bob = login(A, <<"bob">>),
    Old = process(A, Alice),
    Moved = move(Alice, A),
    ?assertNotEqual(Old, process(A, Moved)),
    _ = megaphone_test_xmpp:chat(Moved, Bob, 20),
    megaphone_test_cluster:await_gone({A, Old}).

%% Confirms that the nodes say the same of what can move, and that it names what counts.
versions_are_told(Config) ->
    Versions = [megaphone_test_move:ask(megaphone_test_cluster:connect(Member)) || Member <- members(Config)],
    ?assertMatch([_], lists:usort(Versions)),
    ?assertMatch({match, _}, re:run(hd(Versions), "^Megaphone [0-9.]+, ejabberd [0-9][^ ]*, xmpp [0-9][^ ]*$")).

%% Confirms that what the client did not acknowledge before it moved comes again when it resumes after that, at
%% another node, and that the counters are those of before; from a queue in memory, and from one in a file.
with_stream_management(Config) ->
    [A, B, C] = members(Config),
    with_stream_management(A, B, C),
    with_stream_management(C, B, A).

with_stream_management(First, Second, Third) ->
    User = megaphone_test_cluster:user(First, <<"alice">>),
    Alice = managed(megaphone_test_xmpp:login(megaphone_test_session, target(First), User)),
    Bob = login(Second, <<"bob">>),
    Bob1 = send_bodies(Bob, jid(Alice), [<<"one">>, <<"two">>]),
    Two = megaphone_test_resumption:recv_messages(Alice, 2),
    Sent = megaphone_test_resumption:send_message(Two, megaphone_test_xmpp:jid(Bob), <<"from alice">>),
    Moved = move_managed(Sent, Second),
    {{_, <<"from alice">>}, Bob2} = megaphone_test_xmpp:recv_message(Bob1),
    Bob3 = send_bodies(Bob2, jid(Alice), [<<"three">>]),
    Three = megaphone_test_resumption:recv_messages(Moved, 3),
    ok = megaphone_test_resumption:drop(Three),
    ok = next_second(),
    New = megaphone_test_xmpp:authenticate(megaphone_test_session, target(Third), User, #{}),
    %% It has lost the last one, which it had not acknowledged.
    #{handled := Handled} = Three,
    Resumed = megaphone_test_resumption:resume(Three#{handled := Handled - 1}, New),
    _ = send_bodies(Bob3, jid(Alice), [<<"four">>]),
    All = megaphone_test_resumption:recv_messages(Resumed, 5),
    ?assertEqual([<<"one">>, <<"two">>, <<"three">>, <<"three">>, <<"four">>],
                 megaphone_test_resumption:received(All)),
    %% What it sent was counted before the move.
    ?assertMatch(#{unacknowledged := []}, All),
    megaphone_test_resumption:logout(All).

%% Confirms that a client which moves is still to acknowledge in time, by the clock of before.
acknowledgements_stay_due(Config) ->
    [A, B, _] = members(Config),
    Enabled = megaphone_test_xmpp:send(login(A, <<"alice">>), "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"),
    {_, Alice} = megaphone_test_xmpp:recv_until(Enabled, is_named(<<"enabled">>), ?TIMEOUT),
    Bob = login(B, <<"bob">>),
    _ = send_bodies(Bob, megaphone_test_xmpp:jid(Alice), [<<"one">>]),
    {_, Asked} = megaphone_test_xmpp:recv_until(Alice, is_named(<<"r">>), ?TIMEOUT),
    Before = probe(A, ack_left, process(A, Alice)),
    ?assert(is_integer(Before), Before),
    Moved = move(Asked, B),
    After = probe(B, ack_left, process(B, Moved)),
    ?assert(is_integer(After) andalso After =< Before andalso After > Before - ?TIMEOUT, {After, Before}),
    %% It is no longer due once it has come.
    Acknowledged = megaphone_test_xmpp:send(Moved, "<a xmlns='urn:xmpp:sm:3' h='1'/>"),
    true = megaphone_test_wait:until("nothing to be due",
                                     fun() -> probe(B, ack_left, process(B, Acknowledged)) =:= none end),
    ok.

%% Confirms that presence which client state holds back stays held back, and comes when the client is active again.
what_client_state_holds_back(Config) ->
    [A, B, _] = members(Config),
    %% At the node that the session goes to: what he sends is there before what the client sends later.
    Bob = login(B, <<"bob">>),
    Inactive = sync(megaphone_test_xmpp:send(login(A, <<"alice">>), "<inactive xmlns='urn:xmpp:csi:0'/>")),
    Bob1 = sync(send_presence(Bob, megaphone_test_xmpp:jid(Inactive), <<"first">>)),
    Moved = move(Inactive, B),
    _ = sync(send_presence(Bob1, megaphone_test_xmpp:jid(Inactive), <<"second">>)),
    Pinged = megaphone_test_xmpp:send(Moved, "<iq xmlns='jabber:client' type='get' id='quiet' to='localhost'>"
                                      "<ping xmlns='urn:xmpp:ping'/></iq>"),
    {Answer, Quiet} = megaphone_test_xmpp:recv(Pinged),
    ?assertEqual(<<"quiet">>, megaphone_test_xml:attribute(<<"id">>, Answer)),
    Active = megaphone_test_xmpp:send(Quiet, "<active xmlns='urn:xmpp:csi:0'/>"),
    {Presence, _} = megaphone_test_xmpp:recv(Active),
    %% One is enough of each.
    ?assertEqual(<<"second">>, megaphone_test_xml:text(megaphone_test_xml:child(<<"status">>, Presence))).

%% Confirms that the row keeps the priority and carbons, and says where the client is now.
what_the_row_says(Config) ->
    [A, B, _] = members(Config),
    {_, Carbons} = megaphone_test_xmpp:request(login(A, <<"alice">>),
                                               {"set", "", "<enable xmlns='urn:xmpp:carbons:2'/>"}),
    Ready = sync(megaphone_test_xmpp:send(Carbons, "<presence xmlns='jabber:client'>"
                                          "<priority>7</priority></presence>")),
    Before = info(A, Ready),
    ?assertMatch(#{priority := 7, conn := c2s, ip := {{192, 0, 2, 7}, 4711}, carboncopy := _}, Before),
    Header = megaphone_test_session:header(#{source => {{192, 0, 2, 8}, 1}, transport => <<"websocket">>}),
    Moved = megaphone_test_move:move(Ready, megaphone_test_cluster:connect(B), Header),
    After = info(A, Moved),
    ?assertMatch(#{priority := 7, conn := websocket, ip := {{192, 0, 2, 8}, 1}}, After),
    Same = fun(Info) -> maps:without([node, ts, pid, conn, ip], Info) end,
    ?assertEqual(Same(Before), Same(After)),
    ?assert(maps:get(ts, After) > maps:get(ts, Before)),
    %% It sees what another resource of its user is sent.
    Bob = login(A, <<"bob">>),
    [User, _] = binary:split(megaphone_test_xmpp:jid(Moved), <<"@">>),
    Other = megaphone_test_xmpp:login(megaphone_test_session, target(A), User),
    _ = send_bodies(Bob, megaphone_test_xmpp:jid(Other), [<<"copied">>]),
    {Copy, _} = megaphone_test_xmpp:recv_until(Moved, is_named(<<"message">>), ?TIMEOUT),
    ?assertNotEqual(undefined, megaphone_test_xml:child(<<"received">>, Copy)).

%% Confirms that those who know of the client get no presence as it moves, and are told when it leaves.
contacts_see_nothing(Config) ->
    [A, B, _] = members(Config),
    Bob = login(B, <<"bob">>),
    Known = send_presence(login(A, <<"alice">>), megaphone_test_xmpp:jid(Bob), <<"here">>),
    {_, Bob1} = megaphone_test_xmpp:recv_until(Bob, is_named(<<"presence">>), ?TIMEOUT),
    Moved = send_bodies(move(Known, B), megaphone_test_xmpp:jid(Bob), [<<"moved">>]),
    {Next, Bob2} = megaphone_test_xmpp:recv(Bob1),
    ?assertMatch({_, <<"moved">>}, megaphone_test_xmpp:message(Next)),
    ok = megaphone_test_xmpp:logout(Moved),
    _ = megaphone_test_session:await_presence(Bob2, megaphone_test_xmpp:jid(Moved), <<"unavailable">>),
    ok.

the_blocked_stay_blocked(Config) ->
    [A, B, _] = members(Config),
    Bob = login(A, <<"bob">>),
    {_, Blocking} = megaphone_test_xmpp:request(login(A, <<"alice">>),
                                                {"set", "", ["<block xmlns='urn:xmpp:blocking'><item jid='",
                                                             megaphone_test_xmpp:jid(Bob), "'/></block>"]}),
    Moved = move(Blocking, B),
    _ = sync(send_bodies(Bob, megaphone_test_xmpp:jid(Moved), [<<"blocked">>])),
    Carol = login(A, <<"carol">>),
    _ = send_bodies(Carol, megaphone_test_xmpp:jid(Moved), [<<"not blocked">>]),
    {{_, Body}, _} = megaphone_test_xmpp:recv_message(Moved),
    ?assertEqual(<<"not blocked">>, Body).

%% Confirms that neither node takes a user for gone who is one as long as the session is there: ejabberd would end it.
an_anonymous_user_stays(Config) ->
    [A, B, _] = members(Config),
    Options = #{host => <<"impatient.localhost">>, password => <<"whatever">>},
    User = <<"ghost", (integer_to_binary(erlang:unique_integer([positive])))/binary>>,
    Ghost = megaphone_test_xmpp:login(megaphone_test_session, target(A), User, Options),
    ?assertMatch(#{auth_module := ejabberd_auth_anonymous}, info(A, Ghost)),
    Old = process(A, Ghost),
    Moved = move(Ghost, B),
    ok = megaphone_test_cluster:await_gone({A, Old}),
    ?assertMatch(#{auth_module := ejabberd_auth_anonymous}, info(A, Moved)),
    Bob = login(A, <<"bob">>),
    _ = megaphone_test_xmpp:chat(Moved, Bob, 3),
    ok = megaphone_test_xmpp:logout(Moved).

a_room_keeps_its_occupant(Config) ->
    [A, B, _] = members(Config),
    Room = <<"room@conference.localhost">>,
    Alice = join(login(A, <<"alice">>), Room, <<"alice">>),
    Bob = join(login(A, <<"bob">>), Room, <<"bob">>),
    Moved = move(Alice, B),
    _ = say_in(Room, <<"hello">>, Bob),
    {_, Heard} = recv_body(Moved, {<<Room/binary, "/bob">>, <<"hello">>}),
    _ = say_in(Room, <<"hello too">>, Heard),
    {_, _} = recv_body(Bob, {<<Room/binary, "/alice">>, <<"hello too">>}),
    ok.

%% Confirms that mod_ping, which is by node, goes on at the new one alone.
pings_come_from_the_new_node(Config) ->
    [A, B, _] = members(Config),
    Alice = login(A, <<"alice">>),
    ?assert(probe(A, has_ping_timer, parts(Alice))),
    Moved = move(Alice, B),
    ?assert(probe(B, has_ping_timer, parts(Moved))),
    megaphone_test_wait:until("mod_ping to forget the session at the old node",
                              fun() -> not probe(A, has_ping_timer, parts(Moved)) end).

%% Confirms that a session is shaped as those of the listener that it comes to: 60 KB at 20 KB a second.
the_new_listeners_shaper_counts(Config) ->
    [A, B, _] = members(Config),
    Bob = login(A, <<"bob">>),
    Moved = move(login(A, <<"alice">>), B),
    Body = binary:copy(<<"x">>, 10000),
    Begin = erlang:monotonic_time(millisecond),
    _ = send_bodies(Moved, megaphone_test_xmpp:jid(Bob), lists:duplicate(6, Body)),
    _ = lists:foldl(fun(_, Client) -> element(2, megaphone_test_xmpp:recv_message(Client)) end, Bob, lists:seq(1, 6)),
    ?assert(erlang:monotonic_time(millisecond) - Begin > 1000).

%% Confirms that a session which sleeps moves and sleeps again, and is no larger while its token is out.
a_session_that_sleeps(Config) ->
    [A, _, _] = members(Config),
    Alice = login(A, <<"alice">>),
    Old = process(A, Alice),
    Asleep = memory_asleep(A, Old),
    {Token, Asked} = megaphone_test_move:await_token(megaphone_test_move:mark(Alice)),
    Parked = memory_asleep(A, Old),
    ?assert(Parked =< Asleep + 512, {Parked, Asleep}),
    Stream = megaphone_test_move:take(megaphone_test_cluster:connect(A), megaphone_test_session:header(), Token),
    Moved = megaphone_test_move:go(Stream, megaphone_test_move:await_moved(Asked)),
    New = memory_asleep(A, process(A, Moved)),
    ?assert(New =< Asleep + 512, {New, Asleep}),
    Bob = login(A, <<"bob">>),
    _ = megaphone_test_xmpp:chat(Moved, Bob, 3),
    ok.

%% Confirms that nothing is lost, doubled or reordered of what others send from each of the nodes while the session
%% moves round.
many_times_under_senders(Config) ->
    [A, B, C] = members(Config),
    Alice = login(A, <<"alice">>),
    Count = 3000,
    Senders = [spawn_sender(Member, megaphone_test_xmpp:jid(Alice), Count) || Member <- [A, B, C, A]],
    Due = maps:from_list([{Jid, 1} || Jid <- Senders]),
    {Moves, Moved} = receive_moving(Alice, [B, C, A], Count * length(Senders), Due, 0),
    ct:pal("~b moves under ~b messages", [Moves, Count * length(Senders)]),
    ?assert(Moves >= 20, Moves),
    %% Not one more.
    _ = send_bodies(Moved, megaphone_test_xmpp:jid(Moved), [<<"last">>]),
    ?assertMatch({{_, <<"last">>}, _}, megaphone_test_xmpp:recv_message(Moved)).

many_at_once(Config) ->
    [A, B, _] = members(Config),
    {TrunkA, Header} = target(A),
    TrunkB = megaphone_test_cluster:connect(B),
    Clients = [megaphone_test_xmpp:login(megaphone_test_session, {TrunkA, Header}, User)
               || User <- [megaphone_test_cluster:user(A, <<"alice">>) || _ <- lists:seq(1, 100)]],
    Asked = [megaphone_test_move:await_token(Client)
             || Client <- [megaphone_test_move:mark(Client) || Client <- Clients]],
    Streams = [{megaphone_test_move:take(TrunkB, Header, Token), Client} || {Token, Client} <- Asked],
    Moved = [megaphone_test_move:go(Stream, megaphone_test_move:await_moved(Client)) || {Stream, Client} <- Streams],
    [?assertEqual(megaphone_test_cluster:node_of(B), node(process(A, Client))) || Client <- Moved],
    Bob = login(A, <<"bob">>),
    [{{_, <<"hello">>}, _} = begin
                                 _ = send_bodies(Bob, megaphone_test_xmpp:jid(Client), [<<"hello">>]),
                                 megaphone_test_xmpp:recv_message(Client)
                             end || Client <- Moved],
    ok.

%% Confirms that a session whose client reads slowly moves once it has read, and loses nothing.
a_client_that_reads_slowly(Config) ->
    [A, B, _] = members(Config),
    {Token, Alice} = megaphone_test_move:await_token(megaphone_test_move:mark(login(A, <<"alice">>))),
    Bob = login(A, <<"bob">>),
    %% More than the stream's window and what ejabberd has ahead of it.
    Body = binary:copy(<<"x">>, 20000),
    Bodies = [<<(integer_to_binary(Number))/binary, " ", Body/binary>> || Number <- lists:seq(1, 40)],
    Sent = send_bodies(Bob, megaphone_test_xmpp:jid(Alice), Bodies),
    Old = process(A, Alice),
    megaphone_test_wait:until("the session to wait for its client", fun() -> probe(A, is_in_send, Old) end),
    Stream = megaphone_test_move:take(megaphone_test_cluster:connect(B), megaphone_test_session:header(), Token),
    Moved = megaphone_test_move:go(Stream, megaphone_test_move:await_moved(Alice)),
    Received = lists:foldl(fun(Expected, Client) ->
                                   {{_, Got}, Next} = megaphone_test_xmpp:recv_message(Client),
                                   ?assertEqual(Expected, Got),
                                   Next
                           end, Moved, Bodies),
    _ = megaphone_test_xmpp:chat(Received, Sent, 2),
    ok.

%% Confirms that a session can go on to a third node while the first still passes on what comes.
a_move_right_after_another(Config) ->
    [A, B, C] = members(Config),
    Alice = login(A, <<"alice">>),
    Bob = login(B, <<"bob">>),
    Old = process(A, Alice),
    Moved = move(move(Alice, B), C),
    %% Somebody has looked it up before both moves, and sends now.
    _ = megaphone_test_cluster:call(B, ejabberd_cluster, send, [Old, {resend_presence, undefined}]),
    {_, Received} = megaphone_test_xmpp:recv_until(Moved, is_named(<<"presence">>), ?TIMEOUT),
    _ = megaphone_test_xmpp:chat(Received, Bob, 5),
    ok.

%% Confirms that of two sessions with one resource the newer one stays, though the older one is about to move.
a_newer_login_wins(Config) ->
    [A, B, _] = members(Config),
    {Token, Alice} = megaphone_test_move:await_token(megaphone_test_move:mark(login(A, <<"alice">>))),
    {User, _, Resource} = parts(Alice),
    ok = next_second(),
    Held = megaphone_test_cluster:suspend({A, process(A, Alice)}),
    Stream = megaphone_test_move:take(megaphone_test_cluster:connect(B), megaphone_test_session:header(), Token),
    ok = await_request(A, process(A, Alice)),
    Newer = bind(megaphone_test_xmpp:authenticate(megaphone_test_session, target(B), User, #{}), Resource),
    ok = megaphone_test_cluster:resume(Held),
    Ended = megaphone_test_move:go(Stream, megaphone_test_move:await_moved(Alice)),
    ?assertEqual({<<"conflict">>, closed}, megaphone_test_session:stream_end(megaphone_test_move:state(Ended))),
    Bob = login(A, <<"bob">>),
    _ = megaphone_test_xmpp:chat(megaphone_test_xmpp:send_presence(Newer), Bob, 3),
    ?assertMatch([_], processes(A, Newer)).

%% Confirms that a client that did not get all of what was on the old stream, and leaves, leaves as ever: its account
%% gets the rest.
a_client_that_leaves(Config) ->
    [A, B, _] = members(Config),
    Alice = login(A, <<"alice">>),
    {User, _, _} = parts(Alice),
    Bob = login(A, <<"bob">>),
    _ = sync(send_bodies(Bob, megaphone_test_xmpp:jid(Alice), [<<"never read">>])),
    Moved = move(Alice, B),
    #{waiting := [Last], stream := Stream} = megaphone_test_move:state(Moved),
    Document = fxml:element_to_binary(Last),
    ok = megaphone_test_yamux:send(Stream, [<<1:1, 0:31>>, <<1:1, (byte_size(Document)):31>>, Document]),
    ok = megaphone_test_yamux:finish(Stream),
    megaphone_test_wait:until("the session to end", fun() -> processes(A, Moved) =:= [] end),
    Again = megaphone_test_xmpp:login(megaphone_test_session, target(B), User),
    ?assertMatch({{_, <<"never read">>}, _}, megaphone_test_xmpp:recv_message(Again)).

%% Confirms that a session without a login says that it stays, and that the login goes on.
before_the_login(Config) ->
    [A | _] = members(Config),
    {Trunk, Header} = target(A),
    Client = megaphone_test_session:connect(Trunk, Header),
    ok = megaphone_test_move:say(Client, 1),
    ?assertMatch({stays, <<"the client has not logged in yet">>}, megaphone_test_move:recv(Client)),
    ok = megaphone_test_session:send_document(Client, megaphone_test_session:open_document(<<"localhost">>)),
    {ok, Open} = megaphone_test_session:recv_document(Client),
    ?assertEqual(<<"open">>, megaphone_test_xml:name(Open)).

%% Confirms that the sessions of a listener which has other options move to the new one, and that the trunk which the
%% old one had accepted ends then.
a_listener_that_is_reloaded(Config) ->
    [A, B, _] = members(Config),
    Bob = login(B, <<"bob">>),
    {Trunk, Header} = target(B),
    Alice = megaphone_test_xmpp:login(megaphone_test_session, {Trunk, Header}, megaphone_test_cluster:user(A, <<"alice">>)),
    ok = megaphone_test_cluster:reload(B, "    hibernate_after: 1\n    drain_timeout: 1\n"),
    ?assertEqual({ok, 0}, megaphone_test_yamux:await_go_away(Trunk)),
    {Chatted, Bob1} = megaphone_test_xmpp:chat(Alice, Bob, 3),
    Moved = move(Chatted, B),
    ?assertEqual({ok, [0]}, megaphone_test_yamux:await_end(Trunk)),
    _ = megaphone_test_xmpp:chat(Moved, Bob1, 3),
    ok.

%% Confirms that a node which is told to drain says so on all trunks, new ones too, until it is ready again, and that
%% sessions go on there until they move.
a_node_that_is_to_drain(Config) ->
    [A, B, _] = members(Config),
    Bob = login(A, <<"bob">>),
    {Trunk, Header} = target(B),
    Alice = megaphone_test_xmpp:login(megaphone_test_session, {Trunk, Header}, megaphone_test_cluster:user(A, <<"alice">>)),
    0 = megaphone_test_cluster:call(B, ejabberd_ctl, process, [["megaphone_drain"]]),
    ?assertEqual({ok, 0}, megaphone_test_yamux:await_go_away(Trunk)),
    {Chatted, Bob1} = megaphone_test_xmpp:chat(Alice, Bob, 3),
    New = megaphone_test_cluster:connect(B),
    ok = megaphone_test_yamux:ping(New),
    ?assertEqual({ok, 0}, megaphone_test_yamux:await_go_away(New)),
    Moved = move(Chatted, A),
    ?assertEqual({ok, [0]}, megaphone_test_yamux:await_end(Trunk)),
    _ = megaphone_test_xmpp:chat(Moved, Bob1, 3),
    0 = megaphone_test_cluster:call(B, ejabberd_ctl, process, [["megaphone_undrain"]]),
    _ = login(B, <<"carol">>),
    ok.

%% Confirms that sessions move away from a node that stops, and that those which do not are told to come back, once
%% none moves any more.
a_node_that_stops(Config) ->
    [A, _, C] = members(Config),
    Bob = login(A, <<"bob">>),
    {Trunk, Header} = target(C),
    [Alice, Carol] = [megaphone_test_xmpp:login(megaphone_test_session, {Trunk, Header}, megaphone_test_cluster:user(A, Name))
                      || Name <- [<<"alice">>, <<"carol">>]],
    Stop = megaphone_test_ejabberd:start_halt(megaphone_test_cluster:ejabberd(C)),
    ?assertEqual({ok, 0}, megaphone_test_yamux:await_go_away(Trunk)),
    {Chatted, Bob1} = megaphone_test_xmpp:chat(Alice, Bob, 3),
    Moved = move(Chatted, A),
    ?assertEqual({<<"reset">>, closed}, megaphone_test_session:stream_end(megaphone_test_move:state(Carol))),
    ok = megaphone_test_ejabberd:await_halt(Stop),
    _ = megaphone_test_xmpp:chat(Moved, Bob1, 3),
    ok = megaphone_test_ejabberd:restart(megaphone_test_cluster:ejabberd(C)),
    megaphone_test_cluster:await_members(A, 3).

%% Confirms that a node which stops gives its sessions no more time to move than `drain_timeout' says: those of another
%% one, which stops at the same time and has more, are told later.
a_node_with_little_time(Config) ->
    [A, B, C] = members(Config),
    [OnB, OnC] = [megaphone_test_move:state(login(Member, <<"alice">>)) || Member <- [B, C]],
    Stops = [megaphone_test_ejabberd:start_halt(megaphone_test_cluster:ejabberd(Member)) || Member <- [C, B]],
    ?assertEqual({<<"reset">>, closed}, megaphone_test_session:stream_end(OnB)),
    ?assertEqual({error, timeout}, megaphone_test_yamux:peek(megaphone_test_session:stream(OnC), 1, 0)),
    ?assertEqual({<<"reset">>, closed}, megaphone_test_session:stream_end(OnC)),
    [ok = megaphone_test_ejabberd:await_halt(Stop) || Stop <- Stops],
    [ok = megaphone_test_ejabberd:restart(megaphone_test_cluster:ejabberd(Member)) || Member <- [B, C]],
    megaphone_test_cluster:await_members(A, 3).

%% What the cases share.

members(Config) ->
    proplists:get_value(members, Config).

target(Member) ->
    megaphone_test_cluster:target(Member).

login(Member, Name) ->
    megaphone_test_cluster:login(Member, Name, #{}).

process(Member, Client) ->
    megaphone_test_cluster:process(Member, Client).

processes(Member, Client) ->
    megaphone_test_cluster:processes(Member, Client).

probe(Member, Function, Argument) ->
    megaphone_test_cluster:call(Member, megaphone_test_probe, Function, [Argument]).

move(Client, Member) ->
    megaphone_test_move:move(Client, megaphone_test_cluster:connect(Member), megaphone_test_session:header()).

move_managed(#{client := Client} = Managed, Member) ->
    Managed#{client := move(Client, Member)}.

managed(Client) ->
    megaphone_test_resumption:enable(Client).

jid(#{client := _} = Managed) ->
    megaphone_test_resumption:jid(Managed).

parts(Client) ->
    list_to_tuple(binary:split(megaphone_test_xmpp:jid(Client), [<<"@">>, <<"/">>], [global])).

%% All that the client had sent is handled, and all that it was sent before is passed over.
sync(Client) ->
    {_, Synced} = megaphone_test_xmpp:request(Client, {"get", "to='localhost'", "<ping xmlns='urn:xmpp:ping'/>"}),
    Synced.

send_bodies(Client, To, Bodies) ->
    lists:foldl(fun(Body, Sender) -> megaphone_test_xmpp:send_message(Sender, To, Body) end, Client, Bodies).

send_presence(Client, To, Status) ->
    megaphone_test_xmpp:send(Client, ["<presence xmlns='jabber:client' to='", To, "'><status>", Status,
                                      "</status></presence>"]).

is_named(Name) ->
    fun(Stanza) -> megaphone_test_xml:name(Stanza) =:= Name end.

recv_body(Client, {From, Body}) ->
    megaphone_test_xmpp:recv_until(Client, fun(Stanza) -> megaphone_test_xmpp:message(Stanza) =:= {From, Body} end,
                                   ?TIMEOUT).

%% What ejabberd's table says of the session.
info(Member, Client) ->
    {User, Host, Resource} = parts(Client),
    maps:from_list(megaphone_test_cluster:call(Member, ejabberd_sm, get_user_info, [User, Host, Resource])).

join(Client, Room, Nick) ->
    Joining = megaphone_test_xmpp:send(Client, ["<presence xmlns='jabber:client' to='", Room, "/", Nick,
                                                "'><x xmlns='http://jabber.org/protocol/muc'/></presence>"]),
    {_, Joined} = megaphone_test_xmpp:recv_until(Joining, is_named(<<"message">>), ?TIMEOUT),
    Joined.

say_in(Room, Body, Client) ->
    megaphone_test_xmpp:send(Client, ["<message xmlns='jabber:client' type='groupchat' to='", Room, "'><body>", Body,
                                      "</body></message>"]).

bind(Client, Resource) ->
    {_, Bound} = megaphone_test_xmpp:request(Client, {"set", "", ["<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                                                                  "<resource>", Resource, "</resource></bind>"]}),
    #{jid := Bare} = Bound,
    Bound#{jid := <<Bare/binary, "/", Resource/binary>>}.

%% ejabberd tells by the second which of two nodes' sessions is newer.
next_second() ->
    Second = erlang:system_time(second),
    true = megaphone_test_wait:until("the next second", fun() -> erlang:system_time(second) > Second end),
    ok.

memory_asleep(Member, Process) ->
    megaphone_test_wait:until("the session to sleep", fun() -> probe(Member, sleeps, Process) end),
    probe(Member, memory, Process).

%% The request of the new session waits for the old one, which is held still.
await_request(Member, Process) ->
    Waits = fun() -> megaphone_test_cluster:call(Member, erlang, process_info, [Process, message_queue_len])
                         =/= {message_queue_len, 0} end,
    true = megaphone_test_wait:until("the new session to ask for the old one", Waits),
    ok.

%% It sends so many messages, in a process and on a trunk of its own. Its JID.
spawn_sender(Member, To, Count) ->
    Self = self(),
    _ = spawn_link(fun() ->
                           Client = login(Member, <<"sender">>),
                           Self ! {sender, self(), megaphone_test_xmpp:jid(Client)},
                           Sent = send_bodies(Client, To, [integer_to_binary(Number)
                                                           || Number <- lists:seq(1, Count)]),
                           %% All of it has left before its end.
                           sync(Sent)
                   end),
    receive {sender, _, Jid} -> Jid after ?TIMEOUT -> ct:fail("a sender has not logged in") end.

receive_moving(Client, _Members, 0, _Due, Moves) ->
    {Moves, Client};
receive_moving(Client, [Next | Members], Left, Due, Moves) when Left rem 400 =:= 0 ->
    receive_one(move(Client, Next), Members ++ [Next], Left, Due, Moves + 1);
receive_moving(Client, Members, Left, Due, Moves) ->
    receive_one(Client, Members, Left, Due, Moves).

receive_one(Client, Members, Left, Due, Moves) ->
    {{From, Body}, Received} = megaphone_test_xmpp:recv_message(Client),
    #{From := Number} = Due,
    ?assertEqual({From, Number}, {From, binary_to_integer(Body)}),
    receive_moving(Received, Members, Left - 1, Due#{From := Number + 1}, Moves).
