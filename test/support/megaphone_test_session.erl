%% @doc megaphone_test_xmpp's transport over sessions: a stream of a version 2 trunk that carries
%% documents (RFC 7395), each after its length in four bytes. Its target is a trunk and the PROXY
%% header of the stream.
-module(megaphone_test_session).

-behaviour(megaphone_test_xmpp).

-export([open/3, restart/1, send/2, recv/2, close/1, drop/1]).
-export([header/0, header/1, connect/2, stream/1, send_document/2, recv_document/1, recv_document/2,
         stream_end/1, frame/1, open_document/1, auth/2, authenticate_scram/4, await_presence/3]).

-define(NS, "xmlns='urn:ietf:params:xml:ns:xmpp-framing'").
-define(NS_ERRORS, <<"urn:ietf:params:xml:ns:xmpp-streams">>).
-define(TIMEOUT, 10_000).

%% @doc The header of a client at 192.0.2.7, by TCP without TLS.
-spec header() -> megaphone_test_proxy:header().
header() ->
    header(#{}).

%% @doc The same with other fields, such as `transport', `tls' and `source'.
-spec header(megaphone_test_proxy:header()) -> megaphone_test_proxy:header().
header(Fields) ->
    maps:merge(megaphone_test_proxy:client({{192, 0, 2, 7}, 4711}, <<"xmpp-framing">>), Fields).

%% @doc A stream on which nothing was said yet.
-spec connect(megaphone_test_yamux:trunk(), megaphone_test_proxy:header()) -> map().
connect(Trunk, Header) ->
    #{stream => megaphone_test_yamux:open(Trunk, Header), host => <<"localhost">>}.

-spec stream(map()) -> megaphone_test_yamux:stream().
stream(#{stream := Stream}) ->
    Stream.

open({Trunk, Header}, Host, _Options) ->
    restart((connect(Trunk, Header))#{host := Host}).

restart(#{host := Host} = State) ->
    ok = send_document(State, open_document(Host)),
    case recv_document(State) of
        {ok, Open} ->
            case {megaphone_test_xml:name(Open), megaphone_test_xml:namespace(Open)} of
                {<<"open">>, <<"urn:ietf:params:xml:ns:xmpp-framing">>} -> {ok, State};
                _ -> {error, {expected, <<"open">>, Open}}
            end;
        {error, _} = Error ->
            Error
    end.

-spec open_document(binary()) -> iodata().
open_document(Host) ->
    ["<open " ?NS " to='", Host, "' version='1.0'/>"].

send(State, Document) ->
    case send_document(State, Document) of
        ok -> {ok, State};
        {error, _} = Error -> Error
    end.

%% What came on the stream that this one has taken the place of (megaphone_test_move) goes first.
recv(#{waiting := [First | Waiting]} = State, _Timeout) ->
    {ok, First, State#{waiting := Waiting}};
recv(State, Timeout) ->
    case recv_document(State, Timeout) of
        {ok, Element} -> {ok, Element, State};
        {error, _} = Error -> Error
    end.

%% Both sides close the stream, then the server the connection.
close(#{stream := Stream} = State) ->
    ok = send_document(State, "<close " ?NS "/>"),
    case await_close(State) of
        ok -> megaphone_test_yamux:close_stream(Stream);
        {error, _} = Error -> Error
    end.

drop(#{stream := Stream}) ->
    ok = megaphone_test_yamux:reset(Stream).

await_close(#{stream := Stream} = State) ->
    case recv_document(State) of
        {ok, Element} ->
            case megaphone_test_xml:name(Element) of
                <<"close">> ->
                    {error, closed} = megaphone_test_yamux:recv(Stream, 1),
                    ok;
                _ ->
                    await_close(State)
            end;
        {error, _} = Error ->
            Error
    end.

-spec send_document(map(), iodata()) -> ok | {error, term()}.
send_document(#{stream := Stream}, Document) ->
    megaphone_test_yamux:send(Stream, frame(Document)).

-spec frame(iodata()) -> iodata().
frame(Document) ->
    [<<(iolist_size(Document)):32>>, Document].

-spec recv_document(map()) -> {ok, megaphone_test_xml:element()} | {error, term()}.
recv_document(State) ->
    recv_document(State, ?TIMEOUT).

-spec recv_document(map(), timeout()) -> {ok, megaphone_test_xml:element()} | {error, term()}.
recv_document(#{stream := Stream}, Timeout) ->
    case megaphone_test_yamux:recv(Stream, 4, Timeout) of
        {ok, <<Size:32>>} ->
            case megaphone_test_yamux:recv(Stream, Size, Timeout) of
                {ok, Document} -> parsed(megaphone_test_xml:parse(Document));
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc The condition of the stream error, and how the connection ended; other stanzas are passed over.
-spec stream_end(map()) -> {Condition :: binary() | none, closed | econnreset | {no_close, term()}}.
stream_end(State) ->
    stream_end(State, none).

stream_end(State, Condition) ->
    case recv_document(State) of
        {ok, Element} ->
            case megaphone_test_xml:name(Element) of
                <<"stream:error">> ->
                    [Found | _] = [megaphone_test_xml:name(Child)
                                   || Child <- megaphone_test_xml:children(Element),
                                      megaphone_test_xml:namespace(Child) =:= ?NS_ERRORS],
                    stream_end(State, Found);
                <<"close">> ->
                    {error, Reason} = megaphone_test_yamux:recv(stream(State), 1),
                    {Condition, Reason};
                _ ->
                    stream_end(State, Condition)
            end;
        {error, Reason} ->
            {Condition, {no_close, Reason}}
    end.

%% @doc SASL PLAIN (RFC 4616).
-spec auth(User :: binary(), Password :: binary()) -> iodata().
auth(User, Password) ->
    auth_document(<<"PLAIN">>, <<0, User/binary, 0, Password/binary>>).

auth_document(Mechanism, Data) ->
    ["<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='", Mechanism, "'>",
     base64:encode(Data), "</auth>"].

%% @doc SASL SCRAM-SHA-1 (RFC 5802), up to <success/>, with the server's signature checked. The flag is
%% `n,,' for a client that does not know channel binding, and `y,,' for one that believes that the
%% server does not.
-spec authenticate_scram(map(), Flag :: binary(), User :: binary(), Password :: binary()) ->
          ok | {error, term()}.
authenticate_scram(State, Flag, User, Password) ->
    Bare = megaphone_test_scram:first(User),
    ok = send_document(State, auth_document(<<"SCRAM-SHA-1">>, <<Flag/binary, Bare/binary>>)),
    case recv_document(State) of
        {ok, {xmlel, <<"challenge">>, _, _} = Challenge} ->
            First = base64:decode(megaphone_test_xml:text(Challenge)),
            {Response, Signature} = megaphone_test_scram:final(Flag, Bare, First, Password),
            ok = send_document(State, ["<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>",
                                       base64:encode(Response), "</response>"]),
            case recv_document(State) of
                {ok, {xmlel, <<"success">>, _, _} = Success} ->
                    <<"v=", Signature/binary>> = base64:decode(megaphone_test_xml:text(Success)),
                    ok;
                Other ->
                    {error, Other}
            end;
        Other ->
            {error, Other}
    end.

%% @doc Waits for a presence of that type from that JID; other stanzas are passed over.
-spec await_presence(megaphone_test_xmpp:client(), From :: binary(), Type :: binary()) ->
          megaphone_test_xmpp:client().
await_presence(Client, From, Type) ->
    {Stanza, Received} = megaphone_test_xmpp:recv(Client),
    Found = {megaphone_test_xml:name(Stanza), megaphone_test_xml:attribute(<<"from">>, Stanza),
             megaphone_test_xml:attribute(<<"type">>, Stanza)},
    case Found of
        {<<"presence">>, From, Type} -> Received;
        _ -> await_presence(Received, From, Type)
    end.

parsed({error, _} = Error) -> Error;
parsed(Element) -> {ok, Element}.
