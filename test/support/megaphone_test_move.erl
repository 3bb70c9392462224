%% @doc The ECM's part of a session's move (doc/protocol.md, "How a session moves"), for clients of
%% megaphone_test_session. It knows nothing of ours.
-module(megaphone_test_move).

-export([move/3, mark/1, await_token/1, take/3, await_moved/1, go/2, stay/1, await_stays/1, await_refused/1,
         ask/1, state/1, with_stream/2, say/2, recv/1, header/1]).

-export_type([said/0]).

-type client() :: megaphone_test_xmpp:client().
-type said() :: {document, binary()} | {token, binary()} | {stays, binary()} | moved | {refused, binary()}
              | {version, binary()} | {ended, closed | econnreset}.

-define(TIMEOUT, 10_000).
-define(TAKEOVER, 16#e5).

%% @doc Moves the client's session to a stream of that trunk. What came on the old one meanwhile is what the client
%% gets first.
-spec move(client(), megaphone_test_yamux:trunk(), megaphone_test_proxy:header()) -> client().
move(Client, Trunk, Header) ->
    {Token, Asked} = await_token(mark(Client)),
    Stream = take(Trunk, Header, Token),
    go(Stream, await_moved(Asked)).

-spec mark(client()) -> client().
mark(Client) ->
    ok = say(state(Client), 1),
    Client.

%% @doc The token, and the client with what came before it.
-spec await_token(client()) -> {binary(), client()}.
await_token(Client) ->
    {{token, Token}, Received} = until_said(Client),
    {Token, Received}.

%% @doc A stream that is to take the session over.
-spec take(megaphone_test_yamux:trunk(), megaphone_test_proxy:header(), Token :: binary()) ->
          megaphone_test_yamux:stream().
take(Trunk, Header, Token) ->
    megaphone_test_yamux:open(Trunk, Header#{more => [{?TAKEOVER, Token} | maps:get(more, Header, [])]}).

%% @doc Reads the old stream to its end, behind moved.
-spec await_moved(client()) -> client().
await_moved(Client) ->
    {moved, Received} = until_said(Client),
    {ended, closed} = recv(state(Received)),
    ok = megaphone_test_yamux:finish(stream(Received)),
    Received.

%% @doc The client is on the new stream from now on.
-spec go(megaphone_test_yamux:stream(), client()) -> client().
go(Stream, Client) ->
    Moved = with_stream(Stream, Client),
    ok = say(state(Moved), 3),
    Moved.

-spec stay(client()) -> client().
stay(Client) ->
    ok = say(state(Client), 2),
    Client.

%% @doc Why the session stays, on the old stream.
-spec await_stays(client()) -> {binary(), client()}.
await_stays(Client) ->
    {{stays, Why}, Received} = until_said(Client),
    {Why, Received}.

%% @doc Why a new stream has no session: it says so, and ends.
-spec await_refused(megaphone_test_yamux:stream()) -> binary().
await_refused(Stream) ->
    {refused, Why} = recv(#{stream => Stream}),
    {ended, closed} = recv(#{stream => Stream}),
    Why.

%% @doc What a trunk's ejabberd answers whether sessions can move there.
-spec ask(megaphone_test_yamux:trunk()) -> binary().
ask(Trunk) ->
    Stream = take(Trunk, #{command => local, alpn => <<"xmpp-framing">>}, <<>>),
    {version, Version} = recv(#{stream => Stream}),
    {ended, closed} = recv(#{stream => Stream}),
    Version.

-spec state(client()) -> map().
state(#{state := State}) -> State.

-spec with_stream(megaphone_test_yamux:stream(), client()) -> client().
with_stream(Stream, Client) ->
    megaphone_test_xmpp:update(Client, (state(Client))#{stream := Stream}).

stream(Client) ->
    megaphone_test_session:stream(state(Client)).

%% @doc A header for a client at 192.0.2.7, with other fields.
-spec header(megaphone_test_proxy:header()) -> megaphone_test_proxy:header().
header(Fields) ->
    megaphone_test_session:header(Fields).

%% @doc Says a kind of control message, which has no body.
-spec say(map(), 0..63) -> ok | {error, term()}.
say(#{stream := Stream}, Kind) ->
    megaphone_test_yamux:send(Stream, <<3:2, Kind:6, 0:24>>).

%% Passes over documents, which the client gets afterwards.
until_said(Client) ->
    case recv(state(Client)) of
        {document, Document} ->
            State = state(Client),
            Waiting = maps:get(waiting, State, []) ++ [megaphone_test_xml:parse(Document)],
            until_said(megaphone_test_xmpp:update(Client, State#{waiting => Waiting}));
        Said ->
            {Said, Client}
    end.

%% @doc The next message of a stream.
-spec recv(#{stream := megaphone_test_yamux:stream(), _ => _}) -> said().
recv(#{stream := Stream}) ->
    case megaphone_test_yamux:recv(Stream, 4, ?TIMEOUT) of
        {ok, <<3:2, Kind:6, Size:24>>} -> said(Kind, body(Stream, Size));
        {ok, <<Size:32>>} -> {document, body(Stream, Size)};
        {error, Reason} -> {ended, Reason}
    end.

body(_Stream, 0) ->
    <<>>;
body(Stream, Size) ->
    {ok, Body} = megaphone_test_yamux:recv(Stream, Size, ?TIMEOUT),
    Body.

said(4, Token) -> {token, Token};
said(5, Why) -> {stays, Why};
said(6, <<>>) -> moved;
said(7, Why) -> {refused, Why};
said(8, Version) -> {version, Version}.
