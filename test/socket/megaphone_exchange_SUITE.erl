%% A connection that carries HTTP, as its reader sees it: one request at a time, with a length, what can
%% be read in two ways refused. The reader is the case, as ejabberd_http would be; ejabberd itself is in
%% megaphone_http_SUITE.
-module(megaphone_exchange_SUITE).

-include_lib("stdlib/include/assert.hrl").

-import(megaphone_test_process, [ended/1, mailbox/0]).

-export([all/0, groups/0, suite/0]).
-export([one_request_at_a_time/1, head_then_body/1, body_of_a_length_in_one_recv/1,
         request_byte_by_byte/1, small_body_comes_whole/1, large_body_is_streamed/1,
         unread_body_is_dropped/1, chunked_gets_a_length/1, chunked_waits_for_continue/1,
         messages_are_requests/1, packet_modes_read_requests/1]).
-export([answers_end_as_they_say/1, answer_that_closes/1, answer_to_nothing_closes/1,
         last_answer_ends_recv/1]).
-export([upgrade_turns_raw/1, upgrade_that_is_refused_stays/1]).
-export([refused_request_closes/1, refused_behind_a_good_one/1, cut_request_is_not_given/1]).
-export([drain_waits_for_answers/1, drain_closes_what_is_between_requests/1, full_trunk_answers_503/1,
         close_in_flight_names_the_owner/1]).

