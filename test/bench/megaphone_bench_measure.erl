%% @doc Rounds in which each variant has its turn, and what they come to.
-module(megaphone_bench_measure).

-export([rounds/2, timed/1, repeat/2, summary/1]).

-export_type([variant/0, summary/0]).

%% A turn answers what one operation cost (ns).
-type variant() :: {Name :: atom(), Turn :: fun(() -> number())}.
%% Nanoseconds an operation: the median of all rounds, and their quartiles.
-type summary() :: #{median := float(), low := float(), high := float()}.

%% A turn goes on until it has measured this long (ns).
-define(TURN, 20_000_000).

%% @doc Gives each variant a turn in each round, in an order that changes, so that what else the
%% machine does meets all of them. The first round warms up and is not counted.
-spec rounds(pos_integer(), [variant()]) -> #{atom() => summary()}.
rounds(Rounds, Variants) ->
    _ = one_round(Variants),
    {Samples, _} = lists:mapfoldl(fun(_, Order) -> {one_round(Order), turn(Order)} end,
                                  Variants, lists:seq(1, Rounds)),
    maps:from_list([{Name, summary([Cost || Round <- Samples, {N, Cost} <- Round, N =:= Name])}
                    || {Name, _} <- Variants]).

one_round(Variants) ->
    [begin
         erlang:garbage_collect(),
         {Name, Turn()}
     end || {Name, Turn} <- Variants].

turn([First | Others]) ->
    Others ++ [First].

%% @doc How long a call takes (ns).
-spec timed(fun(() -> term())) -> non_neg_integer().
timed(Call) ->
    Start = erlang:monotonic_time(nanosecond),
    _ = Call(),
    erlang:monotonic_time(nanosecond) - Start.

%% @doc What one of the operations in a batch costs: the median of as many batches as take long
%% enough, so that one which the system interrupted counts for little. `Batch' times its own work.
-spec repeat(pos_integer(), fun(() -> non_neg_integer())) -> float().
repeat(Operations, Batch) ->
    #{median := Median} = summary(repeat(Batch, 0, [])),
    Median / Operations.

repeat(_, Spent, Times) when Spent >= ?TURN ->
    Times;
repeat(Batch, Spent, Times) ->
    Time = Batch(),
    repeat(Batch, Spent + Time, [Time | Times]).

%% @doc The median and the quartiles.
-spec summary([number(), ...]) -> summary().
summary(Values) ->
    Sorted = lists:sort(Values),
    At = fun(Part) -> float(lists:nth(1 + round(Part * (length(Sorted) - 1)), Sorted)) end,
    #{median => At(0.5), low => At(0.25), high => At(0.75)}.
