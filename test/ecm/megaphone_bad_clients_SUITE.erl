%% What no client should send, at each of the ECM's listeners: its sender gets an error that names it, others
%% notice nothing, and the ECM's memory stays small.
-module(megaphone_bad_clients_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([garbage/1, garbage_for_tls/1, half_a_hello/1, billion_laughs/1, oversize_stanza/1, oversize_frame/1,
         depth/1, invalid_utf8/1, slow_heads/1, slow_frames/1, slow_stanzas/1, steady_talk_is_not_slow/1,
         many_unfinished_stanzas/1]).
-export([bosh_bodies_that_are_none/1, bosh_bodies_in_a_session/1, bosh_oversize_bodies/1, bosh_slow_requests/1,
         bosh_many_unfinished_bodies/1]).

-import(megaphone_test_entrances, [address/2, target/2, login/3]).

-define(WS, megaphone_test_websocket).
-define(HEADER, "<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
                "xmlns:stream='http://etherx.jabber.org/streams' version='1.0' to='localhost'>").
-define(MIB, 1048576).
%% How much the ECM may grow for what any one case sends.
-define(GROWTH, (64 * ?MIB)).
-define(TIMEOUT, 10_000).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [garbage, garbage_for_tls, half_a_hello, billion_laughs, oversize_stanza, oversize_frame, depth,
     invalid_utf8, slow_heads, slow_frames, slow_stanzas, steady_talk_is_not_slow, many_unfinished_stanzas,
     bosh_bodies_that_are_none, bosh_bodies_in_a_session, bosh_oversize_bodies, bosh_slow_requests,
     bosh_many_unfinished_bodies].

init_per_suite(Config) ->
    megaphone_test_entrances:start(Config, #{ecm => "[limits]\n"
                                                    "handshake_timeout = \"2s\"\n"
                                                    "head_timeout = \"2s\"\n"
                                                    "body_timeout = \"2s\"\n"}).

end_per_suite(Config) ->
    megaphone_test_stage:stop(Config).

%% Confirms that bytes that are no XML and no HTTP are answered in the listener's own protocol.
garbage(Config) ->
    unharmed(Config, fun() ->
        lists:foreach(
          fun({Kind, Expected}) ->
                  Socket = megaphone_test_http:connect(target(Config, Kind)),
                  ok = gen_tcp:send(Socket, [1, rand:bytes(1000)]),
                  assert_says(Expected, rest(Socket), Kind)
          end, [{xmpp, "<not-well-formed"}, {xmpp_off, "<not-well-formed"}, {xmpps, "<not-well-formed"},
                {http, "^HTTP/1.1 400 "}, {https, "^HTTP/1.1 400 "}])
    end).

%% Confirms that what is no TLS gets an alert (RFC 8446, 6), also after STARTTLS.
garbage_for_tls(Config) ->
    unharmed(Config, fun() ->
        lists:foreach(fun(Kind) ->
                              Socket = before_tls(Config, Kind),
                              ok = gen_tcp:send(Socket, ["no TLS", rand:bytes(1000)]),
                              ?assertMatch(<<21, 3, _/binary>>, rest(Socket), Kind)
                      end, [https, xmpps, xmpp])
    end).

%% Confirms that a client that stops in the midst of its ClientHello is given up in time.
half_a_hello(Config) ->
    unharmed(Config, fun() ->
        Sockets = [{Kind, before_tls(Config, Kind)} || Kind <- [https, xmpps, xmpp]],
        [ok = gen_tcp:send(Socket, half_hello()) || {_, Socket} <- Sockets],
        [rest(Socket) || {_, Socket} <- Sockets]
    end).

%% Confirms that no document type is read, so that entities can't grow.
billion_laughs(Config) ->
    Laughs = laughs(),
    Message = "<message><body>&a9;</body></message>",
    unharmed(Config, fun() ->
        lists:foreach(fun(Kind) ->
                              Socket = megaphone_test_http:connect(target(Config, Kind)),
                              ok = gen_tcp:send(Socket, ["<?xml version='1.0'?>", Laughs, ?HEADER, Message]),
                              assert_says("<restricted-xml", rest(Socket), Kind)
                      end, [xmpp, xmpp_off, xmpps]),
        lists:foreach(fun(Kind) ->
                              assert_stream_error("restricted-xml", Kind, user(Config, Kind), [Laughs, Message]),
                              assert_stream_error("restricted-xml", Kind, user(Config, Kind), Message)
                      end, [xmpp_off, xmpps, http, https])
    end).

