%% A name is its namespace and its local part (Namespaces in XML, 6; RFC 6120, 4.8.5): clients that write
%% prefixes, by each way through the ECM, hear what others hear of ejabberd's own listener. And how large an
%% element may be.
-module(megaphone_names_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([login/1, stanzas/1, declared_around/1, starttls/1, stream_management/1, attributes_reach_others/1,
         plain_does_so_too/1]).
-export([many_attributes/1, many_prefixes/1, deep_elements/1, limits/1, line_feed_in_a_namespace/1,
         byte_order_mark/1]).

-import(megaphone_test_transcript, [open/2, send/2, recv/1, sync/1, restart/1, close/1, lines/1]).

-define(SASL, "urn:ietf:params:xml:ns:xmpp-sasl").
-define(BIND, "urn:ietf:params:xml:ns:xmpp-bind").
-define(TLS, "urn:ietf:params:xml:ns:xmpp-tls").
-define(TIMEOUT, 10_000).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, all}].

groups() ->
    [{all, [parallel],
      [login, stanzas, declared_around, starttls, stream_management, attributes_reach_others, plain_does_so_too,
       many_attributes, many_prefixes, deep_elements, limits, line_feed_in_a_namespace, byte_order_mark]}].

init_per_suite(Config) ->
    Port = megaphone_test_port:free(),
    Started = megaphone_test_entrances:start(
                Config, #{modules => "  mod_client_state: {}\n  mod_ping: {}\n",
                          more_listeners => [megaphone_test_config:listener(ejabberd_c2s, Port, "    ip: \"127.0.0.1\"\n    max_stanza_size: 1048576\n")]}),
    [{plain, {{127, 0, 0, 1}, Port}} | Started].

end_per_suite(Config) ->
    megaphone_test_stage:stop(Config).

