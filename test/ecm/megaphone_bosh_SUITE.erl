%% BOSH (XEP-0124, XEP-0206) that ends in the ECM and goes on as sessions, that goes through the ECM and
%% the trunk to mod_bosh, and the same without ours.
-module(megaphone_bosh_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_group/2, end_per_group/2]).
-export([login/1, odd_orders/1, wrong_password/1, client_address/1, presence/1, messages_both_ways/1, large_message/1,
         poll_held_until_message/1, poll_renewed_after_wait/1, next_request_releases_poll/1,
         lost_answer_is_repeated/1, terminate/1, inactivity/1, unknown_session/1,
         client_leaves_while_poll_held/1, messages_of_a_vanished_client_go_offline/1]).

-define(BOSH, megaphone_test_bosh).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, plain}, {group, ecm}, {group, impatient_ecm}, {group, ecm_v1}].

groups() ->
    %% Over version 2 BOSH ends in the ECM, and its limits are the ECM's: native/ecm/tests/bosh.rs. Plain
    %% ejabberd_http can't notice that a client left while its poll is held.
    [{plain, [{group, sessions}, inactivity]},
     {ecm, [{group, sessions}]},
     {impatient_ecm, [messages_of_a_vanished_client_go_offline]},
     {ecm_v1, [client_address, messages_both_ways, large_message, poll_held_until_message,
               lost_answer_is_repeated, inactivity, client_leaves_while_poll_held]},
     {sessions, [parallel],
      [login, odd_orders, wrong_password, client_address, presence, messages_both_ways, large_message, poll_held_until_message,
       poll_renewed_after_wait, next_request_releases_poll, lost_answer_is_repeated, terminate,
       unknown_session]}].

init_per_group(sessions, Config) -> Config;
init_per_group(impatient_ecm, Config) ->
    Dir = filename:join(proplists:get_value(priv_dir, Config), "impatient"),
    megaphone_test_stage:start(ecm, [{priv_dir, Dir} | Config],
                               #{ecm => "[bosh]\n"
                                        "max_inactivity = \"3s\"\n"});
init_per_group(Path, Config) ->
    megaphone_test_stage:start(Path, Config).

end_per_group(sessions, _Config) -> ok;
end_per_group(_Path, Config) -> megaphone_test_stage:stop(Config).

