%% @doc The real megaphone-ecm in an OS process, with a configuration and a log of its own.
-module(megaphone_test_ecm).

-behaviour(gen_server).

-export([path/0, start/1, start_program/1, restart/1, ensure_running/1, terminate/1, kill/1, stop/1, output/1, os_pid/1,
         await_output/2, await_output/3]).
-export([init/1, handle_call/3, handle_cast/2]).

-export_type([ecm/0]).

-define(EXIT_TIMEOUT, 20_000).
-define(OUTPUT_TIMEOUT, 10_000).

-type ecm() :: pid().
%% Where it listens for clients and where the trunk goes; `trunk' is more of its table [trunk], `top' and
%% `more' stand before and behind all that in the configuration, and `config' replaces it all.
%% It serves when its trunk is up, or already when its port is open.
-type settings() :: #{dir := file:name(), port := inet:port_number(),
                      trunk_port := inet:port_number(), trunk => iodata(), top => iodata(), more => iodata(),
                      config => iodata(), await => trunk | port,
                      %% More of its environment.
                      env => [{string(), string()}]}.

%% @doc Starts the ECM and answers when it serves: its port is open and its trunk is up.
-spec start(settings()) -> {ok, ecm()} | {error, {not_started, Output :: binary()}}.
start(Settings) ->
    {ok, Ecm} = gen_server:start(?MODULE, Settings, []),
    case restart(Ecm) of
        ok -> {ok, Ecm};
        {error, _} = Error -> gen_server:stop(Ecm), Error
    end.

