%% SASL2 (XEP-0388) through the ECM, by every transport, with what goes along with a login: a resource (Bind 2,
%% XEP-0386), stream management and resumption (XEP-0198), carbons (XEP-0280), tokens (XEP-0484) and new hashes
%% of a password (XEP-0480).
-module(megaphone_sasl2_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_group/2, end_per_group/2]).
-export([offered/1, login/1, login_without_resource/1, login_scram/1, wrong_password/1, another_user/1, aborted/1,
         opened_again/1, resource_with_all/1, resumed/1, resumed_from_sleep/1, unknown_resumption/1, token/1,
         new_hash/1, limits_of_a_login/1, large_stanza_before/1]).
-export([counted/1, xmpp_client_over_websocket/1, xmpp_client_over_tls/1]).

-define(PASSWORD, <<"megaphone">>).
-define(NS_SM, <<"urn:xmpp:sm:3">>).
-define(NS_BIND, <<"urn:xmpp:bind:0">>).
-define(NS_CARBONS, <<"urn:xmpp:carbons:2">>).

%% The ways into the ECM: by its listeners' kinds, and what the client speaks.
-define(WAYS, [{starttls, xmpp, megaphone_test_c2s}, {tls, xmpps, megaphone_test_c2s},
               {tcp, xmpp_off, megaphone_test_c2s}, {wss, https, megaphone_test_websocket},
               {ws, http, megaphone_test_websocket}, {bosh_tls, https, megaphone_test_bosh},
               {bosh, http, megaphone_test_bosh}]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    case megaphone_test_sasl2:is_offered_by() of
        true ->
            [{group, Way} || {Way, _, _} <- ?WAYS] ++ [counted, xmpp_client_over_websocket, xmpp_client_over_tls];
        false ->
            {skip, "this ejabberd has no SASL2"}
    end.

groups() ->
    Cases = [offered, login, login_without_resource, login_scram, wrong_password, another_user, aborted, opened_again,
             resource_with_all, resumed, resumed_from_sleep, unknown_resumption, token, new_hash, limits_of_a_login,
             large_stanza_before],
    [{Way, [parallel], Cases} || {Way, _, _} <- ?WAYS].

init_per_suite(Config) ->
    Metrics = megaphone_test_port:free(),
    megaphone_test_entrances:start(
      [{metrics, Metrics} | Config],
      #{modules => "  mod_auth_fast: {}\n"
                   "  mod_carboncopy: {}\n"
                   "  mod_offline: {}\n"
                   "  mod_ping: {}\n"
                   "  mod_scram_upgrade: {}\n",
        options => "    hibernate_after: 1\n"
                   "    c2s:\n"
                   "      allow_unencrypted_sasl2: true\n",
        ecm => ["[metrics]\naddress = \"127.0.0.1:", integer_to_list(Metrics), "\"\n"]}).

end_per_suite(Config) ->
    megaphone_test_stage:stop(Config).

init_per_group(Way, Config) ->
    {Way, Kind, Transport} = lists:keyfind(Way, 1, ?WAYS),
    [{kind, Kind}, {transport, Transport} | Config].

end_per_group(_Way, _Config) ->
    ok.

%% Confirms that all is offered that ejabberd offers a client of its own listeners.
offered(Config) ->
    {Features, Client} = open(Config, user(Config)),
    #{mechanisms := Mechanisms, inline := Inline, bind := Bind, fast := Fast} =
        megaphone_test_sasl2:authentication(Features),
    ?assertEqual([], [<<"PLAIN">>, <<"SCRAM-SHA-1">>, <<"SCRAM-SHA-256">>] -- Mechanisms),
    ?assertEqual([], [?NS_BIND, ?NS_SM, <<"urn:xmpp:fast:0">>] -- Inline),
    ?assertEqual([], [?NS_SM, ?NS_CARBONS] -- Bind),
    ?assert(lists:member(<<"HT-SHA-256-NONE">>, Fast)),
    megaphone_test_xmpp:logout(Client).

%% Confirms that two clients who got their resources with their logins chat.
login(Config) ->
    {Alice, Bob} = megaphone_test_xmpp:chat(logged_in(Config), logged_in(Config), 10),
    ok = megaphone_test_xmpp:logout(Alice),
    ok = megaphone_test_xmpp:logout(Bob).

