%% @doc A small HTTP/1.1 client (RFC 9112). A connection is a gen_tcp socket: what a case writes
%% goes out as it stands, however wrong it is, and answers come back one at a time.
-module(megaphone_test_http).

-export([connect/1, close/1, send/2, encode/4, chunked/1, request/4, request/5,
         recv/1, recv/2, recv/3, header/2, recv_close/1, recv_nothing/2]).

-export_type([target/0, connection/0, method/0, headers/0, response/0]).

-define(TIMEOUT, 10_000).

%% Where the server listens, and more options for gen_tcp, such as the address to come from; or what
%% makes a connection.
-type target() :: {inet:ip_address() | string(), inet:port_number()} |
                  {inet:ip_address() | string(), inet:port_number(), [gen_tcp:connect_option()]} |
                  fun(() -> connection()).
-type connection() :: inet:socket().
-type method() :: string() | binary().
-type headers() :: [{iodata(), iodata()}].
%% Header names are in lower case.
-type response() :: #{status := 100..599, reason := binary(), version := {1, 0 | 1},
                      headers := [{binary(), binary()}], body := binary()}.

-spec connect(target()) -> connection().
connect(Connect) when is_function(Connect) ->
    Connect();
connect({Host, Port}) ->
    connect({Host, Port, []});
connect({Host, Port, More}) ->
    Options = [binary, {active, false}, {packet, raw}, {nodelay, true} | More],
    case gen_tcp:connect(Host, Port, Options, ?TIMEOUT) of
        {ok, Socket} -> Socket;
        {error, Reason} -> error({cannot_connect, Host, Port, Reason})
    end.

-spec close(connection()) -> ok.
close(Connection) ->
    gen_tcp:close(Connection).

%% @doc Sends bytes as they stand.
-spec send(connection(), iodata()) -> ok | {error, inet:posix() | closed}.
send(Connection, Bytes) ->
    gen_tcp:send(Connection, Bytes).

%% @doc A whole request; Host and, with a body, Content-Length are added.
-spec encode(method(), iodata(), headers(), iodata()) -> iodata().
encode(Method, Path, Headers, Body) ->
    Length = case iolist_size(Body) of
                 0 -> [];
                 Size -> [{"Content-Length", integer_to_list(Size)}]
             end,
    [Method, " ", Path, " HTTP/1.1\r\n",
     [[Name, ": ", Value, "\r\n"] || {Name, Value} <- [{"Host", "localhost"} | Length] ++ Headers],
     "\r\n", Body].

