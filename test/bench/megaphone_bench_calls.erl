%% @doc What recv, send and feed cost, the normal and the dirty variant, beside gen_tcp on a
%% connection of Megaphone and gen_tcp on loopback.
%%
%% Only the calls are timed. What they need is made ready before: input is there before a recv,
%% there is room before a send, and what was fed is read before the next feed.
-module(megaphone_bench_calls).

-export([run/1]).

-import(megaphone_bench_measure, [rounds/2, repeat/2, timed/1]).

%% The most that is made ready at once: the kernel holds as much on loopback (bytes).
-define(BATCH, 131072).
-define(SIZES, [{64, "64 B"}, {1024, "1 KiB"}, {16384, "16 KiB"}]).
-define(HEADER, 32).

%% A pair of connected sockets, or a connection and its trunk.
-record(line, {trunk :: megaphone_nif:trunk(),
               handle :: megaphone_nif:handle(),
               id :: binary(),
               socket :: megaphone:socket(),
               near :: gen_tcp:socket(),
               far :: gen_tcp:socket()}).

-spec run(pos_integer()) -> map().
run(Rounds) ->
    Line = connect(),
    Columns = [{normal, "NIF"}, {dirty, "NIF, dirty"}, {socket, "gen_tcp on Megaphone"},
               {loopback, "gen_tcp on loopback"}],
    Recv = [{Name, rounds(Rounds, recv(Line, Size))} || {Size, Name} <- ?SIZES],
    megaphone_bench_report:table("recv, ns per call", Columns, Recv),
    Send = [{Name, rounds(Rounds, send(Line, Size))} || {Size, Name} <- ?SIZES],
    megaphone_bench_report:table("send, ns per call", Columns, Send),
    Feed = [{Name, rounds(Rounds, Variants)} || {Name, Variants} <- feed(Line)],
    megaphone_bench_report:table("feed, ns per frame",
                                 [{normal, "NIF"}, {dirty, "NIF, dirty"}, {waking, "NIF, waking readers"}],
                                 Feed),
    Other = [{"nothing (a NIF call)", rounds(Rounds, [{normal, nothing(Line)}])},
             {"an HTTP request answered", rounds(Rounds, [{normal, request()}])}],
    megaphone_bench_report:table("others, ns", [{normal, "NIF"}], Other),
    #{recv => rows(Recv), send => rows(Send), feed => rows(Feed), others => rows(Other)}.

rows(Rows) ->
    [maps:merge(#{what => iolist_to_binary(Name)}, Costs) || {Name, Costs} <- Rows].

connect() ->
    Trunk = megaphone_test_nif:open(),
    Id = megaphone_test_nif:id(1),
    Socket = {'$inet', megaphone, {_, Handle}} = megaphone_test_nif:connect(Trunk, Id, <<"!">>),
    {ok, <<"!">>} = megaphone:recv(Socket, 1),
    Options = [binary, {active, false}, {nodelay, true}],
    {ok, Listen} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}} | Options]),
    {ok, Port} = inet:port(Listen),
    {ok, Near} = gen_tcp:connect({127, 0, 0, 1}, Port, Options),
    {ok, Far} = gen_tcp:accept(Listen),
    ok = gen_tcp:close(Listen),
    #line{trunk = Trunk, handle = Handle, id = Id, socket = Socket, near = Near, far = Far}.

