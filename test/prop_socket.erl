%% @doc The same calls on a gen_tcp socket and on a connection of a trunk have the same answers and send
%% the same messages, apart from the differences that are named here.
%%
%% A test is a list of commands. Each is run on a raw connection first and then on one end of a gen_tcp
%% connection. What the first answered tells how long to wait for the second, whose messages come by way
%% of the kernel. A command that means nothing in the state that is reached is skipped.
-module(prop_socket).

-include_lib("proper/include/proper.hrl").

-export([prop_like_gen_tcp/0, examples/0, run/1]).

-export_type([command/0, difference/0]).

-define(SIDE, prop_socket_side).
%% How long gen_tcp's messages may take to come (milliseconds).
-define(PATIENCE, 2000).
%% How long to wait for those that an intended difference may leave out.
-define(IMPATIENCE, 20).

-type command() :: {peer_send, binary()}
                 | peer_close
                 | {recv, pos_integer(), timeout()}
                 %% recv of 0 until no more is there.
                 | {recv_all, timeout()}
                 | {recv_packet, timeout()}
                 %% A third process.
                 | {start_recv, pos_integer()}
                 | {send, iodata()}
                 | {active, boolean() | once | integer()}
                 | {packet, 0 | atom()}
                 | getopts
                 | {hand_over, other | self | dead}
                 %% The process that doesn't own the socket tries it.
                 | hand_over_by_other
                 | {shutdown, read | write | read_write}
                 | close
                 | kill_owner
                 | drop_messages
                 %% Also where it would be skipped.
                 | {always, command()}.
-type difference() :: closed_for_ever | failed_send_closes_nothing | rest_can_be_read | length_is_forgotten | close_is_seen_at_once
                    | reader_gives_way | length_in_packet_mode | packet_mode_is_for_all | headers_need_a_header | close_ends_both_directions | shutdown_of_reading_drops
                    | open_until_our_close | all_messages_are_moved | dead_process_gets_nothing | send_of_nothing_is_a_send.

%% What is known of both sockets before a command.
-record(context, {owner = 1 :: 1 | 2,
                  peer = open :: open | closed,
                  ours = open :: open | closed,
                  writing = open :: open | shut,
                  reading = open :: open | shut,
                  active = false :: boolean() | once | integer(),
                  packet = 0 :: 0 | atom(),
                  buffered = 0 :: non_neg_integer(),
                  reader = none :: none | waits,
                  %% gen_tcp may have taken a part of what came into a buffer of its own, and gives
                  %% that apart from the rest.
                  split = no :: no | maybe,
                  %% The length of a recv that timed out.
                  asked = none :: none | pos_integer(),
                  %% A recv was answered that the peer has closed.
                  told = no :: no | yes,
                  %% The socket was in mode httph.
                  headers_only = never :: never | was,
                  %% A command was run that would have been skipped.
                  forced = no :: no | yes}).

%% @doc Any list of commands.
-spec prop_like_gen_tcp() -> proper:test().
prop_like_gen_tcp() ->
    ?FORALL(Commands, commands(),
            begin
                {Result, Seen} = run(Commands),
                prop_result:note("~p~n", [Result]),
                aggregate(Seen, Result =:= ok)
            end).

