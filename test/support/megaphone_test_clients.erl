%% @doc The clients that other people wrote, as the tests run them: where they are, and what is missing.
-module(megaphone_test_clients).

-export([folder/0, need/2, run/4, with/4]).

-export_type([language/0]).

-type language() :: node | python.

%% A browser has to start, on a machine that may have much to do.
-define(PATIENCE, 60_000).

%% @doc Where the programs are that drive them.
-spec folder() -> file:name().
folder() ->
    filename:join(megaphone_test_program:repository(), "test/clients").

%% @doc What init_per_testcase/2 answers of a case that needs these: programs, or files by their paths, each with
%% the Debian package that has it.
-spec need([{Needed :: file:name(), Package :: string()}], Config) -> Config | {skip, Reason :: string()}
              when Config :: [{atom(), term()}].
need(All, Config) ->
    case [Needed ++ " isn't installed (Debian's package " ++ Package ++ ")"
          || {Needed, Package} <- All, not is_there(Needed)] of
        [] -> Config;
        Missing -> {skip, string:join(Missing, ", ")}
    end.

is_there("/" ++ _ = Path) -> filelib:is_file(Path);
is_there(Program) -> os:find_executable(Program) =/= false.

%% @doc Runs a program of the folder, or another one in it, to its end and answers what it has printed; the case fails
%% unless its status is 0. More of the environment goes before the program's own.
-spec run(language() | file:name(), [iodata()], [{string(), string() | false}], [{atom(), term()}]) ->
          Output :: binary().
run(Language, Arguments, Environment, Config) when is_atom(Language) ->
    run(interpreter(Language), Arguments, Environment, Config);
run(Path, Arguments, Environment, Config) ->
    Log = filename:join(proplists:get_value(priv_dir, Config), "clients.log"),
    case megaphone_test_program:run(Path, Arguments,
                                    #{log => Log, cd => folder(), env => Environment}, ?PATIENCE) of
        {0, Output} -> Output;
        {Status, Output} -> ct:fail("~ts ended with status ~b; it printed~n~ts", [hd(Arguments), Status, Output])
    end.

%% @doc Starts a program in the folder, calls the function, and waits for the program's end, whose status has to be
%% 0: the case fails as soon as it ends otherwise.
-spec with(language() | file:name(), [iodata()], [{atom(), term()}], fun(() -> Result)) -> Result.
with(Language, Arguments, Config, Function) when is_atom(Language) ->
    with(interpreter(Language), Arguments, Config, Function);
with(Path, Arguments, Config, Function) ->
    Log = filename:join(proplists:get_value(priv_dir, Config), "clients.log"),
    {ok, Program} = megaphone_test_program:start(Path, Arguments, #{log => Log, cd => folder()}),
    Watch = spawn_link(fun() -> watch(Program, [Path | Arguments]) end),
    try
        Result = Function(),
        ok = ended(Watch),
        Result
    catch Class:Reason:Stack ->
            ct:pal("~ts printed~n~ts", [lists:join(" ", [Path | Arguments]), megaphone_test_program:output(Program)]),
            erlang:raise(Class, Reason, Stack)
    after
        unlink(Watch),
        megaphone_test_program:kill(Program)
    end.

%% The case is linked to this process.
watch(Program, Command) ->
    case megaphone_test_program:await_exit(Program, infinity) of
        0 ->
            ok;
        Status ->
            Output = megaphone_test_program:output(Program),
            exit({client_ended, Status, iolist_to_binary(lists:join(" ", Command)), Output})
    end.

ended(Watch) ->
    normal = case megaphone_test_wait:for_down(Watch, ?PATIENCE) of
                 noproc -> normal;
                 Reason -> Reason
             end,
    ok.

interpreter(node) ->
    installed("node_modules", os:find_executable("node"));
interpreter(python) ->
    installed("venv/bin/python", filename:join(folder(), "venv/bin/python")).

installed(Path, Interpreter) ->
    case filelib:is_file(filename:join(folder(), Path)) of
        true -> Interpreter;
        false -> ct:fail("test/clients/~ts isn't there: run `make test-clients'", [Path])
    end.
