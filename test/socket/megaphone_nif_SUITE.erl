%% The NIF's edges: terms of the wrong type, handles that name nothing, frames that are none, limits,
%% counters, and many processes that do everything at once.
-module(megaphone_nif_SUITE).

-include_lib("stdlib/include/assert.hrl").

-import(megaphone_test_process, [ended/1, mailbox/0]).

-export([all/0, groups/0, suite/0]).
-export([library_is_loaded/1, wrong_terms_are_badarg/1, wrong_settings_are_badarg/1,
         handles_made_up_name_nothing/1, stale_handles_name_nothing/1,
         handles_of_another_trunk_name_nothing/1, handles_are_small_integers/1]).
-export([bad_frames_end_the_trunk/1, longest_frame_is_taken/1, greediest_connection_is_reset/1,
         ceilings_are_as_set/1,
         limit_spares_what_is_read/1, refused_ids_are_forgotten/1, idle_connections_are_closed/1]).
-export([dirty_variants_answer_the_same/1, status_counts/1, status_asks_no_process/1,
         ended_trunks_stay_in_the_sums/1, trunks_are_given_back/1]).
-export([processes_race/1]).

-define(TRUNK, megaphone_test_nif).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, terms}, {group, limits}, {group, counters}, processes_race].

groups() ->
    [{terms, [parallel],
      [library_is_loaded, wrong_terms_are_badarg, wrong_settings_are_badarg,
       handles_made_up_name_nothing, stale_handles_name_nothing,
       handles_of_another_trunk_name_nothing, handles_are_small_integers]},
     {limits, [parallel],
      [bad_frames_end_the_trunk, longest_frame_is_taken, greediest_connection_is_reset,
       ceilings_are_as_set,
       limit_spares_what_is_read, refused_ids_are_forgotten, idle_connections_are_closed]},
     %% These look at all trunks of the VM.
     {counters, [],
      [dirty_variants_answer_the_same, status_counts, status_asks_no_process,
       ended_trunks_stay_in_the_sums, trunks_are_given_back]}].

%% Confirms that the library that was built is the one in use.
library_is_loaded(_Config) ->
    ?assertEqual(none, megaphone_nif:load_error()).

%% Confirms that each function raises badarg for an argument of any wrong type, and does nothing.
wrong_terms_are_badarg(_Config) ->
    Trunk = ?TRUNK:open(),
    {{'$inet', megaphone, {Trunk, Handle}} = Socket, Id} = ?TRUNK:connect(Trunk),
    Before = ?TRUNK:status(Trunk),
    Right = fun(trunk) -> Trunk;
               (handle) -> Handle;
               (Type) -> megaphone_test_calls:right(Type)
            end,
    Tried = [?assertError(badarg, apply(megaphone_nif, Name, replaced(At, Wrong, Arguments)),
                          {Name, At, Wrong})
             || {Name, Types} <- megaphone_test_calls:functions(),
                Arguments <- [lists:map(Right, Types)],
                {At, Type} <- lists:zip(lists:seq(1, length(Types)), Types),
                Wrong <- megaphone_test_calls:terms(), is_wrong(Type, Wrong)],
    ?assert(length(Tried) > 500),
    ?assertEqual(Before, ?TRUNK:status(Trunk)),
    ok = ?TRUNK:peer_send(Trunk, Id, "alive"),
    ?assertEqual({ok, <<"alive">>}, gen_tcp:recv(Socket, 0, 0)).

