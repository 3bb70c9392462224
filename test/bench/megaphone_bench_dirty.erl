%% @doc Where a call passes 1 ms, above which it has no place on a normal scheduler, and what the
%% way to a dirty one costs.
-module(megaphone_bench_dirty).

-export([run/1]).

-import(megaphone_bench_measure, [rounds/2, repeat/2, timed/1]).

%% What the VM asks of a NIF (ns).
-define(LIMIT, 1_000_000).
-define(CONNECTIONS, 1000).
-define(SIZES, [N bsl 10 || N <- [16, 64, 128, 256, 512, 1024, 2048]]).
-define(RECVS, [N bsl 20 || N <- [1, 4, 16]]).

-spec run(pos_integer()) -> map().
run(Rounds) ->
    Columns = [{normal, "NIF"}, {dirty, "NIF, dirty"}],
    Small = costs(Rounds, "feed of frames of 64 B", Columns, ?SIZES, fun(Size) -> feed(Size, 64) end),
    Large = costs(Rounds, "feed of frames of 16 KiB", Columns, ?SIZES, fun(Size) -> feed(Size, 16384) end),
    Recv = costs(Rounds, "recv of", Columns, ?RECVS, fun recv/1),
    #{feed_64 => Small, feed_16384 => Large, recv => Recv}.

costs(Rounds, Title, Columns, Sizes, Variants) ->
    Costs = [{Size, rounds(Rounds, Variants(Size))} || Size <- Sizes],
    Rows = [{io_lib:format("~b KiB", [Size bsr 10]), Cost} || {Size, Cost} <- Costs],
    megaphone_bench_report:table(Title, Columns, Rows),
    Line = line([{Size, Median} || {Size, #{normal := #{median := Median}}} <- Costs]),
    note(Line),
    #{one_ms_at_bytes => Line,
      sizes => [Cost#{bytes => Size} || {Size, Cost} <- Costs]}.

note(null) -> megaphone_bench_report:note("under 1 ms at all of these", []);
note(Line) -> megaphone_bench_report:note("1 ms is passed at about ~b KiB", [Line bsr 10]).

%% The size at which the line is passed, between two that were measured.
line([{Size, Cost}, {Next, Above} | _]) when Cost < ?LIMIT, Above >= ?LIMIT ->
    Size + round((Next - Size) * (?LIMIT - Cost) / (Above - Cost));
line([{Size, Cost} | _]) when Cost >= ?LIMIT -> Size;
line([_ | Rest]) -> line(Rest);
line([]) -> null.

feed(Bytes, FrameSize) ->
    Trunk = megaphone_test_nif:open(),
    Content = binary:copy(<<"x">>, FrameSize - 32),
    Ids = [megaphone_test_nif:id(N) || N <- lists:seq(1, ?CONNECTIONS)],
    Open = iolist_to_binary([megaphone_test_nif:frame(Id, <<"!">>) || Id <- Ids]),
    {ok, Opened, []} = megaphone_nif:feed(Trunk, Open),
    Handles = [Handle || {Handle, _} <- Opened],
    Read = fun() -> [read(Trunk, Handle) || Handle <- Handles], ok end,
    Read(),
    Round = iolist_to_binary([megaphone_test_nif:frame(Id, Content) || Id <- Ids]),
    Frames = binary:part(binary:copy(Round, 1 + Bytes div byte_size(Round)), 0, Bytes),
    Turn = fun(Feed) -> fun() -> repeat(1, fun() -> Time = timed(Feed), Read(), Time end) end end,
    [{normal, Turn(fun() -> {ok, [], []} = megaphone_nif:feed(Trunk, Frames) end)},
     {dirty, Turn(fun() -> {ok, [], []} = megaphone_nif:feed_dirty(Trunk, Frames) end)}].

read(Trunk, Handle) ->
    case megaphone_nif:recv(Trunk, Handle, 0) of
        {ok, _} -> read(Trunk, Handle);
        {wait, Wait} -> cancelled = megaphone_nif:cancel(Trunk, Handle, Wait)
    end.

recv(Bytes) ->
    Trunk = megaphone_test_nif:open(),
    Id = megaphone_test_nif:id(1),
    {ok, [{Handle, _}], []} = megaphone_nif:feed(Trunk, megaphone_test_nif:frame(Id, <<"!">>)),
    {ok, <<"!">>} = megaphone_nif:recv(Trunk, Handle, 1),
    Frame = megaphone_test_nif:frame(Id, binary:copy(<<"x">>, 1 bsl 19)),
    Frames = binary:copy(Frame, Bytes bsr 19),
    Turn = fun(Recv) ->
                   fun() ->
                           repeat(1, fun() ->
                                             {ok, [], []} = megaphone_nif:feed_dirty(Trunk, Frames),
                                             timed(Recv)
                                     end)
                   end
           end,
    [{normal, Turn(fun() -> {ok, _} = megaphone_nif:recv(Trunk, Handle, Bytes) end)},
     {dirty, Turn(fun() -> {ok, _} = megaphone_nif:recv_dirty(Trunk, Handle, Bytes) end)}].
