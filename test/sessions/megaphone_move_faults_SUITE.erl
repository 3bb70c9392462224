%% What goes wrong while a session moves: each step of a move (doc/protocol.md, "What goes wrong") fails in turn. The
%% session stays where it was, or its connection breaks as any does; nothing is left behind, and nothing doubled.
-module(megaphone_move_faults_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, groups/0, init_per_suite/1, end_per_suite/1, init_per_group/2, end_per_group/2,
         init_per_testcase/2, end_per_testcase/2]).
-export([the_new_session_dies_before_it_takes/1, the_new_node_dies_before_it_takes/1, the_new_session_dies_lent/1,
         the_new_session_does_not_come/1, the_old_session_dies_parked/1, the_old_session_dies_lent/1,
         the_new_stream_breaks_lent/1, the_old_trunk_breaks_parked/1, the_old_trunk_breaks_lent/1,
         the_new_trunk_breaks_behind_moved/1, a_token_is_used_twice/1, a_token_is_forged/1, a_token_is_old/1,
         versions_differ/1, the_ecm_wants_it_to_stay/1, the_ecm_marks_again/1, the_ecm_goes_on_with_documents/1,
         the_ecm_goes_too_early/1, the_ecm_says_what_means_nothing/1, a_client_resumes_meanwhile/1,
         the_node_is_told_to_end_its_sessions/1, a_third_node_hangs/1, a_third_node_is_slow/1, the_nodes_lose_each_other/1,
         the_nodes_lose_each_other_as_it_moves/1, the_nodes_lose_each_other_and_the_stream_ends/1,
         the_nodes_lose_each_other_and_nobody_says_go/1]).

suite() ->
    [{timetrap, {minutes, 3}}].

all() ->
    [{group, cluster}, {group, partition}].

groups() ->
    [{cluster, [the_new_session_dies_before_it_takes, the_new_session_dies_lent,
                the_new_session_does_not_come, the_old_session_dies_parked, the_old_session_dies_lent,
                the_new_stream_breaks_lent, the_old_trunk_breaks_parked, the_old_trunk_breaks_lent,
                the_new_trunk_breaks_behind_moved, a_token_is_used_twice, a_token_is_forged, a_token_is_old,
                versions_differ, the_ecm_wants_it_to_stay, the_ecm_marks_again, the_ecm_goes_on_with_documents,
                the_ecm_goes_too_early, the_ecm_says_what_means_nothing, a_client_resumes_meanwhile,
                the_node_is_told_to_end_its_sessions, a_third_node_hangs, a_third_node_is_slow,
                the_new_node_dies_before_it_takes]},
     {partition, partitions()}].

partitions() ->
    [the_nodes_lose_each_other, the_nodes_lose_each_other_as_it_moves, the_nodes_lose_each_other_and_the_stream_ends,
     the_nodes_lose_each_other_and_nobody_says_go].

init_per_suite(Config) ->
    Config.

end_per_suite(_Config) ->
    ok.

