%% XMPP over WebSocket (RFC 6455, RFC 7395) through the ECM, the trunk and ejabberd_http_ws, and the
%% same without ours.
-module(megaphone_websocket_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_group/2, end_per_group/2]).
-export([login/1, wrong_password/1, client_address/1, http_headers/1, presence/1, messages_both_ways/1,
         messages_to_and_from_bosh/1, large_message/1, message_in_fragments/1, frame_byte_by_byte/1,
         many_frames_in_one_packet/1,
         frames_with_the_upgrade/1, ping/1, close/1, close_frame/1, client_leaves/1,
         broken_frame/1, refused_handshake/1, server_ends_session/1]).

-define(WS, megaphone_test_websocket).
-define(MASK, <<1, 2, 3, 4>>).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, plain}, {group, ecm}, {group, ecm_v1}].

groups() ->
    %% Plain ejabberd_http throws away what comes in one packet with the upgrade request.
    [{plain, [{group, sessions}]},
     {ecm, [{group, sessions}, frames_with_the_upgrade]},
     {ecm_v1, [client_address, messages_both_ways, large_message, many_frames_in_one_packet,
               frames_with_the_upgrade, client_leaves, server_ends_session]},
     {sessions, [parallel],
      [login, wrong_password, client_address, http_headers, presence, messages_both_ways,
       messages_to_and_from_bosh, large_message, message_in_fragments, frame_byte_by_byte, many_frames_in_one_packet,
       ping, close, close_frame, client_leaves, broken_frame,
       refused_handshake, server_ends_session]}].

init_per_group(sessions, Config) -> Config;
init_per_group(Path, Config) -> megaphone_test_stage:start(Path, Config).

end_per_group(sessions, _Config) -> ok;
end_per_group(_Path, Config) -> megaphone_test_stage:stop(Config).

%% Confirms that the upgrade, the stream, SASL and bind work.
login(Config) ->
    {User, Client} = login(Config, <<"login">>),
    Prefix = <<User/binary, "@localhost/">>,
    ?assertEqual(Prefix, binary:part(megaphone_test_xmpp:jid(Client), 0, byte_size(Prefix))),
    megaphone_test_xmpp:logout(Client).

