%% Sessions in a cluster that loses a node: their clients come to another one.
-module(megaphone_cluster_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([a_session_of_a_killed_node_is_not_resumed/1]).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [a_session_of_a_killed_node_is_not_resumed].

init_per_suite(Config) ->
    Dir = filename:join([proplists:get_value(priv_dir, Config), ?MODULE, "cluster"]),
    [{members, megaphone_test_cluster:start(Dir, [#{}, #{}], #{})} | Config].

end_per_suite(Config) ->
    megaphone_test_cluster:stop(proplists:get_value(members, Config)).

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
