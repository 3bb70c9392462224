%% The socket of a connection: recv, send, close, shutdown, ownership and inet's functions, on a trunk
%% in the NIF whose reader, writer and peer is the case. Active and packet modes are in
%% megaphone_active_SUITE, waits in megaphone_wait_SUITE, HTTP connections in megaphone_exchange_SUITE,
%% the NIF's own edges in megaphone_nif_SUITE.
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
%% | shut_down | megaphone:close/1, shutdown/2 | close_*, shutdown_* |
%% | send_data | megaphone:send/2, take_output/2 | send_*, output_* |
-module(megaphone_socket_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0]).
-export([trunk_starts_empty/1, one_feed_serves_many_connections/1, table_follows_opens_and_closes/1,
         data_waits_for_its_reader/1]).
-export([recv_gives_exact_lengths/1, recv_of_0_gives_what_is_there/1,
         recv_of_a_length_waits_for_all_of_it/1, recv_of_3_mib/1, recv_refuses_what_inet_refuses/1,
         recv_by_a_process_that_does_not_own/1]).
-export([send_takes_any_iodata/1, send_of_nothing_sends_nothing/1, send_refuses_other_terms/1,
         send_is_cut_into_frames/1, send_of_10_mib_in_order/1, send_waits_for_room/1,
         send_times_out_and_goes_on/1, send_that_times_out_sent_whole_pieces/1,
         send_ends_when_the_peer_closes/1, output_takes_turns/1, writer_is_told_once/1]).
-export([sendfile_whole/1, sendfile_part/1, sendfile_refusals/1]).
-export([close_is_for_ever/1, close_by_the_peer_is_for_ever/1, close_frame_is_answered_once/1,
         close_lets_sent_data_out/1, close_ends_another_reader/1, data_after_our_close_is_dropped/1,
         shutdown_of_writing/1, shutdown_of_reading/1, shutdown_of_both/1, lost_trunk_resets/1]).
-export([owners_end_closes/1, owners_kill_lets_sent_data_out/1, own_by_a_dead_process_closes/1,
         others_end_changes_nothing/1]).
-export([addresses/1, options/1, statistics/1, info/1, monitor_tells_of_the_close/1,
         monitor_is_cancelled/1]).

-define(TRUNK, megaphone_test_nif).

suite() ->
    [{timetrap, {seconds, 30}}].

all() ->
    [{group, trunk}, {group, recv}, {group, send}, {group, sendfile}, {group, close},
     {group, owner}, {group, inet}].

groups() ->
    [{trunk, [parallel],
      [trunk_starts_empty, one_feed_serves_many_connections, table_follows_opens_and_closes,
       data_waits_for_its_reader]},
     {recv, [parallel],
      [recv_gives_exact_lengths, recv_of_0_gives_what_is_there, recv_of_a_length_waits_for_all_of_it,
       recv_of_3_mib, recv_refuses_what_inet_refuses, recv_by_a_process_that_does_not_own]},
     {send, [parallel],
      [send_takes_any_iodata, send_of_nothing_sends_nothing, send_refuses_other_terms,
       send_is_cut_into_frames, send_of_10_mib_in_order, send_waits_for_room,
       send_times_out_and_goes_on, send_that_times_out_sent_whole_pieces,
       send_ends_when_the_peer_closes, output_takes_turns, writer_is_told_once]},
     {sendfile, [parallel], [sendfile_whole, sendfile_part, sendfile_refusals]},
     {close, [parallel],
      [close_is_for_ever, close_by_the_peer_is_for_ever, close_frame_is_answered_once,
       close_lets_sent_data_out, close_ends_another_reader, data_after_our_close_is_dropped,
       shutdown_of_writing, shutdown_of_reading, shutdown_of_both, lost_trunk_resets]},
     {owner, [parallel],
      [owners_end_closes, owners_kill_lets_sent_data_out, own_by_a_dead_process_closes,
       others_end_changes_nothing]},
     {inet, [parallel],
      [addresses, options, statistics, info, monitor_tells_of_the_close, monitor_is_cancelled]}].

