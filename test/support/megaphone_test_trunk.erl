%% @doc A trunk's far end: speaks version 1 of the trunk protocol itself, over a plain socket, and
%% knows nothing of ours.
-module(megaphone_test_trunk).

-export([connect/1, connect/2, close/1, id/1, frame/2, frame/3, close_frame/1, send/2, port/1,
         recv/2, recv_close/2, recv_content/3, recv_response/2, recv_response/3, request/3,
         recv_end/1]).

-export_type([trunk/0, id/0]).

-define(TIMEOUT, 10_000).

%% `buffer' is part of a frame. `content' is what came for connections and wasn't asked for yet,
%% `closed' those that the other side has closed.
-type trunk() :: #{socket := gen_tcp:socket(), port := inet:port_number() | undefined,
                   buffer := binary(),
                   content := #{id() => binary()}, closed := #{id() => true}}.
%% 20 bytes of 0x21 to 0x7e.
-type id() :: binary().

-spec connect({inet:ip_address(), inet:port_number()} | {local, file:name()}) -> trunk().
connect(Address) ->
    connect(Address, <<>>).

%% @doc The same with bytes that go before the first frame.
-spec connect({inet:ip_address(), inet:port_number()} | {local, file:name()}, iodata()) -> trunk().
connect(Address, Before) ->
    {Host, Port} = case Address of
                       {local, _} -> {Address, 0};
                       _ -> Address
                   end,
    case gen_tcp:connect(Host, Port, [binary, {active, false}, {buffer, 65536}] ++
                             [{nodelay, true} || Port =/= 0], ?TIMEOUT) of
        {ok, Socket} ->
            ok = gen_tcp:send(Socket, Before),
            #{socket => Socket, port => port_of(Socket), buffer => <<>>, content => #{},
              closed => #{}};
        {error, Reason} ->
            error({cannot_connect, Address, Reason})
    end.

-spec close(trunk()) -> ok.
close(#{socket := Socket}) ->
    gen_tcp:close(Socket).

%% @doc Our port, by which ejabberd's log names the trunk.
-spec port(trunk()) -> inet:port_number() | undefined.
port(#{port := Port}) ->
    Port.

%% @doc The id of the connection with that number.
-spec id(non_neg_integer()) -> id().
id(Number) ->
    iolist_to_binary(string:pad(integer_to_list(Number), 20, leading, $-)).

%% @doc One frame with content.
-spec frame(id(), iodata()) -> iodata().
frame(Id, Content) ->
    frame(Id, Content, 32 + iolist_size(Content)).

%% @doc A frame that says another length.
-spec frame(id(), iodata(), integer()) -> iodata().
frame(Id, Content, Length) ->
    [io_lib:format("~10..0b|", [Length]), Id, "|", Content].

%% @doc The frame that closes a connection.
-spec close_frame(id()) -> iodata().
close_frame(Id) ->
    frame(Id, []).

%% @doc Sends bytes as they stand.
-spec send(trunk(), iodata()) -> ok | {error, term()}.
send(#{socket := Socket}, Bytes) ->
    gen_tcp:send(Socket, Bytes).

%% @doc The next frame. It isn't put aside: don't mix this with the functions below.
-spec recv(trunk(), timeout()) -> {ok, id(), Content :: binary(), trunk()} | {error, term()}.
recv(#{socket := Socket, buffer := Buffer} = Trunk, Timeout) ->
    case split(Buffer) of
        {Id, Content, Rest} ->
            {ok, Id, Content, Trunk#{buffer := Rest}};
        {more, Missing} ->
            case gen_tcp:recv(Socket, Missing, Timeout) of
                {ok, Bytes} -> recv(Trunk#{buffer := <<Buffer/binary, Bytes/binary>>}, Timeout);
                {error, _} = Error -> Error
            end
    end.

%% @doc Waits until the other side closes the connection. What came before is recv_content/3's.
-spec recv_close(trunk(), id()) -> {ok, trunk()} | {error, term()}.
recv_close(#{closed := Closed} = Trunk, Id) ->
    case is_map_key(Id, Closed) of
        true ->
            {ok, Trunk#{closed := maps:remove(Id, Closed)}};
        false ->
            case collect(Trunk) of
                {ok, Collected} -> recv_close(Collected, Id);
                {error, _} = Error -> Error
            end
    end.

%% @doc Exactly so many bytes of a connection's content; all that came until its close for `all'.
-spec recv_content(trunk(), id(), non_neg_integer() | all) ->
          {ok, binary(), trunk()} | {error, term()}.
