%% XMPP over TCP through the ECM: its listener of kind `xmpp' takes a client's XML stream, with STARTTLS or
%% without, and carries it on as a session; or it relays the stream to ejabberd_c2s, which offers STARTTLS
%% and compression as it does on a port of its own.
-module(megaphone_xmpp_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1,
         init_per_group/2, end_per_group/2]).
-export([plain/1, starttls/1, compression/1, large_messages/1, client_that_leaves/1,
         xmpp_client_over_tcp/1, login_in_one_packet/1]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, sessions}, {group, relay}].

groups() ->
    Both = [plain, starttls, large_messages, client_that_leaves, xmpp_client_over_tcp],
    [{sessions, [parallel], [login_in_one_packet | Both]},
     {relay, [parallel], [compression | Both]}].

init_per_suite(Config) ->
    [Sessions, Relay] = megaphone_test_port:free(2),
    Certificate = filename:join(proplists:get_value(priv_dir, Config), "localhost.pem"),
    ok = megaphone_test_certificates:write_self_signed(Certificate, "localhost"),
    Started = megaphone_test_stage:start(
                ecm, Config,
                #{top => ["certfiles:\n  - \"", Certificate, "\"\n"],
                  options => "    c2s:\n      starttls: true\n      zlib: true\n",
                  ecm => [listener(Sessions, "starttls = \"optional\"\n"),
                          listener(Relay, "relay = true\n"),
                          "[[certificate]]\n"
                          "cert = \"", Certificate, "\"\n"
                          "key = \"", Certificate, "\"\n"]}),
    [{ports, #{sessions => Sessions, relay => Relay}} | Started].

listener(Port, Options) ->
    ["[[listener]]\n"
     "address = \"127.0.0.1:", integer_to_list(Port), "\"\n"
     "kind = \"xmpp\"\n",
     Options].

end_per_suite(Config) ->
    megaphone_test_stage:stop(Config).

init_per_group(Group, Config) ->
    [{xmpp_port, maps:get(Group, proplists:get_value(ports, Config))} | Config].

end_per_group(_, _Config) ->
    ok.

plain(Config) ->
    chat(Config, #{}, <<"c2s">>).

starttls(Config) ->
    chat(Config, #{starttls => true}, <<"c2s_tls">>).

compression(Config) ->
    chat(Config, #{compress => true}, <<"c2s_compressed">>).

%% Confirms that stanzas much larger than what is read at once come whole.
large_messages(Config) ->
    [Alice, Bob] = [login(Config, #{}) || _ <- [1, 2]],
    %% The ECM's max_stanza_size is 256 KiB.
    Body = binary:copy(<<"large ">>, 40_000),
    Sent = megaphone_test_xmpp:send_message(Alice, megaphone_test_xmpp:jid(Bob), Body),
    {{_, Body}, Received} = megaphone_test_xmpp:recv_message(Bob),
    ok = megaphone_test_xmpp:logout(Sent),
    ok = megaphone_test_xmpp:logout(Received).

%% Confirms that the session of a client whose connection closes ends with it.
client_that_leaves(Config) ->
    Client = login(Config, #{}),
    Jid = megaphone_test_xmpp:jid(Client),
    {_, _} = connection_info(Config, Jid),
    ok = megaphone_test_xmpp:drop(Client),
    megaphone_test_wait:until("the end of its session",
                              fun() -> connection_info(Config, Jid) =:= none end).

%% Confirms that two clients of @xmpp/client chat over TCP, with the STARTTLS that they insist on; they are
%% told to take our certificate, which nobody knows.
xmpp_client_over_tcp(Config) ->
    [Alice, Bob] = [<<(megaphone_test_stage:user(Config, Name))/binary, "@localhost">>
                    || Name <- [<<"alice">>, <<"bob">>]],
    Url = "xmpp://127.0.0.1:" ++ integer_to_list(proplists:get_value(xmpp_port, Config)),
    ?assertEqual(<<>>, megaphone_test_clients:run(
                         node, ["chat.js", "xmpp", Url, Alice, Bob, "megaphone", "20"],
                         [{"NODE_TLS_REJECT_UNAUTHORIZED", "0"}, {"NODE_NO_WARNINGS", "1"}], Config)).

%% Confirms that a client need not wait for <success/> before it opens its stream anew, nor for anything else:
%% the login is answered first, and what came behind it after that. ejabberd_c2s answers the login and drops
%% the rest, or ends the stream for its XML declaration.
login_in_one_packet(Config) ->
    Header = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='localhost' "
             "version='1.0'>",
    User = megaphone_test_stage:user(Config, <<"xmpp">>),
    Auth = fun(Password) ->
                   ["<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>",
                    base64:encode(<<0, User/binary, 0, Password/binary>>), "</auth>"]
           end,
    [begin
         {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, proplists:get_value(xmpp_port, Config), [binary, {active, false}]),
         ok = gen_tcp:send(Socket, [Declaration, Header, Auth(<<"wrong">>), Auth(<<"megaphone">>), Declaration, Header,
                                    "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"]),
         ?assertMatch({match, _}, re:run(until(Socket, <<"</iq>">>),
                                         "<stream:stream .*<mechanisms .*<failure .*<success .*<stream:stream .*<bind .*"
                                         "<iq [^>]*type='result'", [dotall]), Declaration),
         ok = gen_tcp:close(Socket)
     end || Declaration <- ["<?xml version='1.0'?>", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", ""]].

until(Socket, End) ->
    until(Socket, End, <<>>).

until(Socket, End, Before) ->
    case binary:match(Before, End) of
        nomatch ->
            {ok, Bytes} = gen_tcp:recv(Socket, 0, 10_000),
            until(Socket, End, <<Before/binary, Bytes/binary>>);
        _ ->
            Before
    end.

chat(Config, Options, Connection) ->
    [Alice, Bob] = [login(Config, Options) || _ <- [1, 2]],
    [?assertEqual({Connection, <<"127.0.0.5">>}, connection_info(Config, megaphone_test_xmpp:jid(Client)))
     || Client <- [Alice, Bob]],
    {Alice1, Bob1} = megaphone_test_xmpp:chat(Alice, Bob, 20),
    ok = megaphone_test_xmpp:logout(Alice1),
    ok = megaphone_test_xmpp:logout(Bob1).

login(Config, Options) ->
    Target = {{127, 0, 0, 1}, proplists:get_value(xmpp_port, Config), [{ip, {127, 0, 0, 5}}]},
    megaphone_test_xmpp:login(megaphone_test_c2s, Target,
                              megaphone_test_stage:user(Config, <<"xmpp">>), Options).

%% How ejabberd says that a user is connected, and from where.
connection_info(Config, Jid) ->
    All = megaphone_test_ejabberd:call(megaphone_test_stage:ejabberd(Config), mod_admin_extra,
                                       connected_users_info, []),
    case [{Kind, Ip} || {Full, Kind, Ip, _, _, _, _, _, _, _} <- All, Full =:= Jid] of
        [{Kind, Ip}] -> {iolist_to_binary(Kind), iolist_to_binary(Ip)};
        [] -> none
    end.
