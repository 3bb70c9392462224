%% Version 1 of the trunk protocol at megaphone_listener, spoken by the tests themselves: what a peer
%% may do, and what each thing that it may not do costs it and nobody else.
-module(megaphone_trunk_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1,
         init_per_group/2, end_per_group/2]).
%% Frames.
-export([frame_split_at_every_byte/1, frames_byte_by_byte/1, many_frames_in_one_packet/1,
         request_over_many_frames/1, requests_in_one_frame/1, ids_of_all_bytes/1]).
%% Bad frames.
-export([letter_in_length/1, sign_in_length/1, space_in_length/1, length_below_header/1,
         length_of_zero/1, length_above_limit/1, longest_length/1, missing_first_bar/1,
         missing_second_bar/1, control_byte_in_id/1, space_in_id/1, high_byte_in_id/1,
         http_without_frame/1, yamux_frame/1, bad_frame_ends_its_connections/1,
         cut_in_mid_frame/1]).
%% Connections.
-export([close_by_peer/1, close_by_ejabberd/1, close_of_unknown_connection/1, close_twice/1,
         data_after_close_is_dropped/1, id_is_used_again/1, refused_requests/1,
         thousand_connections/1, downloads_take_turns/1, half_a_million_pipelined_bytes/1,
         trunk_address_is_seen/1]).
%% Limits.
-export([max_connections/1, idle_timeout/1, max_trunk_buffer/1, send_timeout/1,
         largest_frame/1]).
%% Status.
-export([status_counts/1, status_of_unknown_trunk/1, status_answers_while_trunk_is_stuck/1,
         status_forgets_a_trunk_at_its_end/1, status_sums_up/1]).

-import(megaphone_test_trunk, [id/1, frame/2, frame/3, close_frame/1]).

-define(GET, "GET /echo/ip HTTP/1.1\r\nHost: localhost\r\n\r\n").
-define(LAST_GET, "GET /echo/ip HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").
-define(CUT_GET, "GET /echo/ip HTTP/1.1\r\nHost: loc").
-define(POST(Body), ["POST /echo/body HTTP/1.1\r\nHost: localhost\r\nContent-Length: ",
                     integer_to_list(iolist_size(Body)), "\r\n\r\n", Body]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, frames}, {group, bad_frames}, {group, connections}, {group, limits}, {group, status}].

groups() ->
    [{frames, [parallel],
      [frame_split_at_every_byte, frames_byte_by_byte, many_frames_in_one_packet,
       request_over_many_frames, requests_in_one_frame, ids_of_all_bytes]},
     {bad_frames, [parallel],
      [letter_in_length, sign_in_length, space_in_length, length_below_header, length_of_zero,
       length_above_limit, longest_length, missing_first_bar, missing_second_bar,
       control_byte_in_id, space_in_id, high_byte_in_id, http_without_frame, yamux_frame,
       bad_frame_ends_its_connections, cut_in_mid_frame]},
     {connections, [parallel],
      [close_by_peer, close_by_ejabberd, close_of_unknown_connection, close_twice,
       data_after_close_is_dropped, id_is_used_again, refused_requests, thousand_connections,
       downloads_take_turns, half_a_million_pipelined_bytes, trunk_address_is_seen]},
     {limits, [parallel],
      [max_connections, idle_timeout, max_trunk_buffer, send_timeout, largest_frame]},
     {status, [],
      [status_counts, status_of_unknown_trunk, status_answers_while_trunk_is_stuck,
       status_forgets_a_trunk_at_its_end, status_sums_up]}].

init_per_suite(Config) ->
    Options = #{default => "",
                few_connections => "    max_connections: 10\n",
                impatient => "    idle_timeout: 1\n",
                small_buffer => "    max_trunk_buffer: 1048576\n",
                quick_send => "    send_timeout: 1\n",
                small_frames => "    max_frame_size: 1000\n"},
    Ports = maps:from_list(lists:zip(maps:keys(Options),
                                     megaphone_test_port:free(map_size(Options)))),
    Listeners = [megaphone_test_config:listener(megaphone_listener, maps:get(Name, Ports),
                                                [megaphone_test_config:request_handlers(), More])
                 || {Name, More} <- maps:to_list(Options)],
    case megaphone_test_ejabberd:start(#{dir => filename:join(proplists:get_value(priv_dir, Config),
                                                              "ejabberd"),
                                         listeners => Listeners}) of
        {ok, Ejabberd} -> [{ejabberd, Ejabberd}, {ports, Ports} | Config];
        {error, {not_started, Log}} -> ct:fail("ejabberd didn't start:~n~ts", [Log])
    end.

end_per_suite(Config) ->
    megaphone_test_ejabberd:stop(ejabberd(Config)).

%% Every group leaves ejabberd as it was: no trunk, no connection, no process of ejabberd_http.
init_per_group(_, Config) ->
    Config.

