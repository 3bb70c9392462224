%% Three ECMs that are one for BOSH, behind nginx and HAProxy without stickiness: each request of a client goes to the
%% next ECM, and is answered by the one that has the session.
-module(megaphone_any_ecm_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_group/2, end_per_group/2]).
-export([strophe/1, messages/1, reconnection/1, ecm_is_killed/1]).

-define(MESSAGES, "50").
-define(NAMES, ["one", "two", "three"]).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, nginx}, {group, haproxy}].

groups() ->
    [{nginx, [], [strophe, messages, reconnection]},
     %% The last of all: the ECM stays gone.
     {haproxy, [], [strophe, messages, reconnection, ecm_is_killed]}].

%% The first ECM is the stage's.
init_per_suite(Config) ->
    Ports = megaphone_test_port:free(3 + 2),
    {FleetPorts, ClientPorts} = lists:split(3, Ports),
    Peers = lists:zip(?NAMES, FleetPorts),
    Key = filename:join(proplists:get_value(priv_dir, Config), "fleet.keys"),
    ok = file:write_file(Key, [base64:encode(crypto:strong_rand_bytes(32)), "\n"]),
    [One | Others] = [fleet(Name, Key, Peers) || Name <- ?NAMES],
    Started = megaphone_test_stage:start(ecm, Config, #{ecm => One}),
    TrunkPort = megaphone_test_stage:trunk_port(Started),
    Ecms = [begin
                {ok, Ecm} = megaphone_test_ecm:start(
                              #{dir => filename:join(proplists:get_value(priv_dir, Config), Name),
                                port => Port, trunk_port => TrunkPort, more => More}),
                Ecm
            end || {Name, Port, More} <- lists:zip3(tl(?NAMES), ClientPorts, Others)],
    All = [megaphone_test_stage:ecm(Started) | Ecms],
    _ = [await_peers(Ecm, Name) || {Ecm, Name} <- lists:zip(All, ?NAMES)],
    {_, Port} = megaphone_test_stage:target(Started),
    [{ecms, All}, {ports, [Port | ClientPorts]} | Started].

end_per_suite(Config) ->
    [_ | Others] = proplists:get_value(ecms, Config),
    try
        lists:foreach(fun megaphone_test_ecm:stop/1, Others)
    after
        megaphone_test_stage:stop(Config)
    end.

init_per_group(Balancer, Config) ->
    Port = megaphone_test_port:free(),
    Dir = filename:join(proplists:get_value(priv_dir, Config), Balancer),
    Front = megaphone_test_front:start_round_robin(Balancer, Dir, Port, proplists:get_value(ports, Config)),
    [{front, Front}, {front_port, Port} | Config].

end_per_group(_Balancer, Config) ->
    megaphone_test_front:stop(proplists:get_value(front, Config)).

%% Confirms that two strophe.js clients log in, get all messages in their order, and log out.
strophe(Config) ->
    Url = ["http://127.0.0.1:", integer_to_list(proplists:get_value(front_port, Config)), "/bosh"],
    [Alice, Bob] = [<<(megaphone_test_stage:user(Config, Name))/binary, "@localhost">>
                    || Name <- [<<"alice">>, <<"bob">>]],
    ?assertEqual(<<>>, megaphone_test_clients:run(
                         node, ["chat.js", "strophe", Url, Alice, Bob, "megaphone", ?MESSAGES], [], Config)).

%% Confirms that the messages of two users come once and in order.
messages(Config) ->
    {Alice, Bob} = chat(login(<<"alice">>, Config), login(<<"bob">>, Config)),
    ok = megaphone_test_xmpp:logout(Alice),
    ok = megaphone_test_xmpp:logout(Bob).

%% Confirms that a client that has logged out logs in again.
reconnection(Config) ->
    User = megaphone_test_stage:user(Config, <<"alice">>),
    Bob = login(<<"bob">>, Config),
    Last = lists:foldl(
             fun(_, To) ->
                     Alice = megaphone_test_xmpp:login(megaphone_test_bosh, target(Config), User),
                     {Alice1, To1} = chat(Alice, To),
                     ok = megaphone_test_xmpp:logout(Alice1),
                     To1
             end, Bob, [1, 2, 3]),
    ok = megaphone_test_xmpp:logout(Last).

%% Confirms that a user whose session was at an ECM that is killed logs in again by the others, which the balancer
%% finds, and that users chat there.
ecm_is_killed(Config) ->
    [One | _] = proplists:get_value(ecms, Config),
    [Port | _] = proplists:get_value(ports, Config),
    User = megaphone_test_stage:user(Config, <<"alice">>),
    Alice = megaphone_test_xmpp:login(megaphone_test_bosh, {{127, 0, 0, 1}, Port}, User),
    Bob = login(<<"bob">>, Config),
    {_Alice1, _Bob1} = chat(Alice, Bob),
    ok = megaphone_test_ecm:kill(One),
    Again = megaphone_test_xmpp:login(megaphone_test_bosh, target(Config), User),
    {Again1, Carol} = chat(Again, login(<<"carol">>, Config)),
    ok = megaphone_test_xmpp:logout(Again1),
    ok = megaphone_test_xmpp:logout(Carol),
    strophe(Config).

login(Name, Config) ->
    megaphone_test_xmpp:login(megaphone_test_bosh, target(Config), megaphone_test_stage:user(Config, Name)).

chat(Alice, Bob) ->
    megaphone_test_xmpp:chat(Alice, Bob, 20).

target(Config) ->
    {{127, 0, 0, 1}, proplists:get_value(front_port, Config)}.

fleet(Name, Key, Peers) ->
    {Name, Port} = lists:keyfind(Name, 1, Peers),
    Addresses = [[Peer, " = \"127.0.0.1:", integer_to_list(At), "\""] || {Peer, At} <- Peers],
    ["[fleet]\n"
     "name = \"", Name, "\"\n"
     "key = \"", Key, "\"\n"
     "address = \"127.0.0.1:", integer_to_list(Port), "\"\n"
     "peers = { ", lists:join(", ", Addresses), " }\n"].

%% Each says when it is connected to another one.
await_peers(Ecm, Name) ->
    [megaphone_test_ecm:await_output(Ecm, ["ECM ", Peer, " at \\S+ is up"]) || Peer <- ?NAMES, Peer =/= Name].
