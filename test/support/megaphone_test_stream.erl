%% @doc A stream of megaphone_test_yamux as a socket that gen_tcp and inet take, so that every client of
%% the tests can talk over one. It is passive; `packet' may be raw, line, http and http_bin, and is set
%% for the calling process.
-module(megaphone_test_stream).

-export([target/2, socket/1, stream/1, answer/1, read_to_end/2]).
%% What gen_tcp and inet call.
-export([recv/2, recv/3, send/2, close/1, shutdown/2, setopts/2, getopts/2, controlling_process/2,
         peername/1, sockname/1]).

-define(SOCKET(Stream), {'$inet', ?MODULE, Stream}).

-type socket() :: {'$inet', ?MODULE, megaphone_test_yamux:stream()}.

%% @doc A target for the test's clients: each of their connections is a stream with this header. Give a
%% function to make another header for each.
-spec target(megaphone_test_yamux:trunk(),
             megaphone_test_proxy:header() | fun(() -> megaphone_test_proxy:header())) ->
          fun(() -> socket()).
target(Trunk, Header) when is_map(Header) ->
    target(Trunk, fun() -> Header end);
target(Trunk, MakeHeader) ->
    fun() -> socket(megaphone_test_yamux:open(Trunk, MakeHeader())) end.

-spec socket(megaphone_test_yamux:stream()) -> socket().
socket(Stream) ->
    ?SOCKET(Stream).

-spec stream(socket()) -> megaphone_test_yamux:stream().
stream(?SOCKET(Stream)) ->
    Stream.

%% @doc The next answer to a request on a stream.
-spec answer(megaphone_test_yamux:stream()) -> megaphone_test_http:response() | {error, term()}.
answer(Stream) ->
    megaphone_test_http:recv(socket(Stream)).

%% @doc What is left on a stream up to its end, after what was read of it before.
-spec read_to_end(megaphone_test_yamux:stream(), binary()) -> {ok, binary()} | {error, term()}.
read_to_end(Stream, Read) ->
    case megaphone_test_yamux:recv(Stream, 0) of
        {ok, Bytes} -> read_to_end(Stream, <<Read/binary, Bytes/binary>>);
        {error, closed} -> {ok, Read};
        {error, _} = Error -> Error
    end.

recv(Socket, Length) ->
    recv(Socket, Length, infinity).

recv(?SOCKET(Stream) = Socket, Length, Timeout) ->
    case get(Socket) of
        undefined -> megaphone_test_yamux:recv(Stream, Length, Timeout);
        Packet when Length =:= 0 -> recv_packet(Socket, Packet, 1, Timeout)
    end.

recv_packet(?SOCKET(Stream) = Socket, Packet, Least, Timeout) ->
    case megaphone_test_yamux:peek(Stream, Least, Timeout) of
        {ok, Bytes} ->
            case erlang:decode_packet(Packet, Bytes, []) of
                {ok, Decoded, Rest} ->
                    {ok, _} = megaphone_test_yamux:recv(Stream, byte_size(Bytes) - byte_size(Rest), 0),
                    after_packet(Socket, Packet, Decoded),
                    {ok, Decoded};
                {more, _} ->
                    recv_packet(Socket, Packet, byte_size(Bytes) + 1, Timeout);
                {error, Reason} ->
                    {error, Reason}
            end;
        {error, _} = Error ->
            Error
    end.

%% As inet does: headers follow a first line, and the next message a header's end.
after_packet(Socket, http, {http_response, _, _, _}) -> put(Socket, httph);
after_packet(Socket, http_bin, {http_response, _, _, _}) -> put(Socket, httph_bin);
after_packet(Socket, httph, http_eoh) -> put(Socket, http);
after_packet(Socket, httph_bin, http_eoh) -> put(Socket, http_bin);
after_packet(_, _, _) -> ok.

send(?SOCKET(Stream), Bytes) ->
    megaphone_test_yamux:send(Stream, Bytes).

close(?SOCKET(Stream) = Socket) ->
    _ = erase(Socket),
    megaphone_test_yamux:close_stream(Stream).

shutdown(?SOCKET(Stream), How) when How =/= read ->
    megaphone_test_yamux:finish(Stream).

setopts(Socket, Options) ->
    lists:foreach(fun({packet, raw}) -> erase(Socket);
                     ({packet, 0}) -> erase(Socket);
                     ({packet, Packet}) -> put(Socket, Packet);
                     (_) -> ok
                  end, Options).

getopts(_Socket, _Names) ->
    {ok, []}.

controlling_process(_Socket, _Pid) ->
    ok.

peername(_Socket) ->
    {error, enotconn}.

sockname(_Socket) ->
    {error, enotconn}.
