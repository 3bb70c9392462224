%% @doc The far end of a version 2 trunk: a yamux client (hashicorp's spec.md, version 0) that knows
%% nothing of ours. A process holds the trunk; it lives no longer than the one that connected.
%%
%% A stream is read like a socket, by recv/3, or by messages if it is opened with `active': then its
%% owner gets `{yamux, Stream, Bytes}' and at last `{yamux_closed, Stream, finished | reset | lost}'.
%% What nobody has asked for yet keeps its window. A stream costs a few hundred bytes and no process.
-module(megaphone_test_yamux).

-behaviour(gen_server).

-import(megaphone_test_frame, [frame/3, header/4]).

%% Trunks.
-export([connect/1, connect/2, try_connect/2, close/1, port/1, ping/1, go_away/2, await_end/1,
         await_go_away/1, await_frame/2, others/1]).
%% Streams.
-export([open/2, open/3, id/1, trunk/1, send/2, send/3, recv/2, recv/3, peek/3,
         finish/1, reset/1, close_stream/1, status/1]).
%% Bytes as they stand.
-export([send_bytes/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-export_type([trunk/0, stream/0, frame/0]).

-type trunk() :: pid().
-opaque stream() :: {trunk(), pos_integer()}.
-type frame() :: megaphone_test_frame:frame().

-define(TIMEOUT, 10_000).
-define(WINDOW, 262144).
%% Consumed bytes are given back in lumps.
-define(LUMP, (?WINDOW div 2)).
%% The most in one data frame that is sent.
-define(MOST, 65536).
%% Output is collected while there are other messages, up to this.
-define(BATCH, 65536).
%% The most frames that are remembered of those that belong to no stream of ours.
-define(OTHERS, 10_000).

-record(stream, {owner = none :: none | pid() | closed,
                 input = <<>> :: binary(),
                 reader = none :: none | {gen_server:from(), wanted(), timer()},
                 output = [] :: [{gen_server:from(), binary(), timer()}],
                 send_window = ?WINDOW :: non_neg_integer(),
                 %% Consumed and not given back; of `input', what a reader that waits for more has
                 %% consumed already.
                 unreturned = 0 :: integer(),
                 ahead = 0 :: non_neg_integer(),
                 finished = neither :: neither | we | they | both,
                 error = none :: none | closed | econnreset}).
-type timer() :: none | reference().
-type wanted() :: non_neg_integer() | {peek, pos_integer()}.

%% Trunks.

-spec connect(megaphone_test_transport:address()) -> trunk().
connect(Address) ->
    connect(Address, #{}).

%% @doc Connects; the case fails if that does not work.
-spec connect(megaphone_test_transport:address(), megaphone_test_transport:options()) -> trunk().
connect(Address, Options) ->
    case try_connect(Address, Options) of
        {ok, Trunk} -> Trunk;
        {error, Reason} -> error({cannot_connect, Address, Reason})
    end.

-spec try_connect(megaphone_test_transport:address(), megaphone_test_transport:options()) -> {ok, trunk()} | {error, term()}.
try_connect(Address, Options) ->
    case gen_server:start(?MODULE, {self(), Address, Options}, []) of
        {ok, Trunk} -> {ok, Trunk};
        {error, {shutdown, Reason}} -> {error, Reason}
    end.

-spec close(trunk()) -> ok.
close(Trunk) ->
    gen_server:stop(Trunk).

%% @doc Our port, by which ejabberd names the trunk.
-spec port(trunk()) -> inet:port_number() | undefined.
port(Trunk) ->
    call(Trunk, port).

%% @doc Asks and waits for the answer.
-spec ping(trunk()) -> ok | {error, closed}.
ping(Trunk) ->
    call(Trunk, ping).

%% @doc Says that we open no more streams, or that there was an error (1 or 2).
-spec go_away(trunk(), Code :: non_neg_integer()) -> ok | {error, term()}.
go_away(Trunk, Code) ->
    send_bytes(Trunk, header(go_away, [], 0, Code)).

%% @doc Waits until the other side has closed the trunk, and answers the codes of its go-aways.
-spec await_end(trunk()) -> {ok, GoAways :: [non_neg_integer()]} | {error, still_open}.
await_end(Trunk) ->
    case wait(Trunk, await_end) of
        {error, timeout} -> {error, still_open};
        Answer -> Answer
    end.

%% @doc Waits for a go-away, and answers its code.
-spec await_go_away(trunk()) -> {ok, Code :: non_neg_integer()} | {error, term()}.
await_go_away(Trunk) ->
    case await_frame(Trunk, fun(Frame) -> element(1, Frame) =:= go_away end) of
        {ok, {go_away, [], 0, Code}} -> {ok, Code};
        Other -> Other
    end.

%% @doc Waits for a frame that belongs to no stream which open/2 has opened; it is found even if it
%% came before.
-spec await_frame(trunk(), fun((frame()) -> boolean())) -> {ok, frame()} | {error, term()}.
await_frame(Trunk, Wanted) ->
    wait(Trunk, {await_frame, Wanted}).

%% @doc All such frames so far, oldest first.
-spec others(trunk()) -> [frame()].
others(Trunk) ->
    call(Trunk, others).

%% Streams.

%% @doc Opens a stream with its PROXY header, or with any bytes.
-spec open(trunk(), megaphone_test_proxy:header() | iodata()) -> stream().
open(Trunk, Header) ->
    open(Trunk, Header, #{}).

%% @doc The same with bytes after the header, in the same frame, and with messages to the caller.
-spec open(trunk(), megaphone_test_proxy:header() | iodata(),
           #{first => iodata(), active => boolean()}) -> stream().
open(Trunk, Header, Options) when is_map(Header) ->
    open(Trunk, megaphone_test_proxy:header(Header), Options);
open(Trunk, Header, Options) ->
    Owner = case maps:get(active, Options, false) of
                true -> self();
                false -> none
            end,
    First = iolist_to_binary([Header, maps:get(first, Options, <<>>)]),
    case call(Trunk, {open, First, Owner}) of
        {ok, Id} -> {Trunk, Id};
        {error, Reason} -> error({cannot_open_stream, Reason})
    end.

-spec id(stream()) -> pos_integer().
id({_Trunk, Id}) ->
    Id.

-spec trunk(stream()) -> trunk().
trunk({Trunk, _Id}) ->
    Trunk.

-spec send(stream(), iodata()) -> ok | {error, timeout | closed | econnreset}.
send(Stream, Bytes) ->
    send(Stream, Bytes, ?TIMEOUT).

%% @doc Sends all of it, as the window opens. After a timeout the rest is lost.
-spec send(stream(), iodata(), timeout()) -> ok | {error, timeout | closed | econnreset}.
send({Trunk, Id}, Bytes, Timeout) ->
    call(Trunk, {send, Id, iolist_to_binary(Bytes), Timeout}).

-spec recv(stream(), non_neg_integer()) ->
          {ok, binary()} | {error, timeout | closed | econnreset | active}.
recv(Stream, Length) ->
    recv(Stream, Length, ?TIMEOUT).

%% @doc Exactly so many bytes, or what there is for 0. `closed' follows the last byte before the other
%% side's FIN; `econnreset' tells of its RST.
-spec recv(stream(), non_neg_integer(), timeout()) ->
          {ok, binary()} | {error, timeout | closed | econnreset | active}.
recv({Trunk, Id}, Length, Timeout) ->
    call(Trunk, {recv, Id, Length, Timeout}).

%% @doc What there is, at least so many bytes. They stay there, and so does their window.
-spec peek(stream(), pos_integer(), timeout()) ->
          {ok, binary()} | {error, timeout | closed | econnreset | active}.
peek({Trunk, Id}, Least, Timeout) ->
    call(Trunk, {recv, Id, {peek, Least}, Timeout}).

%% @doc Sends FIN: the other side may still send.
-spec finish(stream()) -> ok | {error, closed | econnreset}.
finish({Trunk, Id}) ->
    call(Trunk, {finish, Id}).

%% @doc Sends RST and forgets the stream.
-spec reset(stream()) -> ok | {error, closed}.
reset({Trunk, Id}) ->
    call(Trunk, {reset, Id}).

%% @doc Sends FIN and wants no more: what comes yet is answered by RST, as a closed TCP socket does.
-spec close_stream(stream()) -> ok.
close_stream({Trunk, Id}) ->
    _ = call(Trunk, {close, Id}),
    ok.

%% @doc What may still be sent, what came and was not asked for yet (bytes), and who has finished.
-spec status(stream()) -> #{send_window := non_neg_integer(), buffered := non_neg_integer(),
                            finished := neither | we | they | both} | gone.
status({Trunk, Id}) ->
    call(Trunk, {status, Id}).

%% Bytes as they stand.

%% @doc Sends bytes after what was sent before. The caller writes: the trunk goes on reading meanwhile.
-spec send_bytes(trunk(), iodata()) -> ok | {error, term()}.
send_bytes(Trunk, Bytes) ->
    case call(Trunk, flush) of
        {ok, Transport} -> megaphone_test_transport:send(Transport, Bytes);
        {error, _} = Error -> Error
    end.

%% The process.

init({Owner, Address, Options}) ->
    case connected(Address, Options) of
        {ok, Transport} ->
            _ = monitor(process, Owner),
            {ok, #{transport => Transport, port => megaphone_test_transport:port(Transport),
                   buffer => <<>>, out => [], out_size => 0, next => 1,
                   streams => #{}, pings => #{}, next_ping => 0,
                   %% Newest first.
                   others => {0, []}, awaits => [], ended => false}};
        {error, Reason} ->
            {stop, {shutdown, Reason}}
    end.

connected(Address, Options) ->
    case megaphone_test_transport:connect(Address, Options) of
        {ok, Transport} ->
            %% The other side may have refused our certificate already.
            case megaphone_test_transport:activate(Transport) of
                ok -> {ok, Transport};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

handle_call(port, _From, #{port := Port} = State) ->
    idle({reply, Port, State});
handle_call(others, _From, #{others := {_, Others}} = State) ->
    idle({reply, lists:reverse(Others), State});
handle_call({wait, What, Timeout}, From, #{awaits := Awaits} = State) ->
    case reached(What, State) of
        false ->
            Timer = start_timer(Timeout, {await, From}),
            idle({noreply, State#{awaits := [{What, From, Timer} | Awaits]}});
        Answer ->
            idle({reply, Answer, State})
    end;
handle_call({status, Id}, _From, #{streams := Streams} = State) ->
    idle({reply, stream_status(maps:find(Id, Streams)), State});
handle_call({recv, Id, Length, Timeout}, From, State) ->
    with_stream(Id, State, fun(Stream) -> do_recv(Id, Stream, Length, Timeout, From, State) end);
handle_call(_, _From, #{ended := true} = State) ->
    {reply, {error, closed}, State};
handle_call(flush, _From, #{transport := Transport} = State) ->
    {reply, {ok, Transport}, flush(State)};
handle_call(ping, From, #{pings := Pings, next_ping := Number} = State) ->
    Asked = write(header(ping, [syn], 0, Number), State),
    idle({noreply, Asked#{pings := Pings#{Number => From}, next_ping := Number + 1}});
handle_call({open, First, Owner}, _From, #{next := Id} = State) ->
    Opened = write(frame([syn], Id, First), State#{next := Id + 2}),
    Stream = #stream{owner = Owner, send_window = ?WINDOW - byte_size(First)},
    idle({reply, {ok, Id}, put_stream(Id, Stream, Opened)});
handle_call({send, Id, Bytes, Timeout}, From, State) ->
    with_stream(Id, State, fun(Stream) -> do_send(Id, Stream, Bytes, Timeout, From, State) end);
handle_call({finish, Id}, _From, State) ->
    with_stream(Id, State, fun(Stream) -> do_finish(Id, Stream, State) end);
handle_call({close, Id}, _From, State) ->
    with_stream(Id, State, fun(Stream) -> do_close(Id, Stream, State) end);
handle_call({reset, Id}, _From, State) ->
    with_stream(Id, State,
                fun(Stream) ->
                        Told = tell_end(Id, Stream, closed, State),
                        Reset = write(header(window_update, [rst], Id, 0), Told),
                        {reply, ok, remove_stream(Id, Reset)}
                end).

handle_cast(_, State) ->
    {noreply, State}.

handle_info(timeout, State) ->
    {noreply, flush(State)};
handle_info({Tag, _, Bytes}, #{buffer := Buffer} = State) when Tag =:= tcp; Tag =:= ssl ->
    idle({noreply, frames(<<Buffer/binary, Bytes/binary>>, State)});
handle_info({Tag, _}, #{transport := Transport} = State) when Tag =:= tcp_passive; Tag =:= ssl_passive ->
    _ = megaphone_test_transport:activate(Transport),
    idle({noreply, State});
handle_info({Tag, _}, State) when Tag =:= tcp_closed; Tag =:= ssl_closed ->
    {noreply, ended(State)};
handle_info({Tag, _, _Reason}, State) when Tag =:= tcp_error; Tag =:= ssl_error ->
    {noreply, ended(State)};
handle_info({'$timer', {await, From}}, #{awaits := Awaits} = State) ->
    {Late, Left} = lists:partition(fun({_, Waiting, _}) -> Waiting =:= From end, Awaits),
    [gen_server:reply(From, {error, timeout}) || _ <- Late],
    idle({noreply, State#{awaits := Left}});
handle_info({'$timer', {recv, Id, From}}, #{streams := Streams} = State) ->
    case Streams of
        #{Id := #stream{reader = {From, _, _}} = Stream} ->
            gen_server:reply(From, {error, timeout}),
            idle({noreply, put_stream(Id, Stream#stream{reader = none}, State)});
        _ ->
            idle({noreply, State})
    end;
handle_info({'$timer', {send, Id, From}}, #{streams := Streams} = State) ->
    case Streams of
        #{Id := #stream{output = Output} = Stream} ->
            {Late, Left} = lists:partition(fun({Waiting, _, _}) -> Waiting =:= From end, Output),
            [gen_server:reply(From, {error, timeout}) || _ <- Late],
            idle({noreply, put_stream(Id, Stream#stream{output = Left}, State)});
        _ ->
            idle({noreply, State})
    end;
handle_info({'DOWN', _, process, _Owner, _}, State) ->
    {stop, normal, State};
handle_info(_, State) ->
    idle({noreply, State}).

%% Calls that wait.

call(Trunk, Request) ->
    gen_server:call(Trunk, Request, infinity).

wait(Trunk, What) ->
    call(Trunk, {wait, What, ?TIMEOUT}).

reached(await_end, #{ended := true, others := {_, Others}}) ->
    {ok, [Code || {go_away, _, _, Code} <- lists:reverse(Others)]};
reached({await_frame, Wanted}, #{others := {_, Others}, ended := Ended}) ->
    case [Frame || Frame <- lists:reverse(Others), Wanted(Frame)] of
        [Frame | _] -> {ok, Frame};
        [] when Ended -> {error, closed};
        [] -> false
    end;
reached(await_end, _) ->
    false.

%% Streams: what their owners ask.

with_stream(Id, #{streams := Streams} = State, Do) ->
    case Streams of
        #{Id := Stream} -> idle(Do(Stream));
        _ -> idle({reply, {error, closed}, State})
    end.

stream_status(error) ->
    gone;
stream_status({ok, #stream{send_window = Window, input = Input, finished = Finished}}) ->
    #{send_window => Window, buffered => byte_size(Input), finished => Finished}.

do_recv(_Id, #stream{owner = Owner}, _Length, _Timeout, _From, State) when Owner =/= none ->
    {reply, {error, active}, State};
do_recv(Id, #stream{reader = none} = Stream, Length, Timeout, From, State) ->
    Timer = start_timer(Timeout, {recv, Id, From}),
    {noreply, read(Id, Stream#stream{reader = {From, Length, Timer}}, State)}.

do_send(_Id, #stream{error = Error}, _Bytes, _Timeout, _From, State) when Error =/= none ->
    {reply, {error, Error}, State};
do_send(_Id, #stream{finished = Finished}, _Bytes, _Timeout, _From, State)
  when Finished =:= we; Finished =:= both ->
    {reply, {error, closed}, State};
do_send(Id, #stream{output = Output} = Stream, Bytes, Timeout, From, State) ->
    Item = {From, Bytes, start_timer(Timeout, {send, Id, From})},
    {noreply, write_stream(Id, Stream#stream{output = Output ++ [Item]}, State)}.

do_finish(_Id, #stream{error = Error}, State) when Error =/= none ->
    {reply, {error, Error}, State};
do_finish(Id, #stream{finished = Finished} = Stream, State) ->
    case Finished of
        neither -> {reply, ok, send_fin(Id, Stream#stream{finished = we}, State)};
        they -> {reply, ok, send_fin(Id, Stream#stream{finished = both}, State)};
        _ -> {reply, {error, closed}, put_stream(Id, Stream, State)}
    end.

send_fin(Id, Stream, State) ->
    put_stream(Id, Stream, write(frame([fin], Id, <<>>), State)).

do_close(Id, #stream{error = Error, input = Input} = Stream, State) ->
    Closed = Stream#stream{owner = closed, input = <<>>},
    case Input of
        _ when Error =/= none ->
            {reply, ok, remove_stream(Id, State)};
        <<>> ->
            {reply, _, Finished} = do_finish(Id, Closed, State),
            {reply, ok, Finished};
        _ ->
            {reply, ok, remove_stream(Id, write(header(window_update, [rst], Id, 0), State))}
    end.

%% Sends as much as the window has room for.
write_stream(Id, #stream{output = [{From, <<>>, Timer} | Output]} = Stream, State) ->
    answer(From, Timer, ok),
    write_stream(Id, Stream#stream{output = Output}, State);
write_stream(Id, #stream{output = [{From, Bytes, Timer} | Output], send_window = Window} = Stream, State)
  when Window > 0 ->
    Length = lists:min([byte_size(Bytes), Window, ?MOST]),
    <<Now:Length/binary, Later/binary>> = Bytes,
    write_stream(Id, Stream#stream{output = [{From, Later, Timer} | Output],
                                   send_window = Window - Length},
                 write(frame([], Id, Now), State));
write_stream(Id, Stream, State) ->
    put_stream(Id, Stream, State).

%% Answers the reader that waits, if it can be answered. If it wants more than there is, all that is
%% there counts as consumed: an answer may be larger than the window.
read(Id, #stream{reader = {From, Length, Timer}, input = Input, ahead = Ahead} = Stream, State) ->
    case take(Length, Stream) of
        more ->
            Size = byte_size(Input),
            consume(Id, Stream#stream{ahead = Size}, Size - Ahead, State);
        {Answer, Taken} ->
            answer(From, Timer, Answer),
            <<_:Taken/binary, Left/binary>> = Input,
            consume(Id, Stream#stream{reader = none, input = binary:copy(Left), ahead = 0},
                    Taken - Ahead, State)
    end.

take(0, #stream{input = <<_, _/binary>> = Input}) ->
    {{ok, Input}, byte_size(Input)};
take({peek, Least}, #stream{input = Input}) when byte_size(Input) >= Least ->
    {{ok, Input}, 0};
take(Length, #stream{input = Input}) when is_integer(Length), Length > 0, byte_size(Input) >= Length ->
    {{ok, binary:copy(binary:part(Input, 0, Length))}, Length};
take(_, Stream) ->
    case end_of_input(Stream) of
        more -> more;
        Error -> {Error, 0}
    end.

end_of_input(#stream{error = Error}) when Error =/= none -> {error, Error};
end_of_input(#stream{finished = Finished}) when Finished =:= they; Finished =:= both -> {error, closed};
end_of_input(_) -> more.

%% Gives the window back.
consume(Id, #stream{unreturned = Unreturned, error = none, finished = Finished} = Stream, Bytes, State)
  when Unreturned + Bytes >= ?LUMP, Finished =/= they, Finished =/= both ->
    put_stream(Id, Stream#stream{unreturned = 0},
               write(header(window_update, [], Id, Unreturned + Bytes), State));
consume(Id, #stream{unreturned = Unreturned} = Stream, Bytes, State) ->
    put_stream(Id, Stream#stream{unreturned = Unreturned + Bytes}, State).

%% Frames from the other side.

frames(Buffer, State) ->
    case megaphone_test_frame:split(Buffer) of
        {{Kind, Flags, Id, Length}, Bytes, Rest} ->
            frames(Rest, frame_in(Kind, Flags, Id, Length, Bytes, State));
        more ->
            %% A copy, so that the rest of a large message can go.
            State#{buffer := binary:copy(Buffer)}
    end.

frame_in(ping, [syn], 0, Number, _, State) ->
    write(header(ping, [ack], 0, Number), State);
frame_in(ping, [ack], 0, Number, _, #{pings := Pings} = State) ->
    case maps:take(Number, Pings) of
        {From, Left} -> gen_server:reply(From, ok), State#{pings := Left};
        error -> other({ping, [ack], 0, Number}, State)
    end;
frame_in(Kind, Flags, Id, Length, Bytes, #{streams := Streams} = State) ->
    case Streams of
        #{Id := #stream{error = none} = Stream} ->
            case lists:member(rst, Flags) of
                true -> tell_end(Id, Stream, econnreset, State);
                false -> stream_frame(Kind, Flags, Id, Length, Bytes, Stream, State)
            end;
        _ ->
            other({Kind, Flags, Id, Length}, State)
    end.

stream_frame(window_update, Flags, Id, Length, _, #stream{send_window = Window} = Stream, State) ->
    Wider = Stream#stream{send_window = Window + Length},
    finished_in(Flags, Id, write_stream(Id, Wider, State));
stream_frame(data, Flags, Id, Length, Bytes, Stream, State) ->
    finished_in(Flags, Id, data_in(Id, Length, Bytes, Stream, State)).

data_in(_Id, 0, _, _Stream, State) ->
    State;
data_in(Id, _, _, #stream{owner = closed}, State) ->
    remove_stream(Id, write(header(window_update, [rst], Id, 0), State));
data_in(Id, Length, Bytes, #stream{owner = Owner} = Stream, State) when Owner =/= none ->
    Owner ! {yamux, {self(), Id}, binary:copy(Bytes)},
    consume(Id, Stream, Length, State);
data_in(Id, _, Bytes, #stream{input = Input, reader = Reader} = Stream, State) ->
    Received = Stream#stream{input = <<Input/binary, Bytes/binary>>},
    case Reader of
        none -> put_stream(Id, Received, State);
        _ -> read(Id, Received, State)
    end.

finished_in(Flags, Id, #{streams := Streams} = State) ->
    case {lists:member(fin, Flags), Streams} of
        {true, #{Id := #stream{finished = Finished} = Stream}} ->
            Next = case Finished of neither -> they; we -> both; _ -> Finished end,
            Ended = Stream#stream{finished = Next},
            tell_owner(Id, Ended, finished),
            case Ended of
                #stream{reader = none} -> put_stream(Id, Ended, State);
                _ -> read(Id, Ended, State)
            end;
        _ ->
            State
    end.

%% A stream ends by an error: all who wait hear of it. It is kept, so that later calls do too.
tell_end(Id, #stream{reader = Reader, output = Output} = Stream, Error, State) ->
    [answer(From, Timer, {error, Error}) || {From, _, Timer} <- [Reader | Output] -- [none]],
    tell_owner(Id, Stream, case Error of econnreset -> reset; closed -> lost end),
    %% What came before a reset is lost, as with TCP.
    put_stream(Id, Stream#stream{reader = none, output = [], input = <<>>, error = Error}, State).

tell_owner(_Id, #stream{owner = Owner}, _How) when not is_pid(Owner) -> ok;
tell_owner(Id, #stream{owner = Owner}, How) -> Owner ! {yamux_closed, {self(), Id}, How}, ok.

other(Frame, #{others := {Count, Others}, awaits := Awaits} = State) ->
    Left = lists:filter(fun({{await_frame, Wanted}, From, Timer}) ->
                                case Wanted(Frame) of
                                    true -> answer(From, Timer, {ok, Frame}), false;
                                    false -> true
                                end;
                           (_) ->
                                true
                        end, Awaits),
    Kept = case Count of
               ?OTHERS -> {?OTHERS div 2, [Frame | lists:sublist(Others, ?OTHERS div 2 - 1)]};
               _ -> {Count + 1, [Frame | Others]}
           end,
    State#{others := Kept, awaits := Left}.

ended(#{streams := Streams, pings := Pings, transport := Transport, awaits := Awaits} = State) ->
    megaphone_test_transport:close(Transport),
    [gen_server:reply(From, {error, closed}) || From <- maps:values(Pings)],
    Lost = maps:fold(fun(Id, #stream{error = none} = Stream, Acc) -> tell_lost(Id, Stream, Acc);
                        (_, _, Acc) -> Acc
                     end, State, Streams),
    Ended = Lost#{ended := true, pings := #{}, out := [], out_size := 0, awaits := []},
    [answer(From, Timer, reached(What, Ended)) || {What, From, Timer} <- Awaits],
    Ended.

%% A stream that the other side had finished has all that it was to get.
tell_lost(_Id, #stream{finished = Finished, reader = none, output = []}, State)
  when Finished =:= they; Finished =:= both ->
    State;
tell_lost(Id, Stream, State) ->
    tell_end(Id, Stream, closed, State).

%% A stream that is over is forgotten: to all questions it is `closed'.
put_stream(Id, #stream{finished = both, input = <<>>, reader = none}, State) ->
    remove_stream(Id, State);
put_stream(Id, Stream, #{streams := Streams} = State) ->
    State#{streams := Streams#{Id => Stream}}.

remove_stream(Id, #{streams := Streams} = State) ->
    State#{streams := maps:remove(Id, Streams)}.

%% Output is written when there is nothing else to do, or much of it.

write(Bytes, #{out := Out, out_size := Size} = State) ->
    State#{out := [Out, Bytes], out_size := Size + iolist_size(Bytes)}.

flush(#{out_size := 0} = State) ->
    State;
flush(#{out := Out, transport := Transport} = State) ->
    %% The end of the trunk is told by a message.
    _ = megaphone_test_transport:send(Transport, Out),
    State#{out := [], out_size := 0}.

idle({reply, Answer, State}) ->
    {Flushed, Timeout} = flush_later(State),
    {reply, Answer, Flushed, Timeout};
idle({noreply, State}) ->
    {Flushed, Timeout} = flush_later(State),
    {noreply, Flushed, Timeout}.

flush_later(#{out_size := 0} = State) -> {State, infinity};
flush_later(#{out_size := Size} = State) when Size < ?BATCH -> {State, 0};
flush_later(State) -> {flush(State), infinity}.

start_timer(infinity, _) -> none;
start_timer(Timeout, What) -> erlang:send_after(Timeout, self(), {'$timer', What}).

answer(From, none, Answer) ->
    gen_server:reply(From, Answer);
answer(From, Timer, Answer) ->
    _ = erlang:cancel_timer(Timer),
    gen_server:reply(From, Answer).
