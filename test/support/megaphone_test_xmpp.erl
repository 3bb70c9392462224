%% @doc An XMPP client over any of the transports: logs in (RFC 6120: SASL PLAIN, bind), sends and
%% receives stanzas. A case fails with what was expected as soon as the server answers otherwise.
-module(megaphone_test_xmpp).

-export([login/3, login/4, connect/4, authenticate/4, bind/1, transport/1, jid/1, update/2,
         send/2, recv/1, recv/2, poll/2, recv_until/3, request/2, send_presence/1, send_message/3, recv_message/1,
         recv_message/2, message/1, chat/3, logout/1, drop/1]).

-export_type([client/0, transport/0]).

-define(HOST, <<"localhost">>).
-define(TIMEOUT, 10_000).

-type transport() :: megaphone_test_bosh | megaphone_test_websocket | megaphone_test_c2s.
%% `state' is the transport's own.
-type client() :: #{transport := transport(), state := map(), jid := binary()}.

%% Connects and opens a stream to the host; what comes next are the stream's features.
-callback open(megaphone_test_http:target(), Host :: binary(), Options :: map()) ->
    {ok, map()} | {error, term()}.
%% Opens the stream anew; what comes next are its features.
-callback restart(map()) -> {ok, map()} | {error, term()}.
-callback send(map(), iodata()) -> {ok, map()} | {error, term()}.
-callback recv(map(), timeout()) -> {ok, megaphone_test_xml:element(), map()} | {error, term()}.
%% Ends the stream as the transport's specification says.
-callback close(map()) -> ok | {error, term()}.
%% Closes the connections without a word.
-callback drop(map()) -> ok.

-spec login(transport(), megaphone_test_http:target(), binary()) -> client().
login(Transport, Target, User) ->
    login(Transport, Target, User, #{}).

%% @doc Logs in and sends presence. Options: the transport's, and `host', `password'.
-spec login(transport(), megaphone_test_http:target(), binary(), map()) -> client().
login(Transport, Target, User, Options) ->
    send_presence(connect(Transport, Target, User, Options)).

%% @doc Logs in without presence.
-spec connect(transport(), megaphone_test_http:target(), binary(), map()) -> client().
connect(Transport, Target, User, Options) ->
    bind(authenticate(Transport, Target, User, Options)).

%% @doc Authenticates and binds no resource: the session that it will have may be an older one, which is
%% resumed.
-spec authenticate(transport(), megaphone_test_http:target(), binary(), map()) -> client().
authenticate(Transport, Target, User, Options) ->
    Host = maps:get(host, Options, ?HOST),
    Password = maps:get(password, Options, <<"megaphone">>),
    Opened = ok(open, Transport:open(Target, Host, Options)),
    Client = #{transport => Transport, state => Opened, jid => <<User/binary, "@", Host/binary>>},
    {Mechanisms, Greeted} = recv_features(<<"mechanisms">>, Client),
    <<"PLAIN">> = expect("PLAIN among the SASL mechanisms", <<"PLAIN">>,
                         [megaphone_test_xml:text(Mechanism)
                          || Mechanism <- megaphone_test_xml:children(Mechanisms)]),
    Plain = base64:encode(<<0, User/binary, 0, Password/binary>>),
    Asked = send(Greeted, ["<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>",
                           Plain, "</auth>"]),
    {Success, Authenticated} = recv(Asked),
    <<"success">> = expect("SASL success", <<"success">>, [megaphone_test_xml:name(Success)]),
    Restarted = update(Authenticated, ok(restart, Transport:restart(maps:get(state, Authenticated)))),
    {_Bind, Ready} = recv_features(<<"bind">>, Restarted),
    Ready.