end_per_group(_, Config) ->
    %% What a failed case has left in work.
    ok = call(Config, megaphone_test_handler, release_the_rest, []),
    megaphone_test_wait:until(
      fun() -> io_lib:format("the end of all trunks and of their processes, there are ~0p",
                             [[maps:remove(errors, status(Config))]
                              ++ [status(Config, N) || N <- maps:get(trunk_numbers, status(Config))]
                              ++ [{Pid, call(Config, erlang, process_info, [Pid, [current_stacktrace, messages]])}
                                  || Pid <- [maps:get(reader, status(Config, N))
                                             || N <- maps:get(trunk_numbers, status(Config))]
                                         ++ megaphone_test_stage:http_processes(Config)]])
      end,
      fun() -> maps:with([trunks, connections, buffered, waiters], status(Config)) =:=
                   #{trunks => 0, connections => 0, buffered => 0, waiters => 0}
                   andalso megaphone_test_stage:http_processes(Config) =:= []
      end).

%% Confirms that a frame may be cut in two at any byte. The second part is sent once the first one has
%% arrived.
frame_split_at_every_byte(Config) ->
    Trunk = connect(Config),
    Number = number(Config, Trunk),
    Frame = iolist_to_binary(frame(id(1), ?GET)),
    _ = lists:foldl(
          fun(At, {T, Sent}) ->
                  <<First:At/binary, Second/binary>> = Frame,
                  ok = megaphone_test_trunk:send(T, First),
                  await_status(Config, Number, bytes_in, Sent + At),
                  ok = megaphone_test_trunk:send(T, Second),
                  {ok, 200, <<"127.0.0.1">>, Received} = megaphone_test_trunk:recv_response(T, id(1)),
                  {Received, Sent + byte_size(Frame)}
          end, {Trunk, 0}, lists:seq(1, byte_size(Frame) - 1)),
    megaphone_test_trunk:close(Trunk).

%% Confirms that frames that come byte by byte are frames, a close frame among them.
frames_byte_by_byte(Config) ->
    Trunk = connect(Config),
    Bytes = iolist_to_binary([frame(id(1), ?GET), frame(id(2), ?GET), close_frame(id(2))]),
    [ok = megaphone_test_trunk:send(Trunk, <<Byte>>) || <<Byte>> <= Bytes],
    {ok, 200, _, Trunk1} = megaphone_test_trunk:recv_response(Trunk, id(1)),
    {ok, Trunk2} = megaphone_test_trunk:recv_close(Trunk1, id(2)),
    megaphone_test_trunk:close(Trunk2).

%% Confirms that a thousand frames of a hundred connections in one packet are all served.
many_frames_in_one_packet(Config) ->
    Trunk = connect(Config),
    Ids = [id(Number) || Number <- lists:seq(1, 100)],
    ok = megaphone_test_trunk:send(Trunk, [frame(Id, ?POST([Id, integer_to_list(Turn)]))
                                           || Turn <- lists:seq(1, 10), Id <- Ids]),
    Expected = [{Id, iolist_to_binary([Id, integer_to_list(Turn)])}
                || Turn <- lists:seq(1, 10), Id <- Ids],
    Trunk1 = lists:foldl(fun({Id, Body}, T) ->
                                 {ok, 200, Got, Received} = megaphone_test_trunk:recv_response(T, Id),
                                 ?assertEqual(Body, Got),
                                 Received
                         end, Trunk, Expected),
    megaphone_test_trunk:close(Trunk1).

%% Confirms that a request may be spread over frames of one byte, between those of other connections.
request_over_many_frames(Config) ->
    Trunk = connect(Config),
    Request = iolist_to_binary(?POST("spread")),
    ok = megaphone_test_trunk:send(Trunk, [[frame(id(1), <<Byte>>), frame(id(2), <<Byte>>)]
                                           || <<Byte>> <= Request]),
    {ok, 200, <<"spread">>, Trunk1} = megaphone_test_trunk:recv_response(Trunk, id(1)),
    {ok, 200, <<"spread">>, Trunk2} = megaphone_test_trunk:recv_response(Trunk1, id(2)),
    megaphone_test_trunk:close(Trunk2).

%% Confirms that two requests in one frame are both answered, in order.
requests_in_one_frame(Config) ->
    Trunk = connect(Config),
    ok = megaphone_test_trunk:send(Trunk, frame(id(1), [?POST("first"), ?POST("second")])),
    {ok, 200, <<"first">>, Trunk1} = megaphone_test_trunk:recv_response(Trunk, id(1)),
    {ok, 200, <<"second">>, Trunk2} = megaphone_test_trunk:recv_response(Trunk1, id(1)),
    megaphone_test_trunk:close(Trunk2).

