%% Two ejabberd nodes of one cluster behind an ECM: the sessions of one leave it while others write to them, and their
%% clients stay connected. All of these are real.
-module(megaphone_ecm_move_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([to_another_trunk_of_the_node/1, to_a_listener_that_was_reloaded/1, to_another_node/1, to_a_node_that_came_back/1, from_a_node_in_maintenance/1,
         between_two_requests/1]).

%% How many messages each client gets, and after how many its node is told to drain.
-define(MESSAGES, 400).
-define(BEFORE, 100).
-define(TIMEOUT, 20_000).

suite() ->
    [{timetrap, {minutes, 2}}].

all() ->
    [to_another_trunk_of_the_node, to_a_listener_that_was_reloaded, to_another_node, to_a_node_that_came_back, from_a_node_in_maintenance,
     between_two_requests].

init_per_testcase(Case, Config) ->
    Dir = filename:join(proplists:get_value(priv_dir, Config), atom_to_list(Case)),
    Members = megaphone_test_cluster:start(filename:join(Dir, "cluster"), [#{}, #{}], #{}),
    [Http, Xmpp] = megaphone_test_port:free(2),
    %% The path of a Unix socket has no more than some hundred bytes, of which the case's folder alone takes more.
    Socket = filename:join("/tmp", "megaphone-move-" ++ os:getpid() ++ ".sock"),
    Ecm = #{dir => filename:join(Dir, "ecm"), port => Http, trunk_port => 0,
            config => ecm_config(Http, Xmpp, Socket, Members)},
    {ok, Pid} = megaphone_test_ecm:start(Ecm),
    [megaphone_test_ecm:await_output(Pid, ["trunk to ", Name, " is up"]) || Name <- ["a", "b"]],
    [{members, Members}, {ecm, Pid}, {http, Http}, {xmpp, Xmpp}, {socket, Socket}, {dir, Dir} | Config].

end_per_testcase(_Case, Config) ->
    ok = megaphone_test_ecm:stop(proplists:get_value(ecm, Config)),
    megaphone_test_cluster:stop(proplists:get_value(members, Config)).

ecm_config(Http, Xmpp, Socket, Members) ->
    ["[log]\nlevel = \"debug\"\n",
     "[nodes]\nslow_start = \"1s\"\n[control]\nsocket = \"", Socket, "\"\n",
     [["[[node]]\nname = \"", Name, "\"\naddress = \"127.0.0.1:", integer_to_list(Port), "\"\n"]
      || {Name, Member} <- lists:zip(["a", "b"], Members),
         {_, Port} <- [megaphone_test_cluster:address(Member)]],
     "[trunk]\ntrunks = 1\nbackoff_max = \"200ms\"\n",
     "[[listener]]\naddress = \"127.0.0.1:", integer_to_list(Http), "\"\n",
     "[[listener]]\nkind = \"xmpp\"\nstarttls = \"off\"\naddress = \"127.0.0.1:", integer_to_list(Xmpp), "\"\n"].

%% Confirms it where the node only wants another trunk, as when its listener is reloaded.
to_another_trunk_of_the_node(Config) ->
    [A, B] = proplists:get_value(members, Config),
    Clients = while_they_leave(Config, fun() -> ok = megaphone_test_cluster:call(A, megaphone_drain, begin_all, []) end),
    Nodes = lists:usort([node_of(B, Client) || Client <- Clients]),
    ?assertEqual(lists:sort([megaphone_test_cluster:node_of(Member) || Member <- [A, B]]), Nodes).

%% Confirms it where the node's configuration is reloaded, with another option of the listener; and that the trunk which
%% the old one had accepted ends then.
to_a_listener_that_was_reloaded(Config) ->
    [A, B] = proplists:get_value(members, Config),
    Trunks = fun() -> [Reader || #{reader := Reader} <- megaphone_test_cluster:call(A, megaphone_nif, trunks, [])] end,
    [Old] = Trunks(),
    Clients = while_they_leave(Config, fun() -> megaphone_test_cluster:reload(A, "    hibernate_after: 1\n") end),
    Nodes = lists:usort([node_of(B, Client) || Client <- Clients]),
    ?assertEqual(lists:sort([megaphone_test_cluster:node_of(Member) || Member <- [A, B]]), Nodes),
    true = megaphone_test_wait:until("the old trunk to end", fun() -> not lists:member(Old, Trunks()) end).

%% Confirms it where the node takes nobody any more, as when it is about to stop.
to_another_node(Config) ->
    [A, B] = proplists:get_value(members, Config),
    Clients = while_they_leave(Config, fun() -> take_nobody(A) end),
    Nodes = lists:usort([node_of(B, Client) || Client <- Clients]),
    ?assertEqual([megaphone_test_cluster:node_of(B)], Nodes).

%% Confirms that a node that was drained gets its share again, though nobody comes or goes, and that no session moves
%% twice for it.
to_a_node_that_came_back(Config) ->
    [A, B] = proplists:get_value(members, Config),
    Clients = while_they_leave(Config, fun() -> ctl(Config, ["drain", "a"]) end),
    On = fun(Member) ->
                 Node = megaphone_test_cluster:node_of(Member),
                 length([Client || Client <- Clients, node_of(B, Client) =:= Node])
         end,
    ?assertEqual({0, length(Clients)}, {On(A), On(B)}),
    ctl(Config, ["ready", "a"]),
    Half = length(Clients) div 2,
    Over = io_lib:format("no more sessions move to nodes that have fewer than their share.*moved=~b ", [Half]),
    _ = megaphone_test_ecm:await_output(proplists:get_value(ecm, Config), Over),
    ?assertEqual({Half, Half}, {On(A), On(B)}),
    Senders = [spawn_sender(B, megaphone_test_xmpp:jid(Client)) || Client <- Clients],
    Received = [receive_all(Client, 1, ?MESSAGES) || Client <- Clients],
    [answer(Client, Sender) || {Client, Sender} <- lists:zip(Received, Senders)].

%% Confirms that the sessions of a node that is put in maintenance move, and that its trunks end then.
from_a_node_in_maintenance(Config) ->
    [_, B] = proplists:get_value(members, Config),
    Clients = while_they_leave(Config, fun() -> ctl(Config, ["maintenance", "a"]) end),
    Nodes = lists:usort([node_of(B, Client) || Client <- Clients]),
    ?assertEqual([megaphone_test_cluster:node_of(B)], Nodes),
    _ = megaphone_test_ecm:await_output(proplists:get_value(ecm, Config),
                                        "node a: its trunks end after .* no session is left"),
    ok.

%% Confirms that BOSH sessions whose clients have no request at the ECM move when their node stops, which waits no
%% longer than five seconds in which none does; and that messages which wait for some of them don't hold them up.
between_two_requests(Config) ->
    [A, B] = proplists:get_value(members, Config),
    Clients = [login(Config, megaphone_test_bosh) || _ <- lists:seq(1, 60)],
    Leaving = [Client || Client <- Clients, node_of(B, Client) =:= megaphone_test_cluster:node_of(A)],
    {Busy, _} = lists:split(length(Clients) div 2, Clients),
    Sender = megaphone_test_cluster:login(B, <<"sender">>, #{}),
    Say = fun(Text, To, From) ->
                  lists:foldl(fun(Client, Saying) ->
                                      megaphone_test_xmpp:send_message(Saying, megaphone_test_xmpp:jid(Client), Text)
                              end, From, To)
          end,
    Said = Say(<<"before">>, Busy, Sender),
    Halt = megaphone_test_ejabberd:start_halt(megaphone_test_cluster:ejabberd(A)),
    Moved = io_lib:format("sessions have finished leaving a trunk.*moved=~b failed=0 left=0", [length(Leaving)]),
    _ = megaphone_test_ecm:await_output(proplists:get_value(ecm, Config), Moved),
    ok = megaphone_test_ejabberd:await_halt(Halt),
    _ = Say(<<"after">>, Clients, Said),
    Texts = fun(Client) -> [<<"before">> || lists:member(Client, Busy)] ++ [<<"after">>] end,
    [lists:foldl(fun(Text, Receiving) ->
                         {{_, Received}, Next} = megaphone_test_xmpp:recv_message(Receiving, ?TIMEOUT),
                         ?assertEqual(Text, Received),
                         Next
                 end, Client, Texts(Client)) || Client <- Clients].

ctl(Config, Words) ->
    Log = filename:join(proplists:get_value(dir, Config), "ctl.log"),
    Arguments = ["ctl", "--socket", proplists:get_value(socket, Config) | Words],
    {0, _} = megaphone_test_program:run(megaphone_test_ecm:path(), Arguments, #{log => Log}),
    ok.

take_nobody(Member) ->
    ok = megaphone_test_cluster:call(Member, megaphone_ports, leave, []),
    ok = megaphone_test_cluster:call(Member, megaphone_drain, begin_all, []),
    [megaphone_test_cluster:call(Member, megaphone_ejabberd, close_listener, [EndPoint, Module])
     || {EndPoint, Module, _} <- megaphone_test_cluster:call(Member, megaphone_ejabberd, listeners,
                                                             [megaphone_listener])],
    ok.

%% Clients of each kind get messages, of which each comes once and in order, while theirs have to leave; then they
%% write too.
while_they_leave(Config, Leave) ->
    [A, B] = proplists:get_value(members, Config),
    Ecm = proplists:get_value(ecm, Config),
    Transports = [Transport || Transport <- [megaphone_test_c2s, megaphone_test_websocket, megaphone_test_bosh],
                               _ <- lists:seq(1, 4)],
    Clients = [login(Config, Transport) || Transport <- Transports],
    Before = length([Client || Client <- Clients,
                               node_of(B, Client) =:= megaphone_test_cluster:node_of(A)]),
    ?assert(Before > 0),
    Senders = [spawn_sender(B, megaphone_test_xmpp:jid(Client)) || Client <- Clients],
    Some = [receive_all(Client, 1, ?BEFORE) || Client <- Clients],
    ok = Leave(),
    All = [receive_all(Client, ?BEFORE + 1, ?MESSAGES) || Client <- Some],
    Moved = io_lib:format("moved=~b", [Before]),
    _ = megaphone_test_ecm:await_output(Ecm, ["sessions have finished leaving a trunk.*", Moved]),
    [answer(Client, Sender) || {Client, Sender} <- lists:zip(All, Senders)].

login(Config, megaphone_test_c2s = Transport) ->
    login(Config, Transport, {{127, 0, 0, 1}, proplists:get_value(xmpp, Config), []});
login(Config, Transport) ->
    login(Config, Transport, {{127, 0, 0, 1}, proplists:get_value(http, Config), []}).

login(Config, Transport, Target) ->
    [A, _] = proplists:get_value(members, Config),
    megaphone_test_xmpp:login(Transport, Target, megaphone_test_cluster:user(A, <<"alice">>)).

node_of(Member, Client) ->
    node(megaphone_test_cluster:process(Member, Client)).

receive_all(Client, From, To) ->
    lists:foldl(fun(Number, Receiving) ->
                        {{_, Body}, Received} = megaphone_test_xmpp:recv_message(Receiving, ?TIMEOUT),
                        ?assertEqual(integer_to_binary(Number), Body),
                        Received
                end, Client, lists:seq(From, To)).

%% It sends all messages, in a process and on a trunk of its own, and then waits for one.
spawn_sender(Member, To) ->
    Self = self(),
    spawn_link(fun() ->
                       Client = megaphone_test_cluster:login(Member, <<"sender">>, #{}),
                       Self ! {self(), megaphone_test_xmpp:jid(Client)},
                       Sent = lists:foldl(fun(Number, Sending) ->
                                                  megaphone_test_xmpp:send_message(Sending, To,
                                                                                   integer_to_binary(Number))
                                          end, Client, lists:seq(1, ?MESSAGES)),
                       {{From, <<"thanks">>}, _} = megaphone_test_xmpp:recv_message(Sent, ?TIMEOUT),
                       Self ! {self(), thanked, From}
               end).

answer(Client, Sender) ->
    Jid = megaphone_test_xmpp:jid(Client),
    To = receive {Sender, Sending} -> Sending after ?TIMEOUT -> ct:fail("a sender has not logged in") end,
    Thanked = megaphone_test_xmpp:send_message(Client, To, <<"thanks">>),
    receive {Sender, thanked, Jid} -> Thanked after ?TIMEOUT -> ct:fail("a client's message does not come") end.
