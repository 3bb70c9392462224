%% Sessions move where ejabberd keeps its table of sessions elsewhere than in its own of Mnesia (`sm_db_type'): in
%% Megaphone's, in a real Redis, or PostgreSQL. The cases are those of megaphone_move_SUITE to which the table matters,
%% and what such tables have of their own.
-module(megaphone_move_databases_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, groups/0, init_per_suite/1, end_per_suite/1, init_per_group/2, end_per_group/2]).
-export([a_session_goes_on_at_another_node/1, within_one_node/1, with_stream_management/1, what_the_row_says/1,
         many_times_under_senders/1, a_newer_login_wins/1, a_session_that_stays/1, a_node_that_restarts/1]).

suite() ->
    [{timetrap, {minutes, 3}}].

all() ->
    [{group, megaphone}, {group, redis}, {group, postgresql}].

groups() ->
    [{Group, [a_session_goes_on_at_another_node, within_one_node, with_stream_management, what_the_row_says,
              many_times_under_senders, a_newer_login_wins, a_session_that_stays, a_node_that_restarts]}
     || Group <- [megaphone, redis, postgresql]].

init_per_suite(Config) ->
    Config.

end_per_suite(_Config) ->
    ok.

init_per_group(megaphone, Config) ->
    start(filename:join([proplists:get_value(priv_dir, Config), ?MODULE, megaphone]), "sm_db_type: megaphone\n", Config);
init_per_group(redis, Config) ->
    case {os:find_executable("redis-server"), code:which(eredis)} of
        {false, _} ->
            {skip, "there is no redis-server here (Debian: redis-server)"};
        {_, non_existing} ->
            {skip, "there is no client of Redis for Erlang here (Debian: erlang-redis-client)"};
        {Path, _} ->
            Port = megaphone_test_port:free(),
            Dir = filename:join([proplists:get_value(priv_dir, Config), ?MODULE, redis]),
            ok = filelib:ensure_dir(filename:join(Dir, ".")),
            {ok, Redis} = megaphone_test_program:start(Path, ["--port", integer_to_list(Port), "--bind", "127.0.0.1",
                                                              "--save", "", "--appendonly", "no", "--dir", Dir],
                                                       #{log => filename:join(Dir, "redis.log")}),
            megaphone_test_wait:until("Redis to take connections",
                                      fun() -> binary:match(megaphone_test_program:output(Redis), <<"eady to accept">>)
                                                   =/= nomatch end),
            start(Dir, ["sm_db_type: redis\n"
                        "redis_server: \"127.0.0.1\"\n"
                        "redis_port: ", integer_to_list(Port), "\n"], [{database, Redis} | Config])
    end;

init_per_group(postgresql, Config) ->
    case {filelib:wildcard("/usr/lib/postgresql/*/bin"), code:which(pgsql),
          filelib:wildcard("/usr/share/ejabberd*/sql/pg.sql")
              ++ filelib:wildcard("/usr/lib/*/ejabberd*/priv/sql/pg.sql")} of
        {[], _, _} ->
            {skip, "there is no PostgreSQL here (Debian: postgresql)"};
        {_, non_existing, _} ->
            {skip, "there is no client of PostgreSQL for Erlang here (Debian: erlang-p1-pgsql)"};
        {_, _, []} ->
            {skip, "this ejabberd has no schema for PostgreSQL"};
        {Folders, _, [Schema | _]} ->
            start_postgresql(lists:last(Folders), Schema, Config)
    end.

%% It does not run as root, and may not look into the tests' folder.
start_postgresql(Folder, Schema, Config) ->
    Port = integer_to_list(megaphone_test_port:free()),
    Data = "/tmp/megaphone-postgresql-" ++ os:getpid(),
    Dir = filename:join([proplists:get_value(priv_dir, Config), ?MODULE, postgresql]),
    Log = #{log => filename:join(Dir, "postgresql.log"), cd => "/tmp"},
    ok = filelib:ensure_dir(filename:join(Dir, ".")),
    Run = fun(Program) -> ["-u", "postgres", "--", filename:join(Folder, Program)] end,
    {0, _} = megaphone_test_program:run("/sbin/runuser", Run("initdb") ++ ["-D", Data, "-A", "trust", "-U", "postgres", "-N"],
                                        Log),
    {ok, Postgresql} = megaphone_test_program:start("/sbin/runuser", Run("postgres")
                                                    ++ ["-D", Data, "-p", Port, "-h", "127.0.0.1", "-k", Data], Log),
    megaphone_test_wait:until("PostgreSQL to take connections",
                              fun() -> binary:match(megaphone_test_program:output(Postgresql), <<"ready to accept">>)
                                           =/= nomatch end),
    {0, _} = megaphone_test_program:run("/sbin/runuser", Run("createdb")
                                        ++ ["-h", "127.0.0.1", "-p", Port, "-U", "postgres", "ejabberd"], Log),
    {0, _} = megaphone_test_program:run(filename:join(Folder, "psql"),
                                        ["-h", "127.0.0.1", "-p", Port, "-U", "postgres", "-q", "-f", Schema, "ejabberd"], Log),
    start(Dir, ["sm_db_type: sql\n"
                "sql_type: pgsql\n"
                "sql_server: \"127.0.0.1\"\n"
                "sql_port: ", Port, "\n"
                "sql_database: ejabberd\n"
                "sql_username: postgres\n"
                "sql_password: none\n"
                "sql_pool_size: 3\n"], [{database, Postgresql}, {data, Data} | Config]).

start(Dir, Top, Config) ->
    Members = megaphone_test_cluster:start(filename:join(Dir, "cluster"), [#{}, #{}, #{}],
                                           #{top => Top,
                                             modules => "  mod_carboncopy: {}\n"
                                                        "  mod_offline: {}\n"
                                                        "  mod_ping: {}\n"}),
    [{members, Members} | Config].

end_per_group(_Group, Config) ->
    ok = megaphone_test_cluster:stop(members(Config)),
    _ = [ok = megaphone_test_program:kill(Database) || {database, Database} <- Config],
    case proplists:get_value(data, Config) of
        undefined -> ok;
        Data -> file:del_dir_r(Data)
    end.

a_session_goes_on_at_another_node(Config) -> megaphone_move_SUITE:?FUNCTION_NAME(Config).
within_one_node(Config) -> megaphone_move_SUITE:?FUNCTION_NAME(Config).
with_stream_management(Config) -> megaphone_move_SUITE:?FUNCTION_NAME(Config).
what_the_row_says(Config) -> megaphone_move_SUITE:?FUNCTION_NAME(Config).
many_times_under_senders(Config) -> megaphone_move_SUITE:?FUNCTION_NAME(Config).
a_newer_login_wins(Config) -> megaphone_move_SUITE:?FUNCTION_NAME(Config).

%% Confirms that a session which the new one was lent and which stays is the one that is found, at all nodes.
a_session_that_stays(Config) ->
    [A, B, C] = members(Config),
    Alice = megaphone_test_cluster:login(A, <<"alice">>, #{}),
    [Bob, Carol] = [megaphone_test_cluster:login(Member, <<"bob">>, #{}) || Member <- [B, C]],
    Old = megaphone_test_cluster:process(A, Alice),
    {Token, Parked} = megaphone_test_move:await_token(megaphone_test_move:mark(Alice)),
    Held = megaphone_test_cluster:suspend({A, Old}),
    Before = megaphone_test_cluster:call(B, megaphone_test_probe, sessions, []),
    _ = megaphone_test_move:take(megaphone_test_cluster:connect(B), megaphone_test_session:header(), Token),
    [Taker] = megaphone_test_wait:until("a new session",
                                        fun() ->
                                                %% Sessions of other cases may end meanwhile.
                                                case megaphone_test_cluster:call(B, megaphone_test_probe, sessions, []) -- Before of
                                                    [] -> false;
                                                    New -> New
                                                end
                                        end),
    _ = megaphone_test_cluster:suspend({B, Taker}),
    ok = megaphone_test_cluster:resume(Held),
    true = megaphone_test_wait:until("the session to be lent",
                                     fun() -> megaphone_test_cluster:processes(C, Alice) =:= [Taker] end),
    true = megaphone_test_cluster:call(B, erlang, exit, [Taker, kill]),
    {_, Stayed} = megaphone_test_move:await_stays(Parked),
    [?assertEqual(Old, megaphone_test_cluster:process(Member, Stayed)) || Member <- members(Config)],
    {Chatted, _} = megaphone_test_xmpp:chat(Stayed, Bob, 3),
    {_, _} = megaphone_test_xmpp:chat(Chatted, Carol, 3).

%% Confirms that a node which starts again takes away the rows of its own sessions, and not those of such as have left it.
a_node_that_restarts(Config) ->
    [A, B, C] = members(Config),
    [Alice, Carol] = [megaphone_test_cluster:login(A, Name, #{}) || Name <- [<<"alice">>, <<"carol">>]],
    Moved = megaphone_test_move:move(Alice, megaphone_test_cluster:connect(B), megaphone_test_session:header()),
    Process = megaphone_test_cluster:process(B, Moved),
    ok = megaphone_test_ejabberd:kill(megaphone_test_cluster:ejabberd(A)),
    ok = megaphone_test_ejabberd:restart(megaphone_test_cluster:ejabberd(A)),
    [megaphone_test_cluster:await_members(Member, 3) || Member <- members(Config)],
    [?assertEqual([Process], megaphone_test_cluster:processes(Member, Moved)) || Member <- members(Config)],
    ?assertEqual([], megaphone_test_cluster:processes(C, Carol)),
    Bob = megaphone_test_cluster:login(A, <<"bob">>, #{}),
    {Chatted, _} = megaphone_test_xmpp:chat(Moved, Bob, 3),
    ok = megaphone_test_xmpp:logout(Chatted),
    [?assertEqual([], megaphone_test_cluster:processes(Member, Chatted)) || Member <- members(Config)],
    ok.

members(Config) ->
    proplists:get_value(members, Config).
