%% Sessions in a cluster whose clients come to another node, as theirs is gone, or an ECM.
-module(megaphone_cluster_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([a_session_is_resumed_at_another_node/1, the_old_process_dies_as_it_is_resumed/1,
         a_session_of_a_killed_node_is_not_resumed/1]).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [a_session_is_resumed_at_another_node, the_old_process_dies_as_it_is_resumed,
     a_session_of_a_killed_node_is_not_resumed].

init_per_suite(Config) ->
    Dir = filename:join([proplists:get_value(priv_dir, Config), ?MODULE, "cluster"]),
    Options = case megaphone_test_sasl2:is_offered_by() of
                  true -> "    c2s:\n      allow_unencrypted_sasl2: true\n";
                  false -> ""
              end,
    [{members, megaphone_test_cluster:start(Dir, [#{options => Options}, #{}], #{})} | Config].

end_per_suite(Config) ->
    megaphone_test_cluster:stop(proplists:get_value(members, Config)).

%% Confirms that a session that is resumed at another node gets what is sent to the old process before what was sent to
%% the new one, while a node has not heard of that yet, and all that is sent to the old one as it has ended.
a_session_is_resumed_at_another_node(Config) ->
    [_, B] = proplists:get_value(members, Config),
    Bob = megaphone_test_cluster:login(B, <<"bob">>, #{}),
    {Old, Resumed, Held} = resume_elsewhere(Config),
    #{client := Client} = Resumed,
    ok = send_to_new(B, Bob, {Old, Client}, <<"two">>),
    ok = route(B, Old, message(Bob, Client, <<"one">>)),
    ok = megaphone_test_cluster:resume(Held),
    Two = megaphone_test_resumption:recv_messages(Resumed, 2),
    true = megaphone_test_wait:until("the old session to have no row",
                                     fun() -> not lists:member(Old, megaphone_test_cluster:processes(B, Client)) end),
    ok = route(B, Old, message(Bob, Client, <<"three">>)),
    Three = megaphone_test_resumption:recv_messages(Two, 3),
    ?assertEqual([<<"one">>, <<"two">>, <<"three">>], megaphone_test_resumption:received(Three)),
    ok = megaphone_test_resumption:logout(Three),
    ok = megaphone_test_xmpp:logout(Bob).

%% Confirms that it gets what was sent to the new process also if the old one dies before it can say that this is all.
the_old_process_dies_as_it_is_resumed(Config) ->
    [_, B] = proplists:get_value(members, Config),
    Bob = megaphone_test_cluster:login(B, <<"bob">>, #{}),
    {Old, Resumed, Held} = resume_elsewhere(Config),
    ok = send_to_new(B, Bob, {Old, maps:get(client, Resumed)}, <<"one">>),
    true = megaphone_test_cluster:call(B, erlang, exit, [Old, kill]),
    One = megaphone_test_resumption:recv_messages(Resumed, 1),
    ok = megaphone_test_cluster:resume(Held),
    ok = megaphone_test_resumption:logout(One),
    ok = megaphone_test_xmpp:logout(Bob).

%% The process of a session at the second node; its client, which has resumed it at the first one; and what keeps the
%% second one from hearing of it, but by the old process.
resume_elsewhere(Config) ->
    [A, B] = proplists:get_value(members, Config),
    #{client := Client} = Managed = megaphone_test_resumption:enable(megaphone_test_cluster:login(B, <<"alice">>, #{})),
    Old = megaphone_test_cluster:process(B, Client),
    %% Of two sessions that began within the same second at different nodes ejabberd may end the newer one.
    Second = erlang:system_time(second),
    true = megaphone_test_wait:until("the next second", fun() -> erlang:system_time(second) > Second end),
    New = megaphone_test_xmpp:authenticate(megaphone_test_session, megaphone_test_cluster:target(A), user(Managed), #{}),
    %% What other nodes write arrives by this process, and so do transactions.
    Held = megaphone_test_cluster:suspend({B, megaphone_test_cluster:call(B, erlang, whereis, [mnesia_tm])}),
    {Old, megaphone_test_resumption:resume(Managed, New), Held}.

%% Sends a message from that node once the new process is found there.
send_to_new(Member, Sender, {Old, Client}, Body) ->
    true = megaphone_test_wait:until("the new process to be found",
                                     fun() -> [] =/= megaphone_test_cluster:processes(Member, Client) -- [Old] end),
    [New] = megaphone_test_cluster:processes(Member, Client) -- [Old],
    route(Member, New, message(Sender, Client, Body)).

message(From, To, Body) ->
    #{from => megaphone_test_xmpp:jid(From), to => megaphone_test_xmpp:jid(To), body => Body}.

%% Sends a message to a process of a session, as one does that has looked it up.
route(Member, Process, #{from := From, to := To, body := Body}) ->
    Stanza = {xmlel, <<"message">>, [{<<"from">>, From}, {<<"to">>, To}, {<<"type">>, <<"chat">>}],
              [{xmlel, <<"body">>, [], [{xmlcdata, Body}]}]},
    Decoded = megaphone_test_cluster:call(Member, xmpp, decode, [Stanza, <<"jabber:client">>, []]),
    true = megaphone_test_cluster:call(Member, ejabberd_c2s, route, [Process, {route, Decoded}]),
    ok.

%% Confirms that a client is told at once that its session can't be resumed, whose node was killed, while the node that
%% it comes to has still the row of the session; and that it can bind its resource there. The same with a login by SASL2,
%% where ejabberd has that: what goes along with it, as a resource, is done then.
a_session_of_a_killed_node_is_not_resumed(Config) ->
    [A, B] = proplists:get_value(members, Config),
    [Plain, Sasl2] = [megaphone_test_resumption:enable(megaphone_test_cluster:login(B, Name, #{}))
                      || Name <- [<<"alice">>, <<"carol">>]],
    Session = megaphone_test_cluster:process(A, maps:get(client, Plain)),
    Held = megaphone_test_cluster:suspend({A, megaphone_test_cluster:call(A, erlang, whereis, [ejabberd_sm_mnesia])}),
    ok = megaphone_test_ejabberd:kill(megaphone_test_cluster:ejabberd(B)),
    IsGone = fun() -> not lists:member(megaphone_test_cluster:node_of(B), megaphone_test_cluster:call(A, erlang, nodes, [])) end,
    true = megaphone_test_wait:until("the first node to see that the second is gone", IsGone),
    New = megaphone_test_xmpp:authenticate(megaphone_test_session, megaphone_test_cluster:target(A), user(Plain), #{}),
    {Answer, Answered} = megaphone_test_xmpp:recv(megaphone_test_resumption:start_resuming(Plain, New)),
    ?assertEqual(<<"failed">>, megaphone_test_xml:name(Answer)),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"item-not-found">>, Answer)),
    ?assertEqual(Session, megaphone_test_cluster:process(A, maps:get(client, Plain))),
    Clients = [megaphone_test_xmpp:bind(Answered)
               | [bind_by_sasl2(A, Sasl2) || megaphone_test_sasl2:is_offered_by()]],
    ok = megaphone_test_cluster:resume(Held),
    [ok = megaphone_test_xmpp:logout(Client) || Client <- Clients],
    ok.

bind_by_sasl2(Member, #{id := Id} = Lost) ->
    {_, Opened} = megaphone_test_sasl2:open(megaphone_test_session, megaphone_test_cluster:target(Member), user(Lost), #{}),
    Inline = ["<resume xmlns='urn:xmpp:sm:3' h='0' previd='", Id, "'/>", megaphone_test_sasl2:bind("test", "")],
    {Success, Answered} = megaphone_test_sasl2:authenticate(Opened, {plain, <<"megaphone">>}, Inline),
    ?assertEqual(undefined, megaphone_test_xml:child(<<"resumed">>, Success)),
    ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"bound">>, Success)),
    megaphone_test_xmpp:send_presence(megaphone_test_sasl2:authenticated(Success, Answered)).

user(Managed) ->
    [User, _] = binary:split(megaphone_test_resumption:jid(Managed), <<"@">>),
    User.
