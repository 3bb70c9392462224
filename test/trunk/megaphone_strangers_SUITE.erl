%% Whoever reaches a trunk's port and is no ECM, or one with a fault: who says nothing, half a frame or
%% half a handshake, who comes and goes by the hundred, and messages that no trunk knows. None of it takes
%% anything from the trunks that work.
-module(megaphone_strangers_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_group/2, init_per_group/2]).
-export([silent_peers/1, half_a_frame_later/1, bytes_that_drip/1, idle_trunks_stay/1, no_deadline/1,
         idle_ecm_of_version_1/1]).
-export([max_trunks/1, room_after_a_kill/1, trunks_that_close_together/1, refusals_in_the_log/1, backlog/1]).
-export([silent_peers_hold_no_acceptor/1, headers_that_are_none/1, garbage_instead_of_tls/1]).
-export([stray_messages/1, stray_messages_to_the_writer/1, stray_messages_to_a_session/1,
         stray_messages_to_a_monitor/1]).
-export([silent_peers_hold_no_stop/1]).

-import(megaphone_test_listeners, [address/2, call/4, ejabberd/1, errors/2]).
-import(megaphone_test_trunk, [id/1]).

-define(GET, "GET /echo/ip HTTP/1.1\r\nHost: localhost\r\n\r\n").
-define(TIMEOUT, 10_000).
%% A ping of version 2 (yamux).
-define(PING, <<0, 2, 0, 1, 0:32, 1:32>>).
%% The begin of a TLS record.
-define(HALF_HELLO, <<22, 3, 1, 512:16, 1, 0, 1, 252, 3, 3>>).
%% Version 1 of the PROXY header.
-define(PROXY, "PROXY TCP4 192.0.2.7 192.0.2.8 1234 5290\r\n").

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, deadlines}, {group, crowds}, {group, handshakes}, {group, messages}, silent_peers_hold_no_stop].

groups() ->
    [{deadlines, [parallel], [silent_peers, half_a_frame_later, bytes_that_drip, idle_trunks_stay, no_deadline,
                              idle_ecm_of_version_1]},
     {crowds, [], [max_trunks, room_after_a_kill, trunks_that_close_together, refusals_in_the_log, backlog]},
     {handshakes, [], [silent_peers_hold_no_acceptor, headers_that_are_none, garbage_instead_of_tls]},
     {messages, [], [stray_messages, stray_messages_to_the_writer, stray_messages_to_a_session,
                     stray_messages_to_a_monitor]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(ssl),
    Ca = megaphone_test_certificates:ca("the trunks' authority"),
    {CertFile, CaFile} = megaphone_test_certificates:write_signed(Ca, Config, "listener"),
    Tls = ["    tls: true\n"
           "    certfile: \"", CertFile, "\"\n"
           "    cafile: \"", CaFile, "\"\n"],
    Impatient = "    handshake_timeout: 2\n"
                "    frame_timeout: 2\n",
    Socket = filename:join("/tmp", "megaphone-strangers-" ++ os:getpid() ++ ".sock"),
    Started = megaphone_test_listeners:start(
                Config,
                #{default => "    hibernate_after: 1\n",
                  impatient => Impatient,
                  impatient_tls => [Tls, Impatient],
                  impatient_proxy => ["    use_proxy_protocol: true\n", Impatient],
                  unsupervised => ["    supervisor: false\n", Impatient],
                  alone => "    supervisor: false\n",
                  ecm => Impatient,
                  patient => "    handshake_timeout: infinity\n",
                  tls => Tls,
                  proxy => "    use_proxy_protocol: true\n",
                  few => "    max_trunks: 3\n",
                  few_unsupervised => "    max_trunks: 3\n"
                                      "    supervisor: false\n"},
                #{more_listeners => [megaphone_test_config:listener(
                                       megaphone_listener, ["\"unix:", Socket, "\""],
                                       [Impatient, megaphone_test_config:request_handlers()])]}),
    [{unix_socket, Socket} | Started].