%% @doc Commands that show each intended difference, the last of them the one that differs.
-spec examples() -> [{difference(), [command()]}].
examples() ->
    [{closed_for_ever, [peer_close, {recv_all, 0}, {recv_all, 0}]},
     {closed_for_ever, [{shutdown, write}, {always, {send, "a"}}, {always, {send, "a"}}]},
     {rest_can_be_read, [{peer_send, <<"abc">>}, peer_close, {recv, 4, 0}, {recv, 3, 0}]},
     {length_is_forgotten, [{recv, 3, 0}, {peer_send, <<"ab">>}, {always, {recv_all, 0}}]},
     {close_is_seen_at_once, [{peer_send, <<"abc">>}, peer_close, {always, {recv, 4, 0}}]},
     {packet_mode_is_for_all, [{packet, httph}, {peer_send, <<"A: b\r\n">>}, {recv_packet, 0},
                               {always, {packet, http}}, {recv_packet, 0}]},
     {headers_need_a_header, [{active, once}, {packet, httph}, {always, {packet, http}},
                              {peer_send, <<"\nabc">>}]},
     {reader_gives_way, [{start_recv, 1}, {always, {active, true}}]},
     {dead_process_gets_nothing, [{active, true}, {peer_send, <<"a">>}, {hand_over, other},
                                  {always, {hand_over, dead}}]},
     {failed_send_closes_nothing, [{start_recv, 1}, {shutdown, write}, {always, {send, "a"}}]},
     {send_of_nothing_is_a_send, [{shutdown, write}, {always, {send, ""}}]},
     {open_until_our_close, [peer_close, {recv, 1, 0}, {shutdown, write}]},
     {open_until_our_close, [{shutdown, write}, peer_close, {shutdown, write}]},
     {length_in_packet_mode, [{packet, http}, peer_close, {recv_all, 0}, {recv, 1, 0}]},
     {close_ends_both_directions, [peer_close, {send, "a"}]},
     {shutdown_of_reading_drops, [{peer_send, <<"abc">>}, {shutdown, read}, {recv_all, 0}]},
     {all_messages_are_moved, [{packet, http_bin}, {active, once},
                               {peer_send, <<"GET / HTTP/1.1\r\n">>}, {hand_over, other}]},
     {all_messages_are_moved, [{active, 0}, {hand_over, other}]}].

%% @doc Runs the commands. Answers `ok', or where the sides differ; and which differences were met.
-spec run([command()]) -> {ok | {differ, term()}, [difference()]}.
run(Commands) ->
    Sides = [?SIDE:open(megaphone), ?SIDE:open(tcp)],
    try
        run(Commands, #context{}, Sides, [])
    catch
        Class:Reason:Stack -> {{Class, Reason, Stack}, []}
    after
        [ok = ?SIDE:stop(Side) || Side <- Sides]
    end.

run([], _Context, _Sides, Seen) ->
    {ok, Seen};
run([{always, Command} | Commands], Context, Sides, Seen) ->
    run(Command, Commands, Context#context{forced = yes}, Sides, Seen);
run([Command | Commands], Context, Sides, Seen) ->
    case is_possible(Command, Context) of
        true -> run(patient(Command, Context), Commands, Context, Sides, Seen);
        false -> run(Commands, Context, Sides, Seen)
    end.

run(Command, Commands, Context, Sides, Seen) ->
    {Ours, Theirs, [Mine, Other] = Next} = both(Command, Context, Sides),
    case Ours =:= Theirs orelse difference(Command, Context, Ours, Theirs) of
        true ->
            run(Commands, after_command(Command, Context, Ours, Mine), Next, Seen);
        {go, Name} ->
            %% What differs now would differ for ever.
            [?SIDE:drop_messages(Side) || Side <- [Mine, Other]],
            run(Commands, after_command(Command, Context, Ours, Mine), Next, [Name | Seen]);
        {stop, Name} ->
            run([], Context, Next, [Name | Seen]);
        unintended ->
            {{differ, [{command, Command}, {context, context(Context)}, {ours, Ours},
                       {theirs, Theirs}]}, Seen}
    end.

%% The intended differences: one clause each, with the reason. `stop': the sides have nothing in common
%% from here on.

