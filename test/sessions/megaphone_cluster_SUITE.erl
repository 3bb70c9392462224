%% Sessions in a cluster whose clients come to another node, as theirs is gone, or an ECM.
-module(megaphone_cluster_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([a_session_is_resumed_at_another_node/1, a_session_of_a_killed_node_is_not_resumed/1]).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [a_session_is_resumed_at_another_node, a_session_of_a_killed_node_is_not_resumed].

init_per_suite(Config) ->
    Dir = filename:join([proplists:get_value(priv_dir, Config), ?MODULE, "cluster"]),
    [{members, megaphone_test_cluster:start(Dir, [#{}, #{}], #{})} | Config].

end_per_suite(Config) ->
    megaphone_test_cluster:stop(proplists:get_value(members, Config)).

%% Confirms that messages reach a session that was resumed at another node, also from a node that has not heard yet of
%% the new session as the old one ends, and those that are sent to the old process.
a_session_is_resumed_at_another_node(Config) ->
    [A, B] = proplists:get_value(members, Config),
    #{client := Client} = Managed = megaphone_test_resumption:enable(megaphone_test_cluster:login(B, <<"alice">>, #{})),
    Bob = megaphone_test_cluster:login(B, <<"bob">>, #{}),
    [User, _] = binary:split(megaphone_test_xmpp:jid(Client), <<"@">>),
    Old = megaphone_test_cluster:process(B, Client),
    %% Of two sessions that began within the same second at different nodes ejabberd may end the newer one.
    Second = erlang:system_time(second),
    true = megaphone_test_wait:until("the next second", fun() -> erlang:system_time(second) > Second end),
    New = megaphone_test_xmpp:authenticate(megaphone_test_session, megaphone_test_cluster:target(A), User, #{}),
    %% What other nodes write arrives by this process.
    Held = megaphone_test_cluster:suspend({B, megaphone_test_cluster:call(B, erlang, whereis, [mnesia_tm])}),
    Resumed = megaphone_test_resumption:resume(Managed, New),
    true = megaphone_test_wait:until("the old session to have no row",
                                     fun() -> not lists:member(Old, megaphone_test_cluster:processes(B, Client)) end),
    Sent = megaphone_test_xmpp:send_message(Bob, megaphone_test_xmpp:jid(Client), <<"one">>),
    One = megaphone_test_resumption:recv_messages(Resumed, 1),
    ok = megaphone_test_cluster:resume(Held),
    Late = #{to => megaphone_test_xmpp:jid(Client), from => megaphone_test_xmpp:jid(Sent), body => <<"two">>},
    ok = route(B, Old, Late),
    Two = megaphone_test_resumption:recv_messages(One, 2),
    ?assertEqual([<<"one">>, <<"two">>], megaphone_test_resumption:received(Two)),
    ok = megaphone_test_resumption:logout(Two),
    ok = megaphone_test_xmpp:logout(Sent).

%% Sends a message to a process of a session, as one does that has looked it up before.
route(Member, Process, #{from := From, to := To, body := Body}) ->
    Stanza = {xmlel, <<"message">>, [{<<"from">>, From}, {<<"to">>, To}, {<<"type">>, <<"chat">>}],
              [{xmlel, <<"body">>, [], [{xmlcdata, Body}]}]},
    Decoded = megaphone_test_cluster:call(Member, xmpp, decode, [Stanza, <<"jabber:client">>, []]),
    true = megaphone_test_cluster:call(Member, ejabberd_c2s, route, [Process, {route, Decoded}]),
    ok.

%% Confirms that a client is told at once that its session can't be resumed, whose node was killed, while the node that
%% it comes to has still the row of the session; and that it can bind its resource there.
a_session_of_a_killed_node_is_not_resumed(Config) ->
    [A, B] = proplists:get_value(members, Config),
    #{client := Client} = Managed = megaphone_test_resumption:enable(megaphone_test_cluster:login(B, <<"alice">>, #{})),
    [User, _] = binary:split(megaphone_test_xmpp:jid(Client), <<"@">>),
    Session = megaphone_test_cluster:process(A, Client),
    Held = megaphone_test_cluster:suspend({A, megaphone_test_cluster:call(A, erlang, whereis, [ejabberd_sm_mnesia])}),
    ok = megaphone_test_ejabberd:kill(megaphone_test_cluster:ejabberd(B)),
    IsGone = fun() -> not lists:member(megaphone_test_cluster:node_of(B), megaphone_test_cluster:call(A, erlang, nodes, [])) end,
    true = megaphone_test_wait:until("the first node to see that the second is gone", IsGone),
    New = megaphone_test_xmpp:authenticate(megaphone_test_session, megaphone_test_cluster:target(A), User, #{}),
    {Answer, Answered} = megaphone_test_xmpp:recv(megaphone_test_resumption:start_resuming(Managed, New)),
    ?assertEqual(<<"failed">>, megaphone_test_xml:name(Answer)),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"item-not-found">>, Answer)),
    ?assertEqual(Session, megaphone_test_cluster:process(A, Client)),
    Bound = megaphone_test_xmpp:bind(Answered),
    ok = megaphone_test_cluster:resume(Held),
    ok = megaphone_test_xmpp:logout(Bound).