%% Confirms that a trunk's settings are checked each, and that one of the wrong type is named.
wrong_settings_are_badarg(_Config) ->
    [?assertError(badarg, megaphone_nif:open((megaphone_test_calls:right(settings))#{Name := Wrong}), {Name, Wrong})
     || {Name, Wrong} <- [{content, xmpp}, {max_frame_size, 32}, {max_frame_size, 0},
                          {max_frame_size, 10_000_000_000}]],
    [?assertEqual({Name, Wrong}, {named_in_error((megaphone_test_calls:right(settings))#{Name := Wrong}), Wrong})
     || {Name, Wrongs} <-
            [{content, [<<"http">>, 1]},
             {max_frame_size, [-1, infinity, 1.0e6]},
             {max_connections, [-1, infinity, 1 bsl 64]},
             {max_trunk_buffer, [-1, infinity, 1 bsl 64]},
             {max_trunk_output, [-1, infinity, 1 bsl 64]},
             {idle_timeout, [-1, never, 1 bsl 32, "1000"]},
             {send_timeout, [-1, never, 1 bsl 32]},
             {handshake_timeout, [-1, never, 1 bsl 32]},
             {frame_timeout, [-1, never, 1 bsl 32]},
             {listener, [none, 1, "pid"]},
             {ceilings, [[], none, #{gophers => #{}}, #{1 => #{}}, #{pings => 1}, #{pings => #{least => 1}},
                         #{pings => #{most => -1}}, #{pings => #{per_second => 1 bsl 32}}]},
             {peername, [none, {{1, 2, 3}, 4}, {{1, 2, 3, 256}, 4}, {{1, 2, 3, 4}, 65536},
                         {{1, 2, 3, 4}, -1}, {local, "path"}, {{1, 2, 3, 4, 5, 6, 7, 65536}, 1},
                         {{1, 2, 3, 4, 5, 6, 7}, 1}, {{1, 2, 3, 4}}, {1, 2}]},
             {sockname, [none, {}]}], Wrong <- Wrongs],
    [?assertError(badarg, megaphone_nif:open(maps:remove(Name, megaphone_test_calls:right(settings))), Name)
     || Name <- maps:keys(megaphone_test_calls:right(settings))].

%% Confirms that numbers that never were handles, near real ones and far from them, are answered as
%% closed connections are.
handles_made_up_name_nothing(_Config) ->
    Trunk = ?TRUNK:open(),
    {{'$inet', megaphone, {Trunk, Real}}, _} = ?TRUNK:connect(Trunk),
    Near = [Real + Difference || Difference <- [-1, 1, 63, 64, -64, 1 bsl 26, -(1 bsl 26), 1 bsl 58,
                                                1 bsl 63]],
    Edges = [0, 1, (1 bsl 26) - 1, (1 bsl 58) - 1, 1 bsl 58, (1 bsl 64) - 1],
    Random = [rand:uniform(1 bsl 64) - 1 || _ <- lists:seq(1, 2000)],
    Handles = [Handle || Handle <- Near ++ Edges ++ Random, Handle >= 0, Handle =/= Real],
    [names_nothing(Trunk, Handle) || Handle <- Handles],
    ?assertMatch(#{connections := 1, waiters := 0}, ?TRUNK:status(Trunk)).

%% Confirms that the handle of a connection that has ended names nothing, also when others are in its
%% place.
stale_handles_name_nothing(_Config) ->
    Trunk = ?TRUNK:open(),
    Old = [begin
               {{'$inet', megaphone, {Trunk, Handle}} = Socket, _} = ?TRUNK:connect(Trunk),
               ok = gen_tcp:close(Socket),
               Handle
           end || _ <- lists:seq(1, 200)],
    New = [Handle || _ <- lists:seq(1, 200),
                     {{'$inet', megaphone, {_, Handle}}, _} <- [?TRUNK:connect(Trunk)]],
    ?assertEqual([], [Handle || Handle <- New, lists:member(Handle, Old)]),
    [names_nothing(Trunk, Handle) || Handle <- Old],
    ?assertMatch(#{connections := 200, waiters := 0}, ?TRUNK:status(Trunk)).

%% Confirms that a handle does nothing in another trunk whose table is empty.
handles_of_another_trunk_name_nothing(_Config) ->
    {{'$inet', megaphone, {_, Handle}}, _} = ?TRUNK:connect(?TRUNK:open()),
    names_nothing(?TRUNK:open(), Handle).

%% Confirms that a handle takes no memory in a process.
handles_are_small_integers(_Config) ->
    Trunk = ?TRUNK:open(),
    [begin
         {{'$inet', megaphone, {_, Handle}}, _} = ?TRUNK:connect(Trunk),
         ?assertEqual(0, erts_debug:flat_size(Handle))
     end || _ <- lists:seq(1, 100)].

%% Confirms that bytes that are no frame end the trunk with a text that names their place, are counted,
%% and come after all that was right before them.
bad_frames_end_the_trunk(_Config) ->
    Id = ?TRUNK:id(1),
    Good = ?TRUNK:frame(Id, "good"),
    [begin
         Trunk = ?TRUNK:open(),
         {error, [{Handle, raw}], [], Text} = ?TRUNK:feed(Trunk, [Good, Bad]),
         ?assertEqual({ok, <<"good">>}, gen_tcp:recv(megaphone:socket(Trunk, Handle), 0, 0)),
         Place = iolist_to_binary(["trunk byte ", integer_to_list(byte_size(Good) + At), ":"]),
         ?assertNotEqual(nomatch, binary:match(Text, Place), Text),
         ?assertMatch(#{errors := #{Kind := 1}, frames_in := 1}, ?TRUNK:status(Trunk))
     end || {Bad, At, Kind} <- [{<<"x">>, 0, frame_length_byte},
                                {<<"-000000040">>, 0, frame_length_byte},
                                {<<"00000 0040">>, 5, frame_length_byte},
                                {<<"0000000031|">>, 0, frame_too_short},
                                {<<"0000000000|">>, 0, frame_too_short},
                                {<<"0001048577|">>, 0, frame_too_long},
                                {<<"9999999999|">>, 0, frame_too_long},
                                {<<"0000000033+">>, 10, frame_length_bar},
                                {<<"0000000033|abc def">>, 14, frame_id_byte},
                                {<<"0000000033|", 127>>, 11, frame_id_byte},
                                {<<"0000000033|", 0>>, 11, frame_id_byte},
                                {<<"0000000033|", Id/binary, "x">>, 31, frame_id_bar}]].

%% Confirms that a frame of max_frame_size is taken and one a byte longer is not.
longest_frame_is_taken(_Config) ->
    Id = ?TRUNK:id(1),
    Trunk = ?TRUNK:open(#{max_frame_size => 1000}),
    Content = rand:bytes(1000 - 32),
    Socket = ?TRUNK:connect(Trunk, Id, Content),
    ?assertEqual({ok, Content}, gen_tcp:recv(Socket, 0, 0)),
    ?assertMatch({error, [], [], _}, ?TRUNK:feed(Trunk, ?TRUNK:frame(Id, [Content, "x"]))).

%% Confirms that a trunk of version 2 ends where its own ceilings say, not where the defaults do; those
%% that were not set keep theirs.
ceilings_are_as_set(_Config) ->
    Pings = fun(Count) -> [<<0, 2, 1:16, 0:32, N:32>> || N <- lists:seq(1, Count)] end,
    Empty = <<0, 0, 0:16, 1:32, 0:32>>,
    Open = <<0, 1, 1:16, 1:32, 0:32>>,
    [begin
         Trunk = ?TRUNK:open(#{ceilings => Ceilings}),
         ?assertEqual({ok, [], []}, ?TRUNK:feed(Trunk, Most), {Ceilings, most}),
         ?assertMatch({error, [], [], <<_, _/binary>>}, ?TRUNK:feed(Trunk, OneMore), {Ceilings, one_more}),
         ?assertEqual(#{Name => 1}, maps:get(errors, ?TRUNK:status(Trunk)))
     end || {Name, Ceilings, Most, OneMore} <-
                [{pings, #{pings => #{most => 3}}, Pings(3), Pings(1)},
                 {pings, #{pings => #{most => 0, per_second => 0}}, <<>>, Pings(1)},
                 {empty_frames, #{empty_frames => #{most => 2}, pings => #{}},
                  [Open, Empty, Empty, Pings(200)], Empty}]],
    Default = ?TRUNK:open(#{ceilings => #{empty_frames => #{most => 0}}}),
    ?assertEqual({ok, [], []}, ?TRUNK:feed(Default, Pings(200))).

%% Confirms that a trunk that holds more than max_trunk_buffer resets the connection that holds most,
%% once what it reads shows so, and leaves the others all they have.
greediest_connection_is_reset(_Config) ->
    Trunk = ?TRUNK:open(#{max_trunk_buffer => 100_000}),
    Modest = [?TRUNK:connect(Trunk) || _ <- lists:seq(1, 10)],
    {Greedy, GreedyId} = ?TRUNK:connect(Trunk),
    [ok = ?TRUNK:peer_send(Trunk, Id, binary:copy(<<"m">>, 5000)) || {_, Id} <- Modest],
    ok = ?TRUNK:peer_send(Trunk, GreedyId, binary:copy(<<"g">>, 50_000)),
    ?assertMatch(#{buffered := 100_000, errors := None} when None =:= #{}, ?TRUNK:status(Trunk)),
    {_, LastId} = lists:last(Modest),
    ok = ?TRUNK:peer_send(Trunk, LastId, "m"),
    ?assertMatch(#{buffered := 50_001, errors := #{max_trunk_buffer := 1}}, ?TRUNK:status(Trunk)),
    ?assertEqual([{GreedyId, close}], ?TRUNK:output(Trunk)),
    ?assertEqual({error, econnreset}, gen_tcp:recv(Greedy, 0, 0)),
    ?assertEqual({error, closed}, gen_tcp:recv(Greedy, 0, 0)),
    Sizes = [byte_size(element(2, gen_tcp:recv(Socket, 0, 0))) || {Socket, _} <- Modest],
    ?assertEqual(lists:duplicate(9, 5000) ++ [5001], Sizes).

%% Confirms that any amount passes where it is read, and that an active socket is told of a reset.
limit_spares_what_is_read(_Config) ->
    Trunk = ?TRUNK:open(#{max_trunk_buffer => 1000}),
    {Active, Id} = ?TRUNK:connect(Trunk),
    ok = inet:setopts(Active, [{active, true}]),
    ok = ?TRUNK:peer_send(Trunk, Id, binary:copy(<<"a">>, 100_000)),
    ?assertMatch([{tcp, Active, <<_:100_000/binary>>}], mailbox()),
    ok = inet:setopts(Active, [{active, false}]),
    ok = ?TRUNK:peer_send(Trunk, Id, binary:copy(<<"a">>, 1001)),
    ok = inet:setopts(Active, [{active, true}]),
    ?assertEqual([{tcp_error, Active, econnreset}, {tcp_closed, Active}], mailbox()),
    ?assertMatch(#{connections := 0, buffered := 0}, ?TRUNK:status(Trunk)).

%% Confirms that ids that never got a connection take no memory without bound: twice max_connections
%% are known as ended, others are refused frame by frame.
refused_ids_are_forgotten(_Config) ->
    Trunk = ?TRUNK:open(#{max_connections => 1}),
    {_Socket, _} = ?TRUNK:connect(Trunk),
    Refuse = fun(Id) ->
                     {ok, [], []} = ?TRUNK:feed(Trunk, ?TRUNK:frame(Id, "x")),
                     ?TRUNK:output(Trunk)
             end,
    [Known | Others] = [?TRUNK:id(N) || N <- lists:seq(1, 50)],
    ?assertEqual([{Known, close}], Refuse(Known)),
    ?assertEqual([], Refuse(Known)),
    [?assertEqual([{Id, close}], Refuse(Id)) || Id <- Others, _ <- [1, 2]],
    ?assertMatch(#{errors := #{max_connections := 99}, connections := 1}, ?TRUNK:status(Trunk)).

%% Confirms that sweeps close connections that idle too long, tell their peers, and answer the owners
%% that are at work.
idle_connections_are_closed(_Config) ->
    Test = self(),
    %% Its reader would never be answered.
    _Reader = spawn_link(fun() ->
                                 Test ! {opened, ?TRUNK:open(#{idle_timeout => 1000})},
                                 receive never -> ok end
                         end),
    Trunk = receive {opened, Opened} -> Opened end,
    Sweep = fun() -> lists:append([megaphone_nif:sweep(Trunk) || _ <- lists:seq(1, 64)]) end,
    {Busy, BusyId} = ?TRUNK:connect(Trunk),
    {Reading, ReadingId} = ?TRUNK:connect(Trunk),
    Reader = spawn_monitor(fun() -> exit(gen_tcp:recv(Reading, 1)) end),
    ?TRUNK:waiters(Trunk, 1),
    ?assertEqual([], Sweep()),
    ?assertEqual([Test], megaphone_test_wait:until("owners of idle connections", fun() ->
        case Sweep() of [] -> false; Owners -> Owners end
    end)),
    ?assertEqual({error, closed}, ended(Reader)),
    ?assertEqual({error, closed}, gen_tcp:recv(Busy, 0, 0)),
    ?assertEqual(lists:sort([{BusyId, close}, {ReadingId, close}]), lists:sort(?TRUNK:output(Trunk))),
    ?assertMatch(#{errors := #{idle_timeout := 2}}, ?TRUNK:status(Trunk)).

%% Confirms that a function on a dirty scheduler and its brother answer the same.
dirty_variants_answer_the_same(_Config) ->
    Trunk = ?TRUNK:open(),
    Data = rand:bytes(200_000),
    [begin
         {ok, [{Handle, raw}], []} = megaphone_nif:Feed(Trunk, ?TRUNK:frame(?TRUNK:id(N), Data)),
         ?assert(megaphone_nif:Recv(Trunk, Handle, 200_000) =:= {ok, Data}),
         {wait, Wait} = megaphone_nif:Recv(Trunk, Handle, 1),
         {ok, [], []} = megaphone_nif:Feed(Trunk, ?TRUNK:frame(?TRUNK:id(N), "x")),
         ?assertEqual([{'$megaphone', Wait}], mailbox()),
         {error, [], [], <<_/binary>>} = megaphone_nif:Feed(?TRUNK:open(), <<"GET /">>)
     end || {N, Feed, Recv} <- [{1, feed, recv}, {2, feed_dirty, recv_dirty}]],
    [begin
         ?assertEqual({xmlel, <<"a">>, [], [{xmlcdata, <<"b">>}]}, megaphone_nif:Parse(<<"<a>b</a>">>, 1)),
         ?assertEqual({error, too_big}, megaphone_nif:Parse(<<"<a><b/></a>">>, 1)),
         ?assertEqual({error, <<"the document ends unfinished after 3 bytes; send it whole">>},
                      megaphone_nif:Parse(<<"<a>">>, 1))
     end || Parse <- [parse, parse_dirty]].

%% Confirms that the counters of a trunk are what went over it, and those of all the sum of them.
status_counts(_Config) ->
    Before = megaphone:status(),
    Trunk = ?TRUNK:open(),
    Id = ?TRUNK:id(1),
    Socket = ?TRUNK:connect(Trunk, Id, "12345"),
    ok = ?TRUNK:peer_send(Trunk, Id, "678"),
    ok = gen_tcp:send(Socket, "ab"),
    ok = gen_tcp:send(Socket, binary:copy(<<"c">>, 20_000)),
    _ = ?TRUNK:output(Trunk),
    Reader = spawn_monitor(fun() -> gen_tcp:recv(Socket, 100) end),
    ?TRUNK:waiters(Trunk, 1),
    Counted = #{connections => 1, opened => 1, frames_in => 2, bytes_in => 2 * 32 + 8,
                frames_out => 3, bytes_out => 3 * 32 + 20_002, buffered => 8, waiters => 1,
                errors => #{}},
    ?assertEqual(Counted, maps:with(maps:keys(Counted), ?TRUNK:status(Trunk))),
    After = megaphone:status(),
    [?assertEqual(Count, maps:get(Name, After) - maps:get(Name, Before), Name)
     || {Name, Count} <- maps:to_list(maps:remove(errors, Counted))],
    ?assertEqual(1, maps:get(trunks, After) - maps:get(trunks, Before)),
    exit(element(1, Reader), kill),
    ?TRUNK:waiters(Trunk, 0).

%% Confirms that status answers although the process that reads the trunk does nothing at all.
status_asks_no_process(_Config) ->
    Test = self(),
    Reader = spawn(fun() ->
                           Test ! {opened, ?TRUNK:open()},
                           receive never -> ok end
                   end),
    Trunk = receive {opened, Opened} -> Opened end,
    true = erlang:suspend_process(Reader),
    Number = megaphone_nif:number(Trunk),
    ?assertMatch({ok, #{number := Number, reader := Reader}}, megaphone:status(Number)),
    ?assert(lists:member(Number, maps:get(trunk_numbers, megaphone:status()))),
    exit(Reader, kill),
    ?assertMatch({ok, #{number := Number}}, megaphone:status(Number)),
    ?assertEqual({error, no_such_trunk}, megaphone:status(1 bsl 70)).

%% Confirms that what a trunk had counted stays in the sums when it is gone, and what it held does not.
ended_trunks_stay_in_the_sums(_Config) ->
    Before = megaphone:status(),
    {User, Monitor} = spawn_monitor(fun() ->
        Trunk = ?TRUNK:open(),
        [?TRUNK:connect(Trunk, ?TRUNK:id(N), "left behind") || N <- lists:seq(1, 7)],
        {error, _, _, _} = ?TRUNK:feed(Trunk, "no frame"),
        exit(megaphone_nif:number(Trunk))
    end),
    Number = receive {'DOWN', Monitor, process, User, N} -> N end,
    megaphone_test_wait:until("the end of the trunk", fun() ->
        megaphone:status(Number) =:= {error, no_such_trunk}
    end),
    After = megaphone:status(),
    ?assertEqual(7, maps:get(opened, After) - maps:get(opened, Before)),
    ?assertEqual(7, maps:get(frames_in, After) - maps:get(frames_in, Before)),
    Errors = fun(#{errors := Errors}) -> maps:get(frame_length_byte, Errors, 0) end,
    ?assertEqual(1, Errors(After) - Errors(Before)),
    [?assertEqual(maps:get(Name, Before), maps:get(Name, After), Name)
     || Name <- [trunks, connections, buffered, waiters]].

%% Confirms that trunks, with all they hold, go with the last process that knows them.
trunks_are_given_back(_Config) ->
    #{trunks := Before} = megaphone:status(),
    Users = [spawn_monitor(fun() ->
                                   Trunk = ?TRUNK:open(),
                                   {Socket, Id} = ?TRUNK:connect(Trunk),
                                   ok = ?TRUNK:peer_send(Trunk, Id, binary:copy(<<"x">>, 10_000)),
                                   _ = gen_tcp:recv(Socket, 1 bsl 20, 0)
                           end) || _ <- lists:seq(1, 1000)],
    ?assertEqual([normal], lists:usort([ended(User) || User <- Users])),
    megaphone_test_wait:until("the end of a thousand trunks", fun() ->
        erlang:garbage_collect(),
        maps:get(trunks, megaphone:status()) =:= Before
    end).

%% Confirms that a trunk outlives everything at once: owners that call the socket's functions at random,
%% are killed and hand over, others that read and write the same sockets, frames and close frames that
%% come, output that is taken. In the end nothing is left.
processes_race(_Config) ->
    Trunk = ?TRUNK:open(#{send_timeout => 2, max_trunk_buffer => 1 bsl 20}),
    Workers = [spawn_monitor(fun() -> race(Trunk, Peer, 60) end) || Peer <- lists:seq(1, 40)],
    Taker = spawn_monitor(fun() -> take(Trunk) end),
    [?assertEqual(normal, ended(Worker)) || Worker <- Workers],
    megaphone_test_wait:until("an empty trunk", fun() ->
        maps:with([connections, waiters, buffered], ?TRUNK:status(Trunk))
            =:= #{connections => 0, waiters => 0, buffered => 0}
    end),
    element(1, Taker) ! stop,
    ?assertEqual(normal, ended(Taker)),
    #{opened := Opened, frames_out := FramesOut} = ?TRUNK:status(Trunk),
    ?assertEqual(40 * 60, Opened),
    %% Each connection was closed towards its peer, once.
    ?assert(FramesOut >= Opened),
    ?assertEqual([], [Message || {'$megaphone', _} = Message <- mailbox()]).

%% Opens one connection after the other; each is used by an owner and two others while its peer sends
%% and closes. Ends when all of them have.
race(_Trunk, _Peer, 0) ->
    ok;
race(Trunk, Peer, Round) ->
    Id = ?TRUNK:id(Peer * 1000 + Round),
    {ok, [{Handle, _}], []} = ?TRUNK:feed(Trunk, ?TRUNK:frame(Id, "GET / HTTP/1.1\r\n")),
    Socket = megaphone:socket(Trunk, Handle),
    User = fun(GiveTo) ->
                   spawn_monitor(fun() -> receive start -> use(Socket, GiveTo(), 15) end end)
           end,
    Heir = User(fun erlang:self/0),
    Owner = User(fun() -> element(1, Heir) end),
    Others = [User(fun erlang:self/0) || _ <- [1, 2]],
    %% One of them may close it, but not before it has its owner.
    ok = megaphone_nif:own(Trunk, Handle, element(1, Owner)),
    [Pid ! start || {Pid, _} <- [Owner, Heir | Others]],
    [{ok, [], _} = ?TRUNK:feed(Trunk, ?TRUNK:frame(Id, rand:bytes(rand:uniform(300))))
     || _ <- lists:seq(1, rand:uniform(10))],
    Monitor = inet:monitor(Socket),
    [exit(Pid, kill) || {Pid, _} <- [Owner, Heir | Others], rand:uniform(4) =:= 1],
    {ok, [], _} = ?TRUNK:feed(Trunk, ?TRUNK:close_frame(Id)),
    Ends = [ended(Process) || Process <- [Owner, Heir | Others]],
    [] = [End || End <- Ends, End =/= normal, End =/= killed],
    %% The owner has gone, so the socket is closed.
    receive {'DOWN', Monitor, socket, Socket, closed} -> ok end,
    race(Trunk, Peer, Round - 1).

%% Random calls. None may crash, whatever others do to the socket; a stray wake would be seen.
use(_Socket, _Heir, 0) ->
    receive {'$megaphone', _} = Wake -> exit({stray, Wake}) after 0 -> ok end;
use(Socket, Heir, Calls) ->
    Answer = case rand:uniform(14) of
                 1 -> gen_tcp:recv(Socket, 0, rand:uniform(3) - 1);
                 2 -> gen_tcp:recv(Socket, rand:uniform(500), rand:uniform(3) - 1);
                 3 -> gen_tcp:send(Socket, rand:bytes(rand:uniform(100)));
                 4 -> gen_tcp:send(Socket, <<0:70_000/unit:8>>);
                 5 -> inet:setopts(Socket, [{active, one_of([true, false, once, 3, -2])}]);
                 6 -> inet:setopts(Socket, [{packet, one_of([raw, http, http_bin, httph, 0])}]);
                 7 -> inet:getopts(Socket, [active, packet]);
                 8 -> inet:getstat(Socket);
                 9 -> inet:info(Socket);
                 10 -> inet:cancel_monitor(inet:monitor(Socket));
                 11 -> gen_tcp:controlling_process(Socket, Heir);
                 12 -> gen_tcp:shutdown(Socket, one_of([read, write]));
                 13 -> gen_tcp:recv(Socket, 0, 1);
                 14 when Calls < 3 -> gen_tcp:close(Socket);
                 14 -> inet:peername(Socket)
             end,
    true = is_answer(Answer),
    use(Socket, Heir, Calls - 1).

is_answer(ok) -> true;
is_answer({ok, _}) -> true;
is_answer({error, Reason}) -> is_atom(Reason);
is_answer(Answer) -> is_map(Answer) orelse is_boolean(Answer).

take(Trunk) ->
    _ = ?TRUNK:take(Trunk),
    receive stop -> ok after 1 -> take(Trunk) end.

%% Every call that takes a handle, for one that names nothing.
names_nothing(Trunk, Handle) ->
    [?assertEqual(Answer, apply(megaphone_nif, Name, [Trunk, Handle | Rest]), {Name, Handle})
     || {Name, Rest, Answer} <- [{recv, [0], {error, closed}},
                                 {recv_dirty, [5], {error, closed}},
                                 {send, [<<"x">>], {error, closed}},
                                 {cancel, [1], sent},
                                 {close, [], ok},
                                 {reset, [], ok},
                                 {transport, [], {tcp, plain}},
                                 {shutdown, [read_write], closed},
                                 {owner, [], closed},
                                 {own, [self()], closed},
                                 {setopts, [[{active, once}]], {error, einval}},
                                 {getopts, [], closed},
                                 {getstat, [], closed},
                                 {is_open, [], false},
                                 {watch, [], closed}]].

%% The setting that open/1 complains of.
named_in_error(Settings) ->
    try megaphone_nif:open(Settings) of
        _Trunk -> accepted
    catch
        error:<<"Could not decode field :", Named/binary>> ->
            [Name | _] = binary:split(Named, <<" ">>),
            binary_to_existing_atom(Name)
    end.

is_wrong(pid, Term) -> not is_pid(Term);
is_wrong(binary, Term) -> not is_binary(Term);
is_wrong(iodata, Term) -> not is_binary(Term) andalso Term =/= [] andalso Term =/= "string";
is_wrong(options, Term) -> Term =/= [];
is_wrong(_, _) -> true.

replaced(At, Term, List) ->
    {Before, [_ | Behind]} = lists:split(At - 1, List),
    Before ++ [Term | Behind].

one_of(List) ->
    lists:nth(rand:uniform(length(List)), List).
