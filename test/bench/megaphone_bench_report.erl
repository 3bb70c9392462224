%% @doc Tables for a terminal.
-module(megaphone_bench_report).

-export([title/2, section/1, note/2, table/3, cost/1]).

-define(FIRST, 30).
-define(COLUMN, 24).

-spec title(map(), pos_integer()) -> ok.
title(#{cpu := Cpu, schedulers := Schedulers, system := System, otp := Otp, rustc := Rustc,
        commit := Commit}, Rounds) ->
    io:format("bench-nif: megaphone ~ts~n  ~ts, ~b schedulers, ~ts~n  ~ts; ~ts~n"
              "  ~b rounds in turn: the median [and the quartiles]~n",
              [Commit, Cpu, Schedulers, System, Otp, Rustc, Rounds]).

-spec section(iodata()) -> ok.
section(Title) ->
    io:format("~n~ts~n", [Title]).

-spec note(io:format(), [term()]) -> ok.
note(Format, Values) ->
    io:format("  " ++ Format ++ "~n", Values).

%% @doc A table of costs; a column that a row has nothing for stays empty.
-spec table(iodata(), [{atom(), iodata()}], [{iodata(), map()}]) -> ok.
table(Title, Columns, Rows) ->
    io:format("~n~ts~ts~n", [pad(Title, ?FIRST), [right(Name) || {_, Name} <- Columns]]),
    lists:foreach(fun({Name, Costs}) ->
                          Cells = [right(cell(Column, Costs)) || {Column, _} <- Columns],
                          io:format("~ts~ts~n", [pad(["  ", Name], ?FIRST), Cells])
                  end, Rows).

cell(Column, Costs) ->
    case Costs of
        #{Column := Cost} -> cost(Cost);
        #{} -> "-"
    end.

%% @doc A median and its quartiles, in nanoseconds up to 10 us.
-spec cost(megaphone_bench_measure:summary()) -> iodata().
cost(#{median := Median, low := Low, high := High}) ->
    [nanoseconds(Median), " [", nanoseconds(Low), "-", nanoseconds(High), "]"].

nanoseconds(Value) when Value < 9_999.5 -> io_lib:format("~b", [round(Value)]);
nanoseconds(Value) -> io_lib:format("~.1fus", [Value / 1000]).

pad(Text, Width) -> string:pad(Text, Width, trailing).

right(Text) -> string:pad(Text, ?COLUMN, leading).
