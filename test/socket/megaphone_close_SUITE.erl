%% How connections end: by a close or shutdown of either side, by their owner's death, with their trunk.
-module(megaphone_close_SUITE).

-include_lib("stdlib/include/assert.hrl").

-import(megaphone_test_process, [ended/1, mailbox/0]).

-export([all/0, groups/0, suite/0]).
-export([close_is_for_ever/1, close_by_the_peer_is_for_ever/1, close_frame_is_answered_once/1,
         close_lets_sent_data_out/1, close_ends_another_reader/1, data_after_our_close_is_dropped/1,
         shutdown_of_writing/1, shutdown_of_reading/1, shutdown_of_both/1, lost_trunk_resets/1]).
-export([owners_end_closes/1, owners_kill_lets_sent_data_out/1, own_by_a_dead_process_closes/1,
         others_end_changes_nothing/1]).

-define(TRUNK, megaphone_test_nif).

suite() ->
    [{timetrap, {seconds, 30}}].

all() ->
    [{group, close}, {group, owner}].

groups() ->
    [{close, [parallel],
      [close_is_for_ever, close_by_the_peer_is_for_ever, close_frame_is_answered_once,
       close_lets_sent_data_out, close_ends_another_reader, data_after_our_close_is_dropped,
       shutdown_of_writing, shutdown_of_reading, shutdown_of_both, lost_trunk_resets]},
     {owner, [parallel],
      [owners_end_closes, owners_kill_lets_sent_data_out, own_by_a_dead_process_closes,
       others_end_changes_nothing]}].

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
    Full = ?TRUNK:fill(Socket),
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
    _ = ?TRUNK:fill(Full),
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
                          receive go -> Test ! {sent, ?TRUNK:fill(Socket)} end,
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
    {ok, [{Handle, raw}], []} = ?TRUNK:feed(Trunk, ?TRUNK:frame(Id, "a")),
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

%% A process that ends with recv's answer.
reader(Socket, Length) ->
    spawn_monitor(fun() -> exit(gen_tcp:recv(Socket, Length)) end).

end_process(Pid, kill) -> exit(Pid, kill);
end_process(Pid, Reason) -> Pid ! {finish, Reason}.

no_connections(Trunk) ->
    megaphone_test_wait:until("an empty table", fun() ->
        maps:get(connections, ?TRUNK:status(Trunk)) =:= 0
    end),
    ?assertMatch(#{buffered := 0, waiters := 0}, ?TRUNK:status(Trunk)).