%% Confirms that a new trunk has no connection, no byte and no error, is listed, and goes with its
%% last reference.
trunk_starts_empty(_Config) ->
    Test = self(),
    Holder = spawn_link(fun() ->
                                Trunk = ?TRUNK:open(),
                                Test ! {status, megaphone_nif:number(Trunk), ?TRUNK:status(Trunk)},
                                receive {finish, Test} -> megaphone_nif:number(Trunk) end, ok
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
    {ok, Handles, []} = ?TRUNK:feed(Trunk, Frames),
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
    {ok, [Handle], []} = ?TRUNK:feed(Trunk, [?TRUNK:frame(Id, <<"early">>), ?TRUNK:close_frame(Id)]),
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

%% Confirms that what is sent reaches the peer, whatever form it has.
send_takes_any_iodata(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    [?assertEqual(ok, gen_tcp:send(Socket, Data))
     || Data <- [<<"a">>, "b", [[], "c", [<<"d">> | <<"e">>]], [$f | <<"g">>]]],
    ?assertEqual({<<"abcdefg">>, open}, ?TRUNK:output(Trunk, Id)).

%% Confirms that an empty send makes no frame: one without content would close the connection.
send_of_nothing_sends_nothing(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    [?assertEqual(ok, gen_tcp:send(Socket, Nothing)) || Nothing <- [<<>>, "", [[], <<>>]]],
    ?assertEqual([], ?TRUNK:output(Trunk)),
    ok = gen_tcp:send(Socket, "a"),
    ?assertEqual({<<"a">>, open}, ?TRUNK:output(Trunk, Id)).

%% Confirms that what is no iodata is answered einval, and nothing of it is sent.
send_refuses_other_terms(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, _Id} = ?TRUNK:connect(Trunk),
    [?assertEqual({error, einval}, gen_tcp:send(Socket, Term), Term)
     || Term <- [atom, 1, {}, [256], [-1], ["a", b], <<1:3>>, [<<"a">>, <<1:7>>], #{}, self()]],
    ?assertEqual([], ?TRUNK:output(Trunk)).

%% Confirms that no frame is longer than 16 KiB, its header included.
send_is_cut_into_frames(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    Data = rand:bytes(50_000),
    ok = gen_tcp:send(Socket, Data),
    Events = ?TRUNK:output(Trunk),
    ?assertEqual({Data, open}, ?TRUNK:content(Id, Events)),
    ?assertEqual([16352, 16352, 16352, 944], [byte_size(Content) || {_, Content} <- Events]).

%% Confirms that 10 MiB pass a writer that takes them bit by bit, unchanged.
send_of_10_mib_in_order(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    Data = rand:bytes(10 bsl 20),
    ok = megaphone_nif:set_writer(Trunk, self()),
    Sender = spawn_monitor(fun() ->
                                   ok = gen_tcp:send(Socket, Data),
                                   exit(gen_tcp:close(Socket))
                           end),
    ?assert(?TRUNK:content(Id, take_until_close(Trunk)) =:= {Data, closed}),
    ?assertEqual(ok, ended(Sender)),
    ?assertMatch(#{waiters := 0, buffered := 0}, ?TRUNK:status(Trunk)).

%% Confirms that a send waits while its connection has output that nobody takes, and ends as the
%% writer takes it.
send_waits_for_room(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    Full = fill(Socket),
    Sender = spawn_monitor(fun() -> exit(gen_tcp:send(Socket, "last")) end),
    ?TRUNK:waiters(Trunk, 1),
    {Taken, open} = ?TRUNK:output(Trunk, Id),
    ?assertEqual(ok, ended(Sender)),
    {Rest, open} = ?TRUNK:output(Trunk, Id),
    ?assert(<<Taken/binary, Rest/binary>> =:= <<Full/binary, "last">>),
    ?TRUNK:waiters(Trunk, 0).

%% Confirms that a send gives up after send_timeout without a trace, and that the connection goes on
%% once the writer takes output.
send_times_out_and_goes_on(_Config) ->
    Trunk = ?TRUNK:open(#{send_timeout => 20}),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    Full = fill(Socket),
    ?assertEqual({error, timeout}, gen_tcp:send(Socket, "lost")),
    ok = inet:setopts(Socket, [{send_timeout, 0}]),
    ?assertEqual({error, timeout}, gen_tcp:send(Socket, "lost too")),
    ?assertMatch(#{waiters := 0}, ?TRUNK:status(Trunk)),
    ?assertEqual([], mailbox()),
    ?assert(?TRUNK:output(Trunk, Id) =:= {Full, open}),
    ?assertEqual(ok, gen_tcp:send(Socket, "after")),
    ?assertEqual({<<"after">>, open}, ?TRUNK:output(Trunk, Id)).

%% Confirms what a long send that times out has sent: its beginning, in pieces of 64 KiB.
send_that_times_out_sent_whole_pieces(_Config) ->
    Trunk = ?TRUNK:open(#{send_timeout => 1}),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    Data = rand:bytes(1 bsl 20),
    ?assertEqual({error, timeout}, gen_tcp:send(Socket, Data)),
    {Sent, open} = ?TRUNK:output(Trunk, Id),
    ?assertEqual(0, byte_size(Sent) rem 65536),
    ?assert(byte_size(Sent) > 0),
    ?assert(binary:part(Data, 0, byte_size(Sent)) =:= Sent).

%% Confirms that a process that waits in send is answered when the peer closes.
send_ends_when_the_peer_closes(_Config) ->
    Trunk = ?TRUNK:open(#{send_timeout => infinity}),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    _ = fill(Socket),
    Senders = [spawn_monitor(fun() -> exit(gen_tcp:send(Socket, "x")) end) || _ <- [1, 2, 3]],
    ?TRUNK:waiters(Trunk, 3),
    ok = ?TRUNK:peer_close(Trunk, Id),
    [?assertEqual({error, closed}, ended(Sender)) || Sender <- Senders],
    ?TRUNK:waiters(Trunk, 0).

%% Confirms that three connections with 10 MiB to send each delay another's 100 bytes by what is framed
%% ahead of the writer (256 KiB) and by one frame each, and then by nothing but one frame each.
output_takes_turns(_Config) ->
    Trunk = ?TRUNK:open(#{send_timeout => infinity}),
    Greedy = [greedy(Trunk, 10 bsl 20) || _ <- [1, 2, 3]],
    ?TRUNK:waiters(Trunk, 3),
    {Modest, ModestId} = ?TRUNK:connect(Trunk),
    ok = gen_tcp:send(Modest, binary:copy(<<"m">>, 100)),
    Ahead = bytes_before(ModestId, 100, Trunk),
    ?assert(Ahead =< 262144 + 4 * 16384, {bytes_ahead, Ahead}),
    ok = gen_tcp:send(Modest, binary:copy(<<"n">>, 99)),
    Next = bytes_before(ModestId, 99, Trunk),
    ?assert(Next =< 3 * 16384, {bytes_ahead, Next}),
    [exit(Pid, kill) || {Pid, _} <- Greedy].

%% Confirms that the writer gets one message as it begins, for what may be there, one for any number of
%% sends, and another after it looked.
writer_is_told_once(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = megaphone_nif:set_writer(Trunk, self()),
    ?assertEqual([{'$megaphone', 0}], mailbox()),
    ?assertEqual([], ?TRUNK:output(Trunk)),
    [ok = gen_tcp:send(Socket, "a") || _ <- lists:seq(1, 5)],
    ?assertEqual([{'$megaphone', 0}], mailbox()),
    ?assertEqual({<<"aaaaa">>, open}, ?TRUNK:output(Trunk, Id)),
    ?assertEqual([], mailbox()),
    ok = gen_tcp:send(Socket, "b"),
    ok = gen_tcp:close(Socket),
    ?assertEqual([{'$megaphone', 0}], mailbox()).

%% Confirms that file:sendfile/2 sends a whole file, of no byte, of some, and of several pieces.
sendfile_whole(Config) ->
    Trunk = ?TRUNK:open(),
    [begin
         {Socket, Id} = ?TRUNK:connect(Trunk),
         {Path, Data} = file_of(Config, Size),
         ?assertEqual({ok, Size}, file:sendfile(Path, Socket)),
         ?assert(?TRUNK:output(Trunk, Id) =:= {Data, open}, {size, Size})
     end || Size <- [0, 1, 65536, 200_000]].

%% Confirms that file:sendfile/5 sends the part asked for, of files opened in either mode, and leaves
%% the file's position where it was.
sendfile_part(Config) ->
    Trunk = ?TRUNK:open(),
    {Path, Data} = file_of(Config, 150_000),
    [begin
         {Socket, Id} = ?TRUNK:connect(Trunk),
         {ok, File} = file:open(Path, [read, raw | Mode]),
         {ok, 77} = file:position(File, 77),
         Part = binary:part(Data, Offset, Sent),
         ?assertEqual({ok, Sent}, file:sendfile(File, Socket, Offset, Count, [])),
         ?assert(?TRUNK:output(Trunk, Id) =:= {Part, open}, {Mode, Offset, Count}),
         ?assertEqual({ok, 77}, file:position(File, {cur, 0})),
         ok = file:close(File)
     end || Mode <- [[binary], []],
            {Offset, Count, Sent} <- [{0, 0, 150_000}, {0, 10, 10}, {149_990, 0, 10},
                                      {100, 140_000, 140_000}, {149_999, 5, 1}, {150_000, 0, 0},
                                      {1, 65536, 65536}]].

%% Confirms that a sendfile that can't be answers why, and leaves the socket as it was.
sendfile_refusals(Config) ->
    Trunk = ?TRUNK:open(#{send_timeout => 1}),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    {Path, Data} = file_of(Config, 1 bsl 20),
    ?assertEqual({error, enoent}, file:sendfile(Path ++ ".none", Socket)),
    {ok, File} = file:open(Path, [read, raw, binary]),
    ?assertEqual({error, einval}, file:sendfile(File, Socket, -1, 1, [])),
    ?assertEqual({error, einval}, file:sendfile(File, Socket, 0, -1, [])),
    ?assertEqual([], ?TRUNK:output(Trunk)),
    ?assertEqual({error, timeout}, file:sendfile(File, Socket, 0, 0, [])),
    {Sent, open} = ?TRUNK:output(Trunk, Id),
    ?assert(binary:part(Data, 0, byte_size(Sent)) =:= Sent),
    ok = gen_tcp:close(Socket),
    ?assertEqual({error, closed}, file:sendfile(File, Socket, 0, 0, [])),
    ok = file:close(File),
    ?assertEqual({error, einval}, file:sendfile(File, Socket, 0, 0, [])).

%% Confirms that after our close every call is answered as on a closed socket, as often as it is made.
close_is_for_ever(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = ?TRUNK:peer_send(Trunk, Id, "unread"),
    ok = gen_tcp:close(Socket),
    [begin
         ?assertEqual({error, closed}, gen_tcp:recv(Socket, 0)),
         ?assertEqual({error, closed}, gen_tcp:recv(Socket, 5, 0)),
         ?assertEqual({error, closed}, gen_tcp:send(Socket, "x")),
         ?assertEqual({error, closed}, gen_tcp:send(Socket, rand:bytes(200_000))),
         ?assertEqual({error, closed}, gen_tcp:shutdown(Socket, read_write)),
         ?assertEqual({error, closed}, gen_tcp:controlling_process(Socket, self())),
         ?assertEqual(ok, gen_tcp:close(Socket)),
         ?assertEqual({error, einval}, inet:setopts(Socket, [{active, once}])),
         ?assertEqual({error, einval}, inet:getopts(Socket, [active])),
         ?assertEqual({error, einval}, inet:peername(Socket)),
         ?assertEqual({error, einval}, inet:sockname(Socket)),
         ?assertEqual({error, einval}, inet:getstat(Socket)),
         ?assertEqual(#{states => [closed]}, inet:info(Socket))
     end || _ <- [1, 2]],
    ?assertEqual({<<>>, closed}, ?TRUNK:output(Trunk, Id)),
    no_connections(Trunk).

%% Confirms that after the peer's close what came before it is read, then closed is answered for ever.
close_by_the_peer_is_for_ever(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = ?TRUNK:peer_send(Trunk, Id, "abc"),
    ok = ?TRUNK:peer_close(Trunk, Id),
    ?assertEqual({error, closed}, gen_tcp:recv(Socket, 4)),
    ?assertEqual({ok, <<"abc">>}, gen_tcp:recv(Socket, 3)),
    [begin
         ?assertEqual({error, closed}, gen_tcp:recv(Socket, 0)),
         ?assertEqual({error, closed}, gen_tcp:recv(Socket, 1, 0)),
         ?assertEqual({error, closed}, gen_tcp:send(Socket, "x"))
     end || _ <- [1, 2]],
    ?assertEqual({<<>>, closed}, ?TRUNK:output(Trunk, Id)).

%% Confirms that each side's close frame is answered by one, and an answer by none.
close_frame_is_answered_once(_Config) ->
    Trunk = ?TRUNK:open(),
    {Theirs, TheirId} = ?TRUNK:connect(Trunk),
    ok = ?TRUNK:peer_close(Trunk, TheirId),
    ?assertEqual([{TheirId, close}], ?TRUNK:output(Trunk)),
    ok = gen_tcp:close(Theirs),
    ?assertEqual([], ?TRUNK:output(Trunk)),
    {Ours, OurId} = ?TRUNK:connect(Trunk),
    ok = gen_tcp:close(Ours),
    ?assertEqual([{OurId, close}], ?TRUNK:output(Trunk)),
    ok = ?TRUNK:peer_close(Trunk, OurId),
    ok = ?TRUNK:peer_close(Trunk, ?TRUNK:id(999)),
    ?assertEqual([], ?TRUNK:output(Trunk)),
    no_connections(Trunk).

%% Confirms that what was sent before a close goes out before the close frame, much of it too.
close_lets_sent_data_out(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    Full = fill(Socket),
    ok = gen_tcp:close(Socket),
    ?assertEqual({error, closed}, gen_tcp:send(Socket, "x")),
    ?assert(?TRUNK:output(Trunk, Id) =:= {Full, closed}),
    no_connections(Trunk).

%% Confirms that a process in recv is answered when another closes the socket.
close_ends_another_reader(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, _Id} = ?TRUNK:connect(Trunk),
    Reader = reader(Socket, 1),
    ?TRUNK:waiters(Trunk, 1),
    ok = gen_tcp:close(Socket),
    ?assertEqual({error, closed}, ended(Reader)),
    ?TRUNK:waiters(Trunk, 0).

%% Confirms that frames that cross our close open nothing, until the peer's close frees the id.
data_after_our_close_is_dropped(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = gen_tcp:close(Socket),
    ok = ?TRUNK:peer_send(Trunk, Id, "crossed"),
    ok = ?TRUNK:peer_send(Trunk, Id, "crossed again"),
    ?assertMatch(#{connections := 0, buffered := 0, opened := 1}, ?TRUNK:status(Trunk)),
    ok = ?TRUNK:peer_close(Trunk, Id),
    Next = ?TRUNK:connect(Trunk, Id, <<"anew">>),
    ?assertEqual({ok, <<"anew">>}, gen_tcp:recv(Next, 0)).

%% Confirms that after a shutdown of writing nothing can be sent, and what comes can be read.
shutdown_of_writing(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = gen_tcp:send(Socket, "before"),
    ?assertEqual(ok, gen_tcp:shutdown(Socket, write)),
    ?assertEqual({error, closed}, gen_tcp:send(Socket, "after")),
    ok = ?TRUNK:peer_send(Trunk, Id, "answer"),
    ?assertEqual({ok, <<"answer">>}, gen_tcp:recv(Socket, 0)),
    ?assertEqual({<<"before">>, open}, ?TRUNK:output(Trunk, Id)),
    ok = gen_tcp:close(Socket),
    ?assertEqual({<<>>, closed}, ?TRUNK:output(Trunk, Id)).

%% Confirms that after a shutdown of reading what came and comes is dropped, and sending goes on.
shutdown_of_reading(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    Reader = reader(Socket, 10),
    ?TRUNK:waiters(Trunk, 1),
    ok = ?TRUNK:peer_send(Trunk, Id, "unread"),
    ?assertEqual(ok, gen_tcp:shutdown(Socket, read)),
    ?assertEqual({error, closed}, ended(Reader)),
    ?assertEqual({error, closed}, gen_tcp:recv(Socket, 0)),
    ok = ?TRUNK:peer_send(Trunk, Id, "dropped"),
    ?assertMatch(#{buffered := 0}, ?TRUNK:status(Trunk)),
    ?assertEqual(ok, gen_tcp:send(Socket, "still")),
    ?assertEqual({<<"still">>, open}, ?TRUNK:output(Trunk, Id)).

%% Confirms that a shutdown of both leaves a socket that only a close is left for.
shutdown_of_both(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ?assertEqual(ok, gen_tcp:shutdown(Socket, read_write)),
    ?assertEqual({error, closed}, gen_tcp:send(Socket, "x")),
    ?assertEqual({error, closed}, gen_tcp:recv(Socket, 0)),
    ok = gen_tcp:close(Socket),
    ?assertEqual({<<>>, closed}, ?TRUNK:output(Trunk, Id)),
    no_connections(Trunk).

%% Confirms that a lost trunk ends recv, also one that waits, with econnreset and then closed, send
%% too, and an active socket with tcp_error and tcp_closed.
lost_trunk_resets(_Config) ->
    Trunk = ?TRUNK:open(),
    {Passive, PassiveId} = ?TRUNK:connect(Trunk),
    {Awaited, _} = ?TRUNK:connect(Trunk),
    {Active, _} = ?TRUNK:connect(Trunk),
    {Full, _} = ?TRUNK:connect(Trunk),
    ok = inet:setopts(Active, [{active, true}]),
    ok = ?TRUNK:peer_send(Trunk, PassiveId, "unread"),
    Reader = spawn_monitor(fun() ->
                                   First = gen_tcp:recv(Awaited, 1),
                                   exit([First, gen_tcp:recv(Awaited, 1)])
                           end),
    _ = fill(Full),
    Sender = spawn_monitor(fun() -> exit(gen_tcp:send(Full, "x")) end),
    ?TRUNK:waiters(Trunk, 2),
    _ = megaphone_nif:lose(Trunk),
    ?assertEqual([{error, econnreset}, {error, closed}], ended(Reader)),
    ?assertEqual({error, econnreset}, ended(Sender)),
    ?assertEqual({error, econnreset}, gen_tcp:recv(Passive, 0)),
    ?assertEqual({error, closed}, gen_tcp:recv(Passive, 0)),
    ?assertEqual({error, closed}, gen_tcp:send(Passive, "x")),
    ?assertEqual([{tcp_error, Active, econnreset}, {tcp_closed, Active}], mailbox()),
    ?assertEqual({error, closed}, gen_tcp:recv(Active, 0)),
    [ok = gen_tcp:close(Socket) || Socket <- [Passive, Awaited, Full]],
    ?assertEqual({error, no_such_trunk}, megaphone:status(megaphone_nif:number(Trunk))).

%% Confirms that the owner's end, by itself or by a kill, closes its connections and tells the peer.
owners_end_closes(_Config) ->
    Trunk = ?TRUNK:open(),
    [begin
         {Sockets, Ids} = lists:unzip([?TRUNK:connect(Trunk) || _ <- [1, 2, 3]]),
         Owner = spawn(fun() -> receive {finish, Reason} -> exit(Reason) end end),
         [ok = gen_tcp:controlling_process(Socket, Owner) || Socket <- Sockets],
         end_process(Owner, How),
         no_connections(Trunk),
         ?assertEqual(lists:sort([{Id, close} || Id <- Ids]), lists:sort(?TRUNK:output(Trunk))),
         [?assertEqual({error, closed}, gen_tcp:recv(Socket, 0)) || Socket <- Sockets]
     end || How <- [normal, crash, kill]].

%% Confirms that what a killed owner had sent still goes out, then the close frame.
owners_kill_lets_sent_data_out(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    Test = self(),
    Owner = spawn(fun() ->
                          receive go -> Test ! {sent, fill(Socket)} end,
                          gen_tcp:recv(Socket, 1)
                  end),
    ok = gen_tcp:controlling_process(Socket, Owner),
    Owner ! go,
    Full = receive {sent, Sent} -> Sent end,
    ?TRUNK:waiters(Trunk, 1),
    exit(Owner, kill),
    ?TRUNK:waiters(Trunk, 0),
    ?assert(?TRUNK:output(Trunk, Id) =:= {Full, closed}),
    no_connections(Trunk).

%% Confirms that a connection given to a process that is dead already closes.
own_by_a_dead_process_closes(_Config) ->
    Trunk = ?TRUNK:open(),
    {Dead, Monitor} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Monitor, process, Dead, _} -> ok end,
    Id = ?TRUNK:id(1),
    {ok, [Handle], []} = ?TRUNK:feed(Trunk, ?TRUNK:frame(Id, "a")),
    _ = megaphone_nif:own(Trunk, Handle, Dead),
    ?assertEqual([{Id, close}], ?TRUNK:output(Trunk)),
    no_connections(Trunk).

%% Confirms that a former owner's end leaves the connection to the one that has it now.
others_end_changes_nothing(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    Test = self(),
    Between = spawn_monitor(fun() ->
                                    receive yours -> ok end,
                                    exit(gen_tcp:controlling_process(Socket, Test))
                            end),
    ok = gen_tcp:controlling_process(Socket, element(1, Between)),
    element(1, Between) ! yours,
    ?assertEqual(ok, ended(Between)),
    ok = ?TRUNK:peer_send(Trunk, Id, "still here"),
    ?assertEqual({ok, <<"still here">>}, gen_tcp:recv(Socket, 0)),
    ?assertEqual([], ?TRUNK:output(Trunk)).

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
     || Refused <- [[list], [{mode, list}], [{active, maybe}], [{active, 1.0}], [{active, 32768}],
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
    _ = fill(Socket),
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

ended({Pid, Monitor}) ->
    receive
        {'DOWN', Monitor, process, Pid, Reason} -> Reason
    after 10_000 ->
        ct:fail("a process that should have been answered is still ~p",
                [process_info(Pid, current_stacktrace)])
    end.

end_process(Pid, kill) -> exit(Pid, kill);
end_process(Pid, Reason) -> Pid ! {finish, Reason}.

%% Sends until the connection's output is full; answers what was sent.
fill(Socket) ->
    fill(Socket, []).

fill(Socket, Sent) ->
    {ok, [{send_pend, Pending}]} = inet:getstat(Socket, [send_pend]),
    case Pending >= 65536 of
        true ->
            iolist_to_binary(lists:reverse(Sent));
        false ->
            Piece = rand:bytes(40_000),
            ok = gen_tcp:send(Socket, Piece),
            fill(Socket, [Piece | Sent])
    end.

%% A process that owns a connection and sends so many bytes on it.
greedy(Trunk, Size) ->
    {Socket, _Id} = ?TRUNK:connect(Trunk),
    Owner = spawn_monitor(fun() ->
                                  receive go -> exit(gen_tcp:send(Socket, <<0:Size/unit:8>>)) end
                          end),
    ok = gen_tcp:controlling_process(Socket, element(1, Owner)),
    element(1, Owner) ! go,
    Owner.

%% How many bytes of frames come before one of this connection with so much content.
bytes_before(Id, Size, Trunk) ->
    Events = ?TRUNK:take(Trunk),
    Other = fun({EventId, _}) -> EventId =/= Id end,
    Bytes = fun(Before) -> lists:sum([byte_size(Content) + 32 || {_, Content} <- Before]) end,
    case lists:splitwith(Other, Events) of
        {Before, []} -> Bytes(Before) + bytes_before(Id, Size, Trunk);
        {Before, [{Id, <<_:Size/binary>>} | _]} -> Bytes(Before)
    end.

%% All that comes until a close frame; the caller is the trunk's writer.
take_until_close(Trunk) ->
    receive {'$megaphone', 0} -> ok end,
    Events = ?TRUNK:output(Trunk),
    case lists:keymember(close, 2, Events) of
        true -> Events;
        false -> Events ++ take_until_close(Trunk)
    end.

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

file_of(Config, Size) ->
    Name = integer_to_list(erlang:unique_integer([positive])),
    Path = filename:join(proplists:get_value(priv_dir, Config), Name),
    Data = rand:bytes(Size),
    ok = file:write_file(Path, Data),
    {Path, Data}.

mailbox() ->
    receive Message -> [Message | mailbox()] after 0 -> [] end.
