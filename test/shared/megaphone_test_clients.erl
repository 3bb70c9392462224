%% @doc The clients that other people wrote, as the tests run them: where they are, and what is missing.
-module(megaphone_test_clients).

-export([folder/0, missing/1, run/4]).

-export_type([language/0]).

-type language() :: node | python.

%% @doc Where the programs are that drive them.
-spec folder() -> file:name().
folder() ->
    filename:join(megaphone_test_program:repository(), "test/clients").

%% @doc What init_per_testcase/2 answers for a case that needs these programs, each with the Debian package that
%% has it: the configuration, or that the case is skipped because one isn't here.
-spec missing([{Program :: string(), Package :: string()}]) -> none | {skip, Reason :: string()}.
missing(Needed) ->
    case [Text || {Program, Package} <- Needed, os:find_executable(Program) =:= false,
                  Text <- [Program ++ " isn't installed (Debian's package " ++ Package ++ ")"]] of
        [] -> none;
        Missing -> {skip, string:join(Missing, ", ")}
    end.

%% @doc Runs a program of the folder to its end and answers what it has printed; the case fails unless its status
%% is 0. More of the environment goes before the program's own.
-spec run(language(), [iodata()], [{string(), string() | false}], [{atom(), term()}]) -> Output :: binary().
run(Language, Arguments, Environment, Config) ->
    Log = filename:join(proplists:get_value(priv_dir, Config), "clients.log"),
    case megaphone_test_program:run(interpreter(Language), Arguments,
                                    #{log => Log, cd => folder(), env => Environment}) of
        {0, Output} -> Output;
        {Status, Output} -> ct:fail("~ts ended with status ~b; it printed~n~ts", [hd(Arguments), Status, Output])
    end.

interpreter(node) ->
    installed("node_modules", os:find_executable("node"));
interpreter(python) ->
    installed("venv/bin/python", filename:join(folder(), "venv/bin/python")).

installed(Path, Interpreter) ->
    case filelib:is_file(filename:join(folder(), Path)) of
        true -> Interpreter;
        false -> ct:fail("test/clients/~ts isn't there: run `make test-clients'", [Path])
    end.
