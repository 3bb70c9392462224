%%% @doc The control messages by which a session and the ECM agree on a move: their length begins with two set bits,
%%% followed by six bits for the kind and 24 for the body's length. doc/protocol.md says what each means.
-module(megaphone_control).

-export([decode/1, encode/1, send/2]).

-export_type([said/0, heard/0]).

-type heard() :: mark | stay | go.
-type said() :: {token, binary()} | {stays, Why :: iodata()} | moved | {refused, Why :: iodata()}
              | {version, iodata()}.

%% The longest body (bytes).
-define(MAX_BODY, 1024).

%% @doc What the ECM says, by the first four bytes of its message as a number: none of these has a body.
-spec decode(non_neg_integer()) -> heard() | error.
decode(16#c1000000) -> mark;
decode(16#c2000000) -> stay;
decode(16#c3000000) -> go;
decode(_) -> error.

%% @doc Encodes a message. A text that is too long is cut after a whole character.
-spec encode(said()) -> iolist().
encode({token, Token}) -> message(4, Token);
encode({stays, Why}) -> message(5, text(Why));
encode(moved) -> message(6, <<>>);
encode({refused, Why}) -> message(7, text(Why));
encode({version, Version}) -> message(8, text(Version)).

message(Kind, Body) ->
    [<<3:2, Kind:6, (byte_size(Body)):24>>, Body].

text(Text) ->
    case unicode:characters_to_binary(Text) of
        Short when byte_size(Short) =< ?MAX_BODY ->
            Short;
        <<Long:?MAX_BODY/binary, _/binary>> ->
            case unicode:characters_to_binary(Long) of
                {incomplete, Whole, _} -> Whole;
                Whole -> Whole
            end
    end.

%% @doc Sends a message after everything that was sent before.
-spec send(megaphone:socket(), said()) -> ok | {error, atom()}.
send(Socket, Said) ->
    megaphone:send(Socket, encode(Said)).
