%% @doc What users who are online and idle cost ejabberd: a real ejabberd, one trunk, and sessions
%% over it that have logged in and sent presence, with empty rosters.
-module(megaphone_bench_sessions).

-export([main/0]).
%% Called in ejabberd's VM.
-export([register/1, memory/0, sleeping/0]).

-define(HOST, <<"localhost">>).
-define(WORKERS, 16).
%% How long until all sessions sleep (milliseconds).
-define(PATIENCE, 120_000).

%% @doc Takes the number of users, and a folder for ejabberd's files.
-spec main() -> no_return().
main() ->
    try
        [Count, Dir] = init:get_plain_arguments(),
        run(list_to_integer(Count), Dir),
        halt(0)
    catch
        Class:Reason:Stack ->
            io:format(standard_error, "bench-sessions: ~ts~n",
                      [erl_error:format_exception(Class, Reason, Stack)]),
            halt(1)
    end.

run(Count, Dir) ->
    Port = megaphone_test_port:free(),
    Listener = megaphone_test_config:listener(megaphone_listener, Port, "    ip: \"127.0.0.1\"\n"),
    {ok, Ejabberd} = megaphone_test_ejabberd:start(#{dir => Dir, listeners => [Listener]}),
    ok = megaphone_test_ejabberd:call(Ejabberd, ?MODULE, register, [Count], infinity),
    Before = measure(Ejabberd),
    Trunk = megaphone_test_yamux:connect({{127, 0, 0, 1}, Port}),
    {LoginTime, ok} = timer:tc(fun() -> login(Trunk, Count) end),
    megaphone_test_wait:until(
      "all sessions asleep",
      fun() -> megaphone_test_ejabberd:call(Ejabberd, ?MODULE, sleeping, [], infinity) >= Count end,
      ?PATIENCE),
    After = measure(Ejabberd),
    report(Count, LoginTime, Before, After),
    %% What follows is of no interest, and would take long.
    megaphone_test_ejabberd:kill(Ejabberd).

%% In parts, each by a worker of its own.
login(Trunk, Count) ->
    Workers = [spawn_monitor(fun() -> login_part(Trunk, First, Count) end)
               || First <- lists:seq(1, ?WORKERS)],
    lists:foreach(fun({Pid, Monitor}) ->
                          receive {'DOWN', Monitor, process, Pid, normal} -> ok;
                                  {'DOWN', Monitor, process, Pid, Reason} -> error(Reason)
                          end
                  end, Workers).

login_part(_Trunk, Number, Count) when Number > Count ->
    ok;
login_part(Trunk, Number, Count) ->
    Header = megaphone_test_session:header(
               #{transport => <<"websocket">>, tls => <<"TLSv1.3">>,
                 source => {{10, Number bsr 16, (Number bsr 8) band 255, Number band 255}, 4711}}),
    _ = megaphone_test_xmpp:login(megaphone_test_session, {Trunk, Header}, user(Number)),
    login_part(Trunk, Number + ?WORKERS, Count).

report(Count, LoginTime, Before, After) ->
    io:format("~b users online and idle; ~b logins per second~n~n", [Count, Count * 1000000 div LoginTime]),
    io:format("~-24s ~12s ~12s ~10s~n", ["", "before", "after", "per user"]),
    [io:format("~-24s ~12b ~12b ~10b~n", [Name, B, A, (A - B) div Count])
     || {Name, A} <- After, {Same, B} <- Before, Name =:= Same].

measure(Ejabberd) ->
    Memory = megaphone_test_ejabberd:call(Ejabberd, ?MODULE, memory, [], infinity),
    [{rss, rss(megaphone_test_ejabberd:os_pid(Ejabberd))} | Memory].

rss(OsPid) ->
    {ok, Status} = file:read_file(["/proc/", OsPid, "/status"]),
    {match, [Kilobytes]} = re:run(Status, "VmRSS:\\s+(\\d+) kB", [{capture, all_but_first, list}]),
    list_to_integer(Kilobytes) * 1024.

user(Number) ->
    <<"user", (integer_to_binary(Number))/binary>>.

%% In ejabberd's VM.

-spec register(pos_integer()) -> ok.
register(Count) ->
    lists:foreach(fun(Number) -> ok = ejabberd_auth:try_register(user(Number), ?HOST, <<"megaphone">>) end,
                  lists:seq(1, Count)).

%% @doc erlang:memory/0, the largest tables, and an average session process.
-spec memory() -> [{atom(), non_neg_integer()}].
memory() ->
    Sessions = sessions(),
    Sum = lists:sum([element(2, process_info(Pid, memory)) || Pid <- Sessions]),
    Tables = [{Name, ets:info(Table, memory) * erlang:system_info(wordsize)}
              || Table <- ets:all(), Name <- [ets:info(Table, name)],
                 lists:member(Name, [session, passwd, roster, motd_users, last_activity])],
    Memory = erlang:memory() ++ Tables ++ [{session_processes, Sum}],
    Memory ++ lists:append([[{Allocator, blocks(Allocator)},
                             {list_to_atom(atom_to_list(Allocator) ++ " carriers"), carriers(Allocator)}]
                            || Allocator <- erlang:system_info(alloc_util_allocators)]).

%% What an allocator has from the system, and what of it is in use (bytes).
carriers(Allocator) ->
    lists:sum([element(2, Size) || Items <- items(Allocator),
                                   Size <- [lists:keyfind(carriers_size, 1, Items)], Size =/= false]).

blocks(Allocator) ->
    lists:sum([element(2, Size) || Items <- items(Allocator),
                                   {blocks, Kinds} <- Items, {_, Sizes} <- Kinds,
                                   Size <- [lists:keyfind(size, 1, Sizes)], Size =/= false]).

items(Allocator) ->
    [Items || {instance, _, Instance} <- allocator(Allocator),
              {Kind, Items} <- Instance, lists:member(Kind, [mbcs, mbcs_pool, sbcs])].

allocator(Allocator) ->
    case erlang:system_info({allocator, Allocator}) of
        false -> [];
        Instances -> Instances
    end.

%% @doc How many sessions hibernate.
-spec sleeping() -> non_neg_integer().
sleeping() ->
    length([Pid || Pid <- sessions(),
                   process_info(Pid, current_function) =:= {current_function, {erlang, hibernate, 3}}]).

sessions() ->
    [Pid || Pid <- processes(), proc_lib:translate_initial_call(Pid) =:= {megaphone_session, init, 1}].
