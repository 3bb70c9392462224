%% What goes wrong under clients whose sessions begin in the ECM: they vanish, trunks are cut, the ECM or
%% ejabberd is killed or told to end. Who has stream management (XEP-0198) loses nothing, and who has not
%% hears of it at once.
-module(megaphone_session_faults_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2]).
-export([client_vanishes_mid_stanza/1, vanished_without_stream_management/1,
         trunk_cut_while_a_thousand_talk/0, trunk_cut_while_a_thousand_talk/1,
         all_trunks_cut/1, resumed_before_all_was_read/1, ecm_killed/1, ecm_terminated/1, ejabberd_killed/1, node_shutdown/1]).

-import(megaphone_test_entrances, [login/3, authenticate/3]).
-import(megaphone_test_resumption, [jid/1]).

%% Those by WebSocket and by TCP, with TLS and without.
-define(KINDS, [http, https, xmpp, xmpp_off, xmpps]).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [client_vanishes_mid_stanza, vanished_without_stream_management, trunk_cut_while_a_thousand_talk, all_trunks_cut,
     resumed_before_all_was_read, ecm_killed, ecm_terminated, ejabberd_killed, node_shutdown].

init_per_suite(Config) ->
    megaphone_test_entrances:start(Config, #{ecm => "[limits]\nshutdown_timeout = \"3s\"\n"}).

end_per_suite(Config) ->
    megaphone_test_stage:stop(Config).

%% Each case starts with a working way to ejabberd, whatever the one before has done.
init_per_testcase(_, Config) ->
    ok = megaphone_test_ecm:ensure_running(ecm(Config)),
    ok = megaphone_test_entrances:await_open(Config),
    Config.

%% Confirms that of a stanza that ended in the middle with the client's connection nothing is delivered,
%% and that the whole one is delivered once after the session was resumed.
client_vanishes_mid_stanza(Config) ->
    Bob = resumable(Config, http),
    Final = lists:foldl(
              fun(Kind, Listener) ->
                      Alice = resumable(Config, Kind),
                      Text = atom_to_binary(Kind),
                      Sent = megaphone_test_resumption:send_message(Alice, jid(Bob), <<"before ", Text/binary>>),
                      ok = send_half(Sent, jid(Bob)),
                      ok = megaphone_test_resumption:drop(Sent),
                      Back = resume(Config, Kind, Sent),
                      Again = megaphone_test_resumption:send_message(Back, jid(Bob), <<"after ", Text/binary>>),
                      {alive, Done} = megaphone_test_resumption:ping(Again),
                      ok = megaphone_test_resumption:logout(Done),
                      Listener
              end, Bob, ?KINDS),
    {alive, Heard} = megaphone_test_resumption:ping(Final),
    ?assertEqual([<<When/binary, (atom_to_binary(Kind))/binary>>
                  || Kind <- ?KINDS, When <- [<<"before ">>, <<"after ">>]],
                 megaphone_test_resumption:received(Heard)),
    ok = megaphone_test_resumption:logout(Heard).

%% Confirms that a session without stream management ends when its client vanishes in mid-stanza.
vanished_without_stream_management(Config) ->
    [begin
         Client = login(Config, Kind, megaphone_test_stage:user(Config, <<"alice">>)),
         ok = send_half(#{client => Client}, megaphone_test_xmpp:jid(Client)),
         ok = megaphone_test_xmpp:drop(Client),
         await_no_session(Config, megaphone_test_xmpp:jid(Client))
     end || Kind <- ?KINDS].

trunk_cut_while_a_thousand_talk() ->
    [{timetrap, {seconds, 180}}].

%% Confirms that as a trunk is lost while a thousand talk in pairs, those on it are told so and the others go
%% on; of the eight hundred with stream management each has got each message exactly once and in order.
trunk_cut_while_a_thousand_talk(Config) ->
    Self = self(),
    Crowds = [spawn_monitor(fun() -> exit({cut, talk_through_a_cut(Config, Self, 40, 10)}) end)
              || _ <- lists:seq(1, 20)],
    ok = await_all(ready, Crowds),
    [Crowd ! go || {Crowd, _} <- Crowds],
    ok = await_all(talking, lists:sublist(Crowds, length(Crowds) div 2)),
    cut_trunks(Config, fun([Trunk | _]) -> [Trunk] end),
    [Crowd ! cut || {Crowd, _} <- Crowds],
    %% The case's time is all the patience there is: a thousand clients take long where others work too.
    Cuts = [receive
                {'DOWN', Monitor, process, Crowd, Reason} ->
                    ?assertMatch({cut, {_, _}}, Reason),
                    element(2, Reason)
            end || {Crowd, Monitor} <- Crowds],
    {Resumed, Told} = {lists:sum([N || {N, _} <- Cuts]), lists:sum([N || {_, N} <- Cuts])},
    ct:pal("of 800 sessions ~b were resumed, of 200 others ~b were told", [Resumed, Told]),
    %% There are four trunks.
    ?assert(Resumed > 100 andalso Resumed < 400 andalso Told > 25 andalso Told < 100, {Resumed, Told}).

%% A crowd of so many with stream management and so many others, in one process. How many of each were on
%% the trunk that was lost.
talk_through_a_cut(Config, Parent, Resumables, Others) ->
    Clients = [{Kind, resumable(Config, Kind)} || Kind <- kinds(Resumables)],
    Bare = [{Kind, unresumable(Config, Kind)} || Kind <- kinds(Others)],
    Partners = partners(Clients) ++ partners(Bare),
    Parent ! {ready, self()},
    receive go -> ok end,
    All = talk(Clients ++ Bare, Partners, 1, 3),
    Parent ! {talking, self()},
    %% Nobody knows yet.
    {Unaware, Last} = talk_until_cut(All, Partners, 4),
    {Kept, Left} = lists:split(Resumables, Unaware),
    Settled = [{Kind, megaphone_test_resumption:ping(Client)} || {Kind, Client} <- Kept],
    Resumed = length([?assertEqual(lost(Kind), Ending, Kind) || {Kind, {Ending, _}} <- Settled, Ending =/= alive]),
    Whole = [case Outcome of
                 {alive, Client} -> {Kind, Client};
                 {_, Client} -> {Kind, resume(Config, Kind, Client)}
             end || {Kind, Outcome} <- Settled],
    have_all(talk(Whole, Partners, Last + 1, Last + 2), Last + 2),
    {Resumed, length([told || {Kind, Client} <- Left, told_or_alive(Config, Kind, Client) =:= told])}.

talk_until_cut(Clients, Partners, Number) ->
    %% Nobody reads meanwhile: there is an end to what may wait for them.
    Wait = case Number of 10 -> infinity; _ -> 0 end,
    receive cut -> {Clients, Number - 1}
    after Wait -> talk_until_cut(talk(Clients, Partners, Number, Number), Partners, Number + 1)
    end.

await_all(What, Crowds) ->
    lists:foreach(fun({Crowd, Monitor}) ->
                          receive
                              {What, Crowd} -> ok;
                              {'DOWN', Monitor, process, Crowd, Reason} -> ct:fail("~ts: ~p", [What, Reason])
                          end
                  end, Crowds).

%% Confirms the same for all trunks at once.
all_trunks_cut(Config) ->
    Clients = [{Kind, resumable(Config, Kind)} || Kind <- kinds(40)],
    Others = [{Kind, unresumable(Config, Kind)} || Kind <- kinds(10)],
    Partners = partners(Clients),
    Talking = talk(Clients, Partners, 1, 3),
    cut_trunks(Config, fun(Trunks) -> Trunks end),
    %% Those who do not know yet talk on.
    Unaware = talk(Talking, Partners, 4, 6),
    Gone = [begin
                {Ending, Told} = megaphone_test_resumption:ping(Client),
                ?assertEqual(lost(Kind), Ending, Kind),
                {Kind, Told}
            end || {Kind, Client} <- Unaware],
    ok = megaphone_test_entrances:await_open(Config),
    Back = [{Kind, resume(Config, Kind, Client)} || {Kind, Client} <- Gone],
    have_all(talk(Back, Partners, 7, 8), 8),
    [?assertEqual(told, told_or_alive(Config, Kind, Client), Kind) || {Kind, Client} <- Others].

%% Each has got the messages up to this number, exactly once and in order.
have_all(Clients, Last) ->
    Expected = [body(Number) || Number <- lists:seq(1, Last)],
    lists:foreach(fun({Kind, Client}) ->
                          All = megaphone_test_resumption:recv_messages(Client, Last),
                          {alive, Done} = megaphone_test_resumption:ping(All),
                          ?assertEqual(Expected, megaphone_test_resumption:received(Done), Kind),
                          ok = megaphone_test_resumption:logout(Done)
                  end, Clients).

%% Confirms that a message which the session had not read as its client resumed it elsewhere is delivered once: the
%% client hears that ejabberd does not have it, and sends it again.
resumed_before_all_was_read(Config) ->
    Bob = resumable(Config, http),
    [begin
         Alice = resumable(Config, Kind),
         Session = session(Config, jid(Alice)),
         Holder = call(Config, megaphone_test_suspend, suspend, [Session]),
         [User, _] = binary:split(jid(Alice), <<"@">>),
         New = megaphone_test_resumption:start_resuming(Alice, authenticate(Config, Kind, User)),
         await_queue(Config, Session, 1),
         Sent = megaphone_test_resumption:send_message(Alice, jid(Bob), atom_to_binary(Kind)),
         await_queue(Config, Session, 2),
         ok = call(Config, megaphone_test_suspend, resume, [Holder]),
         {alive, Back} = megaphone_test_resumption:ping(megaphone_test_resumption:resumed(Sent, New)),
         ok = megaphone_test_resumption:drop(Sent),
         ok = megaphone_test_resumption:logout(Back)
     end || Kind <- ?KINDS],
    {alive, Heard} = megaphone_test_resumption:ping(Bob),
    ?assertEqual([atom_to_binary(Kind) || Kind <- ?KINDS], megaphone_test_resumption:received(Heard)),
    ok = megaphone_test_resumption:logout(Heard).

%% Confirms that an ECM that is killed and started again keeps nobody from resuming.
ecm_killed(Config) ->
    ecm_ends(Config, fun() -> megaphone_test_ecm:kill(ecm(Config)) end, fun(_Kind) -> any end).

%% Confirms the same for one that is told to end: it says so to its clients, and ends in order.
ecm_terminated(Config) ->
    ecm_ends(Config, fun() -> ?assertEqual(0, megaphone_test_ecm:terminate(ecm(Config))) end,
             fun(_Kind) -> #{condition => <<"system-shutdown">>, stream => closed} end).

ecm_ends(Config, End, Ending) ->
    Kinds = kinds(20),
    Clients = [{Kind, resumable(Config, Kind)} || Kind <- Kinds],
    Others = [login(Config, Kind, megaphone_test_stage:user(Config, <<"other">>)) || Kind <- ?KINDS],
    Jids = [jid(Client) || {_, Client} <- Clients],
    Partners = lists:zip(Jids, tl(Jids) ++ [hd(Jids)]),
    Talking = talk(Clients, Partners, 1, 3),
    %% The ECM waits for its clients to take what it says.
    {Ended, Monitor} = spawn_monitor(End),
    Gone = [begin
                {Got, Client1} = megaphone_test_resumption:drain(Client),
                ok = megaphone_test_resumption:drop(Client1),
                case Ending(Kind) of
                    any -> ok;
                    Expected -> ?assertEqual(Expected, Got, Kind)
                end,
                {Kind, Client1}
            end || {Kind, Client} <- Talking],
    [ok = megaphone_test_xmpp:drop(Other) || Other <- Others],
    ?assertEqual(normal, megaphone_test_process:ended({Ended, Monitor})),
    [await_no_session(Config, megaphone_test_xmpp:jid(Other)) || Other <- Others],
    Meanwhile = talk(Gone, Partners, 4, 5),
    ok = megaphone_test_ecm:restart(ecm(Config)),
    Back = [{Kind, resume(Config, Kind, Client)} || {Kind, Client} <- Meanwhile],
    have_all(talk(Back, Partners, 6, 7), 7).

%% Confirms that clients hear at once that ejabberd was killed, that those who come while it is away are
%% told so, and that they can log in as soon as it is back.
ejabberd_killed(Config) ->
    Clients = [{Kind, resumable(Config, Kind)} || Kind <- kinds(20)],
    ok = megaphone_test_ejabberd:kill(ejabberd(Config)),
    [begin
         {Ending, Client1} = megaphone_test_resumption:drain(Client),
         ?assertEqual(lost(Kind), Ending, Kind),
         ok = megaphone_test_resumption:drop(Client1)
     end || {Kind, Client} <- Clients],
    refused_while_away(Config),
    ok = megaphone_test_ejabberd:restart(ejabberd(Config)),
    ok = megaphone_test_entrances:await_open(Config),
    [begin
         User = megaphone_test_stage:user(Config, <<"again">>),
         ok = megaphone_test_xmpp:logout(login(Config, Kind, User))
     end || Kind <- ?KINDS].

%% Confirms that all clients are told that ejabberd shuts down, as RFC 6120 (4.9.3.19) has it.
node_shutdown(Config) ->
    Clients = [{Kind, resumable(Config, Kind)} || Kind <- kinds(20)],
    Halt = megaphone_test_ejabberd:start_halt(ejabberd(Config)),
    [begin
         {Ending, Client1} = megaphone_test_resumption:drain(Client),
         ?assertEqual(#{condition => <<"system-shutdown">>, stream => closed}, Ending, Kind),
         ok = megaphone_test_resumption:drop(Client1)
     end || {Kind, Client} <- Clients],
    ok = megaphone_test_ejabberd:await_halt(Halt),
    refused_while_away(Config),
    ok = megaphone_test_ejabberd:restart(ejabberd(Config)),
    ok = megaphone_test_entrances:await_open(Config).

%% What a client gets whose way to ejabberd was lost.
lost(_Kind) ->
    #{condition => <<"remote-connection-failed">>, stream => closed}.

%% New clients are told so.
refused_while_away(Config) ->
    {ok, Stream} = megaphone_test_c2s:open(megaphone_test_entrances:address(Config, xmpp_off),
                                           <<"localhost">>, #{}),
    {ok, Error, _} = megaphone_test_c2s:recv(Stream, 5000),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"remote-connection-failed">>, Error)),
    {ok, Socket} = megaphone_test_websocket:open(megaphone_test_entrances:address(Config, http),
                                                 <<"localhost">>, #{}),
    {ok, Refusal, _} = megaphone_test_websocket:recv(Socket, 5000),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"remote-connection-failed">>, Refusal)).

resumable(Config, Kind) ->
    megaphone_test_resumption:enable(login(Config, Kind, megaphone_test_stage:user(Config, <<"resumable">>))).

unresumable(Config, Kind) ->
    megaphone_test_resumption:without(login(Config, Kind, megaphone_test_stage:user(Config, <<"other">>))).

resume(Config, Kind, Client) ->
    [User, _] = binary:split(jid(Client), <<"@">>),
    megaphone_test_resumption:resume(Client, authenticate(Config, Kind, User)).

kinds(Count) ->
    [lists:nth(1 + Number rem length(?KINDS), ?KINDS) || Number <- lists:seq(1, Count)].

%% Each of the first half talks to one of the second.
partners(Clients) ->
    Jids = [jid(Client) || {_, Client} <- Clients],
    {First, Second} = lists:split(length(Jids) div 2, Jids),
    lists:zip(Jids, Second ++ First).

%% Each client sends its partner the messages with these numbers, all by turns.
talk(Clients, Partners, First, Last) ->
    lists:foldl(fun(Number, Before) ->
                        [begin
                             {_, Partner} = lists:keyfind(jid(Client), 1, Partners),
                             {Kind, megaphone_test_resumption:send_message(Client, Partner, body(Number))}
                         end || {Kind, Client} <- Before]
                end, Clients, lists:seq(First, Last)).

body(Number) ->
    <<"message ", (integer_to_binary(Number))/binary>>.

%% The beginning of a message, which is never sent to its end.
send_half(#{client := #{transport := Transport, state := State}}, To) ->
    Half = ["<message xmlns='jabber:client' type='chat' to='", To, "'><body>hal"],
    case Transport of
        megaphone_test_c2s ->
            megaphone_test_c2s:send_bytes(State, Half);
        megaphone_test_websocket ->
            Frame = iolist_to_binary(megaphone_test_websocket:frame({fin, text}, [Half, "f</body></message>"],
                                                                    <<1, 2, 3, 4>>)),
            megaphone_test_websocket:send_bytes(State, binary:part(Frame, 0, iolist_size(Half)))
    end.

%% The trunks' processes end as if the peer had closed.
cut_trunks(Config, Choose) ->
    Numbers = maps:get(trunk_numbers, call(Config, megaphone, status, [])),
    [_ | _] = Used = [Reader || Number <- Numbers,
                                {ok, #{connections := Count, reader := Reader}}
                                    <- [call(Config, megaphone, status, [Number])],
                                Count > 0],
    [true = call(Config, erlang, exit, [Reader, kill]) || Reader <- Choose(Used)].

%% Who has no stream management is there, or was told why not and is gone.
told_or_alive(Config, Kind, Client) ->
    case megaphone_test_resumption:ping(Client) of
        {alive, There} ->
            ok = megaphone_test_resumption:logout(There),
            alive;
        {Ending, Gone} ->
            ?assertEqual(lost(Kind), Ending, Kind),
            ok = megaphone_test_resumption:drop(Gone),
            await_no_session(Config, jid(Gone)),
            told
    end.

await_no_session(Config, Jid) ->
    megaphone_test_wait:until(["the end of the session of ", Jid], fun() -> session(Config, Jid) =:= none end).

session(Config, Jid) ->
    call(Config, ejabberd_sm, get_session_pid, binary:split(Jid, [<<"@">>, <<"/">>], [global])).

%% So many messages wait for a process that is held still.
await_queue(Config, Process, Count) ->
    true = megaphone_test_wait:until(
             io_lib:format("~b messages to wait for ~p", [Count, Process]),
             fun() -> call(Config, erlang, process_info, [Process, message_queue_len]) >= {message_queue_len, Count} end).

ecm(Config) ->
    megaphone_test_stage:ecm(Config).

ejabberd(Config) ->
    megaphone_test_stage:ejabberd(Config).

call(Config, Module, Function, Arguments) ->
    megaphone_test_ejabberd:call(ejabberd(Config), Module, Function, Arguments).