%% Confirms that a client logs in whose elements have prefixes, as moxl and whoever writes XML by Python's
%% ElementTree.
login(Config) ->
    [begin
         Client = login(Way, Alice, {["<s:auth xmlns:s='" ?SASL "' mechanism='PLAIN'>", credentials(Alice), "</s:auth>"],
                                     "<c:iq xmlns:c='jabber:client' type='set' id='bind'><q:bind xmlns:q='" ?BIND "'>"
                                     "<q:resource>test</q:resource></q:bind></c:iq>"}),
         ?assertMatch([_Opens, _Features, <<"<success", _/binary>>, _, <<"<iq", _/binary>> | _], lines(Client), Way),
         ?assertEqual(<<"closes">>, lists:last(lines(close(sync(Client)))), Way)
     end || #{alice := Alice} = Way <- ways(Config)].

%% Confirms that what is written with prefixes means what it means without.
stanzas(Config) ->
    same(Config, #{}, fun(_Way, Stanza) -> Stanza end, pairs()).

%% Confirms the same of prefixes that the stream's header or the body declares, which have one themselves.
declared_around(Config) ->
    Declare = " xmlns:c='jabber:client' xmlns:r='jabber:iq:roster' xmlns:d=\"http://jabber.org/protocol/disco#info\"",
    %% By WebSocket there is nothing around a stanza.
    Own = fun(#{transport := megaphone_test_websocket}, Stanza) ->
                  re:replace(Stanza, "^<c:[a-z]+", ["&", Declare], [{return, binary}]);
             (_, Stanza) ->
                  Stanza
          end,
    same(Config, #{prefix => "p", declare => Declare}, Own,
         [{"<iq type='get' id='1' xmlns='jabber:client'><query xmlns='jabber:iq:roster'/></iq>",
           "<c:iq type='get' id='1'><r:query/></c:iq>"},
          {"<iq type='get' id='2' to='localhost' xmlns='jabber:client'>"
           "<query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
           "<c:iq type='get' id='2' to='localhost'><d:query></d:query></c:iq>"},
          {"<presence xmlns='jabber:client'><show>away</show><x xmlns='u' a='1'/></presence>",
           "<c:presence><c:show>away</c:show><c:x xmlns:c='u' a='1'/></c:presence>"}]).

%% Confirms that STARTTLS is what it is under any prefix, and its like in other namespaces is not.
starttls(Config) ->
    Answer = fun(Kind, Element) ->
                     Socket = megaphone_test_http:connect(megaphone_test_entrances:target(Config, Kind)),
                     ok = gen_tcp:send(Socket, header("")),
                     _ = until(Socket, <<"</stream:features>">>),
                     ok = gen_tcp:send(Socket, Element),
                     until(Socket, <<">">>)
             end,
    [begin
         ?assertMatch(<<"<proceed xmlns='" ?TLS "'/>">>, Answer(Kind, "<n:starttls xmlns:n='" ?TLS "'/>"), Kind),
         ?assertMatch(<<"<proceed xmlns='" ?TLS "'/>">>,
                      Answer(Kind, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-&#116;ls'></starttls>"), Kind)
     end || Kind <- [xmpp, xmpp_optional]],
    ?assertMatch(<<"<stream:error>", _/binary>>, Answer(xmpp, "<n:starttls xmlns:n='urn:other'/>")).

%% Confirms that a session is told of by its elements' namespaces, those of stream management and of client
%% state too.
stream_management(Config) ->
    [begin
         Enabled = recv(send(login(Way, Alice), "<s:enable xmlns:s='urn:xmpp:sm:3'/>")),
         Inactive = send(Enabled, "<t:inactive xmlns:t='urn:xmpp:csi:0'/>"),
         Asked = recv(send(Inactive, "<s:r xmlns:s='urn:xmpp:sm:3'/>")),
         ?assertMatch([<<"<enabled ", _/binary>>, <<"<a h='0' xmlns='urn:xmpp:sm:3'/>">>],
                      lists:nthtail(1, lines(Asked)), Way),
         close(Asked)
     end || #{alice := Alice} = Way <- ways(Config)].

%% Confirms that an attribute's prefix is declared wherever it comes to, though ejabberd takes it out of the
%% element that declared it.
attributes_reach_others(Config) ->
    Ways = ways(Config),
    [begin
         Sender = login(From, Alice),
         Receiver = login(To, Bob),
         _ = send(Sender, ["<c:message xmlns:c='jabber:client' xmlns:p='urn:p' type='chat' to='", Bob,
                           "@localhost/test'><x xmlns='urn:x' p:a='1'><c:y c:b='2'/></x></c:message>"]),
         #{last := Message} = recv(Receiver),
         ?assertEqual([{<<"urn:x">>, <<"x">>, [{<<"urn:p">>, <<"a">>, <<"1">>}],
                        [{<<"jabber:client">>, <<"y">>, [{<<"jabber:client">>, <<"b">>, <<"2">>}], []}]}],
                      [meaning(Child, #{}) || Child <- megaphone_test_xml:children(Message)], {From, To}),
         close(Sender),
         close(Receiver)
     end || #{alice := Alice} = From <- Ways, #{bob := Bob} = To <- Ways].

%% Confirms that ejabberd's own listener serves the same clients: what is expected here is no invention.
plain_does_so_too(Config) ->
    Way = plain_way(Config),
    Unprefixed = play(Way, [Stanza || {Stanza, _} <- pairs()]),
    ?assertEqual(Unprefixed, play(plain_way(Config), [Prefixed || {_, Prefixed} <- pairs()])).

%% Confirms that a stanza with many attributes arrives, as many as may be, whatever is declared around it.
many_attributes(Config) ->
    [echoes(Config, Options, Count, fun() -> names(" a", "='1'", Count) end)
     || Options <- [#{}, #{declare => names(" xmlns:p", "='u'", 64)}], Count <- [64, 70, 1000]].

many_prefixes(Config) ->
    echoes(Config, #{}, prefixes, fun() -> names(" xmlns:p", "='u'", 200) end),
    Used = fun(Count) -> [["<p", integer_to_list(N), ":b/>"] || N <- lists:seq(1, Count)] end,
    echoes(Config, #{declare => names(" xmlns:p", "='u'", 100)}, used, fun() -> {"", Used(100)} end).

deep_elements(Config) ->
    [echoes(Config, #{}, Depth, fun() -> {"", [lists:duplicate(Depth, "<b>"), lists:duplicate(Depth, "</b>")]} end)
     || Depth <- [130, 500]].

%% Confirms that past the ECM's limits a client is told so.
limits(Config) ->
    [begin
         refused("policy-violation", Way, send(login(Way, Alice), Stanza))
     end || Stanza <- [["<message>", lists:duplicate(512, "<a>"), lists:duplicate(512, "</a>"), "</message>"],
                       ["<message", names(" a", "='1'", 1025), "/>"]],
            #{alice := Alice} = Way <- ways(Config)].

%% Confirms that a name of a namespace has no line feed: ejabberd's parser refuses it too.
line_feed_in_a_namespace(Config) ->
    [begin
         refused("not-well-formed", Way, send(login(Way, Alice), Stanza))
     end || Stanza <- ["<message><a xmlns='urn:a&#10;b'/></message>", "<message xmlns:p='&#xA;'/>"],
            #{alice := Alice} = Way <- [plain_way(Config) | ways(Config)]].

%% Confirms that a byte order mark is allowed before a BOSH body, and not in a stream or a WebSocket message
%% (RFC 6120, 11.6).
byte_order_mark(Config) ->
    Mark = <<16#FEFF/utf8>>,
    Http = megaphone_test_stage:target(Config),
    Body = [Mark, "<?xml version='1.0' encoding='utf-8'?><body xmlns='http://jabber.org/protocol/httpbind' rid='77' "
            "to='localhost' wait='1' hold='1' ver='1.11' xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0'/>"],
    Connection = megaphone_test_http:connect(Http),
    ok = megaphone_test_http:send(Connection, megaphone_test_http:encode("POST", "/bosh", [], Body)),
    #{status := 200, body := Answer} = megaphone_test_http:recv(Connection, "POST", ?TIMEOUT),
    ?assertNotEqual(<<>>, megaphone_test_xml:attribute(<<"sid">>, megaphone_test_xml:parse(Answer))),
    Socket = megaphone_test_http:connect(megaphone_test_entrances:target(Config, xmpp_off)),
    ok = gen_tcp:send(Socket, [Mark, header("")]),
    ?assertNotEqual(nomatch, binary:match(until(Socket, <<"</stream:stream>">>), <<"<not-well-formed">>)),
    {ok, WebSocket} = megaphone_test_websocket:connect(Http, "/ws", "xmpp"),
    {ok, Sent} = megaphone_test_websocket:send(
                   WebSocket, [Mark, "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>"]),
    {ok, _Open, Opened} = megaphone_test_websocket:recv(Sent, ?TIMEOUT),
    {ok, Error, _} = megaphone_test_websocket:recv(Opened, ?TIMEOUT),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"not-well-formed">>, Error)).

%% Stanzas without prefixes, and the same with some.
pairs() ->
    [{"<iq type='get' id='1' xmlns='jabber:client'><query xmlns='jabber:iq:roster'/></iq>",
      "<iq type='get' id='1' xmlns='jabber:client'><q:query xmlns:q='jabber:iq:roster'/></iq>"},
     {"<iq type='set' id='2' xmlns='jabber:client'><query xmlns='jabber:iq:roster'>"
      "<item jid='a@localhost' name='A'><group>G</group></item></query></iq>",
      "<c:iq type='set' id='2' xmlns:c='jabber:client' xmlns='jabber:iq:roster'><query>"
      "<item jid='a@localhost' name='A'><group>G</group></item></query></c:iq>"},
     {"<message to='alice@localhost/test' id='m1' xmlns='jabber:client'><body>pre</body></message>",
      "<c:message to='alice@localhost/test' id='m1' xmlns:c='jabber:client'><c:body>pre</c:body></c:message>"},
     {"<message to='alice@localhost/test' type='chat' xmlns='jabber:client'><body xml:lang='de'>x</body>"
      "<a xmlns='u'><b/><body xmlns='jabber:client'/><c xmlns='v'><b xmlns='u'/></c><d xmlns=''><e/></d></a></message>",
      "<m:message to='alice@localhost/test' type='chat' xmlns:m='jabber:client' xmlns='u'><m:body xml:lang='de'>x</m:body>"
      "<a><b/><m:body/><m:c xmlns:m='v'><b/></m:c><d xmlns=''><e/></d></a></m:message>"},
     {"<presence xmlns='jabber:client'><show>away</show></presence>",
      "<x:presence xmlns:x='jabber:client' xmlns='u'><x:show>away</x:show></x:presence>"},
     {"<iq type='get' id='3' to='localhost' xmlns='jabber:client'><ping xmlns='urn:xmpp:ping'/></iq>",
      "<iq type='get' id='3' to='localhost'><p:ping xmlns:p='urn:xmpp:&#112;ing'></p:ping></iq>"},
     {"<iq type='get' id='4' to='localhost' xmlns='jabber:client'><query xmlns='urn:nobody:knows'/></iq>",
      "<ä:iq type='get' id='4' to='localhost' xmlns:ä='jabber:client'><ö:query xmlns:ö='urn:nobody:knows'/></ä:iq>"},
     {"<message to='localhost' xmlns='urn:other'/>", "<jabber:message to='localhost' xmlns:jabber='urn:other'/>"}].

%% By the ways through the ECM the prefixed ones are answered as the others are by ejabberd's own listener.
same(Config, Options, Own, Pairs) ->
    Expected = play(plain_way(Config), [Stanza || {Stanza, _} <- Pairs]),
    [?assertEqual(Expected, play(Way#{options => Options}, [Own(Way, Prefixed) || {_, Prefixed} <- Pairs]), Way)
     || Way <- ways(Config)].

%% What a client hears to each of these, after it has logged in.
play(#{alice := Alice} = Way, Stanzas) ->
    ToAlice = fun(Stanza) ->
                      binary:replace(unicode:characters_to_binary(Stanza), <<"alice@">>, <<Alice/binary, "@">>, [global])
              end,
    Client = lists:foldl(fun(Stanza, Before) -> sync(send(Before, ToAlice(Stanza))) end, login(Way, Alice), Stanzas),
    %% In a stream the default namespace is not said again, parse_element/1 leaves out an empty one, and what a
    %% prefix was declared for stays, as text may depend on it.
    [re:replace(binary:replace(Line, Alice, <<"alice">>, [global]), " xmlns(='(jabber:client)?'|:[^=]+='[^']*')", "",
                [global, {return, binary}])
     || Line <- lines(close(Client))].

%% A message with such attributes, or with something in it, comes back to its sender by each way.
echoes(Config, Options, What, Inside) ->
    [begin
         Client = login(Way#{options => Options}, Alice),
         {Attributes, Children} = case Inside() of
                                      {_, _} = Both -> Both;
                                      Alone -> {Alone, ""}
                                  end,
         #{last := Message} =
             recv(send(Client, ["<message xmlns='jabber:client' to='", Alice, "@localhost/test'><x xmlns='urn:x'",
                                Attributes, ">", Children, "</x></message>"])),
         ?assertMatch({xmlel, <<"message">>, _, _}, Message, {What, Way}),
         Echo = megaphone_test_xml:child(<<"x">>, Message),
         ?assertEqual(meaning(megaphone_test_xml:parse(["<x xmlns='urn:x'", maps:get(declare, Options, ""), Attributes,
                                                        ">", Children, "</x>"]), #{}),
                      meaning(Echo, #{}), {What, Way}),
         close(Client)
     end || #{alice := Alice} = Way <- ways(Config, Options)].

%% What declares something around can't be a WebSocket.
ways(Config, #{declare := _}) ->
    [Way || #{transport := Transport} = Way <- ways(Config), Transport =/= megaphone_test_websocket];
ways(Config, _) ->
    ways(Config).

names(Before, After, Count) ->
    [[Before, integer_to_list(N), After] || N <- lists:seq(1, Count)].

%% An element by what its names mean, with the namespaces of prefixes and, as the empty one, the default.
meaning({xmlel, Name, Attributes, Children}, Around) ->
    Scope = lists:foldl(fun({<<"xmlns">>, Uri}, Before) -> Before#{<<>> => Uri};
                           ({<<"xmlns:", Prefix/binary>>, Uri}, Before) -> Before#{Prefix => Uri};
                           (_, Before) -> Before
                        end, Around, Attributes),
    {Prefix, Local} = split(Name),
    {maps:get(Prefix, Scope, <<>>), Local,
     lists:sort([{attribute_namespace(Key, Scope), element(2, split(Key)), Value}
                 || {Key, Value} <- Attributes, Key =/= <<"xmlns">>, element(1, split(Key)) =/= <<"xmlns">>]),
     [meaning(Child, Scope) || Child <- Children]};
meaning(Text, _) ->
    Text.

attribute_namespace(Key, Scope) ->
    case split(Key) of
        {<<>>, _} -> <<>>;
        {Prefix, _} -> maps:get(Prefix, Scope)
    end.

split(Name) ->
    case binary:split(Name, <<":">>) of
        [Local] -> {<<>>, Local};
        [Prefix, Local] -> {Prefix, Local}
    end.

%% The client is told why, in its transport's words.
refused(Condition, #{transport := Transport} = Way, Client) ->
    Lines = lines(megaphone_test_transcript:drain(Client)),
    Said = case {Transport, Condition} of
               {megaphone_test_bosh, "not-well-formed"} -> "the session is over: bad-request";
               {megaphone_test_bosh, _} -> ["the session is over: ", Condition];
               _ -> ["<", Condition, " "]
           end,
    ?assert(lists:any(fun(Line) -> binary:match(Line, iolist_to_binary(Said)) =/= nomatch end, Lines),
            {Way, Condition, Lines}).

login(Way, User) ->
    megaphone_test_transcript:login(Way, User).

login(Way, User, {Auth, Bind}) ->
    recv(send(recv(restart(recv(send(recv(open(Way, User)), Auth)))), Bind)).

credentials(User) ->
    base64:encode(<<0, User/binary, 0, "megaphone">>).

plain_way(Config) ->
    way(Config, megaphone_test_c2s, proplists:get_value(plain, Config)).

%% The ways through the ECM.
ways(Config) ->
    [way(Config, Transport, Target)
     || {Transport, Target} <- [{megaphone_test_c2s, megaphone_test_entrances:target(Config, xmpp_off)},
                                {megaphone_test_websocket, megaphone_test_stage:target(Config)},
                                {megaphone_test_bosh, megaphone_test_stage:target(Config)}]].

way(Config, Transport, Target) ->
    #{transport => Transport, target => Target,
      alice => megaphone_test_stage:user(Config, <<"alice">>), bob => megaphone_test_stage:user(Config, <<"bob">>)}.

header(Declare) ->
    ["<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'",
     Declare, " version='1.0' to='localhost'>"].

%% All that comes up to this.
until(Socket, End) ->
    until(Socket, End, <<>>).

until(Socket, End, Before) ->
    case binary:match(Before, End) of
        nomatch ->
            {ok, Bytes} = gen_tcp:recv(Socket, 0, ?TIMEOUT),
            until(Socket, End, <<Before/binary, Bytes/binary>>);
        _ ->
            Before
    end.