%% The third node has another version of the application.
init_per_group(cluster, Config) ->
    Other = other_megaphone(filename:join(proplists:get_value(priv_dir, Config), "other")),
    start(Config, cluster, [#{}, #{}, #{megaphone => Other}]);
init_per_group(partition, Config) ->
    Config.

end_per_group(cluster, Config) ->
    megaphone_test_cluster:stop(members(Config));
end_per_group(partition, _Config) ->
    ok.

%% Nodes that have lost each other don't find each other again.
init_per_testcase(Case, Config) ->
    case lists:member(Case, partitions()) of
        true -> start(Config, Case, [#{}, #{}]);
        false -> Config
    end.

end_per_testcase(Case, Config) ->
    case lists:member(Case, partitions()) of
        true -> megaphone_test_cluster:stop(members(Config));
        false -> ok
    end.

start(Config, Group, Nodes) ->
    %% The suites of a folder share theirs.
    Dir = filename:join([proplists:get_value(priv_dir, Config), ?MODULE, Group]),
    [{members, megaphone_test_cluster:start(Dir, Nodes, #{modules => "  mod_offline: {}\n"})} | Config].

%% The application as it is, with another version.
other_megaphone(Dir) ->
    Ebin = filename:join([Dir, "megaphone", "ebin"]),
    ok = filelib:ensure_dir(filename:join(Ebin, ".")),
    Own = filename:dirname(code:which(megaphone)),
    [{ok, _} = file:copy(Path, filename:join(Ebin, filename:basename(Path)))
     || Path <- filelib:wildcard(filename:join(Own, "*.beam"))],
    {ok, [{application, megaphone, Keys}]} = file:consult(filename:join(Own, "megaphone.app")),
    Changed = {application, megaphone, lists:keystore(vsn, 1, Keys, {vsn, "99.9"})},
    ok = file:write_file(filename:join(Ebin, "megaphone.app"), io_lib:format("~p.~n", [Changed])),
    ok = file:make_symlink(filename:join(filename:dirname(Own), "priv"), filename:join([Dir, "megaphone", "priv"])),
    Ebin.

%% Before the session is lent.

the_new_session_dies_before_it_takes(Config) ->
    #{client := Alice, old := Old, new := {B, Taker}, old_held := Held} = asked(Config),
    true = megaphone_test_cluster:call(B, erlang, exit, [Taker, kill]),
    ok = megaphone_test_cluster:resume(Held),
    {Why, Stayed} = megaphone_test_move:await_stays(Alice),
    ?assertEqual(<<"the new session has ended">>, Why),
    goes_on(Config, Stayed, Old).

%% Confirms that a node which is gone is no more than a session which is; it comes back for the cases that follow.
the_new_node_dies_before_it_takes(Config) ->
    #{client := Alice, old := Old, new := {B, _}, old_held := Held} = asked(Config),
    ok = megaphone_test_ejabberd:kill(megaphone_test_cluster:ejabberd(B)),
    ok = megaphone_test_cluster:resume(Held),
    {Why, Stayed} = megaphone_test_move:await_stays(Alice),
    ?assert(lists:member(Why, [<<"the new session has ended">>, <<"the new session's node is gone">>]), Why),
    goes_on(Config, Stayed, Old),
    ok = megaphone_test_ejabberd:restart(megaphone_test_cluster:ejabberd(B)),
    [megaphone_test_cluster:await_members(Member, 3) || Member <- members(Config)],
    ok.

%% Confirms that the stream ends, and that nobody can take what is gone.
the_old_session_dies_parked(Config) ->
    #{client := Alice, old := {A, Old}, token := Token} = parked(Config),
    true = megaphone_test_cluster:call(A, erlang, exit, [Old, kill]),
    ?assertMatch({ended, _}, megaphone_test_move:recv(megaphone_test_move:state(Alice))),
    ?assertEqual(<<"there is no such session">>, refused(second(Config), Token)),
    ?assertEqual([], megaphone_test_cluster:processes(A, Alice)).

%% Confirms that it is a broken connection like any: a client with stream management resumes.
the_old_trunk_breaks_parked(Config) ->
    #{client := Alice, managed := Managed, token := Token} = parked_managed(Config),
    ok = megaphone_test_yamux:close(trunk_of(Alice)),
    await_pending(Config, Alice),
    ?assertMatch(<<"the session ends">>, refused(second(Config), Token)),
    resumes(Config, Managed).

%% While the session is lent.

%% Confirms that the session takes all back, with what was sent to it meanwhile.
the_new_session_dies_lent(Config) ->
    #{client := Alice, old := {A, OldPid} = Old, new := {B, Taker}} = lent(Config),
    Bob = megaphone_test_cluster:login(A, <<"bob">>, #{}),
    %% As whoever looked it up before.
    ok = route(A, OldPid, Bob, Alice, <<"meanwhile">>),
    true = megaphone_test_cluster:call(B, erlang, exit, [Taker, kill]),
    {<<"the new session has ended">>, Stayed} = megaphone_test_move:await_stays(Alice),
    {{_, <<"meanwhile">>}, Received} = megaphone_test_xmpp:recv_message(Stayed),
    goes_on(Config, Received, Old).

%% Confirms that the session waits 15 seconds, goes on, and gets what the other one was sent, which leaves nothing
%% behind when it comes too late.
the_new_session_does_not_come(Config) ->
    #{client := Alice, old := {A, _} = Old, new := {B, Taker} = New, stream := Stream, new_held := Held} = lent(Config),
    Bob = megaphone_test_cluster:login(A, <<"bob">>, #{}),
    _ = megaphone_test_xmpp:send_message(Bob, megaphone_test_xmpp:jid(Alice), <<"for the new one">>),
    {Why, Stayed} = await_stays_long(Alice),
    ?assertEqual(<<"the new session has not come within 15 seconds">>, Why),
    ok = megaphone_test_cluster:resume(Held),
    ?assertEqual(<<"the old session goes on">>, megaphone_test_move:await_refused(Stream)),
    {{_, <<"for the new one">>}, Received} = megaphone_test_xmpp:recv_message(Stayed),
    %% Who looked it up before, and sends now.
    ok = route(B, Taker, Bob, Alice, <<"for the new one, late">>),
    {{_, <<"for the new one, late">>}, Late} = megaphone_test_xmpp:recv_message(Received),
    ok = megaphone_test_cluster:await_gone(New),
    goes_on(Config, Late, Old).

%% Confirms that the new session, which alone has all, breaks as any does where the ECM gives it up, since the old
%% stream has ended without a word.
the_old_session_dies_lent(Config) ->
    #{client := Alice, managed := Managed, old := {A, Old}, stream := Stream, new_held := Held} =
        lent(parked_managed(Config), Config),
    true = megaphone_test_cluster:call(A, erlang, exit, [Old, kill]),
    ?assertMatch({ended, _}, megaphone_test_move:recv(megaphone_test_move:state(Alice))),
    ok = megaphone_test_cluster:resume(Held),
    ok = megaphone_test_yamux:reset(Stream),
    await_pending(Config, Alice),
    resumes(Config, Managed).

the_new_stream_breaks_lent(Config) ->
    #{client := Alice, old := Old, new := New, stream := Stream, new_held := Held} = lent(Config),
    ok = megaphone_test_yamux:reset(Stream),
    %% The answer says that ejabberd has read what came before.
    ok = megaphone_test_yamux:ping(megaphone_test_yamux:trunk(Stream)),
    ok = megaphone_test_cluster:resume(Held),
    {Why, Stayed} = megaphone_test_move:await_stays(Alice),
    %% It may have seen that before it heard of the session.
    ?assert(lists:member(Why, [<<"the new session's connection has ended">>, <<"the new session has ended">>]), Why),
    ok = megaphone_test_cluster:await_gone(New),
    goes_on(Config, Stayed, Old).

%% Confirms that the old session, which can't say moved, takes all back, and breaks.
the_old_trunk_breaks_lent(Config) ->
    #{client := Alice, managed := Managed, stream := Stream, new := New, new_held := Held} =
        lent(parked_managed(Config), Config),
    ok = close_trunk(Config, Alice),
    ok = megaphone_test_cluster:resume(Held),
    ?assertEqual(<<"the old session goes on">>, megaphone_test_move:await_refused(Stream)),
    ok = megaphone_test_cluster:await_gone(New),
    await_pending(Config, Alice),
    resumes(Config, Managed).

%% Confirms that the new session breaks as any does.
the_new_trunk_breaks_behind_moved(Config) ->
    #{client := Alice, managed := Managed, token := Token} = parked_managed(Config),
    Trunk = megaphone_test_cluster:connect(second(Config)),
    _ = megaphone_test_move:take(Trunk, megaphone_test_session:header(), Token),
    Moved = megaphone_test_move:await_moved(Alice),
    ok = megaphone_test_yamux:close(Trunk),
    await_pending(Config, Moved),
    resumes(Config, Managed).

%% Tokens.

a_token_is_used_twice(Config) ->
    #{client := Alice, token := Token} = parked(Config),
    Stream = take(second(Config), Token),
    Moved = megaphone_test_move:go(Stream, megaphone_test_move:await_moved(Alice)),
    [?assertEqual(<<"the token is void, or was used">>, refused(Member, Token))
     || Member <- [first(Config), second(Config)]],
    goes_on(Config, Moved, {second(Config), megaphone_test_cluster:process(second(Config), Moved)}).

%% Confirms that whatever is made up finds nobody, and that the session's own token is good after that.
a_token_is_forged(Config) ->
    #{client := Alice, token := Token, old := {_, Old}} = parked(Config),
    <<Version, Key:16/binary, Size, Process:Size/binary, Node/binary>> = Token,
    Forge = fun(K, P, N) -> <<Version, K/binary, (byte_size(P)), P/binary, N/binary>> end,
    B = second(Config),
    ?assertEqual(<<"the token is void, or was used">>, refused(B, Forge(<<0:128>>, Process, Node))),
    [?assertEqual(<<"there is no such session">>, refused(B, Forge(Key, Other, Node)))
     || Other <- [<<"<0.0.0>">>, <<"<0.99999.0>">>, <<"init">>, <<>>, <<"<1.2.3>">>]],
    ?assertMatch({match, _}, re:run(refused(B, Forge(Key, Process, <<"nobody@nowhere">>)), "not in the cluster")),
    [?assertEqual(<<"the token can't be read">>, refused(B, Other))
     || Other <- [<<"x">>, <<2, Key/binary, 0>>, binary:part(Token, 0, 20), <<Version>>]],
    Moved = megaphone_test_move:go(take(B, Token), megaphone_test_move:await_moved(Alice)),
    ?assertNotEqual(Old, megaphone_test_cluster:process(B, Moved)).

a_token_is_old(Config) ->
    #{client := Alice, token := Token, old := Old} = parked(Config),
    {Why, Stayed} = await_stays_long(Alice),
    ?assertEqual(<<"nobody has taken it">>, Why),
    ?assertEqual(<<"the token is void, or was used">>, refused(second(Config), Token)),
    goes_on(Config, Stayed, Old).

%% Confirms that both sides name both versions, and the session goes on.
versions_differ(Config) ->
    [A, _, C] = members(Config),
    [Here, There] = [megaphone_test_move:ask(megaphone_test_cluster:connect(Member)) || Member <- [A, C]],
    ?assertNotEqual(Here, There),
    #{client := Alice, token := Token, old := Old} = parked(Config),
    Why = refused(C, Token),
    ?assertEqual(iolist_to_binary(["the versions differ: ", There, " there, ", Here, " here"]), Why),
    {Why, Stayed} = megaphone_test_move:await_stays(Alice),
    goes_on(Config, Stayed, Old).

%% What the ECM does.

the_ecm_wants_it_to_stay(Config) ->
    #{client := Alice, token := Token, old := Old} = parked(Config),
    {<<"the ECM wants it">>, Stayed} = megaphone_test_move:await_stays(megaphone_test_move:stay(Alice)),
    ?assertEqual(<<"the token is void, or was used">>, refused(second(Config), Token)),
    %% It says nothing where it was not to move.
    goes_on(Config, megaphone_test_move:stay(Stayed), Old).

the_ecm_marks_again(Config) ->
    #{client := Alice, token := First} = parked(Config),
    {Second, Again} = megaphone_test_move:await_token(megaphone_test_move:mark(Alice)),
    ?assertEqual(<<"the token is void, or was used">>, refused(second(Config), First)),
    Stream = take(second(Config), Second),
    _ = megaphone_test_move:go(Stream, megaphone_test_move:await_moved(Again)),
    ok.

%% Confirms that a session for which there is more to read stays.
the_ecm_goes_on_with_documents(Config) ->
    #{client := Alice, old := Old} = parked(Config),
    Sent = megaphone_test_xmpp:send(Alice, "<presence xmlns='jabber:client'/>"),
    {<<"there is more of its client">>, Stayed} = megaphone_test_move:await_stays(Sent),
    goes_on(Config, Stayed, Old).

%% Confirms that a new stream on which anything comes before the session is there is reset, and the session stays.
the_ecm_goes_too_early(Config) ->
    #{client := Alice, old := Old, stream := Stream, old_held := Held} = asked(Config),
    ok = megaphone_test_move:say(#{stream => Stream}, 3),
    ?assertEqual({ended, econnreset}, megaphone_test_move:recv(#{stream => Stream})),
    ok = megaphone_test_cluster:resume(Held),
    {<<"the new session has ended">>, Stayed} = megaphone_test_move:await_stays(Alice),
    goes_on(Config, Stayed, Old).

the_ecm_says_what_means_nothing(Config) ->
    Alice = megaphone_test_cluster:login(first(Config), <<"alice">>, #{}),
    ok = megaphone_test_move:say(megaphone_test_move:state(Alice), 9),
    ?assertEqual({ended, econnreset}, megaphone_test_move:recv(megaphone_test_move:state(Alice))).

%% Others that come meanwhile.

%% Confirms that a client that resumes its session on a new connection gets it from whichever process has it.
a_client_resumes_meanwhile(Config) ->
    #{client := Alice, managed := Managed, new_held := Held} = lent(parked_managed(Config), Config),
    New = megaphone_test_xmpp:authenticate(megaphone_test_session, megaphone_test_cluster:target(first(Config)),
                                           user_of(Alice), #{}),
    %% It waits for the new session.
    Resuming = megaphone_test_xmpp:send(New, resume_element(Managed)),
    ok = megaphone_test_cluster:resume(Held),
    _ = megaphone_test_move:await_moved(Alice),
    {Resumed, _} = megaphone_test_xmpp:recv(Resuming),
    ?assertEqual(<<"resumed">>, megaphone_test_xml:name(Resumed)),
    true = megaphone_test_wait:until("one session to be left",
                                     fun() -> length(megaphone_test_cluster:processes(first(Config), Alice)) =:= 1 end).

%% Confirms that a session which is lent as its node ends the sessions of a trunk is no longer one of them.
the_node_is_told_to_end_its_sessions(Config) ->
    #{client := Alice, old := {A, Old}, stream := Stream, new_held := Held} = lent(Config),
    ok = megaphone_test_cluster:call(A, megaphone_session, shut_down, [Old]),
    ok = megaphone_test_cluster:resume(Held),
    Moved = megaphone_test_move:go(Stream, megaphone_test_move:await_moved(Alice)),
    goes_on(Config, Moved, {second(Config), megaphone_test_cluster:process(second(Config), Moved)}).

%% Confirms that sessions move between two nodes while a third one hangs, and that it has it right once it goes on: who is
%% where, who has left, and what was sent from there by those who had looked before.
a_third_node_hangs(Config) ->
    [A, B, C] = members(Config),
    [Alice, Carol] = [megaphone_test_cluster:login(A, Name, #{}) || Name <- [<<"alice">>, <<"carol">>]],
    Bob = megaphone_test_cluster:login(B, <<"bob">>, #{}),
    Old = megaphone_test_cluster:process(C, Alice),
    OsPid = megaphone_test_ejabberd:os_pid(megaphone_test_cluster:ejabberd(C)),
    megaphone_test_program:signal(OsPid, "STOP"),
    Moved = try
                There = move(Alice, B),
                {Chatted, Bob1} = megaphone_test_xmpp:chat(There, Bob, 3),
                ok = megaphone_test_xmpp:logout(move(Carol, B)),
                Back = move(Chatted, A),
                element(1, megaphone_test_xmpp:chat(Back, Bob1, 3))
            after
                %% As if so much time was over.
                _ = megaphone_test_cluster:call(A, erlang, send, [Old, {'$megaphone', lingered}]),
                megaphone_test_program:signal(OsPid, "CONT")
            end,
    true = megaphone_test_cluster:call(A, erlang, is_process_alive, [Old]),
    ok = route(C, Old, Bob, Moved, <<"late">>),
    {{_, <<"late">>}, Late} = megaphone_test_xmpp:recv_message(Moved),
    There2 = [megaphone_test_cluster:process(A, Late)],
    true = megaphone_test_wait:until("the third node to know where the sessions are",
                                     fun() -> {There2, []} =:= {megaphone_test_cluster:processes(C, Late),
                                                                megaphone_test_cluster:processes(C, Carol)} end),
    megaphone_test_cluster:await_gone({A, Old}).

%% Confirms that a node which is there, and only slow to see the new row, is waited for: otherwise what was sent from there
%% to the old session could be overtaken.
a_third_node_is_slow(Config) ->
    [_, B, C] = members(Config),
    Bob = megaphone_test_cluster:login(B, <<"bob">>, #{}),
    Parked = parked(Config),
    TablesHeld = megaphone_test_cluster:suspend({C, megaphone_test_cluster:call(C, erlang, whereis, [mnesia_tm])}),
    #{client := Alice, old := {A, OldPid}, new := {B, Taker}, stream := Stream, new_held := Held} = lent(Parked, Config),
    ok = megaphone_test_cluster:call(A, megaphone_test_probe, await_calls, [OldPid, {megaphone_move_barrier, ask, 1}, 4]),
    ?assertNot(is_said(B, Taker, kept)),
    ok = route(C, OldPid, Bob, Alice, <<"first">>),
    ok = megaphone_test_cluster:resume(TablesHeld),
    ok = await_said(B, Taker, kept),
    ok = megaphone_test_cluster:resume(Held),
    Moved = megaphone_test_move:go(Stream, megaphone_test_move:await_moved(Alice)),
    {{_, <<"first">>}, Received} = megaphone_test_xmpp:recv_message(Moved),
    _ = megaphone_test_xmpp:chat(Received, Bob, 3),
    ok.

%% Confirms that the session stays where the nodes lose sight of each other, and the other one leaves nothing behind.
the_nodes_lose_each_other(Config) ->
    #{client := Alice, old := {A, OldPid}, new := {B, _} = New, stream := Stream, new_held := Held} = lent(Config),
    ok = lose_each_other(A, B),
    {Why, Stayed} = megaphone_test_move:await_stays(Alice),
    ?assertEqual(<<"the new session's node is gone">>, Why),
    ok = megaphone_test_cluster:resume(Held),
    ok = megaphone_test_yamux:reset(Stream),
    ok = megaphone_test_cluster:await_gone(New),
    [?assertEqual([], [Pid || Pid <- megaphone_test_cluster:processes(Member, Stayed), Pid =/= OldPid])
     || Member <- [A, B]],
    ?assertEqual(OldPid, megaphone_test_cluster:process(A, Stayed)),
    Bob = megaphone_test_cluster:login(A, <<"bob">>, #{}),
    _ = megaphone_test_xmpp:chat(Stayed, Bob, 3),
    %% A token from there is one from nowhere here.
    {Token, _} = megaphone_test_move:await_token(megaphone_test_move:mark(Stayed)),
    ?assertMatch({match, _}, re:run(refused(B, Token), "not in the cluster")).

%% Confirms that the session is the new one where the old one has said so to the ECM alone.
the_nodes_lose_each_other_as_it_moves(Config) ->
    #{client := Alice, new := {B, Taker}, stream := Stream, old_held := OldHeld} = lone(Config),
    ok = megaphone_test_cluster:resume(OldHeld),
    Moved = megaphone_test_move:go(Stream, megaphone_test_move:await_moved(Alice)),
    Bob = megaphone_test_cluster:login(B, <<"bob">>, #{}),
    _ = megaphone_test_xmpp:chat(Moved, Bob, 3),
    ?assertEqual(Taker, megaphone_test_cluster:process(B, Moved)).

%% Confirms that the new one leaves nothing behind where the ECM gives it up.
the_nodes_lose_each_other_and_the_stream_ends(Config) ->
    #{client := Alice, new := {B, _} = New, stream := Stream} = lone(Config),
    ok = megaphone_test_yamux:reset(Stream),
    ok = megaphone_test_cluster:await_gone(New),
    ?assertEqual([], megaphone_test_cluster:processes(B, Alice)).

%% Confirms the same where the ECM says nothing for a minute, which the case does not wait for.
the_nodes_lose_each_other_and_nobody_says_go(Config) ->
    #{client := Alice, new := {B, Taker} = New, stream := Stream} = lone(Config),
    ok = megaphone_test_cluster:call(B, megaphone_test_probe, time_out, [Taker]),
    ?assertEqual(<<"the old session can't be reached, and the ECM has not said go">>,
                 megaphone_test_move:await_refused(Stream)),
    ok = megaphone_test_cluster:await_gone(New),
    ?assertEqual([], megaphone_test_cluster:processes(B, Alice)).

%% The new session is ready, and does not hear from the old one any more, which is held still and is about to say moved.
lone(Config) ->
    #{old := {A, OldPid}, new := {B, Taker}, new_held := NewHeld} = Lent = lent(Config),
    ok = await_said(B, Taker, kept),
    OldHeld = megaphone_test_cluster:suspend({A, OldPid}),
    ok = megaphone_test_cluster:resume(NewHeld),
    ok = await_said(A, OldPid, ready),
    ok = lose_each_other(A, B),
    IsLone = fun() -> megaphone_test_cluster:call(B, megaphone_test_probe, is_lone, [Taker]) end,
    true = megaphone_test_wait:until("the new session to know that it is alone", IsLone),
    Lent#{old_held := OldHeld}.

%% A process that is held still is told so.
await_said(Member, Process, What) ->
    true = megaphone_test_wait:until(io_lib:format("the word ~p", [What]), fun() -> is_said(Member, Process, What) end),
    ok.

%% It was.
is_said(Member, Process, What) ->
    {messages, Messages} = megaphone_test_cluster:call(Member, erlang, process_info, [Process, messages]),
    lists:any(fun({megaphone_move, _, Said}) when is_tuple(Said) -> element(1, Said) =:= What;
                 ({megaphone_move, _, Said}) -> Said =:= What;
                 (_) -> false
              end, Messages).

lose_each_other(A, B) ->
    [true = megaphone_test_cluster:call(Member, erlang, set_cookie, [megaphone_test_cluster:node_of(Other), Cookie])
     || {Member, Other, Cookie} <- [{A, B, one}, {B, A, another}]],
    true = megaphone_test_cluster:call(A, erlang, disconnect_node, [megaphone_test_cluster:node_of(B)]),
    ok.

%% What the cases share.

members(Config) ->
    proplists:get_value(members, Config).

first(Config) ->
    hd(members(Config)).

second(Config) ->
    lists:nth(2, members(Config)).

move(Client, Member) ->
    megaphone_test_move:move(Client, megaphone_test_cluster:connect(Member), megaphone_test_session:header()).

take(Member, Token) ->
    megaphone_test_move:take(megaphone_test_cluster:connect(Member), megaphone_test_session:header(), Token).

refused(Member, Token) ->
    megaphone_test_move:await_refused(take(Member, Token)).

trunk_of(Client) ->
    megaphone_test_yamux:trunk(megaphone_test_session:stream(megaphone_test_move:state(Client))).

%% The session is at the first node, and its token is out.
parked(Config) ->
    park(Config, megaphone_test_cluster:login(first(Config), <<"alice">>, #{})).

park(Config, Client) ->
    Old = {first(Config), megaphone_test_cluster:process(first(Config), Client)},
    {Token, Parked} = megaphone_test_move:await_token(megaphone_test_move:mark(Client)),
    #{client => Parked, token => Token, old => Old}.

%% The same with stream management, and one message that the client has not acknowledged.
parked_managed(Config) ->
    A = first(Config),
    Managed = megaphone_test_resumption:enable(megaphone_test_cluster:login(A, <<"alice">>, #{})),
    Bob = megaphone_test_cluster:login(A, <<"bob">>, #{}),
    _ = megaphone_test_xmpp:send_message(Bob, megaphone_test_resumption:jid(Managed), <<"unacknowledged">>),
    #{client := Client, handled := Handled} = Received = megaphone_test_resumption:recv_messages(Managed, 1),
    (park(Config, Client))#{managed => Received#{handled := Handled - 1}}.

%% The new session has asked the old one, which is held still.
asked(Config) ->
    asked(parked(Config), Config).

asked(#{token := Token, old := {A, OldPid}} = Parked, Config) ->
    B = second(Config),
    Held = megaphone_test_cluster:suspend({A, OldPid}),
    Before = megaphone_test_cluster:call(B, megaphone_test_probe, sessions, []),
    Stream = take(B, Token),
    Waits = fun() -> {message_queue_len, 0}
                         =/= megaphone_test_cluster:call(A, erlang, process_info, [OldPid, message_queue_len]) end,
    true = megaphone_test_wait:until("the new session to ask for the old one", Waits),
    [Taker] = megaphone_test_cluster:call(B, megaphone_test_probe, sessions, []) -- Before,
    Parked#{stream => Stream, new => {B, Taker}, old_held => Held}.

%% The session is lent to the new one, which is held still.
lent(Config) ->
    lent(parked(Config), Config).

lent(Parked, Config) ->
    #{new := {B, Taker} = New, old_held := OldHeld} = Asked = asked(Parked, Config),
    Held = megaphone_test_cluster:suspend(New),
    ok = megaphone_test_cluster:resume(OldHeld),
    %% The row is its own by then.
    ok = await_said(B, Taker, lent),
    Asked#{new_held => Held}.

%% The session is that process's, both ways work, and it can move after all.
goes_on(Config, Client, {Member, Process}) ->
    [?assertEqual(Process, megaphone_test_cluster:process(Other, Client)) || Other <- [first(Config), Member]],
    Bob = megaphone_test_cluster:login(first(Config), <<"bob">>, #{}),
    {Chatted, _} = megaphone_test_xmpp:chat(Client, Bob, 5),
    {Token, Parked} = megaphone_test_move:await_token(megaphone_test_move:mark(Chatted)),
    Stream = take(first(Config), Token),
    Moved = megaphone_test_move:go(Stream, megaphone_test_move:await_moved(Parked)),
    _ = megaphone_test_xmpp:chat(Moved, Bob, 5),
    ok.

%% The token is good for longer than the others wait.
await_stays_long(#{state := #{stream := Stream}} = Client) ->
    {ok, _} = megaphone_test_yamux:peek(Stream, 1, 30_000),
    megaphone_test_move:await_stays(Client).

user_of(Client) ->
    hd(binary:split(megaphone_test_xmpp:jid(Client), <<"@">>)).

route(Member, Process, From, To, Body) ->
    Stanza = {xmlel, <<"message">>, [{<<"from">>, megaphone_test_xmpp:jid(From)}, {<<"to">>, megaphone_test_xmpp:jid(To)},
                                     {<<"type">>, <<"chat">>}],
              [{xmlel, <<"body">>, [], [{xmlcdata, Body}]}]},
    Decoded = megaphone_test_cluster:call(Member, xmpp, decode, [Stanza, <<"jabber:client">>, []]),
    true = megaphone_test_cluster:call(Member, ejabberd_c2s, route, [Process, {route, Decoded}]),
    ok.

%% ejabberd has seen that the trunk is gone: it has one less.
close_trunk(Config, Client) ->
    Trunks = fun() -> length(megaphone_test_cluster:call(first(Config), megaphone_nif, trunks, [])) end,
    Before = Trunks(),
    ok = megaphone_test_yamux:close(trunk_of(Client)),
    true = megaphone_test_wait:until("ejabberd to lose the trunk", fun() -> Trunks() < Before end),
    ok.

%% The session waits for its client to come back.
await_pending(Config, Client) ->
    Pending = fun() -> [] =/= [Process || Process <- megaphone_test_cluster:processes(first(Config), Client),
                                          Member <- members(Config),
                                          megaphone_test_cluster:node_of(Member) =:= node(Process),
                                          megaphone_test_cluster:call(Member, megaphone_test_probe, is_pending, [Process])] end,
    true = megaphone_test_wait:until("the session to wait for its client", Pending).

resume_element(#{id := Id, handled := Handled}) ->
    ["<resume xmlns='urn:xmpp:sm:3' h='", integer_to_binary(Handled), "' previd='", Id, "'/>"].

%% The client comes back to the first node and gets what it had not acknowledged, once.
resumes(Config, #{client := Client} = Managed) ->
    Second = erlang:system_time(second),
    true = megaphone_test_wait:until("the next second", fun() -> erlang:system_time(second) > Second end),
    New = megaphone_test_xmpp:authenticate(megaphone_test_session, megaphone_test_cluster:target(first(Config)),
                                           user_of(Client), #{}),
    Resumed = megaphone_test_resumption:resume(Managed, New),
    {alive, Alive} = megaphone_test_resumption:ping(Resumed),
    ?assertEqual([<<"unacknowledged">>, <<"unacknowledged">>], megaphone_test_resumption:received(Alive)),
    megaphone_test_resumption:logout(Alive).