laughs() ->
    ["<!DOCTYPE a [<!ENTITY a0 'ha'>",
     [["<!ENTITY a", integer_to_list(N), " '", lists:duplicate(10, ["&a", integer_to_list(N - 1), ";"]), "'>"]
      || N <- lists:seq(1, 9)], "]>"].

%% Confirms that a stanza that would be a hundred MiB ends its stream long before that.
oversize_stanza(Config) ->
    unharmed(Config, fun() ->
        lists:foreach(
          fun(Kind) ->
                  #{state := #{socket := Socket}} = user(Config, Kind),
                  ok = gen_tcp:send(Socket, "<message><body>"),
                  {Sent, Answer} = pour(Socket, 0),
                  ct:pal("~ts: told so after ~b KiB", [Kind, Sent div 1024]),
                  assert_says("<policy-violation.*longer than 1048576 bytes", [Answer, rest(Socket)], Kind)
          end, [xmpp_off, xmpps])
    end).

%% Confirms the same for a WebSocket message, in one frame and in many.
oversize_frame(Config) ->
    unharmed(Config, fun() ->
        lists:foreach(
          fun(Kind) ->
                  #{state := One} = user(Config, Kind),
                  ok = ?WS:send_bytes(One, <<1:1, 0:3, 1:4, 1:1, 127:7, (100 * ?MIB):64, 1, 2, 3, 4>>),
                  assert_says("<policy-violation.*more than 1048576 bytes", rest(One), Kind),
                  #{state := Many} = user(Config, Kind),
                  Frame = ?WS:frame({more, continuation}, binary:copy(<<"x">>, 60_000), <<1, 2, 3, 4>>),
                  ok = ?WS:send_bytes(Many, [?WS:frame({more, text}, "<message>", <<1, 2, 3, 4>>),
                                             lists:duplicate(20, Frame)]),
                  assert_says("<policy-violation.*more than 1048576 bytes", rest(Many), Kind)
          end, [http, https])
    end).

%% Confirms that a hundred thousand elements inside one another are refused at the limit.
depth(Config) ->
    Deep = binary:copy(<<"<a>">>, 100_000),
    unharmed(Config, fun() ->
        [assert_stream_error("policy-violation.*elements are nested more than 512 deep", Kind, user(Config, Kind), Deep)
         || Kind <- [xmpp_off, xmpps, http, https]]
    end).

%% Confirms that what is no UTF-8 is refused: in a stream as RFC 6120 (11.6) has it, in a WebSocket by its
%% close code (RFC 6455, 8.1).
invalid_utf8(Config) ->
    Message = <<"<message><body>", 16#c3, 16#28, "</body></message>">>,
    unharmed(Config, fun() ->
        [assert_stream_error("not-well-formed.*invalid UTF-8", Kind, user(Config, Kind), Message)
         || Kind <- [xmpp_off, xmpps]],
        [begin
             #{state := State} = user(Config, Kind),
             {ok, Sent} = ?WS:send_frame(State, {fin, text}, Message, <<1, 2, 3, 4>>),
             {ok, {fin, close}, <<Code:16, Text/binary>>, _} = ?WS:recv_frame(Sent, ?TIMEOUT),
             ?assertEqual(1007, Code),
             assert_says("not UTF-8", Text, Kind)
         end || Kind <- [http, https]]
    end).

%% Confirms that a client that sends its head, its header or its handshake byte by byte runs out of time.
slow_heads(Config) ->
    Header = "<?xml version='1.0'?><stream:stream to='",
    unharmed(Config, fun() ->
        Slow = [{http, megaphone_test_http:connect(target(Config, http)), "GET /ws HTTP/1.1\r\nX: ",
                 "^HTTP/1.1 408 "},
                {https, megaphone_test_http:connect(target(Config, https)), "GET /ws HTTP/1.1\r\nX: ",
                 "^HTTP/1.1 408 "},
                {https, before_tls(Config, https), half_hello(), ""},
                {xmpps, before_tls(Config, xmpps), half_hello(), ""}
                | [{Kind, megaphone_test_http:connect(target(Config, Kind)), Header, "<connection-timeout"}
                   || Kind <- [xmpp, xmpp_off, xmpps]]],
        [ok = gen_tcp:send(Socket, Start) || {_, Socket, Start, _} <- Slow],
        [assert_says(Expected, Answer, Kind)
         || {{Kind, _, _, Expected}, Answer} <- drip(Slow, [Socket || {_, Socket, _, _} <- Slow])]
    end).