end_per_suite(Config) ->
    megaphone_test_listeners:stop(Config),
    _ = file:delete(proplists:get_value(unix_socket, Config)),
    ok.

init_per_group(_, Config) ->
    Config.

end_per_group(_, Config) ->
    megaphone_test_listeners:await_end(Config).

%% Confirms that a peer that says nothing, or no whole frame, or no whole handshake, is closed when the
%% first frame is due, on ports of each kind, and that this is counted and logged.
silent_peers(Config) ->
    Said = #{nothing => <<>>,
             a_byte_of_version_1 => <<"0">>,
             half_a_header_of_version_1 => <<"0000000500|aaa">>,
             half_a_frame_of_version_1 => megaphone_test_trunk:frame(id(1), "GET", 500),
             a_byte_of_version_2 => <<0>>,
             half_a_header_of_version_2 => <<0, 0, 0, 1, 0:32>>,
             %% A SYN with a hundred bytes of data, of which ten come.
             half_a_frame_of_version_2 => <<0, 0, 0, 1, 1:32, 100:32, "\r\n\r\n\0\r\nQUI">>},
    Hello = #{half_a_hello => ?HALF_HELLO},
    Header = maps:map(fun(_, Bytes) -> [?PROXY, Bytes] end, Said),
    HalfHeader = #{half_a_header => "PROXY TCP4 192.0"},
    Silent = #{nothing => <<>>},
    Unix = [{{local, proplists:get_value(unix_socket, Config)}, Said}
            || megaphone_test_ejabberd:unix_sockets() =:= ok],
    Peers = [{Address, What, peer(Address, Bytes)}
             || {Address, Kinds} <- [{address(Config, impatient), Said},
                                     {address(Config, unsupervised), Said},
                                     {address(Config, impatient_tls), maps:merge(Hello, Silent)},
                                     {address(Config, impatient_proxy),
                                      maps:merge(Header, maps:merge(HalfHeader, Silent))} | Unix],
                {What, Bytes} <- maps:to_list(Kinds)],
    [?assertEqual(closed, await_close(Socket), {Address, What}) || {Address, What, Socket} <- Peers],
    await_errors(Config, handshake_timeout, length(Peers)),
    _ = megaphone_test_ejabberd:await_log(
          ejabberd(Config), "the trunk from 127.0.0.1:\\d+ ends: no complete frame arrived within 2s \\(handshake_timeout\\)"),
    ok.

%% Confirms that half a frame is not waited for without end later either, be it its header or its data.
half_a_frame_later(Config) ->
    Whole = #{1 => iolist_to_binary(megaphone_test_trunk:close_frame(id(1))), 2 => ?PING},
    Halves = #{1 => [<<"0">>, <<"0000000500|aaa">>, megaphone_test_trunk:frame(id(1), "GET", 500)],
               2 => [<<0>>, <<0, 0, 0, 1, 0:32>>, <<0, 0, 0, 1, 1:32, 100:32, "\r\n\r\n\0\r\nQUI">>]},
    Sockets = [{Half, peer(address(Config, impatient), [maps:get(Version, Whole), Half])}
               || Version <- [1, 2], Half <- maps:get(Version, Halves)],
    [?assertEqual(closed, await_close(Socket), Half) || {Half, Socket} <- Sockets],
    await_errors(Config, frame_timeout, length(Sockets)).

%% Confirms that a frame whose bytes drip is as late as one that stands still: the first and a later one.
bytes_that_drip(Config) ->
    Frame = iolist_to_binary(megaphone_test_trunk:frame(id(1), binary:copy(<<"a">>, 900))),
    [begin
         Socket = peer(address(Config, impatient), Before),
         ok = drip(Socket, Frame)
     end || Before <- [<<>>, megaphone_test_trunk:close_frame(id(1))]].