-spec transport(client()) -> transport().
transport(#{transport := Transport}) ->
    Transport.

%% @doc The full JID.
-spec jid(client()) -> binary().
jid(#{jid := Jid}) ->
    Jid.

%% @doc The client with another state of its transport, for cases that talk to the transport.
-spec update(client(), map()) -> client().
update(Client, State) ->
    Client#{state := State}.

-spec send(client(), iodata()) -> client().
send(#{transport := Transport, state := State} = Client, Stanza) ->
    update(Client, ok(send, Transport:send(State, Stanza))).

-spec recv(client()) -> {megaphone_test_xml:element(), client()}.
recv(Client) ->
    recv(Client, ?TIMEOUT).

%% @doc The next stanza, whatever it is.
-spec recv(client(), timeout()) -> {megaphone_test_xml:element(), client()}.
recv(#{transport := Transport, state := State} = Client, Timeout) ->
    case Transport:recv(State, Timeout) of
        {ok, Stanza, Received} -> {Stanza, update(Client, Received)};
        {error, Reason} -> ct:fail("~ts expected a stanza, got ~p", [jid(Client), Reason])
    end.

%% @doc The same if it comes in time.
-spec poll(client(), timeout()) -> {megaphone_test_xml:element(), client()} | timeout.
poll(#{transport := Transport, state := State} = Client, Timeout) ->
    case Transport:recv(State, Timeout) of
        {ok, Stanza, Received} -> {Stanza, update(Client, Received)};
        {error, timeout} -> timeout
    end.

%% @doc Sends an IQ (RFC 6120, 8.2.3) and waits for its result; other stanzas are passed over.
%% Attributes are those beside `id' and `type'.
-spec request(client(), {Type :: string(), Attributes :: iodata(), Payload :: iodata()}) ->
          {megaphone_test_xml:element(), client()}.
request(Client, {Type, Attributes, Payload}) ->
    Id = integer_to_binary(erlang:unique_integer([positive])),
    Asked = send(Client, ["<iq xmlns='jabber:client' type='", Type, "' id='", Id, "' ", Attributes,
                          ">", Payload, "</iq>"]),
    {Answer, Answered} = recv_until(Asked, fun(Stanza) ->
                                                   megaphone_test_xml:name(Stanza) =:= <<"iq">> andalso
                                                       megaphone_test_xml:attribute(<<"id">>, Stanza) =:= Id
                                           end, ?TIMEOUT),
    <<"result">> = expect("an IQ result", <<"result">>,
                          [megaphone_test_xml:attribute(<<"type">>, Answer)]),
    {Answer, Answered}.

%% @doc Sends presence and waits until it comes back, so that whoever writes now is heard.
-spec send_presence(client()) -> client().
send_presence(#{jid := Jid} = Client) ->
    Sent = send(Client, "<presence xmlns='jabber:client'/>"),
    {_, Present} = recv_until(Sent, fun(Stanza) ->
                                            megaphone_test_xml:name(Stanza) =:= <<"presence">> andalso
                                                megaphone_test_xml:attribute(<<"from">>, Stanza) =:= Jid
                                    end, ?TIMEOUT),
    Present.

%% @doc Sends a chat message.
-spec send_message(client(), To :: binary(), Body :: iodata()) -> client().
send_message(Client, To, Body) ->
    send(Client, ["<message xmlns='jabber:client' type='chat' to='", megaphone_test_xml:escape(To),
                  "'><body>", megaphone_test_xml:escape(Body), "</body></message>"]).

-spec recv_message(client()) -> {{From :: binary(), Body :: binary()}, client()}.
recv_message(Client) ->
    recv_message(Client, ?TIMEOUT).

%% @doc The next message; stanzas of other kinds are passed over.
-spec recv_message(client(), timeout()) -> {{From :: binary(), Body :: binary()}, client()}.
recv_message(Client, Timeout) ->
    {Stanza, Received} = recv_until(Client, fun(Stanza) -> message(Stanza) =/= none end, Timeout),
    {message(Stanza), Received}.

%% @doc Whose message a stanza is, and its body.
-spec message(megaphone_test_xml:element()) -> {From :: binary(), Body :: binary()} | none.
message(Stanza) ->
    case megaphone_test_xml:name(Stanza) of
        <<"message">> ->
            Body = case megaphone_test_xml:child(<<"body">>, Stanza) of
                       undefined -> <<>>;
                       Element -> megaphone_test_xml:text(Element)
                   end,
            {megaphone_test_xml:attribute(<<"from">>, Stanza), Body};
        _ ->
            none
    end.

%% @doc Each sends the other `Count' messages, by turns; all arrive once and in order.
-spec chat(client(), client(), pos_integer()) -> {client(), client()}.
chat(Alice, Bob, Count) ->
    Numbers = lists:seq(1, Count),
    {Alice1, Bob1} = lists:foldl(
                       fun(Number, {A, B}) ->
                               {send_message(A, jid(Bob), body("to bob", Number)),
                                send_message(B, jid(Alice), body("to alice", Number))}
                       end, {Alice, Bob}, Numbers),
    {recv_chat(Alice1, jid(Bob), "to alice", Numbers),
     recv_chat(Bob1, jid(Alice), "to bob", Numbers)}.

-spec logout(client()) -> ok.
logout(#{transport := Transport, state := State}) ->
    case Transport:close(State) of
        ok -> ok;
        {error, Reason} -> ct:fail("expected the session to end cleanly, got ~p", [Reason])
    end.

-spec drop(client()) -> ok.
drop(#{transport := Transport, state := State}) ->
    Transport:drop(State).

recv_features(Feature, Client) ->
    {Features, Received} = recv(Client),
    case megaphone_test_xml:child(Feature, Features) of
        undefined -> ct:fail("expected stream features with ~ts, got ~p", [Feature, Features]);
        Element -> {Element, Received}
    end.

%% @doc Binds a resource that no other client has.
-spec bind(client()) -> client().
bind(Client) ->
    Resource = integer_to_binary(erlang:unique_integer([positive])),
    {Answer, Bound} = request(Client, {"set", "", ["<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                                                   "<resource>", Resource, "</resource></bind>"]}),
    Jid = megaphone_test_xml:child(<<"jid">>, megaphone_test_xml:child(<<"bind">>, Answer)),
    Bound#{jid := megaphone_test_xml:text(Jid)}.

%% @doc The next stanza that is wanted; others are passed over.
-spec recv_until(client(), fun((megaphone_test_xml:element()) -> boolean()), timeout()) ->
          {megaphone_test_xml:element(), client()}.
recv_until(Client, Wanted, Timeout) ->
    {Stanza, Received} = recv(Client, Timeout),
    case Wanted(Stanza) of
        true -> {Stanza, Received};
        false -> recv_until(Received, Wanted, Timeout)
    end.

recv_chat(Client, From, What, Numbers) ->
    lists:foldl(fun(Number, Before) ->
                        Expected = {From, body(What, Number)},
                        case recv_message(Before) of
                            {Expected, After} -> After;
                            {Got, _} -> ct:fail("expected ~p, got ~p", [Expected, Got])
                        end
                end, Client, Numbers).

body(What, Number) ->
    iolist_to_binary(io_lib:format("~s <~b>", [What, Number])).

expect(What, Wanted, Got) ->
    case lists:member(Wanted, Got) of
        true -> Wanted;
        false -> ct:fail("expected ~ts, got ~p", [What, Got])
    end.

ok(_Step, {ok, Value}) ->
    Value;
ok(Step, {error, Reason}) ->
    ct:fail("~ts failed: ~p", [Step, Reason]).
