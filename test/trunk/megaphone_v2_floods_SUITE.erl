%% A hostile trunk at a real ejabberd: floods of what brings no progress. Each is ended by its ceiling,
%% costs a bounded amount of memory, and the neighbour on another trunk is served meanwhile.
-module(megaphone_v2_floods_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2, init_per_testcase/2]).
-export([opens_and_resets/1, opens_and_resets_with_bytes/1, bad_headers/1, pings/1, unread_pongs/1,
         empty_frames/1, idle_updates/1, frames_for_streams_that_are_gone/1, million_opens/1,
         honest_work_earns_its_allowance/1]).

-import(megaphone_test_listeners, [connect/2, errors/2, await_error/3, ejabberd/1]).
-import(megaphone_test_frame, [frame/3, header/4]).

-define(GET, "GET /echo/ip HTTP/1.1\r\nHost: localhost\r\n\r\n").
%% What a flood may take more than ejabberd had before, at its worst (bytes). The figures are in the log.
-define(MEMORY, (256 * 1048576)).
%% How many frames the flood writes at once, and the most that it writes in all.
-define(CHUNK, 2000).
-define(MOST, 3_000_000).

suite() ->
    [{timetrap, {seconds, 180}}].

all() ->
    [opens_and_resets, opens_and_resets_with_bytes, bad_headers, pings, unread_pongs, empty_frames,
     idle_updates, frames_for_streams_that_are_gone, million_opens, honest_work_earns_its_allowance].

init_per_suite(Config) ->
    megaphone_test_listeners:start(Config, #{default => "", bounded => "    max_connections: 50000\n"}).

end_per_suite(Config) ->
    megaphone_test_listeners:stop(Config).

init_per_testcase(_, Config) ->
    Config.

end_per_testcase(_, Config) ->
    megaphone_test_listeners:await_end(Config).

%% "Rapid reset": streams without a byte.
opens_and_resets(Config) ->
    flood(Config, unused_streams,
          fun(N) -> [header(window_update, [syn], id(N), 0), header(window_update, [rst], id(N), 0)] end).

%% The same with the first byte of a header in each.
opens_and_resets_with_bytes(Config) ->
    flood(Config, unanswered_streams,
          fun(N) -> [frame([syn], id(N), "\r"), header(window_update, [rst], id(N), 0)] end).

%% Streams that ejabberd has to reset itself.
bad_headers(Config) ->
    flood(Config, unanswered_streams, fun(N) -> frame([syn], id(N), "nonsense") end).

pings(Config) ->
    flood(Config, pings, fun(N) -> header(ping, [syn], 0, N) end).

%% Answers that nobody asked for.
unread_pongs(Config) ->
    flood(Config, pings, fun(N) -> header(ping, [ack], 0, N) end).

empty_frames(Config) ->
    flood(Config, empty_frames, on_one_stream(fun(_) -> frame([], 1, "") end)).

idle_updates(Config) ->
    flood(Config, idle_updates, on_one_stream(fun(_) -> header(window_update, [], 1, 0) end)).

frames_for_streams_that_are_gone(Config) ->
    flood(Config, stray_frames,
          fun(0) -> [header(window_update, [syn], 1, 0), header(window_update, [rst], 1, 0)];
             (_) -> header(window_update, [], 1, 10_000)
          end).

%% A million streams that stay open: as many as `max_connections' allows, and the rest is refused until
%% that is enough.
million_opens(Config) ->
    flood(Config, bounded, refused_streams,
          fun(N) when N < 1_000_000 -> header(window_update, [syn], id(N), 0) end).

%% Confirms that a peer which serves its streams meets no ceiling: many times more small things than one
%% allowance, with work in between.
honest_work_earns_its_allowance(Config) ->
    Trunk = connect(Config, default),
    Stream = megaphone_test_yamux:open(Trunk, client(), #{first => ?GET}),
    _ = answered(Stream),
    [begin
         ok = megaphone_test_yamux:send_bytes(
                Trunk, [lists:duplicate(900, header(ping, [ack], 0, 4711))]),
         Body = binary:copy(<<"x">>, 1_000_000),
         ok = megaphone_test_yamux:send(
                Stream, ["POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n", Body]),
         answered(Stream)
     end || _ <- lists:seq(1, 5)],
    megaphone_test_yamux:close(Trunk).

flood(Config, Ceiling, Frames) ->
    flood(Config, default, Ceiling, Frames).

%% Sends the frames for 0, 1 ... until the trunk ends.
flood(Config, Listener, Ceiling, Frames) ->
    Before = errors(Config, Ceiling),
    Neighbour = connect(Config, default),
    Stream = megaphone_test_yamux:open(Neighbour, client(), #{first => ?GET}),
    _ = answered(Stream),
    OsPid = megaphone_test_ejabberd:os_pid(ejabberd(Config)),
    Test = self(),
    Run = fun() ->
                  Flood = spawn_link(fun() ->
                                             Trunk = connect(Config, Listener),
                                             Test ! {flooded, self(), send_flood(Trunk, Frames, 0)}
                                     end),
                  serve_until(Flood, Stream, [])
          end,
    {{{Sent, Ended}, Latencies}, Peak} = megaphone_test_memory:growth(OsPid, Run),
    ct:log("~ts: ~b at least were sent, the peak was ~.1f MiB above what it was before; "
           "the neighbour had ~b answers meanwhile, ~.1f ms at the median, ~.1f ms at most",
           [Ceiling, Sent, Peak / 1048576, length(Latencies),
            lists:nth((length(Latencies) + 1) div 2, lists:sort(Latencies)) / 1000,
            lists:max(Latencies) / 1000]),
    {ok, GoAways} = Ended,
    %% It can be lost: TCP forgets what it has for a peer as soon as something comes that nobody reads.
    ?assert(lists:member(GoAways, [[1], []]), GoAways),
    _ = await_error(Config, Ceiling, Before),
    ?assert(Peak < ?MEMORY, Peak),
    ok = megaphone_test_yamux:send(Stream, ?GET),
    _ = answered(Stream),
    megaphone_test_yamux:close(Neighbour).

send_flood(Trunk, _Frames, Sent) when Sent >= ?MOST ->
    megaphone_test_yamux:close(Trunk),
    {Sent, still_open};
send_flood(Trunk, Frames, Sent) ->
    Chunk = [Frames(N) || N <- lists:seq(Sent, Sent + ?CHUNK - 1)],
    case megaphone_test_yamux:send_bytes(Trunk, Chunk) of
        ok -> send_flood(Trunk, Frames, Sent + ?CHUNK);
        {error, _} -> {Sent, megaphone_test_yamux:await_end(Trunk)}
    end.

%% Asks one thing after the other, and answers how long each took (microseconds).
serve_until(Flood, Stream, Latencies) ->
    Started = erlang:monotonic_time(microsecond),
    ok = megaphone_test_yamux:send(Stream, ?GET),
    _ = answered(Stream),
    Served = [erlang:monotonic_time(microsecond) - Started | Latencies],
    receive
        {flooded, Flood, Result} -> {Result, Served}
    after 0 ->
        serve_until(Flood, Stream, Served)
    end.

%% The first opens stream 1, which is left open.
on_one_stream(Frames) ->
    fun(0) -> frame([syn], 1, [megaphone_test_proxy:header(client()), ?GET]);
       (N) -> Frames(N)
    end.

id(N) ->
    2 * N + 1.

answered(Stream) ->
    #{status := 200} = megaphone_test_http:recv(megaphone_test_stream:socket(Stream)).

client() ->
    megaphone_test_proxy:client({{192, 0, 2, 7}, 40001}).
