%% @doc Version 2 in a real ejabberd, measured: a neighbour's latency while a client does not read, and
%% ejabberd's CPU for 200 MiB over streams and over plain TCP.
-module(megaphone_bench_flow).

-export([main/0]).

-define(MIB, 1048576).
-define(GET(Path), ["GET ", Path, " HTTP/1.1\r\nHost: localhost\r\n\r\n"]).
-define(LAST(Path), ["GET ", Path, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"]).
-define(ROUNDS, 5).
-define(REQUESTS, 2000).
-define(STREAMS, 1000).

-spec main() -> no_return().
main() ->
    Dir = filename:absname("_build/bench/flow_run"),
    _ = file:del_dir_r(Dir),
    [Trunk, Plain] = megaphone_test_port:free(2),
    {ok, Ejabberd} = megaphone_test_ejabberd:start(
                       #{dir => Dir,
                         listeners => [megaphone_test_config:listener(megaphone_listener, Trunk),
                                       megaphone_test_config:listener(ejabberd_http, Plain)]}),
    [ok = file:write_file(filename:join([Dir, "files", Name]), rand:bytes(Size))
     || {Name, Size} <- [{"large", 200 * ?MIB}, {"small", 200 * ?MIB div ?STREAMS}]],
    latency({{127, 0, 0, 1}, Trunk}),
    processor(Ejabberd, {{127, 0, 0, 1}, Trunk}, Plain),
    ok = megaphone_test_ejabberd:stop(Ejabberd),
    ok = file:del_dir_r(Dir),
    halt(0).

%% Quiet and stuck rounds take turns, so that what else the machine does meets both.
latency(Address) ->
    Rounds = [{latencies(Address, fun(_) -> ok end), latencies(Address, fun stuck/1)}
              || _ <- lists:seq(1, ?ROUNDS)],
    {Quiet, Stuck} = lists:unzip(Rounds),
    Percentiles = [{Name, percentile(0.5, lists:append(All)), percentile(0.99, lists:append(All))}
                   || {Name, All} <- [{"quiet", Quiet}, {"beside a download that nobody reads", Stuck}]],
    [io:format("a request, ~ts: ~b us at the median, ~b us at the 99th percentile~n",
               [Name, round(P50), round(P99)])
     || {Name, P50, P99} <- Percentiles],
    [{_, _, QuietP99}, {_, _, StuckP99}] = Percentiles,
    io:format("the 99th percentile is ~.2f times the quiet one~n", [StuckP99 / QuietP99]).

latencies(Address, Prepare) ->
    Trunk = megaphone_test_yamux:connect(Address),
    Neighbour = open(Trunk, ?GET("/echo/ip")),
    answered(Neighbour),
    _ = Prepare(Trunk),
    Latencies = [begin
                     Started = erlang:monotonic_time(nanosecond),
                     ok = megaphone_test_yamux:send(Neighbour, ?GET("/echo/ip")),
                     answered(Neighbour),
                     (erlang:monotonic_time(nanosecond) - Started) / 1000
                 end || _ <- lists:seq(1, ?REQUESTS)],
    megaphone_test_yamux:close(Trunk),
    Latencies.

stuck(Trunk) ->
    Stream = open(Trunk, ?GET("/echo/file/large")),
    {ok, _} = megaphone_test_yamux:peek(Stream, 262144, 30_000).

processor(Ejabberd, Address, Plain) ->
    Variants = [{"one stream", fun() -> one_stream(Address) end},
                {"one TCP connection", fun() -> one_connection(Plain) end},
                {"1,000 streams", fun() -> many_streams(Address) end},
                {"1,000 TCP connections", fun() -> many_connections(Plain) end}],
    OsPid = megaphone_test_ejabberd:os_pid(Ejabberd),
    Rounds = [[{Name, cpu(OsPid, Run)} || {Name, Run} <- Variants] || _ <- lists:seq(1, ?ROUNDS)],
    [begin
         #{median := Cpu, low := Low, high := High} =
             megaphone_bench_measure:summary([C || Round <- Rounds, {N, C} <- Round, N =:= Name]),
         io:format("200 MiB over ~ts: ~.2f s of ejabberd's CPU (quartiles ~.2f and ~.2f)~n",
                   [Name, Cpu, Low, High])
     end || {Name, _} <- Variants].

one_stream(Address) ->
    Trunk = megaphone_test_yamux:connect(Address),
    drain_stream(open(Trunk, ?LAST("/echo/file/large"))),
    megaphone_test_yamux:close(Trunk).

many_streams(Address) ->
    Trunk = megaphone_test_yamux:connect(Address),
    Streams = [open(Trunk, ?LAST("/echo/file/small")) || _ <- lists:seq(1, ?STREAMS)],
    lists:foreach(fun drain_stream/1, Streams),
    megaphone_test_yamux:close(Trunk).

one_connection(Port) ->
    drain_socket(connect(Port, "/echo/file/large")).

many_connections(Port) ->
    Sockets = [connect(Port, "/echo/file/small") || _ <- lists:seq(1, ?STREAMS)],
    lists:foreach(fun drain_socket/1, Sockets).

connect(Port, Path) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}, {buffer, 65536}]),
    ok = gen_tcp:send(Socket, ?LAST(Path)),
    Socket.

drain_stream(Stream) ->
    case megaphone_test_yamux:recv(Stream, 0, 60_000) of
        {ok, _} -> drain_stream(Stream);
        {error, closed} -> ok
    end.

drain_socket(Socket) ->
    case gen_tcp:recv(Socket, 0, 60_000) of
        {ok, _} -> drain_socket(Socket);
        {error, closed} -> gen_tcp:close(Socket)
    end.

open(Trunk, Request) ->
    megaphone_test_yamux:open(Trunk, megaphone_test_proxy:client({{192, 0, 2, 7}, 40001}),
                              #{first => Request}).

answered(Stream) ->
    #{status := 200} = megaphone_test_http:recv(megaphone_test_stream:socket(Stream)).

%% The CPU time that ejabberd takes for it, in seconds: user and system (proc(5), stat).
cpu(OsPid, Run) ->
    Before = ticks(OsPid),
    Run(),
    (ticks(OsPid) - Before) / 100.

ticks(OsPid) ->
    {ok, Stat} = file:read_file(["/proc/", OsPid, "/stat"]),
    [_, Fields] = string:split(Stat, ") "),
    [User, System] = lists:sublist(string:lexemes(Fields, " "), 12, 2),
    binary_to_integer(User) + binary_to_integer(System).

percentile(Part, Values) ->
    lists:nth(1 + round(Part * (length(Values) - 1)), lists:sort(Values)).