recv(#line{trunk = Trunk, handle = Handle} = Line, Size) ->
    Count = max(8, ?BATCH div Size),
    Fill = fill(Line, Size, Count),
    Turn = fun(Ready, Call) ->
                   fun() ->
                           repeat(Count, fun() ->
                                                 Ready(),
                                                 timed(fun() -> times(Count, Call) end)
                                         end)
                   end
           end,
    [{normal, Turn(Fill, fun() -> {ok, _} = megaphone_nif:recv(Trunk, Handle, Size) end)},
     {dirty, Turn(Fill, fun() -> {ok, _} = megaphone_nif:recv_dirty(Trunk, Handle, Size) end)},
     {socket, Turn(Fill, fun() -> {ok, _} = gen_tcp:recv(Line#line.socket, Size) end)},
     {loopback, Turn(send_far(Line, Size * Count),
                     fun() -> {ok, _} = gen_tcp:recv(Line#line.near, Size) end)}].

%% Frames of the size that is read, all of them waiting.
fill(#line{trunk = Trunk, id = Id}, Size, Count) ->
    Frame = megaphone_test_nif:frame(Id, binary:copy(<<"x">>, Size)),
    Frames = binary:copy(Frame, Count),
    fun() -> {ok, [], []} = megaphone_nif:feed(Trunk, Frames) end.

send_far(#line{far = Far}, Size) ->
    Data = binary:copy(<<"x">>, Size),
    fun() -> ok = gen_tcp:send(Far, Data) end.

send(#line{trunk = Trunk, handle = Handle} = Line, Size) ->
    Data = binary:copy(<<"x">>, Size),
    Count = max(8, ?BATCH div Size),
    Turn = fun(Call, Clear) ->
                   fun() ->
                           repeat(Count, fun() ->
                                                 Time = timed(fun() -> times(Count, Call) end),
                                                 Clear(),
                                                 Time
                                         end)
                   end
           end,
    Take = fun() -> take(Trunk) end,
    [{normal, Turn(fun() -> ok = megaphone_nif:send(Trunk, Handle, Data) end, Take)},
     {socket, Turn(fun() -> ok = gen_tcp:send(Line#line.socket, Data) end, Take)},
     {loopback, Turn(fun() -> ok = gen_tcp:send(Line#line.near, Data) end,
                     fun() -> {ok, _} = gen_tcp:recv(Line#line.far, Size * Count) end)}].

take(Trunk) ->
    case megaphone_nif:take_output(Trunk, 1 bsl 20) of
        none -> ok;
        _ -> take(Trunk)
    end.

feed(Line) ->
    [{"1,000 of 64 B", feed(Line, 1000, 64)},
     {"1 of 1 KiB", feed(Line, 1, 1024)},
     {"64 KiB: 4 of 16 KiB", feed(Line, 4, 16384)}].

%% Each frame for another connection.
feed(_Line, Count, Size) ->
    Content = binary:copy(<<"x">>, Size - ?HEADER),
    {Trunk, Handles, Frames} = connections(Count, Content),
    Read = fun() -> [{ok, Content} = megaphone_nif:recv(Trunk, H, 0) || H <- Handles], ok end,
    Turn = fun(Feed) ->
                   fun() -> repeat(Count, fun() -> Time = timed(Feed), Read(), Time end) end
           end,
    [{normal, Turn(fun() -> megaphone_nif:feed(Trunk, Frames) end)},
     {dirty, Turn(fun() -> megaphone_nif:feed_dirty(Trunk, Frames) end)},
     {waking, waking(Count, Content)}].

connections(Count, Content) ->
    Trunk = megaphone_test_nif:open(),
    Ids = [megaphone_test_nif:id(N) || N <- lists:seq(1, Count)],
    Frames = iolist_to_binary([megaphone_test_nif:frame(Id, Content) || Id <- Ids]),
    {ok, Opened, []} = megaphone_nif:feed(Trunk, Frames),
    Handles = [Handle || {Handle, _} <- Opened],
    [begin
         ok = megaphone_nif:own(Trunk, Handle, self()),
         {ok, Content} = megaphone_nif:recv(Trunk, Handle, 0)
     end || Handle <- Handles],
    {Trunk, Handles, Frames}.

%% A process waits in recv on each of the connections; it tells us when it waits again.
waking(Count, Content) ->
    {Trunk, Handles, Frames} = connections(Count, Content),
    Size = byte_size(Content),
    Self = self(),
    Read = fun Read(Socket) ->
                   {ok, Content} = megaphone:recv(Socket, Size),
                   Self ! ready,
                   Read(Socket)
           end,
    [begin
         Socket = megaphone:socket(Trunk, Handle),
         Owner = spawn_link(fun() -> Read(Socket) end),
         ok = megaphone_nif:own(Trunk, Handle, Owner)
     end || Handle <- Handles],
    Wait = fun Wait() ->
                   case megaphone:status(megaphone_nif:number(Trunk)) of
                       {ok, #{waiters := Count}} -> ok;
                       {ok, _} -> erlang:yield(), Wait()
                   end
           end,
    fun() ->
            repeat(Count, fun() ->
                                  Wait(),
                                  Time = timed(fun() -> megaphone_nif:feed(Trunk, Frames) end),
                                  times(Count, fun() -> receive ready -> ok end end),
                                  Time
                          end)
    end.

nothing(#line{trunk = Trunk}) ->
    fun() -> repeat(1000, fun() -> timed(fun() -> times(1000, fun() -> megaphone_nif:number(Trunk) end) end) end) end.

%% All that the NIF does for a request: feed, recv of its head and body, send, take_output.
request() ->
    Count = 100,
    Trunk = megaphone_test_nif:open(#{content => http}),
    Body = binary:copy(<<"x">>, 150),
    Request = ["POST /bosh HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n"
               "Content-Length: 150\r\n\r\n", Body],
    Answer = ["HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 150\r\n\r\n", Body],
    Ids = [megaphone_test_nif:id(N) || N <- lists:seq(1, Count)],
    Frames = iolist_to_binary([megaphone_test_nif:frame(Id, Request) || Id <- Ids]),
    {ok, Opened, []} = megaphone_nif:feed(Trunk, Frames),
    Handles = [Handle || {Handle, _} <- Opened],
    Serve = fun() ->
                    [begin
                         {ok, _Head} = megaphone_nif:recv(Trunk, Handle, 0),
                         {ok, Body} = megaphone_nif:recv(Trunk, Handle, 150),
                         ok = megaphone_nif:send(Trunk, Handle, Answer)
                     end || Handle <- Handles],
                    take(Trunk)
            end,
    Serve(),
    Cycle = fun() -> {ok, [], []} = megaphone_nif:feed(Trunk, Frames), Serve() end,
    fun() -> repeat(Count, fun() -> timed(Cycle) end) end.

times(0, _Call) -> ok;
times(Count, Call) -> Call(), times(Count - 1, Call).
