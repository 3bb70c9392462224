%% What an active socket sends to its owner, the http packet modes, and controlling_process, on a trunk
%% in the NIF. megaphone_prop_SUITE holds random sequences of the same against gen_tcp.
-module(megaphone_active_SUITE).

-include_lib("stdlib/include/assert.hrl").

-import(megaphone_test_process, [ended/1, mailbox/0]).

-export([all/0, groups/0, suite/0]).
-export([active_true/1, active_once/1, active_n/1, active_n_adds_up/1, active_takes_what_waits/1,
         large_data_in_pieces/1, active_hears_of_the_close/1, passive_hears_of_the_close_later/1,
         last_data_comes_before_the_close/1, reader_gives_way_to_active/1]).
-export([packets_by_recv/1, packets_by_messages/1, packet_arrives_byte_by_byte/1,
         packet_mode_raw_takes_the_body/1, packet_error_is_the_line/1, httph_never_switches/1,
         responses_are_packets/1, packet_mode_set_again_goes_on/1,
         packet_mode_takes_no_length/1]).
-export([hand_over_moves_messages/1, hand_over_moves_the_monitor/1, hand_over_keeps_active/1,
         hand_over_refusals/1, hand_over_while_data_comes/1, hand_over_while_the_peer_closes/1]).

-define(TRUNK, megaphone_test_nif).

suite() ->
    [{timetrap, {seconds, 30}}].

all() ->
    [{group, active}, {group, packet}, {group, hand_over}].

groups() ->
    [{active, [parallel],
      [active_true, active_once, active_n, active_n_adds_up, active_takes_what_waits,
       large_data_in_pieces, active_hears_of_the_close, passive_hears_of_the_close_later,
       last_data_comes_before_the_close, reader_gives_way_to_active]},
     {packet, [parallel],
      [packets_by_recv, packets_by_messages, packet_arrives_byte_by_byte,
       packet_mode_raw_takes_the_body, packet_error_is_the_line, httph_never_switches,
       responses_are_packets, packet_mode_set_again_goes_on,
       packet_mode_takes_no_length]},
     {hand_over, [parallel],
      [hand_over_moves_messages, hand_over_moves_the_monitor, hand_over_keeps_active,
       hand_over_refusals, hand_over_while_data_comes, hand_over_while_the_peer_closes]}].