%% Confirms that trunks that have said a frame may be silent for longer than anything else may take.
idle_trunks_stay(Config) ->
    Address = address(Config, impatient),
    One = megaphone_test_trunk:connect(Address, megaphone_test_trunk:close_frame(id(7))),
    Two = megaphone_test_yamux:connect(Address),
    ok = megaphone_test_yamux:ping(Two),
    [?assertEqual(closed, await_close(peer(Address, Bytes)))
     || Bytes <- [<<>>, [megaphone_test_trunk:close_frame(id(1)), "0"], <<0>>]],
    ok = serve(One),
    ok = megaphone_test_yamux:ping(Two),
    megaphone_test_yamux:close(Two),
    megaphone_test_trunk:close(One).

%% Confirms that `handshake_timeout: infinity' is for ECMs that say nothing before their first client.
no_deadline(Config) ->
    Trunk = megaphone_test_trunk:connect(address(Config, patient)),
    [?assertEqual(closed, await_close(peer(address(Config, impatient), <<>>))) || _ <- [1, 2]],
    ok = serve(Trunk),
    megaphone_test_trunk:close(Trunk).

%% Confirms that the ECM's own trunk of version 1 outlives the deadline before any client comes.
idle_ecm_of_version_1(Config) ->
    {_, TrunkPort} = address(Config, ecm),
    Port = megaphone_test_port:free(),
    {ok, Ecm} = megaphone_test_ecm:start(
                  #{dir => filename:join(proplists:get_value(priv_dir, Config), "ecm"),
                    port => Port, trunk_port => TrunkPort,
                    config => ["[trunk]\naddress = \"127.0.0.1:", integer_to_list(TrunkPort), "\"\n"
                               "protocol = \"v1\"\ntrunks = 1\n"
                               "[[listener]]\naddress = \"127.0.0.1:", integer_to_list(Port), "\"\n"]}),
    Numbers = fun() -> maps:get(trunk_numbers, megaphone_test_listeners:status(Config)) end,
    IsEcms = fun(Number) ->
                     case call(Config, megaphone, status, [Number]) of
                         {ok, #{sockname := {_, TrunkPort}, frames_in := 1}} -> true;
                         _ -> false
                     end
             end,
    [Number | _] = megaphone_test_wait:until(
                     "the ECM's trunk",
                     fun() -> case lists:filter(IsEcms, Numbers()) of [] -> false; Found -> Found end end),
    [?assertEqual(closed, await_close(peer(address(Config, ecm), <<>>))) || _ <- [1, 2]],
    ?assert(IsEcms(Number)),
    Connection = megaphone_test_http:connect({{127, 0, 0, 1}, Port}),
    ?assertMatch(#{status := 200}, megaphone_test_http:request(Connection, "GET", "/echo", [])),
    ok = megaphone_test_http:close(Connection),
    ok = megaphone_test_ecm:stop(Ecm).

%% Confirms that past max_trunks a connection is closed at once, that this is counted and logged, that the
%% others stay, and that there is room again when one leaves.
max_trunks(Config) ->
    [begin
         Before = errors(Config, max_trunks),
         Trunks = [served(Config, Listener) || _ <- [1, 2, 3]],
         Refused = peer(address(Config, Listener), <<>>),
         ?assertEqual(closed, await_close(Refused)),
         ?assertEqual(Before + 1, errors(Config, max_trunks)),
         [First | Others] = Trunks,
         [ok = serve(Trunk) || Trunk <- Trunks],
         megaphone_test_trunk:close(First),
         Last = until_served(Config, Listener),
         [ok = serve(Trunk) || Trunk <- Others],
         lists:foreach(fun megaphone_test_trunk:close/1, [Last | Others])
     end || Listener <- [few, few_unsupervised]],
    _ = megaphone_test_ejabberd:await_log(
          ejabberd(Config), "a trunk from 127.0.0.1:\\d+ is refused: the listener has 3, its max_trunks"),
    ok.

%% Confirms that the places of trunks whose processes are killed are free again.
room_after_a_kill(Config) ->
    _ = [begin
             true = call(Config, erlang, exit, [reader(Config, Trunk), kill]),
             ?assertEqual(ok, megaphone_test_trunk:recv_end(Trunk))
         end || Trunk <- [served(Config, few_unsupervised) || _ <- [1, 2, 3]]],
    Trunks = [until_served(Config, few_unsupervised) || _ <- [1, 2, 3]],
    lists:foreach(fun megaphone_test_trunk:close/1, Trunks).

%% Confirms that nine hundred trunks that close together cost ejabberd next to nothing, each by itself and
%% all in all: the end of one does not look at the others. So on ports of each kind.
trunks_that_close_together(Config) ->
    Said = [<<>>, <<"0">>, <<0>>, megaphone_test_trunk:frame(id(1), "GET", 500),
            megaphone_test_trunk:close_frame(id(1)), ?PING],
    [close_together(Config, Listener, Bytes)
     || {Listener, Bytes} <- [{default, Said}, {alone, Said}, {tls, [<<>>, ?HALF_HELLO]},
                              {proxy, [<<>>, "PROXY TCP4" | [[?PROXY, Bytes] || Bytes <- Said]]}]].

close_together(Config, Listener, Said) ->
    Address = address(Config, Listener),
    Peers = [peer(Address, lists:nth(1 + N rem length(Said), Said)) || N <- lists:seq(1, 900)],
    _ = megaphone_test_wait:until(
          "nine hundred trunks",
          fun() -> maps:get(trunks, megaphone_test_listeners:status(Config)) =:= 900 end),
    {ok, Growth} = megaphone_test_memory:growth(
                     megaphone_test_ejabberd:os_pid(ejabberd(Config)),
                     fun() ->
                             lists:foreach(fun gen_tcp:close/1, Peers),
                             megaphone_test_listeners:await_end(Config)
                     end),
    ct:log("ejabberd grew by ~.1f MiB by the ends of ~p", [Growth / 1048576, Listener]),
    ?assert(Growth < 50 bsl 20, {Listener, Growth}).

%% Confirms that a flood of connections that are refused or end without a frame writes a hundred lines of
%% each into the log in ten seconds, and then how many more there were.
refusals_in_the_log(Config) ->
    Before = byte_size(megaphone_test_ejabberd:log(ejabberd(Config))),
    Trunks = [served(Config, few) || _ <- [1, 2, 3]],
    Refused = [peer(address(Config, few), <<>>) || _ <- lists:seq(1, 250)],
    [?assertEqual(closed, await_close(Socket)) || Socket <- Refused],
    Silent = [peer(address(Config, default), <<>>) || _ <- lists:seq(1, 250)],
    lists:foreach(fun gen_tcp:close/1, Silent),
    [_ = megaphone_test_ejabberd:await_log(ejabberd(Config), More, Before)
     || More <- ["[1-9]\\d* more trunks were refused", "[1-9]\\d* more trunks ended before their first"]],
    <<_:Before/binary, Log/binary>> = megaphone_test_ejabberd:log(ejabberd(Config)),
    %% A case before may have begun the ten seconds.
    [?assert(lines(Line, Log) =< 200, {Line, lines(Line, Log)})
     || Line <- ["is refused: the listener has", "is lost with 0 connections"]],
    lists:foreach(fun megaphone_test_trunk:close/1, Trunks).

%% Confirms that hundreds of ECMs may come at once: their connections wait until ejabberd takes them, also
%% where the kernel would let five wait by ejabberd's own default.
backlog(Config) ->
    [Acceptor] = [Pid || {{Port, _, _}, Pid, _, _} <- call(Config, supervisor, which_children, [ejabberd_listener]),
                         {{127, 0, 0, 1}, Port} =:= address(Config, default)],
    Holder = call(Config, megaphone_test_suspend, suspend, [Acceptor]),
    Sockets = [peer(address(Config, default), ?PING) || _ <- lists:seq(1, 300)],
    ok = call(Config, megaphone_test_suspend, resume, [Holder]),
    [?assertMatch({ok, <<0, 2, 0, 2, _/binary>>}, gen_tcp:recv(Socket, 12, ?TIMEOUT)) || Socket <- Sockets],
    lists:foreach(fun gen_tcp:close/1, Sockets).

%% Confirms that peers that send no PROXY header keep nobody waiting who sends one, and are waited for
%% no longer than for a frame.
silent_peers_hold_no_acceptor(Config) ->
    Silent = [peer(address(Config, proxy), Said) || _ <- lists:seq(1, 20), Said <- [<<>>, "PROXY TCP4"]],
    Trunk = megaphone_test_trunk:connect(address(Config, proxy), ?PROXY),
    {ok, 200, <<"192.0.2.7">>, Served} = megaphone_test_trunk:request(Trunk, id(1), ?GET),
    lists:foreach(fun gen_tcp:close/1, Silent),
    megaphone_test_trunk:close(Served).

%% Confirms that headers that are none end their own connection alone, and that those without an address
%% leave the connection's own.
headers_that_are_none(Config) ->
    [begin
         Peer = peer(address(Config, proxy), Header),
         ?assertEqual(closed, await_close(Peer), Header)
     end || Header <- ["PROXY GOPHER 1 2 3 4\r\n", "PROXY TCP4 1 2 3 4\r\n", "PROXY TCP4 192.0.2.7\r\n",
                       "PROXY \r\n", binary:copy(<<"PROXY ">>, 50), "GET / HTTP/1.1\r\n\r\n",
                       %% Version 2 with a family of addresses that is none, and with less than one address.
                       <<"\r\n\r\n\0\r\nQUIT\n", 16#21, 16#71, 12:16, 0:96>>,
                       <<"\r\n\r\n\0\r\nQUIT\n", 16#21, 16#11, 2:16, 0:16>>]],
    [begin
         Trunk = megaphone_test_trunk:connect(address(Config, proxy), Header),
         ?assertMatch({_, {ok, 200, <<"127.0.0.1">>, _}},
                      {Header, megaphone_test_trunk:request(Trunk, id(1), ?GET)}),
         megaphone_test_trunk:close(Trunk)
     end || Header <- ["PROXY UNKNOWN\r\n", <<"\r\n\r\n\0\r\nQUIT\n", 16#20, 0, 0:16>>,
                       <<"\r\n\r\n\0\r\nQUIT\n", 16#21, 0, 0:16>>]].

%% Confirms that what is no TLS ends its own connection at once.
garbage_instead_of_tls(Config) ->
    [?assertEqual(closed, await_close(peer(address(Config, tls), Bytes)), Bytes)
     || Bytes <- [?GET, ?PING, megaphone_test_trunk:frame(id(1), ?GET), <<22, 3, 1, 4:16, 1, 0, 0, 0>>]],
    _ = megaphone_test_ejabberd:await_log(ejabberd(Config), "is lost with 0 connections: TLS server"),
    ok.

%% Confirms that a trunk's process drops what it does not know, a second `accept' too, and goes on with
%% all its clients.
stray_messages(Config) ->
    Trunk = megaphone_test_yamux:connect(address(Config, default)),
    Client = login(Trunk, Config),
    Reader = reader(Config, Trunk),
    [Writer] = writers(Config, Reader),
    ok = call(Config, megaphone_listener, accept, [Reader]),
    ok = call(Config, gen_server, cast, [Reader, stray]),
    ?assertEqual({error, unknown_call}, call(Config, gen_server, call, [Reader, stray])),
    [call(Config, erlang, send, [Reader, Message]) || Message <- stray()],
    true = call(Config, erlang, exit, [Reader, normal]),
    ok = megaphone_test_yamux:ping(Trunk),
    ?assertEqual([Writer], writers(Config, Reader)),
    ok = megaphone_test_xmpp:logout(Client),
    [_ = megaphone_test_ejabberd:await_log(ejabberd(Config), ["the process of a trunk .*", What])
     || What <- ["\\{cast,accept\\}", "\\{cast,stray\\}", "\\{call,stray\\}", "drained", "sweep"]],
    megaphone_test_yamux:close(Trunk).