%% @doc The pieces as a body with `Transfer-Encoding: chunked', the end included (RFC 9112, 7.1).
-spec chunked([iodata()]) -> iodata().
chunked(Pieces) ->
    [[[integer_to_list(iolist_size(Piece), 16), "\r\n", Piece, "\r\n"] || Piece <- Pieces],
     "0\r\n\r\n"].

-spec request(connection(), method(), iodata(), headers()) -> response() | {error, term()}.
request(Connection, Method, Path, Headers) ->
    request(Connection, Method, Path, Headers, <<>>).

%% @doc Sends a request and waits for its answer.
-spec request(connection(), method(), iodata(), headers(), iodata()) ->
          response() | {error, term()}.
request(Connection, Method, Path, Headers, Body) ->
    case send(Connection, encode(Method, Path, Headers, Body)) of
        ok -> recv(Connection, Method);
        {error, _} = Error -> Error
    end.

-spec recv(connection()) -> response() | {error, term()}.
recv(Connection) ->
    recv(Connection, "GET").

-spec recv(connection(), method()) -> response() | {error, term()}.
recv(Connection, Method) ->
    recv(Connection, Method, ?TIMEOUT).

%% @doc The next answer, an interim one (1xx) included. The method of the request decides whether the
%% answer has a body: a HEAD's has none, whatever its Content-Length.
-spec recv(connection(), method(), timeout()) -> response() | {error, term()}.
recv(Connection, Method, Timeout) ->
    ok = inet:setopts(Connection, [{packet, http_bin}]),
    Response = case gen_tcp:recv(Connection, 0, Timeout) of
                   {ok, {http_response, Version, Status, Reason}} ->
                       recv_headers(Connection, Method, #{status => Status, reason => Reason,
                                                          version => Version});
                   {ok, Other} ->
                       {error, {not_a_response, Other}};
                   {error, _} = Error ->
                       Error
               end,
    _ = inet:setopts(Connection, [{packet, raw}]),
    Response.

%% @doc A header of an answer by its name in lower case; `undefined' if it isn't there.
-spec header(binary(), response()) -> binary() | undefined.
header(Name, #{headers := Headers}) ->
    proplists:get_value(Name, Headers).

%% @doc Confirms that the server closes the connection and sends nothing more.
-spec recv_close(connection()) -> ok | {error, term()}.
recv_close(Connection) ->
    case gen_tcp:recv(Connection, 0, ?TIMEOUT) of
        {error, Reason} when Reason =:= closed; Reason =:= econnreset -> ok;
        {error, timeout} -> {error, still_open};
        {ok, Bytes} -> {error, {unexpected, Bytes}}
    end.

%% @doc Confirms that for so many milliseconds the server sends nothing and keeps the connection.
-spec recv_nothing(connection(), timeout()) -> ok | {error, term()}.
recv_nothing(Connection, Milliseconds) ->
    case gen_tcp:recv(Connection, 0, Milliseconds) of
        {error, timeout} -> ok;
        {error, _} = Error -> Error;
        {ok, Bytes} -> {error, {unexpected, Bytes}}
    end.

recv_headers(Connection, Method, Response) ->
    case recv_header_lines(Connection, []) of
        {ok, Headers} ->
            WithHeaders = Response#{headers => Headers},
            case recv_body(Connection, body_length(Method, WithHeaders)) of
                {ok, Body} -> WithHeaders#{body => Body};
                {error, Reason} -> {error, {in_body, Reason, WithHeaders}}
            end;
        {error, Reason} ->
            {error, {in_headers, Reason, Response}}
    end.

recv_header_lines(Connection, Headers) ->
    case gen_tcp:recv(Connection, 0, ?TIMEOUT) of
        {ok, {http_header, _, Name, _, Value}} ->
            recv_header_lines(Connection, [{lowercase(Name), Value} | Headers]);
        {ok, http_eoh} ->
            ok = inet:setopts(Connection, [{packet, raw}]),
            {ok, lists:reverse(Headers)};
        {ok, Other} ->
            {error, {not_a_header, Other}};
        {error, _} = Error ->
            Error
    end.

lowercase(Name) when is_atom(Name) -> string:lowercase(atom_to_binary(Name));
lowercase(Name) -> string:lowercase(Name).

%% RFC 9112, 6.3.
body_length("HEAD", _Response) ->
    0;
body_length(_Method, #{status := Status}) when Status < 200; Status =:= 204; Status =:= 304 ->
    0;
body_length(_Method, Response) ->
    case {header(<<"transfer-encoding">>, Response), header(<<"content-length">>, Response)} of
        {<<"chunked">>, undefined} -> chunked;
        {undefined, undefined} -> until_close;
        {undefined, Length} -> binary_to_integer(Length)
    end.

recv_body(_Connection, 0) ->
    {ok, <<>>};
recv_body(Connection, chunked) ->
    recv_chunks(Connection, []);
recv_body(Connection, until_close) ->
    recv_until_close(Connection, []);
recv_body(Connection, Length) ->
    gen_tcp:recv(Connection, Length, ?TIMEOUT).

recv_chunks(Connection, Chunks) ->
    ok = inet:setopts(Connection, [{packet, line}]),
    {ok, Line} = gen_tcp:recv(Connection, 0, ?TIMEOUT),
    [Size | _Extensions] = string:split(string:trim(Line), ";"),
    ok = inet:setopts(Connection, [{packet, raw}]),
    case binary_to_integer(Size, 16) of
        0 ->
            {ok, <<"\r\n">>} = gen_tcp:recv(Connection, 2, ?TIMEOUT),
            {ok, iolist_to_binary(lists:reverse(Chunks))};
        Length ->
            {ok, <<Chunk:Length/binary, "\r\n">>} = gen_tcp:recv(Connection, Length + 2, ?TIMEOUT),
            recv_chunks(Connection, [Chunk | Chunks])
    end.

recv_until_close(Connection, Pieces) ->
    case gen_tcp:recv(Connection, 0, ?TIMEOUT) of
        {ok, Piece} -> recv_until_close(Connection, [Piece | Pieces]);
        {error, closed} -> {ok, iolist_to_binary(lists:reverse(Pieces))};
        {error, _} = Error -> Error
    end.
