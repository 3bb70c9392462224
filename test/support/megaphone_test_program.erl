%% @doc Runs a program in an OS process. It gets a leash: when the port closes, by whatever end of the
%% Erlang process or of the whole VM, the program is killed. Its output is collected line by line.
-module(megaphone_test_program).

-behaviour(gen_server).

-export([start/3, run/3, run/4, signal/2, os_pid/1, output/1, status/1, await_exit/2, kill/1,
         repository/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-export_type([program/0]).

-type program() :: pid().

%% The shell starts the program in a process group of its own and kills the group when its own input ends. The
%% program's own process says its id before it becomes the program, so that this comes before all that it prints.
-define(LEASH, "exec 3<&0; setsid /bin/sh -c 'echo \"pid $$\"; exec \"$@\"' leash \"$@\" </dev/null 3<&- & "
               "child=$!; "
               "( while read -r _ <&3; do :; done; kill -KILL -$child ) >/dev/null 2>&1 & leash=$!; "
               "wait $child; status=$?; kill $leash; exit $status").

%% @doc Starts a program. Its output goes to a file too, so that a failed suite can be read.
-spec start(file:name(), [iodata()], #{log := file:name(), env => [{string(), string() | false}],
                                       cd => file:name()}) -> {ok, program()}.
start(Path, Arguments, Options) ->
    gen_server:start(?MODULE, {Path, Arguments, Options}, []).

%% @doc As run/4, with thirty seconds.
-spec run(file:name(), [iodata()], map()) -> {Status :: non_neg_integer(), Output :: binary()}.
run(Path, Arguments, Options) ->
    run(Path, Arguments, Options, 30_000).

%% @doc Runs a program to its end.
-spec run(file:name(), [iodata()], map(), timeout()) ->
          {Status :: non_neg_integer(), Output :: binary()}.
run(Path, Arguments, Options, Timeout) ->
    {ok, Program} = start(Path, Arguments, Options),
    try {await_exit(Program, Timeout), output(Program)}
    after kill(Program)
    end.

%% @doc Sends a signal to an OS process, by the signal's name without SIG.
-spec signal(OsPid :: string(), string()) -> ok.
signal(OsPid, Signal) ->
    _ = os:cmd("kill -" ++ Signal ++ " " ++ OsPid),
    ok.

%% @doc The program's own OS process, not the shell's.
-spec os_pid(program()) -> string().
os_pid(Program) ->
    gen_server:call(Program, os_pid, infinity).

%% @doc What the program has printed, standard output and error together.
-spec output(program()) -> binary().
output(Program) ->
    gen_server:call(Program, output, infinity).

-spec status(program()) -> running | non_neg_integer().
status(Program) ->
    gen_server:call(Program, status, infinity).

%% @doc Waits for the program's end.
-spec await_exit(program(), timeout()) -> Status :: non_neg_integer().
await_exit(Program, Timeout) ->
    try gen_server:call(Program, await_exit, Timeout)
    catch exit:{timeout, _} ->
            ct:fail("expected the program to end within ~p ms; it printed~n~ts",
                    [Timeout, output(Program)])
    end.

%% @doc Kills the program if it still runs, with what it has started and left in its process group, and waits for its
%% end.
-spec kill(program()) -> ok.
kill(Program) ->
    case status(Program) of
        running -> signal("-" ++ os_pid(Program), "KILL"), _ = await_exit(Program, 10_000), ok;
        _Ended -> ok
    end,
    gen_server:stop(Program).

%% @doc The repository's root: the first folder above this module's that has the Cargo workspace.
-spec repository() -> file:name().
repository() ->
    case os:getenv("MEGAPHONE_ROOT") of
        false -> repository(filename:dirname(code:which(?MODULE)));
        Root -> Root
    end.

repository("/") ->
    error("the repository's root isn't above the test's modules; say where it is by the environment "
          "variable MEGAPHONE_ROOT");
repository(Folder) ->
    case filelib:is_file(filename:join(Folder, "Cargo.lock")) of
        true -> Folder;
        false -> repository(filename:dirname(Folder))
    end.

init({Path, Arguments, #{log := LogPath} = Options}) ->
    {ok, Log} = file:open(LogPath, [append, raw]),
    Port = open_port({spawn_executable, "/bin/sh"},
                     [{args, ["-c", ?LEASH, "leash", Path | lists:map(fun iolist_to_binary/1, Arguments)]},
                      {env, maps:get(env, Options, [])},
                      {cd, maps:get(cd, Options, ".")},
                      binary, exit_status, eof, stderr_to_stdout, hide]),
    {ok, #{port => Port, log => Log, output => <<>>, os_pid => none, ended => [], status => running,
           %% Callers that wait for the id or for the end.
           waiting => []}}.

handle_call(os_pid, From, #{os_pid := none, waiting := Waiting} = State) ->
    {noreply, State#{waiting := [{os_pid, From} | Waiting]}};
handle_call(os_pid, _From, #{os_pid := OsPid} = State) ->
    {reply, OsPid, State};
handle_call(output, _From, #{output := Output} = State) ->
    {reply, Output, State};
handle_call(status, _From, #{status := Status} = State) ->
    {reply, Status, State};
handle_call(await_exit, From, #{status := running, waiting := Waiting} = State) ->
    {noreply, State#{waiting := [{exit, From} | Waiting]}};
handle_call(await_exit, _From, #{status := Status} = State) ->
    {reply, Status, State}.

handle_cast(_, State) ->
    {noreply, State}.

handle_info({Port, {data, Bytes}}, #{port := Port, output := Output, os_pid := none} = State) ->
    case <<Output/binary, Bytes/binary>> of
        <<"pid ", Rest/binary>> = All ->
            case binary:split(Rest, <<"\n">>) of
                [OsPid, First] ->
                    Known = answer(os_pid, binary_to_list(OsPid),
                                   State#{os_pid := binary_to_list(OsPid), output := <<>>}),
                    {noreply, collect(First, Known)};
                [_] ->
                    {noreply, State#{output := All}}
            end;
        Short ->
            {noreply, State#{output := Short}}
    end;
handle_info({Port, {data, Bytes}}, #{port := Port} = State) ->
    {noreply, collect(Bytes, State)};
handle_info({Port, {exit_status, Status}}, #{port := Port} = State) ->
    {noreply, ended({exit_status, Status}, State)};
handle_info({Port, eof}, #{port := Port} = State) ->
    {noreply, ended(eof, State)};
handle_info(_, State) ->
    {noreply, State}.

collect(Bytes, #{output := Output, log := Log} = State) ->
    ok = file:write(Log, Bytes),
    State#{output := <<Output/binary, Bytes/binary>>}.

%% The end of the output and the status come in any order.
ended(Event, #{ended := Ended} = State) ->
    case lists:sort([Event | Ended]) of
        [eof, {exit_status, Status}] -> answer(exit, Status, State#{status := Status});
        One -> State#{ended := One}
    end.

answer(Question, Answer, #{waiting := Waiting} = State) ->
    {Answered, Left} = lists:partition(fun({Asked, _}) -> Asked =:= Question end, Waiting),
    [gen_server:reply(From, Answer) || {_, From} <- Answered],
    State#{waiting := Left}.