%% Confirms that every byte from 0x21 to 0x7e can be in an id, the bar included, and comes back.
ids_of_all_bytes(Config) ->
    Trunk = connect(Config),
    Ids = [list_to_binary([Byte || _ <- lists:seq(1, 20)]) || Byte <- lists:seq(16#21, 16#7e)],
    Trunk1 = lists:foldl(fun(Id, T) ->
                                 {ok, 200, _, Received} = megaphone_test_trunk:request(T, Id, ?GET),
                                 Received
                         end, Trunk, Ids),
    megaphone_test_trunk:close(Trunk1).

%% Confirms that a letter in the length ends the trunk.
letter_in_length(Config) ->
    bad_frame(Config, ["00000000a0|", id(2), "|"], 8, "'a' \\(0x61\\) in the frame's length").

%% Confirms that a sign in the length ends the trunk: what an integer parser takes isn't enough.
sign_in_length(Config) ->
    bad_frame(Config, ["+000000033|", id(2), "|x"], 0, "'\\+' \\(0x2b\\) in the frame's length"),
    bad_frame(Config, ["-000000033|", id(2), "|x"], 0, "'-' \\(0x2d\\) in the frame's length").

%% Confirms that a space in the length ends the trunk.
space_in_length(Config) ->
    bad_frame(Config, ["        33|", id(2), "|x"], 0, "0x20.* in the frame's length").

%% Confirms that a length of 31, less than the header it includes, ends the trunk.
length_below_header(Config) ->
    bad_frame(Config, frame(id(2), [], 31), 0, "frame length 31; it must be at least 32, as it includes the header").

%% Confirms that a length of 0 ends the trunk.
length_of_zero(Config) ->
    bad_frame(Config, frame(id(2), [], 0), 0, "frame length 0; it must be at least 32, as it includes the header").

%% Confirms that a frame one byte above max_frame_size ends the trunk before its content comes.
length_above_limit(Config) ->
    bad_frame(Config, frame(id(2), [], 1048577), 0, "frame length 1048577; at most 1048576 is allowed").

%% Confirms that the longest length ten digits can say ends the trunk and costs no memory.
longest_length(Config) ->
    bad_frame(Config, frame(id(2), [], 9999999999), 0, "frame length 9999999999; at most").

%% Confirms that a frame without the first bar ends the trunk.
missing_first_bar(Config) ->
    bad_frame(Config, ["0000000032x", id(2), "|"], 10, "'x' \\(0x78\\) after the frame's length").

%% Confirms that a frame without the second bar ends the trunk.
missing_second_bar(Config) ->
    bad_frame(Config, ["0000000033|", id(2), "xx"], 31, "'x' \\(0x78\\) after the connection id").

%% Confirms that a control byte in the id ends the trunk.
control_byte_in_id(Config) ->
    bad_frame(Config, ["0000000033|aaaaaaaaaa\0aaaaaaaaa|x"], 21, "0x00.* in the connection id"),
    bad_frame(Config, ["0000000033|aaaaaaaaaaaaaaaaaaa\n|x"], 30, "0x0a.* in the connection id").

%% Confirms that a space in the id ends the trunk.
space_in_id(Config) ->
    bad_frame(Config, ["0000000033| aaaaaaaaaaaaaaaaaaa|x"], 11, "0x20.* in the connection id").

%% Confirms that bytes above 0x7e in the id end the trunk.
high_byte_in_id(Config) ->
    bad_frame(Config, ["0000000033|aaaaa", 16#7f, "aaaaaaaaaaaaaa|x"], 16, "0x7f.* in the connection id"),
    bad_frame(Config, ["0000000033|aaaaa", 16#ff, "aaaaaaaaaaaaaa|x"], 16, "0xff.* in the connection id").

%% Confirms that a client that takes the trunk's port for an HTTP port ends its own trunk.
http_without_frame(Config) ->
    bad_frame(Config, ?GET, 0, "'G' \\(0x47\\) in the frame's length").

%% Confirms that a frame of version 2 where version 1 is spoken ends the trunk.
yamux_frame(Config) ->
    bad_frame(Config, <<0, 1, 0, 1, 1:32, 0:32>>, 0, "0x00.* in the frame's length").

%% Confirms that the connections of a trunk that ends by a bad frame end with it, those in the middle of
%% a request too, and that no process is left behind.
bad_frame_ends_its_connections(Config) ->
    Trunk = connect(Config),
    Number = number(Config, Trunk),
    ok = megaphone_test_trunk:send(Trunk, [frame(id(1), ?CUT_GET), frame(id(2), ?GET),
                                           frame(id(3), hold(<<"bad_frame">>))]),
    Held = await_held(Config, <<"bad_frame">>),
    {ok, 200, _, Trunk1} = megaphone_test_trunk:recv_response(Trunk, id(2)),
    ok = megaphone_test_trunk:send(Trunk1, "nonsense"),
    ?assertEqual(ok, megaphone_test_trunk:recv_end(Trunk1)),
    %% It was at work, and what it answers now goes nowhere.
    ok = call(Config, megaphone_test_handler, release, [<<"bad_frame">>]),
    await_dead(Config, Held),
    await_gone(Config, Number).

%% Confirms that a trunk that is cut in the middle of a frame ends with all its connections.
cut_in_mid_frame(Config) ->
    Trunk = connect(Config),
    {ok, 200, _, Trunk1} = megaphone_test_trunk:request(Trunk, id(1), ?GET),
    Number = number(Config, Trunk1),
    ok = megaphone_test_trunk:send(Trunk1, frame(id(1), ?CUT_GET, 1000)),
    ok = megaphone_test_trunk:close(Trunk1),
    await_gone(Config, Number).

%% Confirms that a close frame from the peer ends the connection: its ejabberd_http goes, and ejabberd
%% says close too.
close_by_peer(Config) ->
    {Trunk, Number} = trunk(Config),
    {ok, 200, _, Trunk1} = megaphone_test_trunk:request(Trunk, id(1), ?GET),
    await_status(Config, Number, connections, 1),
    ok = megaphone_test_trunk:send(Trunk1, close_frame(id(1))),
    {ok, Trunk2} = megaphone_test_trunk:recv_close(Trunk1, id(1)),
    await_status(Config, Number, connections, 0),
    megaphone_test_trunk:close(Trunk2).

%% Confirms that ejabberd's end of a connection comes as a close frame, behind the whole answer.
close_by_ejabberd(Config) ->
    {Trunk, Number} = trunk(Config),
    {ok, 200, <<"127.0.0.1">>, Trunk1} = megaphone_test_trunk:request(Trunk, id(1), ?LAST_GET),
    {ok, Trunk2} = megaphone_test_trunk:recv_close(Trunk1, id(1)),
    ok = megaphone_test_trunk:send(Trunk2, close_frame(id(1))),
    await_status(Config, Number, connections, 0),
    megaphone_test_trunk:close(Trunk2).

%% Confirms that a close frame for a connection that never was opens none and is not answered.
close_of_unknown_connection(Config) ->
    {Trunk, Number} = trunk(Config),
    ok = megaphone_test_trunk:send(Trunk, close_frame(id(7))),
    {ok, 200, _, Trunk1} = megaphone_test_trunk:request(Trunk, id(1), ?GET),
    ?assertMatch(#{closed := Closed} when map_size(Closed) =:= 0, Trunk1),
    ?assertMatch(#{opened := 1}, status(Config, Number)),
    megaphone_test_trunk:close(Trunk1).

%% Confirms that a second close frame for the same connection does no harm.
close_twice(Config) ->
    {Trunk, Number} = trunk(Config),
    ok = megaphone_test_trunk:send(Trunk, [frame(id(1), ?GET), close_frame(id(1)),
                                           close_frame(id(1))]),
    {ok, 200, _, Trunk1} = megaphone_test_trunk:request(Trunk, id(2), ?GET),
    ?assertMatch(#{opened := 2}, status(Config, Number)),
    %% The owner of the first may end after the second was answered.
    await_status(Config, Number, connections, 1),
    megaphone_test_trunk:close(Trunk1).

%% Confirms that what the peer sends for a connection that ejabberd has closed is dropped, and opens
%% no new one, until the peer has closed it too.
data_after_close_is_dropped(Config) ->
    {Trunk, Number} = trunk(Config),
    {ok, 200, _, Trunk1} = megaphone_test_trunk:request(Trunk, id(1), ?LAST_GET),
    {ok, Trunk2} = megaphone_test_trunk:recv_close(Trunk1, id(1)),
    ok = megaphone_test_trunk:send(Trunk2, [frame(id(1), ?GET), frame(id(1), ?GET)]),
    {ok, 200, _, Trunk3} = megaphone_test_trunk:request(Trunk2, id(2), ?GET),
    ?assertMatch(#{opened := 2}, status(Config, Number)),
    ?assertMatch(#{closed := Closed}
                   when map_size(Closed) =:= 0, Trunk3),
    ok = megaphone_test_trunk:send(Trunk3, close_frame(id(1))),
    {ok, 200, _, Trunk4} = megaphone_test_trunk:request(Trunk3, id(1), ?GET),
    ?assertMatch(#{opened := 3}, status(Config, Number)),
    megaphone_test_trunk:close(Trunk4).

%% Confirms that an id is free again after both close frames, a hundred times in a row.
id_is_used_again(Config) ->
    {Trunk, Number} = trunk(Config),
    Trunk1 = lists:foldl(
               fun(_, T) ->
                       {ok, 200, _, T1} = megaphone_test_trunk:request(T, id(1), ?GET),
                       ok = megaphone_test_trunk:send(T1, close_frame(id(1))),
                       {ok, T2} = megaphone_test_trunk:recv_close(T1, id(1)),
                       T2
               end, Trunk, lists:seq(1, 100)),
    await_status(Config, Number, connections, 0),
    ?assertMatch(#{opened := 100}, status(Config, Number)),
    megaphone_test_trunk:close(Trunk1).

%% Confirms that each forbidden HTTP request is refused by the listener itself, whatever the ECM in
%% front lets through, and costs its own connection alone.
refused_requests(Config) ->
    {Trunk, _} = trunk(Config),
    Rows = megaphone_test_bad_http:requests(),
    {Errors, Trunk1} = lists:mapfoldl(fun refused/2, Trunk, lists:enumerate(Rows)),
    ?assertEqual([], lists:append(Errors)),
    {ok, 200, _, Trunk2} = megaphone_test_trunk:request(Trunk1, id(0), ?GET),
    megaphone_test_trunk:close(Trunk2).

%% Confirms that a thousand connections of one trunk can have a request in work at once, and that each
%% gets its own answer.
thousand_connections(Config) ->
    {Trunk, Number} = trunk(Config),
    Names = [{id(N), <<"thousand-", (integer_to_binary(N))/binary>>} || N <- lists:seq(1, 1000)],
    ok = megaphone_test_trunk:send(Trunk, [frame(Id, hold(Name)) || {Id, Name} <- Names]),
    megaphone_test_wait:until(
      "a thousand requests in work",
      fun() -> not lists:member(false, call(Config, megaphone_test_handler, held_all,
                                            [[Name || {_, Name} <- Names]])) end),
    ?assertMatch(#{connections := 1000}, status(Config, Number)),
    ok = call(Config, megaphone_test_handler, release_all, [[Name || {_, Name} <- lists:reverse(Names)]]),
    Trunk1 = lists:foldl(
               fun({Id, Name}, T) ->
                       {ok, 200, Name, Received} = megaphone_test_trunk:recv_response(T, Id),
                       Received
               end, Trunk, Names),
    megaphone_test_trunk:close(Trunk1).

%% Confirms that twenty downloads of 1 MiB take turns on one trunk: none is over before all have begun,
%% and all come as they should.
downloads_take_turns(Config) ->
    Bytes = rand:bytes(1 bsl 20),
    ok = file:write_file(filename:join([megaphone_test_ejabberd:dir(ejabberd(Config)), "files",
                                        "turns.bin"]), Bytes),
    {Trunk, _} = trunk(Config),
    Ids = [id(N) || N <- lists:seq(1, 20)],
    ok = megaphone_test_trunk:send(
           Trunk, [frame(Id, "GET /files/turns.bin HTTP/1.1\r\nHost: localhost\r\n\r\n") || Id <- Ids]),
    Trunk1 = lists:foldl(
               fun(Id, T) ->
                       {ok, 200, Body, Received} = megaphone_test_trunk:recv_response(T, Id),
                       ?assert(Body =:= Bytes, "a download comes as the file is"),
                       Received
               end, Trunk, Ids),
    megaphone_test_trunk:close(Trunk1).

%% Confirms that ten thousand requests that a peer sends without reading a single answer are all
%% answered once it reads.
half_a_million_pipelined_bytes(Config) ->
    {Trunk, _} = trunk(Config),
    Count = 10_000,
    Sender = spawn_link(fun() ->
                                ok = megaphone_test_trunk:send(
                                       Trunk, [frame(id(N rem 10), ?GET) || N <- lists:seq(1, Count)])
                        end),
    Trunk1 = lists:foldl(fun(N, T) ->
                                 {ok, 200, _, Received} =
                                     megaphone_test_trunk:recv_response(T, id(N rem 10)),
                                 Received
                         end, Trunk, lists:seq(1, Count)),
    _ = megaphone_test_wait:for_down(Sender, 5000),
    megaphone_test_trunk:close(Trunk1).

%% Confirms that version 1, which carries no client address, shows the trunk's.
trunk_address_is_seen(Config) ->
    {Trunk, _} = trunk(Config),
    {ok, 200, <<"127.0.0.1">>, Trunk1} = megaphone_test_trunk:request(Trunk, id(1), ?GET),
    megaphone_test_trunk:close(Trunk1).

%% Confirms that past max_connections a client gets 503 and a close, the others stay, and that there is
%% room again when one leaves.
max_connections(Config) ->
    {Trunk, Number} = trunk(Config, few_connections),
    Full = lists:foldl(fun(N, T) ->
                               {ok, 200, _, Received} = megaphone_test_trunk:request(T, id(N), ?GET),
                               Received
                       end, Trunk, lists:seq(1, 10)),
    {ok, 503, _, Refused} = megaphone_test_trunk:request(Full, id(11), ?GET),
    {ok, Told} = megaphone_test_trunk:recv_close(Refused, id(11)),
    ?assertMatch(#{connections := 10, errors := #{max_connections := 1}}, status(Config, Number)),
    {ok, 200, _, Trunk1} = megaphone_test_trunk:request(Told, id(10), ?GET),
    ok = megaphone_test_trunk:send(Trunk1, [close_frame(id(11)), close_frame(id(10))]),
    {ok, Trunk2} = megaphone_test_trunk:recv_close(Trunk1, id(10)),
    await_status(Config, Number, connections, 9),
    {ok, 200, _, Trunk3} = megaphone_test_trunk:request(Trunk2, id(11), ?GET),
    megaphone_test_trunk:close(Trunk3).

%% Confirms that a connection without a byte for idle_timeout is closed, that one in use isn't, and
%% that its ejabberd_http goes.
idle_timeout(Config) ->
    {Trunk, Number} = trunk(Config, impatient),
    {ok, 200, _, Trunk1} = megaphone_test_trunk:request(Trunk, id(1), ?GET),
    Trunk2 = keep_busy_until_closed(Trunk1, id(2), id(1)),
    await_status(Config, Number, connections, 1),
    ?assertMatch(#{errors := #{idle_timeout := 1}}, status(Config, Number)),
    megaphone_test_trunk:close(Trunk2).

%% Confirms that past max_trunk_buffer the connection that holds most is closed, and no other.
max_trunk_buffer(Config) ->
    {Trunk, Number} = trunk(Config, small_buffer),
    Piece = binary:copy(<<"a">>, 65536),
    ok = megaphone_test_trunk:send(Trunk, [frame(id(1), hold(<<"modest">>)),
                                           frame(id(2), hold(<<"greedy">>)),
                                           frame(id(1), Piece)]),
    _ = await_held(Config, <<"greedy">>),
    _ = await_held(Config, <<"modest">>),
    ok = megaphone_test_trunk:send(Trunk, [frame(id(2), Piece) || _ <- lists:seq(1, 20)]),
    {ok, Trunk1} = megaphone_test_trunk:recv_close(Trunk, id(2)),
    ?assertMatch(#{errors := #{max_trunk_buffer := 1}}, status(Config, Number)),
    ok = call(Config, megaphone_test_handler, release_all, [[<<"greedy">>, <<"modest">>]]),
    {ok, 200, <<"modest">>, Trunk2} = megaphone_test_trunk:recv_response(Trunk1, id(1)),
    megaphone_test_trunk:close(Trunk2).

%% Confirms that a send to a peer that takes nothing gives up after send_timeout, and its process goes.
send_timeout(Config) ->
    File = filename:join([megaphone_test_ejabberd:dir(ejabberd(Config)), "files", "endless.bin"]),
    ok = file:write_file(File, binary:copy(<<"a">>, 32 bsl 20)),
    {Trunk, Number} = trunk(Config, quick_send),
    ok = megaphone_test_trunk:send(
           Trunk, frame(id(1), "GET /files/endless.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")),
    megaphone_test_wait:until("a process that waits for room on the trunk",
                              fun() -> maps:get(waiters, status(Config, Number)) =:= 1
                                           andalso maps:get(frames_out, status(Config, Number)) > 10
                              end),
    await_status(Config, Number, waiters, 0),
    megaphone_test_trunk:close(Trunk).

%% Confirms that a frame of exactly max_frame_size is taken, and that ejabberd's own frames have 16 KiB
%% at most.
largest_frame(Config) ->
    {Trunk, _} = trunk(Config, small_frames),
    Body = binary:copy(<<"b">>, 60_000),
    <<First:968/binary, Rest/binary>> = iolist_to_binary(?POST(Body)),
    ok = megaphone_test_trunk:send(Trunk, [frame(id(1), First)
                                           | [frame(id(1), [Byte]) || <<Byte>> <= Rest]]),
    Sizes = frame_sizes(Trunk, 0, byte_size(Body), []),
    ?assert(lists:max(Sizes) =< 16384 - 32, Sizes),
    megaphone_test_trunk:close(Trunk).

%% Confirms that the counters of a trunk are what went over it, to the byte.
status_counts(Config) ->
    {Trunk, Number} = trunk(Config),
    Frames = [iolist_to_binary(frame(id(N), ?GET)) || N <- [1, 2, 3]],
    ok = megaphone_test_trunk:send(Trunk, Frames),
    {Trunk1, BytesOut} = lists:foldl(
                           fun(_, {T, Sum}) ->
                                   {ok, _, Content, Received} = megaphone_test_trunk:recv(T, 5000),
                                   {Received, Sum + byte_size(Content) + 32}
                           end, {Trunk, 0}, Frames),
    await_status(Config, Number, waiters, 3),
    Address = {{127, 0, 0, 1}, megaphone_test_trunk:port(Trunk)},
    BytesIn = iolist_size(Frames),
    ?assertMatch(#{number := Number, peername := Address, connections := 3, opened := 3,
                   frames_in := 3, frames_out := 3, bytes_in := BytesIn, bytes_out := BytesOut,
                   buffered := 0, waiters := 3, errors := Errors} when map_size(Errors) =:= 0,
                 status(Config, Number)),
    %% Half a head waits in its connection until it is whole.
    ok = megaphone_test_trunk:send(Trunk1, frame(id(1), ?CUT_GET)),
    await_status(Config, Number, buffered, length(?CUT_GET)),
    %% A refused request is counted under its name.
    ok = megaphone_test_trunk:send(Trunk1, frame(id(2), "GET /echo HTTP/1.1\r\nA: b\r\n\r\n")),
    {ok, 400, _, Trunk2} = megaphone_test_trunk:recv_response(Trunk1, id(2)),
    ?assertMatch(#{errors := #{missing_host := 1}}, status(Config, Number)),
    megaphone_test_trunk:close(Trunk2).

%% Confirms that status/1 knows no trunk that isn't there, be it over or never been.
status_of_unknown_trunk(Config) ->
    {Trunk, Number} = trunk(Config),
    ok = megaphone_test_trunk:close(Trunk),
    await_gone(Config, Number),
    ?assertEqual({error, no_such_trunk}, call(Config, megaphone, status, [1_000_000])).

%% Confirms that status answers at once while the trunk's process is stuck.
status_answers_while_trunk_is_stuck(Config) ->
    {Trunk, Number} = trunk(Config),
    {ok, 200, _, Trunk1} = megaphone_test_trunk:request(Trunk, id(1), ?GET),
    #{reader := Reader} = status(Config, Number),
    ok = call(Config, sys, suspend, [Reader]),
    {Microseconds, Status} = timer:tc(fun() -> status(Config, Number) end),
    ?assertMatch(#{connections := 1}, Status),
    ?assertMatch(#{trunks := 1}, status(Config)),
    ?assert(Microseconds < 1_000_000),
    ok = call(Config, sys, resume, [Reader]),
    {ok, 200, _, Trunk2} = megaphone_test_trunk:request(Trunk1, id(1), ?GET),
    megaphone_test_trunk:close(Trunk2).

%% Confirms that a trunk that has ended isn't counted, even if an answer to its last request is still
%% being worked on.
status_forgets_a_trunk_at_its_end(Config) ->
    {Trunk, _} = trunk(Config),
    ok = megaphone_test_trunk:send(Trunk, frame(id(1), hold(<<"forgotten">>))),
    Held = await_held(Config, <<"forgotten">>),
    ok = megaphone_test_trunk:close(Trunk),
    megaphone_test_wait:until("no trunk in megaphone:status/0",
                              fun() -> maps:get(trunks, status(Config)) =:= 0 end, 2000),
    ok = call(Config, megaphone_test_handler, release, [<<"forgotten">>]),
    await_dead(Config, Held).

%% Confirms that status/0 sums up all trunks, and keeps what those that ended have counted.
status_sums_up(Config) ->
    #{opened := Before, bytes_in := BytesBefore} = status(Config),
    Trunks = [connect(Config) || _ <- [1, 2, 3]],
    Request = iolist_to_binary(frame(id(1), ?GET)),
    Answered = [begin
                    ok = megaphone_test_trunk:send(Trunk, Request),
                    {ok, 200, _, Received} = megaphone_test_trunk:recv_response(Trunk, id(1)),
                    Received
                end || Trunk <- Trunks],
    Opened = Before + 3,
    BytesIn = BytesBefore + 3 * byte_size(Request),
    ?assertMatch(#{trunks := 3, trunk_numbers := [_, _, _], connections := 3, opened := Opened,
                   bytes_in := BytesIn}, status(Config)),
    lists:foreach(fun megaphone_test_trunk:close/1, Answered),
    megaphone_test_wait:until("the end of all trunks",
                              fun() -> maps:get(trunks, status(Config)) =:= 0 end),
    ?assertMatch(#{trunk_numbers := [], connections := 0, opened := Opened, bytes_in := BytesIn},
                 status(Config)).

%% A good request, then the bad bytes: the trunk ends, the log says where and why, and neither ejabberd
%% nor another trunk takes harm.
bad_frame(Config, Bytes, Offset, Why) ->
    Other = connect(Config),
    {ok, 200, _, Other1} = megaphone_test_trunk:request(Other, id(1), ?GET),
    Trunk = connect(Config),
    Good = iolist_to_binary(frame(id(1), ?GET)),
    ok = megaphone_test_trunk:send(Trunk, Good),
    {ok, 200, _, Trunk1} = megaphone_test_trunk:recv_response(Trunk, id(1)),
    ok = megaphone_test_trunk:send(Trunk1, Bytes),
    ?assertEqual(ok, megaphone_test_trunk:recv_end(Trunk1)),
    _ = megaphone_test_ejabberd:await_log(
          ejabberd(Config), io_lib:format("127.0.0.1:~b ends: trunk byte ~b: ~s",
                                          [megaphone_test_trunk:port(Trunk1),
                                           byte_size(Good) + Offset, Why])),
    {ok, 200, _, Other2} = megaphone_test_trunk:request(Other1, id(1), ?GET),
    megaphone_test_trunk:close(Other2),
    megaphone_test_trunk:close(Trunk1).

%% An answer as the HTTP client gives it, from the bytes of a connection that was closed.
refused({Number, {Name, Bytes, Status, Text}}, Trunk) ->
    Id = id(Number),
    ok = megaphone_test_trunk:send(Trunk, [frame(Id, Piece) || Piece <- pieces(iolist_to_binary(Bytes))]),
    {ok, Answer, Trunk1} = megaphone_test_trunk:recv_content(Trunk, Id, all),
    {ok, Trunk2} = megaphone_test_trunk:recv_close(Trunk1, Id),
    ok = megaphone_test_trunk:send(Trunk2, close_frame(Id)),
    Start = iolist_to_binary(["HTTP/1.1 ", integer_to_list(Status), " "]),
    case {Answer, re:run(Answer, ["Connection: close\r\n(?s:.*)", Text], [{capture, none}])} of
        {<<Start:13/binary, _/binary>>, match} -> {[], Trunk2};
        _ -> {[{Name, expected, Status, Text, got, Answer}], Trunk2}
    end.

pieces(<<Piece:60000/binary, Rest/binary>>) -> [Piece | pieces(Rest)];
pieces(Piece) -> [Piece].

keep_busy_until_closed(Trunk, Busy, Idle) ->
    {ok, 200, _, #{closed := Closed} = Trunk1} = megaphone_test_trunk:request(Trunk, Busy, ?GET),
    case is_map_key(Idle, Closed) of
        true -> Trunk1;
        false -> keep_busy_until_closed(Trunk1, Busy, Idle)
    end.

%% The sizes of frames until so many bytes behind the answer's head have come.
frame_sizes(Trunk, Seen, Wanted, Sizes) ->
    {ok, _, Content, Trunk1} = megaphone_test_trunk:recv(Trunk, 5000),
    case Seen + byte_size(Content) of
        Enough when Enough > Wanted -> [byte_size(Content) | Sizes];
        More -> frame_sizes(Trunk1, More, Wanted, [byte_size(Content) | Sizes])
    end.

trunk(Config) ->
    trunk(Config, default).

trunk(Config, Listener) ->
    Trunk = connect(Config, Listener),
    {Trunk, number(Config, Trunk)}.

connect(Config) ->
    connect(Config, default).

connect(Config, Listener) ->
    Port = maps:get(Listener, proplists:get_value(ports, Config)),
    megaphone_test_trunk:connect({{127, 0, 0, 1}, Port}).

%% The number that status/1 knows the trunk by.
number(Config, Trunk) ->
    Peer = {{127, 0, 0, 1}, megaphone_test_trunk:port(Trunk)},
    megaphone_test_wait:until(
      "the trunk in megaphone:status/0",
      fun() ->
              Numbers = [Number || Number <- maps:get(trunk_numbers, status(Config)),
                                   {ok, #{peername := P}} <- [call(Config, megaphone, status, [Number])],
                                   P =:= Peer],
              case Numbers of
                  [Number] -> Number;
                  [] -> false
              end
      end).

status(Config) ->
    call(Config, megaphone, status, []).

status(Config, Number) ->
    {ok, Status} = call(Config, megaphone, status, [Number]),
    Status.

await_status(Config, Number, Key, Value) ->
    megaphone_test_wait:until(
      fun() -> io_lib:format("~p to be ~p in the trunk's status, which is ~p",
                             [Key, Value, status(Config, Number)]) end,
      fun() -> maps:get(Key, status(Config, Number)) =:= Value end).

await_gone(Config, Number) ->
    megaphone_test_wait:until(
      "the trunk's end in megaphone:status/1",
      fun() -> call(Config, megaphone, status, [Number]) =:= {error, no_such_trunk} end).

hold(Name) ->
    ["GET /echo/hold/", Name, " HTTP/1.1\r\nHost: localhost\r\n\r\n"].

await_held(Config, Name) ->
    megaphone_test_wait:until("a request in work",
                              fun() -> call(Config, megaphone_test_handler, held, [Name]) end).

await_dead(Config, Pid) ->
    megaphone_test_wait:until("the end of a process of ejabberd_http",
                              fun() -> not call(Config, erlang, is_process_alive, [Pid]) end).

call(Config, Module, Function, Arguments) ->
    megaphone_test_ejabberd:call(ejabberd(Config), Module, Function, Arguments).

ejabberd(Config) ->
    proplists:get_value(ejabberd, Config).
