%% @doc One of the two sockets that prop_socket compares, with its peer and the two processes that can
%% own it: an end of a gen_tcp connection, or a raw connection of a trunk.
-module(prop_socket_side).

-export([open/1, stop/1, call/3, socket/1, worker/2, mailbox/1, drop_messages/1, buffered/1,
         start_reader/2, reader/1,
         peer_send/2, peer_close/1, peer_recv/2, peer_sees_close/1]).

-export_type([side/0]).

%% `sent': how many bytes the peer has sent.
-type side() :: #{kind := tcp | megaphone, socket := inet:socket(), peer := term(),
                  workers := {pid(), pid()}, reader := none | {pid(), reference()},
                  sent := non_neg_integer()}.

-define(TRUNK, megaphone_test_nif).
-define(TIMEOUT, 5000).
%% linux/tcp.h
-define(IPPROTO_TCP, 6).
-define(TCP_INFO, 11).
-define(TCP_INFO_SIZE, 136).
-define(ESTABLISHED, 1).
-define(FIN_WAIT2, 5).

%% @doc The socket is passive, and the first of the two processes owns it.
-spec open(tcp | megaphone) -> side().
open(Kind) ->
    {Socket, Peer} = connect(Kind),
    Workers = {A, _} = {spawn_link(fun work/0), spawn_link(fun work/0)},
    ok = gen_tcp:controlling_process(Socket, A),
    #{kind => Kind, socket => Socket, peer => Peer, workers => Workers, reader => none, sent => 0}.

connect(tcp) ->
    Options = [binary, {active, false}, {nodelay, true}, {ip, {127, 0, 0, 1}}],
    {ok, Listen} = gen_tcp:listen(0, Options),
    {ok, Port} = inet:port(Listen),
    {ok, Peer} = gen_tcp:connect({127, 0, 0, 1}, Port, Options, ?TIMEOUT),
    {ok, Socket} = gen_tcp:accept(Listen, ?TIMEOUT),
    ok = gen_tcp:close(Listen),
    {Socket, Peer};
connect(megaphone) ->
    Trunk = ?TRUNK:open(),
    {Socket, Id} = ?TRUNK:connect(Trunk),
    {Socket, {Trunk, Id}}.

-spec stop(side()) -> ok.
stop(#{workers := {A, B}, reader := Reader, socket := Socket, peer := Peer, kind := Kind}) ->
    gen_tcp:close(Socket),
    [begin unlink(Pid), exit(Pid, kill) end || Pid <- [A, B]],
    [exit(Pid, kill) || {Pid, _} <- [Reader]],
    case Kind of
        tcp -> gen_tcp:close(Peer);
        megaphone -> ok
    end.

-spec socket(side()) -> inet:socket().
socket(#{socket := Socket}) ->
    Socket.

-spec worker(side(), 1 | 2) -> pid().
worker(#{workers := Workers}, Number) ->
    element(Number, Workers).

%% @doc Runs a function of the socket in one of the two processes.
-spec call(side(), 1 | 2, fun((inet:socket()) -> Answer)) -> Answer.
call(#{socket := Socket} = Side, Number, Fun) ->
    Worker = worker(Side, Number),
    Ref = make_ref(),
    Worker ! {?MODULE, self(), Ref, fun() -> Fun(Socket) end},
    receive {Ref, Answer} -> Answer after ?TIMEOUT -> error({no_answer, Side}) end.

work() ->
    receive
        {?MODULE, From, Ref, Fun} ->
            From ! {Ref, Fun()},
            work()
    end.

%% @doc The messages that both processes have, without the socket; they stay where they are.
-spec mailbox(side()) -> {[term()], [term()]}.
mailbox(#{workers := {A, B}, socket := Socket}) ->
    {mailbox(A, Socket), mailbox(B, Socket)}.

mailbox(Pid, Socket) ->
    case process_info(Pid, messages) of
        undefined -> [];
        {messages, Messages} -> [without_socket(Message, Socket) || Message <- Messages]
    end.

without_socket({Tag, Socket, Content}, Socket) -> {Tag, Content};
without_socket({Tag, Socket}, Socket) -> Tag;
without_socket(Message, _) -> {unknown, Message}.

-spec drop_messages(side()) -> ok.
drop_messages(Side) ->
    [call(Side, Number, fun drop/1) || Number <- [1, 2], is_process_alive(worker(Side, Number))],
    ok.

drop(Socket) ->
    receive
        Message when element(2, Message) =:= Socket -> drop(Socket)
    after 0 ->
        ok
    end.

%% @doc How many bytes wait to be read; of a trunk's connection alone, the kernel doesn't tell.
-spec buffered(side()) -> non_neg_integer().
buffered(#{peer := {Trunk, _}}) ->
    maps:get(buffered, ?TRUNK:status(Trunk)).

%% @doc A third process waits in recv.
-spec start_reader(side(), pos_integer()) -> side().
start_reader(#{socket := Socket} = Side, Length) ->
    Reader = spawn_monitor(fun() -> exit({answered, gen_tcp:recv(Socket, Length)}) end),
    Side#{reader := Reader}.

%% @doc What the third process does: it waits, or it was answered (once).
-spec reader(side()) -> {none | waits | {answered, term()}, side()}.
reader(#{reader := none} = Side) ->
    {none, Side};
reader(#{reader := {Pid, Monitor}} = Side) ->
    receive
        {'DOWN', Monitor, process, Pid, Answer} -> {Answer, Side#{reader := none}}
    after 0 ->
        case is_waiting(Side) of
            true -> {waits, Side};
            false -> erlang:yield(), reader(Side)
        end
    end.

is_waiting(#{kind := megaphone, peer := {Trunk, _}}) ->
    maps:get(waiters, ?TRUNK:status(Trunk)) =:= 1;
is_waiting(#{kind := tcp, reader := {Pid, _}}) ->
    case process_info(Pid, [status, current_function]) of
        [{status, waiting}, {current_function, {prim_inet, _, _}}] -> true;
        _ -> false
    end.

%% @doc What the peer sends is there to be read when this returns.
-spec peer_send(side(), binary()) -> side().
peer_send(#{kind := tcp, peer := Peer, socket := Socket, sent := Before} = Side, Data) ->
    ok = gen_tcp:send(Peer, Data),
    Sent = Before + byte_size(Data),
    await_kernel(Socket, fun(_State, Received) -> Received >= Sent end),
    Side#{sent := Sent};
peer_send(#{kind := megaphone, peer := {Trunk, Id}} = Side, Data) ->
    ok = ?TRUNK:peer_send(Trunk, Id, Data),
    Side.

%% @doc The peer sends no more. TCP's still receives.
-spec peer_close(side()) -> side().
peer_close(#{kind := tcp, peer := Peer, socket := Socket} = Side) ->
    ok = gen_tcp:shutdown(Peer, write),
    await_kernel(Socket, fun(State, _Received) -> State =/= ?ESTABLISHED andalso State =/= ?FIN_WAIT2 end),
    Side;
peer_close(#{kind := megaphone, peer := {Trunk, Id}} = Side) ->
    ok = ?TRUNK:peer_close(Trunk, Id),
    Side.

%% The kernel may hand over what was sent on the loopback interface a moment after send has returned.
%% Linux tells where a connection is (tcp_info: the state, the bytes received); elsewhere nothing is waited
%% for. A socket that was closed by what came has got it.
await_kernel(Socket, IsThere) ->
    megaphone_test_wait:until("bytes on the loopback interface", fun() ->
        case inet:getopts(Socket, [{raw, ?IPPROTO_TCP, ?TCP_INFO, <<0:?TCP_INFO_SIZE/unit:8>>}]) of
            {ok, [{raw, _, _, <<State, _:127/binary, Received:64/native, _/binary>>}]} ->
                IsThere(State, Received);
            _ ->
                true
        end
    end).

%% @doc What the peer receives, so many bytes.
-spec peer_recv(side(), non_neg_integer()) -> binary().
peer_recv(_Side, 0) ->
    <<>>;
peer_recv(#{kind := tcp, peer := Peer}, Size) ->
    {ok, Data} = gen_tcp:recv(Peer, Size, ?TIMEOUT),
    Data;
peer_recv(#{kind := megaphone, peer := {Trunk, Id}}, _Size) ->
    {Data, open} = ?TRUNK:output(Trunk, Id),
    Data.

%% @doc Whether the peer is told of the close, with nothing before it.
-spec peer_sees_close(side()) -> boolean().
peer_sees_close(#{kind := tcp, peer := Peer}) ->
    %% A close with unread data resets a TCP connection.
    lists:member(gen_tcp:recv(Peer, 0, ?TIMEOUT), [{error, closed}, {error, econnreset}]);
peer_sees_close(#{kind := megaphone, peer := {Trunk, Id}}) ->
    megaphone_test_wait:until("the close frame", fun() ->
        case ?TRUNK:output(Trunk, Id) of
            {<<>>, closed} -> true;
            {<<>>, open} -> false
        end
    end).