-define(TRUNK, megaphone_test_nif).
-define(GET(Path), "GET " Path " HTTP/1.1\r\nHost: h\r\n\r\n").
-define(OK, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").

suite() ->
    [{timetrap, {seconds, 30}}].

all() ->
    [{group, requests}, {group, answers}, {group, upgrades}, {group, refusals}, {group, ends}].

groups() ->
    [{requests, [parallel],
      [one_request_at_a_time, head_then_body, body_of_a_length_in_one_recv, request_byte_by_byte,
       small_body_comes_whole, large_body_is_streamed, unread_body_is_dropped, chunked_gets_a_length,
       chunked_waits_for_continue, messages_are_requests, packet_modes_read_requests]},
     {answers, [parallel],
      [answers_end_as_they_say, answer_that_closes, answer_to_nothing_closes, last_answer_ends_recv]},
     {upgrades, [parallel], [upgrade_turns_raw, upgrade_that_is_refused_stays]},
     {refusals, [parallel],
      [refused_request_closes, refused_behind_a_good_one, cut_request_is_not_given]},
     {ends, [parallel],
      [drain_waits_for_answers, drain_closes_what_is_between_requests, full_trunk_answers_503,
       close_in_flight_names_the_owner]}].

%% Confirms that pipelined requests come one by one, each after the answer to the one before, and that
%% a reader that waits is woken by that answer.
one_request_at_a_time(_Config) ->
    {Trunk, Socket, Id} = connect([?GET("/1"), ?GET("/2"), ?GET("/3")]),
    ?assertEqual({ok, <<?GET("/1")>>}, gen_tcp:recv(Socket, 0, 0)),
    ?assertEqual({error, timeout}, gen_tcp:recv(Socket, 0, 0)),
    ok = gen_tcp:send(Socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
    ?assertEqual({error, timeout}, gen_tcp:recv(Socket, 0, 0)),
    Reader = spawn_monitor(fun() -> exit(gen_tcp:recv(Socket, 0)) end),
    ?TRUNK:waiters(Trunk, 1),
    ok = gen_tcp:send(Socket, "ok"),
    ?assertEqual({ok, <<?GET("/2")>>}, ended(Reader)),
    ok = gen_tcp:send(Socket, ?OK),
    ?assertEqual({ok, <<?GET("/3")>>}, gen_tcp:recv(Socket, 0, 0)),
    ok = gen_tcp:send(Socket, ?OK),
    ?assertEqual({<<?OK, ?OK, ?OK>>, open}, ?TRUNK:output(Trunk, Id)),
    ?assertMatch(#{buffered := 0}, ?TRUNK:status(Trunk)).

%% Confirms that a recv of what is there gives head and body apart: a reader that wants no body would
%% take it for the next request.
head_then_body(_Config) ->
    Head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n",
    {_Trunk, Socket, _Id} = connect([Head, "abc", ?GET("/next")]),
    ?assertEqual({ok, list_to_binary(Head)}, gen_tcp:recv(Socket, 0, 0)),
    ?assertEqual({ok, <<"abc">>}, gen_tcp:recv(Socket, 0, 0)),
    ?assertEqual({error, timeout}, gen_tcp:recv(Socket, 0, 0)).

%% Confirms that a length that passes the head is taken as a length, within the request.
body_of_a_length_in_one_recv(_Config) ->
    Head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n",
    {_Trunk, Socket, _Id} = connect([Head, "abc", ?GET("/next")]),
    Whole = list_to_binary([Head, "abc"]),
    ?assertEqual({error, timeout}, gen_tcp:recv(Socket, byte_size(Whole) + 1, 0)),
    ?assertEqual({ok, Whole}, gen_tcp:recv(Socket, byte_size(Whole), 0)).

%% Confirms that a request cut into single bytes is given whole, not before its last byte.
request_byte_by_byte(_Config) ->
    [First | Bytes] = Request = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
    {Trunk, Socket, Id} = connect([First]),
    [begin
         ?assertEqual({error, timeout}, gen_tcp:recv(Socket, 0, 0)),
         ok = ?TRUNK:peer_send(Trunk, Id, [Byte])
     end || Byte <- Bytes],
    ?assertEqual({ok, list_to_binary(Request)}, gen_tcp:recv(Socket, length(Request), 0)).

%% Confirms that a request with a body of at most 64 KiB is given when all of it is there.
small_body_comes_whole(_Config) ->
    Body = rand:bytes(65536),
    Head = <<"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 65536\r\n\r\n">>,
    {Trunk, Socket, Id} = connect([Head, binary:part(Body, 0, 65535)]),
    ?assertEqual({error, timeout}, gen_tcp:recv(Socket, 0, 0)),
    ok = ?TRUNK:peer_send(Trunk, Id, [binary:last(Body)]),
    ?assertEqual({ok, Head}, gen_tcp:recv(Socket, 0, 0)),
    ?assert(gen_tcp:recv(Socket, 65536, 0) =:= {ok, Body}).

%% Confirms that a larger body is given as it comes and never collected, its bytes unchanged.
large_body_is_streamed(_Config) ->
    Size = 3 bsl 20,
    Body = rand:bytes(Size),
    Head = list_to_binary(["PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: ", integer_to_list(Size),
                           "\r\n\r\n"]),
    {Trunk, Socket, Id} = connect(Head),
    ?assertEqual({ok, Head}, gen_tcp:recv(Socket, 0, 0)),
    Read = [begin
                ok = ?TRUNK:peer_send(Trunk, Id, Piece),
                ?assertMatch(#{buffered := Buffered} when Buffered =:= byte_size(Piece),
                             ?TRUNK:status(Trunk)),
                {ok, Data} = gen_tcp:recv(Socket, byte_size(Piece), 0),
                Data
            end || Piece <- pieces(Body, 100_000)],
    ?assert(iolist_to_binary(Read) =:= Body),
    ok = ?TRUNK:peer_send(Trunk, Id, ?GET("/next")),
    ok = gen_tcp:send(Socket, ?OK),
    ?assertEqual({ok, <<?GET("/next")>>}, gen_tcp:recv(Socket, 0, 0)).

%% Confirms that what the reader leaves of a body, there or still to come, is dropped with its answer.
unread_body_is_dropped(_Config) ->
    Head = <<"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n">>,
    {Trunk, Socket, Id} = connect([Head, binary:copy(<<"a">>, 30_000)]),
    ?assertEqual({ok, Head}, gen_tcp:recv(Socket, 0, 0)),
    ok = gen_tcp:send(Socket, "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n"),
    ?assertMatch(#{buffered := 0}, ?TRUNK:status(Trunk)),
    ok = ?TRUNK:peer_send(Trunk, Id, [binary:copy(<<"a">>, 70_000), ?GET("/next")]),
    ?assertEqual({ok, <<?GET("/next")>>}, gen_tcp:recv(Socket, 0, 0)).

%% Confirms that a chunked body, however it is cut, is handed over with a Content-Length in its place.
chunked_gets_a_length(_Config) ->
    Request = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n"
              "3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n",
    {Trunk, Socket, Id} = connect([hd(Request)]),
    [begin
         ?assertEqual({error, timeout}, gen_tcp:recv(Socket, 0, 0)),
         ok = ?TRUNK:peer_send(Trunk, Id, [Byte])
     end || Byte <- tl(Request)],
    ?assertEqual({ok, <<"POST / HTTP/1.1\r\nHost: h\r\nX: y\r\nContent-Length: 5\r\n\r\n">>},
                 gen_tcp:recv(Socket, 0, 0)),
    ?assertEqual({ok, <<"abcde">>}, gen_tcp:recv(Socket, 0, 0)).

%% Confirms that a client that waits before it sends a chunked body is told to go on.
chunked_waits_for_continue(_Config) ->
    {Trunk, Socket, Id} = connect("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
                                  "Expect: 100-continue\r\n\r\n"),
    ?assertEqual({<<"HTTP/1.1 100 Continue\r\n\r\n">>, open}, ?TRUNK:output(Trunk, Id)),
    ok = ?TRUNK:peer_send(Trunk, Id, "1\r\na\r\n0\r\n\r\n"),
    ?assertEqual({ok, <<"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n">>},
                 gen_tcp:recv(Socket, 0, 0)).

%% Confirms that an active socket is sent a request's head and body, and the next after its answer.
messages_are_requests(_Config) ->
    Head = <<"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n">>,
    {_Trunk, Socket, _Id} = connect([Head, "abc", ?GET("/next")]),
    ok = inet:setopts(Socket, [{active, true}]),
    ?assertEqual([{tcp, Socket, Head}, {tcp, Socket, <<"abc">>}], mailbox()),
    ok = gen_tcp:send(Socket, ?OK),
    ?assertEqual([{tcp, Socket, <<?GET("/next")>>}], mailbox()).

%% Confirms that the http packet modes read a request that was checked and rewritten before.
packet_modes_read_requests(_Config) ->
    {_Trunk, Socket, _Id} = connect("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
                                    "\r\n1\r\na\r\n0\r\n\r\n"),
    ok = inet:setopts(Socket, [{packet, http_bin}]),
    ?assertEqual([{ok, {http_request, 'POST', {abs_path, <<"/a">>}, {1, 1}}},
                  {ok, {http_header, 14, 'Host', <<"Host">>, <<"h">>}},
                  {ok, {http_header, 38, 'Content-Length', <<"Content-Length">>, <<"1">>}},
                  {ok, http_eoh}],
                 [gen_tcp:recv(Socket, 0, 0) || _ <- [1, 2, 3, 4]]),
    ok = inet:setopts(Socket, [{packet, raw}]),
    ?assertEqual({ok, <<"a">>}, gen_tcp:recv(Socket, 1, 0)).

%% Confirms that the next request is due where an answer ends: by its length, its last chunk, or at its
%% head when it has no body.
answers_end_as_they_say(_Config) ->
    [begin
         {_Trunk, Socket, _Id} = connect([Method, " / HTTP/1.1\r\nHost: h\r\n\r\n", ?GET("/next")]),
         {ok, _Request} = gen_tcp:recv(Socket, 0, 0),
         {Most, [Last]} = lists:split(length(Answer) - 1, Answer),
         ok = gen_tcp:send(Socket, Most),
         ?assertEqual({error, timeout}, gen_tcp:recv(Socket, 0, 0), Answer),
         ok = gen_tcp:send(Socket, [Last]),
         ?assertEqual({ok, <<?GET("/next")>>}, gen_tcp:recv(Socket, 0, 0), Answer)
     end || {Method, Answer} <-
                [{"GET", ?OK},
                 {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
                 {"GET", "HTTP/1.1 204 No Content\r\n\r\n"},
                 {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"},
                 {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"},
                 {"GET", "HTTP/1.1 103 Early Hints\r\n\r\n" ?OK}]].

%% Confirms that a connection closes behind an answer that says so, and behind the only one that a
%% client of HTTP/1.0 gets.
answer_that_closes(_Config) ->
    [begin
         {Trunk, Socket, Id} = connect([Request, ?GET("/never")]),
         {ok, _} = gen_tcp:recv(Socket, 0, 0),
         ok = gen_tcp:send(Socket, Answer),
         ?assertEqual({error, closed}, gen_tcp:recv(Socket, 0, 0)),
         ?assertEqual({list_to_binary(Answer), closed}, ?TRUNK:output(Trunk, Id)),
         ?assertMatch(#{buffered := 0}, ?TRUNK:status(Trunk))
     end || {Request, Answer} <-
                [{?GET("/"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"},
                 {"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", ?OK},
                 {"GET / HTTP/1.0\r\n\r\n", ?OK}]].

%% Confirms that bytes that answer no request end the connection: nobody knows what they belong to.
answer_to_nothing_closes(_Config) ->
    {Trunk, Socket, Id} = connect("GET / HTTP"),
    ok = gen_tcp:send(Socket, ?OK),
    ?assertEqual({<<?OK>>, closed}, ?TRUNK:output(Trunk, Id)),
    ?assertEqual({error, closed}, gen_tcp:recv(Socket, 0, 0)).

%% Confirms that a reader that comes back during an answer without a length is told to close, which is
%% how such an answer ends.
last_answer_ends_recv(_Config) ->
    {Trunk, Socket, Id} = connect([?GET("/"), ?GET("/never")]),
    {ok, _} = gen_tcp:recv(Socket, 0, 0),
    ok = gen_tcp:send(Socket, "HTTP/1.1 200 OK\r\n\r\nuntil the end"),
    ?assertEqual({error, closed}, gen_tcp:recv(Socket, 0, 0)),
    ok = gen_tcp:send(Socket, "."),
    ok = gen_tcp:close(Socket),
    ?assertEqual({<<"HTTP/1.1 200 OK\r\n\r\nuntil the end.">>, closed}, ?TRUNK:output(Trunk, Id)).

%% Confirms that after a 101 all bytes pass as they are, those that came before it too.
upgrade_turns_raw(_Config) ->
    Request = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    {Trunk, Socket, Id} = connect([Request, <<1, 2>>]),
    ?assertEqual({ok, list_to_binary(Request)}, gen_tcp:recv(Socket, 0, 0)),
    ?assertEqual({error, timeout}, gen_tcp:recv(Socket, 0, 0)),
    Answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ok = gen_tcp:send(Socket, [Answer, <<9>>]),
    ok = ?TRUNK:peer_send(Trunk, Id, <<3, 4>>),
    ?assertEqual({ok, <<1, 2, 3, 4>>}, gen_tcp:recv(Socket, 0, 0)),
    ok = inet:setopts(Socket, [{active, once}]),
    ok = ?TRUNK:peer_send(Trunk, Id, "GET / HTTP/1.1\n\n"),
    ?assertEqual([{tcp, Socket, <<"GET / HTTP/1.1\n\n">>}], mailbox()),
    ?assertEqual({list_to_binary([Answer, 9]), open}, ?TRUNK:output(Trunk, Id)).

%% Confirms that a connection whose upgrade was answered otherwise goes on with HTTP.
upgrade_that_is_refused_stays(_Config) ->
    Request = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    {_Trunk, Socket, _Id} = connect([Request, ?GET("/next")]),
    {ok, _} = gen_tcp:recv(Socket, 0, 0),
    ok = gen_tcp:send(Socket, ?OK),
    ?assertEqual({ok, <<?GET("/next")>>}, gen_tcp:recv(Socket, 0, 0)).

%% Confirms that a request that can be read in two ways is answered by its refusal and a close, is never
%% given to the reader, and is counted by name.
refused_request_closes(_Config) ->
    [begin
         {Trunk, Socket, Id} = connect(["GET /smuggled HTTP/1.1\r\n", Rest]),
         ?assertEqual({error, closed}, gen_tcp:recv(Socket, 0, 0)),
         ?assertEqual({error, closed}, gen_tcp:send(Socket, "x")),
         {Answer, closed} = ?TRUNK:output(Trunk, Id),
         {ok, {http_response, {1, 1}, Status, _}, Headers} = erlang:decode_packet(http_bin, Answer, []),
         ?assertNotEqual(nomatch, binary:match(Headers, <<"Connection: close">>)),
         ?assertMatch(#{errors := Errors, buffered := 0} when Errors =:= #{Name => 1},
                      ?TRUNK:status(Trunk))
     end || {Rest, Status, Name} <-
                [{"Host: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400,
                  conflicting_content_length},
                 {"Host: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
                  content_length_with_transfer_encoding},
                 {"Host: h\nX: y\r\n\r\n", 400, bare_lf},
                 {"Host: h\r\nX : y\r\n\r\n", 400, space_before_colon},
                 {"Host: h\r\nX: \0\r\n\r\n", 400, control_byte_in_value},
                 {["Host: h\r\nX: ", binary:copy(<<"x">>, 65536), "\r\n\r\n"], 431,
                  head_too_large}]].

%% Confirms that a refused request behind a good one is answered after the good one's answer.
refused_behind_a_good_one(_Config) ->
    {Trunk, Socket, Id} = connect([?GET("/good"), "GET /bad HTTP/1.1\n\n"]),
    ?assertEqual({ok, <<?GET("/good")>>}, gen_tcp:recv(Socket, 0, 0)),
    ?assertEqual([], ?TRUNK:output(Trunk)),
    ok = gen_tcp:send(Socket, ?OK),
    {<<?OK, "HTTP/1.1 400 ", _/binary>>, closed} = ?TRUNK:output(Trunk, Id),
    ?assertEqual({error, closed}, gen_tcp:recv(Socket, 0, 0)).

%% Confirms that a request whose client went in its midst is not given.
cut_request_is_not_given(_Config) ->
    [begin
         {Trunk, Socket, Id} = connect(Cut),
         ok = ?TRUNK:peer_close(Trunk, Id),
         ?assertEqual({error, closed}, gen_tcp:recv(Socket, 0)),
         ok = gen_tcp:close(Socket),
         ?assertMatch(#{connections := 0, buffered := 0}, ?TRUNK:status(Trunk))
     end || Cut <- ["GET / HT", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nab",
                    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na"]].

%% Confirms that a drained trunk lets answers in flight finish, closes behind them, and takes nothing
%% new: a new connection gets 503.
drain_waits_for_answers(_Config) ->
    {Trunk, Socket, Id} = connect([?GET("/1"), ?GET("/never")]),
    {ok, _} = gen_tcp:recv(Socket, 0, 0),
    ok = megaphone_nif:drain(Trunk),
    ?assertEqual([self()], megaphone_nif:in_flight(Trunk)),
    New = ?TRUNK:id(77),
    ?assertEqual({ok, [], []}, ?TRUNK:feed(Trunk, ?TRUNK:frame(New, ?GET("/")))),
    Events = ?TRUNK:output(Trunk),
    ?assertMatch({<<"HTTP/1.1 503 ", _/binary>>, closed}, ?TRUNK:content(New, Events)),
    ?assertEqual({<<>>, open}, ?TRUNK:content(Id, Events)),
    ok = gen_tcp:send(Socket, ?OK),
    {Answered, _} = ?TRUNK:output(Trunk, Id),
    ?assertEqual(<<?OK>>, Answered).

%% Confirms that a drain closes connections that wait for a request, and leaves no answer in flight.
drain_closes_what_is_between_requests(_Config) ->
    {Trunk, Socket, Id} = connect(?GET("/")),
    {ok, _} = gen_tcp:recv(Socket, 0, 0),
    ok = gen_tcp:send(Socket, ?OK),
    Reader = spawn_monitor(fun() -> exit(gen_tcp:recv(Socket, 0)) end),
    ?TRUNK:waiters(Trunk, 1),
    ok = megaphone_nif:drain(Trunk),
    ?assertEqual({error, closed}, ended(Reader)),
    ?assertEqual({<<?OK>>, closed}, ?TRUNK:output(Trunk, Id)),
    ?assertEqual([], megaphone_nif:in_flight(Trunk)).

%% Confirms that a connection above max_connections gets 503 and a close, and that one more fits after
%% one has ended.
full_trunk_answers_503(_Config) ->
    Trunk = ?TRUNK:open(#{content => http, max_connections => 2}),
    [First, _Second] = [?TRUNK:connect(Trunk, ?TRUNK:id(N), ?GET("/")) || N <- [1, 2]],
    Refused = ?TRUNK:id(3),
    ?assertEqual({ok, [], []}, ?TRUNK:feed(Trunk, ?TRUNK:frame(Refused, ?GET("/")))),
    {Answer, closed} = ?TRUNK:output(Trunk, Refused),
    ?assertMatch(<<"HTTP/1.1 503 Service Unavailable\r\n", _/binary>>, Answer),
    [Head, Body] = binary:split(Answer, <<"\r\n\r\n">>),
    Length = ["Content-Length: ", integer_to_list(byte_size(Body)), "\r\n"],
    ?assertNotEqual(nomatch, binary:match(Head, iolist_to_binary(Length))),
    ?assertNotEqual(nomatch, binary:match(Head, <<"Retry-After: ">>)),
    ?assertMatch(#{connections := 2, errors := #{max_connections := 1}}, ?TRUNK:status(Trunk)),
    ok = gen_tcp:close(First),
    _Fits = ?TRUNK:connect(Trunk, ?TRUNK:id(4), ?GET("/")),
    ?assertMatch(#{connections := 2}, ?TRUNK:status(Trunk)).

%% Confirms that a feed names the owners whose client went while they were at work, and no others: those
%% in recv or active see it themselves.
close_in_flight_names_the_owner(_Config) ->
    Test = self(),
    %% Its reader would never be named.
    _Reader = spawn_link(fun() ->
                                 Test ! {opened, ?TRUNK:open(#{content => http})},
                                 receive never -> ok end
                         end),
    Trunk = receive {opened, Opened} -> Opened end,
    [Busy, Active, Reading] = Ids = [?TRUNK:id(N) || N <- [1, 2, 3]],
    [BusySocket, ActiveSocket, ReadingSocket] = [?TRUNK:connect(Trunk, Id, ?GET("/")) || Id <- Ids],
    [{ok, _} = gen_tcp:recv(Socket, 0, 0) || Socket <- [BusySocket, ActiveSocket, ReadingSocket]],
    ok = inet:setopts(ActiveSocket, [{active, once}]),
    Reader = spawn_monitor(fun() -> exit(gen_tcp:recv(ReadingSocket, 0)) end),
    ?TRUNK:waiters(Trunk, 1),
    ?assertEqual({ok, [], [self()]}, ?TRUNK:feed(Trunk, ?TRUNK:close_frame(Busy))),
    ?assertEqual({ok, [], []}, ?TRUNK:feed(Trunk, [?TRUNK:close_frame(Active),
                                                   ?TRUNK:close_frame(Reading)])),
    ?assertEqual({error, closed}, ended(Reader)),
    ?assertEqual([{tcp_closed, ActiveSocket}], mailbox()).

%% A connection in a trunk of its own, opened by these bytes.
connect(Content) ->
    Trunk = ?TRUNK:open(#{content => http}),
    Id = ?TRUNK:id(1),
    {Trunk, ?TRUNK:connect(Trunk, Id, Content), Id}.

pieces(Data, Size) when byte_size(Data) =< Size -> [Data];
pieces(Data, Size) ->
    <<Piece:Size/binary, Rest/binary>> = Data,
    [Piece | pieces(Rest, Size)].
