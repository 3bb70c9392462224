%% megaphone-ecm as a daemon beside a real ejabberd: what systemd hears of it while clients come and go, its log as JSON,
%% and what `check' says of a configuration.
-module(megaphone_daemon_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([systemd_hears_of_its_life/1, each_line_of_the_log_is_an_object/1, check_finds_all_that_is_wrong/1]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [systemd_hears_of_its_life, each_line_of_the_log_is_an_object, check_finds_all_that_is_wrong].

init_per_suite(Config) ->
    Dir = filename:join(proplists:get_value(priv_dir, Config), ?MODULE),
    megaphone_test_stage:start(ecm, lists:keystore(priv_dir, 1, Config, {priv_dir, Dir})).

end_per_suite(Config) ->
    megaphone_test_stage:stop(Config).

%% Confirms that systemd hears that it is ready, how many clients and sessions there are, that it reloads and that it ends.
systemd_hears_of_its_life(Config) ->
    {Path, Socket} = systemd(),
    {Ecm, Target} = start(Config, "systemd", [{"NOTIFY_SOCKET", Path}], ""),
    ?assertEqual(<<"READY=1\n">>, told(Socket, <<"READY">>)),
    Client = megaphone_test_xmpp:login(megaphone_test_websocket, Target,
                                       megaphone_test_stage:user(Config, <<"daemon">>)),
    ?assertMatch(<<"STATUS=1 clients, 1 sessions, 2 trunks up\n">>, told(Socket, <<"1 sessions">>)),
    megaphone_test_program:signal(megaphone_test_ecm:os_pid(Ecm), "HUP"),
    ?assertMatch(<<"RELOADING=1\nMONOTONIC_USEC=", _/binary>>, told(Socket, <<"RELOADING">>)),
    ?assertEqual(<<"READY=1\n">>, told(Socket, <<"READY">>)),
    ok = megaphone_test_xmpp:logout(Client),
    ok = megaphone_test_ecm:stop(Ecm),
    ?assertMatch(<<"STOPPING=1\n", _/binary>>, told(Socket, <<"STOPPING">>)),
    ok = gen_udp:close(Socket),
    ok = file:delete(Path).

%% Confirms that programs can read each line of the log while clients come and go.
each_line_of_the_log_is_an_object(Config) ->
    {Ecm, Target} = start(Config, "json", [], "[log]\nformat = \"json\"\nlevel = \"debug\"\n"),
    Client = megaphone_test_xmpp:login(megaphone_test_bosh, Target, megaphone_test_stage:user(Config, <<"daemon">>)),
    ok = megaphone_test_xmpp:drop(Client),
    megaphone_test_program:signal(megaphone_test_ecm:os_pid(Ecm), "HUP"),
    _ = megaphone_test_ecm:await_output(Ecm, "configuration reloaded"),
    Lines = binary:split(megaphone_test_ecm:output(Ecm), <<"\n">>, [global, trim_all]),
    ok = megaphone_test_ecm:stop(Ecm),
    [?assertMatch(#{<<"timestamp">> := _, <<"level">> := _, <<"message">> := _}, megaphone_test_json:decode(Line))
     || Line <- Lines],
    ?assert(length(Lines) > 3).

%% Confirms that all is said at once, each with its line and key.
check_finds_all_that_is_wrong(Config) ->
    Dir = filename:join(proplists:get_value(priv_dir, Config), "check"),
    File = filename:join(Dir, "ecm.toml"),
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, "threads = -1\n[limits]\nmax_head = \"big\"\n[metrics]\naddress = \"0.0.0.0:9290\"\n"),
    {Status, Said} = megaphone_test_program:run(megaphone_test_ecm:path(), ["check", "--config", File],
                                                #{log => filename:join(Dir, "check.log")}),
    ?assertEqual(1, Status),
    [?assertMatch({_, _}, binary:match(Said, iolist_to_binary([File, Text])))
     || Text <- [":1:11: threads: ", ":3:12: limits.max_head: ", ":5:11: metrics.address: "]].

%% An ECM of the case's own, and where its clients connect.
start(Config, Name, Env, More) ->
    Port = megaphone_test_port:free(),
    {ok, Ecm} = megaphone_test_ecm:start(
                  #{dir => filename:join(proplists:get_value(priv_dir, Config), Name),
                    port => Port,
                    trunk_port => megaphone_test_stage:trunk_port(Config),
                    trunk => "trunks = 2\n",
                    env => Env,
                    await => port,
                    more => More}),
    {Ecm, {{127, 0, 0, 1}, Port}}.

%% A socket as systemd's; its path has to be short.
systemd() ->
    Path = "/tmp/megaphone-" ++ os:getpid() ++ "-" ++ integer_to_list(erlang:unique_integer([positive])),
    {ok, Socket} = gen_udp:open(0, [local, {ifaddr, {local, Path}}, binary, {active, false}]),
    {Path, Socket}.

%% The next message with this text.
told(Socket, Text) ->
    {ok, {_From, _, Message}} = gen_udp:recv(Socket, 0, 20_000),
    case binary:match(Message, Text) of
        nomatch -> told(Socket, Text);
        _ -> Message
    end.