%% Confirms the same of its writer, whose mailbox stays empty.
stray_messages_to_the_writer(Config) ->
    Trunk = served(Config, default),
    [Writer] = writers(Config, reader(Config, Trunk)),
    [call(Config, erlang, send, [Writer, Message]) || Message <- stray()],
    true = call(Config, erlang, exit, [Writer, shutdown]),
    ok = serve(Trunk),
    ?assertEqual({messages, []}, call(Config, erlang, process_info, [Writer, messages])),
    megaphone_test_trunk:close(Trunk).

%% Confirms the same of a session, awake and asleep.
stray_messages_to_a_session(Config) ->
    Trunk = megaphone_test_yamux:connect(address(Config, default)),
    Client = login(Trunk, Config),
    [User, <<"localhost">>, Resource] = binary:split(megaphone_test_xmpp:jid(Client), [<<"@">>, <<"/">>], [global]),
    Session = call(Config, ejabberd_sm, get_session_pid, [User, <<"localhost">>, Resource]),
    Disturb = fun() ->
                      ok = call(Config, megaphone_session, accept, [Session]),
                      [call(Config, erlang, send, [Session, Message])
                       || Message <- [timeout, {tcp, a_socket, <<"<x/>">>}, {tcp_closed, a_socket},
                                      {tcp_error, a_socket, econnreset} | stray()]],
                      ok = call(Config, p1_server, cast, [Session, stray])
              end,
    Disturb(),
    megaphone_test_ejabberd:await_sleep(ejabberd(Config), Session),
    Disturb(),
    {Alice, Bob} = megaphone_test_xmpp:chat(Client, login(Trunk, Config), 3),
    ?assertEqual(Session, call(Config, ejabberd_sm, get_session_pid, [User, <<"localhost">>, Resource])),
    ok = megaphone_test_xmpp:logout(Alice),
    ok = megaphone_test_xmpp:logout(Bob),
    megaphone_test_yamux:close(Trunk).

