%% The socket of a connection: trunks, recv and inet's functions, on a trunk in the NIF whose reader,
%% writer and peer is the case. send and output are in megaphone_send_SUITE, closes and owners in
%% megaphone_close_SUITE, active and packet modes in megaphone_active_SUITE, waits in
%% megaphone_wait_SUITE, HTTP connections in megaphone_exchange_SUITE, the NIF's own edges in
%% megaphone_nif_SUITE.
%%
%% What the functions of the trunk's first implementation became, and where their cases are:
%%
%% | then | now | cases |
%% |---|---|---|
%% | start | megaphone_nif:open/1 | trunk_starts_empty |
%% | main_loop | megaphone_nif:feed/2 | one_feed_serves_many_connections, prop_frames |
%% | recv | megaphone:recv/3 | recv_*, prop_socket |
%% | get_data | a connection's input | data_waits_for_its_reader |
%% | put_data | a connection's input | recv_of_a_length_waits_for_all_of_it |
%% | update_table | the trunk's names and slab | table_follows_opens_and_closes |
%% | remove_waiter | megaphone_nif:cancel/3 | megaphone_wait_SUITE |
%% | notify_waiter | the wake | megaphone_wait_SUITE |
%% | parse_packet | the frame decoder | megaphone_nif_SUITE:bad_frames_end_the_trunk |
%% | parse_headers | packet mode http | megaphone_active_SUITE, prop_decode_packet |
%% | shut_down | megaphone:close/1, shutdown/2 | megaphone_close_SUITE |
%% | send_data | megaphone:send/2, take_output/2 | megaphone_send_SUITE |
-module(megaphone_socket_SUITE).

-include_lib("stdlib/include/assert.hrl").

-import(megaphone_test_process, [ended/1, mailbox/0]).

-export([all/0, groups/0, suite/0]).
-export([trunk_starts_empty/1, one_feed_serves_many_connections/1, table_follows_opens_and_closes/1,
         data_waits_for_its_reader/1]).
-export([recv_gives_exact_lengths/1, recv_of_0_gives_what_is_there/1,
         recv_of_a_length_waits_for_all_of_it/1, recv_of_3_mib/1, recv_refuses_what_inet_refuses/1,
         recv_by_a_process_that_does_not_own/1]).
-export([addresses/1, options/1, statistics/1, info/1, monitor_tells_of_the_close/1,
         monitor_is_cancelled/1]).

-define(TRUNK, megaphone_test_nif).

suite() ->
    [{timetrap, {seconds, 30}}].

all() ->
    [{group, trunk}, {group, recv}, {group, inet}].

groups() ->
    [{trunk, [parallel],
      [trunk_starts_empty, one_feed_serves_many_connections, table_follows_opens_and_closes,
       data_waits_for_its_reader]},
     {recv, [parallel],
      [recv_gives_exact_lengths, recv_of_0_gives_what_is_there, recv_of_a_length_waits_for_all_of_it,
       recv_of_3_mib, recv_refuses_what_inet_refuses, recv_by_a_process_that_does_not_own]},
     {inet, [parallel],
      [addresses, options, statistics, info, monitor_tells_of_the_close, monitor_is_cancelled]}].

%% Confirms that a new trunk has no connection, no byte and no error, is listed, and goes with its
%% last reference.
trunk_starts_empty(_Config) ->
    Test = self(),
    Holder = spawn_link(fun() ->
                                Trunk = ?TRUNK:open(),
                                Test ! {status, megaphone_nif:number(Trunk), ?TRUNK:status(Trunk)},
                                receive {finish, Test} -> megaphone_nif:number(Trunk) end
                        end),
    {Number, Status} = receive {status, N, S} -> {N, S} end,
    ?assertMatch(#{connections := 0, opened := 0, frames_in := 0, frames_out := 0, bytes_in := 0,
                   bytes_out := 0, buffered := 0, waiters := 0, errors := Errors,
                   number := Number, reader := Holder, peername := {{192, 0, 2, 1}, 4711},
                   sockname := {{127, 0, 0, 1}, 5290}} when Errors =:= #{}, Status),
    ?assert(lists:member(Number, maps:get(trunk_numbers, megaphone:status()))),
    Holder ! {finish, Test},
    megaphone_test_wait:until("the end of the trunk", fun() ->
        megaphone:status(Number) =:= {error, no_such_trunk}
    end).