%% Confirms that a client may get its resource later, without a new stream.
login_without_resource(Config) ->
    User = user(Config),
    {_, Opened} = open(Config, User),
    {Success, Answered} = megaphone_test_sasl2:authenticate(Opened, {plain, ?PASSWORD}, ""),
    #{jid := Jid} = Client = megaphone_test_sasl2:authenticated(Success, Answered),
    ?assertEqual(<<User/binary, "@localhost">>, Jid),
    {Features, Ready} = megaphone_test_xmpp:recv(Client),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"bind">>, Features)),
    Bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>later</resource></bind>",
    {_, Bound} = megaphone_test_xmpp:request(Ready, {"set", "", Bind}),
    megaphone_test_xmpp:logout(megaphone_test_xmpp:send_presence(Bound#{jid := <<Jid/binary, "/later">>})).

login_scram(Config) ->
    megaphone_test_xmpp:logout(login_by(Config, user(Config), {scram, ?PASSWORD})).

%% Confirms that a client whose login failed may try again, as often as it likes.
wrong_password(Config) ->
    {_, Opened} = open(Config, user(Config)),
    Agent = megaphone_test_sasl2:user_agent(<<"3f9d1d0c-7b4e-4a5e-8d77-0f6f3f1f6c55">>),
    Refused = lists:foldl(
                fun(Credentials, Client) ->
                        {Failure, Answered} = megaphone_test_sasl2:authenticate(Client, Credentials, Agent),
                        ?assertEqual(<<"not-authorized">>, failure(Failure)),
                        Answered
                end, Opened, [{plain, <<"wrong">>}, {scram, <<"wrong">>}, {token, <<"wrong">>}]),
    {Success, Answered} = megaphone_test_sasl2:authenticate(Refused, {scram, ?PASSWORD},
                                                            megaphone_test_sasl2:bind("test", "")),
    Client = megaphone_test_sasl2:authenticated(Success, Answered),
    megaphone_test_xmpp:logout(megaphone_test_xmpp:send_presence(Client)).

%% Confirms that nobody logs in as someone else than the stream's header says.
another_user(Config) ->
    [User, Other] = [user(Config), user(Config)],
    {_, Opened} = open(Config, User),
    {Failure, Client} = megaphone_test_sasl2:authenticate(Opened#{jid := <<Other/binary, "@localhost">>},
                                                          {plain, ?PASSWORD}, ""),
    ?assertEqual(<<"not-authorized">>, failure(Failure)),
    megaphone_test_xmpp:logout(Client).

aborted(Config) ->
    {_, Opened} = open(Config, user(Config)),
    Initial = base64:encode(<<"n,,", (megaphone_test_scram:first(<<"nobody">>))/binary>>),
    Begun = megaphone_test_sasl2:send(Opened, "authenticate",
                                      {" mechanism='SCRAM-SHA-1'",
                                       ["<initial-response>", Initial, "</initial-response>"]}),
    {First, Asked} = megaphone_test_xmpp:recv(Begun),
    Failed = case megaphone_test_xml:name(First) of
                 <<"challenge">> -> megaphone_test_xmpp:recv(megaphone_test_sasl2:send(Asked, "abort", {"", ""}));
                 <<"failure">> -> {First, Asked}
             end,
    {Failure, Aborted} = Failed,
    ?assert(lists:member(failure(Failure), [<<"aborted">>, <<"not-authorized">>])),
    {Success, Answered} = megaphone_test_sasl2:authenticate(Aborted, {plain, ?PASSWORD},
                                                            megaphone_test_sasl2:bind("test", "")),
    megaphone_test_xmpp:logout(megaphone_test_sasl2:authenticated(Success, Answered)).

%% Confirms that a client that opens its stream again after the login, as after the older SASL, gets features again.
%% An XML stream can't be opened twice.
opened_again(Config) ->
    case proplists:get_value(transport, Config) of
        megaphone_test_c2s -> ok;
        Transport -> opened_again(Config, Transport)
    end.

opened_again(Config, Transport) ->
    {_, Opened} = open(Config, user(Config)),
    {Success, Answered} = megaphone_test_sasl2:authenticate(Opened, {plain, ?PASSWORD}, ""),
    Client = megaphone_test_sasl2:authenticated(Success, Answered),
    {_, Ready} = megaphone_test_xmpp:recv(Client),
    {ok, State} = Transport:restart(maps:get(state, Ready)),
    {Features, Again} = megaphone_test_xmpp:recv(megaphone_test_xmpp:update(Ready, State)),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"bind">>, Features)),
    megaphone_test_xmpp:logout(Again).

