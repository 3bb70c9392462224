%% Waits of recv and send: each ends with its call, by data, timeout, close or death, and leaves neither
%% an entry in its trunk nor a message in its process. `waiters' of a trunk's status counts the entries.
-module(megaphone_wait_SUITE).

-include_lib("stdlib/include/assert.hrl").

-import(megaphone_test_process, [ended/1, mailbox/0]).

-export([all/0, groups/0, suite/0]).
-export([timeouts_leave_nothing/1, timeouts_are_kept/1, timeouts_in_packet_mode_leave_nothing/1,
         wake_is_for_the_waiter_alone/1, cancelled_wait_is_not_woken/1, woken_wait_is_not_cancelled/1,
         data_races_timeouts/1, room_races_timeouts/1, death_of_a_reader_leaves_nothing/1,
         death_of_a_sender_leaves_nothing/1, death_of_the_owner_ends_waits/1,
         close_races_readers/1, a_million_waits/1]).

-define(TRUNK, megaphone_test_nif).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, each}, {group, races}, a_million_waits].

groups() ->
    [{each, [parallel],
      [timeouts_leave_nothing, timeouts_are_kept, timeouts_in_packet_mode_leave_nothing,
       wake_is_for_the_waiter_alone, cancelled_wait_is_not_woken, woken_wait_is_not_cancelled,
       death_of_a_reader_leaves_nothing, death_of_a_sender_leaves_nothing,
       death_of_the_owner_ends_waits]},
     {races, [], [data_races_timeouts, room_races_timeouts, close_races_readers]}].

%% Confirms that a recv that times out, at once or later, leaves no waiter, no message, and the data.
timeouts_leave_nothing(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = ?TRUNK:peer_send(Trunk, Id, "abc"),
    [begin
         ?assertEqual({error, timeout}, gen_tcp:recv(Socket, 4, Timeout)),
         ?assertMatch(#{waiters := 0, buffered := 3}, ?TRUNK:status(Trunk)),
         ?assertEqual([], mailbox())
     end || Timeout <- [0, 1, 10] ++ lists:duplicate(1000, 0)],
    ?assertEqual({ok, <<"abc">>}, gen_tcp:recv(Socket, 3, 0)).

%% Confirms that a timeout is as long as asked for, whatever comes meanwhile that isn't enough.
timeouts_are_kept(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    Feeder = spawn_link(fun() -> drip(Trunk, Id) end),
    Started = erlang:monotonic_time(millisecond),
    ?assertEqual({error, timeout}, gen_tcp:recv(Socket, 1 bsl 20, 60)),
    Took = erlang:monotonic_time(millisecond) - Started,
    unlink(Feeder),
    exit(Feeder, kill),
    ?assert(Took >= 60, Took),
    ?assert(Took < 5000, Took).

%% Confirms the same in an http packet mode, where the length waited for isn't known.
timeouts_in_packet_mode_leave_nothing(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    ok = inet:setopts(Socket, [{packet, http_bin}]),
    ok = ?TRUNK:peer_send(Trunk, Id, "GET / HTTP"),
    [?assertEqual({error, timeout}, gen_tcp:recv(Socket, 0, Timeout)) || Timeout <- [0, 1, 0]],
    ?assertMatch(#{waiters := 0}, ?TRUNK:status(Trunk)),
    ok = ?TRUNK:peer_send(Trunk, Id, "/1.1\r\n"),
    ?assertEqual({ok, {http_request, 'GET', {abs_path, <<"/">>}, {1, 1}}}, gen_tcp:recv(Socket, 0, 0)),
    ?assertEqual([], mailbox()).

%% Confirms that data on one connection wakes its own reader and no other.
wake_is_for_the_waiter_alone(_Config) ->
    Trunk = ?TRUNK:open(),
    Connections = [?TRUNK:connect(Trunk) || _ <- lists:seq(1, 10)],
    Readers = [spawn_monitor(fun() -> exit(gen_tcp:recv(Socket, 1)) end)
               || {Socket, _} <- Connections],
    ?TRUNK:waiters(Trunk, 10),
    [begin
         ok = ?TRUNK:peer_send(Trunk, Id, "x"),
         ?assertEqual({ok, <<"x">>}, ended(Reader)),
         ?TRUNK:waiters(Trunk, Left)
     end || {{_, Id}, Reader, Left} <- lists:zip3(Connections, Readers, lists:seq(9, 0, -1))].

%% Confirms that a wait that was cancelled is not woken by what comes then.
cancelled_wait_is_not_woken(_Config) ->
    Trunk = ?TRUNK:open(),
    {{'$inet', megaphone, {Trunk, Handle}}, Id} = ?TRUNK:connect(Trunk),
    {wait, Wait} = megaphone_nif:recv(Trunk, Handle, 1),
    ?assertEqual(cancelled, megaphone_nif:cancel(Trunk, Handle, Wait)),
    ok = ?TRUNK:peer_send(Trunk, Id, "x"),
    ?assertEqual([], mailbox()),
    ?assertMatch(#{waiters := 0}, ?TRUNK:status(Trunk)).

%% Confirms that a wait whose wake was sent can't be cancelled, so that its message isn't forgotten.
woken_wait_is_not_cancelled(_Config) ->
    Trunk = ?TRUNK:open(),
    {{'$inet', megaphone, {Trunk, Handle}}, Id} = ?TRUNK:connect(Trunk),
    {wait, Wait} = megaphone_nif:recv(Trunk, Handle, 1),
    ok = ?TRUNK:peer_send(Trunk, Id, "x"),
    ?assertEqual(sent, megaphone_nif:cancel(Trunk, Handle, Wait)),
    ?assertEqual([{'$megaphone', Wait}], mailbox()),
    {ok, <<"x">>} = megaphone_nif:recv(Trunk, Handle, 1),
    {wait, Closed} = megaphone_nif:recv(Trunk, Handle, 1),
    ok = megaphone_nif:close(Trunk, Handle),
    ?assertEqual(sent, megaphone_nif:cancel(Trunk, Handle, Closed)),
    ?assertEqual([{'$megaphone', Closed}], mailbox()).

%% Confirms that a process killed in recv, on its own or another's socket, leaves no waiter, and that
%% another can read what comes.
death_of_a_reader_leaves_nothing(_Config) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    [begin
         {Reader, _} = spawn_monitor(fun() -> gen_tcp:recv(Socket, 5, Timeout) end),
         ?TRUNK:waiters(Trunk, 1),
         exit(Reader, Reason),
         ?TRUNK:waiters(Trunk, 0)
     end || Timeout <- [infinity, 100_000], Reason <- [kill, shutdown]],
    ok = ?TRUNK:peer_send(Trunk, Id, "hello"),
    ?assertEqual({ok, <<"hello">>}, gen_tcp:recv(Socket, 5)).

%% Confirms that a process killed in send leaves no waiter, and nothing of its data.
death_of_a_sender_leaves_nothing(_Config) ->
    Trunk = ?TRUNK:open(#{send_timeout => infinity}),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    Full = ?TRUNK:fill(Socket),
    Senders = [spawn(fun() -> gen_tcp:send(Socket, "never") end) || _ <- lists:seq(1, 10)],
    ?TRUNK:waiters(Trunk, 10),
    [exit(Sender, kill) || Sender <- Senders],
    ?TRUNK:waiters(Trunk, 0),
    ?assert(?TRUNK:output(Trunk, Id) =:= {Full, open}).

%% Confirms that the owner's death answers all who wait on its socket.
death_of_the_owner_ends_waits(_Config) ->
    Trunk = ?TRUNK:open(#{send_timeout => infinity}),
    {Socket, _Id} = ?TRUNK:connect(Trunk),
    Owner = spawn(fun() -> receive never -> ok end end),
    ok = gen_tcp:controlling_process(Socket, Owner),
    _ = ?TRUNK:fill(Socket),
    Waiting = [spawn_monitor(fun() -> exit(Call()) end)
               || Call <- [fun() -> gen_tcp:recv(Socket, 1) end,
                           fun() -> gen_tcp:send(Socket, "x") end,
                           fun() -> gen_tcp:send(Socket, "y") end]],
    ?TRUNK:waiters(Trunk, 3),
    exit(Owner, kill),
    [?assertEqual({error, closed}, ended(Process)) || Process <- Waiting],
    ?TRUNK:waiters(Trunk, 0).

%% Confirms that no byte and no wake is lost or left over where data comes as recv times out: many
%% processes, each reading its own bytes with timeouts of 0 to 2 ms while frames come.
data_races_timeouts(_Config) ->
    Trunk = ?TRUNK:open(),
    Bytes = << <<(N rem 251)>> || N <- lists:seq(1, 300) >>,
    Test = self(),
    Readers = [begin
                   {Socket, Id} = ?TRUNK:connect(Trunk),
                   {spawn_monitor(fun() ->
                                          exit({read_with_timeouts(Socket, Bytes, 0), mailbox()})
                                  end), Id}
               end || _ <- lists:seq(1, 100)],
    Ids = [Id || {_, Id} <- Readers],
    {Low, High} = lists:split(50, Ids),
    Feeders = [spawn_link(fun() ->
                                  [?TRUNK:peer_send(Trunk, Id, [Byte]) || <<Byte>> <= Bytes, Id <- Half],
                                  Test ! {fed, self()}
                          end) || Half <- [Low, High]],
    [receive {fed, Feeder} -> ok end || Feeder <- Feeders],
    Results = [ended(Reader) || {Reader, _} <- Readers],
    ?assertEqual([[]], lists:usort([Left || {_, Left} <- Results])),
    %% Without timeouts among the reads nothing has raced.
    ?assert(lists:sum([Timeouts || {Timeouts, _} <- Results]) > 0),
    ?assertMatch(#{waiters := 0, buffered := 0}, ?TRUNK:status(Trunk)).

%% Confirms the same for send: what timed out wasn't sent, what was answered ok was, once.
room_races_timeouts(_Config) ->
    Trunk = ?TRUNK:open(#{send_timeout => 1}),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    Filling = byte_size(?TRUNK:fill(Socket)),
    Senders = [spawn_monitor(fun() -> exit({send_with_timeouts(Socket, 100, 0), mailbox()}) end)
               || _ <- lists:seq(1, 20)],
    Taken = take_until_down(Trunk, [Pid || {Pid, _} <- Senders], []),
    Results = [ended(Sender) || Sender <- Senders],
    {Content, open} = ?TRUNK:content(Id, Taken ++ ?TRUNK:output(Trunk)),
    ?assertEqual(Filling + 20 * 100 * 4096, byte_size(Content)),
    ?assertEqual([[]], lists:usort([Left || {_, Left} <- Results])),
    ?assert(lists:sum([Timeouts || {Timeouts, _} <- Results]) > 0),
    ?assertMatch(#{waiters := 0}, ?TRUNK:status(Trunk)).

%% Confirms that a reader is answered once whether a close, by either side, comes before its recv,
%% during it, or as it times out.
close_races_readers(_Config) ->
    Trunk = ?TRUNK:open(),
    [begin
         Connections = [?TRUNK:connect(Trunk) || _ <- lists:seq(1, 50)],
         Readers = [spawn_monitor(fun() -> exit({recv_until_closed(Socket), mailbox()}) end)
                    || {Socket, _} <- Connections],
         [Close(Trunk, Connection) || Connection <- Connections],
         [?assertEqual({closed, []}, ended(Reader)) || Reader <- Readers],
         [ok = gen_tcp:close(Socket) || {Socket, _} <- Connections]
     end || Close <- lists:append(lists:duplicate(20, [fun peer_closes/2, fun we_close/2]))],
    ?assertMatch(#{waiters := 0, connections := 0, buffered := 0}, ?TRUNK:status(Trunk)).

%% Confirms that a million waits on a million connections that never get their data leave nothing:
%% 1,000 processes wait on 1,000 connections each, then 100,000 at once that are killed or whose
%% connections are closed.
a_million_waits(_Config) ->
    Trunk = ?TRUNK:open(),
    Handles = open_connections(Trunk, 0, 1_000_000),
    ?assertMatch(#{connections := 1_000_000, buffered := 1_000_000, waiters := 0},
                 ?TRUNK:status(Trunk)),
    InTurn = [spawn_monitor(fun() -> exit(wait_in_turn(Trunk, Thousand)) end)
              || Thousand <- thousands(Handles)],
    ?assertEqual([1000], lists:usort([ended(Process) || Process <- InTurn])),
    ?assertMatch(#{waiters := 0}, ?TRUNK:status(Trunk)),
    {Some, _} = lists:split(100_000, Handles),
    AtOnce = [spawn_monitor(fun() -> exit(gen_tcp:recv(megaphone:socket(Trunk, Handle), 2)) end)
              || Handle <- Some],
    ?TRUNK:waiters(Trunk, 100_000),
    {Killed, Closed} = lists:split(50_000, AtOnce),
    [exit(Pid, kill) || {Pid, _} <- Killed],
    ?TRUNK:waiters(Trunk, 50_000),
    [ok = megaphone_nif:close(Trunk, Handle) || Handle <- Handles],
    ?assertEqual([killed], lists:usort([ended(Process) || Process <- Killed])),
    ?assertEqual([{error, closed}], lists:usort([ended(Process) || Process <- Closed])),
    ?assertMatch(#{connections := 0, buffered := 0, waiters := 0, opened := 1_000_000},
                 ?TRUNK:status(Trunk)),
    ?assertEqual([], mailbox()).

open_connections(_Trunk, Count, Count) ->
    [];
open_connections(Trunk, From, Count) ->
    To = From + 10_000,
    Frames = [[<<"0000000033|">>, integer_to_binary(10_000_000_000_000_000_000 + N), <<"|x">>]
              || N <- lists:seq(From + 1, To)],
    {ok, Opened, []} = ?TRUNK:feed(Trunk, Frames),
    Handles = [Handle || {Handle, raw} <- Opened],
    Handles ++ open_connections(Trunk, To, Count).

wait_in_turn(Trunk, Handles) ->
    length([timeout || Handle <- Handles,
                       gen_tcp:recv(megaphone:socket(Trunk, Handle), 2, 0) =:= {error, timeout}]).

thousands([]) ->
    [];
thousands(List) ->
    {Thousand, Rest} = lists:split(1000, List),
    [Thousand | thousands(Rest)].

%% One byte a millisecond, until it is killed.
drip(Trunk, Id) ->
    ok = ?TRUNK:peer_send(Trunk, Id, "."),
    receive after 1 -> drip(Trunk, Id) end.

%% Reads these bytes; answers how many reads timed out.
read_with_timeouts(_Socket, <<>>, Timeouts) ->
    Timeouts;
read_with_timeouts(Socket, <<Byte, Rest/binary>> = Bytes, Timeouts) ->
    case gen_tcp:recv(Socket, 1, rand:uniform(3) - 1) of
        {ok, <<Byte>>} -> read_with_timeouts(Socket, Rest, Timeouts);
        {error, timeout} -> read_with_timeouts(Socket, Bytes, Timeouts + 1)
    end.

%% Sends so many pieces; answers how many tries timed out.
send_with_timeouts(_Socket, 0, Timeouts) ->
    Timeouts;
send_with_timeouts(Socket, Count, Timeouts) ->
    case gen_tcp:send(Socket, <<0:4096/unit:8>>) of
        ok -> send_with_timeouts(Socket, Count - 1, Timeouts);
        {error, timeout} -> send_with_timeouts(Socket, Count, Timeouts + 1)
    end.

%% Takes output bit by bit, with pauses in which sends time out, until these have ended.
take_until_down(Trunk, Pids, Taken) ->
    case lists:any(fun is_process_alive/1, Pids) of
        true ->
            Events = ?TRUNK:take(Trunk),
            receive after rand:uniform(3) - 1 -> ok end,
            take_until_down(Trunk, Pids, [Events | Taken]);
        false ->
            lists:append(lists:reverse(Taken))
    end.

recv_until_closed(Socket) ->
    case gen_tcp:recv(Socket, 1, rand:uniform(2) - 1) of
        {error, timeout} -> recv_until_closed(Socket);
        {error, closed} -> closed
    end.

peer_closes(Trunk, {_Socket, Id}) ->
    {ok, [], _} = ?TRUNK:feed(Trunk, ?TRUNK:close_frame(Id)).

we_close(_Trunk, {Socket, _Id}) ->
    ok = gen_tcp:close(Socket).
