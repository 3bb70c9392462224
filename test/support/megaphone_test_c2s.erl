%% @doc A client of raw XML streams (RFC 6120) over any socket that gen_tcp takes, with STARTTLS
%% (RFC 6120, 5) by fast_tls and compression (XEP-0138) by ezlib, ProcessOne's libraries.
-module(megaphone_test_c2s).

-behaviour(megaphone_test_xmpp).

-export([open/3, restart/1, send/2, recv/2, close/1, drop/1]).
-export([send_bytes/2, header/1, tls/1]).

-define(TIMEOUT, 10_000).
-define(NS_STREAM, "http://etherx.jabber.org/streams").

-type client() :: #{module := gen_tcp | fast_tls | ezlib, socket := term(), host := binary(),
                    %% The prefix of the stream's own elements, and what else is declared around all others.
                    prefix := string(), declare := iodata(),
                    %% Who the client says it is, in the stream's header.
                    from := binary() | none,
                    %% Whether it is to be compressed, once the user is known.
                    compress := boolean(),
                    parser := term(), elements := [term()],
                    %% The attributes of the server's stream.
                    header := [{binary(), binary()}]}.

%% @doc Opens a stream; with `starttls' it is encrypted first, with `direct_tls' from the first byte on, with more of
%% fast_tls's options in `tls_options'; with `compress' it will be compressed.
-spec open(megaphone_test_http:target(), binary(),
           #{starttls => boolean(), direct_tls => boolean(), tls_options => [term()], compress => boolean(),
             prefix => string(), declare => iodata(), from => binary()}) ->
          {ok, client()} | {error, term()}.
open(Target, Host, Options) ->
    {Module, Socket} = connect(Target, Options),
    Opened = start(#{module => Module, socket => Socket, host => Host,
                     prefix => maps:get(prefix, Options, "stream"),
                     declare => maps:get(declare, Options, ""),
                     from => maps:get(from, Options, none),
                     compress => maps:get(compress, Options, false), parser => none,
                     elements => [], header => []}),
    case {Opened, Options} of
        {{ok, Client}, #{starttls := true}} -> starttls(Client, Options);
        _ -> Opened
    end.

connect(Target, #{direct_tls := true} = Options) ->
    {fast_tls, encrypt(megaphone_test_http:connect(Target), Options)};
connect(Target, _Options) ->
    {gen_tcp, megaphone_test_http:connect(Target)}.

encrypt(Socket, Options) ->
    {ok, Tls} = fast_tls:tcp_to_tls(Socket, [connect, verify_none | maps:get(tls_options, Options, [])]),
    Tls.

%% @doc The TLS connection of a client that has one.
-spec tls(client()) -> fast_tls:tls_socket().
tls(#{module := fast_tls, socket := Socket}) ->
    Socket.

-spec restart(client()) -> {ok, client()} | {error, term()}.
restart(#{compress := false} = Client) ->
    start(Client);
restart(Client) ->
    case start(Client) of
        {ok, Started} -> compress(Started);
        {error, _} = Error -> Error
    end.

-spec send(client(), iodata()) -> {ok, client()} | {error, term()}.
send(Client, Stanza) ->
    case send_bytes(Client, Stanza) of
        ok -> {ok, Client};
        {error, _} = Error -> Error
    end.

%% @doc Sends bytes as they stand.
-spec send_bytes(client(), iodata()) -> ok | {error, term()}.
send_bytes(#{module := Module, socket := Socket}, Bytes) ->
    %% ezlib takes binaries alone.
    Module:send(Socket, iolist_to_binary(Bytes)).

%% @doc The attributes of the stream that the server has opened.
-spec header(client()) -> [{binary(), binary()}].
header(#{header := Attributes}) ->
    Attributes.

-spec recv(client(), timeout()) -> {ok, megaphone_test_xml:element(), client()} | {error, term()}.
recv(Client, Timeout) ->
    case next(Client, Timeout) of
        {ok, {xmlstreamelement, Element}, Received} -> {ok, Element, Received};
        {ok, Other, _} -> {error, {expected_element, Other}};
        {error, _} = Error -> Error
    end.

%% @doc Ends the stream (RFC 6120, 4.4) and waits for the server's end.
-spec close(client()) -> ok | {error, term()}.
close(#{prefix := Prefix} = Client) ->
    ok = send_bytes(Client, ["</", Prefix, ":stream>"]),
    Ended = await_stream_end(Client),
    ok = drop(Client),
    Ended.

-spec drop(client()) -> ok.
drop(#{module := Module, socket := Socket}) ->
    Module:close(Socket).

%% ejabberd compresses for users alone (XEP-0138, 3).
compress(Client) ->
    {ok, {xmlel, <<"stream:features">>, _, _}, Greeted} = recv(Client, ?TIMEOUT),
    {ok, Asked} = send(Greeted, "<compress xmlns='http://jabber.org/protocol/compress'>"
                                "<method>zlib</method></compress>"),
    case recv(Asked, ?TIMEOUT) of
        {ok, {xmlel, <<"compressed">>, _, _}, #{module := Module, socket := Socket} = Answered} ->
            {ok, _} = application:ensure_all_started(ezlib),
            {ok, Compressed} = ezlib:enable_zlib(Module, Socket),
            start(Answered#{module := ezlib, socket := Compressed});
        {ok, Other, _} -> {error, {not_compressed, Other}};
        {error, _} = Error -> Error
    end.

starttls(Client, Options) ->
    {ok, {xmlel, <<"stream:features">>, _, _}, Greeted} = recv(Client, ?TIMEOUT),
    {ok, Asked} = send(Greeted, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
    case recv(Asked, ?TIMEOUT) of
        {ok, {xmlel, <<"proceed">>, _, _}, #{socket := Socket} = Answered} ->
            start(Answered#{module := fast_tls, socket := encrypt(Socket, Options)});
        {ok, Other, _} -> {error, {no_tls, Other}};
        {error, _} = Error -> Error
    end.

%% Opens a stream and waits for the server's.
start(#{host := Host, prefix := Prefix, declare := Declare, from := From} = Client) ->
    Stream = ["<?xml version='1.0'?><", Prefix, ":stream xmlns='jabber:client' xmlns:", Prefix, "='" ?NS_STREAM "'",
              Declare, [[" from='", From, "'"] || From =/= none], " version='1.0' to='", Host, "'>"],
    Parser = fxml_stream:new(self(), infinity, [no_gen_server]),
    Fresh = Client#{parser := Parser, elements := []},
    case send_bytes(Fresh, Stream) of
        ok ->
            case next(Fresh, ?TIMEOUT) of
                {ok, {xmlstreamstart, _, Attributes}, Started} -> {ok, Started#{header := Attributes}};
                {ok, Other, _} -> {error, {expected_stream, Other}};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

await_stream_end(Client) ->
    case next(Client, ?TIMEOUT) of
        {ok, {xmlstreamend, _}, _} -> ok;
        {ok, _, Received} -> await_stream_end(Received);
        {error, _} = Error -> Error
    end.

next(#{elements := [Element | Elements]} = Client, _Timeout) ->
    {ok, Element, Client#{elements := Elements}};
next(#{elements := [], module := Module, socket := Socket, parser := Parser} = Client, Timeout) ->
    case Module:recv(Socket, 0, Timeout) of
        {ok, Bytes} ->
            Parsed = fxml_stream:parse(Parser, Bytes),
            next(Client#{parser := Parsed, elements := elements()}, Timeout);
        {error, _} = Error ->
            Error
    end.

%% The parser sends what it has found to its process.
elements() ->
    receive
        {xmlstreamstart, _, _} = Element -> [Element | elements()];
        {xmlstreamelement, _} = Element -> [Element | elements()];
        {xmlstreamend, _} = Element -> [Element | elements()];
        {xmlstreamerror, _} = Element -> [Element | elements()]
    after 0 ->
        []
    end.