%% Confirms that {active, true} sends each frame's content at once, until it is passive again.
active_true(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = inet:setopts(Socket, [{active, true}]),
    [ok = ?TRUNK:peer_send(Trunk, Id, Data) || Data <- ["a", "bc", "d"]],
    ?assertEqual([{tcp, Socket, <<"a">>}, {tcp, Socket, <<"bc">>}, {tcp, Socket, <<"d">>}], mailbox()),
    ?assertEqual({error, einval}, gen_tcp:recv(Socket, 0, 0)),
    ok = inet:setopts(Socket, [{active, false}]),
    ok = ?TRUNK:peer_send(Trunk, Id, "e"),
    ?assertEqual([], mailbox()),
    ?assertEqual({ok, <<"e">>}, gen_tcp:recv(Socket, 0)).

%% Confirms that {active, once} sends one message and keeps the rest.
active_once(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = inet:setopts(Socket, [{active, once}]),
    [ok = ?TRUNK:peer_send(Trunk, Id, Data) || Data <- ["a", "b", "c"]],
    ?assertEqual([{tcp, Socket, <<"a">>}], mailbox()),
    ?assertEqual({ok, [{active, false}]}, inet:getopts(Socket, [active])),
    ok = inet:setopts(Socket, [{active, once}]),
    ?assertEqual([{tcp, Socket, <<"bc">>}], mailbox()).

%% Confirms that {active, N} sends N messages and says that it is passive then.
active_n(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = inet:setopts(Socket, [{active, 2}]),
    [ok = ?TRUNK:peer_send(Trunk, Id, Data) || Data <- ["a", "b", "c"]],
    ?assertEqual([{tcp, Socket, <<"a">>}, {tcp, Socket, <<"b">>}, {tcp_passive, Socket}], mailbox()),
    ?assertEqual({ok, [{active, false}]}, inet:getopts(Socket, [active])),
    ?assertEqual({ok, <<"c">>}, gen_tcp:recv(Socket, 0)).

%% Confirms that counts add up, also negative ones, and that none is left at 0 or below.
active_n_adds_up(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, _Id} = ?TRUNK:connect(Trunk),
    [begin
         ?assertEqual(Answer, inet:setopts(Socket, [{active, Change}])),
         ?assertEqual({ok, [{active, Active}]}, inet:getopts(Socket, [active])),
         ?assertEqual([{tcp_passive, Socket} || Told <- [passive], Told =:= Tells], mailbox())
     end || {Change, Answer, Active, Tells} <- [{3, ok, 3, nothing},
                                                {4, ok, 7, nothing},
                                                {-2, ok, 5, nothing},
                                                {32763, {error, einval}, 5, nothing},
                                                {-5, ok, false, passive},
                                                {-1, ok, false, passive},
                                                {0, ok, false, passive},
                                                {32767, ok, 32767, nothing},
                                                {1, {error, einval}, 32767, nothing},
                                                {-32768, ok, false, passive},
                                                {true, ok, true, nothing},
                                                {2, ok, 2, nothing},
                                                {once, ok, once, nothing},
                                                {1, ok, 1, nothing}]].

%% Confirms that a socket made active sends what has come before, in one message.
active_takes_what_waits(_Config) ->
    Trunk = ?TRUNK:open(),
    [begin
         {Socket, Id} = ?TRUNK:connect(Trunk),
         [ok = ?TRUNK:peer_send(Trunk, Id, Data) || Data <- ["a", "b", "c"]],
         ok = inet:setopts(Socket, [{active, Active}]),
         ?assertEqual([{tcp, Socket, <<"abc">>} | More(Socket)], mailbox())
     end || {Active, More} <- [{once, fun(_) -> [] end},
                               {true, fun(_) -> [] end},
                               {1, fun(Socket) -> [{tcp_passive, Socket}] end}]].

%% Confirms that a lot of data comes in several messages, none of which is huge, unchanged.
large_data_in_pieces(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    Data = rand:bytes(500_000),
    ok = ?TRUNK:peer_send(Trunk, Id, Data),
    ok = inet:setopts(Socket, [{active, true}]),
    Pieces = [Piece || {tcp, S, Piece} <- mailbox(), S =:= Socket],
    ?assert(iolist_to_binary(Pieces) =:= Data),
    ?assert(lists:max([byte_size(Piece) || Piece <- Pieces]) =< 131072).

%% Confirms that the owner of an active socket is told of the peer's close and need not close it.
active_hears_of_the_close(_Config) ->
    Trunk = ?TRUNK:open(),
    [begin
         {Socket, Id} = ?TRUNK:connect(Trunk),
         ok = inet:setopts(Socket, [{active, Active}]),
         ok = ?TRUNK:peer_close(Trunk, Id),
         ?assertEqual([{tcp_closed, Socket}], mailbox()),
         ?assertEqual({error, closed}, gen_tcp:recv(Socket, 0)),
         ?assertEqual({<<>>, closed}, ?TRUNK:output(Trunk, Id)),
         ?assertMatch(#{connections := 0}, ?TRUNK:status(Trunk))
     end || Active <- [true, once, 5]].

%% Confirms that the owner of a passive socket is told of a close as soon as it makes it active.
passive_hears_of_the_close_later(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = ?TRUNK:peer_close(Trunk, Id),
    ?assertEqual([], mailbox()),
    ?assertEqual(ok, inet:setopts(Socket, [{active, once}])),
    ?assertEqual([{tcp_closed, Socket}], mailbox()),
    ?assertEqual({error, einval}, inet:setopts(Socket, [{active, once}])),
    ?assertEqual([], mailbox()).

%% Confirms that data that came before the close is sent before tcp_closed, one message at a time.
last_data_comes_before_the_close(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = ?TRUNK:peer_send(Trunk, Id, "last words"),
    ok = ?TRUNK:peer_close(Trunk, Id),
    ok = inet:setopts(Socket, [{active, once}]),
    ?assertEqual([{tcp, Socket, <<"last words">>}], mailbox()),
    ok = inet:setopts(Socket, [{active, once}]),
    ?assertEqual([{tcp_closed, Socket}], mailbox()),
    {Other, OtherId} = ?TRUNK:connect(Trunk),
    ok = ?TRUNK:peer_send(Trunk, OtherId, "words"),
    ok = ?TRUNK:peer_close(Trunk, OtherId),
    ok = inet:setopts(Other, [{active, true}]),
    ?assertEqual([{tcp, Other, <<"words">>}, {tcp_closed, Other}], mailbox()).

%% Confirms that data for a socket that became active reaches its owner although another process is in
%% recv, which is answered einval.
reader_gives_way_to_active(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    Reader = spawn_monitor(fun() -> exit(gen_tcp:recv(Socket, 2)) end),
    ?TRUNK:waiters(Trunk, 1),
    ok = inet:setopts(Socket, [{active, true}]),
    ok = ?TRUNK:peer_send(Trunk, Id, "abc"),
    ?assertEqual({error, einval}, ended(Reader)),
    ?assertEqual([{tcp, Socket, <<"abc">>}], mailbox()),
    ?assertMatch(#{waiters := 0, buffered := 0}, ?TRUNK:status(Trunk)).

%% Confirms that recv gives the terms of erlang:decode_packet/3 in each http mode, and goes from a
%% request's line to its headers and from their end to the next request by itself.
packets_by_recv(_Config) ->
    Trunk = ?TRUNK:open(),
    [begin
         {Socket, Id} = ?TRUNK:connect(Trunk),
         ok = ?TRUNK:peer_send(Trunk, Id, requests()),
         ok = inet:setopts(Socket, [{packet, Mode}]),
         ?assertEqual(packets(Mode), [Packet || {ok, Packet} <- recv_all(Socket)]),
         ?assertEqual({ok, [{packet, Mode}]}, inet:getopts(Socket, [packet]))
     end || Mode <- [http, http_bin]].

%% Confirms that an active socket sends the same as {http, Socket, Packet}, one a count.
packets_by_messages(_Config) ->
    Trunk = ?TRUNK:open(),
    [begin
         {Socket, Id} = ?TRUNK:connect(Trunk),
         ok = inet:setopts(Socket, [{packet, Mode}, {active, true}]),
         ok = ?TRUNK:peer_send(Trunk, Id, requests()),
         ?assertEqual([{http, Socket, Packet} || Packet <- packets(Mode)], mailbox()),
         ok = inet:setopts(Socket, [{active, false}]),
         ok = ?TRUNK:peer_send(Trunk, Id, requests()),
         [First, Second | _] = packets(Mode),
         ok = inet:setopts(Socket, [{active, once}]),
         ?assertEqual([{http, Socket, First}], mailbox()),
         ok = inet:setopts(Socket, [{active, 1}]),
         ?assertEqual([{http, Socket, Second}, {tcp_passive, Socket}], mailbox())
     end || Mode <- [http, http_bin]].

%% Confirms that a packet is given once its last byte is there, a header once the byte after it is.
packet_arrives_byte_by_byte(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = inet:setopts(Socket, [{packet, http_bin}, {active, true}]),
    Came = [begin
                ok = ?TRUNK:peer_send(Trunk, Id, [Byte]),
                [Packet || {http, S, Packet} <- mailbox(), S =:= Socket]
            end || <<Byte>> <= <<"GET / HTTP/1.1\r\nHost: a\r\n\r\n">>],
    ?assertEqual([{16, [{http_request, 'GET', {abs_path, <<"/">>}, {1, 1}}]},
                  {26, [{http_header, 14, 'Host', <<"Host">>, <<"a">>}]},
                  {27, [http_eoh]}],
                 [Packets || {_, [_ | _]} = Packets <- lists:zip(lists:seq(1, length(Came)), Came)]).

%% Confirms that a body is read in mode raw behind its head, and the next head in mode http again.
packet_mode_raw_takes_the_body(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    Head = "PUT /a HTTP/1.1\r\nContent-Length: 6\r\n\r\n",
    ok = ?TRUNK:peer_send(Trunk, Id, [Head, "GET /\n", Head, "123456"]),
    [begin
         ok = inet:setopts(Socket, [{packet, http_bin}]),
         ?assertMatch([{ok, {http_request, 'PUT', _, _}},
                       {ok, {http_header, 38, 'Content-Length', _, <<"6">>}}, {ok, http_eoh}],
                      [gen_tcp:recv(Socket, 0, 0) || _ <- [1, 2, 3]]),
         ok = inet:setopts(Socket, [{packet, Raw}]),
         ?assertEqual({ok, Body}, gen_tcp:recv(Socket, 6, 0))
     end || {Raw, Body} <- [{raw, <<"GET /\n">>}, {0, <<"123456">>}]],
    ?assertEqual({ok, [{packet, 0}]}, inet:getopts(Socket, [packet])).

%% Confirms that a line that is no packet is given as it is, and that the next one is tried anew.
packet_error_is_the_line(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = inet:setopts(Socket, [{packet, http_bin}]),
    ok = ?TRUNK:peer_send(Trunk, Id, "nonsense\r\n\r\nGET / HTTP/1.0\r\nno header\r\nA: b\r\n\r\n"),
    ?assertEqual([{ok, {http_error, <<"nonsense\r\n">>}},
                  {ok, {http_error, <<"\r\n">>}},
                  {ok, {http_request, 'GET', {abs_path, <<"/">>}, {1, 0}}},
                  {ok, {http_error, <<"no header\r\n">>}},
                  {ok, {http_header, 0, <<"A">>, <<"A">>, <<"b">>}},
                  {ok, http_eoh}], recv_all(Socket)).

%% Confirms that in the httph modes every line is a header, also after the end of headers.
httph_never_switches(_Config) ->
    Trunk = ?TRUNK:open(),
    [begin
         {Socket, Id} = ?TRUNK:connect(Trunk),
         ok = inet:setopts(Socket, [{packet, Mode}]),
         ok = ?TRUNK:peer_send(Trunk, Id, "Host: a\r\n\r\nHost: b\r\n\r\n"),
         ?assertEqual([{ok, {http_header, 14, 'Host', Host, A}}, {ok, http_eoh},
                       {ok, {http_header, 14, 'Host', Host, B}}, {ok, http_eoh}], recv_all(Socket)),
         ?assertEqual({ok, [{packet, Mode}]}, inet:getopts(Socket, [packet]))
     end || {Mode, Host, A, B} <- [{httph, "Host", "a", "b"},
                                   {httph_bin, <<"Host">>, <<"a">>, <<"b">>}]].

%% Confirms that a status line starts headers as a request line does.
responses_are_packets(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = inet:setopts(Socket, [{packet, http}]),
    ok = ?TRUNK:peer_send(Trunk, Id, "HTTP/1.1 404 Not Found\r\nAge: 1\r\n\r\n"),
    ?assertEqual([{ok, {http_response, {1, 1}, 404, "Not Found"}},
                  {ok, {http_header, 25, 'Age', "Age", "1"}}, {ok, http_eoh}], recv_all(Socket)).

%% Confirms that a mode that is set in the midst of a head, as it is by who sets {active, once} for each
%% packet, goes on with the head, whatever modes were set between.
packet_mode_set_again_goes_on(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = ?TRUNK:peer_send(Trunk, Id, requests()),
    Next = fun() ->
                   ok = inet:setopts(Socket, [{packet, http_bin}, {active, once}]),
                   [{http, Socket, Packet}] = mailbox(),
                   Packet
           end,
    ?assertEqual(packets(http_bin), [Next() || _ <- packets(http_bin)]),
    ok = ?TRUNK:peer_send(Trunk, Id, requests()),
    [begin
         ok = inet:setopts(Socket, [{packet, Between}]),
         ok = inet:setopts(Socket, [{packet, http_bin}]),
         ?assertEqual({ok, Packet}, gen_tcp:recv(Socket, 0, 0))
     end || {Packet, Between} <- lists:zip(packets(http_bin), [raw, raw, httph, http, raw, httph_bin])],
    ok = ?TRUNK:peer_send(Trunk, Id, "Host: a\r\nHost: b\r\n\r\n"),
    ok = inet:setopts(Socket, [{packet, httph_bin}]),
    ?assertMatch({ok, {http_header, 14, 'Host', _, <<"a">>}}, gen_tcp:recv(Socket, 0, 0)),
    ok = inet:setopts(Socket, [{packet, http_bin}]),
    ?assertMatch({ok, {http_header, 14, 'Host', _, <<"b">>}}, gen_tcp:recv(Socket, 0, 0)).

%% Confirms that recv of a length makes no sense in a packet mode, as inet says.
packet_mode_takes_no_length(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = inet:setopts(Socket, [{packet, http_bin}]),
    ok = ?TRUNK:peer_send(Trunk, Id, "GET / HTTP/1.0\r\n"),
    ?assertEqual({error, einval}, gen_tcp:recv(Socket, 5, 0)),
    ?assertMatch({ok, {http_request, 'GET', _, _}}, gen_tcp:recv(Socket, 0, 0)).

%% Confirms that messages that are with the old owner go to the new one, in order, before newer ones.
hand_over_moves_messages(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    {Other, OtherId} = ?TRUNK:connect(Trunk),
    ok = inet:setopts(Socket, [{active, 3}]),
    ok = inet:setopts(Other, [{active, true}]),
    [ok = ?TRUNK:peer_send(Trunk, Id, Data) || Data <- ["a", "b"]],
    ok = ?TRUNK:peer_send(Trunk, OtherId, "x"),
    ok = inet:setopts(Socket, [{packet, http_bin}]),
    ok = ?TRUNK:peer_send(Trunk, Id, "GET / HTTP/1.0\r\n"),
    Owner = collector(),
    ?assertEqual(ok, gen_tcp:controlling_process(Socket, Owner)),
    ok = inet:setopts(Socket, [{packet, raw}, {active, true}]),
    ok = ?TRUNK:peer_send(Trunk, Id, "c"),
    ok = ?TRUNK:peer_close(Trunk, Id),
    ?assertEqual([{tcp, Socket, <<"a">>}, {tcp, Socket, <<"b">>},
                  {http, Socket, {http_request, 'GET', {abs_path, <<"/">>}, {1, 0}}},
                  {tcp_passive, Socket}, {tcp, Socket, <<"c">>}, {tcp_closed, Socket}],
                 collected(Owner)),
    ?assertEqual([{tcp, Other, <<"x">>}], mailbox()).

%% Confirms that the connection ends with the new owner and outlives the old one.
hand_over_moves_the_monitor(_Config) ->
    Trunk = ?TRUNK:open(),
    New = collector(),
    Test = self(),
    Old = spawn_monitor(fun() ->
        {Socket, Id} = ?TRUNK:connect(Trunk),
        ok = gen_tcp:controlling_process(Socket, New),
        Test ! {moved, Socket, Id}
    end),
    {Socket, Id} = receive {moved, S, I} -> {S, I} end,
    ?assertEqual(normal, ended(Old)),
    ok = ?TRUNK:peer_send(Trunk, Id, "x"),
    ?assertEqual({ok, <<"x">>}, gen_tcp:recv(Socket, 1)),
    ?assertMatch(#{owner := New}, inet:info(Socket)),
    unlink(New),
    exit(New, kill),
    megaphone_test_wait:until("the close by the new owner's death", fun() ->
        maps:get(connections, ?TRUNK:status(Trunk)) =:= 0
    end),
    ?assertEqual({<<>>, closed}, ?TRUNK:output(Trunk, Id)).

%% Confirms that the mode the socket was in is the new owner's.
hand_over_keeps_active(_Config) ->
    Trunk = ?TRUNK:open(),
    [begin
         {Socket, Id} = ?TRUNK:connect(Trunk),
         ok = inet:setopts(Socket, [{active, Active}]),
         Owner = collector(),
         ok = gen_tcp:controlling_process(Socket, Owner),
         ?assertEqual({ok, [{active, Active}]}, inet:getopts(Socket, [active])),
         [ok = ?TRUNK:peer_send(Trunk, Id, Data) || Data <- ["a", "b", "c"]],
         ?assertEqual(Told(Socket), collected(Owner))
     end || {Active, Told} <- [{false, fun(_) -> [] end},
                               {once, fun(S) -> [{tcp, S, <<"a">>}] end},
                               {2, fun(S) -> [{tcp, S, <<"a">>}, {tcp, S, <<"b">>},
                                              {tcp_passive, S}] end},
                               {true, fun(S) -> [{tcp, S, <<"a">>}, {tcp, S, <<"b">>},
                                                 {tcp, S, <<"c">>}] end}]],
    ?assertEqual([], mailbox()).

%% Confirms who may not hand over, and to whom nobody can; the owner stays what it was.
hand_over_refusals(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, _Id} = ?TRUNK:connect(Trunk),
    Self = self(),
    {Other, _} = Process = spawn_monitor(fun() ->
        exit([gen_tcp:controlling_process(Socket, Pid) || Pid <- [self(), whereis(init)]])
    end),
    ?assertEqual([{error, not_owner}, {error, not_owner}], ended(Process)),
    ?assertEqual(ok, gen_tcp:controlling_process(Socket, Self)),
    ?assertEqual({error, badarg}, gen_tcp:controlling_process(Socket, Other)),
    ?assertEqual({error, badarg}, gen_tcp:controlling_process(Socket, pid_of_another_node())),
    ?assertEqual({error, badarg}, gen_tcp:controlling_process(Socket, init)),
    ?assertMatch(#{owner := Self}, inet:info(Socket)),
    ok = gen_tcp:close(Socket),
    ?assertEqual({error, closed}, gen_tcp:controlling_process(Socket, whereis(init))).

%% Confirms that no byte is lost, doubled or out of order while a socket passes through processes.
hand_over_while_data_comes(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    Bytes = << <<N:16>> || N <- lists:seq(1, 5000) >>,
    Last = collector(),
    First = lists:foldl(fun(_, Next) -> spawn_link(fun() -> pass_on(Socket, Next) end) end,
                        Last, lists:seq(1, 200)),
    ok = gen_tcp:controlling_process(Socket, First),
    First ! yours,
    ok = inet:setopts(Socket, [{active, true}]),
    [ok = ?TRUNK:peer_send(Trunk, Id, Piece) || <<Piece:4/binary>> <= Bytes],
    %% The last hand-over has restored {active, true} when its caller says `yours'.
    megaphone_test_wait:until("the last owner's turn", fun() ->
        {messages, Messages} = process_info(Last, messages),
        lists:member(yours, Messages)
    end),
    ok = ?TRUNK:peer_close(Trunk, Id),
    Messages = collected(Last),
    ?assert(iolist_to_binary([Data || {tcp, _, Data} <- Messages]) =:= Bytes),
    ?assertEqual({tcp_closed, Socket}, lists:last(Messages)).

%% Confirms that a hand-over answers whatever the peer's close meets, and that either the old or the
%% new owner is told of it.
hand_over_while_the_peer_closes(_Config) ->
    Trunk = ?TRUNK:open(),
    Rounds = [begin
                  Answer = race_hand_over(Trunk),
                  ?assert(lists:member(Answer, [{ok, [], [closed]},
                                                {{error, closed}, [closed], []}]), Answer),
                  Answer
              end || _ <- lists:seq(1, 3000)],
    ?assertEqual(3000, length(Rounds)),
    ?assertMatch(#{connections := 0}, ?TRUNK:status(Trunk)).

%% What controlling_process answered, and what both heard of the close.
race_hand_over(Trunk) ->
    {Socket, Id} = ?TRUNK:connect(Trunk),
    New = collector(),
    Test = self(),
    %% A message would start the closer too late: both look at a number.
    Start = atomics:new(1, []),
    Closer = spawn_link(fun() ->
                                Test ! {ready, self()},
                                await(Start),
                                spin(rand:uniform(1000)),
                                ok = ?TRUNK:peer_close(Trunk, Id),
                                Test ! {closed, self()}
                        end),
    ok = inet:setopts(Socket, [{active, true}]),
    receive {ready, Closer} -> ok end,
    atomics:put(Start, 1, 1),
    spin(rand:uniform(1000)),
    Answer = gen_tcp:controlling_process(Socket, New),
    receive {closed, Closer} -> ok end,
    Old = [closed || {tcp_closed, S} <- mailbox(), S =:= Socket],
    {Answer, Old, [closed || {tcp_closed, S} <- collected(New), S =:= Socket]}.

await(Start) ->
    case atomics:get(Start, 1) of
        0 -> await(Start);
        1 -> ok
    end.

spin(0) -> ok;
spin(N) -> spin(N - 1).

pass_on(Socket, Next) ->
    receive yours -> ok end,
    ok = gen_tcp:controlling_process(Socket, Next),
    Next ! yours.

%% A process that only collects messages.
collector() ->
    spawn_link(fun() -> receive {collected, From} -> From ! {collected, self(), mailbox()} end end).

%% What a collector has got; it ends.
collected(Collector) ->
    unlink(Collector),
    Collector ! {collected, self()},
    receive {collected, Collector, Messages} -> [M || M <- Messages, M =/= yours] end.

%% Two pipelined requests.
requests() ->
    "GET /a HTTP/1.1\r\nHost: h\r\nX-y: z\r\n\r\nPOST http://h:8/ HTTP/1.0\r\n\r\n".

packets(http_bin) ->
    packets(fun list_to_binary/1);
packets(http) ->
    packets(fun(String) -> String end);
packets(Text) ->
    [{http_request, 'GET', {abs_path, Text("/a")}, {1, 1}},
     {http_header, 14, 'Host', Text("Host"), Text("h")},
     {http_header, 0, Text("X-Y"), Text("X-y"), Text("z")},
     http_eoh,
     {http_request, 'POST', {absoluteURI, http, Text("h"), 8, Text("/")}, {1, 0}},
     http_eoh].

recv_all(Socket) ->
    case gen_tcp:recv(Socket, 0, 0) of
        {error, timeout} -> [];
        Answer -> [Answer | recv_all(Socket)]
    end.

%% The external term format of a pid (101 is a node's atom, 88 a pid), since no other node is needed.
pid_of_another_node() ->
    Node = <<"another@node">>,
    binary_to_term(<<131, 88, 119, (byte_size(Node)), Node/binary, 1:32, 0:32, 1:32>>).
