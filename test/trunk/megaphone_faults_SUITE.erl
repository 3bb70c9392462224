%% What goes wrong in operation: a trunk is cut, the ECM or ejabberd is killed, stopped or restarted, a
%% process crashes, a client leaves in the middle, the NIF is missing.
-module(megaphone_faults_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_group/2, end_per_group/2, init_per_testcase/2,
         end_per_testcase/2]).
%% The trunk.
-export([trunk_cut_in_mid_request/1, trunk_cut_under_a_websocket/1, trunk_cut_under_bosh/1,
         trunk_process_crashes/1, writer_process_crashes/1, owner_process_crashes/1]).
%% The ECM.
-export([ecm_killed/1, ecm_restarted/1, ecm_finishes_answers/1, ecm_closes_idle_clients/1,
         ecm_gives_up_at_its_deadline/1, wrong_ecm_config/1, ecm_port_in_use/1, slow_request/1,
         too_many_clients/1]).
%% ejabberd.
-export([ejabberd_stopped_under_the_ecm/1, ejabberd_killed/1, ejabberd_finishes_answers/1,
         ejabberd_finishes_downloads/1, ejabberd_gives_up_at_its_deadline/1,
         ecm_before_ejabberd/1]).
%% Clients.
-export([client_leaves_in_mid_upload/1, client_leaves_in_mid_download/1,
         slow_reader_harms_nobody/1]).
%% The NIF.
-export([nif_is_missing/1, nif_is_broken/1]).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, trunk}, {group, ecm}, {group, ejabberd}, {group, clients}, {group, v1}, {group, nif}].

groups() ->
    [{trunk, [trunk_cut_in_mid_request, trunk_cut_under_a_websocket, trunk_cut_under_bosh,
              trunk_process_crashes, writer_process_crashes, owner_process_crashes]},
     {ecm, [ecm_killed, ecm_finishes_answers, ecm_closes_idle_clients,
            ecm_gives_up_at_its_deadline, wrong_ecm_config, ecm_port_in_use, slow_request,
            too_many_clients]},
     {ejabberd, [ejabberd_stopped_under_the_ecm, ejabberd_killed, ejabberd_finishes_answers,
                 ejabberd_finishes_downloads, ejabberd_gives_up_at_its_deadline,
                 ecm_before_ejabberd]},
     {clients, [client_leaves_in_mid_upload, client_leaves_in_mid_download,
                slow_reader_harms_nobody]},
     %% Over version 1, what its own close and drain have a part in.
     {v1, [trunk_cut_in_mid_request, ecm_killed, ecm_restarted, ecm_finishes_answers, ejabberd_finishes_answers,
           ejabberd_finishes_downloads, client_leaves_in_mid_upload, client_leaves_in_mid_download,
           slow_reader_harms_nobody]},
     {nif, [parallel], [nif_is_missing, nif_is_broken]}].

init_per_group(nif, Config) ->
    Config;
init_per_group(Group, Config) ->
    Path = case Group of
               v1 -> ecm_v1;
               _ -> ecm
           end,
    megaphone_test_stage:start(Path, with_dir(Group, Config),
                               #{options => "    shutdown_timeout: 3\n",
                                 ecm => "[limits]\n"
                                        "head_timeout = \"2s\"\n"
                                        "shutdown_timeout = \"2s\"\n"
                                        "max_connections = 100\n"}).

end_per_group(nif, _Config) ->
    ok;
end_per_group(_, Config) ->
    megaphone_test_stage:stop(Config).

%% Each case starts with a working way to ejabberd, whatever the one before has done.
init_per_testcase(Case, Config) when Case =:= nif_is_missing; Case =:= nif_is_broken ->
    Config;
init_per_testcase(_, Config) ->
    ok = megaphone_test_ecm:ensure_running(megaphone_test_stage:ecm(Config)),
    await_service(Config),
    Config.

end_per_testcase(Case, _Config) when Case =:= nif_is_missing; Case =:= nif_is_broken ->
    ok;
end_per_testcase(_, Config) ->
    ok = call(Config, megaphone_test_handler, release_the_rest, []).

