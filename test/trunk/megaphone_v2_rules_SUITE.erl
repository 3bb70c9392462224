%% Each rule of yamux broken once at megaphone_listener: what it costs the one who breaks it, that nobody
%% on another trunk notices, and under which name the status counts it.
-module(megaphone_v2_rules_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
%% Faults that end the trunk.
-export([unknown_headers/1, impossible_flags/1, wrong_ids/1, unknown_streams/1, windows/1,
         peer_found_an_error/1, frames_after_a_fault/1, lost_connections/1]).
%% Faults that cost a stream, and crossings that cost nothing.
-export([data_after_finish/1, frames_for_streams_that_are_gone/1, odd_acknowledgements/1,
         too_many_streams/1, forgotten_id/1, streams_after_go_away/1, ids_out_of_order/1]).

-import(megaphone_test_listeners, [connect/1, connect/2, errors/2, await_error/3, ejabberd/1, call/4]).
-import(megaphone_test_frame, [frame/3, header/4]).

-define(GET, "GET /echo/ip HTTP/1.1\r\nHost: localhost\r\n\r\n").
-define(WINDOW, 262144).
-define(MOST, 16#ffffffff).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [unknown_headers, impossible_flags, wrong_ids, unknown_streams, windows, peer_found_an_error,
     frames_after_a_fault, lost_connections,
     data_after_finish, frames_for_streams_that_are_gone, odd_acknowledgements, too_many_streams,
     forgotten_id, streams_after_go_away, ids_out_of_order].

init_per_suite(Config) ->
    megaphone_test_listeners:start(Config, #{default => "", few => "    max_connections: 3\n"}).

end_per_suite(Config) ->
    megaphone_test_listeners:stop(Config).

%% A neighbour is there all the time, on a trunk of its own, with a request in every case.
init_per_testcase(_, Config) ->
    Trunk = connect(Config),
    Stream = megaphone_test_yamux:open(Trunk, client(), #{first => ?GET}),
    _ = answered(Stream),
    [{neighbour, Stream} | Config].

end_per_testcase(_, Config) ->
    ok = megaphone_test_yamux:close(megaphone_test_yamux:trunk(proplists:get_value(neighbour, Config))),
    megaphone_test_listeners:await_end(Config).

%% Faults that end the trunk.

unknown_headers(Config) ->
    ends(Config, [{frame_version, <<1, 0, 0:16, 1:32, 0:32>>},
                  {frame_version, <<"0000000042|--------------------|">>},
                  {frame_type, header(4, [], 1, 0)},
                  {frame_type, header(255, [], 0, 0)},
                  {frame_flags, header(data, 16#10, 1, 0)},
                  {frame_flags, header(ping, 16#8001, 0, 0)}]).

impossible_flags(Config) ->
    ends(Config, [{flag_combination, frame([syn, ack], 9, "x")},
                  {flag_combination, frame([syn, rst], 9, "x")},
                  {flag_combination, header(ping, [], 0, 7)},
                  {flag_combination, header(ping, [syn, ack], 0, 7)},
                  {flag_combination, header(ping, [syn, fin], 0, 7)},
                  {flag_combination, header(go_away, [syn], 0, 0)}]).

wrong_ids(Config) ->
    ends(Config, [{wrong_parity, frame([syn], 2, "x")},
                  {wrong_parity, header(window_update, [syn], 4, 0)},
                  {reused_id, frame([syn], 1, "x")},
                  {reused_id, header(window_update, [syn], 3, 0)},
                  {reused_id, frame([syn], 5, "x")},
                  {session_stream, frame([], 0, "x")},
                  {session_stream, header(window_update, [syn], 0, 10)},
                  {not_session_stream, header(ping, [syn], 1, 7)},
                  {not_session_stream, header(go_away, [], 1, 0)}]).

unknown_streams(Config) ->
    ends(Config, [{unknown_stream, frame([], 99, "x")},
                  {unknown_stream, frame([fin], 99, "x")},
                  {unknown_stream, header(window_update, [], 99, 10)},
                  {unknown_stream, frame([], 2, "x")}]).

windows(Config) ->
    ends(Config, [{window_overrun, header(data, [], 1, ?WINDOW)},
                  {window_overrun, header(data, [], 1, ?MOST)},
                  {window_overrun, header(data, [syn], 99, ?WINDOW + 1)},
                  {oversized, header(data, [], 3, ?MOST)},
                  {window_overflow, header(window_update, [], 1, ?MOST)},
                  {window_overflow, header(window_update, [syn], 99, ?MOST)}]).

%% Confirms that a peer that ends the trunk for an error of ours gets no answer.
peer_found_an_error(Config) ->
    [begin
         Before = errors(Config, peer_failed),
         Trunk = with_streams(Config),
         ok = megaphone_test_yamux:go_away(Trunk, Code),
         ?assertEqual({ok, []}, megaphone_test_yamux:await_end(Trunk)),
         _ = await_error(Config, peer_failed, Before),
         serve_neighbour(Config)
     end || Code <- [1, 2, 77]].

%% Confirms that nothing is done that comes behind a fault, in the same packet or later.
frames_after_a_fault(Config) ->
    Trunk = connect(Config),
    Opened = maps:get(opened, megaphone_test_listeners:status(Config)),
    Open = fun(Id) -> frame([syn], Id, [megaphone_test_proxy:header(client()), ?GET]) end,
    ok = megaphone_test_yamux:send_bytes(Trunk, [Open(1), header(4, [], 0, 0), Open(3)]),
    _ = megaphone_test_yamux:send_bytes(Trunk, Open(5)),
    {ok, [1]} = megaphone_test_yamux:await_end(Trunk),
    ?assertEqual(Opened + 1, maps:get(opened, megaphone_test_listeners:status(Config))).

%% Confirms that the connections of a trunk that a fault ends are lost with it: idle ones and those in the
%% middle of a request, as their owners are told.
lost_connections(Config) ->
    Trunk = with_streams(Config),
    Held = megaphone_test_yamux:open(Trunk, client(), #{first => hold(<<"lost">>)}),
    Owner = await_held(Config, <<"lost">>),
    Cut = megaphone_test_yamux:open(Trunk, client(), #{first => "GET /echo/ip HT"}),
    ok = megaphone_test_yamux:send_bytes(Trunk, header(4, [], 0, 0)),
    {ok, [1]} = megaphone_test_yamux:await_end(Trunk),
    [?assertEqual({error, closed}, megaphone_test_yamux:recv(Stream, 0)) || Stream <- [Held, Cut]],
    %% One that is at work is left to finish it.
    ok = call(Config, megaphone_test_handler, release, [<<"lost">>]),
    megaphone_test_wait:until("the end of the owner", fun() -> not call(Config, erlang, is_process_alive, [Owner]) end).

%% Faults that cost a stream, and crossings that cost nothing.

%% Confirms that data behind FIN resets its stream alone.
data_after_finish(Config) ->
    Before = errors(Config, data_after_finish),
    Trunk = connect(Config),
    Kept = megaphone_test_yamux:open(Trunk, client(), #{first => ?GET}),
    _ = answered(Kept),
    Stream = megaphone_test_yamux:open(Trunk, client(), #{first => hold(<<"finished">>)}),
    _ = await_held(Config, <<"finished">>),
    ok = megaphone_test_yamux:finish(Stream),
    ok = megaphone_test_yamux:send_bytes(Trunk, frame([], megaphone_test_yamux:id(Stream), "more")),
    ?assertEqual({error, econnreset}, megaphone_test_yamux:recv(Stream, 0)),
    Expected = Before + 1,
    ?assertEqual(Expected, await_error(Config, data_after_finish, Before)),
    ask_again(Kept),
    megaphone_test_yamux:close(Trunk).

%% Confirms that frames which cross a stream's end are let pass, as is the end of one that never was
%% (rust-yamux names a stream that it dropped unused), and that they are counted.
frames_for_streams_that_are_gone(Config) ->
    Before = errors(Config, stray_frames),
    Trunk = with_streams(Config),
    Frames = [frame([], 3, "xyz"), header(window_update, [], 3, 300_000),
              header(window_update, [rst], 3, 0), frame([fin], 5, "x"),
              header(window_update, [rst], 99, 0), frame([fin], 99, "")],
    ok = megaphone_test_yamux:send_bytes(Trunk, Frames),
    ok = megaphone_test_yamux:ping(Trunk),
    ?assertEqual(Before + length(Frames), errors(Config, stray_frames)),
    megaphone_test_yamux:close(Trunk).

%% Confirms that acknowledgements that nobody waits for change nothing.
odd_acknowledgements(Config) ->
    Trunk = connect(Config),
    Stream = megaphone_test_yamux:open(Trunk, client(), #{first => ?GET}),
    _ = answered(Stream),
    Id = megaphone_test_yamux:id(Stream),
    ok = megaphone_test_yamux:send_bytes(Trunk, [header(window_update, [ack], Id, 0),
                                                 header(window_update, [ack], Id, 0),
                                                 frame([ack], Id, ""),
                                                 header(ping, [ack], 0, 4711)]),
    ok = ask_again(Stream),
    megaphone_test_yamux:close(Trunk).

%% Confirms that a stream above `max_connections' is refused, counted, and one that ends makes room.
too_many_streams(Config) ->
    Before = errors(Config, refused_streams),
    Trunk = connect(Config, few),
    [First | Others] = [megaphone_test_yamux:open(Trunk, client(), #{first => ?GET})
                        || _ <- [1, 2, 3]],
    [answered(Stream) || Stream <- [First | Others]],
    Refused = megaphone_test_yamux:open(Trunk, client(), #{first => ?GET}),
    ?assertEqual({error, econnreset}, megaphone_test_yamux:recv(Refused, 0)),
    ?assertEqual(Before + 1, errors(Config, refused_streams)),
    [ask_again(Stream) || Stream <- [First | Others]],
    ok = megaphone_test_yamux:finish(First),
    {error, closed} = megaphone_test_yamux:recv(First, 0),
    _ = answered(megaphone_test_yamux:open(Trunk, client(), #{first => ?GET})),
    megaphone_test_yamux:close(Trunk).

%% Confirms that an id so far behind that nobody knows whether it was used is refused.
forgotten_id(Config) ->
    Before = errors(Config, refused_streams),
    Trunk = connect(Config),
    Bytes = megaphone_test_proxy:header(client()),
    ok = megaphone_test_yamux:send_bytes(Trunk, [frame([syn], 300_001, Bytes), frame([syn], 1, Bytes)]),
    ?assertMatch({ok, {window_update, [rst], 1, 0}},
                 megaphone_test_yamux:await_frame(Trunk, fun({_, _, Id, _}) -> Id =:= 1 end)),
    ?assertEqual(Before + 1, errors(Config, refused_streams)),
    megaphone_test_yamux:close(Trunk).

%% Confirms that after a peer's go-away its new streams are refused while the old ones go on.
streams_after_go_away(Config) ->
    Before = errors(Config, refused_streams),
    Trunk = connect(Config),
    Old = megaphone_test_yamux:open(Trunk, client(), #{first => ?GET}),
    _ = answered(Old),
    ok = megaphone_test_yamux:go_away(Trunk, 0),
    New = megaphone_test_yamux:open(Trunk, client(), #{first => ?GET}),
    ?assertEqual({error, econnreset}, megaphone_test_yamux:recv(New, 0)),
    ok = ask_again(Old),
    ?assertEqual(Before + 1, errors(Config, refused_streams)),
    megaphone_test_yamux:close(Trunk).

%% Confirms that ids need not come in order: hashicorp's client numbers streams before it sends SYN.
ids_out_of_order(Config) ->
    Trunk = connect(Config),
    Bytes = [megaphone_test_proxy:header(client()), ?GET],
    Ids = [7, 3, 5, 1],
    ok = megaphone_test_yamux:send_bytes(Trunk, [frame([syn], Id, Bytes) || Id <- Ids]),
    [?assertMatch({ok, _}, megaphone_test_yamux:await_frame(
                             Trunk, fun({Kind, _, I, _}) -> Kind =:= data andalso I =:= Id end))
     || Id <- Ids],
    megaphone_test_yamux:close(Trunk).

%% Sends each to a trunk of its own, which has to end with go-away 1, the reason counted and logged with
%% the byte where it lies.
ends(Config, Faults) ->
    [begin
         Before = errors(Config, Name),
         LogBefore = byte_size(megaphone_test_ejabberd:log(ejabberd(Config))),
         Trunk = with_streams(Config),
         Port = megaphone_test_yamux:port(Trunk),
         #{bytes_in := Offset} = megaphone_test_listeners:trunk_status(Config, Trunk),
         ok = megaphone_test_yamux:send_bytes(Trunk, Bytes),
         ?assertEqual({Name, {ok, [1]}}, {Name, megaphone_test_yamux:await_end(Trunk)}),
         ?assertEqual({Name, Before + 1}, {Name, await_error(Config, Name, Before)}),
         _ = megaphone_test_ejabberd:await_log(
               ejabberd(Config), io_lib:format("the trunk from 127.0.0.1:~b ends: trunk byte ~b[,:]",
                                               [Port, Offset]), LogBefore),
         serve_neighbour(Config)
     end || {Name, Bytes} <- Faults],
    ok.

%% A trunk with a stream that is open (1), one that was reset (3), and one that both have finished (5).
with_streams(Config) ->
    Trunk = connect(Config),
    [_Open, Reset, Finished] = Streams = [megaphone_test_yamux:open(Trunk, client(), #{first => ?GET})
                                          || _ <- [1, 3, 5]],
    [answered(Stream) || Stream <- Streams],
    ok = megaphone_test_yamux:reset(Reset),
    ok = megaphone_test_yamux:finish(Finished),
    {error, closed} = megaphone_test_yamux:recv(Finished, 0),
    ok = megaphone_test_yamux:ping(Trunk),
    Trunk.

serve_neighbour(Config) ->
    Stream = proplists:get_value(neighbour, Config),
    ask_again(Stream).

ask_again(Stream) ->
    ok = megaphone_test_yamux:send(Stream, ?GET),
    _ = answered(Stream),
    ok.

answered(Stream) ->
    #{status := 200} = megaphone_test_http:recv(megaphone_test_stream:socket(Stream)).

hold(Name) ->
    ["GET /echo/hold/", Name, " HTTP/1.1\r\nHost: localhost\r\n\r\n"].

await_held(Config, Name) ->
    megaphone_test_wait:until(["the request ", Name, " to be held"],
                              fun() -> call(Config, megaphone_test_handler, held, [Name]) end).

client() ->
    megaphone_test_proxy:client({{192, 0, 2, 7}, 40001}).