%% Confirms that a resource comes with stream management and carbons, which hold at once and after the session has
%% slept.
resource_with_all(Config) ->
    User = user(Config),
    Agent = megaphone_test_sasl2:user_agent(<<"d4565fa7-4d72-4749-b3d3-740edbf87770">>),
    {_, Opened} = open(Config, User),
    Inline = ["<enable xmlns='", ?NS_SM, "' resume='true'/>", "<enable xmlns='", ?NS_CARBONS, "'/>"],
    {Success, Answered} = megaphone_test_sasl2:authenticate(Opened, {plain, ?PASSWORD},
                                                            [Agent, megaphone_test_sasl2:bind("test", Inline)]),
    Bound = bound(Success),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"enabled">>, Bound)),
    Client = megaphone_test_xmpp:send_presence(megaphone_test_sasl2:authenticated(Success, Answered)),
    #{jid := Jid} = Client,
    %% The resource is the tag and what ejabberd makes of the user agent.
    [<<"test">>, Own] = binary:split(resource(Jid), <<".">>),
    ?assertNotEqual(<<>>, Own),
    Other = logged_in_as(Config, User),
    Friend = logged_in(Config),
    Carbon = fun(Body, {Sender, Before}) ->
                     Sent = megaphone_test_xmpp:send_message(Sender, megaphone_test_xmpp:jid(Other), Body),
                     {_, Copied} = megaphone_test_xmpp:recv_until(
                                     Before, fun(Stanza) ->
                                                     megaphone_test_xml:child(<<"received">>, Stanza) =/= undefined
                                             end, 10_000),
                     {Sent, Copied}
             end,
    Awake = Carbon("awake", {Friend, Client}),
    await_sleep(Config, Jid),
    {Friend1, Copied} = Carbon("asleep", Awake),
    State = stream_state(Config, Jid),
    ?assertMatch(#{mgmt_state := active}, State),
    %% Nor is kept what only the login needed: the password, or its hashes.
    ?assertEqual([], [Key || Key <- [sasl2_password_fun, sasl2_stream_from, sasl_state], is_map_key(Key, State)]),
    lists:foreach(fun(Each) -> ok = megaphone_test_xmpp:logout(Each) end, [Copied, Other, Friend1]).

%% Confirms that a broken session is resumed with the login, and gets what came meanwhile.
resumed(Config) ->
    User = user(Config),
    Lost = managed(Config, User),
    Jid = megaphone_test_resumption:jid(Lost),
    ok = megaphone_test_resumption:drop(Lost),
    Friend = logged_in(Config),
    Sent = megaphone_test_xmpp:send_message(Friend, Jid, <<"meanwhile">>),
    {Success, Client} = resume(Config, User, Lost, ""),
    #{jid := Jid} = Authenticated = megaphone_test_sasl2:authenticated(Success, Client),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"resumed">>, Success)),
    ?assertEqual(undefined, megaphone_test_xml:child(<<"bound">>, Success)),
    {{_, <<"meanwhile">>}, Received} = megaphone_test_xmpp:recv_message(Authenticated),
    await_sleep(Config, Jid),
    {Friend1, Received1} = megaphone_test_xmpp:chat(Sent, Received, 3),
    ok = megaphone_test_xmpp:logout(Received1),
    ok = megaphone_test_xmpp:logout(Friend1).

%% Confirms that a session that sleeps is resumed before its connection's end was noticed.
resumed_from_sleep(Config) ->
    User = user(Config),
    Old = managed(Config, User),
    Jid = megaphone_test_resumption:jid(Old),
    await_sleep(Config, Jid),
    {Success, Client} = resume(Config, User, Old, megaphone_test_sasl2:bind("test", "")),
    #{jid := Jid} = Authenticated = megaphone_test_sasl2:authenticated(Success, Client),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"resumed">>, Success)),
    {Friend, Resumed} = megaphone_test_xmpp:chat(logged_in(Config), Authenticated, 3),
    ok = megaphone_test_xmpp:logout(Resumed),
    ok = megaphone_test_xmpp:logout(Friend),
    ok = megaphone_test_resumption:drop(Old).

%% Confirms that who can't resume gets the resource that it wants then.
unknown_resumption(Config) ->
    {_, Opened} = open(Config, user(Config)),
    Inline = ["<resume xmlns='", ?NS_SM, "' h='0' previd='none'/>",
              megaphone_test_sasl2:bind("test", ["<enable xmlns='", ?NS_SM, "'/>"])],
    {Success, Answered} = megaphone_test_sasl2:authenticate(Opened, {scram, ?PASSWORD}, Inline),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"failed">>, Success)),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"enabled">>, bound(Success))),
    Client = megaphone_test_sasl2:authenticated(Success, Answered),
    megaphone_test_xmpp:logout(megaphone_test_xmpp:send_presence(Client)).

