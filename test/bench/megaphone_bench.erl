%% @doc What the NIF costs: each part measured beside what it stands for, and printed as a table.
-module(megaphone_bench).

-export([main/0]).

%% What a run takes: `rounds' of each measurement, `many' connections where there are to be many.
-type plan() :: #{rounds := pos_integer(), many := pos_integer()}.

-define(FULL, #{rounds => 15, many => 1_000_000}).
-define(QUICK, #{rounds => 3, many => 100_000}).

%% @doc Takes the arguments of nif.sh: `--quick', and the name of a file for the results as JSON.
-spec main() -> no_return().
main() ->
    try
        {Plan, File} = arguments(init:get_plain_arguments()),
        Results = run(Plan),
        save(File, Results),
        halt(0)
    catch
        throw:{usage, Text} ->
            io:format(standard_error, "bench-nif: ~ts~n", [Text]),
            halt(2);
        Class:Reason:Stack ->
            io:format(standard_error, "bench-nif: ~ts~n",
                      [erl_error:format_exception(Class, Reason, Stack)]),
            halt(1)
    end.

arguments(["--quick" | Rest]) -> {?QUICK, file(Rest)};
arguments(Rest) -> {?FULL, file(Rest)}.

file([]) -> none;
file([[$- | _] = Option]) -> throw({usage, ["no option ", Option, "; there is --quick"]});
file([File]) -> File;
file(_) -> throw({usage, "takes [--quick] [results.json]"}).

-spec run(plan()) -> map().
run(#{rounds := Rounds, many := Many}) ->
    Machine = megaphone_bench_machine:describe(),
    megaphone_bench_report:title(Machine, Rounds),
    #{machine => Machine,
      calls => megaphone_bench_calls:run(Rounds),
      threads => megaphone_bench_threads:run(Rounds),
      dirty => megaphone_bench_dirty:run(Rounds),
      scale => megaphone_bench_scale:run(Rounds, Many),
      memory => megaphone_bench_memory:run(Many)}.

save(none, _Results) ->
    ok;
save(File, Results) ->
    case file:write_file(File, [megaphone_bench_json:encode(Results), $\n]) of
        ok -> ok;
        {error, Reason} -> throw({usage, [File, ": ", file:format_error(Reason)]})
    end.
