%% Sessions move between nodes of one cluster, and between trunks of one node: the suite is the ECM, and the nodes are
%% real. Clients notice nothing, and nothing is lost, doubled or reordered.
-module(megaphone_move_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([a_session_goes_on_at_another_node/1]).

suite() ->
    [{timetrap, {minutes, 3}}].

all() ->
    [a_session_goes_on_at_another_node].

init_per_suite(Config) ->
    Members = megaphone_test_cluster:start(proplists:get_value(priv_dir, Config), ["", "", ""],
                                           #{modules => "  mod_carboncopy: {}\n"
                                                        "  mod_client_state: {}\n"
                                                        "  mod_offline: {}\n"
                                                        "  mod_ping: {}\n"
                                                        "  mod_muc: {}\n"}),
    [{members, Members} | Config].

end_per_suite(Config) ->
    megaphone_test_cluster:stop(proplists:get_value(members, Config)).

%% Confirms that both ways work behind a move, that the row names the new node, and that the old process ends.
a_session_goes_on_at_another_node(Config) ->
    [A, B, _] = members(Config),
    Bob = login(Config, A, <<"bob">>),
    Alice = login(Config, A, <<"alice">>),
    [{_, Old}] = sids(B, Alice),
    ?assertEqual(megaphone_test_cluster:node_of(A), node(Old)),
    Moved = megaphone_test_move:move(Alice, connect(B), header()),
    [{_, New}] = sids(A, Moved),
    ?assertEqual(megaphone_test_cluster:node_of(B), node(New)),
    {Moved1, Bob1} = megaphone_test_xmpp:chat(Moved, Bob, 20),
    await_gone(A, Old),
    ok = megaphone_test_xmpp:logout(Moved1),
    ?assertEqual([], sids(A, Moved1)),
    ok = megaphone_test_xmpp:logout(Bob1).

members(Config) ->
    proplists:get_value(members, Config).

header() ->
    megaphone_test_move:header(#{}).

connect(Member) ->
    megaphone_test_yamux:connect(megaphone_test_cluster:address(Member)).

login(Config, Member, Name) ->
    megaphone_test_xmpp:login(megaphone_test_session, {connect(Member), header()}, user(Config, Name)).

%% An account of its own.
user(Config, Name) ->
    User = <<Name/binary, (integer_to_binary(erlang:unique_integer([positive])))/binary>>,
    [First | _] = members(Config),
    ok = megaphone_test_ejabberd:register_users(megaphone_test_cluster:ejabberd(First), [User]),
    User.

%% The sessions with the client's resource that a member knows of.
sids(Member, Client) ->
    [User, <<"localhost">>, Resource] = binary:split(megaphone_test_xmpp:jid(Client), [<<"@">>, <<"/">>], [global]),
    megaphone_test_cluster:call(Member, ejabberd_sm, get_session_sids, [User, <<"localhost">>, Resource]).

await_gone(Member, Pid) ->
    megaphone_test_wait:until("the old process to end",
                              fun() -> not megaphone_test_cluster:call(Member, erlang, is_process_alive, [Pid]) end).
