%% How clients leave: what they sent before counts, and what they did not get is not lost. Each way to leave,
%% by each transport, with documents before it, half of one, a shaper that delays them, or a window that is
%% shut. Bob, who hears the messages, is on a trunk of his own.
-module(megaphone_ends_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([messages_before_the_end/1, resumable_messages_before_the_end/1, messages_the_shaper_delays/1,
         messages_that_wait_for_a_window/1, messages_by_bosh/1, messages_by_bosh_that_wait_for_a_window/1,
         unread_output_when_it_leaves/1, output_of_a_resumable_client/1, a_client_that_reads_nothing/1,
         output_that_is_no_message/1, program_ends/1, program_is_killed/1, trunk_is_lost/1]).

-import(megaphone_test_xmpp, [jid/1]).

%% Those by TCP and WebSocket. The TLS of `xmpp' ends without a word, that of `https' and `xmpps' with one.
-define(KINDS, [xmpp_off, xmpp, xmpps, http, https]).
-define(COUNT, 20).
%% Linux's numbers.
-define(IPPROTO_TCP, 6).
-define(TCP_INFO, 11).
-define(LAST, <<"this is the last one">>).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [messages_before_the_end, resumable_messages_before_the_end, messages_the_shaper_delays,
     messages_that_wait_for_a_window, messages_by_bosh, messages_by_bosh_that_wait_for_a_window,
     unread_output_when_it_leaves, output_of_a_resumable_client, a_client_that_reads_nothing,
     output_that_is_no_message, trunk_is_lost, program_ends, program_is_killed].

init_per_suite(Config) ->
    BobsPort = megaphone_test_port:free(),
    megaphone_test_entrances:start(
      [{bobs_port, BobsPort} | Config],
      #{top => "shaper:\n"
               "  slow:\n"
               "    rate: 3000\n"
               "    burst_size: 3000\n"
               "  large:\n"
               "    rate: 300000\n"
               "    burst_size: 100000\n"
               "acl:\n"
               "  slow:\n"
               "    user_glob: \"slow-*\"\n"
               "  large:\n"
               "    user_glob: \"large-*\"\n"
               "shaper_rules:\n"
               "  by_name:\n"
               "    slow: slow\n"
               "    large: large\n",
        options => "    send_timeout: 3\n"
                   "    c2s:\n"
                   "      shaper: by_name\n",
        more_listeners => [megaphone_test_config:listener(megaphone_listener, BobsPort, "    ip: \"127.0.0.1\"\n")],
        modules => "  mod_last: {}\n"
                   "  mod_offline: {}\n"
                   "  mod_carboncopy: {}\n",
        ecm => "[bosh]\nmax_inactivity = \"1s\"\n[limits]\nsend_timeout = \"8s\"\n"}).

end_per_suite(Config) ->
    megaphone_test_stage:stop(Config).

init_per_testcase(_, Config) ->
    ok = megaphone_test_ecm:ensure_running(ecm(Config)),
    ok = megaphone_test_entrances:await_open(Config),
    Trunk = megaphone_test_yamux:connect({{127, 0, 0, 1}, proplists:get_value(bobs_port, Config)}),
    [{trunk, Trunk} | Config].

%% Nothing is left of those who have left, but their sessions that may be resumed.
end_per_testcase(_, Config) ->
    Open = fun() -> maps:get(connections, call(Config, megaphone, status, [])) end,
    megaphone_test_yamux:close(proplists:get_value(trunk, Config)),
    true = megaphone_test_wait:until(
             fun() -> io_lib:format("no connection in any trunk, there are ~b", [Open()]) end,
             fun() -> Open() =:= 0 end),
    ok.

%% Confirms that all messages arrive that a client sent before it left, however it left, and then that it did.
messages_before_the_end(Config) ->
    Bob = login_bob(Config),
    _ = [messages_before(Config, Kind, Way, Pieces, Bob)
         || Kind <- ?KINDS, Way <- ways(Kind), Pieces <- [one, many]],
    ok.

messages_before(Config, Kind, Way, Pieces, Bob) ->
    ct:pal("~p leaves by ~p, its messages in ~p", [Kind, Way, Pieces]),
    Alice = greet(login(Config, Kind, <<"alice">>), Bob),
    Bodies = bodies(?COUNT),
    ok = say(Alice, jid(Bob), Bodies, Pieces),
    ok = leave(Way, Alice),
    hear(Bob, jid(Alice), Bodies),
    ?assertEqual(call(Config, xmpp_stream_in, format_error, [reason(Way)]), last_status(Config, jid(Alice))),
    ok = megaphone_test_xmpp:drop(Alice).

