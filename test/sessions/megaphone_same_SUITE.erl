%% The same scenarios by ejabberd's own listeners and through the ECM, to one and the same ejabberd: clients
%% see the same, but for the differences that megaphone_same_differences names, each with its reason.
-module(megaphone_same_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([opening/1, starttls/1, starttls_declined/1, login_plain/1, login_scram/1, wrong_password/1,
         unknown_mechanism/1, aborted_login/1, unknown_host/1, no_host/1, stanza_before_login/1,
         stanza_before_bind/1, bind_twice/1, same_resource/1, message_online/1, message_offline/1,
         message_to_nobody/1, text_of_all_kinds/1, forged_sender/1, presence/1, roster/1, unknown_iq/1, ping/1,
         stream_management/1, resumed_early/1, unknown_resumption/1, client_state/1, malformed/1,
         restricted_xml/1, no_stanza/1, second_stream/1, second_stream_early/1, oversize/1, kicked/1, killed/1,
         client_closes/1, client_leaves/1]).
%% Where ejabberd has SASL2.
-export([sasl2/1, sasl2_twice/1]).

-import(megaphone_test_transcript, [open/2, open/3, header/1, login/2, send/2, recv/1, sync/1, drain/1, restart/1,
                                    plain/2, plain/3, scram/3, bind/2, close/1, drop/1]).

-define(ALL, [tcp, websocket, bosh]).
-define(FRAMED, [websocket, bosh]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [opening, starttls, starttls_declined, login_plain, login_scram, wrong_password, unknown_mechanism,
     aborted_login, unknown_host, no_host, stanza_before_login, stanza_before_bind, bind_twice, same_resource,
     message_online, message_offline, message_to_nobody, text_of_all_kinds, forged_sender, presence, roster,
     unknown_iq, ping, stream_management, resumed_early, unknown_resumption, client_state, malformed,
     restricted_xml, no_stanza, second_stream, second_stream_early, oversize, kicked, killed, client_closes,
     client_leaves]
        ++ [Case || Case <- [sasl2, sasl2_twice], megaphone_test_sasl2:is_offered_by()].

init_per_suite(Config) ->
    [Http, C2s, C2sTls, Stream, StreamTls] = megaphone_test_port:free(5),
    Certificate = filename:join(proplists:get_value(priv_dir, Config), "localhost.pem"),
    ok = megaphone_test_certificates:write_self_signed(Certificate, "localhost"),
    C2sOptions = "    ip: \"127.0.0.1\"\n    max_stanza_size: 65536\n",
    Started = megaphone_test_stage:start(
                ecm, Config,
                #{top => ["certfiles:\n  - \"", Certificate, "\"\n"],
                  modules => "  mod_client_state: {}\n"
                             "  mod_offline: {}\n"
                             "  mod_ping: {}\n",
                  options => "    c2s:\n"
                             "      max_stanza_size: 65536\n",
                  more_listeners => [megaphone_test_config:listener(ejabberd_http, Http),
                                     megaphone_test_config:listener(ejabberd_c2s, C2s, C2sOptions),
                                     megaphone_test_config:listener(ejabberd_c2s, C2sTls,
                                                                    [C2sOptions, "    starttls_required: true\n"])],
                  ecm => [stream_listener(Stream, "off"), stream_listener(StreamTls, "required"),
                          "[[certificate]]\ncert = \"", Certificate, "\"\nkey = \"", Certificate, "\"\n"]}),
    Ecm = megaphone_test_stage:target(Started),
    [Plain, PlainStream, PlainTls, EcmStream, EcmTls] =
        [{{127, 0, 0, 1}, Port} || Port <- [Http, C2s, C2sTls, Stream, StreamTls]],
    [{targets, #{ejabberd => #{tcp => PlainStream, tls => PlainTls, websocket => Plain, bosh => Plain},
                 ecm => #{tcp => EcmStream, tls => EcmTls, websocket => Ecm, bosh => Ecm}}} | Started].

stream_listener(Port, StartTls) ->
    ["[[listener]]\naddress = \"127.0.0.1:", integer_to_list(Port), "\"\nkind = \"xmpp\"\n"
     "starttls = \"", StartTls, "\"\n"].

end_per_suite(Config) ->
    megaphone_test_stage:stop(Config).

opening(Config) ->
    same(Config, opening, ?ALL, fun(Way) -> [close(recv(header(open(Way, "a client"))))] end).

%% A stream that has to use STARTTLS, and does.
starttls(Config) ->
    same(Config, starttls, [tls], fun(#{alice := Alice} = Way) ->
        Restarted = recv(restart(plain(recv(header(open(Way#{options => #{starttls => true}}, Alice))), Alice))),
        [close(bind(Restarted, <<"test">>))]
    end).

starttls_declined(Config) ->
    same(Config, starttls_declined, [tls], fun(#{alice := Alice} = Way) ->
        [close(plain(recv(open(Way, Alice)), Alice))]
    end).

login_plain(Config) ->
    same(Config, login_plain, ?ALL, fun(#{alice := Alice} = Way) ->
        Restarted = recv(restart(plain(recv(open(Way, Alice)), Alice))),
        [close(bind(Restarted, <<"test">>))]
    end).

login_scram(Config) ->
    same(Config, login_scram, ?ALL, fun(#{alice := Alice} = Way) ->
        Restarted = recv(restart(scram(recv(open(Way, Alice)), Alice, <<"megaphone">>))),
        [close(bind(Restarted, <<"test">>))]
    end).

wrong_password(Config) ->
    same(Config, wrong_password, ?ALL, fun(#{alice := Alice} = Way) ->
        Refused = scram(plain(recv(open(Way, Alice)), Alice, <<"wrong">>), Alice, <<"wrong">>),
        [close(recv(restart(plain(Refused, Alice))))]
    end).

unknown_mechanism(Config) ->
    same(Config, unknown_mechanism, ?ALL, fun(#{alice := Alice} = Way) ->
        Asked = send(recv(open(Way, Alice)), "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='X'/>"),
        [close(recv(Asked))]
    end).

aborted_login(Config) ->
    same(Config, aborted_login, ?ALL, fun(#{alice := Alice} = Way) ->
        Asked = recv(send(recv(open(Way, Alice)),
                          "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'/>")),
        [close(recv(send(Asked, "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")))]
    end).

%% Logins by SASL2, refused ones too, with a resource and stream management; the stream goes on.
sasl2(Config) ->
    same(Config, sasl2, [tls], fun(#{alice := Alice} = Way) ->
        Opened = recv(open(Way#{options => #{starttls => true, from => [Alice, "@localhost"]}}, Alice)),
        Refused = lists:foldl(fun({Mechanism, Password}, Client) ->
                                      recv(send(Client, authenticate(Mechanism, Alice, Password, "")))
                              end, Opened, [{"PLAIN", "wrong"}, {"X", "megaphone"}, {"HT-SHA-256-NONE", "wrong"}]),
        Bind = megaphone_test_sasl2:bind("test", "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"),
        LoggedIn = recv(recv(send(Refused, authenticate("PLAIN", Alice, "megaphone", Bind)))),
        [close(sync(recv(send(LoggedIn, "<r xmlns='urn:xmpp:sm:3'/>"))))]
    end).

%% A login by SASL2 without a resource, then another one, which is too late; then the resource.
sasl2_twice(Config) ->
    same(Config, sasl2_twice, [tls], fun(#{alice := Alice} = Way) ->
        Opened = recv(open(Way#{options => #{starttls => true, from => [Alice, "@localhost"]}}, Alice)),
        LoggedIn = recv(recv(send(Opened, authenticate("PLAIN", Alice, "megaphone", "")))),
        Again = recv(send(LoggedIn, authenticate("PLAIN", Alice, "megaphone", ""))),
        [close(sync(bind(Again, <<"test">>)))]
    end).

authenticate(Mechanism, User, Password, Inline) ->
    ["<authenticate xmlns='urn:xmpp:sasl:2' mechanism='", Mechanism, "'><initial-response>",
     base64:encode(iolist_to_binary([0, User, 0, Password])), "</initial-response>",
     megaphone_test_sasl2:user_agent("d4565fa7-4d72-4749-b3d3-740edbf87770"), Inline, "</authenticate>"].

unknown_host(Config) ->
    same(Config, unknown_host, ?ALL, fun(Way) -> [drain(open(Way, "a client", <<"elsewhere.example">>))] end).

no_host(Config) ->
    same(Config, no_host, ?ALL, fun(Way) -> [drain(open(Way, "a client", <<>>))] end).

stanza_before_login(Config) ->
    same(Config, stanza_before_login, ?ALL, fun(#{bob := Bob} = Way) ->
        [drain(send(recv(open(Way, "a client")), message(Bob, "too early")))]
    end).

stanza_before_bind(Config) ->
    same(Config, stanza_before_bind, ?ALL, fun(#{alice := Alice, bob := Bob} = Way) ->
        Restarted = recv(restart(plain(recv(open(Way, Alice)), Alice))),
        [close(bind(send(Restarted, message(Bob, "too early")), <<"test">>))]
    end).

bind_twice(Config) ->
    same(Config, bind_twice, ?ALL, fun(#{alice := Alice} = Way) ->
        [close(sync(bind(login(Way, Alice), <<"other">>)))]
    end).

%% The second login with a resource ends the first.
same_resource(Config) ->
    same(Config, same_resource, ?ALL, fun(#{alice := Alice} = Way) ->
        First = poll(login(Way, Alice)),
        Second = login(Way, Alice),
        [drain(First), close(sync(Second))]
    end).

message_online(Config) ->
    same(Config, message_online, ?ALL, fun(#{alice := Alice, bob := Bob} = Way) ->
        {A, B} = {login(Way, Alice), login(Way, Bob)},
        Sent = sync(send(A, message(Bob, "hello"))),
        [close(Sent), close(sync(B))]
    end).

message_offline(Config) ->
    same(Config, message_offline, ?ALL, fun(#{alice := Alice, bob := Bob} = Way) ->
        Sent = sync(send(login(Way, Alice), bare_message(Bob, "for later"))),
        Present = recv(send(login(Way, Bob), "<presence xmlns='jabber:client'/>")),
        [close(Sent), close(sync(recv(Present)))]
    end).

message_to_nobody(Config) ->
    same(Config, message_to_nobody, ?ALL, fun(#{alice := Alice} = Way) ->
        [close(sync(send(login(Way, Alice), bare_message(<<"nobody">>, "hello"))))]
    end).

%% What must arrive as it was sent.
text_of_all_kinds(Config) ->
    Stanzas = ["<body>&lt;&amp;&gt;&quot;&apos;</body>", "<body>&#x1F600;&#65;\t\n</body>",
               <<"<body>ä€😀</body>"/utf8>>, "<body><![CDATA[<b>&amp;]]></body>",
               "<body a='&lt;&quot;\"'/>", "<x:y xmlns:x='urn:z' x:a='b'><x:c/></x:y>",
               "<y xmlns='urn:z'><c xmlns=''/></y>", "<body xml:lang='de'>Hallo</body>",
               ["<body>", lists:duplicate(5000, "long "), "</body>"], "<a> <b/> </a>", "<body></body>"],
    same(Config, text_of_all_kinds, ?ALL, fun(#{alice := Alice} = Way) ->
        [close(lists:foldl(fun(Payload, Client) ->
                                   recv(send(Client, ["<message xmlns='jabber:client' type='chat' to='", Alice,
                                                      "@localhost/test'>", Payload, "</message>"]))
                           end, login(Way, Alice), Stanzas))]
    end).

forged_sender(Config) ->
    same(Config, forged_sender, ?ALL, fun(#{alice := Alice, bob := Bob} = Way) ->
        Forged = ["<message xmlns='jabber:client' from='", Bob, "@localhost' to='", Bob, "@localhost'/>"],
        [drain(send(login(Way, Alice), Forged))]
    end).

presence(Config) ->
    same(Config, presence, ?ALL, fun(#{alice := Alice, bob := Bob} = Way) ->
        A = sync(send(login(Way, Alice), "<presence xmlns='jabber:client'><priority>5</priority></presence>")),
        B = login(Way, Bob),
        Directed = sync(send(A, ["<presence xmlns='jabber:client' to='", Bob,
                                 "@localhost/test'><show>away</show></presence>"])),
        Subscribed = sync(send(Directed, ["<presence xmlns='jabber:client' type='subscribe' to='nobody@localhost'/>"])),
        Seen = recv(B),
        [close(Subscribed), close(sync(recv(Seen)))]
    end).

roster(Config) ->
    same(Config, roster, ?ALL, fun(#{alice := Alice} = Way) ->
        Got = recv(send(login(Way, Alice), "<iq xmlns='jabber:client' type='get' id='r1'>"
                                           "<query xmlns='jabber:iq:roster'/></iq>")),
        Set = send(Got, "<iq xmlns='jabber:client' type='set' id='r2'><query xmlns='jabber:iq:roster'>"
                        "<item jid='friend@localhost' name='A friend'><group>Friends</group></item></query></iq>"),
        [close(sync(Set))]
    end).

unknown_iq(Config) ->
    same(Config, unknown_iq, ?ALL, fun(#{alice := Alice} = Way) ->
        Client = login(Way, Alice),
        Asked = lists:foldl(fun(To, Before) ->
                                    recv(send(Before, ["<iq xmlns='jabber:client' type='get' id='i'", To,
                                                       "><query xmlns='urn:unknown'/></iq>"]))
                            end, Client, ["", " to='localhost'", " to='nobody@localhost'", " to='elsewhere.localhost'",
                                          [" to='", Alice, "@localhost/gone'"]]),
        [close(Asked)]
    end).

ping(Config) ->
    same(Config, ping, ?ALL, fun(#{alice := Alice} = Way) ->
        Ping = "<iq xmlns='jabber:client' type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>",
        [close(recv(send(login(Way, Alice), Ping)))]
    end).

%% Enabled, acknowledged, broken off and resumed, with a message meanwhile. Not by WebSocket: ejabberd_http_ws
%% and its c2s then wait for one another, for seconds.
stream_management(Config) ->
    same(Config, stream_management, [tcp, bosh], fun(#{alice := Alice, bob := Bob} = Way) ->
        Enabled = recv(send(login(Way, Alice), "<enable xmlns='urn:xmpp:sm:3' resume='true'/>")),
        Id = megaphone_test_xml:attribute(<<"id">>, megaphone_test_transcript:last(Enabled)),
        Asked = recv(send(sync(Enabled), "<r xmlns='urn:xmpp:sm:3'/>")),
        Left = drop(send(Asked, "<a xmlns='urn:xmpp:sm:3' h='1'/>")),
        await_broken(Config, Way),
        B = sync(send(login(Way, Bob), message(Alice, "meanwhile"))),
        Old = session(Config, Alice),
        Back = restart_without_record(plain(recv(open(Way, Alice)), Alice)),
        Resumed = recv(send(Back, ["<resume xmlns='urn:xmpp:sm:3' h='1' previd='", Id, "'/>"])),
        %% What it still held has gone its way then.
        megaphone_test_wait:until("the old session to be gone",
                                  fun() -> not call(Config, erlang, is_process_alive, [Old]) end),
        [Left, close(B), close(sync(Resumed))]
    end).

%% Resumed before the old connection's end was noticed.
resumed_early(Config) ->
    same(Config, resumed_early, ?ALL, fun(#{alice := Alice} = Way) ->
        Old = poll(recv(send(login(Way, Alice), "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"))),
        Id = megaphone_test_xml:attribute(<<"id">>, megaphone_test_transcript:last(Old)),
        Back = restart_without_record(plain(recv(open(Way, Alice)), Alice)),
        Resumed = recv(send(Back, ["<resume xmlns='urn:xmpp:sm:3' h='0' previd='", Id, "'/>"])),
        [drain(Old), close(sync(Resumed))]
    end).

%% A BOSH client's session learns of it when the client comes back, or after a while.
await_broken(_Config, #{transport := megaphone_test_bosh}) ->
    ok;
await_broken(Config, #{alice := Alice}) ->
    Pid = session(Config, Alice),
    megaphone_test_wait:until("the session to notice that its connection broke",
                              fun() -> maps:get(mgmt_state, stream_state(Config, Pid)) =:= pending end).

session(Config, User) ->
    call(Config, ejabberd_sm, get_session_pid, [User, <<"localhost">>, <<"test">>]).

%% Of ejabberd's own process, or of one of ours, which may be asleep.
stream_state(Config, Pid) ->
    case call(Config, sys, get_state, [Pid]) of
        State when is_map(State) -> State;
        Session when is_map(element(2, Session)) -> element(2, Session);
        Session -> call(Config, megaphone_session_state, unpack, [element(2, Session)])
    end.

unknown_resumption(Config) ->
    same(Config, unknown_resumption, ?ALL, fun(#{alice := Alice} = Way) ->
        Restarted = recv(restart(plain(recv(open(Way, Alice)), Alice))),
        Resumed = recv(send(Restarted, "<resume xmlns='urn:xmpp:sm:3' h='1' previd='none'/>")),
        [close(bind(Resumed, <<"test">>))]
    end).

client_state(Config) ->
    same(Config, client_state, ?ALL, fun(#{alice := Alice, bob := Bob} = Way) ->
        Inactive = sync(send(login(Way, Alice), "<inactive xmlns='urn:xmpp:csi:0'/>")),
        Composing = ["<message xmlns='jabber:client' type='chat' to='", Alice,
                     "@localhost/test'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"],
        B = sync(send(login(Way, Bob), Composing)),
        Active = send(sync(Inactive), "<active xmlns='urn:xmpp:csi:0'/>"),
        [close(B), close(sync(Active))]
    end).

malformed(Config) ->
    Documents = ["<message><body></message>", "<message a='1' a='2'/>", "<message>&unknown;</message>",
                 "<x:message/>", <<"<message><body>", 255, "</body></message>">>],
    same_if_not_crashed(Config, malformed, fun(#{alice := Alice} = Way) ->
        [drain(send(login(Way, Alice), Document)) || Document <- Documents]
    end).

%% RFC 6120, 11.1.
restricted_xml(Config) ->
    Documents = ["<message><!-- a comment --></message>", "<message><?instruction to='x'?></message>",
                 "<!DOCTYPE x><message/>"],
    same_if_not_crashed(Config, restricted_xml, fun(#{alice := Alice} = Way) ->
        [close(sync(send(login(Way, Alice), Document))) || Document <- Documents]
    end).

no_stanza(Config) ->
    Documents = ["<nothing xmlns='jabber:client'/>", "<message xmlns='urn:other'/>",
                 "<iq xmlns='jabber:client' type='nonsense' id='1'/>"],
    same(Config, no_stanza, ?ALL, fun(#{alice := Alice} = Way) ->
        [close(sync(send(login(Way, Alice), Document))) || Document <- Documents]
    end).

%% A stream that is opened once more after the login, and twice before it.
second_stream(Config) ->
    same(Config, second_stream, ?FRAMED, fun(#{alice := Alice} = Way) ->
        [close(sync(open_again(login(Way, Alice))))]
    end).

second_stream_early(Config) ->
    same(Config, second_stream_early, ?FRAMED, fun(#{alice := Alice} = Way) ->
        Opened = open_again(open_again(recv(open(Way, Alice)))),
        Restarted = recv(restart(until(<<"success">>, plain(Opened, Alice)))),
        [close(bind(Restarted, <<"test">>))]
    end).

%% No answer is waited for.
open_again(#{transport := megaphone_test_bosh} = Client) ->
    restart(Client);
open_again(Client) ->
    send(Client, "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>").

until(_Name, #{state := none} = Client) ->
    Client;
until(Name, #{last := Last} = Client) ->
    case megaphone_test_xml:name(Last) of
        Name -> Client;
        _ -> until(Name, recv(Client))
    end.

%% Longer than ejabberd's max_stanza_size.
oversize(Config) ->
    same(Config, oversize, ?ALL, fun(#{alice := Alice, bob := Bob} = Way) ->
        [close(sync(send(login(Way, Alice), message(Bob, binary:copy(<<"x">>, 70_000)))))]
    end).

kicked(Config) ->
    same(Config, kicked, ?ALL, fun(#{alice := Alice} = Way) ->
        Client = poll(sync(login(Way, Alice))),
        ok = call(Config, mod_admin_extra, kick_session, [Alice, <<"localhost">>, <<"test">>, <<"out">>]),
        [drain(Client)]
    end).

%% The c2s process crashes.
killed(Config) ->
    same(Config, killed, ?ALL, fun(#{alice := Alice, server := Server} = Way) ->
        %% ejabberd_http_ws and ejabberd_bosh wait for minutes.
        Patience = case Server of ejabberd -> #{patience => 500}; ecm -> #{} end,
        Client = sync(login(maps:merge(Way, Patience), Alice)),
        true = call(Config, erlang, exit, [session(Config, Alice), kill]),
        [drain(Client)]
    end).

%% Who closes is away at once for others.
client_closes(Config) ->
    same(Config, client_closes, ?ALL, fun(#{alice := Alice, bob := Bob} = Way) ->
        [A, B] = watched(Way, Alice, Bob),
        [close(A), close(sync(recv(B)))]
    end).

client_leaves(Config) ->
    same(Config, client_leaves, [tcp, websocket], fun(#{alice := Alice, bob := Bob} = Way) ->
        [A, B] = watched(Way, Alice, Bob),
        [drop(A), close(sync(recv(B)))]
    end).

%% Bob sees Alice's presence.
watched(Way, Alice, Bob) ->
    B = login(Way, Bob),
    A = sync(send(login(Way, Alice), ["<presence xmlns='jabber:client' to='", Bob, "@localhost/test'/>"])),
    [A, recv(B)].

%% Plain ejabberd tells a BOSH client of its session's end only where a request of the client waits.
poll(#{transport := megaphone_test_bosh} = Client) ->
    send(Client, "");
poll(Client) ->
    Client.

restart_without_record(#{lines := Lines} = Client) ->
    Restarted = recv(restart(Client)),
    Restarted#{lines := Lines}.

message(User, Text) ->
    ["<message xmlns='jabber:client' type='chat' to='", User, "@localhost/test'><body>", Text, "</body></message>"].

bare_message(User, Text) ->
    ["<message xmlns='jabber:client' type='chat' to='", User, "@localhost'><body>", Text, "</body></message>"].

%% Plays a scenario by ejabberd's own listeners and by the ECM's. What differs has to be in the table.
same(Config, Scenario, Transports, Play) ->
    Found = [{Transport, difference(play(Config, ejabberd, Transport, Play), play(Config, ecm, Transport, Play))}
             || Transport <- Transports],
    {ok, Version} = call(Config, application, get_key, [ejabberd, vsn]),
    Named = [{Transport, case megaphone_same_differences:find(Scenario, Transport, Version) of
                             {Ejabberd, Ecm} -> {binaries(Ejabberd), binaries(Ecm)};
                             none -> none
                         end} || Transport <- Transports],
    Found =:= Named orelse
        ct:fail("~ts", [[io_lib:format("~ts by ~ts~n  expected ~ts  found ~ts",
                                       [Scenario, Transport, show(Expected), show(Difference)])
                         || {{Transport, Difference}, {_, Expected}} <- lists:zip(Found, Named),
                            Difference =/= Expected]]).

%% For what ejabberd_http_ws has its c2s processes crash at; a log with crashes fails the suite.
same_if_not_crashed(Config, Scenario, Play) ->
    ok = call(Config, logger, set_module_level, [proc_lib, none]),
    try same(Config, Scenario, ?ALL, Play)
    after ok = call(Config, logger, unset_module_level, [proc_lib])
    end.

%% All lines of all clients of the scenario.
play(Config, Server, Transport, Play) ->
    Users = #{alice => megaphone_test_stage:user(Config, <<"alice">>),
              bob => megaphone_test_stage:user(Config, <<"bob">>)},
    #{Server := #{Transport := Target}} = proplists:get_value(targets, Config),
    Clients = Play(Users#{transport => module(Transport), target => Target, server => Server}),
    Replace = fun(Name, User, Line) -> binary:replace(Line, User, atom_to_binary(Name), [global]) end,
    [maps:fold(Replace, Line, Users) || Client <- Clients, Line <- megaphone_test_transcript:lines(Client)].

module(Stream) when Stream =:= tcp; Stream =:= tls -> megaphone_test_c2s;
module(websocket) -> megaphone_test_websocket;
module(bosh) -> megaphone_test_bosh.

difference(Same, Same) -> none;
difference(Ejabberd, Ecm) ->
    case {Ejabberd -- Ecm, Ecm -- Ejabberd} of
        {[], []} -> {Ejabberd, Ecm};
        Lines -> Lines
    end.

binaries(Lines) ->
    [iolist_to_binary(Line) || Line <- Lines].

show(none) -> "no difference\n";
show({Ejabberd, Ecm}) ->
    ["\n", [["    ejabberd: ", Line, "\n"] || Line <- Ejabberd], [["    ECM:      ", Line, "\n"] || Line <- Ecm]].

call(Config, Module, Function, Arguments) ->
    megaphone_test_ejabberd:call(megaphone_test_stage:ejabberd(Config), Module, Function, Arguments).