%% Confirms that a client whose answer hasn't begun gets 502 when the trunk is cut, and the next request
%% is served over the next trunk.
trunk_cut_in_mid_request(Config) ->
    Connection = connect(Config),
    _ = hold(Config, Connection, <<"cut">>),
    cut_trunk(Config),
    #{status := 502, body := Text} = megaphone_test_http:recv(Connection),
    {match, _} = re:run(Text, "lost before it answered"),
    ?assertEqual(ok, megaphone_test_http:recv_close(Connection)),
    await_service(Config).

%% Confirms that a WebSocket client hears why its stream ends when its trunk is cut, its session ends, and
%% the user can log in again.
trunk_cut_under_a_websocket(Config) ->
    User = megaphone_test_stage:user(Config, <<"alice">>),
    #{state := WebSocket} = login(Config, megaphone_test_websocket, User),
    cut_trunk(Config),
    {ok, text, Error, Told} = megaphone_test_websocket:recv_message(WebSocket, 5000),
    ?assertMatch({match, _}, re:run(Error, "^<stream:error.*<remote-connection-failed")),
    {ok, text, <<"<close ", _/binary>>, Closed} = megaphone_test_websocket:recv_message(Told, 5000),
    ?assertEqual(ok, megaphone_test_websocket:recv_close(Closed)),
    megaphone_test_wait:until("the session's end", fun() -> resources(Config, User) =:= [] end),
    await_service(Config),
    ok = megaphone_test_xmpp:logout(login(Config, megaphone_test_websocket, User)).

%% Confirms that a BOSH session ends with its trunk: its held poll says so at once, and the user can log in
%% again.
trunk_cut_under_bosh(Config) ->
    User = megaphone_test_stage:user(Config, <<"alice">>),
    #{state := State} = login(Config, megaphone_test_bosh, User),
    Held = hold_poll(State),
    cut_trunk(Config),
    ?assertMatch({error, {terminated, <<"remote-connection-failed">>}}, megaphone_test_bosh:await(Held)),
    megaphone_test_wait:until("the session's end", fun() -> resources(Config, User) =:= [] end),
    await_service(Config),
    ok = megaphone_test_xmpp:logout(login(Config, megaphone_test_bosh, User)).