%% Confirms the same of the process behind inet:monitor/1.
stray_messages_to_a_monitor(_Config) ->
    ok = logger:set_module_level(megaphone_log, none),
    {Socket, _} = megaphone_test_nif:connect(megaphone_test_nif:open()),
    Processes = processes(),
    Monitor = inet:monitor(Socket),
    [Watcher] = processes() -- Processes,
    [Watcher ! Message || Message <- stray()],
    megaphone_test_wait:until("an empty mailbox", fun() -> process_info(Watcher, messages) =:= {messages, []} end),
    ok = logger:unset_module_level(megaphone_log),
    ok = gen_tcp:close(Socket),
    receive {'DOWN', Monitor, socket, Socket, closed} -> ok after ?TIMEOUT -> ct:fail("expected the socket's end") end.

%% Confirms that peers in the middle of a handshake don't keep ejabberd from stopping. It is stopped here,
%% so this comes last.
silent_peers_hold_no_stop(Config) ->
    Peers = [peer(address(Config, Listener), <<>>)
             || _ <- lists:seq(1, 20), Listener <- [tls, proxy, patient, default]],
    _ = megaphone_test_wait:until(
          "all trunks",
          fun() -> maps:get(trunks, megaphone_test_listeners:status(Config)) =:= length(Peers) end),
    ok = megaphone_test_ejabberd:halt(ejabberd(Config)),
    [?assertEqual(closed, await_close(Peer)) || Peer <- Peers].