%% Confirms the same for the frame of a WebSocket client that is logged in.
slow_frames(Config) ->
    unharmed(Config, fun() ->
        Frame = <<1:1, 0:3, 1:4, 1:1, 126:7, 60_000:16, 1, 2, 3, 4>>,
        slow(Config, [http, https], Frame, "<policy-violation.*a message took too long to arrive")
    end).

%% Confirms the same for the stanza of a client by TCP that is logged in.
slow_stanzas(Config) ->
    unharmed(Config, fun() ->
        slow(Config, [xmpp_off, xmpps], "<message><body>", "<connection-timeout.*a stanza took too long to arrive")
    end).

slow(Config, Kinds, Start, Expected) ->
    Slow = [{Kind, maps:get(socket, maps:get(state, user(Config, Kind)))} || Kind <- Kinds],
    [ok = gen_tcp:send(Socket, Start) || {_, Socket} <- Slow],
    [assert_says(Expected, Answer, Kind)
     || {{Kind, _}, Answer} <- drip(Slow, [Socket || {_, Socket} <- Slow])].

%% Confirms that a client with a stanza under way all the time is not slow as long as each one is soon
%% complete.
steady_talk_is_not_slow(Config) ->
    Talkers = [begin
                   Client = user(Config, Kind),
                   {First, Second} = halves(Kind, Client),
                   ok = send(Client, First),
                   {Client, [Second, First]}
               end || Kind <- [http, xmpp_off]],
    talk_until(erlang:monotonic_time(millisecond) + 3000, Talkers).

%% Each turn completes each client's message to itself and begins the next.
talk_until(End, Talkers) ->
    Turn = [begin
                ok = send(Client, Bytes),
                {{_, <<"steady">>}, Received} = megaphone_test_xmpp:recv_message(Client),
                {Received, Bytes}
            end || {Client, Bytes} <- Talkers],
    case erlang:monotonic_time(millisecond) < End of
        true -> talk_until(End, Turn);
        false -> [ok = megaphone_test_xmpp:drop(Client) || {Client, _} <- Turn]
    end.

halves(Kind, Client) ->
    Message = ["<message xmlns='jabber:client' type='chat' to='", megaphone_test_xmpp:jid(Client),
               "'><body>steady</body></message>"],
    Bytes = iolist_to_binary(case Kind of
                                 http -> ?WS:frame({fin, text}, Message, <<1, 2, 3, 4>>);
                                 xmpp_off -> Message
                             end),
    split_binary(Bytes, byte_size(Bytes) div 2).

%% Confirms that stanzas that are nearly as large as they may be and are never finished cost what they
%% hold, and not much more.
many_unfinished_stanzas(Config) ->
    Count = 10,
    Size = ?MIB - 1000,
    unharmed(Config, fun() ->
        Text = binary:copy(<<"x">>, Size),
        [begin
             #{state := #{socket := Socket}} = user(Config, Kind),
             Start = case Kind of
                         http -> ?WS:frame({more, text}, ["<message><body>", Text], <<1, 2, 3, 4>>);
                         xmpp_off -> ["<message><body>", Text]
                     end,
             ok = gen_tcp:send(Socket, Start)
         end || _ <- lists:seq(1, Count), Kind <- [http, xmpp_off]]
    end).

%% Confirms that a BOSH request whose body is no <body/> is answered with the condition that fits
%% (XEP-0124, 17.2), as fast as any other.
bosh_bodies_that_are_none(Config) ->
    unharmed(Config, fun() ->
        [begin
             Connection = megaphone_test_http:connect(target(Config, Kind)),
             #{status := 200, body := Answer} = megaphone_test_http:request(Connection, "POST", "/bosh", [], Body),
             assert_terminated(Condition, Answer, {Kind, Name}),
             megaphone_test_http:close(Connection)
         end || Kind <- [http, https], {Name, Body, Condition} <- bad_bodies("rid='1' to='localhost'")]
    end).