%% Confirms the same of a client with stream management: the server has handled all, and it can be resumed.
resumable_messages_before_the_end(Config) ->
    Bob = megaphone_test_resumption:without(login_bob(Config)),
    lists:foldl(
      fun({Kind, Way}, Listener) ->
              ct:pal("~p leaves by ~p", [Kind, Way]),
              Name = megaphone_test_stage:user(Config, <<"alice">>),
              Alice = megaphone_test_resumption:enable(megaphone_test_entrances:login(Config, Kind, Name)),
              Before = length(megaphone_test_resumption:received(Listener)),
              To = megaphone_test_resumption:jid(Bob),
              Sent = lists:foldl(fun(Body, Client) -> megaphone_test_resumption:send_message(Client, To, Body) end,
                                 Alice, bodies(?COUNT)),
              ok = leave(Way, maps:get(client, Sent)),
              Heard = megaphone_test_resumption:recv_messages(Listener, Before + ?COUNT),
              ok = megaphone_test_xmpp:drop(maps:get(client, Sent)),
              New = megaphone_test_entrances:authenticate(Config, Kind, Name),
              #{unacknowledged := []} = Back = megaphone_test_resumption:resume(Sent, New),
              {alive, Done} = megaphone_test_resumption:ping(
                                megaphone_test_resumption:send_message(Back, To, ?LAST)),
              ok = megaphone_test_resumption:logout(Done),
              All = megaphone_test_resumption:recv_messages(Heard, Before + ?COUNT + 1),
              ?assertEqual(bodies(?COUNT) ++ [?LAST],
                           lists:nthtail(Before, megaphone_test_resumption:received(All))),
              All
      end, Bob, [{Kind, Way} || Kind <- ?KINDS, Way <- ways(Kind), Way =/= end_of_stream, Way =/= no_xml]).

%% Confirms the same where the shaper reads the messages one by one, long after the client has left.
messages_the_shaper_delays(Config) ->
    together(Config, <<"slow">>, bodies(?COUNT, 500), fun(Kind) -> ways(Kind) end).

%% Confirms the same where they wait in the ECM, and in the kernel, until ejabberd takes them.
messages_that_wait_for_a_window(Config) ->
    Ways = fun(Kind) -> ways(Kind) -- [reset, no_xml, no_frame] end,
    together(Config, <<"large">>, bodies(80, 10_000), Ways).

%% All of them at once: the shaper takes its time for each.
together(Config, Name, Bodies, Ways) ->
    Clients = [begin
                   Bob = login_bob(Config),
                   Alice = greet(login(Config, Kind, Name), Bob),
                   ok = say(Alice, jid(Bob), Bodies, one),
                   ok = leave(Way, Alice),
                   {Kind, Way, Alice, Bob}
               end || Kind <- ?KINDS, Way <- Ways(Kind)],
    [begin
         ct:pal("~p left by ~p", [Kind, Way]),
         hear(Bob, jid(Alice), Bodies),
         ok = megaphone_test_xmpp:drop(Alice)
     end || {Kind, Way, Alice, Bob} <- Clients],
    ok.

%% Confirms the same of a BOSH client that ends its session, or asks for nothing any more.
messages_by_bosh(Config) ->
    Bob = login_bob(Config),
    Bodies = bodies(?COUNT),
    [begin
         Alice = greet(login_bosh(Config, <<"alice">>), Bob),
         Stanzas = [message(jid(Bob), Body) || Body <- Bodies],
         ok = megaphone_test_bosh:drop(megaphone_test_bosh:post(maps:get(state, Alice), Attributes, Stanzas)),
         hear(Bob, jid(Alice), Bodies)
     end || Attributes <- [[], [{"type", "terminate"}]]],
    ok.

messages_by_bosh_that_wait_for_a_window(Config) ->
    Bodies = bodies(80, 10_000),
    Clients = [begin
                   Bob = login_bob(Config),
                   Alice = greet(login_bosh(Config, <<"large">>), Bob),
                   Stanzas = [message(jid(Bob), Body) || Body <- Bodies],
                   {First, Second} = lists:split(60, Stanzas),
                   Half = megaphone_test_bosh:post(maps:get(state, Alice), [], First),
                   ok = megaphone_test_bosh:drop(megaphone_test_bosh:post(Half, Attributes, Second)),
                   {Alice, Bob}
               end || Attributes <- [[], [{"type", "terminate"}]]],
    [hear(Bob, jid(Alice), Bodies) || {Alice, Bob} <- Clients],
    ok.