%% What no process of a trunk knows, with those that one of them would know with another reference.
stray() ->
    [stray, drained, sweep, {timeout, make_ref(), sweep}, {'DOWN', make_ref(), process, self(), killed},
     {megaphone_handshake, self(), {error, closed}}, {'$megaphone', 4711}, {flush, self()}, {self(), make_ref()}].

%% A socket that has said so much.
peer({local, _} = Address, Bytes) ->
    peer(Address, 0, [], Bytes);
peer({Ip, Port}, Bytes) ->
    peer(Ip, Port, [{nodelay, true}], Bytes).

peer(Host, Port, Options, Bytes) ->
    {ok, Socket} = gen_tcp:connect(Host, Port, [binary, {active, false} | Options], ?TIMEOUT),
    %% It may be closed by now.
    _ = gen_tcp:send(Socket, Bytes),
    Socket.

%% Reads until the other side closes.
await_close(Socket) ->
    case gen_tcp:recv(Socket, 0, ?TIMEOUT) of
        {ok, _} -> await_close(Socket);
        {error, timeout} -> still_open;
        {error, _} -> gen_tcp:close(Socket), closed
    end.

%% Sends byte by byte until the other side has closed.
drip(Socket, <<Byte, Rest/binary>>) ->
    ok = case gen_tcp:send(Socket, <<Byte>>) of
             ok -> ok;
             {error, Reason} when Reason =:= closed; Reason =:= econnreset; Reason =:= epipe -> ok
         end,
    case gen_tcp:recv(Socket, 0, 50) of
        {error, timeout} -> drip(Socket, Rest);
        {error, _} -> gen_tcp:close(Socket)
    end.

