%% @doc A trunk of version 1 in the NIF without a TCP connection: the test feeds what its peer sends
%% and takes what its peer would get. The caller of open/1 is the trunk's reader.
-module(megaphone_test_nif).

-export([open/0, open/1, connect/1, connect/3, id/1, frame/2, close_frame/1,
         feed/2, peer_send/3, peer_close/2, fill/1, take/1, output/1, output/2, content/2, frames/1,
         status/1, waiters/2]).

-export_type([event/0]).

-define(HEADER, 32).
-define(BATCH, 262144).
-define(DIRTY_FEED, 65536).
%% A send waits above this (bytes).
-define(FULL, 65536).

%% What the peer gets: a frame's content, or the frame that closes.
-type event() :: {id(), binary() | close}.
-type id() :: <<_:160>>.
-type socket() :: megaphone:socket().
-type trunk() :: megaphone_nif:trunk().

%% @doc A trunk that carries bytes.
-spec open() -> trunk().
open() ->
    open(#{}).

%% @doc A trunk with settings that differ from what cases need most often.
-spec open(map()) -> trunk().
open(Settings) ->
    Defaults = #{content => raw,
                 max_frame_size => 1 bsl 20,
                 max_connections => 1_000_000,
                 max_trunk_buffer => 64 bsl 20,
                 max_trunk_output => 64 bsl 20,
                 idle_timeout => infinity,
                 send_timeout => 15_000,
                 handshake_timeout => 10_000,
                 frame_timeout => 30_000,
                 ceilings => #{},
                 listener => self(),
                 peername => {{192, 0, 2, 1}, 4711},
                 sockname => {{127, 0, 0, 1}, 5290}},
    megaphone_nif:open(maps:merge(Defaults, Settings)).

%% @doc A new connection that the caller owns, all it received taken.
-spec connect(trunk()) -> {socket(), id()}.
connect(Trunk) ->
    Id = id(erlang:unique_integer([positive])),
    Socket = connect(Trunk, Id, <<"!">>),
    {ok, <<"!">>} = megaphone:recv(Socket, 1, 0),
    {Socket, Id}.

%% @doc The connection that a frame opens, the caller its owner; the frame's content waits.
-spec connect(trunk(), id(), iodata()) -> socket().
connect(Trunk, Id, Content) ->
    {ok, [{Handle, _}], []} = feed(Trunk, frame(Id, Content)),
    ok = megaphone_nif:own(Trunk, Handle, self()),
    megaphone:socket(Trunk, Handle).

-spec id(non_neg_integer()) -> id().
id(Number) ->
    iolist_to_binary(io_lib:format("~20..0b", [Number])).

-spec frame(id(), iodata()) -> binary().
frame(Id, Content) ->
    Length = integer_to_binary(?HEADER + iolist_size(Content)),
    Zeros = binary:copy(<<"0">>, 10 - byte_size(Length)),
    iolist_to_binary([Zeros, Length, $|, Id, $|, Content]).

-spec close_frame(id()) -> binary().
close_frame(Id) ->
    frame(Id, <<>>).

%% @doc Feeds bytes of the trunk as megaphone_trunk does.
-spec feed(trunk(), iodata()) -> tuple().
feed(Trunk, Bytes) ->
    case iolist_to_binary(Bytes) of
        Binary when byte_size(Binary) > ?DIRTY_FEED -> megaphone_nif:feed_dirty(Trunk, Binary);
        Binary -> megaphone_nif:feed(Trunk, Binary)
    end.

%% @doc A frame for a connection that is open.
-spec peer_send(trunk(), id(), iodata()) -> ok.
peer_send(Trunk, Id, Content) ->
    {ok, [], _} = feed(Trunk, frame(Id, Content)),
    ok.

-spec peer_close(trunk(), id()) -> ok.
peer_close(Trunk, Id) ->
    {ok, [], _} = feed(Trunk, close_frame(Id)),
    ok.

%% @doc Sends until a send would have to wait for the writer; answers what was sent.
-spec fill(socket()) -> binary().
fill(Socket) ->
    fill(Socket, []).

fill(Socket, Sent) ->
    {ok, [{send_pend, Pending}]} = inet:getstat(Socket, [send_pend]),
    case Pending >= ?FULL of
        true ->
            iolist_to_binary(lists:reverse(Sent));
        false ->
            Piece = rand:bytes(40_000),
            ok = gen_tcp:send(Socket, Piece),
            fill(Socket, [Piece | Sent])
    end.

%% @doc One batch, as the writer takes it.
-spec take(trunk()) -> [event()].
take(Trunk) ->
    case megaphone_nif:take_output(Trunk, ?BATCH) of
        none -> [];
        Batch -> frames(Batch)
    end.

%% @doc All frames that there are for the peer.
-spec output(trunk()) -> [event()].
output(Trunk) ->
    case take(Trunk) of
        [] -> [];
        Events -> Events ++ output(Trunk)
    end.

%% @doc What there is for one connection's peer: its bytes, and whether a close frame ends them.
%% What others would get is lost.
-spec output(trunk(), id()) -> {binary(), open | closed}.
output(Trunk, Id) ->
    content(Id, output(Trunk)).

%% @doc The bytes of one connection among frames, and whether a close frame ends them.
-spec content(id(), [event()]) -> {binary(), open | closed}.
content(Id, Events) ->
    Own = [Content || {EventId, Content} <- Events, EventId =:= Id],
    case lists:splitwith(fun is_binary/1, Own) of
        {Contents, []} -> {iolist_to_binary(Contents), open};
        {Contents, [close]} -> {iolist_to_binary(Contents), closed}
    end.

%% @doc Reads frames; what follows the last whole one is an error.
-spec frames(binary()) -> [event()].
frames(<<>>) ->
    [];
frames(<<Length:10/binary, $|, Id:20/binary, $|, Rest/binary>>) ->
    case binary_to_integer(Length) - ?HEADER of
        0 ->
            [{Id, close} | frames(Rest)];
        Size ->
            <<Content:Size/binary, Others/binary>> = Rest,
            [{Id, Content} | frames(Others)]
    end.

-spec status(trunk()) -> map().
status(Trunk) ->
    {ok, Status} = megaphone:status(megaphone_nif:number(Trunk)),
    Status.

%% @doc Waits until so many processes wait on the trunk's connections.
-spec waiters(trunk(), non_neg_integer()) -> ok.
waiters(Trunk, Count) ->
    What = lists:flatten(io_lib:format("~b processes that wait", [Count])),
    megaphone_test_wait:until(What, fun() -> waits(Trunk) =:= Count andalso ok end).

waits(Trunk) ->
    maps:get(waiters, status(Trunk)).
