%% @doc What an ejabberd holds, so that what is left by clients that are gone can be found.
-module(megaphone_bench_census).

-export([take/0]).

%% Kinds of timers as the emulator's allocator names them: of BIFs, and of processes and ports.
-define(TIMERS, [bif_timer, hl_ptimer, ll_ptimer]).

%% @doc Names and how many there are of each: processes by their initial calls, rows of ETS tables by the tables' names,
%% ports by theirs, timers by kind (where the emulator runs with `+MFatags true'), and what the NIF holds.
-spec take() -> [[binary() | non_neg_integer()]].
take() ->
    lists:append([counted("process", [initial_call(Pid) || Pid <- processes()]),
                  rows(),
                  counted("port", [Name || Port <- erlang:ports(), {name, Name} <- [erlang:port_info(Port, name)]]),
                  timers(),
                  nif()]).

%% One that ends meanwhile is none.
initial_call(Pid) ->
    {Module, Function, Arity} = case proc_lib:translate_initial_call(Pid) of
                                    {_, _, _} = Call -> Call;
                                    _ -> {gone, gone, 0}
                                end,
    io_lib:format("~s:~s/~b", [Module, Function, Arity]).

rows() ->
    Sizes = [{atom_to_list(Name), Size} || Table <- ets:all(),
                                           Name <- [ets:info(Table, name)],
                                           Size <- [ets:info(Table, size)],
                                           is_integer(Size)],
    Sums = lists:foldl(fun({Name, Size}, Sum) -> maps:update_with(Name, fun(N) -> N + Size end, Size, Sum) end,
                       #{}, Sizes),
    [line("rows of", Name, Size) || {Name, Size} <- maps:to_list(Sums)].

%% Debian has OTP's tools in a package of their own, erlang-tools.
timers() ->
    try instrument:allocations(#{allocator_types => [fix_alloc]}) of
        {ok, {_, _, Origins}} -> [line("timer", atom_to_list(Type), blocks(Type, Origins)) || Type <- ?TIMERS];
        {error, _} -> []
    catch
        error:undef -> []
    end.

blocks(Type, Origins) ->
    lists:sum([lists:sum(tuple_to_list(Histogram)) || #{Type := Histogram} <- maps:values(Origins)]).

nif() ->
    Status = megaphone:status(),
    [line("NIF", atom_to_list(Key), maps:get(Key, Status)) || Key <- [trunks, connections, buffered, unsent, waiters]].

counted(What, Names) ->
    Counts = lists:foldl(fun(Name, Sum) -> maps:update_with(lists:flatten(Name), fun(N) -> N + 1 end, 1, Sum) end,
                         #{}, Names),
    [line(What, Name, Count) || {Name, Count} <- maps:to_list(Counts)].

line(What, Name, Count) ->
    [unicode:characters_to_binary([What, " ", Name]), Count].