%% Confirms the same for a client that is logged in. Its session goes on, for the answer may be to anybody's
%% request.
bosh_bodies_in_a_session(Config) ->
    unharmed(Config, fun() ->
        [begin
             User = megaphone_test_stage:user(Config, <<"user">>),
             #{state := #{sid := Sid, rid := Rid}} = Client =
                 megaphone_test_xmpp:login(megaphone_test_bosh, target(Config, Kind), User),
             Attributes = ["sid='", Sid, "' rid='", integer_to_list(Rid), "'"],
             [begin
                  Connection = megaphone_test_http:connect(target(Config, Kind)),
                  #{status := 200, body := Answer} =
                      megaphone_test_http:request(Connection, "POST", "/bosh", [], Body),
                  assert_terminated(Condition, Answer, {Kind, Name}),
                  megaphone_test_http:close(Connection)
              end || {Name, Body, Condition} <- bad_bodies(Attributes)],
             ok = megaphone_test_xmpp:logout(Client)
         end || Kind <- [http, https]]
    end).

%% What no BOSH client should send, though somebody unknown may send as much. The attributes make a request
%% of it.
bad_bodies(Attributes) ->
    Body = fun(Payload) -> [body_start(Attributes), Payload, "</body>"] end,
    [{"garbage", [1, rand:bytes(1000)], "bad-request"},
     {"an HTML page", "<!DOCTYPE html><html></html>", "bad-request"},
     {"another element", "<message xmlns='jabber:client'/>", "bad-request"},
     {"half a body", body_start(Attributes), "bad-request"},
     {"a billion laughs", [laughs(), Body("<message>&a9;</message>")], "bad-request"},
     {"an unknown entity", Body("<message>&a9;</message>"), "bad-request"},
     {"depth", Body(binary:copy(<<"<a>">>, 20_000)), "policy-violation"},
     {"too many stanzas", Body(binary:copy(<<"<a/>">>, 15_000)), "policy-violation"},
     {"invalid UTF-8", Body(<<"<message xmlns='jabber:client'>", 16#c3, 16#28, "</message>">>), "bad-request"}].

body_start(Attributes) ->
    ["<body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0' ",
     Attributes, ">"].

assert_terminated(Condition, Answer, What) ->
    Body = megaphone_test_xml:parse(Answer),
    ?assertEqual({<<"terminate">>, list_to_binary(Condition)},
                 {megaphone_test_xml:attribute(<<"type">>, Body), megaphone_test_xml:attribute(<<"condition">>, Body)},
                 What).

%% Confirms that a body of a hundred MiB is refused by its length, and in chunks as soon as it is too long.
bosh_oversize_bodies(Config) ->
    unharmed(Config, fun() ->
        [begin
             Told = megaphone_test_http:connect(target(Config, Kind)),
             ok = gen_tcp:send(Told, ["POST /bosh HTTP/1.1\r\nHost: localhost\r\nContent-Length: ",
                                      integer_to_list(100 * ?MIB), "\r\n\r\n"]),
             assert_says("^HTTP/1.1 413 ", rest(Told), Kind),
             Untold = megaphone_test_http:connect(target(Config, Kind)),
             ok = gen_tcp:send(Untold, ["POST /bosh HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
                                        integer_to_list(100 * ?MIB, 16), "\r\n", body_start("rid='1' to='localhost'")]),
             {Sent, Answer} = pour(Untold, 0),
             ct:pal("~ts: told so after ~b KiB", [Kind, Sent div 1024]),
             assert_says("^HTTP/1.1 413 ", [Answer, rest(Untold)], Kind)
         end || Kind <- [http, https]]
    end).

%% Confirms that a BOSH client that sends its head, its body or its chunks byte by byte runs out of time.
bosh_slow_requests(Config) ->
    unharmed(Config, fun() ->
        Starts = ["POST /bosh HTTP/1.1\r\nX: ",
                  ["POST /bosh HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n", body_start("rid='1'")],
                  ["POST /bosh HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nFFFF\r\n",
                   body_start("rid='1'")]],
        Slow = [{Kind, megaphone_test_http:connect(target(Config, Kind)), Start}
                || Kind <- [http, https], Start <- Starts],
        [ok = gen_tcp:send(Socket, Start) || {_, Socket, Start} <- Slow],
        [assert_says("^HTTP/1.1 408 ", Answer, {Kind, Start})
         || {{Kind, _, Start}, Answer} <- drip(Slow, [Socket || {_, Socket, _} <- Slow])]
    end).

%% Confirms that bodies that are nearly as large as they may be and are never finished cost what they hold,
%% and not much more; those of clients that have not logged in are refused, and cost nothing.
bosh_many_unfinished_bodies(Config) ->
    Unfinished = fun(Attributes, Size) ->
                         Socket = megaphone_test_http:connect(target(Config, http)),
                         Start = ["POST /bosh HTTP/1.1\r\nHost: localhost\r\nContent-Length: ",
                                  integer_to_list(2 * ?MIB), "\r\n\r\n", body_start(Attributes)],
                         ok = gen_tcp:send(Socket, [Start, binary:copy(<<"x">>, Size)]),
                         Socket
                 end,
    unharmed(Config, fun() ->
        Strangers = [Unfinished("rid='1' to='localhost'", 60_000) || _ <- lists:seq(1, 100)],
        [assert_says("^HTTP/1.1 413 ", rest(Socket), "a stranger") || Socket <- Strangers],
        [begin
             User = megaphone_test_stage:user(Config, <<"user">>),
             #{state := #{sid := Sid, rid := Rid}} =
                 megaphone_test_xmpp:login(megaphone_test_bosh, target(Config, http), User),
             Socket = Unfinished(["sid='", Sid, "' rid='", integer_to_list(Rid), "'"], 2 * ?MIB - 10_000),
             ?assertEqual({error, timeout}, gen_tcp:recv(Socket, 0, 0))
         end || _ <- lists:seq(1, 10)]
    end).

%% Three who chat while the function runs notice nothing of it, and the ECM does not grow by much.
unharmed(Config, Attack) ->
    Alice = user(Config, xmpp_off),
    Bob = user(Config, http),
    Carol = megaphone_test_xmpp:login(megaphone_test_bosh, target(Config, http),
                                      megaphone_test_stage:user(Config, <<"carol">>)),
    Before = memory(Config, "VmRSS"),
    _ = Attack(),
    {Alice1, Bob1} = megaphone_test_xmpp:chat(Alice, Bob, 3),
    {Bob2, Carol1} = megaphone_test_xmpp:chat(Bob1, Carol, 3),
    Grown = memory(Config, "VmHWM") - Before,
    ct:pal("the ECM has grown by ~b KiB at most, from ~b KiB", [Grown div 1024, Before div 1024]),
    ?assert(Grown < ?GROWTH, {Grown, ?GROWTH}),
    ok = megaphone_test_xmpp:logout(Alice1),
    ok = megaphone_test_xmpp:logout(Bob2),
    ok = megaphone_test_xmpp:logout(Carol1).

user(Config, Kind) ->
    login(Config, Kind, megaphone_test_stage:user(Config, <<"user">>)).

%% A connection on which TLS has to begin.
before_tls(Config, xmpp) ->
    Socket = megaphone_test_http:connect(address(Config, xmpp)),
    ok = gen_tcp:send(Socket, [?HEADER, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"]),
    await_proceed(Socket, <<>>);
before_tls(Config, Kind) ->
    megaphone_test_http:connect(address(Config, Kind)).

await_proceed(Socket, Before) ->
    {ok, Bytes} = gen_tcp:recv(Socket, 0, ?TIMEOUT),
    All = <<Before/binary, Bytes/binary>>,
    case re:run(All, "<proceed [^>]*/>$", [{capture, none}]) of
        match -> Socket;
        nomatch -> await_proceed(Socket, All)
    end.

%% The first 50 bytes of 512 (RFC 8446, 5.1 and 4.1.2).
half_hello() ->
    <<22, 3, 1, 512:16, 1, 508:24, 3, 3, (rand:bytes(39))/binary>>.

send(#{state := #{socket := Socket}}, Bytes) ->
    gen_tcp:send(Socket, Bytes).

%% Sends text until there is an answer, up to a hundred MiB.
pour(Socket, Sent) when Sent < 100 * ?MIB ->
    Text = binary:copy(<<"x">>, 65536),
    _ = gen_tcp:send(Socket, Text),
    case gen_tcp:recv(Socket, 0, 1) of
        {ok, Answer} -> {Sent + byte_size(Text), Answer};
        {error, timeout} -> pour(Socket, Sent + byte_size(Text))
    end;
pour(_Socket, Sent) ->
    ct:fail("expected an answer after much less than ~b bytes", [Sent]).

%% Sends a byte to each of them by turns until all are closed; what each has answered, beside its row.
drip(Rows, Sockets) ->
    Answers = drip_to([{Socket, <<>>} || Socket <- Sockets], #{},
                      erlang:monotonic_time(millisecond) + 3 * ?TIMEOUT),
    [{Row, maps:get(Socket, Answers)} || {Row, Socket} <- lists:zip(Rows, Sockets)].

drip_to([], Answers, _Deadline) ->
    Answers;
drip_to(Open, Answers, Deadline) ->
    erlang:monotonic_time(millisecond) < Deadline orelse
        ct:fail("expected all connections to be closed, ~b are not", [length(Open)]),
    {Left, Closed} = lists:partition(
                       fun({_, Answer}) -> is_binary(Answer) end,
                       [{Socket, drop_to(Socket, Answer)} || {Socket, Answer} <- Open]),
    drip_to(Left, maps:merge(Answers, maps:from_list([{S, A} || {S, {closed, A}} <- Closed])), Deadline).

drop_to(Socket, Answer) ->
    %% To one who has answered, nothing more is sent: a reset could overtake the answer.
    _ = Answer =:= <<>> andalso gen_tcp:send(Socket, "x"),
    case gen_tcp:recv(Socket, 0, 10) of
        {ok, Bytes} -> <<Answer/binary, Bytes/binary>>;
        {error, timeout} -> Answer;
        {error, _} -> {closed, Answer}
    end.

assert_stream_error(Expected, Kind, #{state := State}, Document) when Kind =:= http; Kind =:= https ->
    {ok, Sent} = ?WS:send(State, Document),
    assert_says(["<", Expected], rest_of_websocket(Sent), Kind);
assert_stream_error(Expected, Kind, #{state := #{socket := Socket}}, Document) ->
    _ = gen_tcp:send(Socket, Document),
    assert_says(["<", Expected], rest(Socket), Kind).

assert_says(Expected, Answer, Kind) ->
    case re:run(Answer, Expected, [{capture, none}, dotall]) of
        match -> ok;
        nomatch -> ct:fail("~ts: expected ~ts, got ~p", [Kind, Expected, iolist_to_binary([Answer])])
    end.

%% The texts until the server's close frame, which is answered.
rest_of_websocket(State) ->
    case ?WS:recv_message(State, ?TIMEOUT) of
        {ok, text, Text, Received} ->
            [Text | rest_of_websocket(Received)];
        {ok, close, Payload, Received} ->
            {ok, Answered} = ?WS:send_frame(Received, {fin, close}, Payload, <<1, 2, 3, 4>>),
            <<>> = rest(Answered),
            []
    end.

%% All that comes until the server closes the connection; of a WebSocket, without looking at frames.
rest(#{socket := Socket, buffer := Buffer}) ->
    <<Buffer/binary, (rest(Socket))/binary>>;
rest(Socket) ->
    case gen_tcp:recv(Socket, 0, ?TIMEOUT) of
        {ok, Bytes} -> <<Bytes/binary, (rest(Socket))/binary>>;
        {error, timeout} -> ct:fail("expected the server to close the connection");
        {error, _} -> <<>>
    end.

%% In bytes (proc(5), status).
memory(Config, Name) ->
    OsPid = megaphone_test_ecm:os_pid(megaphone_test_stage:ecm(Config)),
    {ok, Status} = file:read_file(["/proc/", OsPid, "/status"]),
    {match, [Kilobytes]} = re:run(Status, [Name, ":\\s+(\\d+) kB"], [{capture, all_but_first, binary}]),
    1024 * binary_to_integer(Kilobytes).
