%% Ends and windows of version 2's streams in ejabberd: what FIN and RST do on either side, who is
%% stopped by whom where somebody doesn't read, and large transfers, hashed.
-module(megaphone_v2_flow_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_group/2,
         init_per_group/2]).
%% Ends.
-export([half_close/1, half_close_of_an_upload/1, close_by_ejabberd/1, reset_between_requests/1,
         reset_of_a_held_poll/1, reset_of_a_request_at_work/1, half_closed_xml_stream/1]).
%% Windows.
-export([unread_input_holds_its_window/1, unread_answer_stops_its_sender_alone/1, send_timeout/1,
         greediest_connection_is_reset/1]).
%% Large transfers.
-export([download_through_one_stream/1, download_across_a_thousand_streams/1,
         upload_through_one_stream/1, client_that_never_reads/1]).

-import(megaphone_test_listeners, [connect/1, connect/2, call/4, ejabberd/1, await_error/3, errors/2]).

-define(MIB, 1048576).
-define(GET(Path), ["GET ", Path, " HTTP/1.1\r\nHost: localhost\r\n\r\n"]).
-define(LAST(Path), ["GET ", Path, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"]).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, ends}, {group, windows}, {group, large}].

groups() ->
    [{ends, [parallel],
      [half_close, half_close_of_an_upload, close_by_ejabberd, reset_between_requests,
       reset_of_a_held_poll, reset_of_a_request_at_work, half_closed_xml_stream]},
     {windows, [parallel],
      [unread_input_holds_its_window, unread_answer_stops_its_sender_alone, send_timeout,
       greediest_connection_is_reset]},
     {large, [],
      [download_through_one_stream, download_across_a_thousand_streams, upload_through_one_stream,
       client_that_never_reads]}].

init_per_suite(Config) ->
    megaphone_test_listeners:start(
      Config, #{default => "", quick_send => "    send_timeout: 1\n",
                small_buffer => "    max_trunk_buffer: 1000000\n"}).

end_per_suite(Config) ->
    Dir = megaphone_test_ejabberd:dir(ejabberd(Config)),
    megaphone_test_listeners:stop(Config),
    %% Hundreds of megabytes.
    [ok = file:del_dir_r(filename:join(Dir, Folder)) || Folder <- ["files", "upload"]],
    ok.

init_per_group(large, Config) ->
    [{hash_of_200_mib, write_file(Config, "200", 200 * ?MIB)},
     {hash_of_200_kib, write_file(Config, "small", 200 * ?MIB div 1000)} | Config];
init_per_group(_, Config) ->
    Config.

end_per_group(_, Config) ->
    megaphone_test_listeners:await_end(Config).

%% Ends.

%% Confirms that after our FIN the answer still comes, and then ejabberd's FIN.
half_close(Config) ->
    Trunk = connect(Config),
    Stream = open(Trunk, ?GET("/echo/hold/half_close")),
    Owner = await_held(Config, <<"half_close">>),
    ok = megaphone_test_yamux:finish(Stream),
    ok = megaphone_test_yamux:ping(Trunk),
    ok = call(Config, megaphone_test_handler, release, [<<"half_close">>]),
    ?assertMatch(#{status := 200, body := <<"half_close">>}, megaphone_test_stream:answer(Stream)),
    ?assertEqual({error, closed}, megaphone_test_yamux:recv(Stream, 0)),
    await_death(Config, Owner),
    megaphone_test_yamux:close(Trunk).

%% Confirms that FIN in the middle of a body is answered by what was wrong with it, and no process stays.
half_close_of_an_upload(Config) ->
    Trunk = connect(Config),
    Stream = open(Trunk, "POST /echo/body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc"),
    ok = megaphone_test_yamux:finish(Stream),
    #{status := 400, body := Text} = megaphone_test_stream:answer(Stream),
    ?assertMatch({match, _}, re:run(Text, "half-closed in the middle of a request")),
    ?assertEqual({error, closed}, megaphone_test_yamux:recv(Stream, 0)),
    await_connections(Config, Trunk, 0),
    megaphone_test_yamux:close(Trunk).

%% Confirms that ejabberd's close is a FIN after the last byte, and that the stream is gone with ours.
close_by_ejabberd(Config) ->
    Trunk = connect(Config),
    Stream = open(Trunk, ?LAST("/echo/ip")),
    ?assertMatch(#{status := 200}, megaphone_test_stream:answer(Stream)),
    ?assertEqual({error, closed}, megaphone_test_yamux:recv(Stream, 0)),
    await_connections(Config, Trunk, 0),
    ok = megaphone_test_yamux:finish(Stream),
    ok = megaphone_test_yamux:ping(Trunk),
    ?assertEqual([], megaphone_test_yamux:others(Trunk)),
    megaphone_test_yamux:close(Trunk).

%% Confirms that RST ends an owner that waits for the next request.
reset_between_requests(Config) ->
    Trunk = connect(Config),
    [First, Second] = [open(Trunk, ?GET("/echo/ip")) || _ <- [1, 2]],
    [#{status := 200} = megaphone_test_stream:answer(Stream) || Stream <- [First, Second]],
    ok = megaphone_test_yamux:reset(First),
    await_connections(Config, Trunk, 1),
    ok = megaphone_test_yamux:send(Second, ?GET("/echo/ip")),
    #{status := 200} = megaphone_test_stream:answer(Second),
    ?assertMatch(#{errors := #{reset_by_peer := 1}}, megaphone_test_listeners:trunk_status(Config, Trunk)),
    megaphone_test_yamux:close(Trunk).

%% Confirms that RST ends the process of a BOSH poll that is held, which reads nothing meanwhile.
reset_of_a_held_poll(Config) ->
    Trunk = connect(Config),
    Target = megaphone_test_stream:target(Trunk, client()),
    User = megaphone_test_stage:user(Config, <<"held">>),
    #{state := State} = megaphone_test_xmpp:login(megaphone_test_bosh, Target, User),
    Polling = #{waiting := Waiting} = megaphone_test_bosh:post(State, []),
    ok = megaphone_test_yamux:ping(Trunk),
    [ok = megaphone_test_yamux:reset(megaphone_test_stream:stream(Socket)) || Socket <- Waiting],
    #{idle := Idle} = Polling,
    await_connections(Config, Trunk, length(Idle)),
    megaphone_test_yamux:close(Trunk).

%% Confirms that a request at work is finished though nobody will read the answer.
reset_of_a_request_at_work(Config) ->
    Trunk = connect(Config),
    Stream = open(Trunk, ?GET("/echo/hold/at_work")),
    Owner = await_held(Config, <<"at_work">>),
    ok = megaphone_test_yamux:reset(Stream),
    ok = megaphone_test_yamux:ping(Trunk),
    ?assert(call(Config, erlang, is_process_alive, [Owner])),
    ok = call(Config, megaphone_test_handler, release, [<<"at_work">>]),
    await_death(Config, Owner),
    await_connections(Config, Trunk, 0),
    megaphone_test_yamux:close(Trunk).

%% Confirms that FIN on an XML stream ends its process, as the close of a TCP client does.
half_closed_xml_stream(Config) ->
    Trunk = connect(Config),
    Target = megaphone_test_stream:target(
               Trunk, megaphone_test_proxy:client({{192, 0, 2, 7}, 40001}, <<"xmpp-client">>)),
    {ok, #{socket := Socket}} = megaphone_test_c2s:open(Target, <<"localhost">>, #{}),
    Stream = megaphone_test_stream:stream(Socket),
    ok = megaphone_test_yamux:finish(Stream),
    {ok, _} = megaphone_test_stream:read_to_end(Stream, <<>>),
    await_connections(Config, Trunk, 0),
    megaphone_test_yamux:close(Trunk).

%% Windows.

%% Confirms that what ejabberd doesn't read keeps its window: here, the requests behind one that is held.
unread_input_holds_its_window(Config) ->
    Trunk = connect(Config),
    Stream = open(Trunk, ?GET("/echo/hold/unread")),
    _ = await_held(Config, <<"unread">>),
    Request = iolist_to_binary(["POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n",
                                binary:copy(<<"x">>, 10_000)]),
    Count = 100,
    Self = self(),
    Sender = spawn_link(fun() ->
                                ok = megaphone_test_yamux:send(Stream, binary:copy(Request, Count), infinity),
                                Self ! {sent, self()}
                        end),
    megaphone_test_wait:until("the window to be used up",
                              fun() -> maps:get(send_window, megaphone_test_yamux:status(Stream)) =:= 0 end),
    ok = megaphone_test_yamux:ping(Trunk),
    ?assertMatch(#{send_window := 0}, megaphone_test_yamux:status(Stream)),
    #{buffered := Buffered} = megaphone_test_listeners:trunk_status(Config, Trunk),
    ?assert(Buffered =< 262144, Buffered),
    ok = call(Config, megaphone_test_handler, release, [<<"unread">>]),
    [?assertMatch(#{status := 200}, megaphone_test_stream:answer(Stream)) || _ <- lists:seq(0, Count)],
    receive {sent, Sender} -> ok end,
    megaphone_test_yamux:close(Trunk).

%% Confirms that of an answer that nobody reads no more comes than the window holds, that its owner waits
%% meanwhile and others don't, and that the rest comes as soon as it is read.
unread_answer_stops_its_sender_alone(Config) ->
    Hash = write_file(Config, "unread", 2 * ?MIB),
    Trunk = connect(Config),
    Stream = open(Trunk, ?GET("/echo/file/unread")),
    await_buffered(Stream, 262144),
    [begin
         Neighbour = open(Trunk, ?LAST("/echo/file/unread")),
         ?assertEqual(Hash, download(Neighbour))
     end || _ <- [1, 2]],
    ?assertMatch(#{buffered := 262144}, megaphone_test_yamux:status(Stream)),
    ?assertEqual(Hash, download(Stream)),
    megaphone_test_yamux:close(Trunk).

%% Confirms that ejabberd waits for a shut window no longer than `send_timeout', ends that connection,
%% and no other.
send_timeout(Config) ->
    _ = write_file(Config, "timeout", 2 * ?MIB),
    Trunk = connect(Config, quick_send),
    Neighbour = open(Trunk, ?GET("/echo/ip")),
    #{status := 200} = megaphone_test_stream:answer(Neighbour),
    Stream = open(Trunk, ?GET("/echo/file/timeout")),
    await_buffered(Stream, 262144),
    await_connections(Config, Trunk, 1),
    %% What was sent before comes still, and then the end.
    {ok, Part} = megaphone_test_stream:read_to_end(Stream, <<>>),
    ?assert(byte_size(Part) < 2 * ?MIB, byte_size(Part)),
    ok = megaphone_test_yamux:send(Neighbour, ?GET("/echo/ip")),
    #{status := 200} = megaphone_test_stream:answer(Neighbour),
    megaphone_test_yamux:close(Trunk).

%% Confirms that above `max_trunk_buffer' the connection that holds most is reset, not the trunk.
greediest_connection_is_reset(Config) ->
    Trunk = connect(Config, small_buffer),
    Names = [list_to_binary("greedy" ++ integer_to_list(N)) || N <- lists:seq(1, 4)],
    Streams = [begin
                   Stream = open(Trunk, ?GET(["/echo/hold/", Name])),
                   _ = await_held(Config, Name),
                   Stream
               end || Name <- Names],
    Modest = hd(Streams),
    Before = errors(Config, max_trunk_buffer),
    %% One keeps to half of what the others send.
    Sizes = [130_000, 260_000, 260_000, 260_000],
    [ok = megaphone_test_yamux:send(Stream, large_request(Size))
     || {Stream, Size} <- lists:zip(Streams, Sizes)],
    Greedy = open(Trunk, large_request(5_000)),
    More = open(Trunk, ?GET("/echo/hold/greedy5")),
    _ = await_held(Config, <<"greedy5">>),
    _ = megaphone_test_yamux:send(More, large_request(200_000)),
    _ = await_error(Config, max_trunk_buffer, Before),
    ok = megaphone_test_yamux:ping(Trunk),
    Reset = [S || S <- tl(Streams), megaphone_test_yamux:recv(S, 0, 0) =:= {error, econnreset}],
    ?assertMatch([_ | _], Reset),
    [ok = call(Config, megaphone_test_handler, release, [Name]) || Name <- [<<"greedy5">> | Names]],
    ?assertMatch(#{status := 200}, megaphone_test_stream:answer(Modest)),
    ?assertMatch(#{status := 200}, megaphone_test_stream:answer(Greedy)),
    megaphone_test_yamux:close(Trunk).

%% Large transfers.

download_through_one_stream(Config) ->
    Trunk = connect(Config),
    ?assertEqual(proplists:get_value(hash_of_200_mib, Config),
                 download(open(Trunk, ?LAST("/echo/file/200")))),
    megaphone_test_yamux:close(Trunk).

download_across_a_thousand_streams(Config) ->
    Trunk = connect(Config),
    Streams = [open(Trunk, ?LAST("/echo/file/small")) || _ <- lists:seq(1, 1000)],
    Hash = proplists:get_value(hash_of_200_kib, Config),
    [?assertEqual(Hash, download(Stream)) || Stream <- Streams],
    await_connections(Config, Trunk, 0),
    megaphone_test_yamux:close(Trunk).

%% Confirms that a large upload arrives as it was, while other requests are served.
upload_through_one_stream(Config) ->
    Trunk = connect(Config),
    Size = 64 * ?MIB,
    Piece = rand:bytes(?MIB),
    Target = megaphone_test_stream:target(Trunk, client()),
    Path = megaphone_test_upload:slot([{target, Target} | Config], "large.bin", Size),
    Stream = open(Trunk, ["PUT ", Path, " HTTP/1.1\r\nHost: localhost\r\nContent-Length: ",
                          integer_to_list(Size), "\r\n\r\n"]),
    [ok = megaphone_test_yamux:send(Stream, Piece, 60_000) || _ <- lists:seq(1, 64)],
    ?assertMatch(#{status := 201}, megaphone_test_stream:answer(Stream)),
    [Stored] = filelib:wildcard(filename:join([megaphone_test_ejabberd:dir(ejabberd(Config)),
                                               "upload", "**", "large.bin"])),
    {ok, Bytes} = file:read_file(Stored),
    ?assert(Bytes =:= binary:copy(Piece, 64)),
    megaphone_test_yamux:close(Trunk).

%% Confirms that a client that never reads its large download keeps no neighbour from anything. How much
%% longer they take is test/bench's to say.
client_that_never_reads(Config) ->
    Trunk = connect(Config),
    Stuck = open(Trunk, ?GET("/echo/file/200")),
    await_buffered(Stuck, 262144),
    Neighbour = open(Trunk, ?GET("/echo/ip")),
    #{status := 200} = megaphone_test_stream:answer(Neighbour),
    [begin
         ok = megaphone_test_yamux:send(Neighbour, ?GET("/echo/ip")),
         #{status := 200} = megaphone_test_stream:answer(Neighbour)
     end || _ <- lists:seq(1, 500)],
    Hash = proplists:get_value(hash_of_200_kib, Config),
    [?assertEqual(Hash, download(open(Trunk, ?LAST("/echo/file/small")))) || _ <- lists:seq(1, 20)],
    ?assertMatch(#{buffered := 262144}, megaphone_test_yamux:status(Stuck)),
    ok = megaphone_test_yamux:reset(Stuck),
    await_connections(Config, Trunk, 1),
    megaphone_test_yamux:close(Trunk).

write_file(Config, Name, Size) ->
    Path = filename:join([megaphone_test_ejabberd:dir(ejabberd(Config)), "files", Name]),
    Piece = rand:bytes(Size div 100),
    Bytes = iolist_to_binary([lists:duplicate(100, Piece), rand:bytes(Size rem 100)]),
    ok = file:write_file(Path, Bytes),
    {Size, crypto:hash(sha256, Bytes)}.

open(Trunk, First) ->
    megaphone_test_yamux:open(Trunk, client(), #{first => First}).

client() ->
    megaphone_test_proxy:client({{192, 0, 2, 7}, 40001}).

%% The size and the hash of an answer's body, which is as long as its head says.
download(Stream) ->
    {ok, Head, Rest} = head(Stream, <<>>),
    {match, [Length]} = re:run(Head, "content-length: *([0-9]+)", [caseless, {capture, [1], binary}]),
    Left = binary_to_integer(Length) - byte_size(Rest),
    download(Stream, Left, binary_to_integer(Length), crypto:hash_update(crypto:hash_init(sha256), Rest)).

download(_Stream, 0, Size, Hash) ->
    {Size, crypto:hash_final(Hash)};
download(Stream, Left, Size, Hash) ->
    case megaphone_test_yamux:recv(Stream, 0, 30_000) of
        {ok, Bytes} when byte_size(Bytes) =< Left ->
            download(Stream, Left - byte_size(Bytes), Size, crypto:hash_update(Hash, Bytes));
        Other ->
            {error, {with_bytes_left, Left, Other}}
    end.

head(Stream, Read) ->
    case binary:split(Read, <<"\r\n\r\n">>) of
        [Head, Rest] -> {ok, Head, Rest};
        [_] ->
            {ok, Bytes} = megaphone_test_yamux:recv(Stream, 0, 30_000),
            head(Stream, <<Read/binary, Bytes/binary>>)
    end.

large_request(Size) ->
    ["POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: ", integer_to_list(Size), "\r\n\r\n",
     binary:copy(<<"x">>, Size)].

await_held(Config, Name) ->
    megaphone_test_wait:until(["the request ", Name, " to be held"],
                              fun() -> call(Config, megaphone_test_handler, held, [Name]) end).

await_death(Config, Pid) ->
    megaphone_test_wait:until("the end of the connection's owner",
                              fun() -> not call(Config, erlang, is_process_alive, [Pid]) end).

await_buffered(Stream, Size) ->
    megaphone_test_wait:until(
      fun() -> io_lib:format("~b bytes to come, there are ~p", [Size, megaphone_test_yamux:status(Stream)]) end,
      fun() -> maps:get(buffered, megaphone_test_yamux:status(Stream)) >= Size end).

await_connections(Config, Trunk, Count) ->
    Connections = fun() -> maps:get(connections, megaphone_test_listeners:trunk_status(Config, Trunk)) end,
    megaphone_test_wait:until(
      fun() -> io_lib:format("~b connections, there are ~b", [Count, Connections()]) end,
      fun() -> Connections() =:= Count end).
