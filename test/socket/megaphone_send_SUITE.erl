%% send and sendfile of a connection, and its turns in the trunk's output.
-module(megaphone_send_SUITE).

-include_lib("stdlib/include/assert.hrl").

-import(megaphone_test_process, [ended/1, mailbox/0]).

-export([all/0, groups/0, suite/0]).
-export([send_takes_any_iodata/1, send_of_nothing_sends_nothing/1, send_refuses_other_terms/1,
         send_is_cut_into_frames/1, send_of_10_mib_in_order/1, send_waits_for_room/1,
         send_times_out_and_goes_on/1, send_that_times_out_sent_whole_pieces/1,
         send_ends_when_the_peer_closes/1, output_takes_turns/1, writer_is_told_once/1]).
-export([sendfile_whole/1, sendfile_part/1, sendfile_refusals/1]).

-define(TRUNK, megaphone_test_nif).

suite() ->
    [{timetrap, {seconds, 30}}].

all() ->
    [{group, send}, {group, sendfile}].

groups() ->
    [{send, [parallel],
      [send_takes_any_iodata, send_of_nothing_sends_nothing, send_refuses_other_terms,
       send_is_cut_into_frames, send_of_10_mib_in_order, send_waits_for_room,
       send_times_out_and_goes_on, send_that_times_out_sent_whole_pieces,
       send_ends_when_the_peer_closes, output_takes_turns, writer_is_told_once]},
     {sendfile, [parallel],
      [sendfile_whole, sendfile_part, sendfile_refusals]}].

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
    Full = ?TRUNK:fill(Socket),
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
    Full = ?TRUNK:fill(Socket),
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
    _ = ?TRUNK:fill(Socket),
    Senders = [spawn_monitor(fun() -> exit(gen_tcp:send(Socket, "x")) end) || _ <- [1, 2, 3]],
    ?TRUNK:waiters(Trunk, 3),
    ok = ?TRUNK:peer_close(Trunk, Id),
    [?assertEqual({error, closed}, ended(Sender)) || Sender <- Senders],
    ?TRUNK:waiters(Trunk, 0).

%% Confirms that three connections with 10 MiB to send each delay another's few bytes by what is framed ahead
%% of the writer, 64 KiB and a frame that may pass that, and by one frame each: whoever is quick after the
%% writer has looked may have framed as much, so that holds each time and no less.
output_takes_turns(_Config) ->
    Trunk = ?TRUNK:open(#{send_timeout => infinity}),
    Greedy = [greedy(Trunk, 10 bsl 20) || _ <- [1, 2, 3]],
    ?TRUNK:waiters(Trunk, 3),
    {Modest, ModestId} = ?TRUNK:connect(Trunk),
    [begin
         ok = gen_tcp:send(Modest, binary:copy(<<"m">>, Size)),
         Ahead = bytes_before(ModestId, Size, Trunk),
         ?assert(Ahead =< 65536 + 16384 + 3 * 16384, {bytes_ahead, Ahead})
     end || Size <- lists:seq(100, 150)],
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
    [begin
         Trunk = ?TRUNK:open(),
         {Socket, Id} = ?TRUNK:connect(Trunk),
         {Path, Data} = file_of(Config, Size),
         {Sent, Output} = output_of(Trunk, fun() -> file:sendfile(Path, Socket) end),
         ?assertEqual({ok, Size}, Sent),
         ?assert(?TRUNK:content(Id, Output) =:= {Data, open}, {size, Size})
     end || Size <- [0, 1, 65536, 200_000]].

%% Confirms that file:sendfile/5 sends the part asked for, of files opened in either mode, and leaves
%% the file's position where it was.
sendfile_part(Config) ->
    {Path, Data} = file_of(Config, 150_000),
    [begin
         Trunk = ?TRUNK:open(),
         {Socket, Id} = ?TRUNK:connect(Trunk),
         {ok, File} = file:open(Path, [read, raw | Mode]),
         {ok, 77} = file:position(File, 77),
         Part = binary:part(Data, Offset, Sent),
         {Answer, Output} = output_of(Trunk, fun() -> file:sendfile(File, Socket, Offset, Count, []) end),
         ?assertEqual({ok, Sent}, Answer),
         ?assert(?TRUNK:content(Id, Output) =:= {Part, open}, {Mode, Offset, Count}),
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
    ok = file:close(File),
    ?assertEqual({error, einval}, file:sendfile(File, Socket, 0, 0, [])),
    ok = gen_tcp:close(Socket),
    ?assertEqual({error, closed}, file:sendfile(Path, Socket)).

%% What a function answers while another process takes all output, and that.
output_of(Trunk, Fun) ->
    Self = self(),
    Writer = spawn_link(fun() ->
                                ok = megaphone_nif:set_writer(Trunk, self()),
                                Self ! {output, self(), take_until_stop(Trunk)}
                        end),
    Answer = Fun(),
    Writer ! stop,
    receive {output, Writer, Output} -> {Answer, Output ++ ?TRUNK:output(Trunk)} end.

take_until_stop(Trunk) ->
    receive
        {'$megaphone', 0} -> ?TRUNK:output(Trunk) ++ take_until_stop(Trunk);
        stop -> []
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

file_of(Config, Size) ->
    Name = integer_to_list(erlang:unique_integer([positive])),
    Path = filename:join(proplists:get_value(priv_dir, Config), Name),
    Data = rand:bytes(Size),
    ok = file:write_file(Path, Data),
    {Path, Data}.
