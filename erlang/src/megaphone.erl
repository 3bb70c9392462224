%%% @doc The socket of a virtual connection, and the status of all of them.
%%%
%%% A socket is `{'$inet', megaphone, Handle}', OTP's own form of a socket that a module
%%% implements: gen_tcp, inet and file:sendfile/5 come here with it. Each function answers what
%%% gen_tcp and inet would. What differs, and why:
%%%
%%% <ul>
%%% <li>After a close, by either side, recv and send answer `{error, closed}' for ever, where an
%%%     inet socket changes to `enotconn' or `einval'.</li>
%%% <li>A socket is binary, and its packet modes are raw and those of HTTP; `{mode, list}',
%%%     `{packet, 4}' and the like are refused with `einval'.</li>
%%% <li>A send that times out has sent nothing of its data, or, above 64 KiB, whole pieces of 64
%%%     KiB from its start; long sends of several processes may mix by such pieces.</li>
%%% <li>shutdown/2 of the writing side is told to the peer by the close that follows it: version
%%%     1 of the trunk has no half-close.</li>
%%% <li>getstat's recv_dvi is 0: nobody is known to read it, and it would cost each connection
%%%     eight bytes.</li>
%%% </ul>
%%%
%%% A few more lie where gen_tcp's own buffer shows; test/prop_socket.erl names each of them, and
%%% holds both sockets against each other.
%%%
%%% Messages to the owner of an active socket `S' are gen_tcp's: `{tcp, S, Data}',
%%% `{http, S, Packet}', `{tcp_passive, S}', `{tcp_error, S, Reason}' and `{tcp_closed, S}'. A
%%% trunk that is lost, or a connection that held too much of its trunk's buffer, ends its
%%% sockets with the reason `econnreset'.
-module(megaphone).

-include_lib("kernel/include/file.hrl").
-include("megaphone_messages.hrl").

%% Status
-export([status/0, status/1]).
%% gen_tcp
-export([recv/2, recv/3, send/2, sendfile/4, shutdown/2, close/1, controlling_process/2]).
%% inet
-export([setopts/2, getopts/2, peername/1, sockname/1, socknames/1, getstat/2,
         monitor/1, cancel_monitor/1, info/1, socket_to_list/1]).
%% ejabberdctl module_uninstall
-export([pre_uninstall/0]).
%% For the trunk, and for owners that do not wait
-export([socket/2, recv_nowait/2, send_waiting/2, transport/1, take_channel_bindings/1, take_certificate/1,
         take_http_fields/1, take_takeover/1, is_open/1, reset/1]).

-export_type([socket/0]).

-type socket() :: {'$inet', ?MODULE, {megaphone_nif:trunk(), megaphone_nif:handle()}}.