%% A trunk is counted as it ends, which may be just behind its socket.
await_errors(Config, Kind, Count) ->
    _ = megaphone_test_listeners:await_error(Config, Kind, Count - 1),
    ok.

%% A trunk of version 1 that has answered a request.
served(Config, Listener) ->
    Trunk = megaphone_test_trunk:connect(address(Config, Listener)),
    ok = serve(Trunk),
    Trunk.

serve(Trunk) ->
    {ok, 200, <<"127.0.0.1">>, _} = megaphone_test_trunk:request(Trunk, id(1), ?GET),
    ok.

%% The same as soon as there is room.
until_served(Config, Listener) ->
    megaphone_test_wait:until(
      "room for a trunk",
      fun() ->
              Trunk = megaphone_test_trunk:connect(address(Config, Listener)),
              _ = megaphone_test_trunk:send(Trunk, megaphone_test_trunk:frame(id(1), ?GET)),
              case megaphone_test_trunk:recv_response(Trunk, id(1)) of
                  {ok, 200, _, Served} -> Served;
                  {error, _} -> false
              end
      end).

login(Trunk, Config) ->
    User = megaphone_test_stage:user(Config, <<"user">>),
    megaphone_test_xmpp:login(megaphone_test_session, {Trunk, megaphone_test_session:header()}, User).

%% The process of a trunk of either version, found by our port.
reader(Config, #{port := Port}) ->
    reader_at(Config, Port);
reader(Config, Trunk) ->
    reader_at(Config, megaphone_test_yamux:port(Trunk)).

reader_at(Config, Port) ->
    Trunks = call(Config, megaphone_nif, trunks, []),
    [Reader] = [Pid || #{reader := Pid, peername := {_, P}} <- Trunks, P =:= Port],
    Reader.

writers(Config, Reader) ->
    {links, Links} = call(Config, erlang, process_info, [Reader, links]),
    [Pid || Pid <- Links, is_pid(Pid),
            {current_function, {megaphone_writer, _, _}}
                <- [call(Config, erlang, process_info, [Pid, current_function])]].

lines(Text, Log) ->
    length(binary:matches(Log, list_to_binary(Text))).
