%% @doc `make run` in a terminal of its own, and the lines by which it says where everything is.
-module(megaphone_test_run).

-export([start/2, interrupt/1, stop/1, line/2, names/1, dir/1, make/2, output/1]).

-export_type([run/0]).

%% `lines' are what stands behind each name.
-type run() :: #{program := megaphone_test_program:program(), dir := file:name(),
                 names := [string()], lines := #{Name :: string() => string()}}.

%% It builds what has changed.
-define(PATIENCE, 300_000).

%% @doc Starts it with free ports and waits until it is ready. The settings are more variables of make's.
-spec start(Dir :: file:name(), [{Variable :: string(), Value :: string()}]) -> run().
start(Dir, Settings) ->
    Names = ["HTTP_PORT", "HTTPS_PORT", "XMPP_PORT", "TRUNK_PORT", "METRICS_PORT"],
    Ports = lists:zip(Names, [integer_to_list(Port) || Port <- megaphone_test_port:free(length(Names))]),
    {ok, Program} =
        megaphone_test_program:start(
          os:find_executable("python3"),
          [filename:join(megaphone_test_clients:folder(), "terminal.py") | command("run", Dir, Ports ++ Settings)],
          options(Dir)),
    await(Program, "^ready\r?$"),
    Lines = lines(megaphone_test_program:output(Program)),
    #{program => Program, dir => Dir, names => [Name || {Name, _} <- Lines], lines => maps:from_list(Lines)}.

%% @doc Types Ctrl-C; answers its status and all that it has printed.
-spec interrupt(run()) -> {Status :: non_neg_integer(), Output :: binary()}.
interrupt(#{program := Program}) ->
    megaphone_test_program:signal(megaphone_test_program:os_pid(Program), "INT"),
    {megaphone_test_program:await_exit(Program, 40_000), megaphone_test_program:output(Program)}.

%% @doc Ends it, if that isn't done, and forgets it.
-spec stop(run()) -> ok.
stop(#{program := Program} = Run) ->
    try
        case megaphone_test_program:status(Program) of
            running -> interrupt(Run), ok;
            _ -> ok
        end
    after
        megaphone_test_program:kill(Program)
    end.

%% @doc What it printed behind a name, as it printed it.
-spec line(Name :: string(), run()) -> string().
line(Name, #{lines := Lines}) ->
    maps:get(Name, Lines).

%% @doc The names of all lines.
-spec names(run()) -> [string()].
names(#{names := Names}) ->
    Names.

-spec dir(run()) -> file:name().
dir(#{dir := Dir}) ->
    Dir.

-spec output(run()) -> binary().
output(#{program := Program}) ->
    megaphone_test_program:output(Program).

%% @doc Another target of make's for the same folder.
-spec make(Target :: string(), run()) -> {Status :: non_neg_integer(), Output :: binary()}.
make(Target, #{dir := Dir}) ->
    [Make | Arguments] = command(Target, Dir, []),
    megaphone_test_program:run(os:find_executable(Make), Arguments, options(Dir)).

command(Target, Dir, Variables) ->
    ["make", "--no-print-directory", Target, "RUN_DIR=" ++ Dir | [Name ++ "=" ++ Value || {Name, Value} <- Variables]].

%% The make that runs the tests isn't its parent.
options(Dir) ->
    Log = Dir ++ ".log",
    ok = filelib:ensure_dir(Log),
    #{log => Log, cd => megaphone_test_program:repository(),
      env => [{Name, false} || Name <- ["MAKEFLAGS", "MAKELEVEL", "MFLAGS", "USERS"]]}.

await(Program, Pattern) ->
    megaphone_test_wait:until(
      fun() -> ["make run to be ready; it says\n", megaphone_test_program:output(Program)] end,
      fun() ->
              Printed = re:run(megaphone_test_program:output(Program), Pattern, [multiline, {capture, none}]),
              case {Printed, megaphone_test_program:status(Program)} of
                  {match, running} -> true;
                  {nomatch, running} -> false;
                  {_, Status} -> ct:fail("make run ended with status ~b; it says~n~ts",
                                         [Status, megaphone_test_program:output(Program)])
              end
      end, ?PATIENCE).

lines(Output) ->
    {match, Lines} = re:run(Output, "^  (\\S.*?) {2,}(\\S.*?)\r?$",
                            [multiline, global, {capture, all_but_first, list}]),
    [{Name, Value} || [Name, Value] <- Lines].
