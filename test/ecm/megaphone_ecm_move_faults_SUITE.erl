%% Two ejabberd nodes of one cluster behind an ECM, and one of the three dies, hangs or loses its trunk while the clients'
%% sessions move from one node to the other. All of these are real, but for a proxy on the way of each trunk, which holds
%% the sessions at one step of the move.
%%
%% There are two results: a client notices nothing; or its connection is broken, which it is told at once, and with
%% stream management it resumes and has lost nothing. In none is anything doubled.
-module(megaphone_ecm_move_faults_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([the_new_node_dies_before_it_takes/1, the_new_node_hangs/1, the_new_trunk_breaks_before_it_takes/1,
         the_new_trunk_breaks_behind_moved/1, the_old_node_dies_with_its_token_out/1,
         the_old_node_hangs_with_its_token_out/1, the_old_trunk_breaks_before_the_token_comes/1,
         the_old_trunk_breaks_with_the_token_out/1, the_old_trunk_breaks_before_moved_comes/1,
         the_ecm_dies_with_the_token_out/1, the_ecm_dies_behind_moved/1, the_clients_leave_with_the_token_out/1,
         the_clients_vanish_with_the_token_out/1]).

-import(megaphone_test_two_nodes, [ctl/2, target/2, await_trunks/1, next_second/0]).

%% A trunk whose other side hangs counts as lost after 45 seconds.
-define(HANG_TIMEOUT, 60_000).
%% It looks for silent BOSH clients every 10 seconds.
-define(VANISH_TIMEOUT, 30_000).

suite() ->
    [{timetrap, {minutes, 2}}].

all() ->
    [the_new_node_dies_before_it_takes, the_new_node_hangs, the_new_trunk_breaks_before_it_takes,
     the_new_trunk_breaks_behind_moved, the_old_node_dies_with_its_token_out,
     the_old_node_hangs_with_its_token_out, the_old_trunk_breaks_before_the_token_comes,
     the_old_trunk_breaks_with_the_token_out, the_old_trunk_breaks_before_moved_comes,
     the_ecm_dies_with_the_token_out, the_ecm_dies_behind_moved, the_clients_leave_with_the_token_out,
     the_clients_vanish_with_the_token_out].

init_per_suite(Config) ->
    Dir = filename:join([proplists:get_value(priv_dir, Config), ?MODULE, "cluster"]),
    [A, B] = megaphone_test_cluster:start(Dir, [#{}, #{}], #{modules => "  mod_offline: {}\n"}),
    [{a, A}, {b, B} | Config].

end_per_suite(Config) ->
    megaphone_test_cluster:stop([get(Name, Config) || Name <- [a, b]]).

%% Clients of each kind, with stream management and without, have their sessions at the first node, and each has got one
%% message.
init_per_testcase(Case, Config) ->
    [A, B] = [get(Name, Config) || Name <- [a, b]],
    [ProxyA, ProxyB] = [megaphone_test_trunk_proxy:start(megaphone_test_cluster:address(Member)) || Member <- [A, B]],
    Dir = filename:join([proplists:get_value(priv_dir, Config), ?MODULE, Case]),
    Stage = megaphone_test_two_nodes:start_ecm([megaphone_test_trunk_proxy:port(Proxy) || Proxy <- [ProxyA, ProxyB]],
                                               more(Case),
                                               [{ecm_dir, Dir}, {proxy_a, ProxyA}, {proxy_b, ProxyB} | Config]),
    ok = ctl(["drain", "b"], Stage),
    [{clients, [login(Stage, Kind) || Kind <- kinds()]} | Stage].

%% The nodes run again for the next case.
end_per_testcase(_Case, Config) ->
    Members = [get(Name, Config) || Name <- [a, b]],
    [case megaphone_test_ejabberd:os_pid(megaphone_test_cluster:ejabberd(Member)) of
         none -> ok = megaphone_test_ejabberd:restart(megaphone_test_cluster:ejabberd(Member));
         OsPid -> megaphone_test_program:signal(OsPid, "CONT")
     end || Member <- Members],
    [megaphone_test_cluster:await_members(Member, 2) || Member <- Members],
    ok = megaphone_test_two_nodes:stop_ecm(Config),
    [ok = megaphone_test_trunk_proxy:stop(get(Proxy, Config)) || Proxy <- [proxy_a, proxy_b]],
    ok.

%% Of a BOSH client that has vanished the ECM hears nothing for so long.
more(the_clients_vanish_with_the_token_out) -> "[bosh]\nmax_inactivity = \"2s\"\n";
more(_Case) -> "".

%% The clients notice nothing.

the_new_node_dies_before_it_takes(Config) ->
    Held = hold(takeover, a, Config),
    ok = megaphone_test_ejabberd:kill(ejabberd(b, Config)),
    notice_nothing(Held, Config).

%% Confirms that sessions stay which another node does not take within 15 seconds.
the_new_node_hangs(Config) ->
    Held = hold(takeover, a, Config),
    signal(b, "STOP", Config),
    ok = megaphone_test_trunk_proxy:arm(get(proxy_a, Config), stays, length(kinds())),
    ok = megaphone_test_trunk_proxy:release(get(proxy_b, Config)),
    ok = megaphone_test_trunk_proxy:await_held(get(proxy_a, Config)),
    ok = megaphone_test_trunk_proxy:release(get(proxy_a, Config)),
    notice_nothing(Held, Config).

the_new_trunk_breaks_before_it_takes(Config) ->
    Held = hold(takeover, a, Config),
    ok = megaphone_test_trunk_proxy:cut(get(proxy_b, Config)),
    notice_nothing(Held, Config).

%% The clients' connections are broken.

the_new_trunk_breaks_behind_moved(Config) ->
    Held = hold(go, a, Config),
    ok = megaphone_test_trunk_proxy:cut(get(proxy_b, Config)),
    resume(are_told(Held), Config).

%% Confirms that what only that node has had is lost, and nothing else.
the_old_node_dies_with_its_token_out(Config) ->
    Held = hold(takeover, b, Config),
    ok = megaphone_test_ejabberd:kill(ejabberd(a, Config)),
    ok = megaphone_test_trunk_proxy:release(get(proxy_b, Config)),
    log_in_again(are_told(Held), Config).

%% Confirms that it is so as well if the node goes on after that.
the_old_node_hangs_with_its_token_out(Config) ->
    Held = hold(takeover, b, Config),
    signal(a, "STOP", Config),
    ok = megaphone_test_trunk_proxy:release(get(proxy_b, Config)),
    _ = megaphone_test_ecm:await_output(get(ecm, Config), "no trunk to a: ", ?HANG_TIMEOUT),
    Told = are_told(Held),
    signal(a, "CONT", Config),
    resume(Told, Config).

the_old_trunk_breaks_before_the_token_comes(Config) ->
    Held = hold(token, b, Config),
    ok = megaphone_test_trunk_proxy:cut(get(proxy_a, Config)),
    resume(are_told(Held), Config).

the_old_trunk_breaks_with_the_token_out(Config) ->
    Held = hold(takeover, b, Config),
    ok = megaphone_test_trunk_proxy:cut(get(proxy_a, Config)),
    Told = are_told(Held),
    ok = megaphone_test_trunk_proxy:release(get(proxy_b, Config)),
    resume(Told, Config).

%% Confirms that the sessions, which are at the new node by then, wait there for their clients.
the_old_trunk_breaks_before_moved_comes(Config) ->
    Held = hold(moved, b, Config),
    ok = megaphone_test_trunk_proxy:cut(get(proxy_a, Config)),
    resume(are_told(Held), Config).

the_ecm_dies_with_the_token_out(Config) ->
    the_ecm_dies(hold(takeover, b, Config), Config).

the_ecm_dies_behind_moved(Config) ->
    the_ecm_dies(hold(go, b, Config), Config).

the_ecm_dies(Held, Config) ->
    ok = megaphone_test_ecm:kill(get(ecm, Config)),
    Told = are_told(Held),
    ok = megaphone_test_ecm:restart(get(ecm, Config)),
    ok = await_trunks(Config),
    resume(Told, Config).

%% The clients go.

%% Confirms that clients which close their streams get an answer, and leave no session behind.
the_clients_leave_with_the_token_out(Config) ->
    {Clients, _Bob} = hold(takeover, b, Config),
    Leaving = [{Kind, close_stream(Client)} || {Kind, Client} <- Clients],
    ok = megaphone_test_trunk_proxy:release(get(proxy_b, Config)),
    _ = are_told({Leaving, none}),
    [await_sessions(0, Client, Config) || {_, Client} <- Clients],
    ok.

%% Confirms that clients which are gone without a word have left, or may resume.
the_clients_vanish_with_the_token_out(Config) ->
    {Clients, Bob} = hold(takeover, b, Config),
    [megaphone_test_resumption:drop(Client) || {_, Client} <- Clients],
    ok = megaphone_test_trunk_proxy:release(get(proxy_b, Config)),
    resume({Clients, Bob}, Config).

%% Steps.

kinds() ->
    [{Transport, Managed} || Transport <- megaphone_test_two_nodes:transports(),
                             Managed <- [managed, unmanaged]].

login(Config, {Transport, Managed} = Kind) ->
    User = megaphone_test_cluster:user(get(a, Config), <<"alice">>),
    Client = megaphone_test_xmpp:login(Transport, target(Transport, Config), User),
    ?assertEqual(node_of(a, Config), node(megaphone_test_cluster:process(get(a, Config), Client))),
    {Kind, case Managed of
               managed -> megaphone_test_resumption:enable(Client);
               unmanaged -> megaphone_test_resumption:without(Client)
           end}.

%% The clients' sessions move to the second node, and all are at that step, where they are held. Each has got two
%% messages of a client at the node `bob' by then, or is about to get the second one.
hold(Step, BobAt, Config) ->
    Bob = megaphone_test_cluster:login(get(BobAt, Config), <<"bob">>, #{}),
    Clients = get(clients, Config),
    Told = send(Clients, <<"before">>, Bob),
    Before = [{Kind, poll(megaphone_test_resumption:recv_messages(Client, 1))} || {Kind, Client} <- Clients],
    Proxy = get(proxy_of(Step), Config),
    ok = megaphone_test_trunk_proxy:arm(Proxy, Step, length(Clients)),
    ok = ctl(["ready", "b"], Config),
    ok = ctl(["drain", "a"], Config),
    ok = megaphone_test_trunk_proxy:await_held(Proxy),
    {Before, send(Before, <<"during">>, Told)}.

proxy_of(Step) when Step =:= takeover; Step =:= go -> proxy_b;
proxy_of(_) -> proxy_a.

poll(#{client := Client} = Resumable) ->
    Resumable#{client := megaphone_test_two_nodes:poll(Client)}.

send(Clients, Body, Bob) ->
    lists:foldl(fun({_, Client}, Sender) ->
                        megaphone_test_xmpp:send_message(Sender, megaphone_test_resumption:jid(Client), Body)
                end, Bob, Clients).

%% Confirms that all goes on, and that each message comes once.
notice_nothing({Clients, Bob}, Config) ->
    Told = send(Clients, <<"after">>, Bob),
    Alive = [{Kind, has_all(Client, Config)} || {Kind, Client} <- Clients],
    all_write(Alive, Told).

has_all(Client, Config) ->
    {alive, Alive} = megaphone_test_resumption:ping(megaphone_test_resumption:recv_messages(Client, 3)),
    ?assertEqual([<<"before">>, <<"during">>, <<"after">>], megaphone_test_resumption:received(Alive)),
    await_sessions(1, Alive, Config),
    Alive.

%% What each of them writes comes once; then they log out.
all_write(Clients, Bob) ->
    To = megaphone_test_xmpp:jid(Bob),
    Writers = [megaphone_test_resumption:send_message(Client, To, <<"thanks">>) || {_, Client} <- Clients],
    {Froms, _} = lists:mapfoldl(fun(_, Receiving) ->
                                        {{From, <<"thanks">>}, Received} = megaphone_test_xmpp:recv_message(Receiving),
                                        {From, Received}
                                end, Bob, Writers),
    ?assertEqual(lists:sort([megaphone_test_resumption:jid(Writer) || Writer <- Writers]), lists:sort(Froms)),
    lists:foreach(fun megaphone_test_resumption:logout/1, Writers).

%% The connections end by themselves.
are_told({Clients, Bob}) ->
    {[{Kind, element(2, megaphone_test_resumption:drain(Client))} || {Kind, Client} <- Clients], Bob}.

close_stream(#{client := #{transport := Transport, state := State} = Client} = Resumable) ->
    Closing = case Transport of
                  megaphone_test_bosh -> megaphone_test_bosh:post(State, [{"type", "terminate"}], "");
                  megaphone_test_c2s -> {ok, Sent} = Transport:send(State, "</stream:stream>"), Sent;
                  megaphone_test_websocket ->
                      {ok, Sent} = Transport:send(State, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"),
                      Sent
              end,
    Resumable#{client := megaphone_test_xmpp:update(Client, Closing)}.

%% Confirms that those with stream management come back with their sessions and all their messages, and the others as new
%% ones, with no message for a second time.
resume({Clients, Bob}, Config) ->
    ok = next_second(),
    Back = [{Kind, come_back(Kind, Client, Config)} || {Kind, Client} <- Clients],
    all_write(Back, Bob).

come_back({Transport, managed}, Client, Config) ->
    New = megaphone_test_xmpp:authenticate(Transport, target(Transport, Config), megaphone_test_two_nodes:user_of(maps:get(client, Client)), #{}),
    Received = megaphone_test_resumption:recv_messages(megaphone_test_resumption:resume(Client, New), 2),
    {alive, Alive} = megaphone_test_resumption:ping(Received),
    ?assertEqual([<<"before">>, <<"during">>], megaphone_test_resumption:received(Alive)),
    await_sessions(1, Alive, Config),
    Alive;
come_back({Transport, unmanaged}, Client, Config) ->
    await_sessions(0, Client, Config),
    log_in(Transport, Client, Config).

log_in_again({Clients, Bob}, Config) ->
    all_write([{Kind, log_in(Transport, Client, Config)} || {{Transport, _} = Kind, Client} <- Clients], Bob).

log_in(Transport, Client, Config) ->
    New = megaphone_test_xmpp:login(Transport, target(Transport, Config), megaphone_test_two_nodes:user_of(maps:get(client, Client))),
    {alive, Alive} = megaphone_test_resumption:ping(megaphone_test_resumption:without(New)),
    All = megaphone_test_resumption:received(Client) ++ megaphone_test_resumption:received(Alive),
    ?assertEqual(lists:usort(All), lists:sort(All)),
    Alive.

%% The nodes agree on how many sessions there are with the client's resource.
await_sessions(Count, Client, Config) ->
    What = fun() -> io_lib:format("~b sessions of ~ts, not ~p", [Count, megaphone_test_resumption:jid(Client),
                                                                sessions(Client, Config)]) end,
    megaphone_test_wait:until(What, fun() -> length(sessions(Client, Config)) =:= Count end, ?VANISH_TIMEOUT).

sessions(#{client := Client}, Config) ->
    lists:usort(lists:append([megaphone_test_cluster:processes(get(Name, Config), Client)
                              || Name <- [a, b], is_running(Name, Config)])).

%% Neither killed nor stopped.
is_running(Name, Config) ->
    case megaphone_test_ejabberd:os_pid(ejabberd(Name, Config)) of
        none ->
            false;
        OsPid ->
            {ok, Stat} = file:read_file(["/proc/", OsPid, "/stat"]),
            re:run(Stat, "\\) T ", [{capture, none}]) =:= nomatch
    end.

signal(Name, Signal, Config) ->
    megaphone_test_program:signal(megaphone_test_ejabberd:os_pid(ejabberd(Name, Config)), Signal).

ejabberd(Name, Config) ->
    megaphone_test_cluster:ejabberd(get(Name, Config)).

node_of(Name, Config) ->
    megaphone_test_cluster:node_of(get(Name, Config)).

get(Name, Config) ->
    proplists:get_value(Name, Config).