recv_content(#{content := Contents, closed := Closed} = Trunk, Id, Length) ->
    case maps:get(Id, Contents, <<>>) of
        Content when Length =:= all, is_map_key(Id, Closed) ->
            {ok, Content, Trunk#{content := maps:remove(Id, Contents)}};
        <<Content:Length/binary, Rest/binary>> when is_integer(Length) ->
            {ok, Content, Trunk#{content := Contents#{Id => Rest}}};
        Content when is_map_key(Id, Closed) ->
            {error, {closed_after, Content}};
        _ ->
            case collect(Trunk) of
                {ok, Collected} -> recv_content(Collected, Id, Length);
                {error, _} = Error -> Error
            end
    end.

-spec recv_response(trunk(), id()) -> {ok, Status :: pos_integer(), Body :: binary(), trunk()} |
          {error, term()}.
recv_response(Trunk, Id) ->
    recv_response(Trunk, Id, <<>>).

%% @doc The next HTTP answer on a connection; its body is as long as Content-Length says.
-spec recv_response(trunk(), id(), Head :: binary()) ->
          {ok, Status :: pos_integer(), Body :: binary(), trunk()} | {error, term()}.
recv_response(Trunk, Id, Head) ->
    case recv_content(Trunk, Id, 1) of
        {ok, Byte, Received} ->
            case <<Head/binary, Byte/binary>> of
                <<"HTTP/1.", _, " ", Status:3/binary, Rest/binary>> = Whole
                  when binary_part(Whole, byte_size(Whole), -4) =:= <<"\r\n\r\n">> ->
                    recv_body(Received, Id, binary_to_integer(Status), Rest);
                Longer ->
                    recv_response(Received, Id, Longer)
            end;
        {error, Reason} ->
            {error, {in_response, Head, Reason}}
    end.

%% @doc Sends one HTTP request as one frame and waits for its answer.
-spec request(trunk(), id(), iodata()) ->
          {ok, Status :: pos_integer(), Body :: binary(), trunk()} | {error, term()}.
request(Trunk, Id, Request) ->
    ok = send(Trunk, frame(Id, Request)),
    recv_response(Trunk, Id).

%% @doc Confirms that the other side ends the trunk; passes over frames that come before.
-spec recv_end(trunk()) -> ok | {error, term()}.
recv_end(#{socket := Socket} = Trunk) ->
    case gen_tcp:recv(Socket, 0, ?TIMEOUT) of
        {error, Reason} when Reason =:= closed; Reason =:= econnreset -> ok;
        {error, timeout} -> {error, still_open};
        {ok, _} -> recv_end(Trunk)
    end.

port_of(Socket) ->
    case inet:sockname(Socket) of
        {ok, {local, _}} -> undefined;
        {ok, {_, Port}} -> Port
    end.

%% Puts the next frame aside.
collect(Trunk) ->
    case recv(Trunk, ?TIMEOUT) of
        {ok, Id, <<>>, #{closed := Closed} = Received} ->
            {ok, Received#{closed := Closed#{Id => true}}};
        {ok, Id, Content, #{content := Contents} = Received} ->
            Before = maps:get(Id, Contents, <<>>),
            {ok, Received#{content := Contents#{Id => <<Before/binary, Content/binary>>}}};
        {error, _} = Error ->
            Error
    end.

split(<<Digits:10/binary, "|", Id:20/binary, "|", Rest/binary>>) ->
    case binary_to_integer(Digits) - 32 of
        Length when byte_size(Rest) >= Length ->
            <<Content:Length/binary, Next/binary>> = Rest,
            {Id, Content, Next};
        Length ->
            {more, Length - byte_size(Rest)}
    end;
split(Buffer) when byte_size(Buffer) < 32 ->
    {more, 32 - byte_size(Buffer)}.

recv_body(Trunk, Id, Status, Headers) ->
    case re:run(Headers, "content-length: *([0-9]+)", [caseless, {capture, [1], binary}]) of
        {match, [Length]} ->
            case recv_content(Trunk, Id, binary_to_integer(Length)) of
                {ok, Body, Received} -> {ok, Status, Body, Received};
                {error, Reason} -> {error, {in_body, Status, Reason}}
            end;
        nomatch ->
            {ok, Status, <<>>, Trunk}
    end.