%% Confirms that frames of many connections in one piece of input each reach their own.
one_feed_serves_many_connections(_Config) ->
    Trunk = ?TRUNK:open(),
    Ids = [?TRUNK:id(N) || N <- lists:seq(1, 100)],
    Frames = [?TRUNK:frame(Id, [Id, Round]) || Round <- [<<"a">>, <<"b">>], Id <- Ids],
    {ok, Opened, []} = ?TRUNK:feed(Trunk, Frames),
    Handles = [Handle || {Handle, raw} <- Opened],
    ?assertEqual(100, length(Handles)),
    [?assertEqual({ok, <<Id/binary, "a", Id/binary, "b">>}, recv_now(Trunk, Handle, 0))
     || {Id, Handle} <- lists:zip(Ids, Handles)].

%% Confirms that the table holds a connection from its first frame until both sides have closed, and
%% that its id opens a new one then.
table_follows_opens_and_closes(_Config) ->
    Trunk = ?TRUNK:open(),
    Id = ?TRUNK:id(1),
    First = ?TRUNK:connect(Trunk, Id, <<"first">>),
    ?assertMatch(#{connections := 1, opened := 1}, ?TRUNK:status(Trunk)),
    ok = ?TRUNK:peer_close(Trunk, Id),
    ?assertMatch(#{connections := 1}, ?TRUNK:status(Trunk)),
    Second = ?TRUNK:connect(Trunk, Id, <<"second">>),
    ?assertMatch(#{connections := 2, opened := 2}, ?TRUNK:status(Trunk)),
    ?assertEqual({ok, <<"first">>}, gen_tcp:recv(First, 0, 0)),
    ?assertEqual({error, closed}, gen_tcp:recv(First, 0, 0)),
    ok = gen_tcp:close(First),
    ?assertMatch(#{connections := 1}, ?TRUNK:status(Trunk)),
    ?assertEqual({ok, <<"second">>}, gen_tcp:recv(Second, 0, 0)),
    ok = gen_tcp:close(Second),
    ?assertMatch(#{connections := 0, opened := 2, buffered := 0}, ?TRUNK:status(Trunk)).

%% Confirms that what comes before anybody reads is kept and counted, even when the peer has closed.
data_waits_for_its_reader(_Config) ->
    Trunk = ?TRUNK:open(),
    Id = ?TRUNK:id(1),
    {ok, [{Handle, raw}], []} = ?TRUNK:feed(Trunk, [?TRUNK:frame(Id, <<"early">>), ?TRUNK:close_frame(Id)]),
    ?assertMatch(#{buffered := 5}, ?TRUNK:status(Trunk)),
    Reader = spawn_monitor(fun() ->
                                   Socket = megaphone:socket(Trunk, Handle),
                                   {ok, <<"early">>} = gen_tcp:recv(Socket, 5),
                                   {error, closed} = gen_tcp:recv(Socket, 5),
                                   exit(read)
                           end),
    ok = megaphone_nif:own(Trunk, Handle, element(1, Reader)),
    ?assertEqual(read, ended(Reader)),
    ?TRUNK:waiters(Trunk, 0),
    no_connections(Trunk).

%% Confirms that recv gives exactly as many bytes as asked for, however frames cut them.
recv_gives_exact_lengths(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    [ok = ?TRUNK:peer_send(Trunk, Id, Piece) || Piece <- ["abc", "d", "efghij", "k"]],
    ?assertEqual({ok, <<"ab">>}, gen_tcp:recv(Socket, 2)),
    ?assertEqual({ok, <<"cde">>}, gen_tcp:recv(Socket, 3)),
    ?assertEqual({error, timeout}, gen_tcp:recv(Socket, 7, 0)),
    ?assertEqual({ok, <<"fghijk">>}, gen_tcp:recv(Socket, 6, 0)),
    ?assertEqual({error, timeout}, gen_tcp:recv(Socket, 1, 0)).

%% Confirms that a length of 0 asks for what is there, and waits for a byte if nothing is.
recv_of_0_gives_what_is_there(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = ?TRUNK:peer_send(Trunk, Id, "abc"),
    ok = ?TRUNK:peer_send(Trunk, Id, "d"),
    ?assertEqual({ok, <<"abcd">>}, gen_tcp:recv(Socket, 0)),
    Reader = reader(Socket, 0),
    ?TRUNK:waiters(Trunk, 1),
    ok = ?TRUNK:peer_send(Trunk, Id, "e"),
    ?assertEqual({ok, <<"e">>}, ended(Reader)).

%% Confirms that a recv is answered by the frame that completes its length, not before.
recv_of_a_length_waits_for_all_of_it(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    Reader = reader(Socket, 5),
    ?TRUNK:waiters(Trunk, 1),
    [begin
         ok = ?TRUNK:peer_send(Trunk, Id, [Byte]),
         ?assertMatch(#{waiters := 1, buffered := Buffered}, ?TRUNK:status(Trunk))
     end || {Byte, Buffered} <- [{$a, 1}, {$b, 2}, {$c, 3}, {$d, 4}]],
    ok = ?TRUNK:peer_send(Trunk, Id, "ef"),
    ?assertEqual({ok, <<"abcde">>}, ended(Reader)),
    ?assertEqual({ok, <<"f">>}, gen_tcp:recv(Socket, 0)).

%% Confirms that a recv which goes to a dirty scheduler answers as others do.
recv_of_3_mib(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    Data = rand:bytes(3 bsl 20),
    Reader = reader(Socket, byte_size(Data)),
    ?TRUNK:waiters(Trunk, 1),
    [ok = ?TRUNK:peer_send(Trunk, Id, Piece) || Piece <- pieces(Data, 1_000_000)],
    ?assertEqual({ok, Data}, ended(Reader)),
    ?assertMatch(#{buffered := 0, waiters := 0}, ?TRUNK:status(Trunk)).

%% Confirms the errors of a recv that can't be: too much, no length, a second reader.
recv_refuses_what_inet_refuses(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, _Id} = ?TRUNK:connect(Trunk),
    ?assertEqual({error, enomem}, gen_tcp:recv(Socket, (64 bsl 20) + 1, 0)),
    ?assertEqual({error, enomem}, gen_tcp:recv(Socket, 1 bsl 100, 0)),
    ?assertEqual({error, timeout}, gen_tcp:recv(Socket, 64 bsl 20, 0)),
    ?assertEqual({error, einval}, gen_tcp:recv(Socket, -1, 0)),
    Reader = reader(Socket, 1),
    ?TRUNK:waiters(Trunk, 1),
    ?assertEqual({error, ealready}, gen_tcp:recv(Socket, 1, 0)),
    ?assertEqual({error, ealready}, gen_tcp:recv(Socket, 0, 1000)),
    exit(element(1, Reader), kill),
    ?TRUNK:waiters(Trunk, 0),
    ?assertEqual({error, timeout}, gen_tcp:recv(Socket, 1, 0)).

%% Confirms that any process may read, as with gen_tcp.
recv_by_a_process_that_does_not_own(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = ?TRUNK:peer_send(Trunk, Id, "ab"),
    ?assertEqual({ok, <<"a">>}, ended(reader(Socket, 1))),
    ?assertEqual({ok, <<"b">>}, gen_tcp:recv(Socket, 0)).

%% Confirms that a socket tells its trunk's addresses, of each kind.
addresses(_Config) ->
    [begin
         Trunk = ?TRUNK:open(#{peername => Peer, sockname => Own}),
         {Socket, _} = ?TRUNK:connect(Trunk),
         ?assertEqual({ok, Peer}, inet:peername(Socket)),
         ?assertEqual({ok, Own}, inet:sockname(Socket)),
         ?assertEqual({ok, [Own]}, inet:socknames(Socket)),
         ?assertEqual({ok, element(2, Own)}, inet:port(Socket)),
         ?assertMatch(#{peername := Peer, sockname := Own}, ?TRUNK:status(Trunk))
     end || {Peer, Own} <- [{{{192, 0, 2, 255}, 65535}, {{127, 0, 0, 1}, 5290}},
                            {{{16#2001, 16#db8, 0, 0, 0, 0, 16#ffff, 1}, 1}, {{0, 0, 0, 0, 0, 0, 0, 1}, 0}},
                            {{local, <<"/run/a\0b">>}, {local, <<>>}}]].

%% Confirms which options take effect, which are accepted as on a real socket, and which are refused.
options(_Config) ->
    Trunk = ?TRUNK:open(#{send_timeout => 700}),
    {Socket, _} = ?TRUNK:connect(Trunk),
    All = [active, packet, mode, send_timeout],
    ?assertEqual({ok, [{active, false}, {packet, 0}, {mode, binary}, {send_timeout, 700}]},
                 inet:getopts(Socket, All)),
    ?assertEqual(ok, inet:setopts(Socket, [binary, {packet, http_bin}, {nodelay, true},
                                           {send_timeout, infinity}, {mode, binary},
                                           {keepalive, true}, {raw, 6, 8, <<30:32/native>>},
                                           {active, 7}])),
    ?assertEqual({ok, [{active, 7}, {packet, http_bin}, {mode, binary}, {send_timeout, infinity}]},
                 inet:getopts(Socket, All)),
    ?assertEqual({ok, [{packet, http_bin}]}, inet:getopts(Socket, [nodelay, packet])),
    [?assertEqual({error, einval}, inet:setopts(Socket, Refused), Refused)
     || Refused <- [[list], [{mode, list}], [{active, perhaps}], [{active, 1.0}], [{active, 32768}],
                    [{active, -32769}], [{active, 1 bsl 80}], [{packet, 4}], [{packet, line}],
                    [{packet, 1 bsl 80}], [{send_timeout, -1}], [{send_timeout, soon}], [17],
                    [{"active", true}], [{packet, raw}, {mode, list}], no_list]],
    ?assertEqual({ok, [{active, 7}, {packet, http_bin}, {mode, binary}, {send_timeout, infinity}]},
                 inet:getopts(Socket, All)).

%% Confirms that inet:getstat counts bytes, pieces and what waits for the writer.
statistics(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    {ok, Before} = inet:getstat(Socket),
    ?assertEqual(lists:sort(inet:stats()), lists:sort(proplists:get_keys(Before))),
    ?assertMatch([{recv_oct, 1}, {recv_cnt, 1}, {recv_max, 1}, {send_oct, 0}, {send_avg, 0}],
                 [{Name, proplists:get_value(Name, Before)}
                  || Name <- [recv_oct, recv_cnt, recv_max, send_oct, send_avg]]),
    ok = ?TRUNK:peer_send(Trunk, Id, "abcde"),
    ok = gen_tcp:send(Socket, "12"),
    ok = gen_tcp:send(Socket, "3456"),
    ?assertEqual({ok, [{recv_oct, 6}, {recv_cnt, 2}, {recv_max, 5}, {recv_avg, 3},
                       {send_oct, 6}, {send_cnt, 2}, {send_max, 4}, {send_avg, 3}, {send_pend, 0}]},
                 inet:getstat(Socket, [recv_oct, recv_cnt, recv_max, recv_avg, send_oct, send_cnt,
                                       send_max, send_avg, send_pend])),
    _ = ?TRUNK:fill(Socket),
    {ok, [{send_pend, Pending}]} = inet:getstat(Socket, [send_pend]),
    ?assert(Pending >= 65536, Pending).

%% Confirms that inet:info and inet:socket_to_list describe a socket.
info(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, _} = ?TRUNK:connect(Trunk),
    Self = self(),
    ?assertMatch(#{owner := Self, states := [connected], active := false,
                   counters := #{recv_oct := 1}}, inet:info(Socket)),
    {'$inet', megaphone, {Trunk, Handle}} = Socket,
    ?assertEqual(lists:flatten(io_lib:format("#Megaphone<~b.~b>",
                                             [megaphone_nif:number(Trunk), Handle])),
                 inet:socket_to_list(Socket)).

%% Confirms that inet:monitor tells of our close and of the owner's death, of a closed socket at once,
%% and leaves no waiter.
monitor_tells_of_the_close(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, _} = ?TRUNK:connect(Trunk),
    First = inet:monitor(Socket),
    Second = inet:monitor(Socket),
    ?TRUNK:waiters(Trunk, 2),
    ok = gen_tcp:close(Socket),
    [receive
         {'DOWN', Monitor, socket, Socket, closed} -> ok
     after 5000 ->
         ct:fail("no 'DOWN' after the close")
     end || Monitor <- [First, Second, inet:monitor(Socket)]],
    Watched = element(1, ?TRUNK:connect(Trunk)),
    Owner = spawn(fun() -> receive never -> ok end end),
    ok = gen_tcp:controlling_process(Watched, Owner),
    Third = inet:monitor(Watched),
    exit(Owner, kill),
    receive {'DOWN', Third, socket, Watched, closed} -> ok after 5000 -> ct:fail("no 'DOWN'") end,
    ?assertMatch(#{waiters := 0}, ?TRUNK:status(Trunk)).

%% Confirms that a cancelled monitor, or one whose process died, is silent and leaves no waiter.
monitor_is_cancelled(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, _} = ?TRUNK:connect(Trunk),
    Monitor = inet:monitor(Socket),
    ?TRUNK:waiters(Trunk, 1),
    ?assertEqual(true, inet:cancel_monitor(Monitor)),
    ?assertEqual(false, inet:cancel_monitor(Monitor)),
    ?TRUNK:waiters(Trunk, 0),
    Dies = spawn_monitor(fun() -> exit(inet:monitor(Socket)) end),
    ?assert(is_reference(ended(Dies))),
    ?TRUNK:waiters(Trunk, 0),
    Late = inet:monitor(Socket),
    ?TRUNK:waiters(Trunk, 1),
    ok = gen_tcp:close(Socket),
    ?TRUNK:waiters(Trunk, 0),
    _ = inet:cancel_monitor(Late),
    ?assertEqual([], [Message || {'DOWN', _, socket, _, _} = Message <- mailbox()]).

%% A process that ends with recv's answer.
reader(Socket, Length) ->
    spawn_monitor(fun() -> exit(gen_tcp:recv(Socket, Length)) end).

recv_now(Trunk, Handle, Length) ->
    gen_tcp:recv(megaphone:socket(Trunk, Handle), Length, 0).

no_connections(Trunk) ->
    megaphone_test_wait:until("an empty table", fun() ->
        maps:get(connections, ?TRUNK:status(Trunk)) =:= 0
    end),
    ?assertMatch(#{buffered := 0, waiters := 0}, ?TRUNK:status(Trunk)).

pieces(Data, Size) when byte_size(Data) =< Size -> [Data];
pieces(Data, Size) ->
    <<Piece:Size/binary, Rest/binary>> = Data,
    [Piece | pieces(Rest, Size)].
