%% @doc The same calls on a gen_tcp socket and on a connection of a trunk have the same answers and send
%% the same messages, apart from the differences that prop_socket_differences names.
%%
%% A test is a list of commands. Each is run on a raw connection first and then on one end of a gen_tcp
%% connection. What the first answered tells how long to wait for the second, whose messages come by way
%% of the kernel. A command that means nothing in the state that is reached is skipped.
-module(prop_socket).

-include_lib("proper/include/proper.hrl").
-include("prop_socket.hrl").

-export([prop_like_gen_tcp/0, run/1]).

-export_type([command/0, result/0]).

-define(SIDE, prop_socket_side).
-define(DIFFERENCES, prop_socket_differences).
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
%% A command's answer, the messages of the two processes, and what the third one does.
-type result() :: {term(), {[term()], [term()]}, none | waits | {answered, term()}}.

%% @doc Any list of commands.
-spec prop_like_gen_tcp() -> proper:test().
prop_like_gen_tcp() ->
    ?FORALL(Commands, commands(),
            begin
                {Result, Seen} = run(Commands),
                prop_result:note("~p~n", [Result]),
                aggregate(Seen, Result =:= ok)
            end).

%% @doc Runs the commands. Answers `ok', or where the sides differ; and which differences were met.
-spec run([command()]) -> {ok | {differ, term()}, [?DIFFERENCES:name()]}.
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
    case ?DIFFERENCES:is_possible(Command, Context) of
        true -> run(?DIFFERENCES:patient(Command, Context), Commands, Context, Sides, Seen);
        false -> run(Commands, Context, Sides, Seen)
    end.

run(Command, Commands, Context, Sides, Seen) ->
    {Ours, Theirs, [Mine, Other] = Next} = both(Command, Context, Sides),
    case Ours =:= Theirs orelse ?DIFFERENCES:difference(Command, Context, Ours, Theirs) of
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
split(_, _, waits, _) -> perhaps;
split(_, Command, _, _) when element(1, Command) =:= recv; element(1, Command) =:= recv_all;
                             element(1, Command) =:= recv_packet; element(1, Command) =:= start_recv;
                             element(1, Command) =:= active -> perhaps;
split(_, _, _, #context{active = Active}) when Active =/= false -> perhaps;
split(_, _, _, #context{split = Split}) -> Split.

asked({recv, Length, _}, {error, timeout}, _) -> Length;
asked({recv, _, _}, _, _) -> none;
asked(_, _, #context{asked = Asked}) -> Asked.

told({error, closed}, _, #context{peer = Peer, reading = Reading}) when Peer =:= closed; Reading =:= shut -> yes;
told({_, {error, closed}}, _, #context{peer = Peer, reading = Reading}) when Peer =:= closed; Reading =:= shut -> yes;
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
               {9, {active, oneof([true, false, once, 1, 2, 3, 0, -1, -2, 40000, perhaps])}},
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