%% Confirms that a client logs in by a token that it got with the login before, and gets its resource with it.
token(Config) ->
    User = user(Config),
    Agent = megaphone_test_sasl2:user_agent(<<"8a1b8eb2-a9f4-4b3a-9b3e-5e5ab5b5a9b1">>),
    Bind = megaphone_test_sasl2:bind("test", ""),
    {_, Opened} = open(Config, User),
    Request = "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>",
    {Success, Answered} = megaphone_test_sasl2:authenticate(Opened, {plain, ?PASSWORD}, [Agent, Request, Bind]),
    Token = megaphone_test_xml:attribute(<<"token">>, megaphone_test_xml:child(<<"token">>, Success)),
    ok = megaphone_test_xmpp:logout(megaphone_test_sasl2:authenticated(Success, Answered)),
    {_, Again} = open(Config, User),
    Fast = "<fast xmlns='urn:xmpp:fast:0'/>",
    {ByToken, Client} = megaphone_test_sasl2:authenticate(Again, {token, Token}, [Agent, Fast, Bind]),
    Present = megaphone_test_xmpp:send_presence(megaphone_test_sasl2:authenticated(ByToken, Client)),
    megaphone_test_xmpp:logout(Present).

%% Confirms that a login whose client has another task first (`<continue/>') ends well.
new_hash(Config) ->
    User = user(Config),
    {Features, Opened} = open(Config, User),
    #{upgrades := Upgrades} = megaphone_test_sasl2:authentication(Features),
    Task = <<"UPGR-SCRAM-SHA-256">>,
    ?assert(lists:member(Task, Upgrades)),
    Inline = ["<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>", Task, "</upgrade>",
              megaphone_test_sasl2:bind("test", "")],
    {Continue, Asked} = megaphone_test_sasl2:authenticate(Opened, {plain, ?PASSWORD}, Inline),
    ?assertEqual(<<"continue">>, megaphone_test_xml:name(Continue)),
    {TaskData, Told} = megaphone_test_xmpp:recv(
                         megaphone_test_sasl2:send(Asked, "next", {[" task='", Task, "'"], ""})),
    Salt = megaphone_test_xml:child(<<"salt">>, TaskData),
    Salted = crypto:pbkdf2_hmac(sha256, ?PASSWORD, base64:decode(megaphone_test_xml:text(Salt)),
                                binary_to_integer(megaphone_test_xml:attribute(<<"iterations">>, Salt)), 32),
    Hash = ["<hash xmlns='urn:xmpp:scram-upgrade:0'>", base64:encode(Salted), "</hash>"],
    {Success, Answered} = megaphone_test_xmpp:recv(megaphone_test_sasl2:send(Told, "task-data", {"", Hash})),
    Client = megaphone_test_sasl2:authenticated(Success, Answered),
    megaphone_test_xmpp:logout(megaphone_test_xmpp:send_presence(Client)).

%% Confirms that what a client may send is more once it has logged in.
limits_of_a_login(Config) ->
    Client = logged_in(Config),
    Text = binary:copy(<<"x">>, 100_000),
    {{_, Text}, Received} = megaphone_test_xmpp:recv_message(
                              megaphone_test_xmpp:send_message(Client, megaphone_test_xmpp:jid(Client), Text)),
    megaphone_test_xmpp:logout(Received).

%% Confirms that it is little before.
large_stanza_before(Config) ->
    #{transport := Transport, state := State} = element(2, open(Config, user(Config))),
    Large = ["<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>",
             binary:copy(<<"x">>, 70_000), "</initial-response></authenticate>"],
    Ended = case Transport:send(State, Large) of
                {ok, Sent} -> answer(Transport, Sent);
                {error, Reason} -> {ended, Reason}
            end,
    ?assertMatch({ended, _}, Ended).

answer(Transport, State) ->
    case Transport:recv(State, 10_000) of
        {ok, {xmlel, <<"stream:error">>, _, _} = Error, _} -> {ended, Error};
        {ok, Other, _} -> Other;
        {error, timeout} -> timeout;
        {error, Reason} -> {ended, Reason}
    end.

%% Confirms that logins and failed ones count by their transport, and that the turn of who is online is over, be it by
%% a resource or an older session.
counted(Config) ->
    lists:foreach(fun({Way, Kind, Transport}) -> counted(Way, [{kind, Kind}, {transport, Transport} | Config]) end,
                  ?WAYS).

counted(Way, Config) ->
    Label = case Way of
                tcp -> tcp;
                _ when Way =:= starttls; Way =:= tls -> tls;
                _ when Way =:= wss; Way =:= ws -> websocket;
                _ -> bosh
            end,
    Count = fun(Name) -> metric(Config, [Name, "{transport=\"", atom_to_list(Label), "\"}"]) end,
    Before = {Count("logins_total"), Count("login_failures_total")},
    User = user(Config),
    {_, Opened} = open(Config, User),
    {_, Refused} = megaphone_test_sasl2:authenticate(Opened, {plain, <<"wrong">>}, ""),
    {Success, Answered} = megaphone_test_sasl2:authenticate(Refused, {plain, ?PASSWORD},
                                                            megaphone_test_sasl2:bind("test", "")),
    Client = megaphone_test_xmpp:send_presence(megaphone_test_sasl2:authenticated(Success, Answered)),
    {Logins, Failures} = Before,
    ?assertEqual({Logins + 1, Failures + 1}, {Count("logins_total"), Count("login_failures_total")}, Way),
    ?assertEqual(0, metric(Config, "logins_running"), Way),
    ok = megaphone_test_xmpp:logout(Client),
    Lost = managed(Config, User),
    ok = megaphone_test_resumption:drop(Lost),
    {Resumed, Back} = resume(Config, User, Lost, ""),
    ?assertEqual(0, metric(Config, "logins_running"), Way),
    megaphone_test_xmpp:logout(megaphone_test_sasl2:authenticated(Resumed, Back)).

%% Confirms that @xmpp/client logs in with a resource, gets a token, and comes back by that once its connection broke.
%% It does not resume: as ejabberd offers stream management once more behind the login, it asks for that again.
xmpp_client_over_websocket(Config) ->
    xmpp_client(Config, https, "wss", "/ws").

xmpp_client_over_tls(Config) ->
    xmpp_client(Config, xmpps, "xmpps", "").

xmpp_client(Config, Kind, Scheme, Path) ->
    {_, Port} = megaphone_test_entrances:address(Config, Kind),
    [User, Friend] = [<<(user(Config))/binary, "@localhost">> || _ <- [user, friend]],
    Output = megaphone_test_clients:run(
               node, ["sasl2.js", [Scheme, "://localhost:", integer_to_list(Port), Path], User, Friend, ?PASSWORD],
               [{"NODE_EXTRA_CA_CERTS", megaphone_test_entrances:ca_file(Config)}], Config),
    [First, Second] = megaphone_test_json:decode(lists:last(binary:split(string:trim(Output), <<"\n">>, [global]))),
    ?assertMatch(#{<<"mechanism">> := <<"SCRAM-SHA-1">>}, First),
    ?assertEqual([], [<<"bound">>, <<"token">>] -- maps:get(<<"success">>, First)),
    ?assertMatch(#{<<"mechanism">> := <<"HT-SHA-256-NONE">>}, Second),
    ?assert(lists:member(<<"bound">>, maps:get(<<"success">>, Second))).

metric(Config, Name) ->
    Connection = megaphone_test_http:connect({{127, 0, 0, 1}, proplists:get_value(metrics, Config)}),
    Response = megaphone_test_http:request(Connection, "GET", "/metrics", []),
    ok = megaphone_test_http:close(Connection),
    {match, [Value]} = re:run(maps:get(body, Response), ["^megaphone_ecm_", escaped(Name), " (\\d+)$"],
                              [multiline, {capture, all_but_first, list}]),
    list_to_integer(Value).

escaped(Name) ->
    re:replace(Name, "[{}]", "\\\\&", [global]).

user(Config) ->
    megaphone_test_stage:user(Config, <<"user">>).

way(Config) ->
    Kind = proplists:get_value(kind, Config),
    Options = case Kind of
                  xmpp -> #{starttls => true};
                  _ -> #{}
              end,
    {proplists:get_value(transport, Config), megaphone_test_entrances:target(Config, Kind), Options}.

open(Config, User) ->
    {Transport, Target, Options} = way(Config),
    megaphone_test_sasl2:open(Transport, Target, User, Options).

logged_in(Config) ->
    logged_in_as(Config, user(Config)).

logged_in_as(Config, User) ->
    login_by(Config, User, {plain, ?PASSWORD}).

login_by(Config, User, Credentials) ->
    {Transport, Target, Options} = way(Config),
    megaphone_test_sasl2:login(Transport, Target, User, Options, Credentials).

%% With stream management from the login on, and presence.
managed(Config, User) ->
    {_, Opened} = open(Config, User),
    Enable = ["<enable xmlns='", ?NS_SM, "' resume='true'/>"],
    {Success, Answered} = megaphone_test_sasl2:authenticate(Opened, {plain, ?PASSWORD},
                                                            megaphone_test_sasl2:bind("test", Enable)),
    Id = megaphone_test_xml:attribute(<<"id">>, megaphone_test_xml:child(<<"enabled">>, bound(Success))),
    Client = megaphone_test_xmpp:send_presence(megaphone_test_sasl2:authenticated(Success, Answered)),
    (megaphone_test_resumption:without(Client))#{id := Id}.

%% It has got its own presence.
resume(Config, User, #{id := Id}, Inline) ->
    {_, Opened} = open(Config, User),
    Resume = ["<resume xmlns='", ?NS_SM, "' h='1' previd='", Id, "'/>"],
    megaphone_test_sasl2:authenticate(Opened, {plain, ?PASSWORD}, [Resume, Inline]).

bound(Success) ->
    megaphone_test_xml:child(<<"bound">>, Success).

failure(Failure) ->
    ?assertEqual({<<"failure">>, <<"urn:xmpp:sasl:2">>},
                 {megaphone_test_xml:name(Failure), megaphone_test_xml:namespace(Failure)}),
    megaphone_test_xml:name(hd(megaphone_test_xml:children(Failure))).

resource(Jid) ->
    [_, Resource] = binary:split(Jid, <<"/">>),
    Resource.

session(Config, Jid) ->
    [User, Rest] = binary:split(Jid, <<"@">>),
    [Host, Resource] = binary:split(Rest, <<"/">>),
    call(Config, ejabberd_sm, get_session_pid, [User, Host, Resource]).

await_sleep(Config, Jid) ->
    megaphone_test_ejabberd:await_sleep(megaphone_test_stage:ejabberd(Config), session(Config, Jid)).

%% What is packed while it sleeps.
stream_state(Config, Jid) ->
    case element(2, call(Config, sys, get_state, [session(Config, Jid)])) of
        State when is_map(State) -> State;
        Packed -> call(Config, megaphone_session_state, unpack, [Packed])
    end.

call(Config, Module, Function, Arguments) ->
    megaphone_test_ejabberd:call(megaphone_test_stage:ejabberd(Config), Module, Function, Arguments).