-define(SOCKET(Trunk, Handle), {'$inet', ?MODULE, {Trunk, Handle}}).
%% The NIF's numbers of trunks have 64 bits.
-define(MOST_TRUNKS, 16#ffffffffffffffff).
%% A recv above this is copied on a dirty scheduler (bytes).
-define(DIRTY_RECV, 1048576).
%% More than any recv is given (bytes), and a number that the NIF takes.
-define(TOO_LONG, 16#ffffffff).
%% A send above this is made in pieces, each of which may have to wait (bytes).
-define(PIECE, 65536).
%% A process with a larger heap collects its garbage before it waits for more (words, 128 KiB).
-define(MUCH, 16384).
%% A wake that was sent as its wait was cancelled is here at once; this long is never.
-define(WAKE_UNDERWAY, 5000).

%% @doc All trunks together: the sums of their counters since the VM's start, what they hold
%% now, and how many there are. It reads counters and asks no process: it answers while a trunk
%% is stuck.
-spec status() -> #{trunks := non_neg_integer(), atom() => term()}.
status() ->
    Trunks = megaphone_nif:trunks(),
    Sum = lists:foldl(fun(#{status := Status}, Acc) -> add(Status, Acc) end,
                      megaphone_nif:ended(), Trunks),
    Sum#{trunks => length(Trunks),
         trunk_numbers => [Number || #{number := Number} <- Trunks]}.

%% @doc One trunk, by its number, as `trunk_numbers' of {@link status/0} lists it.
-spec status(pos_integer()) -> {ok, map()} | {error, no_such_trunk}.
status(Number) when Number >= 0, Number =< ?MOST_TRUNKS ->
    case megaphone_nif:trunk(Number) of
        #{status := Status} = Trunk -> {ok, maps:merge(maps:remove(status, Trunk), Status)};
        none -> {error, no_such_trunk}
    end;
status(_Number) ->
    {error, no_such_trunk}.

%% @doc The socket of a connection.
-spec socket(megaphone_nif:trunk(), megaphone_nif:handle()) -> socket().
socket(Trunk, Handle) ->
    ?SOCKET(Trunk, Handle).

%% @doc As {@link recv/3}, without a timeout.
-spec recv(socket(), non_neg_integer()) -> {ok, term()} | {error, atom()}.
recv(Socket, Length) ->
    recv(Socket, Length, infinity).

%% @doc gen_tcp:recv/3: exactly `Length' bytes, or what there is for 0.
-spec recv(socket(), non_neg_integer(), timeout()) -> {ok, term()} | {error, atom()}.
recv(?SOCKET(Trunk, Handle), Length, Timeout) when is_integer(Length), Length >= 0 ->
    recv_until(Trunk, Handle, min(Length, ?TOO_LONG), deadline(Timeout));
recv(?SOCKET(_, _), _Length, _Timeout) ->
    {error, einval}.

recv_until(Trunk, Handle, Length, Deadline) ->
    case recv_once(Trunk, Handle, Length) of
        {wait, Wait} ->
            ok = collect_much(),
            case wait(Trunk, Handle, Wait, Deadline) of
                ok -> recv_until(Trunk, Handle, Length, Deadline);
                timeout -> {error, timeout}
            end;
        Answer ->
            Answer
    end.

%% @doc As {@link recv/2}, for a process that does other things meanwhile: `{wait, Number}' says that
%% it gets `{'$megaphone', Number}' once a call is of use again.
-spec recv_nowait(socket(), pos_integer()) ->
          {ok, term()} | {wait, megaphone_nif:wait()} | {error, atom()}.
recv_nowait(?SOCKET(Trunk, Handle), Length) ->
    recv_once(Trunk, Handle, Length).

recv_once(Trunk, Handle, Length) when Length > ?DIRTY_RECV ->
    megaphone_nif:recv_dirty(Trunk, Handle, Length);
recv_once(Trunk, Handle, Length) ->
    megaphone_nif:recv(Trunk, Handle, Length).

%% @doc gen_tcp:send/2. Waits while 64 KiB of the connection's output are unwritten, or too much of the
%% trunk's, up to `send_timeout'.
-spec send(socket(), iodata()) -> ok | {error, atom()}.
send(Socket, Data) ->
    case send_waiting(Socket, Data) of
        {ok, _Waited} -> ok;
        Error -> Error
    end.

%% @doc The same; says whether it had to wait.
-spec send_waiting(socket(), iodata()) -> {ok, Waited :: boolean()} | {error, atom()}.
send_waiting(?SOCKET(Trunk, Handle), Data) ->
    try iolist_size(Data) of
        Size when Size =< ?PIECE -> send_piece(Trunk, Handle, Data, none);
        _ -> send_pieces(Trunk, Handle, iolist_to_binary(Data), false)
    catch
        error:badarg -> {error, einval}
    end.

send_pieces(Trunk, Handle, <<Piece:?PIECE/binary, Rest/binary>>, Waited) when Rest =/= <<>> ->
    case send_piece(Trunk, Handle, Piece, none) of
        {ok, Again} -> send_pieces(Trunk, Handle, Rest, Waited orelse Again);
        {error, _} = Error -> Error
    end;
send_pieces(Trunk, Handle, Piece, Waited) ->
    case send_piece(Trunk, Handle, Piece, none) of
        {ok, Again} -> {ok, Waited orelse Again};
        {error, _} = Error -> Error
    end.

send_piece(Trunk, Handle, Data, Deadline) ->
    case megaphone_nif:send(Trunk, Handle, Data) of
        ok ->
            {ok, Deadline =/= none};
        {wait, Wait, Timeout} ->
            Until = send_deadline(Deadline, Timeout),
            case wait(Trunk, Handle, Wait, Until) of
                ok -> send_piece(Trunk, Handle, Data, Until);
                timeout -> {error, timeout}
            end;
        Error ->
            Error
    end.

%% @doc file:sendfile/5's part for a socket: `Count' bytes of the open raw file from `Offset',
%% all of it for 0. The file's position stays where it is. A piece is read once there is room for it: many
%% who wait hold nothing of their files.
-spec sendfile(socket(), file:fd(), non_neg_integer(), non_neg_integer()) ->
          {ok, non_neg_integer()} | {error, atom()}.
sendfile(Socket, File, Offset, 0) ->
    sendfile(Socket, binary_file(File), Offset, infinity, 0);
sendfile(Socket, File, Offset, Count) when Count > 0 ->
    sendfile(Socket, binary_file(File), Offset, Count, 0);
sendfile(_Socket, _File, _Offset, _Count) ->
    {error, einval}.

sendfile(_Socket, _File, _Offset, Count, Sent) when Sent =:= Count ->
    {ok, Sent};
sendfile(?SOCKET(Trunk, Handle) = Socket, File, Offset, Count, Sent) ->
    %% An atom is above all numbers: `infinity' asks for a whole piece.
    Size = min(?PIECE, if Count =:= infinity -> infinity; true -> Count - Sent end),
    case await_room(Trunk, Handle, Size, none) of
        ok ->
            case file:pread(File, Offset + Sent, Size) of
                {ok, Data} ->
                    case send(Socket, Data) of
                        ok -> sendfile(Socket, File, Offset, Count, Sent + iolist_size(Data));
                        {error, _} = Error -> Error
                    end;
                eof ->
                    ok = megaphone_nif:unreserve(Trunk, Handle),
                    {ok, Sent};
                {error, _} = Error ->
                    ok = megaphone_nif:unreserve(Trunk, Handle),
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

await_room(Trunk, Handle, Size, Deadline) ->
    case megaphone_nif:reserve(Trunk, Handle, Size) of
        {wait, Wait, Timeout} ->
            Until = send_deadline(Deadline, Timeout),
            %% The pieces that were sent are garbage, of many times the size of the rest.
            true = garbage_collect(self(), [{type, minor}]),
            case wait(Trunk, Handle, Wait, Until) of
                ok -> await_room(Trunk, Handle, Size, Until);
                timeout -> {error, timeout}
            end;
        Answer ->
            Answer
    end.

%% A file that was opened without `binary', as ejabberd_http opens its own, gives lists, which cost
%% sixteen times the memory and more than all else here. What lies under such a file does not.
binary_file(#file_descriptor{module = raw_file_io_list, data = #file_descriptor{} = File}) -> File;
binary_file(File) -> File.

%% @doc gen_tcp:shutdown/2.
-spec shutdown(socket(), read | write | read_write) -> ok | {error, atom()}.
shutdown(?SOCKET(Trunk, Handle), How) ->
    case megaphone_nif:shutdown(Trunk, Handle, How) of
        ok -> ok;
        closed -> {error, closed}
    end.

%% @doc gen_tcp:close/1. What was sent still goes out.
-spec close(socket()) -> ok.
close(?SOCKET(Trunk, Handle) = Socket) ->
    ok = megaphone_nif:close(Trunk, Handle),
    %% Who closes has no use for the news that it's closed.
    receive {tcp_closed, Socket} -> ok after 0 -> ok end.

%% @doc Whether neither side has closed.
-spec is_open(socket()) -> boolean().
is_open(?SOCKET(Trunk, Handle)) ->
    megaphone_nif:is_open(Trunk, Handle).

%% @doc Ends the connection at once: what waits in either direction is lost.
-spec reset(socket()) -> ok.
reset(?SOCKET(Trunk, Handle)) ->
    megaphone_nif:reset(Trunk, Handle).

%% @doc gen_tcp:controlling_process/2: moves the connection, and its messages that are here.
-spec controlling_process(socket(), pid()) -> ok | {error, closed | not_owner | badarg}.
controlling_process(?SOCKET(Trunk, Handle) = Socket, NewOwner) ->
    megaphone_handover:hand_over(Trunk, Handle, Socket, NewOwner).

%% @doc inet:setopts/2: see {@link megaphone_options:set/3}.
-spec setopts(socket(), [gen_tcp:option() | term()]) -> ok | {error, atom()}.
setopts(?SOCKET(Trunk, Handle), Options) ->
    megaphone_options:set(Trunk, Handle, Options).

%% @doc inet:getopts/2: see {@link megaphone_options:get/3}.
-spec getopts(socket(), [atom()]) -> {ok, [{atom(), term()}]} | {error, einval}.
getopts(?SOCKET(Trunk, Handle), Names) ->
    megaphone_options:get(Trunk, Handle, Names).

%% @doc inet:getstat/2: see {@link megaphone_options:statistics/3}.
-spec getstat(socket(), [inet:stat_option()]) ->
          {ok, [{inet:stat_option(), non_neg_integer()}]} | {error, einval}.
getstat(?SOCKET(Trunk, Handle), Names) ->
    megaphone_options:statistics(Trunk, Handle, Names).

%% @doc inet:peername/1: the client's address as the trunk tells it; the trunk's peer in
%% version 1, which tells none.
-spec peername(socket()) -> {ok, megaphone_nif:address()} | {error, einval}.
peername(?SOCKET(Trunk, Handle)) ->
    address(megaphone_nif:owner(Trunk, Handle), megaphone_nif:peername(Trunk, Handle)).

%% @doc inet:sockname/1: the address the client connected to; our end of the trunk in version 1.
-spec sockname(socket()) -> {ok, megaphone_nif:address()} | {error, einval}.
sockname(?SOCKET(Trunk, Handle)) ->
    address(megaphone_nif:owner(Trunk, Handle), megaphone_nif:sockname(Trunk, Handle)).

%% @doc How the client speaks to the ECM, and whether by TLS.
-spec transport(socket()) -> {tcp | websocket | bosh, plain | tls}.
transport(?SOCKET(Trunk, Handle)) ->
    megaphone_nif:transport(Trunk, Handle).

%% @doc What the client's login can be bound to, by the names of the bindings, for whoever asks first.
-spec take_channel_bindings(socket()) -> #{Name :: binary() => binary()}.
take_channel_bindings(?SOCKET(Trunk, Handle)) ->
    maps:from_list(megaphone_nif:take_channel_bindings(Trunk, Handle)).

%% @doc The client's certificate in DER, if it was verified, for whoever asks first.
-spec take_certificate(socket()) -> binary() | none.
take_certificate(?SOCKET(Trunk, Handle)) ->
    megaphone_nif:take_certificate(Trunk, Handle).

%% @doc The fields of the HTTP request by which a WebSocket client came, each a line with its CRLF, for whoever asks
%% first; none of other clients.
-spec take_http_fields(socket()) -> binary().
take_http_fields(?SOCKET(Trunk, Handle)) ->
    megaphone_nif:take_http_fields(Trunk, Handle).

%% @doc The token of the session that moves to this connection, for whoever asks first; `none' of others.
-spec take_takeover(socket()) -> binary() | none.
take_takeover(?SOCKET(Trunk, Handle)) ->
    megaphone_nif:take_takeover(Trunk, Handle).

%% @doc inet:socknames/1.
-spec socknames(socket()) -> {ok, [megaphone_nif:address()]} | {error, einval}.
socknames(Socket) ->
    case sockname(Socket) of
        {ok, Address} -> {ok, [Address]};
        {error, _} = Error -> Error
    end.

address(closed, _) -> {error, einval};
address(_, Address) -> {ok, Address}.

%% @doc inet:monitor/1: the caller gets `{'DOWN', Monitor, socket, Socket, Reason}' when the
%% socket is closed.
-spec monitor(socket()) -> reference().
monitor(?SOCKET(Trunk, Handle) = Socket) ->
    megaphone_monitor:start(Trunk, Handle, Socket).

%% @doc inet:cancel_monitor/1, by the process that called {@link monitor/1}; true if the socket
%% was open.
-spec cancel_monitor(reference()) -> boolean().
cancel_monitor(Monitor) ->
    megaphone_monitor:cancel(Monitor).

%% @doc inet:info/1.
-spec info(socket()) -> map().
info(?SOCKET(Trunk, Handle) = Socket) ->
    %% It may close between any two of these.
    case {megaphone_nif:owner(Trunk, Handle), getstat(Socket, inet:stats()),
          getopts(Socket, [active])} of
        {Owner, {ok, Counters}, {ok, Options}} when is_pid(Owner) ->
            maps:merge(#{owner => Owner, states => [connected],
                         counters => maps:from_list(Counters)},
                       maps:from_list(Options));
        _ ->
            #{states => [closed]}
    end.

%% @doc inet:socket_to_list/1: `"#Megaphone<Trunk.Handle>"'.
-spec socket_to_list(socket()) -> string().
socket_to_list(?SOCKET(Trunk, Handle)) ->
    Numbers = [integer_to_list(megaphone_nif:number(Trunk)), ".", integer_to_list(Handle)],
    lists:flatten(["#Megaphone<", Numbers, ">"]).

%% A process of ejabberd_http never collects what a request has left while it waits for the next one, and
%% that may be twenty times the bytes that were sent.
collect_much() ->
    case process_info(self(), total_heap_size) of
        {total_heap_size, Words} when Words > ?MUCH -> true = garbage_collect(), ok;
        _ -> ok
    end.

%% Waits for a wake. No wait outlives its call: on a timeout it is cancelled, and a wake that
%% was sent meanwhile is received, so that it never reaches the caller's own receive.
wait(Trunk, Handle, Wait, Deadline) ->
    receive
        ?WAKE(Wait) -> ok
    after remaining(Deadline) ->
        case megaphone_nif:cancel(Trunk, Handle, Wait) of
            cancelled -> timeout;
            sent -> receive ?WAKE(Wait) -> ok after ?WAKE_UNDERWAY -> timeout end
        end
    end.

%% One for all waits of a send.
send_deadline(none, Timeout) -> deadline(Timeout);
send_deadline(Deadline, _Timeout) -> Deadline.

deadline(infinity) -> infinity;
deadline(Timeout) -> erlang:monotonic_time(millisecond) + Timeout.

remaining(infinity) -> infinity;
remaining(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).

add(Status, Acc) ->
    maps:fold(fun(Key, Counts, Sum) when is_map(Counts) -> Sum#{Key := add_counts(Counts, maps:get(Key, Sum))};
                 (Key, Value, Sum) -> maps:update_with(Key, fun(V) -> V + Value end, Sum)
              end, Acc, Status).

add_counts(Counts, Sum) ->
    maps:fold(fun(Kind, Count, Acc) ->
                      maps:update_with(Kind, fun(C) -> C + Count end, Count, Acc)
              end, Sum, Counts).

%% @doc ejabberd calls this before it removes the package that has this name (`ejabberdctl module_uninstall'): the
%% listeners close, and their sessions move away or end, while all modules are there.
-spec pre_uninstall() -> ok.
pre_uninstall() ->
    megaphone_ejabberd:run_hook(megaphone_stopping).