%% Confirms that a trunk's process that crashes takes its own connections along and nothing else.
trunk_process_crashes(Config) ->
    crash(Config, fun(#{reader := Reader}) -> Reader end).

%% Confirms the same for the process that writes it.
writer_process_crashes(Config) ->
    crash(Config, fun(#{reader := Reader}) ->
                          {links, Links} = call(Config, erlang, process_info, [Reader, links]),
                          [Writer] = [Pid || Pid <- Links, is_pid(Pid), is_writer(Config, Pid)],
                          Writer
                  end).

%% Confirms that the crash of a connection's own process closes that connection and no other.
owner_process_crashes(Config) ->
    Trunk = trunk(Config),
    ok = megaphone_test_trunk:send(Trunk, megaphone_test_trunk:frame(id(1), hold_request("owner"))),
    Owner = await_held(Config, <<"owner">>),
    {ok, 200, _, Trunk1} = megaphone_test_trunk:request(Trunk, id(2), get_request()),
    true = call(Config, erlang, exit, [Owner, kill]),
    {ok, Trunk2} = megaphone_test_trunk:recv_close(Trunk1, id(1)),
    {ok, 200, _, Trunk3} = megaphone_test_trunk:request(Trunk2, id(2), get_request()),
    megaphone_test_trunk:close(Trunk3).

%% Confirms that an ECM that is killed leaves nothing behind in ejabberd: no trunk, no process, no
%% session. (Over version 1 a BOSH session is mod_bosh's, and waits for its client's next request.)
ecm_killed(Config) ->
    Alice = megaphone_test_stage:user(Config, <<"alice">>),
    Bob = megaphone_test_stage:user(Config, <<"bob">>),
    _ = login(Config, megaphone_test_websocket, Alice),
    _ = hold_poll(maps:get(state, login(Config, megaphone_test_bosh, Bob))),
    ok = megaphone_test_ecm:kill(megaphone_test_stage:ecm(Config)),
    megaphone_test_wait:until(
      "the end of the trunk, its connections and their processes",
      fun() -> maps:get(connections, call(Config, megaphone, status, [])) =:= 0
                   andalso megaphone_test_stage:http_processes(Config) =:= [] end),
    megaphone_test_wait:until("the end of the session over WebSocket",
                              fun() -> resources(Config, Alice) =:= [] end),
    case proplists:get_value(path, Config) of
        ecm_v1 -> ?assertMatch([_], resources(Config, Bob));
        _ -> megaphone_test_wait:until("the end of the session over BOSH",
                                       fun() -> resources(Config, Bob) =:= [] end)
    end,
    ok = megaphone_test_ecm:restart(megaphone_test_stage:ecm(Config)).

%% Confirms that over version 1 a BOSH session goes on after the ECM was killed and started again: the ECM
%% keeps nothing of it in this mode.
ecm_restarted(Config) ->
    Client = login(Config, megaphone_test_bosh, megaphone_test_stage:user(Config, <<"alice">>)),
    #{state := State} = Client,
    ok = megaphone_test_ecm:kill(megaphone_test_stage:ecm(Config)),
    ok = megaphone_test_ecm:restart(megaphone_test_stage:ecm(Config)),
    Fresh = megaphone_test_xmpp:update(Client, State#{idle := [], waiting := []}),
    Jid = megaphone_test_xmpp:jid(Client),
    {{Jid, <<"to myself">>}, Client1} =
        megaphone_test_xmpp:recv_message(megaphone_test_xmpp:send_message(Fresh, Jid, "to myself")),
    ok = megaphone_test_xmpp:logout(Client1).

%% Confirms that SIGTERM lets the ECM finish an answer that is being worked on, takes no new clients
%% meanwhile, and ends it with status 0.
ecm_finishes_answers(Config) ->
    Ecm = megaphone_test_stage:ecm(Config),
    Connection = connect(Config),
    ok = megaphone_test_http:send(Connection, megaphone_test_http:encode("GET", "/echo/after/700",
                                                                         [], [])),
    megaphone_test_wait:until("a request in work",
                              fun() -> maps:get(connections, call(Config, megaphone, status, [])) =:= 1
                                           andalso maps:get(waiters, call(Config, megaphone, status, []))
                                           =:= 0 end),
    ?assertEqual(0, megaphone_test_ecm:terminate(Ecm)),
    ?assertMatch(#{status := 200, body := <<"done">>}, megaphone_test_http:recv(Connection)),
    ?assertEqual(ok, megaphone_test_http:recv_close(Connection)),
    ok = megaphone_test_ecm:restart(Ecm).

%% Confirms that SIGTERM closes clients that wait for nothing at once.
ecm_closes_idle_clients(Config) ->
    Ecm = megaphone_test_stage:ecm(Config),
    Connection = connect(Config),
    #{status := 200} = megaphone_test_http:request(Connection, "GET", "/echo", []),
    %% It leaves when it is told to.
    ok = gen_tcp:controlling_process(Connection, spawn_link(fun() -> receive after infinity -> ok end end)),
    ok = inet:setopts(Connection, [{active, once}]),
    {Microseconds, Status} = timer:tc(fun() -> megaphone_test_ecm:terminate(Ecm) end),
    ?assertEqual(0, Status),
    ?assert(Microseconds < 1_500_000, Microseconds),
    ok = megaphone_test_ecm:restart(Ecm).

%% Confirms that a request that is never answered holds the ECM's end up by shutdown_timeout and no
%% longer.
ecm_gives_up_at_its_deadline(Config) ->
    Ecm = megaphone_test_stage:ecm(Config),
    Connection = connect(Config),
    _ = hold(Config, Connection, <<"deadline">>),
    {Microseconds, Status} = timer:tc(fun() -> megaphone_test_ecm:terminate(Ecm) end),
    ?assertEqual(0, Status),
    ?assert(Microseconds > 1_500_000 andalso Microseconds < 10_000_000, Microseconds),
    ok = megaphone_test_ecm:restart(Ecm).

%% Confirms that a wrong configuration ends the ECM with status 1, and that the error names the file,
%% the line, the key and what it may be.
wrong_ecm_config(Config) ->
    Dir = filename:join(proplists:get_value(priv_dir, Config), "wrong"),
    {Status, Output} = megaphone_test_ecm:start_program(
                         #{dir => Dir, port => 1, trunk_port => 1,
                           config => "[limits]\n\nhead_timeout = \"soon\"\n"}),
    ?assertEqual(1, Status),
    ?assertMatch({match, _}, re:run(Output, "ecm.toml:3:16: limits.head_timeout: .*soon.*\"30s\""),
                 Output).

%% Confirms that a port that somebody else has is named, and ends the ECM with status 1.
ecm_port_in_use(Config) ->
    {_, Port} = megaphone_test_stage:target(Config),
    {Status, Output} = megaphone_test_ecm:start_program(
                         #{dir => filename:join(proplists:get_value(priv_dir, Config), "in_use"),
                           port => Port, trunk_port => megaphone_test_stage:trunk_port(Config)}),
    ?assertEqual(1, Status),
    ?assertMatch({match, _}, re:run(Output, ["127.0.0.1:", integer_to_list(Port), ".*in use"]),
                 Output).

%% Confirms that a request that doesn't come whole in head_timeout gets 408 and a close.
slow_request(Config) ->
    Connection = connect(Config),
    ok = megaphone_test_http:send(Connection, "GET /echo HTTP/1.1\r\n"),
    ?assertMatch(#{status := 408}, megaphone_test_http:recv(Connection)),
    ?assertEqual(ok, megaphone_test_http:recv_close(Connection)).

%% Confirms that past the ECM's max_connections a client gets 503, and is served once others have left.
too_many_clients(Config) ->
    Connections = [served(Config) || _ <- lists:seq(1, 100)],
    Late = connect(Config),
    ?assertMatch(#{status := 503}, megaphone_test_http:recv(Late)),
    ?assertEqual(ok, megaphone_test_http:recv_close(Late)),
    lists:foreach(fun megaphone_test_http:close/1, Connections),
    await_service(Config).

%% A connection that has been served once, for which head_timeout is over.
served(Config) ->
    Connection = connect(Config),
    #{status := 200} = megaphone_test_http:request(Connection, "GET", "/echo", []),
    Connection.

%% Confirms that while ejabberd is down the ECM answers 503 with Retry-After, and serves again, without
%% a restart, once it is back.
ejabberd_stopped_under_the_ecm(Config) ->
    ok = megaphone_test_ejabberd:halt(ejabberd(Config)),
    Connection = connect(Config),
    #{status := 503} = Response = megaphone_test_http:request(Connection, "GET", "/echo", []),
    ?assertNotEqual(undefined, megaphone_test_http:header(<<"retry-after">>, Response)),
    ?assertEqual(ok, megaphone_test_http:recv_close(Connection)),
    ok = megaphone_test_ejabberd:restart(ejabberd(Config)),
    await_service(Config).

%% Confirms that a client whose request is being worked on gets 502 when ejabberd dies.
ejabberd_killed(Config) ->
    Connection = connect(Config),
    _ = hold(Config, Connection, <<"killed">>),
    ok = megaphone_test_ejabberd:kill(ejabberd(Config)),
    ?assertMatch(#{status := 502}, megaphone_test_http:recv(Connection)),
    ok = megaphone_test_ejabberd:restart(ejabberd(Config)),
    await_service(Config).

%% Confirms that ejabberd's stop lets an answer that is being worked on finish, refuses new requests
%% meanwhile, and ends a held BOSH poll.
ejabberd_finishes_answers(Config) ->
    Poll = hold_poll(maps:get(state, login(Config, megaphone_test_bosh,
                                           megaphone_test_stage:user(Config, <<"alice">>)))),
    Connection = connect(Config),
    _ = hold(Config, Connection, <<"stop">>),
    Peer = megaphone_test_ejabberd:peer(ejabberd(Config)),
    Stop = megaphone_test_ejabberd:start_halt(ejabberd(Config)),
    megaphone_test_wait:until("a new request to be refused", fun() -> status(Config) =:= 503 end),
    %% It stays so: there is no way back to an ejabberd that stops.
    await_closed_port(Config),
    ?assertEqual([503], lists:usort([status(Config) || _ <- lists:seq(1, 20)])),
    ok = peer:call(Peer, megaphone_test_handler, release, [<<"stop">>]),
    ?assertMatch(#{status := 200, body := <<"stop">>}, megaphone_test_http:recv(Connection)),
    ok = megaphone_test_ejabberd:await_halt(Stop),
    %% Its session ended with ejabberd, or the trunk did first.
    {error, _} = megaphone_test_bosh:await(Poll),
    ok = megaphone_test_ejabberd:restart(ejabberd(Config)),
    await_service(Config).

%% Confirms that a download in flight comes to its end while ejabberd stops, also if its client reads on
%% only then.
ejabberd_finishes_downloads(Config) ->
    Bytes = rand:bytes(10 bsl 20),
    ok = file:write_file(filename:join([megaphone_test_ejabberd:dir(ejabberd(Config)), "files",
                                        "last.bin"]), Bytes),
    Connection = connect(Config),
    ok = megaphone_test_http:send(Connection, megaphone_test_http:encode("GET", "/files/last.bin",
                                                                         [], [])),
    {ok, First} = gen_tcp:recv(Connection, 1000),
    Stop = megaphone_test_ejabberd:start_halt(ejabberd(Config)),
    await_closed_port(Config),
    Rest = recv_until_close(Connection, []),
    [_Head, Body] = binary:split(iolist_to_binary([First, Rest]), <<"\r\n\r\n">>),
    ?assert(Body =:= Bytes, "the file comes whole"),
    ok = megaphone_test_ejabberd:await_halt(Stop),
    ok = megaphone_test_ejabberd:restart(ejabberd(Config)),
    await_service(Config).

%% Confirms that a request that is never answered holds ejabberd's stop up by shutdown_timeout and no
%% longer.
ejabberd_gives_up_at_its_deadline(Config) ->
    Connection = connect(Config),
    _ = hold(Config, Connection, <<"never">>),
    {Microseconds, ok} = timer:tc(fun() -> megaphone_test_ejabberd:halt(ejabberd(Config)) end),
    ?assert(Microseconds > 2_500_000 andalso Microseconds < 15_000_000, Microseconds),
    ?assertMatch(#{status := 502}, megaphone_test_http:recv(Connection)),
    ok = megaphone_test_ejabberd:restart(ejabberd(Config)),
    await_service(Config).

%% Confirms that an ECM that starts before ejabberd says that it has no trunk, and serves as soon as
%% ejabberd is there.
ecm_before_ejabberd(Config) ->
    ok = megaphone_test_ejabberd:halt(ejabberd(Config)),
    Port = megaphone_test_port:free(),
    {ok, Ecm} = megaphone_test_ecm:start(
                  #{dir => filename:join(proplists:get_value(priv_dir, Config), "early"),
                    port => Port, trunk_port => megaphone_test_stage:trunk_port(Config),
                    await => port}),
    _ = megaphone_test_ecm:await_output(Ecm, "no trunk to 127.0.0.1:[0-9]+: .*trying again"),
    Early = [{target, {{127, 0, 0, 1}, Port}} | Config],
    ?assertEqual(503, status(Early)),
    ok = megaphone_test_ejabberd:restart(ejabberd(Config)),
    await_service(Early),
    ok = megaphone_test_ecm:stop(Ecm),
    await_service(Config).

%% Confirms that a client that leaves in the middle of an upload leaves no process and no file behind.
client_leaves_in_mid_upload(Config) ->
    Path = megaphone_test_upload:slot(Config, "half.bin", 10_000_000),
    Before = megaphone_test_stage:http_processes(Config),
    Connection = connect(Config),
    ok = megaphone_test_http:send(Connection, ["PUT ", Path, " HTTP/1.1\r\nHost: localhost\r\n"
                                               "Content-Length: 10000000\r\n\r\n",
                                               binary:copy(<<"a">>, 1_000_000)]),
    megaphone_test_wait:until("a file that grows", fun() -> uploads(Config, "half.bin") =/= [] end),
    ok = megaphone_test_http:close(Connection),
    megaphone_test_wait:until("the end of the file and of its process",
                              fun() -> uploads(Config, "half.bin") =:= []
                                           andalso megaphone_test_stage:http_processes(Config) -- Before =:= []
                              end).

%% Confirms that a client that leaves in the middle of a download leaves no process behind.
client_leaves_in_mid_download(Config) ->
    ok = file:write_file(filename:join([megaphone_test_ejabberd:dir(ejabberd(Config)), "files",
                                        "long.bin"]), binary:copy(<<"a">>, 32 bsl 20)),
    Before = megaphone_test_stage:http_processes(Config),
    Connection = connect(Config),
    ok = megaphone_test_http:send(Connection, megaphone_test_http:encode("GET", "/files/long.bin",
                                                                         [], [])),
    {ok, _} = gen_tcp:recv(Connection, 1000),
    ok = megaphone_test_http:close(Connection),
    megaphone_test_wait:until("the end of its process",
                              fun() -> megaphone_test_stage:http_processes(Config) -- Before =:= [] end).

%% Confirms that a client that doesn't read its download keeps no other from being served.
slow_reader_harms_nobody(Config) ->
    ok = file:write_file(filename:join([megaphone_test_ejabberd:dir(ejabberd(Config)), "files",
                                        "slow.bin"]), binary:copy(<<"a">>, 32 bsl 20)),
    Slow = connect(Config),
    ok = megaphone_test_http:send(Slow, megaphone_test_http:encode("GET", "/files/slow.bin", [], [])),
    {ok, _} = gen_tcp:recv(Slow, 1000),
    Quick = connect(Config),
    {Microseconds, _} = timer:tc(
                          fun() ->
                                  [#{status := 200} =
                                       megaphone_test_http:request(Quick, "GET", "/echo", [])
                                   || _ <- lists:seq(1, 100)]
                          end),
    ?assert(Microseconds < 5_000_000, Microseconds),
    megaphone_test_http:close(Quick),
    megaphone_test_http:close(Slow).

%% Confirms that without its NIF the listener doesn't start, says what to do, and leaves ejabberd alone.
nif_is_missing(Config) ->
    without_nif(Config, "missing", fun(_) -> ok end).

%% Confirms the same for a library that is none.
nif_is_broken(Config) ->
    without_nif(Config, "broken", fun(Path) -> ok = file:write_file(Path, "not a library") end).

%% A Megaphone of its own, whose library is what `Make' leaves at its path.
without_nif(Config, Name, Make) ->
    Dir = filename:join(proplists:get_value(priv_dir, Config), Name),
    Ebin = filename:join([Dir, "megaphone", "ebin"]),
    Library = filename:join([Dir, "megaphone", "priv", "megaphone_nif.so"]),
    ok = filelib:ensure_dir(filename:join(Ebin, ".")),
    ok = filelib:ensure_dir(Library),
    ok = Make(Library),
    [{ok, _} = file:copy(File, filename:join(Ebin, filename:basename(File)))
     || File <- filelib:wildcard(filename:join(filename:dirname(code:which(megaphone)), "*"))],
    [Port, PlainPort] = megaphone_test_port:free(2),
    Options = ["    ip: \"127.0.0.1\"\n", megaphone_test_config:request_handlers()],
    {ok, Ejabberd} = megaphone_test_ejabberd:start(
                       #{dir => Dir, megaphone => Ebin,
                         listeners => [megaphone_test_config:listener(megaphone_listener, Port, Options),
                                       megaphone_test_config:listener(ejabberd_http, PlainPort, Options)]}),
    try
        _ = megaphone_test_ejabberd:await_log(
              Ejabberd, ["127.0.0.1:", integer_to_list(Port),
                         " does not start: the NIF can't be loaded: .*megaphone_nif.*",
                         "make build.*priv/megaphone_nif.so"]),
        Connection = megaphone_test_http:connect({{127, 0, 0, 1}, PlainPort}),
        ?assertMatch(#{status := 200}, megaphone_test_http:request(Connection, "GET", "/echo", [])),
        ?assertEqual({error, econnrefused}, gen_tcp:connect({127, 0, 0, 1}, Port, []))
    after
        megaphone_test_ejabberd:stop(Ejabberd)
    end.

%% Two trunks, one of which loses the process that `Victim' picks from its status.
crash(Config, Victim) ->
    [Crashing, Other] = [trunk(Config), trunk(Config)],
    {ok, 200, _, Crashing1} = megaphone_test_trunk:request(Crashing, id(1), get_request()),
    {ok, 200, _, Other1} = megaphone_test_trunk:request(Other, id(1), get_request()),
    ok = megaphone_test_trunk:send(Crashing1, megaphone_test_trunk:frame(id(2), hold_request("crash"))),
    _ = await_held(Config, <<"crash">>),
    true = call(Config, erlang, exit, [Victim(trunk_status(Config, Crashing1)), kill]),
    ?assertEqual(ok, megaphone_test_trunk:recv_end(Crashing1)),
    ok = call(Config, megaphone_test_handler, release, [<<"crash">>]),
    megaphone_test_wait:until(
      "the end of the crashed trunk's processes, with those of the other and of the ECM left",
      fun() -> length(megaphone_test_stage:http_processes(Config)) =:= 1 end),
    {ok, 200, _, Other2} = megaphone_test_trunk:request(Other1, id(1), get_request()),
    ok = megaphone_test_trunk:close(Other2).

is_writer(Config, Pid) ->
    {current_stacktrace, Stack} = call(Config, erlang, process_info, [Pid, current_stacktrace]),
    lists:keymember(megaphone_writer, 1, Stack).

trunk_status(Config, Trunk) ->
    Port = megaphone_test_trunk:port(Trunk),
    [Status] = [Status || Status = #{peername := {_, P}} <- trunks(Config), P =:= Port],
    Status.

trunks(Config) ->
    Numbers = maps:get(trunk_numbers, call(Config, megaphone, status, [])),
    [Status || Number <- Numbers, {ok, Status} <- [call(Config, megaphone, status, [Number])]].

%% The trunk of the ECM that a connection is in, and any other that still has one of a client that left:
%% its process ends as if the peer had closed.
cut_trunk(Config) ->
    [_ | _] = Used = [Reader || #{connections := Count, reader := Reader} <- trunks(Config), Count > 0],
    [true = call(Config, erlang, exit, [Reader, kill]) || Reader <- Used].

trunk(Config) ->
    megaphone_test_trunk:connect({{127, 0, 0, 1}, megaphone_test_stage:trunk_port(Config)}).

id(Number) ->
    megaphone_test_trunk:id(Number).

get_request() ->
    megaphone_test_http:encode("GET", "/echo", [], []).

hold_request(Name) ->
    megaphone_test_http:encode("GET", ["/echo/hold/", Name], [], []).

%% Sends a request that is answered when the name is released, and waits until it is worked on.
hold(Config, Connection, Name) ->
    ok = megaphone_test_http:send(Connection, hold_request(Name)),
    await_held(Config, Name).

await_held(Config, Name) ->
    megaphone_test_wait:until("a request in work",
                              fun() -> call(Config, megaphone_test_handler, held, [Name]) end).

hold_poll(#{waiting := []} = Session) ->
    #{waiting := [Poll]} = Held = megaphone_test_bosh:post(Session, []),
    ok = megaphone_test_http:recv_nothing(Poll, 200),
    Held;
hold_poll(Session) ->
    {ok, _, Answered} = megaphone_test_bosh:await(Session),
    hold_poll(Answered).

await_service(Config) ->
    megaphone_test_wait:until("a request to be served", fun() -> status(Config) =:= 200 end).

%% ejabberd closes the port as it begins to stop, not when it has done so.
await_closed_port(Config) ->
    Port = megaphone_test_stage:trunk_port(Config),
    megaphone_test_wait:until("no new trunk to be taken",
                              fun() ->
                                      case gen_tcp:connect({127, 0, 0, 1}, Port, []) of
                                          {ok, Trunk} -> gen_tcp:close(Trunk), false;
                                          {error, econnrefused} -> true
                                      end
                              end).

%% The status that a new client gets.
status(Config) ->
    Connection = connect(Config),
    Response = megaphone_test_http:request(Connection, "GET", "/echo", []),
    ok = megaphone_test_http:close(Connection),
    case Response of
        #{status := Status} -> Status;
        {error, _} = Error -> Error
    end.

uploads(Config, Name) ->
    filelib:wildcard(filename:join([megaphone_test_ejabberd:dir(ejabberd(Config)), "upload", "*", "*",
                                    Name])).

recv_until_close(Connection, Pieces) ->
    case gen_tcp:recv(Connection, 0, 10_000) of
        {ok, Piece} -> recv_until_close(Connection, [Pieces, Piece]);
        {error, closed} -> Pieces
    end.

login(Config, Transport, User) ->
    megaphone_test_xmpp:login(Transport, megaphone_test_stage:target(Config), User).

resources(Config, User) ->
    call(Config, ejabberd_sm, get_user_resources, [User, <<"localhost">>]).

connect(Config) ->
    megaphone_test_http:connect(megaphone_test_stage:target(Config)).

call(Config, Module, Function, Arguments) ->
    megaphone_test_ejabberd:call(ejabberd(Config), Module, Function, Arguments).

ejabberd(Config) ->
    megaphone_test_stage:ejabberd(Config).

%% Groups don't share a folder.
with_dir(Group, Config) ->
    Dir = filename:join(proplists:get_value(priv_dir, Config), Group),
    lists:keystore(priv_dir, 1, Config, {priv_dir, Dir ++ "/"}).