%% Confirms that a session is created with what XEP-0124 asks for, and that SASL and bind work in it.
login(Config) ->
    {ok, #{answer := Answer} = Session} =
        ?BOSH:open(megaphone_test_stage:target(Config), <<"localhost">>, #{wait => 7}),
    ?assertEqual(<<"7">>, megaphone_test_xml:attribute(<<"wait">>, Answer)),
    ?assertNotEqual(<<>>, megaphone_test_xml:attribute(<<"sid">>, Answer)),
    ?assertNotEqual(<<>>, megaphone_test_xml:attribute(<<"requests">>, Answer)),
    ?assertNotEqual(<<>>, megaphone_test_xml:attribute(<<"inactivity">>, Answer)),
    ok = ?BOSH:drop(Session),
    {User, Client} = login(Config, <<"login">>, #{}),
    Prefix = <<User/binary, "@localhost/">>,
    ?assertEqual(Prefix, binary:part(megaphone_test_xmpp:jid(Client), 0, byte_size(Prefix))),
    megaphone_test_xmpp:logout(Client).

%% Confirms that clients get through that restart more often than they have to, restart with a payload, and
%% poll between: their sessions go on, and what they want next is done.
odd_orders(Config) ->
    Orders = [[restart, auth, restart, bind],
              [restart, restart, auth, restart, bind],
              [poll, restart, poll, auth, poll, restart, poll, bind],
              [wrong_auth, restart, auth, restart, bind],
              [auth, restart, restart, bind],
              [auth, restart, bind, restart],
              [auth, restart, bind, restart, poll, restart, restart],
              [auth, restart, bind, {restart, "<presence xmlns='jabber:client'/>"}]],
    Clients = [{Order, spawn_monitor(fun() -> ok = goes_through(Config, Order) end)} || Order <- Orders],
    ?assertEqual([], [{Order, Reason} || {Order, Client} <- Clients,
                                         Reason <- [megaphone_test_process:ended(Client)],
                                         Reason =/= normal]).

goes_through(Config, Order) ->
    User = megaphone_test_stage:user(Config, <<"odd">>),
    {ok, Opened} = ?BOSH:open(megaphone_test_stage:target(Config), <<"localhost">>, #{wait => 1}),
    Last = lists:foldl(fun(Step, Session) ->
                               {Attributes, Payload} = step(Step, User),
                               {ok, _, Answered} = ?BOSH:await(?BOSH:post(Session, Attributes, Payload)),
                               Answered
                       end, Opened, Order),
    Asked = ?BOSH:post(Last, "<iq xmlns='jabber:client' type='get' id='roster'>"
                             "<query xmlns='jabber:iq:roster'/></iq>"),
    await_result(<<"roster">>, Asked).

step(restart, User) -> step({restart, ""}, User);
step({restart, Payload}, _User) -> {[{"to", "localhost"}, {"xmpp:restart", "true"}], Payload};
step(poll, _User) -> {[], ""};
step(auth, User) -> {[], auth(User, "megaphone")};
step(wrong_auth, User) -> {[], auth(User, "not this")};
step(bind, _User) -> {[], "<iq xmlns='jabber:client' type='set' id='bind'>"
                          "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"}.

auth(User, Password) ->
    ["<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>",
     base64:encode(iolist_to_binary([0, User, 0, Password])), "</auth>"].

await_result(Id, Session) ->
    {ok, Stanza, Received} = ?BOSH:recv(Session, 5000),
    case {megaphone_test_xml:attribute(<<"id">>, Stanza), megaphone_test_xml:attribute(<<"type">>, Stanza)} of
        {Id, <<"result">>} -> ok;
        _ -> await_result(Id, Received)
    end.

%% Confirms that a wrong password gets SASL's failure, inside the session.
wrong_password(Config) ->
    User = megaphone_test_stage:user(Config, <<"wrong">>),
    {ok, Opened} = ?BOSH:open(megaphone_test_stage:target(Config), <<"localhost">>, #{}),
    {ok, _Features, Greeted} = ?BOSH:recv(Opened, 5000),
    {ok, Asked} = ?BOSH:send(Greeted, auth(User, "not this")),
    {ok, Failure, Refused} = ?BOSH:recv(Asked, 5000),
    ?assertEqual(<<"failure">>, megaphone_test_xml:name(Failure)),
    ?BOSH:drop(Refused).

% Confirms that ejabberd knows a session by its client's own address, as connected_users_info shows it.
client_address(Config) ->
    User = megaphone_test_stage:user(Config, <<"alice">>),
    Client = megaphone_test_xmpp:login(?BOSH, megaphone_test_stage:target_from({127, 0, 0, 5}, Config), User),
    [Resource] = resources(Config, User, <<"localhost">>),
    Info = megaphone_test_ejabberd:call(megaphone_test_stage:ejabberd(Config), ejabberd_sm,
                                        get_user_info, [User, <<"localhost">>, Resource]),
    ?assertMatch({{127, 0, 0, 5}, _}, proplists:get_value(ip, Info)),
    megaphone_test_xmpp:logout(Client).

%% Confirms that presence reaches another user, and its end does when the session ends.
presence(Config) ->
    {_, Alice} = login(Config, <<"alice">>, #{}),
    {_, Bob} = login(Config, <<"bob">>, #{}),
    Directed = megaphone_test_xmpp:send(
                 Alice, ["<presence xmlns='jabber:client' to='", megaphone_test_xmpp:jid(Bob),
                         "'><status>here</status></presence>"]),
    {Here, Bob1} = megaphone_test_xmpp:recv(Bob),
    ?assertEqual(megaphone_test_xmpp:jid(Alice), megaphone_test_xml:attribute(<<"from">>, Here)),
    ?assertEqual(<<"here">>,
                 megaphone_test_xml:text(megaphone_test_xml:child(<<"status">>, Here))),
    ok = megaphone_test_xmpp:logout(Directed),
    {Gone, Bob2} = megaphone_test_xmpp:recv(Bob1),
    ?assertEqual(<<"unavailable">>, megaphone_test_xml:attribute(<<"type">>, Gone)),
    megaphone_test_xmpp:logout(Bob2).

%% Confirms that messages arrive once and in order, in both directions at the same time.
messages_both_ways(Config) ->
    {_, Alice} = login(Config, <<"alice">>, #{}),
    {_, Bob} = login(Config, <<"bob">>, #{}),
    {Alice1, Bob1} = megaphone_test_xmpp:chat(Alice, Bob, 25),
    ok = megaphone_test_xmpp:logout(Alice1),
    ok = megaphone_test_xmpp:logout(Bob1).

%% Confirms that a stanza far larger than one read or one frame arrives unharmed.
large_message(Config) ->
    {_, Alice} = login(Config, <<"alice">>, #{}),
    {_, Bob} = login(Config, <<"bob">>, #{}),
    Body = binary:encode_hex(rand:bytes(200_000)),
    Alice1 = megaphone_test_xmpp:send_message(Alice, megaphone_test_xmpp:jid(Bob), Body),
    {{_, Received}, Bob1} = megaphone_test_xmpp:recv_message(Bob),
    ?assert(Body =:= Received, "the body of 400,000 bytes arrives as it was sent"),
    ok = megaphone_test_xmpp:logout(Alice1),
    ok = megaphone_test_xmpp:logout(Bob1).

%% Confirms that a poll without news is held, and answered by the message that comes.
poll_held_until_message(Config) ->
    {_, Alice} = login(Config, <<"alice">>, #{}),
    {_, #{state := Idle} = Bob} = login(Config, <<"bob">>, #{}),
    Held = hold_poll(Idle),
    Alice1 = megaphone_test_xmpp:send_message(Alice, megaphone_test_xmpp:jid(Bob), "wake up"),
    {{From, Body}, Bob1} = megaphone_test_xmpp:recv_message(megaphone_test_xmpp:update(Bob, Held)),
    ?assertEqual({megaphone_test_xmpp:jid(Alice), <<"wake up">>}, {From, Body}),
    ok = megaphone_test_xmpp:logout(Alice1),
    ok = megaphone_test_xmpp:logout(Bob1).

%% Confirms that a poll is answered empty after `wait' seconds, and that the next one works.
poll_renewed_after_wait(Config) ->
    {_, Alice} = login(Config, <<"alice">>, #{}),
    {_, #{state := Idle} = Bob} = login(Config, <<"bob">>, #{wait => 1}),
    Held = hold_poll(Idle),
    {Microseconds, {ok, Body, Answered}} = timer:tc(fun() -> ?BOSH:await(Held) end),
    ?assertEqual([], megaphone_test_xml:children(Body)),
    ?assert(Microseconds > 700_000, "the poll was held for about a second"),
    Renewed = hold_poll(Answered),
    Alice1 = megaphone_test_xmpp:send_message(Alice, megaphone_test_xmpp:jid(Bob), "second poll"),
    {{_, Text}, Bob1} = megaphone_test_xmpp:recv_message(megaphone_test_xmpp:update(Bob, Renewed)),
    ?assertEqual(<<"second poll">>, Text),
    ok = megaphone_test_xmpp:logout(Alice1),
    ok = megaphone_test_xmpp:logout(Bob1).

%% Confirms that with `hold' of 1 a second request has the first answered at once (XEP-0124, 11).
next_request_releases_poll(Config) ->
    {_, #{state := Idle}} = login(Config, <<"alice">>, #{wait => 30}),
    Two = ?BOSH:post(hold_poll(Idle), []),
    ?assertEqual(2, ?BOSH:waiting(Two)),
    {ok, _, One} = ?BOSH:await(Two, 5000),
    ?assertEqual(1, ?BOSH:waiting(One)),
    ?BOSH:close(One).

%% Confirms that a client whose connection broke gets the answer again by the same rid
%% (XEP-0124, 14.3), message included.
lost_answer_is_repeated(Config) ->
    {_, Alice} = login(Config, <<"alice">>, #{}),
    {_, #{state := Idle} = Bob} = login(Config, <<"bob">>, #{}),
    #{waiting := [Poll], rid := Next} = Held = hold_poll(Idle),
    ok = megaphone_test_http:close(Poll),
    Alice1 = megaphone_test_xmpp:send_message(Alice, megaphone_test_xmpp:jid(Bob), "not lost"),
    Repeated = ?BOSH:post(Held#{waiting := [], rid := Next - 1}, []),
    {{_, Text}, Bob1} = megaphone_test_xmpp:recv_message(megaphone_test_xmpp:update(Bob, Repeated)),
    ?assertEqual(<<"not lost">>, Text),
    ok = megaphone_test_xmpp:logout(Alice1),
    ok = megaphone_test_xmpp:logout(Bob1).

%% Confirms that terminate ends the session: the user is offline, another request finds nothing.
terminate(Config) ->
    {User, #{state := #{rid := Last} = State} = Client} = login(Config, <<"alice">>, #{}),
    ?assertMatch([_], resources(Config, User, <<"localhost">>)),
    ok = megaphone_test_xmpp:logout(Client),
    megaphone_test_wait:until("the session's end",
                              fun() -> resources(Config, User, <<"localhost">>) =:= [] end),
    ?assertMatch({error, {terminated, <<"item-not-found">>}},
                 request_again(State#{rid := Last + 1})).

%% Confirms that a session nobody polls for ends after the server's inactivity time.
inactivity(Config) ->
    {User, #{state := #{answer := Answer} = State}} =
        login(Config, <<"alice">>, #{host => <<"impatient.localhost">>}),
    ?assertEqual(<<"3">>, megaphone_test_xml:attribute(<<"inactivity">>, Answer)),
    megaphone_test_wait:until("the end of a session that nobody polls for",
                              fun() -> resources(Config, User, <<"impatient.localhost">>) =:= [] end),
    ?assertMatch({error, {terminated, <<"item-not-found">>}}, request_again(State)).

%% Confirms that messages which a client never asked for are there at its next login, once and in order.
messages_of_a_vanished_client_go_offline(Config) ->
    Options = #{host => <<"impatient.localhost">>},
    {_, Alice} = login(Config, <<"alice">>, Options),
    {User, Bob} = login(Config, <<"bob">>, Options),
    [Resource] = resources(Config, User, <<"impatient.localhost">>),
    Pid = call(Config, ejabberd_sm, get_session_pid, [User, <<"impatient.localhost">>, Resource]),
    ok = megaphone_test_xmpp:drop(Bob),
    Texts = [<<"one">>, <<"two">>, <<"three">>],
    _ = lists:foldl(fun(Text, Client) ->
                            megaphone_test_xmpp:send_message(Client, megaphone_test_xmpp:jid(Bob), Text)
                    end, Alice, Texts),
    megaphone_test_wait:until("the end of the session of a client that vanished",
                              fun() -> not call(Config, erlang, is_process_alive, [Pid]) end),
    Again = megaphone_test_xmpp:connect(?BOSH, megaphone_test_stage:target(Config), User, Options),
    Present = megaphone_test_xmpp:send(Again, "<presence xmlns='jabber:client'/>"),
    Asked = megaphone_test_xmpp:send_message(Present, megaphone_test_xmpp:jid(Again), <<"last">>),
    Last = lists:foldl(fun(Text, Client) ->
                               {{_, Received}, Next} = megaphone_test_xmpp:recv_message(Client),
                               ?assertEqual(Text, Received),
                               Next
                       end, Asked, Texts ++ [<<"last">>]),
    megaphone_test_xmpp:logout(Last).

%% Confirms that a request for a session that never was is told so.
unknown_session(Config) ->
    {ok, Session} = ?BOSH:open(megaphone_test_stage:target(Config), <<"localhost">>, #{}),
    ?assertMatch({error, {terminated, <<"item-not-found">>}},
                 request_again(Session#{sid := <<"0123456789abcdef">>})),
    ?BOSH:drop(Session).

%% Confirms that when a client leaves while its poll is held, the ejabberd_http that is blocked in
%% mod_bosh goes too, long before the poll's `wait' has passed.
client_leaves_while_poll_held(Config) ->
    {_, #{state := Idle}} = login(Config, <<"alice">>, #{wait => 60}),
    Held = hold_poll(Idle),
    megaphone_test_wait:until("a process of ejabberd_http for the poll",
                              fun() -> megaphone_test_stage:http_processes(Config) =/= [] end),
    ok = ?BOSH:drop(Held),
    megaphone_test_wait:until("the end of all ejabberd_http processes",
                              fun() -> megaphone_test_stage:http_processes(Config) =:= [] end).

login(Config, Name, Options) ->
    User = megaphone_test_stage:user(Config, Name),
    {User, megaphone_test_xmpp:login(?BOSH, megaphone_test_stage:target(Config), User, Options)}.

%% A poll alone, whatever the login left open. It has to be held before the next request is sent, since
%% they go over different connections.
hold_poll(#{waiting := []} = Session) ->
    #{waiting := [Poll]} = Held = ?BOSH:post(Session, []),
    ok = megaphone_test_http:recv_nothing(Poll, 200),
    Held;
hold_poll(Session) ->
    {ok, _, Answered} = ?BOSH:await(Session),
    hold_poll(Answered).

%% One more request, on a connection of its own.
request_again(Session) ->
    ?BOSH:await(?BOSH:post(Session#{idle := [], waiting := []}, [])).

resources(Config, User, Host) ->
    call(Config, ejabberd_sm, get_user_resources, [User, Host]).

call(Config, Module, Function, Arguments) ->
    megaphone_test_ejabberd:call(megaphone_test_stage:ejabberd(Config), Module, Function, Arguments).
