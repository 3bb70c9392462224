%% What doc/protocol.md shows, sent as it stands there to megaphone_listener in a real ejabberd: an ECM that
%% was written by the document alone. And the listeners that the documents tell people to copy.
-module(megaphone_document_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([a_whole_beginning/1, a_request_with_a_header/1, a_request_of_version_1/1, listeners_to_copy/1]).

-define(TIMEOUT, 10_000).

suite() ->
    [{timetrap, {minutes, 5}}].

all() ->
    [a_whole_beginning, a_request_with_a_header, a_request_of_version_1,
     %% The listener of the others is gone after that.
     listeners_to_copy].

init_per_suite(Config) ->
    megaphone_test_listeners:start(Config, #{default => ""}).

end_per_suite(Config) ->
    megaphone_test_listeners:stop(Config).

%% Confirms that the ping is answered and the stream accepted, and that the session begins: this ejabberd does not
%% serve the host of the document, and says so as a session does, with `<open/>', an error, `<close/>' and FIN.
a_whole_beginning(Config) ->
    Socket = connect(Config),
    ok = gen_tcp:send(Socket, hex(example("trunk"))),
    {Frames, Content} = until_fin(Socket, 1),
    ?assertMatch([{ping, [ack], 0, 0} | _], Frames),
    ?assertMatch([_], [Frame || {_, Flags, 1, _} = Frame <- Frames, lists:member(ack, Flags)]),
    [Open, Error, Close] = messages(Content),
    ?assertMatch({match, _}, re:run(Open, "^<open [^>]*xmpp-framing")),
    ?assertMatch({match, _}, re:run(Error, "^<stream:error .*<host-unknown")),
    ?assertMatch({match, _}, re:run(Close, "^<close ")),
    ok = gen_tcp:close(Socket).

%% Confirms that ejabberd has the client's address of the first PROXY header.
a_request_with_a_header(Config) ->
    Socket = connect(Config),
    Request = <<"GET /echo/ip HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n">>,
    ok = gen_tcp:send(Socket, megaphone_test_frame:frame([syn], 1, [hex(example("proxy")), Request])),
    {_, Content} = until_fin(Socket, 1),
    ?assertMatch({match, _}, re:run(Content, "^HTTP/1.1 200 .*192\\.0\\.2\\.7$", [dotall])),
    ok = gen_tcp:close(Socket).

%% Confirms that the request of version 1 is answered in frames with its id, and that the close is.
a_request_of_version_1(Config) ->
    [Request, <<Close:32/binary>>] = [unescaped(Line) || Line <- example("v1")],
    <<_:11/binary, Id:20/binary, _/binary>> = Close,
    Trunk = megaphone_test_trunk:connect(megaphone_test_listeners:address(Config, default)),
    ok = megaphone_test_trunk:send(Trunk, Request),
    {ok, 404, _, Answered} = megaphone_test_trunk:recv_response(Trunk, Id),
    ok = megaphone_test_trunk:send(Answered, Close),
    {ok, Closed} = megaphone_test_trunk:recv_close(Answered, Id),
    ok = megaphone_test_trunk:close(Closed).

%% Confirms that the listener of the README, and that of doc/operating.md with its ceilings, is one that ejabberd
%% takes, and that it serves the API.
listeners_to_copy(Config) ->
    Operating = "doc/operating.md",
    [listener_to_copy(Config, Listener)
     || Listener <- [yaml("README.md", "listen:"),
                     [yaml(Operating, "listen:"), yaml(Operating, "    ceilings:")]]].

listener_to_copy(Config, Yaml) ->
    Port = megaphone_test_port:free(),
    [<<"listen:\n">>, Listener] = re:split(Yaml, "(?<=^listen:\n)"),
    {match, _} = re:run(Listener, "port: 5290"),
    Free = re:replace(Listener, "port: 5290", ["port: ", integer_to_list(Port)]),
    ok = megaphone_test_ejabberd:reload(megaphone_test_listeners:ejabberd(Config), #{listeners => [Free]}),
    Trunk = megaphone_test_trunk:connect({{127, 0, 0, 1}, Port}),
    Id = megaphone_test_trunk:id(1),
    Request = "GET /api/status HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ok = megaphone_test_trunk:send(Trunk, megaphone_test_trunk:frame(Id, Request)),
    {ok, 200, _, Answered} = megaphone_test_trunk:recv_response(Trunk, Id),
    ok = megaphone_test_trunk:close(Answered).

%% A document's first example in YAML that begins with this line.
yaml(Document, First) ->
    Lines = drop_until(iolist_to_binary(First), drop_until(<<"```yaml">>, lines(Document))),
    [[Line, $\n] || Line <- lists:takewhile(fun(Line) -> Line =/= <<"```">> end, Lines)].

connect(Config) ->
    {Address, Port} = megaphone_test_listeners:address(Config, default),
    {ok, Socket} = gen_tcp:connect(Address, Port, [binary, {active, false}]),
    Socket.

%% The frames up to the FIN of a stream, and its data.
until_fin(Socket, Id) ->
    until_fin(Socket, Id, <<>>, [], <<>>).

until_fin(Socket, Id, Buffer, Frames, Content) ->
    case megaphone_test_frame:split(Buffer) of
        more ->
            {ok, Bytes} = gen_tcp:recv(Socket, 0, ?TIMEOUT),
            until_fin(Socket, Id, <<Buffer/binary, Bytes/binary>>, Frames, Content);
        {{_, Flags, OfId, _} = Frame, Bytes, Rest} ->
            Read = case OfId of
                       Id -> <<Content/binary, Bytes/binary>>;
                       _ -> Content
                   end,
            case OfId =:= Id andalso lists:member(fin, Flags) of
                true -> {lists:reverse(Frames, [Frame]), Read};
                false -> until_fin(Socket, Id, Rest, [Frame | Frames], Read)
            end
    end.

messages(<<0:1, Length:31, Document:Length/binary, Rest/binary>>) ->
    [Document | messages(Rest)];
messages(<<>>) ->
    [].

%% The lines above `---' of the first example of a kind.
example(Kind) ->
    [_ | Rest] = drop_until(iolist_to_binary(["```", Kind]), lines("doc/protocol.md")),
    lists:takewhile(fun(Line) -> Line =/= <<"---">> end, Rest).

lines(Document) ->
    {ok, Text} = file:read_file(filename:join(megaphone_test_program:repository(), Document)),
    binary:split(Text, <<"\n">>, [global]).

drop_until(Line, Lines) ->
    lists:dropwhile(fun(Other) -> Other =/= Line end, Lines).

hex(Lines) ->
    Code = [hd(binary:split(Line, <<"#">>)) || Line <- Lines],
    binary:decode_hex(<< <<Digit>> || <<Digit>> <= iolist_to_binary(Code), Digit =/= $\s >>).

unescaped(Line) ->
    lists:foldl(fun({Escaped, Byte}, Text) -> binary:replace(Text, Escaped, Byte, [global]) end,
                Line, [{<<"\\r">>, <<"\r">>}, {<<"\\n">>, <<"\n">>}]).
