%% @doc A WebSocket client (RFC 6455) that speaks XMPP (RFC 7395). Frames can be sent as they stand,
%% right or wrong; messages and stanzas come back whole.
-module(megaphone_test_websocket).

-behaviour(megaphone_test_xmpp).

%% What every XMPP client has.
-export([open/3, restart/1, send/2, recv/2, close/1, header/1]).
%% Frames and messages.
-export([connect/3, connect/4, upgrade/1, frame/3, send_bytes/2, send_frame/2, send_frame/4, recv_frame/2,
         recv_message/2, close_stream/1, recv_close/1, drop/1]).

-export_type([connection/0, opcode/0]).

-define(PATH, "/ws").
-define(TIMEOUT, 10_000).
-define(FRAMING, "urn:ietf:params:xml:ns:xmpp-framing").

-type connection() :: #{socket := gen_tcp:socket(), host := binary(), buffer := binary(),
                        %% The attributes of the server's <open/>.
                        header => [{binary(), binary()}],
                        %% The prefix of <open/> and <close/>, if they are to have one.
                        prefix => string(),
                        %% Who the client says it is, as it opens its stream.
                        from => binary()}.
%% RFC 6455, 5.2.
-type opcode() :: continuation | text | binary | close | ping | pong | 0..15.

%% @doc Connects, upgrades and opens a stream to the host (RFC 7395, 3.3).
-spec open(megaphone_test_http:target(), binary(), map()) -> {ok, connection()} | {error, term()}.
open(Target, Host, Options) ->
    case connect(Target, ?PATH, "xmpp", maps:get(headers, Options, [])) of
        {ok, Connection} -> restart(maps:merge(Connection#{host := Host}, maps:with([prefix, from], Options)));
        {error, _} = Error -> Error
    end.

%% @doc Opens a stream anew, as after SASL (RFC 7395, 3.7), and waits for the server's.
-spec restart(connection()) -> {ok, connection()} | {error, term()}.
restart(#{host := Host} = Connection) ->
    From = [[" from='", From, "'"] || #{from := From} <- [Connection]],
    {ok, Asked} = send(Connection, framing("open", Connection, [From, " to='", Host, "' version='1.0'"])),
    case recv(Asked, ?TIMEOUT) of
        {ok, {xmlel, <<"open">>, Attributes, _}, Opened} -> {ok, Opened#{header => Attributes}};
        {ok, Other, _} -> {error, {expected_open, Other}};
        {error, _} = Error -> Error
    end.

%% @doc The attributes of the server's <open/>.
-spec header(connection()) -> [{binary(), binary()}].
header(#{header := Attributes}) ->
    Attributes.

%% @doc Sends one text message.
-spec send(connection(), iodata()) -> {ok, connection()} | {error, term()}.
send(Connection, Text) ->
    send_frame(Connection, {fin, text}, Text, rand:bytes(4)).

%% @doc The next stanza. Pings of the server are answered on the way.
-spec recv(connection(), timeout()) ->
          {ok, megaphone_test_xml:element(), connection()} | {error, term()}.
recv(Connection, Timeout) ->
    case recv_message(Connection, Timeout) of
        {ok, text, Text, Received} ->
            case megaphone_test_xml:parse(Text) of
                {error, _} = Error -> Error;
                Stanza -> {ok, Stanza, Received}
            end;
        {ok, ping, Payload, Received} ->
            {ok, Answered} = send_frame(Received, {fin, pong}, Payload, rand:bytes(4)),
            recv(Answered, Timeout);
        {ok, Opcode, Payload, _} ->
            {error, {unexpected, Opcode, Payload}};
        {error, _} = Error ->
            Error
    end.

%% @doc Closes the stream (RFC 7395, 3.6), then the WebSocket.
-spec close(connection()) -> ok | {error, term()}.
close(Connection) ->
    case close_stream(Connection) of
        {ok, Closed} -> recv_close(Closed);
        {error, _} = Error -> Error
    end.

%% @doc Connects and upgrades (RFC 6455, 4.1); the server's key is checked.
-spec connect(megaphone_test_http:target(), string(), string()) ->
          {ok, connection()} | {error, term()}.
connect(Target, Path, Protocol) ->
    connect(Target, Path, Protocol, []).

%% @doc The same with more headers.
-spec connect(megaphone_test_http:target(), string(), string(), [{iodata(), iodata()}]) ->
          {ok, connection()} | {error, term()}.
connect(Target, Path, Protocol, More) ->
    Socket = megaphone_test_http:connect(Target),
    Key = base64:encode(rand:bytes(16)),
    Headers = [{"Sec-WebSocket-Key", Key}, {"Sec-WebSocket-Protocol", Protocol} | More],
    ok = megaphone_test_http:send(Socket, megaphone_test_http:encode("GET", Path,
                                                                    upgrade(Headers), [])),
    Accept = base64:encode(crypto:hash(sha, [Key, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"])),
    case megaphone_test_http:recv(Socket) of
        #{status := 101} = Response ->
            case {megaphone_test_http:header(<<"sec-websocket-accept">>, Response),
                  megaphone_test_http:header(<<"sec-websocket-protocol">>, Response)} of
                {Accept, Chosen} when Chosen =/= undefined ->
                    {ok, #{socket => Socket, host => <<"localhost">>, buffer => <<>>}};
                Got ->
                    {error, {wrong_handshake, Got, Response}}
            end;
        Other ->
            {error, {not_upgraded, Other}}
    end.

%% @doc The headers that ask for an upgrade, before those given.
-spec upgrade(megaphone_test_http:headers()) -> megaphone_test_http:headers().
upgrade(Headers) ->
    [{"Connection", "Upgrade"}, {"Upgrade", "websocket"}, {"Sec-WebSocket-Version", "13"} | Headers].

%% @doc A frame's bytes. The mask has four bytes, as a client's must (RFC 6455, 5.3), or none.
-spec frame({fin | more, opcode()}, iodata(), Mask :: binary()) -> iodata().
frame({Fin, Opcode}, Payload, Mask) ->
    Bytes = iolist_to_binary(Payload),
    FinBit = case Fin of fin -> 1; more -> 0 end,
    MaskBit = case Mask of <<>> -> 0; _ -> 1 end,
    [head(FinBit, opcode_number(Opcode), MaskBit, byte_size(Bytes)), Mask, mask(Bytes, Mask)].

%% @doc Sends bytes as they stand.
-spec send_bytes(connection(), iodata()) -> ok | {error, term()}.
send_bytes(#{socket := Socket}, Bytes) ->
    gen_tcp:send(Socket, Bytes).

%% @doc A whole control frame or message without payload.
-spec send_frame(connection(), opcode()) -> {ok, connection()} | {error, term()}.
send_frame(Connection, Opcode) ->
    send_frame(Connection, {fin, Opcode}, [], rand:bytes(4)).

-spec send_frame(connection(), {fin | more, opcode()}, iodata(), binary()) ->
          {ok, connection()} | {error, term()}.
send_frame(Connection, Kind, Payload, Mask) ->
    case send_bytes(Connection, frame(Kind, Payload, Mask)) of
        ok -> {ok, Connection};
        {error, _} = Error -> Error
    end.

%% @doc The next frame as it came.
-spec recv_frame(connection(), timeout()) ->
          {ok, {fin | more, opcode()}, binary(), connection()} | {error, term()}.
recv_frame(#{buffer := Buffer} = Connection, Timeout) ->
    case split_frame(Buffer) of
        {Kind, Payload, Rest} ->
            {ok, Kind, Payload, Connection#{buffer := Rest}};
        incomplete ->
            #{socket := Socket} = Connection,
            case gen_tcp:recv(Socket, 0, Timeout) of
                {ok, Bytes} ->
                    recv_frame(Connection#{buffer := <<Buffer/binary, Bytes/binary>>}, Timeout);
                {error, _} = Error ->
                    Error
            end
    end.

%% @doc The next message, its fragments put together, or a control frame.
-spec recv_message(connection(), timeout()) ->
          {ok, opcode(), binary(), connection()} | {error, term()}.
recv_message(Connection, Timeout) ->
    case recv_frame(Connection, Timeout) of
        {ok, {fin, Opcode}, Payload, Received} -> {ok, Opcode, Payload, Received};
        {ok, {more, Opcode}, Payload, Received} -> recv_rest(Received, Opcode, [Payload], Timeout);
        {error, _} = Error -> Error
    end.

%% @doc Says that the stream ends and waits until the server says so too.
-spec close_stream(connection()) -> {ok, connection()} | {error, term()}.
close_stream(Connection) ->
    {ok, Sent} = send(Connection, framing("close", Connection, "")),
    recv_close_stream(Sent).

%% @doc Ends the WebSocket (RFC 6455, 7.1.1): sends close, waits for the server's, and disconnects.
-spec recv_close(connection()) -> ok | {error, term()}.
recv_close(Connection) ->
    _ = send_frame(Connection, {fin, close}, <<1000:16>>, rand:bytes(4)),
    recv_end(Connection).

%% @doc Leaves as a client does whose machine goes down: the connection closes, nobody is told.
-spec drop(connection()) -> ok.
drop(#{socket := Socket}) ->
    gen_tcp:close(Socket).

framing(Name, #{prefix := Prefix}, Attributes) ->
    ["<", Prefix, ":", Name, " xmlns:", Prefix, "='" ?FRAMING "'", Attributes, "/>"];
framing(Name, _Connection, Attributes) ->
    ["<", Name, " xmlns='" ?FRAMING "'", Attributes, "/>"].

recv_close_stream(Connection) ->
    case recv(Connection, ?TIMEOUT) of
        {ok, {xmlel, <<"close">>, _, _}, Closed} -> {ok, Closed};
        {ok, _, Received} -> recv_close_stream(Received);
        {error, _} = Error -> Error
    end.

recv_end(Connection) ->
    case recv_frame(Connection, ?TIMEOUT) of
        {ok, {fin, close}, _, Received} -> drop(Received);
        {ok, Kind, Payload, _} -> {error, {unexpected, Kind, Payload}};
        {error, Reason} when Reason =:= closed; Reason =:= econnreset -> drop(Connection);
        {error, timeout} -> {error, still_open}
    end.

recv_rest(Connection, Opcode, Payloads, Timeout) ->
    case recv_frame(Connection, Timeout) of
        {ok, {fin, continuation}, Payload, Received} ->
            {ok, Opcode, iolist_to_binary(lists:reverse([Payload | Payloads])), Received};
        {ok, {more, continuation}, Payload, Received} ->
            recv_rest(Received, Opcode, [Payload | Payloads], Timeout);
        {ok, Kind, Payload, _} ->
            {error, {expected_continuation, Kind, Payload}};
        {error, _} = Error ->
            Error
    end.

%% RFC 6455, 5.2.
head(Fin, Opcode, MaskBit, Size) when Size < 126 ->
    <<Fin:1, 0:3, Opcode:4, MaskBit:1, Size:7>>;
head(Fin, Opcode, MaskBit, Size) when Size < 65536 ->
    <<Fin:1, 0:3, Opcode:4, MaskBit:1, 126:7, Size:16>>;
head(Fin, Opcode, MaskBit, Size) ->
    <<Fin:1, 0:3, Opcode:4, MaskBit:1, 127:7, Size:64>>.

split_frame(<<Fin:1, _:3, Opcode:4, 0:1, 127:7, Size:64, Payload:Size/binary, Rest/binary>>) ->
    {frame_kind(Fin, Opcode), Payload, Rest};
split_frame(<<Fin:1, _:3, Opcode:4, 0:1, 126:7, Size:16, Payload:Size/binary, Rest/binary>>) ->
    {frame_kind(Fin, Opcode), Payload, Rest};
split_frame(<<Fin:1, _:3, Opcode:4, 0:1, Size:7, Payload:Size/binary, Rest/binary>>)
  when Size < 126 ->
    {frame_kind(Fin, Opcode), Payload, Rest};
split_frame(_) ->
    incomplete.

frame_kind(1, Opcode) -> {fin, opcode_name(Opcode)};
frame_kind(0, Opcode) -> {more, opcode_name(Opcode)}.

mask(Bytes, <<>>) ->
    Bytes;
mask(Bytes, Mask) ->
    Pattern = binary:copy(Mask, byte_size(Bytes) div 4 + 1),
    crypto:exor(Bytes, binary:part(Pattern, 0, byte_size(Bytes))).

opcode_number(continuation) -> 0;
opcode_number(text) -> 1;
opcode_number(binary) -> 2;
opcode_number(close) -> 8;
opcode_number(ping) -> 9;
opcode_number(pong) -> 10;
opcode_number(Number) -> Number.

opcode_name(0) -> continuation;
opcode_name(1) -> text;
opcode_name(2) -> binary;
opcode_name(8) -> close;
opcode_name(9) -> ping;
opcode_name(10) -> pong;
opcode_name(Number) -> Number.