%% Confirms that of the messages for a client that does not read them each one is either in what it can still
%% read as it leaves, or an offline message.
unread_output_when_it_leaves(Config) ->
    [begin
         {Name, Alice, Bodies} = unread(Config, Kind, fun(Client) -> Client end),
         Pid = session(Config, jid(Alice)),
         ok = leave(half_close, Alice),
         Read = read_bodies(Alice, []),
         ok = megaphone_test_xmpp:drop(Alice),
         await_gone(Config, Pid),
         Offline = offline(Config, Name),
         ct:pal("~p: ~b were read, ~b are offline messages", [Kind, length(Read), length(Offline)]),
         ?assert(length(Read) > 0 andalso length(Offline) > 25, {Kind, length(Read), length(Offline)}),
         ?assert(Read ++ Offline =:= Bodies, Kind)
     end || Kind <- ?KINDS, lists:member(half_close, ways(Kind))],
    ok.

%% Confirms that one with stream management gets them when it has resumed its session.
output_of_a_resumable_client(Config) ->
    [begin
         {Name, #{client := Client} = Alice, Bodies} = unread(Config, Kind, fun megaphone_test_resumption:enable/1),
         ok = leave(reset, Client),
         New = megaphone_test_entrances:authenticate(Config, Kind, Name),
         Back = megaphone_test_resumption:resume(Alice, New),
         All = megaphone_test_resumption:recv_messages(Back, length(Bodies)),
         ?assert(megaphone_test_resumption:received(All) =:= Bodies, Kind),
         {alive, Done} = megaphone_test_resumption:ping(All),
         ok = megaphone_test_resumption:logout(Done),
         ?assertEqual([], offline(Config, Name))
     end || Kind <- ?KINDS],
    ok.

%% Confirms that a client that reads nothing is given up, and loses no more than the kernel's buffers had.
a_client_that_reads_nothing(Config) ->
    Clients = [{Kind, unread(Config, Kind, fun(Client) -> Client end)} || Kind <- ?KINDS],
    Sessions = [session(Config, jid(Alice)) || {_, {_, Alice, _}} <- Clients],
    [await_gone(Config, Pid) || Pid <- Sessions],
    [begin
         [First | _] = Offline = offline(Config, Name),
         ok = megaphone_test_xmpp:drop(Alice),
         ct:pal("~p: ~b of ~b are offline messages", [Kind, length(Offline), length(Bodies)]),
         ?assert(length(Offline) > 25, Kind),
         ?assert(lists:dropwhile(fun(Body) -> Body =/= First end, Bodies) =:= Offline, Kind)
     end || {Kind, {Name, Alice, Bodies}} <- Clients],
    ok.

%% Confirms that presence, carbon copies and what a room says come to no other client of the user.
output_that_is_no_message(Config) ->
    Name = megaphone_test_stage:user(Config, <<"alice">>),
    Bob = login_bob(Config),
    Away = greet(megaphone_test_entrances:login(Config, xmpp_off, Name), Bob),
    Carbons = {"set", "", "<enable xmlns='urn:xmpp:carbons:2'/>"},
    {_, Away1} = megaphone_test_xmpp:request(Away, Carbons),
    Here = megaphone_test_xmpp:send_presence(megaphone_test_entrances:login(Config, http, Name)),
    Bare = <<Name/binary, "@localhost">>,
    Filled = fill(Config, Bob, jid(Away1)),
    Bob0 = megaphone_test_xmpp:send(Bob, ["<presence xmlns='jabber:client' to='", jid(Away1), "'/>"]),
    Bob1 = megaphone_test_xmpp:send(Bob0, ["<message xmlns='jabber:client' type='groupchat' to='", jid(Away1),
                                           "'><body>in a room</body></message>"]),
    Here1 = megaphone_test_xmpp:send_message(Here, jid(Bob1), <<"a copy is for all of mine">>),
    {{_, <<"a copy is for all of mine">>}, Bob2} = megaphone_test_xmpp:recv_message(Bob1),
    Pid = session(Config, jid(Away1)),
    ok = leave(reset, Away1),
    await_gone(Config, Pid),
    _ = megaphone_test_xmpp:send_message(Bob2, Bare, ?LAST),
    %% What the other one did not get is for this one, up to the last message, and nothing else.
    Got = stanzas_to_the_last(Here1, []),
    Others = [Stanza || Stanza <- Got, not is_plain_message(Stanza),
                        megaphone_test_xml:attribute(<<"from">>, Stanza) =/= jid(Away1)],
    ?assertEqual([], Others),
    ?assert(length(Got) > 25 andalso length(Got) < length(Filled)).

%% Confirms that the messages arrive that clients have sent as the ECM is told to end, and no client's session
%% stays.
program_ends(Config) ->
    Bodies = bodies(?COUNT),
    Clients = [begin
                   Bob = login_bob(Config),
                   {Kind, greet(login(Config, Kind, Name), Bob), Bob}
               end || Kind <- ?KINDS, Name <- [<<"alice">>, <<"slow">>]],
    [ok = say(Alice, jid(Bob), Bodies, many) || {_, Alice, Bob} <- Clients],
    Ended = spawn_monitor(fun() -> ?assertEqual(0, megaphone_test_ecm:terminate(ecm(Config))) end),
    [begin
         ct:pal("~p", [Kind]),
         hear(Bob, jid(Alice), Bodies),
         ok = megaphone_test_xmpp:drop(Alice)
     end || {Kind, Alice, Bob} <- Clients],
    ?assertEqual(normal, megaphone_test_process:ended(Ended)).

%% Confirms that of an ECM that is killed the messages arrive that had come to ejabberd.
program_is_killed(Config) ->
    hold_and(Config, fun() -> ok = megaphone_test_ecm:kill(ecm(Config)) end).

%% Confirms the same of trunks that are lost.
trunk_is_lost(Config) ->
    hold_and(Config,
             fun() ->
                     Own = proplists:get_value(trunk, Config),
                     #{number := Mine} = megaphone_test_listeners:trunk_status(Config, Own),
                     [true = call(Config, erlang, exit, [Reader, kill])
                      || Number <- maps:get(trunk_numbers, call(Config, megaphone, status, [])) -- [Mine],
                         {ok, #{reader := Reader}} <- [call(Config, megaphone, status, [Number])]]
             end).

%% What the shaper holds back lies in ejabberd, all of it, when the end comes.
hold_and(Config, End) ->
    Bodies = bodies(?COUNT, 500),
    Clients = [begin
                   Bob = login_bob(Config),
                   {Kind, greet(login(Config, Kind, <<"slow">>), Bob), Bob}
               end || Kind <- ?KINDS],
    [ok = say(Alice, jid(Bob), Bodies, one) || {_, Alice, Bob} <- Clients],
    Buffered = fun() -> maps:get(buffered, call(Config, megaphone, status, [])) end,
    %% Some of it was read before.
    Least = length(Clients) * ?COUNT * 500 div 2,
    megaphone_test_wait:until("the messages in ejabberd", fun() -> Buffered() >= Least end),
    End(),
    [begin
         ct:pal("~p", [Kind]),
         hear(Bob, jid(Alice), Bodies),
         ok = megaphone_test_xmpp:drop(Alice)
     end || {Kind, Alice, Bob} <- Clients],
    ok.

%% Helpers.

%% How a client may leave: by the end of its connection, of its sending side alone, by a reset; in the middle of
%% a message; by what can't be read; in order, without waiting for the other side; by WebSocket's close frame.
ways(xmpp_off) -> [close, half_close, reset, half_a_message, no_xml, end_of_stream];
ways(Kind) when Kind =:= xmpp; Kind =:= xmpps -> [close, reset, half_a_message, no_xml, end_of_stream];
ways(http) -> [close, half_close, reset, half_a_message, no_frame, no_xml, end_of_stream, close_frame];
ways(https) -> [close, reset, half_a_message, no_frame, no_xml, end_of_stream, close_frame].

%% What ejabberd says of it, as of a client of its own.
reason(Way) when Way =:= no_xml; Way =:= end_of_stream -> {stream, reset};
reason(_) -> {socket, closed}.

leave(close, Client) ->
    megaphone_test_xmpp:drop(Client);
leave(half_close, #{state := #{socket := Socket}}) ->
    gen_tcp:shutdown(Socket, write);
leave(reset, Client) ->
    Tcp = tcp_socket(Client),
    await_acknowledged(Tcp),
    ok = inet:setopts(Tcp, [{linger, {true, 0}}]),
    megaphone_test_xmpp:drop(Client);
leave(half_a_message, #{transport := megaphone_test_c2s} = Client) ->
    ok = send_bytes(Client, "<message to='bob@localhost'><body>hal"),
    leave(close, Client);
leave(half_a_message, Client) ->
    Frame = iolist_to_binary(frame("<message xmlns='jabber:client' to='bob@localhost'/>")),
    ok = send_bytes(Client, binary:part(Frame, 0, 30)),
    leave(close, Client);
leave(no_xml, #{transport := megaphone_test_c2s} = Client) ->
    send_bytes(Client, "<message to='bob@localhost'></presence>");
leave(no_xml, Client) ->
    send_bytes(Client, frame("<message to='bob@localhost'></presence>"));
leave(no_frame, Client) ->
    send_bytes(Client, <<16#ff, 16#ff, 0, 0, 0, 0, 0, 0>>);
leave(end_of_stream, #{transport := megaphone_test_c2s} = Client) ->
    ok = send_bytes(Client, "</stream:stream>"),
    leave(close, Client);
leave(end_of_stream, Client) ->
    ok = send_bytes(Client, frame("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")),
    leave(close, Client);
leave(close_frame, Client) ->
    send_bytes(Client, megaphone_test_websocket:frame({fin, close}, <<1001:16>>, <<1, 2, 3, 4>>)).

%% Of what the other side's kernel has not acknowledged a reset leaves nothing.
await_acknowledged(Tcp) ->
    megaphone_test_wait:until(
      "the acknowledgement of all that was sent",
      fun() ->
              {ok, [{raw, _, _, Info}]} = inet:getopts(Tcp, [{raw, ?IPPROTO_TCP, ?TCP_INFO, 148}]),
              <<_:24/binary, Unacknowledged:32/native, _:116/binary, Unsent:32/native>> = Info,
              Unacknowledged =:= 0 andalso Unsent =:= 0
      end).

tcp_socket(#{state := #{module := fast_tls, socket := Socket}}) -> element(2, Socket);
tcp_socket(#{state := #{socket := Socket}}) -> Socket.

%% The messages, in one piece or each in one of its own.
say(Client, To, Bodies, Pieces) ->
    All = [encode(Client, message(To, Body)) || Body <- Bodies],
    Written = case Pieces of
                  one -> [All];
                  many -> All
              end,
    lists:foreach(fun(Bytes) -> ok = send_bytes(Client, Bytes) end, Written).

encode(#{transport := megaphone_test_c2s}, Stanza) -> Stanza;
encode(#{transport := megaphone_test_websocket}, Stanza) -> frame(Stanza).

frame(Text) ->
    megaphone_test_websocket:frame({fin, text}, Text, <<1, 2, 3, 4>>).

send_bytes(#{transport := Transport, state := State}, Bytes) ->
    Transport:send_bytes(State, Bytes).

message(To, Body) ->
    ["<message xmlns='jabber:client' type='chat' to='", To, "'><body>", Body, "</body></message>"].

bodies(Count) ->
    bodies(Count, 0).

bodies(Count, Size) ->
    Filling = binary:copy(<<"x">>, Size),
    [<<"number ", (integer_to_binary(Number))/binary, " ", Filling/binary>> || Number <- lists:seq(1, Count)].

%% Bob hears these messages of Alice's, each once and in order, and then that she is gone.
hear(Bob, Alice, Bodies) ->
    Heard = hear_to_the_end(Bob, Alice, []),
    ?assert(Heard =:= Bodies, {heard, [binary:part(Body, 0, min(12, byte_size(Body))) || Body <- Heard]}).

hear_to_the_end(Bob, Alice, Bodies) ->
    {Stanza, Bob1} = megaphone_test_xmpp:recv(Bob, 30_000),
    case {megaphone_test_xml:name(Stanza), megaphone_test_xml:attribute(<<"from">>, Stanza)} of
        {<<"message">>, Alice} ->
            hear_to_the_end(Bob1, Alice, [body(Stanza) | Bodies]);
        {<<"presence">>, Alice} ->
            case megaphone_test_xml:attribute(<<"type">>, Stanza) of
                <<"unavailable">> -> lists:reverse(Bodies);
                _ -> hear_to_the_end(Bob1, Alice, Bodies)
            end;
        {_, _} ->
            hear_to_the_end(Bob1, Alice, Bodies)
    end.

body(Stanza) ->
    megaphone_test_xml:text(megaphone_test_xml:child(<<"body">>, Stanza)).

login(Config, Kind, Name) ->
    megaphone_test_entrances:login(Config, Kind, megaphone_test_stage:user(Config, Name)).

login_bosh(Config, Name) ->
    megaphone_test_xmpp:login(megaphone_test_bosh, megaphone_test_stage:target(Config),
                              megaphone_test_stage:user(Config, Name)).

login_bob(Config) ->
    megaphone_test_xmpp:login(megaphone_test_session,
                              {proplists:get_value(trunk, Config), megaphone_test_session:header()},
                              megaphone_test_stage:user(Config, <<"bob">>)).

%% Bob is to hear of her end.
greet(Alice, Bob) ->
    megaphone_test_xmpp:send(Alice, ["<presence xmlns='jabber:client' to='", jid(Bob), "'/>"]).

%% A client that has more messages to read than the kernel's buffers take, and reads none: its user, the client
%% as it was made, and the messages.
unread(Config, Kind, Make) ->
    Name = megaphone_test_stage:user(Config, <<"alice">>),
    Client = megaphone_test_entrances:login(Config, Kind, Name),
    Made = Make(Client),
    {Name, Made, fill(Config, login_bob(Config), jid(Client))}.

%% ejabberd waits for the one that the messages are for when it has them all.
fill(Config, Bob, To) ->
    Bodies = bodies(800, 10_000),
    Said = lists:foldl(fun(Body, Client) -> megaphone_test_xmpp:send_message(Client, To, Body) end, Bob, Bodies),
    {_, _} = megaphone_test_xmpp:request(Said, {"get", "", "<query xmlns='jabber:iq:roster'/>"}),
    Pid = session(Config, To),
    megaphone_test_wait:until(
      ["a session that waits for ", To],
      fun() ->
              case call(Config, erlang, process_info, [Pid, current_stacktrace]) of
                  {current_stacktrace, Stack} -> lists:keymember(megaphone, 1, Stack);
                  undefined -> true
              end
      end),
    Bodies.

%% What the client can still read.
read_bodies(#{transport := Transport, state := State} = Client, Bodies) ->
    case Transport:recv(State, 10_000) of
        {ok, Stanza, Received} ->
            Read = megaphone_test_xmpp:update(Client, Received),
            case megaphone_test_xml:name(Stanza) of
                <<"message">> -> read_bodies(Read, [body(Stanza) | Bodies]);
                _ -> read_bodies(Read, Bodies)
            end;
        {error, closed} ->
            lists:reverse(Bodies)
    end.

%% The bodies of the user's offline messages.
offline(Config, Name) ->
    Client = megaphone_test_xmpp:connect(megaphone_test_session,
                                         {proplists:get_value(trunk, Config), megaphone_test_session:header()},
                                         Name, #{}),
    Present = megaphone_test_xmpp:send(Client, "<presence xmlns='jabber:client'/>"),
    Stanzas = stanzas_to_the_last(megaphone_test_xmpp:send_message(Present, jid(Client), ?LAST), []),
    [body(Stanza) || Stanza <- Stanzas, megaphone_test_xml:name(Stanza) =:= <<"message">>].

stanzas_to_the_last(Client, Stanzas) ->
    {Stanza, Received} = megaphone_test_xmpp:recv(Client),
    case is_plain_message(Stanza) andalso body(Stanza) of
        ?LAST ->
            ok = megaphone_test_xmpp:logout(Received),
            lists:reverse(Stanzas);
        _ ->
            stanzas_to_the_last(Received, [Stanza | Stanzas])
    end.

is_plain_message(Stanza) ->
    megaphone_test_xml:name(Stanza) =:= <<"message">>
        andalso megaphone_test_xml:attribute(<<"type">>, Stanza) =:= <<"chat">>
        andalso megaphone_test_xml:child(<<"body">>, Stanza) =/= undefined.

last_status(Config, Jid) ->
    [User, _] = binary:split(Jid, <<"@">>),
    {ok, _Seconds, Status} = call(Config, mod_last, get_last_info, [User, <<"localhost">>]),
    Status.

session(Config, Jid) ->
    [User, Rest] = binary:split(Jid, <<"@">>),
    [Host, Resource] = binary:split(Rest, <<"/">>),
    call(Config, ejabberd_sm, get_session_pid, [User, Host, Resource]).

await_gone(_Config, none) ->
    ok;
await_gone(Config, Pid) ->
    megaphone_test_wait:until("the session's end",
                              fun() -> not call(Config, erlang, is_process_alive, [Pid]) end, 30_000).

ecm(Config) ->
    megaphone_test_stage:ecm(Config).

call(Config, Module, Function, Arguments) ->
    megaphone_test_ejabberd:call(megaphone_test_stage:ejabberd(Config), Module, Function, Arguments).
