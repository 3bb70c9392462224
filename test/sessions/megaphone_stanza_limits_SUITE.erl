%% How large what a client sends may be: less before it has logged in, and never so that its terms cost
%% ejabberd many times the bytes. The far end of the trunk is the test.
-module(megaphone_stanza_limits_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([bytes_before_login/1, parts_before_login/1, while_logging_in/1, after_a_wrong_password/1,
         memory_before_login/1]).
-export([logged_in_by_sasl/1, logged_in_by_sasl2/1, logged_in_without_sasl/1, logged_in_and_resumed/1, parts_once_logged_in/1]).
-export([options_of_the_listener/1, infinity_is_none/1, whole_stream_counts/1, xml_stream/1]).

-import(megaphone_test_listeners, [call/4, connect/2]).

%% Where neither the listener nor ejabberd (before 26.04) says something else.
-define(BYTES_BEFORE, 65536).
-define(ELEMENTS_BEFORE, 128).
-define(ELEMENTS, 65536).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [bytes_before_login, parts_before_login, while_logging_in, after_a_wrong_password, memory_before_login,
     logged_in_by_sasl, logged_in_by_sasl2, logged_in_without_sasl, logged_in_and_resumed, parts_once_logged_in,
     options_of_the_listener, infinity_is_none, whole_stream_counts, xml_stream].

init_per_suite(Config) ->
    megaphone_test_listeners:start(Config, listeners(), #{modules => "  mod_legacy_auth: {}\n"}).

%% `default' says what ejabberd before 26.04 has no option for.
listeners() ->
    #{default => "    c2s:\n"
                 "      pre_auth_max_stanza_size: 65536\n"
                 "      pre_auth_max_stanza_elements: 128\n",
      own => "    c2s:\n"
             "      pre_auth_max_stanza_size: 1000\n"
             "      pre_auth_max_stanza_elements: 5\n"
             "      max_stanza_size: 10000\n"
             "      max_stanza_elements: 20\n",
      none => "    c2s:\n"
              "      pre_auth_max_stanza_size: infinity\n"
              "      pre_auth_max_stanza_elements: infinity\n"
              "      max_stanza_elements: infinity\n",
      low => "    c2s:\n"
             "      max_stanza_size: 500\n"
             "      max_stanza_elements: 4\n",
      unset => ""}.

end_per_suite(Config) ->
    megaphone_test_listeners:stop(Config).

init_per_testcase(_, Config) ->
    [{trunk, connect(Config, default)} | Config].

end_per_testcase(_, Config) ->
    megaphone_test_yamux:close(trunk(Config)).

%% Confirms that a document of the largest size is read, and that of one more than that not a byte is waited
%% for: its length is enough.
bytes_before_login(Config) ->
    [begin
         taken(Trunk, of_size(Limit)),
         [begin
              ok = megaphone_test_yamux:send(megaphone_test_session:stream(State), <<Length:32>>),
              ?assertEqual({<<"policy-violation">>, closed}, megaphone_test_session:stream_end(State))
          end || State <- [greeted(Trunk), megaphone_test_session:connect(Trunk, megaphone_test_session:header())],
                 Length <- [Limit + 1]]
     end || {Trunk, Limit} <- [{trunk(Config), ?BYTES_BEFORE}, {connect(Config, unset), default_bytes(Config)}]].

%% Confirms the same of elements, whatever their shape, and of attributes.
parts_before_login(Config) ->
    [begin
         taken(Trunk, Shape(Limit)),
         refused(Trunk, Shape(Limit + 1))
     end || {Trunk, Limit} <- [{trunk(Config), ?ELEMENTS_BEFORE}, {connect(Config, unset), default_elements(Config)}],
            Shape <- shapes()].

%% Confirms that a client is not logged in before it has said its last word.
while_logging_in(Config) ->
    User = megaphone_test_stage:user(Config, <<"half">>),
    State = greeted(trunk(Config)),
    First = <<"n,,", (megaphone_test_scram:first(User))/binary>>,
    ok = megaphone_test_session:send_document(
           State, ["<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>",
                   base64:encode(First), "</auth>"]),
    {ok, {xmlel, <<"challenge">>, _, _}} = megaphone_test_session:recv_document(State),
    ok = megaphone_test_yamux:send(megaphone_test_session:stream(State), <<(?BYTES_BEFORE + 1):32>>),
    ?assertEqual({<<"policy-violation">>, closed}, megaphone_test_session:stream_end(State)).

after_a_wrong_password(Config) ->
    User = megaphone_test_stage:user(Config, <<"wrong">>),
    State = greeted(trunk(Config)),
    ok = megaphone_test_session:send_document(State, megaphone_test_session:auth(User, <<"wrong">>)),
    {ok, {xmlel, <<"failure">>, _, _}} = megaphone_test_session:recv_document(State),
    ok = megaphone_test_session:send_document(State, auth(elements(?ELEMENTS_BEFORE))),
    ?assertEqual({<<"policy-violation">>, closed}, megaphone_test_session:stream_end(State)).

%% Confirms that what the largest documents of any shape leave behind in the sessions of a hundred clients who
%% do not log in is no multiple of their bytes.
memory_before_login(Config) ->
    megaphone_test_wait:until("no session", fun() -> memory(Config) =:= {0, 0} end),
    [begin
         States = [greeted(trunk(Config)) || _ <- lists:seq(1, 100)],
         {100, Before} = memory(Config),
         %% It is answered, and the client may go on.
         Document = auth(Content),
         ?assert(iolist_size(Document) =< ?BYTES_BEFORE, Name),
         [begin
              ok = megaphone_test_session:send_document(State, Document),
              {ok, {xmlel, <<"failure">>, _, _}} = megaphone_test_session:recv_document(State)
          end || State <- States],
         {100, After} = memory(Config),
         Taken = (After - Before) div 100,
         ct:pal("~ts of ~b bytes: ~b", [Name, iolist_size(Document), Taken]),
         ?assert(Taken =< 20_000, {Name, Taken}),
         [ok = megaphone_test_yamux:reset(megaphone_test_session:stream(State)) || State <- States],
         megaphone_test_wait:until("the sessions' end", fun() -> memory(Config) =:= {0, 0} end)
     end || {Name, Content} <- [{"text", lists:duplicate(?BYTES_BEFORE - 100, $=)},
                                {"elements", lists:duplicate(?ELEMENTS_BEFORE - 1, "x<a/>")},
                                {"attributes", lists:duplicate(20, ["<a", attributes(50), "/>x"])}]].

%% Confirms that who has logged in may send more.
logged_in_by_sasl(Config) ->
    sends_more(login(Config, trunk(Config))).

%% Confirms the same for who did so by SASL2 (XEP-0388), which ends with a session and no new stream.
logged_in_by_sasl2(Config) ->
    case lists:keymember(allow_unencrypted_sasl2, 1, call(Config, ejabberd_c2s, listen_options, [])) of
        true -> sends_more(login_by_sasl2(Config));
        false -> {skip, "this ejabberd has no SASL2"}
    end.

login_by_sasl2(Config) ->
    User = megaphone_test_stage:user(Config, <<"second">>),
    Jid = <<User/binary, "@localhost">>,
    Header = megaphone_test_session:header(#{tls => <<"TLSv1.3">>}),
    State = megaphone_test_session:connect(trunk(Config), Header),
    ok = megaphone_test_session:send_document(
           State, ["<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='", Jid,
                   "' to='localhost' version='1.0'/>"]),
    {ok, {xmlel, <<"open">>, _, _}} = megaphone_test_session:recv_document(State),
    {ok, _Features} = megaphone_test_session:recv_document(State),
    ok = megaphone_test_session:send_document(
           State, ["<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>",
                   base64:encode(<<0, User/binary, 0, "megaphone">>), "</initial-response>"
                   "<bind xmlns='urn:xmpp:bind:0'/></authenticate>"]),
    {ok, {xmlel, <<"success">>, _, _} = Success} = megaphone_test_session:recv_document(State),
    Bound = megaphone_test_xml:text(megaphone_test_xml:child(<<"authorization-identifier">>, Success)),
    megaphone_test_xmpp:send_presence(#{transport => megaphone_test_session, state => State, jid => Bound}).

%% Confirms the same for who did so as in XEP-0078, without a new stream.
logged_in_without_sasl(Config) ->
    User = megaphone_test_stage:user(Config, <<"legacy">>),
    State = greeted(trunk(Config)),
    ok = megaphone_test_session:send_document(
           State, ["<iq xmlns='jabber:client' type='set' id='auth'><query xmlns='jabber:iq:auth'><username>", User,
                   "</username><password>megaphone</password><resource>old</resource></query></iq>"]),
    {ok, {xmlel, <<"iq">>, _, _} = Answer} = megaphone_test_session:recv_document(State),
    ?assertEqual(<<"result">>, megaphone_test_xml:attribute(<<"type">>, Answer)),
    Client = #{transport => megaphone_test_session, state => State, jid => <<User/binary, "@localhost/old">>},
    sends_more(megaphone_test_xmpp:send_presence(Client)).

%% Confirms the same for who has taken up an old session.
logged_in_and_resumed(Config) ->
    User = megaphone_test_stage:user(Config, <<"again">>),
    Target = {trunk(Config), megaphone_test_session:header()},
    Resumable = megaphone_test_resumption:enable(megaphone_test_xmpp:login(megaphone_test_session, Target, User)),
    ok = megaphone_test_resumption:drop(Resumable),
    New = megaphone_test_xmpp:authenticate(megaphone_test_session, Target, User, #{}),
    #{client := Client} = megaphone_test_resumption:resume(Resumable, New),
    sends_more(Client).

%% Confirms that there is an end to the elements of a stanza, where no option says how many it may have.
parts_once_logged_in(Config) ->
    Client = sends(login(Config, trunk(Config)), elements(?ELEMENTS - 1)),
    ok = megaphone_test_session:send_document(maps:get(state, Client), message(Client, elements(?ELEMENTS))),
    ?assertEqual({<<"policy-violation">>, closed}, megaphone_test_session:stream_end(maps:get(state, Client))).

%% Confirms that the listener's options hold, before the login and after it.
options_of_the_listener(Config) ->
    Trunk = connect(Config, own),
    taken(Trunk, of_size(1000)),
    refused(Trunk, of_size(1001)),
    taken(Trunk, auth(elements(4))),
    refused(Trunk, auth(elements(5))),
    [begin
         Client = sends(sends(login(Config, Trunk), text(5000)), elements(19)),
         ok = megaphone_test_session:send_document(maps:get(state, Client), message(Client, Content)),
         ?assertEqual({<<"policy-violation">>, closed},
                      megaphone_test_session:stream_end(maps:get(state, Client)))
     end || Content <- [text(10_000), elements(20)]].

infinity_is_none(Config) ->
    Trunk = connect(Config, none),
    taken(Trunk, of_size(1_000_000)),
    taken(Trunk, auth(elements(200_000))),
    _ = sends(login(Config, Trunk), elements(200_000)).

%% Confirms that nobody may send more before the login than after it.
whole_stream_counts(Config) ->
    Trunk = connect(Config, low),
    refused(Trunk, of_size(501)),
    refused(Trunk, auth(elements(4))).

%% Confirms that an XML stream, which ejabberd reads by itself, has a limit too: that of ejabberd before the
%% login, or one for the whole stream where ejabberd, before 26.04, knows no other. ejabberd refuses a stanza
%% as large as its limit; were it larger, the rest would lie unread, and reset the stream as it does with TCP.
xml_stream(Config) ->
    [begin
         Target = megaphone_test_stream:target(connect(Config, Listener),
                                               megaphone_test_proxy:client({{192, 0, 2, 7}, 4711},
                                                                           <<"xmpp-client">>)),
         {ok, Client} = megaphone_test_c2s:open(Target, <<"localhost">>, #{}),
         {ok, _Features, Greeted} = megaphone_test_c2s:recv(Client, 10_000),
         ok = megaphone_test_c2s:send_bytes(Greeted, Document),
         {ok, Error, _} = megaphone_test_c2s:recv(Greeted, 10_000),
         ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"policy-violation">>, Error))
     end || {Listener, Document} <- too_much_for_ejabberd(Config)].

too_much_for_ejabberd(Config) ->
    case of_ejabberd(Config, pre_auth_max_stanza_size, none) of
        none ->
            [{unset, of_size(262_144)}, {own, of_size(10_000)}];
        Bytes ->
            Elements = of_ejabberd(Config, pre_auth_max_stanza_elements, none),
            [{unset, of_size(Bytes)}, {unset, auth(elements(Elements - 1))},
             {own, of_size(1000)}, {own, auth(elements(4))}]
    end.

%% Helpers.

trunk(Config) ->
    proplists:get_value(trunk, Config).

greeted(Trunk) ->
    Target = {Trunk, megaphone_test_session:header()},
    {ok, State} = megaphone_test_session:open(Target, <<"localhost">>, #{}),
    {ok, _Features} = megaphone_test_session:recv_document(State),
    State.

login(Config, Trunk) ->
    User = megaphone_test_stage:user(Config, <<"user">>),
    megaphone_test_xmpp:login(megaphone_test_session, {Trunk, megaphone_test_session:header()}, User).

%% A document of a client that is not logged in has come to ejabberd_c2s, or it ends the stream.
taken(Trunk, Document) ->
    State = greeted(Trunk),
    ok = megaphone_test_session:send_document(State, Document),
    ?assertMatch({ok, {xmlel, <<"failure">>, _, _}}, megaphone_test_session:recv_document(State)),
    ok = megaphone_test_yamux:reset(megaphone_test_session:stream(State)).

refused(Trunk, Document) ->
    State = greeted(Trunk),
    ok = megaphone_test_session:send_document(State, Document),
    ?assertEqual({<<"policy-violation">>, closed}, megaphone_test_session:stream_end(State)).

sends_more(Client) ->
    ok = megaphone_test_xmpp:logout(sends(sends(Client, text(100_000)), elements(1000))).

%% The client sends itself a message with that in it.
sends(Client, Content) ->
    {_, Received} = megaphone_test_xmpp:recv_message(megaphone_test_xmpp:send(Client, message(Client, Content))),
    Received.

message(Client, Content) ->
    ["<message xmlns='jabber:client' type='chat' to='", megaphone_test_xmpp:jid(Client), "'>", Content,
     "</message>"].

%% Documents that are answered with a failure: one element and two attributes beside their content.
auth(Content) ->
    ["<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='none'>", Content, "</auth>"].

of_size(Size) ->
    auth(text(Size - iolist_size(auth("")))).

%% Such documents of so many elements, or of eight times as many attributes.
shapes() ->
    [fun(Count) -> auth(elements(Count - 1)) end,
     fun(Count) -> auth(lists:duplicate(Count - 1, "x<b>y</b>")) end,
     fun(Count) -> auth(["<c>", elements(Count - 2), "</c>"]) end,
     fun(Count) -> auth([lists:duplicate(Count div 4 - 1, ["<b", attributes(32), "/>"]),
                         "<b", attributes(30), "/><b", attributes(8 * (Count rem 4)), "/>"]) end].

text(Size) ->
    lists:duplicate(Size, $x).

elements(Count) ->
    lists:duplicate(Count, "<b/>").

attributes(Count) ->
    [[" a", integer_to_list(Number), "=''"] || Number <- lists:seq(1, Count)].

%% What ejabberd since 26.04 has by itself.
default_bytes(Config) ->
    of_ejabberd(Config, pre_auth_max_stanza_size, ?BYTES_BEFORE).

default_elements(Config) ->
    of_ejabberd(Config, pre_auth_max_stanza_elements, ?ELEMENTS_BEFORE).

of_ejabberd(Config, Name, Default) ->
    proplists:get_value(Name, call(Config, ejabberd_c2s, listen_options, []), Default).

%% Of all sessions.
memory(Config) ->
    call(Config, megaphone_test_process, memory, [megaphone_session]).