%% @doc Runs the ECM with a configuration that should make it end by itself.
-spec start_program(settings()) -> {Status :: non_neg_integer(), Output :: binary()}.
start_program(#{dir := Dir} = Settings) ->
    megaphone_test_program:run(path(), ["--config", write_config(Settings)],
                               #{log => filename:join(Dir, "ecm.log")}).

%% @doc Starts it again after terminate/1 or kill/1, with the same ports.
-spec restart(ecm()) -> ok | {error, {not_started, Output :: binary()}}.
restart(Ecm) ->
    gen_server:call(Ecm, restart, infinity).

%% @doc Starts it again unless it runs.
-spec ensure_running(ecm()) -> ok | {error, {not_started, Output :: binary()}}.
ensure_running(Ecm) ->
    case gen_server:call(Ecm, is_running, infinity) of
        true -> ok;
        false -> restart(Ecm)
    end.

%% @doc Ends it as an admin does, by SIGTERM, and answers its exit status.
-spec terminate(ecm()) -> Status :: non_neg_integer().
terminate(Ecm) ->
    gen_server:call(Ecm, terminate, infinity).

%% @doc Kills it.
-spec kill(ecm()) -> ok.
kill(Ecm) ->
    gen_server:call(Ecm, kill, infinity).

%% @doc Ends it by SIGTERM and forgets it. Fails unless it ends in good order and in good time.
-spec stop(ecm()) -> ok.
stop(Ecm) ->
    try gen_server:call(Ecm, terminate, infinity) of
        Status when Status =:= 0; Status =:= none -> ok;
        Status -> ct:fail("expected the ECM to end with status 0 after SIGTERM, got ~p; it "
                          "printed~n~ts", [Status, output(Ecm)])
    after
        gen_server:stop(Ecm)
    end.

%% @doc What it has printed since its last start.
-spec output(ecm()) -> binary().
output(Ecm) ->
    gen_server:call(Ecm, output, infinity).

-spec os_pid(ecm()) -> string().
os_pid(Ecm) ->
    gen_server:call(Ecm, os_pid, infinity).

%% @doc Waits until its output matches the regular expression, and answers the match.
-spec await_output(ecm(), Pattern :: iodata()) -> binary().
await_output(Ecm, Pattern) ->
    await_output(Ecm, Pattern, ?OUTPUT_TIMEOUT).

%% @doc The same within so many milliseconds.
-spec await_output(ecm(), Pattern :: iodata(), non_neg_integer()) -> binary().
await_output(Ecm, Pattern, Milliseconds) ->
    megaphone_test_wait:until(
      io_lib:format("output of the ECM that matches ~ts", [Pattern]),
      fun() ->
              case re:run(output(Ecm), Pattern, [{capture, first, binary}]) of
                  {match, [Match]} -> Match;
                  nomatch -> false
              end
      end, Milliseconds).

init(Settings) ->
    process_flag(trap_exit, true),
    {ok, #{settings => Settings, program => none}}.

handle_call(restart, _From, #{settings := #{dir := Dir} = Settings, program := none} = State) ->
    ConfigPath = write_config(Settings),
    {ok, Program} = megaphone_test_program:start(path(), ["--config", ConfigPath],
                                                 #{log => filename:join(Dir, "ecm.log"),
                                                   env => maps:get(env, Settings, [])}),
    case await_serving(Program, Settings, 1000) of
        ok ->
            {reply, ok, State#{program := Program}};
        error ->
            Output = megaphone_test_program:output(Program),
            megaphone_test_program:kill(Program),
            {reply, {error, {not_started, Output}}, State}
    end;
handle_call(terminate, _From, #{program := none} = State) ->
    {reply, none, State};
handle_call(terminate, _From, #{program := Program} = State) ->
    megaphone_test_program:signal(megaphone_test_program:os_pid(Program), "TERM"),
    Status = try megaphone_test_program:await_exit(Program, ?EXIT_TIMEOUT)
             catch _:_ -> still_running
             end,
    megaphone_test_program:kill(Program),
    {reply, Status, State#{program := none}};
handle_call(kill, _From, #{program := none} = State) ->
    {reply, ok, State};
handle_call(kill, _From, #{program := Program} = State) ->
    ok = megaphone_test_program:kill(Program),
    {reply, ok, State#{program := none}};
handle_call(is_running, _From, #{program := Program} = State) ->
    {reply, Program =/= none, State};
handle_call(output, _From, #{program := none} = State) ->
    {reply, <<>>, State};
handle_call(output, _From, #{program := Program} = State) ->
    {reply, megaphone_test_program:output(Program), State};
handle_call(os_pid, _From, #{program := Program} = State) ->
    {reply, megaphone_test_program:os_pid(Program), State}.

handle_cast(_, State) ->
    {noreply, State}.

write_config(#{dir := Dir} = Settings) ->
    Path = filename:join(Dir, "ecm.toml"),
    ok = filelib:ensure_dir(Path),
    ok = file:write_file(Path, config(Settings)),
    Path.

config(#{config := Config}) ->
    Config;
config(#{port := Port, trunk_port := TrunkPort} = Settings) ->
    [maps:get(top, Settings, ""),
     "[trunk]\n"
     "address = \"127.0.0.1:", integer_to_list(TrunkPort), "\"\n"
     %% A test that restarts ejabberd waits for the trunk.
     "backoff_max = \"200ms\"\n",
     maps:get(trunk, Settings, ""),
     "[[listener]]\n"
     "address = \"127.0.0.1:", integer_to_list(Port), "\"\n",
     maps:get(more, Settings, "")].

%% `make build' puts the program under cargo's target folder.
%% @doc The program.
-spec path() -> file:name().
path() ->
    case os:getenv("MEGAPHONE_ECM") of
        false ->
            Target = os:getenv("CARGO_TARGET_DIR", filename:join(megaphone_test_program:repository(),
                                                                  "target")),
            filename:join([Target, "release", "megaphone-ecm"]);
        Path ->
            Path
    end.

await_serving(_Program, _Settings, 0) ->
    error;
await_serving(Program, Settings, Attempts) ->
    case {serves(Program, Settings), megaphone_test_program:status(Program)} of
        {true, _} ->
            ok;
        {false, running} ->
            receive after 10 -> ok end,
            await_serving(Program, Settings, Attempts - 1);
        {false, _Ended} ->
            error
    end.

serves(Program, #{port := Port} = Settings) ->
    Output = megaphone_test_program:output(Program),
    Up = case maps:get(await, Settings, trunk) of
             trunk -> "trunk to \\S+ is up";
             port -> "listening on"
         end,
    re:run(Output, Up, [{capture, none}]) =:= match andalso takes_connections(Port).

takes_connections(Port) ->
    case gen_tcp:connect({127, 0, 0, 1}, Port, []) of
        {ok, Socket} -> gen_tcp:close(Socket), true;
        {error, _} -> false
    end.