%% Confirms that a wrong password gets SASL's failure.
wrong_password(Config) ->
    User = megaphone_test_stage:user(Config, <<"wrong">>),
    {ok, Opened} = ?WS:open(megaphone_test_stage:target(Config), <<"localhost">>, #{}),
    {ok, _Features, Greeted} = ?WS:recv(Opened, 5000),
    Plain = base64:encode(<<0, User/binary, 0, "not this">>),
    {ok, Asked} = ?WS:send(Greeted, ["<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' "
                                     "mechanism='PLAIN'>", Plain, "</auth>"]),
    {ok, Failure, Refused} = ?WS:recv(Asked, 5000),
    ?assertEqual(<<"failure">>, megaphone_test_xml:name(Failure)),
    ?WS:drop(Refused).

% Confirms that ejabberd knows a session by its client's own address, as connected_users_info shows it.
client_address(Config) ->
    User = megaphone_test_stage:user(Config, <<"alice">>),
    Client = megaphone_test_xmpp:login(?WS, megaphone_test_stage:target_from({127, 0, 0, 5}, Config), User),
    [Resource] = resources(Config, User),
    Info = megaphone_test_ejabberd:call(megaphone_test_stage:ejabberd(Config), ejabberd_sm,
                                        get_user_info, [User, <<"localhost">>, Resource]),
    ?assertMatch({{127, 0, 0, 5}, _}, proplists:get_value(ip, Info)),
    megaphone_test_xmpp:logout(Client).

%% Confirms that functions of the hook c2s_init get the headers of the client's request as ejabberd has them.
%% ejabberd_http_ws hands them on from 25.10 on, sessions always.
http_headers(Config) ->
    ok = call(Config, megaphone_test_c2s_hook, add, []),
    User = megaphone_test_stage:user(Config, <<"alice">>),
    Sent = [{"User-Agent", "a test/1.0"}, {"Cookie", "a=b; c=\"d\""}, {"ORIGIN", "https://localhost"},
            {"x-some-THING", "one: two"}, {"x-a-name-of-MORE-than-twenty-bytes", ""},
            {"X-Twice", "1"}, {"X-Twice", "2"}],
    Client = megaphone_test_xmpp:login(?WS, megaphone_test_stage:target(Config), User, #{headers => Sent}),
    [Resource] = resources(Config, User),
    Pid = call(Config, ejabberd_sm, get_session_pid, [User, <<"localhost">>, Resource]),
    #{megaphone_test_http := Http} = stream_state(call(Config, sys, get_state, [Pid])),
    case {Http, megaphone_test_stage:ecm(Config)} of
        {none, none} ->
            ok;
        {[{headers, Headers}], _} ->
            Known = ['Host', 'User-Agent', 'Cookie', <<"Origin">>, <<"X-Some-Thing">>,
                     <<"X-A-Name-Of-More-Than-Twenty-Bytes">>, <<"X-Twice">>, <<"Sec-Websocket-Protocol">>],
            ?assertEqual([{<<"Sec-Websocket-Protocol">>, <<"xmpp">>}, {'Host', <<"localhost">>},
                          {'User-Agent', <<"a test/1.0">>}, {'Cookie', <<"a=b; c=\"d\"">>},
                          {<<"Origin">>, <<"https://localhost">>}, {<<"X-Some-Thing">>, <<"one: two">>},
                          {<<"X-A-Name-Of-More-Than-Twenty-Bytes">>, <<>>}, {<<"X-Twice">>, <<"1">>},
                          {<<"X-Twice">>, <<"2">>}],
                         in_order(Known, Headers))
    end,
    megaphone_test_xmpp:logout(Client).

%% ejabberd has the last one first.
in_order(Known, Headers) ->
    {Protocol, Others} = lists:partition(fun({Name, _}) -> Name =:= <<"Sec-Websocket-Protocol">> end,
                                         [Header || {Name, _} = Header <- lists:reverse(Headers),
                                                    lists:member(Name, Known)]),
    Protocol ++ Others.

%% Of ejabberd's own process, or of one of ours, which is awake.
stream_state(State) when is_map(State) -> State;
stream_state(Session) -> element(2, Session).

%% Confirms that presence reaches another user, and its end does when the session ends.
presence(Config) ->
    {_, Alice} = login(Config, <<"alice">>),
    {_, Bob} = login(Config, <<"bob">>),
    Alice1 = megaphone_test_xmpp:send(Alice, directed_presence(Bob)),
    {Here, Bob1} = megaphone_test_xmpp:recv(Bob),
    ?assertEqual(megaphone_test_xmpp:jid(Alice), megaphone_test_xml:attribute(<<"from">>, Here)),
    ok = megaphone_test_xmpp:logout(Alice1),
    {Gone, Bob2} = megaphone_test_xmpp:recv(Bob1),
    ?assertEqual(<<"unavailable">>, megaphone_test_xml:attribute(<<"type">>, Gone)),
    megaphone_test_xmpp:logout(Bob2).

%% Confirms that messages arrive once and in order, in both directions at the same time.
messages_both_ways(Config) ->
    {_, Alice} = login(Config, <<"alice">>),
    {_, Bob} = login(Config, <<"bob">>),
    chat(Alice, Bob, 200).

%% Confirms the same between a WebSocket client and a BOSH client.
messages_to_and_from_bosh(Config) ->
    {_, Alice} = login(Config, <<"alice">>),
    User = megaphone_test_stage:user(Config, <<"bob">>),
    Bob = megaphone_test_xmpp:login(megaphone_test_bosh, megaphone_test_stage:target(Config), User),
    chat(Alice, Bob, 30).

%% Confirms that a message far larger than one read or one trunk frame arrives unharmed.
large_message(Config) ->
    {_, Alice} = login(Config, <<"alice">>),
    {_, Bob} = login(Config, <<"bob">>),
    Body = binary:encode_hex(rand:bytes(200_000)),
    Alice1 = megaphone_test_xmpp:send_message(Alice, megaphone_test_xmpp:jid(Bob), Body),
    {{_, Received}, Bob1} = megaphone_test_xmpp:recv_message(Bob),
    ?assert(Body =:= Received, "the body of 400,000 bytes arrives as it was sent"),
    logout([Alice1, Bob1]).

%% Confirms that a message in fragments, an empty one among them, is put together (RFC 6455, 5.4).
message_in_fragments(Config) ->
    {_, #{state := State} = Alice} = login(Config, <<"alice">>),
    {_, Bob} = login(Config, <<"bob">>),
    Text = iolist_to_binary(message(Bob, "in pieces")),
    <<First:10/binary, Second:20/binary, Last/binary>> = Text,
    lists:foreach(fun({Kind, Payload}) -> {ok, _} = ?WS:send_frame(State, Kind, Payload, ?MASK) end,
                  [{{more, text}, First}, {{more, continuation}, Second},
                   {{more, continuation}, <<>>}, {{fin, continuation}, Last}]),
    {{_, Body}, Bob1} = megaphone_test_xmpp:recv_message(Bob),
    ?assertEqual(<<"in pieces">>, Body),
    logout([Alice, Bob1]).

%% Confirms that a frame that comes byte by byte is read as one.
frame_byte_by_byte(Config) ->
    {_, #{state := State} = Alice} = login(Config, <<"alice">>),
    {_, Bob} = login(Config, <<"bob">>),
    Frame = iolist_to_binary(?WS:frame({fin, text}, message(Bob, "slowly"), ?MASK)),
    [ok = ?WS:send_bytes(State, <<Byte>>) || <<Byte>> <= Frame],
    {{_, Body}, Bob1} = megaphone_test_xmpp:recv_message(Bob),
    ?assertEqual(<<"slowly">>, Body),
    logout([Alice, Bob1]).

%% Confirms that a hundred frames in one packet are read as a hundred.
many_frames_in_one_packet(Config) ->
    {_, #{state := State} = Alice} = login(Config, <<"alice">>),
    {_, Bob} = login(Config, <<"bob">>),
    Numbers = lists:seq(1, 100),
    ok = ?WS:send_bytes(State, [?WS:frame({fin, text}, message(Bob, integer_to_list(N)), ?MASK)
                                || N <- Numbers]),
    Bob1 = lists:foldl(fun(Number, Client) ->
                               {{_, Body}, Received} = megaphone_test_xmpp:recv_message(Client),
                               ?assertEqual(integer_to_binary(Number), Body),
                               Received
                       end, Bob, Numbers),
    logout([Alice, Bob1]).

%% Confirms that a client that doesn't wait for the 101 loses nothing: its first frame comes in one
%% packet with the upgrade request.
frames_with_the_upgrade(Config) ->
    Socket = megaphone_test_http:connect(megaphone_test_stage:target(Config)),
    Open = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>",
    ok = megaphone_test_http:send(
           Socket, [megaphone_test_http:encode("GET", "/ws", handshake(), []),
                    ?WS:frame({fin, text}, Open, ?MASK)]),
    ?assertMatch(#{status := 101}, megaphone_test_http:recv(Socket)),
    Connection = #{socket => Socket, host => <<"localhost">>, buffer => <<>>},
    {ok, Opened, Connection1} = ?WS:recv(Connection, 5000),
    ?assertEqual(<<"open">>, megaphone_test_xml:name(Opened)),
    {ok, Features, Connection2} = ?WS:recv(Connection1, 5000),
    ?assertEqual(<<"stream:features">>, megaphone_test_xml:name(Features)),
    ?WS:close(Connection2).

%% Confirms that a ping is answered by a pong with the same payload (RFC 6455, 5.5.2).
ping(Config) ->
    {_, #{state := State} = Client} = login(Config, <<"alice">>),
    {ok, Sent} = ?WS:send_frame(State, {fin, ping}, <<"are you there">>, ?MASK),
    {ok, {fin, pong}, Payload, Answered} = ?WS:recv_frame(Sent, 5000),
    ?assertEqual(<<"are you there">>, Payload),
    megaphone_test_xmpp:logout(megaphone_test_xmpp:update(Client, Answered)).

%% Confirms that closing the stream is answered (RFC 7395, 3.6), the connection then closes, and the
%% user is offline.
close(Config) ->
    {User, Client} = login(Config, <<"alice">>),
    ?assertMatch([_], resources(Config, User)),
    ok = megaphone_test_xmpp:logout(Client),
    await_offline(Config, User).

%% Confirms that a close frame without a word of XMPP ends connection and session too.
close_frame(Config) ->
    {User, #{state := State}} = login(Config, <<"alice">>),
    ok = ?WS:recv_close(State),
    await_offline(Config, User).

%% Confirms that a connection that just breaks ends the session.
client_leaves(Config) ->
    {User, Client} = login(Config, <<"alice">>),
    ok = megaphone_test_xmpp:drop(Client),
    await_offline(Config, User).

%% Confirms that a frame that breaks RFC 6455 (a control frame in fragments, 5.5) ends connection and
%% session with code 1002.
broken_frame(Config) ->
    {User, #{state := State}} = login(Config, <<"alice">>),
    {ok, Sent} = ?WS:send_frame(State, {more, ping}, "half", ?MASK),
    %% The ECM says why behind the code.
    {ok, {fin, close}, <<Code:16, _Reason/binary>>, _} = ?WS:recv_frame(Sent, 5000),
    ?assertEqual(1002, Code),
    ok = megaphone_test_http:recv_close(maps:get(socket, Sent)),
    await_offline(Config, User).

%% Confirms that a request that asks for an upgrade but isn't a handshake gets an answer, and the
%% connection goes on.
refused_handshake(Config) ->
    Socket = megaphone_test_http:connect(megaphone_test_stage:target(Config)),
    Headers = [{"Connection", "Upgrade"}, {"Upgrade", "websocket"}, {"Sec-WebSocket-Version", "12"}],
    #{status := Status, body := Page} = megaphone_test_http:request(Socket, "GET", "/ws", Headers),
    {Expected, Text} = case proplists:get_value(path, Config) of
                           ecm -> {426, "Sec-WebSocket-Version must be 13"};
                           _ -> {200, "only informative"}
                       end,
    ?assertEqual(Expected, Status),
    {match, _} = re:run(Page, Text),
    #{status := 200} = megaphone_test_http:request(Socket, "GET", "/echo", []),
    megaphone_test_http:close(Socket).

%% Confirms that a session that the server ends reaches the client as stream error and close.
server_ends_session(Config) ->
    {User, #{state := State}} = login(Config, <<"alice">>),
    [Resource] = resources(Config, User),
    _ = megaphone_test_ejabberd:call(megaphone_test_stage:ejabberd(Config),
                                     mod_admin_extra, kick_session,
                                     [User, <<"localhost">>, Resource, <<"go">>]),
    {ok, Error, Told} = ?WS:recv(State, 5000),
    ?assertEqual(<<"stream:error">>, megaphone_test_xml:name(Error)),
    {ok, Close, Closed} = ?WS:recv(Told, 5000),
    ?assertEqual(<<"close">>, megaphone_test_xml:name(Close)),
    ?WS:recv_close(Closed).

login(Config, Name) ->
    User = megaphone_test_stage:user(Config, Name),
    {User, megaphone_test_xmpp:login(?WS, megaphone_test_stage:target(Config), User)}.

chat(Alice, Bob, Count) ->
    {Alice1, Bob1} = megaphone_test_xmpp:chat(Alice, Bob, Count),
    logout([Alice1, Bob1]).

logout(Clients) ->
    lists:foreach(fun megaphone_test_xmpp:logout/1, Clients).

message(To, Body) ->
    ["<message xmlns='jabber:client' type='chat' to='", megaphone_test_xmpp:jid(To), "'><body>",
     Body, "</body></message>"].

directed_presence(To) ->
    ["<presence xmlns='jabber:client' to='", megaphone_test_xmpp:jid(To), "'/>"].

handshake() ->
    ?WS:upgrade([{"Sec-WebSocket-Key", base64:encode(rand:bytes(16))},
                 {"Sec-WebSocket-Protocol", "xmpp"}]).

await_offline(Config, User) ->
    megaphone_test_wait:until("the session's end", fun() -> resources(Config, User) =:= [] end).

resources(Config, User) ->
    megaphone_test_ejabberd:call(megaphone_test_stage:ejabberd(Config),
                                 ejabberd_sm, get_user_resources, [User, <<"localhost">>]).

call(Config, Module, Function, Arguments) ->
    megaphone_test_ejabberd:call(megaphone_test_stage:ejabberd(Config), Module, Function, Arguments).
