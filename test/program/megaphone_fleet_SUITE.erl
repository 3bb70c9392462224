%% `make fleet' with few clients: three real ejabberd nodes and three ECMs, and every promise that it makes.
-module(megaphone_fleet_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([nodes_are_drained/1, node_is_killed/1, ecm_is_killed/1, ecm_is_replaced/1, node_is_stopped/1,
         promises_are_kept/1, ctrl_c/1]).

-define(SMALL, ["--slow-start", "1", "--stopped", "8"]).
-define(PATIENCE, 300_000).

suite() ->
    [{timetrap, {minutes, 2}}].

all() ->
    [nodes_are_drained, node_is_killed, ecm_is_killed, ecm_is_replaced, node_is_stopped, promises_are_kept, ctrl_c].

%% Each case has a part of what this run has told.
init_per_suite(Config) ->
    ct:timetrap({minutes, 6}),
    case filelib:is_file(swarm()) of
        true ->
            {ok, Program, Dir} = start("all", ["--users", "120", "--talking", "60", "--messages", "90"], Config),
            try megaphone_test_program:await_exit(Program, ?PATIENCE) of
                Status when Status =:= 0; Status =:= 1 ->
                    {ok, Json} = file:read_file(filename:join(Dir, "results.json")),
                    #{<<"results">> := Results} = megaphone_test_json:decode(Json),
                    Said = megaphone_test_program:output(Program),
                    ct:pal("~ts", [Said]),
                    [{status, Status}, {results, Results} | Config];
                Status ->
                    ct:fail("make fleet ended with status ~b; it says~n~ts",
                            [Status, megaphone_test_program:output(Program)])
            after
                megaphone_test_program:kill(Program)
            end;
        false ->
            {skip, "megaphone-swarm isn't built; try: make build-bench"}
    end.

end_per_suite(_Config) ->
    ok.

%% Confirms that nobody notices as each node in turn is drained, restarted and readmitted.
nodes_are_drained(Config) ->
    Result = kept(<<"drain">>, Config),
    ?assertMatch(#{<<"disconnected">> := 0}, Result),
    ?assert(figure(<<"moved">>, Result) > 0),
    [?assertEqual(0, faults(Clients, <<"apart">>, Result)) || Clients <- [<<"managed">>, <<"unmanaged">>]].

%% Confirms that the clients of a node that is killed come back, and that the others notice nothing.
node_is_killed(Config) ->
    Result = kept(<<"kill-node">>, Config),
    ?assert(maps:get(<<"disconnected">>, Result) > 0).

%% Confirms the same for an ECM, whose clients with stream management resume their sessions and lose nothing.
ecm_is_killed(Config) ->
    Result = kept(<<"kill-ecm">>, Config),
    ?assert(maps:get(<<"resumed">>, Result) > 0),
    ?assertEqual(0, faults(<<"managed">>, <<"apart">>, Result)).

%% Confirms that new clients find an open port all the time that a new program takes the place of an ECM.
ecm_is_replaced(Config) ->
    Result = kept(<<"replace-ecm">>, Config),
    ?assert(figure(<<"let_go">>, Result) > 0),
    ?assert(figure(<<"knocked">>, Result) > 0),
    ?assertEqual(0, figure(<<"refused">>, Result)).

%% Confirms that a node that is stopped is ejected, and comes back once it goes on.
node_is_stopped(Config) ->
    Result = kept(<<"stop-node">>, Config),
    ?assert(figure(<<"ejected">>, Result) > 0).

%% Confirms that the program says by its status whether all is kept.
promises_are_kept(Config) ->
    ?assertEqual(0, proplists:get_value(status, Config)).

%% Confirms that the program leaves nobody behind as it is interrupted, not even a node that stands still.
ctrl_c(Config) ->
    {ok, Program, Dir} = start("interrupted", ["--users", "24", "--talking", "12", "--messages", "20",
                                               "--nodes", "2", "--ecms", "2", "--only", "stop-node"], Config),
    try
        megaphone_test_wait:until("a node to be stopped", fun() -> is_one_stopped(Dir) end, 90_000),
        ok = megaphone_test_program:signal(megaphone_test_program:os_pid(Program), "INT"),
        ?assertEqual(130, megaphone_test_program:await_exit(Program, 30_000)),
        ?assertEqual([], processes(Dir))
    after
        megaphone_test_program:kill(Program)
    end.

%% All messages between clients that kept their sessions came once and in order, and what else is promised holds.
kept(Name, Config) ->
    [Result] = [One || #{<<"name">> := Is} = One <- proplists:get_value(results, Config), Is =:= Name],
    ?assertEqual([], maps:get(<<"broken">>, Result)),
    [begin
         ?assert(maps:get(<<"sent">>, maps:get(Clients, Result)) > 0),
         ?assertEqual(0, faults(Clients, <<"faults">>, Result))
     end || Clients <- [<<"managed">>, <<"unmanaged">>]],
    Result.

faults(Clients, Which, Result) ->
    lists:sum(maps:values(maps:get(Which, maps:get(Clients, Result)))).

figure(Name, #{<<"figures">> := Figures}) ->
    maps:get(Name, Figures).

start(Name, Arguments, Config) ->
    Dir = filename:join([proplists:get_value(priv_dir, Config), ?MODULE, Name]),
    Log = Dir ++ ".log",
    ok = filelib:ensure_dir(Log),
    Root = megaphone_test_program:repository(),
    {ok, Program} = megaphone_test_program:start(
                      os:find_executable("python3"),
                      ["-B", filename:join(Root, "test/bench/fleet.py"), "--output", Dir | ?SMALL ++ Arguments],
                      #{log => Log, cd => Root}),
    {ok, Program, Dir}.

swarm() ->
    filename:join(filename:dirname(megaphone_test_ecm:path()), "megaphone-swarm").

%% Each program of the laboratory works in a folder below this one.
processes(Dir) ->
    [Process || Process <- filelib:wildcard("/proc/[0-9]*"),
                {ok, At} <- [file:read_link(filename:join(Process, "cwd"))],
                lists:prefix(Dir, At)].

%% The state of a process, behind its name, is T.
is_one_stopped(Dir) ->
    lists:any(fun(Process) ->
                      case file:read_file(filename:join(Process, "stat")) of
                          {ok, Stat} -> binary:first(lists:last(string:split(Stat, ") ", trailing))) =:= $T;
                          {error, _} -> false
                      end
              end, processes(Dir)).
