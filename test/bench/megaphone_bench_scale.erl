%% @doc What a frame and a recv cost among 1,000 connections and among very many.
-module(megaphone_bench_scale).

-export([run/2]).

-import(megaphone_bench_measure, [rounds/2, repeat/2, timed/1]).

-define(FEW, 1000).
%% Frames in a feed, each for a connection chosen at random.
-define(FRAMES, 500).
%% Different feeds; together they reach more memory than a cache has.
-define(FEEDS, 200).

-spec run(pos_integer(), pos_integer()) -> map().
run(Rounds, Many) ->
    Few = trunk(?FEW),
    Lots = trunk(Many),
    Feed = rounds(Rounds, [{few, feed(Few)}, {many, feed(Lots)}]),
    Recv = rounds(Rounds, [{few, recv(Few)}, {many, recv(Lots)}]),
    Send = rounds(Rounds, [{few, send(Few)}, {many, send(Lots)}]),
    Columns = [{few, "1,000 connections"}, {many, io_lib:format("~b connections", [Many])}],
    Rows = [{"a frame of 64 B (feed)", Feed}, {"recv", Recv}, {"send of 32 B", Send}],
    megaphone_bench_report:table("ns each, at random", Columns, Rows),
    Ratios = [{Name, ratio(Costs)} || {Name, Costs} <- Rows],
    [megaphone_bench_report:note("~ts: ~.2f times", [Name, Ratio]) || {Name, Ratio} <- Ratios],
    #{connections => Many,
      costs => [Costs#{what => iolist_to_binary(Name), ratio => ratio(Costs)} || {Name, Costs} <- Rows]}.

ratio(#{few := #{median := Few}, many := #{median := Many}}) ->
    Many / Few.

%% A trunk, and feeds for connections at random with the handles in their order.
trunk(Count) ->
    Trunk = megaphone_test_nif:open(),
    Handles = open(Trunk, 1, Count, []),
    Named = list_to_tuple(Handles),
    _ = rand:seed(exsss, {1, 2, 3}),
    Feeds = [begin
                 Chosen = [rand:uniform(Count) || _ <- lists:seq(1, ?FRAMES)],
                 {frames(Chosen), [element(N, Named) || N <- Chosen]}
             end || _ <- lists:seq(1, ?FEEDS)],
    {Trunk, list_to_tuple(Feeds)}.

open(_Trunk, From, Count, Handles) when From > Count ->
    lists:append(lists:reverse(Handles));
open(Trunk, From, Count, Handles) ->
    To = min(From + 999, Count),
    Numbers = lists:seq(From, To),
    {ok, New, []} = megaphone_nif:feed(Trunk, frames(Numbers)),
    Opened = [Handle || {Handle, _} <- New],
    [begin
         ok = megaphone_nif:own(Trunk, Handle, self()),
         {ok, _} = megaphone_nif:recv(Trunk, Handle, 0)
     end || Handle <- Opened],
    open(Trunk, To + 1, Count, [Opened | Handles]).

frames(Numbers) ->
    Content = binary:copy(<<"x">>, 32),
    iolist_to_binary([megaphone_test_nif:frame(megaphone_test_nif:id(N), Content) || N <- Numbers]).

feed({Trunk, Feeds}) ->
    fun() ->
            each(Feeds, fun({Frames, Handles}) ->
                                Time = timed(fun() -> {ok, [], []} = megaphone_nif:feed(Trunk, Frames) end),
                                read(Trunk, Handles),
                                Time
                        end)
    end.

recv({Trunk, Feeds}) ->
    fun() ->
            each(Feeds, fun({Frames, Handles}) ->
                                {ok, [], []} = megaphone_nif:feed(Trunk, Frames),
                                timed(fun() -> read(Trunk, Handles) end)
                        end)
    end.

read(Trunk, Handles) ->
    lists:foreach(fun(Handle) ->
                          {ok, _} = megaphone_nif:recv(Trunk, Handle, 32)
                  end, Handles).

send({Trunk, Feeds}) ->
    Data = binary:copy(<<"x">>, 32),
    fun() ->
            each(Feeds, fun({_, Handles}) ->
                                Time = timed(fun() ->
                                                     [ok = megaphone_nif:send(Trunk, H, Data) || H <- Handles]
                                             end),
                                _ = megaphone_nif:take_output(Trunk, 1 bsl 20),
                                Time
                        end)
    end.

%% All feeds in turn, however many turns it takes.
each(Feeds, Batch) ->
    Next = counters:new(1, []),
    repeat(?FRAMES, fun() ->
                            Index = counters:get(Next, 1) rem ?FEEDS,
                            ok = counters:add(Next, 1, 1),
                            Batch(element(Index + 1, Feeds))
                    end).