%% A peer that closed has closed both directions: version 1 of the trunk has no half-close. TCP's can
%% still receive.
difference({send, _}, #context{peer = closed, ours = open}, {{error, closed}, M, R}, {_, M, R}) ->
    {go, close_ends_both_directions};
%% A peer's close leaves what came before it, in any lengths. gen_tcp drops it once it has told of the
%% close because more was asked for.
difference(_, #context{told = yes, buffered = Rest}, _, _) when Rest > 0 ->
    {stop, rest_can_be_read};
%% Each recv stands for itself. gen_tcp goes on to wait for the length of one that timed out, whatever the
%% next one asks for.
difference({recv_all, _}, #context{asked = Length}, _, _) when is_integer(Length) ->
    {stop, length_is_forgotten};
%% A recv that a close has made impossible is told so. gen_tcp sees the close behind a rest only if it
%% waits.
difference({recv, _, 0}, #context{forced = yes, peer = closed, buffered = Rest}, {{error, closed}, M, R},
           {{error, timeout}, M, R}) when Rest > 0 ->
    {stop, close_is_seen_at_once};
%% A packet mode is for all bytes that haven't been read. gen_tcp's is for those that it hasn't yet in a
%% buffer of its own, until more come.
difference({recv_packet, _}, #context{forced = yes, split = maybe}, {{ok, _}, M, R},
           {{error, timeout}, M, R}) ->
    {stop, packet_mode_is_for_all};
%% A socket that was in mode httph goes on with headers in mode http if it has read one. gen_tcp does too if
%% it has looked for one.
difference({peer_send, _}, #context{forced = yes, packet = http}, {ok, {[{http, {http_error, _}}], []}, R},
           {ok, {[{http, http_eoh}], []}, R}) ->
    {stop, headers_need_a_header};
%% A process in recv is answered when the socket becomes active. gen_tcp leaves it there, and gives some of
%% what comes to nobody.
difference({active, _}, _, {ok, M, {answered, {error, einval}}}, {ok, M, waits}) ->
    {stop, reader_gives_way};
%% After a shutdown of reading nothing is read. Linux still gives what came, and what comes.
difference(_, #context{reading = shut}, _, _) ->
    {stop, shutdown_of_reading_drops};
%% A peer's close that a recv has told of, or our shutdown of the other direction, leaves the socket as it
%% is. It closes gen_tcp's, or the kernel's.
difference({shutdown, _}, #context{peer = closed, ours = open, told = Told, writing = Writing}, {ok, M, R},
           {{error, enotconn}, M, R}) when Told =:= yes; Writing =:= shut ->
    {stop, open_until_our_close};
%% A send after a shutdown of writing fails, and that is all. gen_tcp's closes the socket.
difference({send, _}, #context{writing = shut}, {{error, closed}, M, waits},
           {{error, closed}, M, {answered, {error, closed}}}) ->
    {stop, failed_send_closes_nothing};
%% A send of nothing is a send. gen_tcp has nothing to ask the kernel for.
difference({send, ""}, #context{writing = shut}, {{error, closed}, M, R}, {{ok, <<>>}, M, R}) ->
    {go, send_of_nothing_is_a_send};
%% A process that is dead gets nothing. gen_tcp sends it the messages first, and leaves the socket passive.
difference({hand_over, dead}, _, {{error, badarg}, _, R}, {{error, badarg}, _, R}) ->
    {stop, dead_process_gets_nothing};
%% A length in a packet mode is wrong, also when the peer has closed.
difference({recv, _, _}, #context{told = yes, ours = open, packet = Packet}, {{error, einval}, M, R},
           {{error, enotconn}, M, R}) when Packet =/= 0 ->
    {go, length_in_packet_mode};
%% What can't be done on a closed socket, or in a direction that was shut, is answered `closed' for ever,
%% where gen_tcp changes to other names. ({@link megaphone})
difference(_, #context{told = Told, ours = Ours, writing = Writing}, {OurAnswer, M, OurReader},
           {TheirAnswer, M, TheirReader})
  when Told =:= yes; Ours =:= closed; Writing =:= shut ->
    case is_closed(OurAnswer, TheirAnswer) andalso is_closed(OurReader, TheirReader) of
        true -> {go, closed_for_ever};
        false -> unintended
    end;
%% All of a socket's messages go to the new owner. gen_tcp forgets those of the http modes, tcp_passive and
%% tcp_error.
difference({hand_over, other}, _, {ok, {OursA, OursB}, R}, {ok, {TheirsA, TheirsB}, R}) ->
    Left = [Message || Message <- TheirsA ++ TheirsB, not is_moved(Message)],
    case Left =/= [] andalso lists:sort(OursA ++ OursB) =:= lists:sort(TheirsA ++ TheirsB) of
        true -> {go, all_messages_are_moved};
        false -> unintended
    end;
difference(_, _, _, _) ->
    unintended.

is_closed(Same, Same) -> true;
is_closed({error, closed}, {error, Name}) -> Name =:= enotconn orelse Name =:= einval;
is_closed({[], Ours}, {[], Theirs}) -> is_closed(Ours, Theirs);
is_closed({answered, Ours}, {answered, Theirs}) -> is_closed(Ours, Theirs);
is_closed(_, _) -> false.

is_moved({tcp, _}) -> true;
is_moved(tcp_closed) -> true;
is_moved(_) -> false.

%% Where a command is left out, and why.

%% failed_send_closes_nothing
is_possible({send, _}, #context{writing = shut, ours = open}) ->
    false;
%% length_is_forgotten
is_possible({recv, Length, _}, #context{asked = Asked, ours = open}) when is_integer(Asked), Length =/= Asked ->
    false;
is_possible({Command, _}, #context{asked = Asked, ours = open})
  when is_integer(Asked), Command =:= recv_all orelse Command =:= recv_packet orelse
       Command =:= start_recv orelse Command =:= packet orelse Command =:= active ->
    false;

%% A peer that has closed says no more; what it sends to a closed socket is nobody's, and gen_tcp closes
%% as it reads after a shutdown of reading.
is_possible({peer_send, _}, #context{peer = Peer, ours = Ours, reading = Reading}) ->
    {Peer, Ours, Reading} =:= {open, open, open};
is_possible(peer_close, #context{peer = Peer, ours = Ours}) -> {Peer, Ours} =:= {open, open};
is_possible({start_recv, _}, #context{reader = Reader, packet = Packet}) -> {Reader, Packet} =:= {none, 0};
%% reader_gives_way. And gen_tcp's messages of bytes that are split depend on where they are.
is_possible({active, Active}, Context) ->
    Active =:= false
        orelse (Context#context.reader =:= none
                andalso (Context#context.split =:= no orelse Context#context.packet =/= 0));
%% dead_process_gets_nothing
is_possible({hand_over, dead}, #context{active = Active}) -> Active =:= false;
%% headers_need_a_header
is_possible({packet, Packet}, #context{headers_only = was}) when Packet =:= http; Packet =:= http_bin ->
    false;
%% packet_mode_is_for_all
is_possible({packet, _}, #context{reader = Reader, split = Split}) -> {Reader, Split} =:= {none, no};
is_possible(Command, #context{ours = Ours}) when Command =:= kill_owner; Command =:= hand_over_by_other ->
    Ours =:= open;
is_possible(_, _) -> true.

%% close_is_seen_at_once
patient({Recv, _}, #context{peer = closed}) when Recv =:= recv_all; Recv =:= recv_packet -> {Recv, ?PATIENCE};
patient({recv, Length, _}, #context{peer = closed}) -> {recv, Length, ?PATIENCE};
patient(Command, _) -> Command.

%% Runs a command on both sides. A side's result is the answer, the messages its processes have, and what
%% the third process does.
both(Command, Context, [Mine, Other]) ->
    {OurAnswer, Mine1} = do(Command, Context, Mine),
    {OurReader, Mine2} = ?SIDE:reader(Mine1),
    OurMessages = ?SIDE:mailbox(Mine2),
    {TheirAnswer, Other1} = do(Command, Context, Other),
    Patience = case {Command, Context} of
                   {{hand_over, _}, _} -> ?IMPATIENCE;
                   {_, #context{told = no, reading = open}} -> ?PATIENCE;
                   _ -> ?IMPATIENCE
               end,
    {TheirMessages, TheirReader, Other2} =
        await({OurMessages, OurReader}, Other1, none, now_ms() + Patience),
    {{OurAnswer, OurMessages, OurReader}, {TheirAnswer, TheirMessages, TheirReader}, [Mine2, Other2]}.

%% Waits until gen_tcp's messages are there, or should have been.
await(Expected, Side, Answered, Deadline) ->
    {Now, Next} = ?SIDE:reader(Side),
    Reader = case Answered of
                 none -> Now;
                 _ -> Answered
             end,
    Messages = ?SIDE:mailbox(Next),
    case is_there(Expected, {Messages, Reader}) orelse now_ms() >= Deadline of
        true ->
            {Messages, Reader, Next};
        false ->
            receive after 1 -> ok end,
            Kept = case Reader of {answered, _} -> Reader; _ -> none end,
            await(Expected, Next, Kept, Deadline)
    end.

is_there({Messages, Same}, {Messages, Same}) -> true;
is_there({Messages, {answered, _}}, {Messages, {answered, _}}) -> true;
is_there(_, _) -> false.

do({peer_send, Data}, _, Side) ->
    {ok, ?SIDE:peer_send(Side, Data)};
do(peer_close, _, Side) ->
    {ok, ?SIDE:peer_close(Side)};
do({start_recv, Length}, _, Side) ->
    {ok, ?SIDE:start_reader(Side, Length)};
do(drop_messages, _, Side) ->
    {?SIDE:drop_messages(Side), Side};
do(kill_owner, #context{owner = Owner, peer = Peer}, Side) ->
    Pid = ?SIDE:worker(Side, Owner),
    unlink(Pid),
    exit(Pid, kill),
    megaphone_test_wait:until("the close by the owner's death", fun() ->
        inet:getopts(?SIDE:socket(Side), [active]) =:= {error, einval}
    end),
    {{killed, Peer =:= closed orelse ?SIDE:peer_sees_close(Side)}, Side};
do(close, #context{owner = Owner, peer = Peer, ours = Ours}, Side) ->
    Answer = ?SIDE:call(Side, Owner, fun gen_tcp:close/1),
    Seen = Peer =:= closed orelse Ours =:= closed orelse ?SIDE:peer_sees_close(Side),
    {{Answer, Seen}, Side};
do({send, Data}, #context{owner = Owner, peer = Peer}, Side) ->
    case ?SIDE:call(Side, Owner, fun(Socket) -> gen_tcp:send(Socket, Data) end) of
        ok when Peer =:= open -> {{ok, ?SIDE:peer_recv(Side, iolist_size(Data))}, Side};
        Answer -> {Answer, Side}
    end;
do({hand_over, To}, #context{owner = Owner}, Side) ->
    New = case To of
              self -> ?SIDE:worker(Side, Owner);
              other -> ?SIDE:worker(Side, 3 - Owner);
              dead -> dead()
          end,
    {?SIDE:call(Side, Owner, fun(Socket) -> gen_tcp:controlling_process(Socket, New) end), Side};
do(hand_over_by_other, #context{owner = Owner}, Side) ->
    New = whereis(init),
    {?SIDE:call(Side, 3 - Owner, fun(Socket) -> gen_tcp:controlling_process(Socket, New) end), Side};
do(Command, #context{owner = Owner}, Side) ->
    {?SIDE:call(Side, Owner, fun(Socket) -> ask(Command, Socket) end), Side}.

ask({recv, Length, Timeout}, Socket) -> gen_tcp:recv(Socket, Length, Timeout);
ask({recv_packet, Timeout}, Socket) -> gen_tcp:recv(Socket, 0, Timeout);
ask({recv_all, Timeout}, Socket) -> recv_all(Socket, Timeout, []);
ask({active, Active}, Socket) -> inet:setopts(Socket, [{active, Active}]);
ask({packet, Packet}, Socket) -> inet:setopts(Socket, [{packet, Packet}]);
ask(getopts, Socket) -> inet:getopts(Socket, [active, packet, mode]);
ask({shutdown, How}, Socket) -> gen_tcp:shutdown(Socket, How).

%% All that is there: bytes in one piece, for gen_tcp gives them in as many as it likes.
recv_all(Socket, Timeout, Came) ->
    case gen_tcp:recv(Socket, 0, Timeout) of
        {ok, Piece} -> recv_all(Socket, Timeout, [Piece | Came]);
        Error -> {joined(lists:reverse(Came)), Error}
    end.

joined([A, B | Rest]) when is_binary(A), is_binary(B) -> joined([<<A/binary, B/binary>> | Rest]);
joined([A | Rest]) -> [A | joined(Rest)];
joined([]) -> [].

dead() ->
    {Pid, Monitor} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Monitor, process, Pid, _} -> Pid end.

%% What is known after a command, as our side shows it.
after_command(Command, Context, {Answer, _, Reader}, Side) ->
    Buffered = ?SIDE:buffered(Side),
    Options = inet:getopts(?SIDE:socket(Side), [active, packet]),
    with_options(Options, with_command(Command, Answer, Context#context{
        buffered = Buffered,
        reader = case Reader of waits -> waits; _ -> none end,
        split = split(Buffered, Command, Reader, Context),
        asked = asked(Command, Answer, Context),
        told = told(Answer, Reader, Context)})).

with_options({ok, [{active, Active}, {packet, Packet}]}, #context{headers_only = Before} = Context) ->
    HeadersOnly = case lists:member(Packet, [httph, httph_bin]) of true -> was; false -> Before end,
    Context#context{active = Active, packet = Packet, headers_only = HeadersOnly};
with_options({error, einval}, Context) ->
    Context#context{ours = closed, active = false}.

with_command(peer_close, _, Context) -> Context#context{peer = closed};
with_command({shutdown, write}, ok, Context) -> Context#context{writing = shut};
with_command({shutdown, read}, ok, Context) -> Context#context{reading = shut};
with_command({shutdown, read_write}, ok, Context) -> Context#context{reading = shut, writing = shut};
with_command({hand_over, other}, ok, #context{owner = Owner} = Context) -> Context#context{owner = 3 - Owner};
with_command(kill_owner, _, #context{owner = Owner} = Context) -> Context#context{owner = 3 - Owner};
with_command(_, _, Context) -> Context.

split(0, _, _, _) -> no;
split(_, _, waits, _) -> maybe;
split(_, Command, _, _) when element(1, Command) =:= recv; element(1, Command) =:= recv_all;
                             element(1, Command) =:= recv_packet; element(1, Command) =:= start_recv;
                             element(1, Command) =:= active -> maybe;
split(_, _, _, #context{active = Active}) when Active =/= false -> maybe;
split(_, _, _, #context{split = Split}) -> Split.

asked({recv, Length, _}, {error, timeout}, _) -> Length;
asked({recv, _, _}, _, _) -> none;
asked(_, _, #context{asked = Asked}) -> Asked.

told({error, closed}, _, #context{peer = closed}) -> yes;
told({_, {error, closed}}, _, #context{peer = closed}) -> yes;
told(_, {answered, {error, closed}}, _) -> yes;
told(_, _, #context{told = Told}) -> Told.

context(Context) ->
    lists:zip(record_info(fields, context), tl(tuple_to_list(Context))).

commands() ->
    ?LET(Commands, list(command()), Commands).

command() ->
    frequency([{12, {peer_send, data()}},
               {2, peer_close},
               {6, {recv, range(1, 8), recv_timeout()}},
               {6, {recv_all, recv_timeout()}},
               {3, {recv_packet, recv_timeout()}},
               {2, {start_recv, range(1, 8)}},
               {5, {send, oneof(["", <<"a">>, [[], "bc", [<<"d">>]]])}},
               {9, {active, oneof([true, false, once, 1, 2, 3, 0, -1, -2, 40000, maybe])}},
               {5, {packet, oneof([0, raw, http, http_bin, httph, httph_bin, nonsense])}},
               {2, getopts},
               {3, {hand_over, oneof([other, other, self, dead])}},
               {1, hand_over_by_other},
               {1, {shutdown, oneof([write, write, read, read_write])}},
               {1, close},
               {1, kill_owner},
               {1, drop_messages}]).

data() ->
    frequency([{3, ?LET(Size, range(1, 6), binary(Size))},
               {4, oneof([<<"GET / HTTP/1.1\r\n">>, <<"Host: a\r\n">>, <<"\r\n">>, <<"X">>, <<"-y: b\n">>,
                          <<"HTTP/1.0 200 OK\r\n">>, <<"no\r\n">>, <<"PUT">>, <<" * HTTP/1.0\r\n\r\n">>])}]).

recv_timeout() ->
    frequency([{6, 0}, {1, 2}]).

now_ms() ->
    erlang:monotonic_time(millisecond).
