%% megaphone_listener as an admin meets it in ejabberd.yml: its ports, its options, what is wrong with
%% them, and what a reload does to the trunks that are there.
-module(megaphone_listener_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2,
         end_per_testcase/2]).
-export([supervisor_true/1, supervisor_false/1, unix_port/1, ecm_over_unix_port/1, proxy_protocol_v1/1,
         proxy_protocol_v2/1, no_proxy_header/1, loopback_by_default/1,
         plain_is_refused_elsewhere/1, plain_is_allowed_elsewhere/1, http_options_are_taken/1,
         two_listeners/1, wrong_options/1, wrong_option_at_start/1, every_option_is_taken/1,
         trunks_outlive_a_reload/1, trunks_outlive_a_restart_of_the_listener/1,
         removed_listener_closes_its_port/1, port_in_use/1, port_in_use_and_removed/1]).
-export([send_timeout_of_the_port/1]).

-import(megaphone_test_trunk, [id/1]).

-define(GET, "GET /echo/ip HTTP/1.1\r\nHost: localhost\r\n\r\n").

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [supervisor_true, supervisor_false, unix_port, ecm_over_unix_port, proxy_protocol_v1, proxy_protocol_v2,
     no_proxy_header, loopback_by_default, plain_is_refused_elsewhere, plain_is_allowed_elsewhere,
     http_options_are_taken, two_listeners, wrong_options, wrong_option_at_start,
     every_option_is_taken, trunks_outlive_a_reload, trunks_outlive_a_restart_of_the_listener,
     removed_listener_closes_its_port, port_in_use, port_in_use_and_removed, send_timeout_of_the_port].

init_per_suite(Config) ->
    {ok, Ejabberd} = megaphone_test_ejabberd:start(
                       #{dir => filename:join(proplists:get_value(priv_dir, Config), "ejabberd"),
                         listeners => []}),
    [{ejabberd, Ejabberd} | Config].

end_per_suite(Config) ->
    megaphone_test_ejabberd:stop(ejabberd(Config)).

%% Each case reloads its own listeners, at a port that no case had before.
init_per_testcase(Case, Config) when Case =:= unix_port; Case =:= ecm_over_unix_port ->
    case megaphone_test_ejabberd:unix_sockets() of
        ok -> init_per_testcase(any, Config);
        Skip -> Skip
    end;
init_per_testcase(_, Config) ->
    [{port, megaphone_test_port:free()} | Config].

end_per_testcase(_, Config) ->
    ok = reload(Config, []).

%% Confirms that with `supervisor: true' a trunk is a child of the listener's supervisor.
supervisor_true(Config) ->
    ok = reload(Config, [listener(Config, "    supervisor: true\n")]),
    Trunk = serve(connect(Config)),
    Children = call(Config, supervisor, which_children, [megaphone_listener_sup]),
    ?assertMatch([_], [Pid || {_, Pid, _, _} <- Children, Pid =:= reader(Config, Trunk)]),
    megaphone_test_trunk:close(Trunk).

%% Confirms that with `supervisor: false' it is nobody's child, and serves all the same.
supervisor_false(Config) ->
    ok = reload(Config, [listener(Config, "    supervisor: false\n")]),
    Trunk = serve(connect(Config)),
    {links, Links} = call(Config, erlang, process_info, [reader(Config, Trunk), links]),
    Supervisors = [call(Config, erlang, whereis, [Name])
                   || Name <- [megaphone_listener_sup, ejabberd_listener, ejabberd_sup]],
    ?assertEqual([], [Pid || Pid <- Links, lists:member(Pid, Supervisors)]),
    megaphone_test_trunk:close(Trunk).

%% Confirms that a trunk can come over a Unix socket.
unix_port(Config) ->
    Path = unix_listener(Config),
    Trunk = megaphone_test_trunk:connect({local, Path}),
    {ok, 200, _, Trunk1} = megaphone_test_trunk:request(
                             Trunk, id(1), "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ok = megaphone_test_trunk:close(Trunk1),
    ok = file:delete(Path).

%% Confirms that the ECM's trunk can be one.
ecm_over_unix_port(Config) ->
    Path = unix_listener(Config),
    Port = proplists:get_value(port, Config),
    {ok, Ecm} = megaphone_test_ecm:start(
                  #{dir => filename:join(proplists:get_value(priv_dir, Config), "unix"),
                    port => Port, trunk_port => 0,
                    config => ["[trunk]\naddress = \"unix:", Path, "\"\n"
                               "[[listener]]\naddress = \"127.0.0.1:", integer_to_list(Port), "\"\n"]}),
    Connection = megaphone_test_http:connect({{127, 0, 0, 1}, Port}),
    ?assertMatch(#{status := 200}, megaphone_test_http:request(Connection, "GET", "/echo", [])),
    ok = megaphone_test_http:close(Connection),
    ok = megaphone_test_ecm:stop(Ecm),
    ok = file:delete(Path).

%% Confirms that with `use_proxy_protocol' the trunk's peer is the one that version 1 of the PROXY
%% protocol names.
proxy_protocol_v1(Config) ->
    ok = reload(Config, [listener(Config, "    use_proxy_protocol: true\n")]),
    Trunk = connect(Config, "PROXY TCP4 192.0.2.7 192.0.2.8 1234 5290\r\n"),
    {ok, 200, <<"192.0.2.7">>, Trunk1} = megaphone_test_trunk:request(Trunk, id(1), ?GET),
    ?assertMatch([#{peername := {{192, 0, 2, 7}, 1234}}], trunks(Config)),
    megaphone_test_trunk:close(Trunk1).

%% Confirms the same for version 2.
proxy_protocol_v2(Config) ->
    ok = reload(Config, [listener(Config, "    use_proxy_protocol: true\n")]),
    Trunk = connect(Config, <<"\r\n\r\n\0\r\nQUIT\n", 16#21, 16#11, 12:16,
                              192, 0, 2, 7, 192, 0, 2, 8, 1234:16, 5290:16>>),
    {ok, 200, <<"192.0.2.7">>, Trunk1} = megaphone_test_trunk:request(Trunk, id(1), ?GET),
    megaphone_test_trunk:close(Trunk1).

%% Confirms that a trunk without the header that `use_proxy_protocol' asks for is closed.
no_proxy_header(Config) ->
    ok = reload(Config, [listener(Config, "    use_proxy_protocol: true\n")]),
    Trunk = connect(Config, megaphone_test_trunk:frame(id(1), ?GET)),
    ?assertEqual(ok, megaphone_test_trunk:recv_end(Trunk)).

%% Confirms that without `ip' the listener is on 127.0.0.1 alone, where ejabberd's others are on all.
loopback_by_default(Config) ->
    Port = proplists:get_value(port, Config),
    ok = reload(Config, [megaphone_test_config:listener(megaphone_listener, Port, "")]),
    await_open(Config),
    ?assertEqual({error, econnrefused}, gen_tcp:connect({127, 0, 0, 2}, Port, [])).

%% Confirms that a plain listener that others could reach doesn't open its port, says what to do, and
%% keeps nothing else from working.
plain_is_refused_elsewhere(Config) ->
    Port = proplists:get_value(port, Config),
    Other = megaphone_test_port:free(),
    Before = byte_size(megaphone_test_ejabberd:log(ejabberd(Config))),
    ok = reload(Config, [megaphone_test_config:listener(megaphone_listener, Port,
                                                        "    ip: \"0.0.0.0\"\n"),
                         listener(Other, "")]),
    _ = megaphone_test_ejabberd:await_log(
          ejabberd(Config), ["0.0.0.0:", integer_to_list(Port),
                             " does not start: .*'ip: 127.0.0.1'.*'allow_plain: true'"], Before),
    await_closed(Config),
    Trunk = serve(megaphone_test_trunk:connect({{127, 0, 0, 1}, Other})),
    megaphone_test_trunk:close(Trunk).

%% Confirms that `allow_plain: true' opens it.
plain_is_allowed_elsewhere(Config) ->
    ok = reload(Config, [megaphone_test_config:listener(
                           megaphone_listener, proplists:get_value(port, Config),
                           ["    ip: \"0.0.0.0\"\n    allow_plain: true\n",
                            megaphone_test_config:request_handlers()])]),
    megaphone_test_trunk:close(serve(connect(Config))).

%% Confirms that ejabberd_http's own options do what they do there.
http_options_are_taken(Config) ->
    ok = reload(Config, [listener(Config, "    tag: tagged\n"
                                          "    custom_headers:\n"
                                          "      X-Custom: \"of @VERSION@\"\n")]),
    {ok, Answer, Trunk} = ask_until_close(connect(Config)),
    {match, _} = re:run(Answer, "\r\nX-Custom: of [0-9.]+"),
    megaphone_test_trunk:close(Trunk).

%% Confirms that two listeners serve at once, each with its own limits.
two_listeners(Config) ->
    Other = megaphone_test_port:free(),
    ok = reload(Config, [listener(Config, "    max_connections: 1\n"),
                         listener(Other, "    max_connections: 2\n")]),
    First = serve(connect(Config)),
    Second = serve(megaphone_test_trunk:connect({{127, 0, 0, 1}, Other})),
    {ok, 503, _, First1} = megaphone_test_trunk:request(First, id(2), ?GET),
    {ok, 200, _, Second1} = megaphone_test_trunk:request(Second, id(2), ?GET),
    megaphone_test_trunk:close(First1),
    megaphone_test_trunk:close(Second1).

%% Confirms that each wrong option is refused with ejabberd's usual error, which names the option.
wrong_options(Config) ->
    lists:foreach(
      fun({Option, Value}) ->
              Wrong = megaphone_test_config:listener(megaphone_listener,
                                                     proplists:get_value(port, Config),
                                                     ["    ", Option, ": ", Value, "\n"]),
              {error, _, _} = Error = reload(Config, [Wrong]),
              Text = iolist_to_binary(call(Config, ejabberd_config, format_error, [Error])),
              ?assertMatch({match, _}, re:run(Text, Option), Text)
      end,
      [{"max_frame_size", "32"}, {"max_frame_size", "10000000000"}, {"max_frame_size", "many"},
       {"max_trunks", "0"}, {"max_trunks", "infinity"}, {"handshake_timeout", "0"}, {"frame_timeout", "soon"},
       {"backlog", "-1"}, {"max_connections", "0"}, {"max_connections", "-1"}, {"max_trunk_buffer", "0"},
       {"max_trunk_buffer", "64 MiB"}, {"max_trunk_output", "0"}, {"max_trunk_output", "infinity"},
       {"idle_timeout", "never"}, {"send_timeout", "soon"},
       {"shutdown_timeout", "infinity"}, {"drain_timeout", "infinity"}, {"hibernate_after", "0"}, {"allow_plain", "maybe"}, {"tls", "maybe"},
       {"protocols", "[gopher]"}, {"protocols", "[http, http]"}, {"c2s", "{starttls: maybe}"},
       {"c2s", "{tls: true}"}, {"certfile", "/no/such/file"}, {"cafile", "/no/such/file"},
       {"ceilings", "1000"}, {"ceilings", "{pings: -1}"}, {"ceilings", "{gophers: 1}"},
       {"ceilings", "{pings: {least: 1}}"}, {"ceilings", "{pings: 4294967296}"},
       {"max_frame_sizes", "1000"}, {"ip", "localhost"}, {"supervisor", "often"},
       {"use_proxy_protocol", "v1"}, {"custom_headers", "none"},
       {"shutdown_timeout", "0"}, {"request_handlers", "none"},
       {"request_handlers", "{/x: no_such_module}"}, {"request_handlers", "{/x: lists}"}]).

%% Confirms that ejabberd doesn't start with a wrong option, and says so in its log.
wrong_option_at_start(Config) ->
    {error, {not_started, Log}} =
        megaphone_test_ejabberd:start(
          #{dir => filename:join(proplists:get_value(priv_dir, Config), "wrong"),
            listeners => [listener(Config, "    max_frame_size: 31\n")]}),
    ?assertMatch({match, _}, re:run(Log, "\\[critical\\].*max_frame_size"), Log).

%% Confirms that every option of the listener's is taken with a value that it may have.
every_option_is_taken(Config) ->
    %% Those of ejabberd_http are in `http_options_are_taken'.
    ok = reload(Config, [listener(Config, "    max_frame_size: 33\n"
                                          "    max_trunks: 1\n"
                                          "    handshake_timeout: infinity\n"
                                          "    frame_timeout: infinity\n"
                                          "    backlog: 5\n"
                                          "    max_connections: 1\n"
                                          "    max_trunk_buffer: 1\n"
                                          "    max_trunk_output: 1\n"
                                          "    idle_timeout: infinity\n"
                                          "    send_timeout: 5\n"
                                          "    shutdown_timeout: 1\n"
                                          "    drain_timeout: 0\n"
                                          "    protocols: [http, xmpp-client, xmpp-framing]\n"
                                          "    hibernate_after: infinity\n"
                                          "    ceilings:\n"
                                          "      pings: 0\n"
                                          "      tiny_frames: {most: 4294967295}\n"
                                          "      stray_frames: {most: 1, per_second: 0}\n"
                                          "    allow_plain: true\n"
                                          "    tls: false\n"
                                          "    accept_interval: 1\n")]),
    await_open(Config).

%% Confirms that a reload that changes a listener's options leaves its trunks alone, and that the next
%% trunk has the new ones.
trunks_outlive_a_reload(Config) ->
    ok = reload(Config, [listener(Config, "    max_connections: 3\n")]),
    Old = serve(connect(Config)),
    ok = reload(Config, [listener(Config, "    max_connections: 1\n")]),
    New = serve(connect(Config)),
    {ok, 503, _, New1} = megaphone_test_trunk:request(New, id(2), ?GET),
    {ok, 200, _, Old1} = megaphone_test_trunk:request(Old, id(1), ?GET),
    {ok, 200, _, Old2} = megaphone_test_trunk:request(Old1, id(2), ?GET),
    megaphone_test_trunk:close(New1),
    megaphone_test_trunk:close(Old2).

%% Confirms that a trunk outlives the listener that is stopped and started again, and that the port is
%% open again then.
trunks_outlive_a_restart_of_the_listener(Config) ->
    ok = reload(Config, [listener(Config, "")]),
    Old = serve(connect(Config)),
    ok = call(Config, ejabberd_listener, stop_listeners, []),
    await_closed(Config),
    {ok, 200, _, Old1} = megaphone_test_trunk:request(Old, id(1), ?GET),
    ok = call(Config, ejabberd_listener, start_listeners, []),
    New = serve(connect(Config)),
    {ok, 200, _, Old2} = megaphone_test_trunk:request(Old1, id(2), ?GET),
    megaphone_test_trunk:close(New),
    megaphone_test_trunk:close(Old2).

%% Confirms that a listener that is taken out of the configuration closes its port; its trunks go on,
%% as connections of ejabberd's own listeners do.
removed_listener_closes_its_port(Config) ->
    ok = reload(Config, [listener(Config, "")]),
    Trunk = serve(connect(Config)),
    ok = reload(Config, []),
    await_closed(Config),
    {ok, 200, _, Trunk1} = megaphone_test_trunk:request(Trunk, id(1), ?GET),
    megaphone_test_trunk:close(Trunk1).

%% Confirms that a port that somebody else has is named in the log, that ejabberd goes on, and that the
%% port opens as soon as it is free, without another reload. The other listener serves all the while.
port_in_use(Config) ->
    Port = proplists:get_value(port, Config),
    Other = megaphone_test_port:free(),
    {ok, Holder} = gen_tcp:listen(Port, [{ip, {127, 0, 0, 1}}]),
    ok = reload(Config, [listener(Config, ""), listener(Other, "")]),
    await_failure(Config, Port),
    await_log(Config, ["port ", integer_to_list(Port), " could not be opened"]),
    megaphone_test_trunk:close(serve(megaphone_test_trunk:connect({{127, 0, 0, 1}, Other}))),
    gen_tcp:close(Holder),
    megaphone_test_trunk:close(serve(connect(Config))),
    await_log(Config, ["port ", integer_to_list(Port), " is open again"]),
    %% It is one as any other: the next reload changes and closes it.
    ok = reload(Config, [listener(Config, "    max_connections: 1\n")]),
    Trunk = serve(connect(Config)),
    {ok, 503, _, Trunk1} = megaphone_test_trunk:request(Trunk, id(2), ?GET),
    megaphone_test_trunk:close(Trunk1),
    ok = reload(Config, []),
    await_closed(Config).

%% Confirms that a port that a later reload takes out of the configuration is not opened any more.
port_in_use_and_removed(Config) ->
    Port = proplists:get_value(port, Config),
    {ok, Holder} = gen_tcp:listen(Port, [{ip, {127, 0, 0, 1}}]),
    ok = reload(Config, [listener(Config, "")]),
    await_failure(Config, Port),
    ok = reload(Config, []),
    _ = megaphone_test_wait:until("the end of the retries",
                                  fun() -> call(Config, erlang, whereis, [megaphone_ports]) =:= undefined end),
    gen_tcp:close(Holder),
    ?assertEqual({error, econnrefused}, gen_tcp:connect({127, 0, 0, 1}, Port, [])).

%% Confirms that `send_timeout' is the listener's, whether ejabberd hands it to its listener's module, as
%% 23.01 does, or to the port's socket alone, as 26.01 and newer do.
send_timeout_of_the_port(_Config) ->
    Timeout = fun(SocketOptions, Opts) ->
                      {ok, Port} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}} | SocketOptions]),
                      Complete = megaphone_ejabberd:send_timeout(Port, Opts),
                      ok = gen_tcp:close(Port),
                      megaphone_listener_options:get(send_timeout, Complete)
              end,
    ?assertEqual(15000, Timeout([], [])),
    ?assertEqual(7000, Timeout([], [{send_timeout, 7000}])),
    ?assertEqual(7000, Timeout([{send_timeout, 7000}], [])),
    {ok, Infinite} = econf:validate(megaphone_listener:listen_opt_type(send_timeout), infinity),
    ?assertEqual(Infinite, Timeout([{send_timeout, Infinite}], [])).

%% A Unix socket's path has about a hundred bytes at most, and a test's folder may have more.
unix_listener(Config) ->
    Path = "/tmp/megaphone-" ++ integer_to_list(proplists:get_value(port, Config)) ++ ".sock",
    ok = reload(Config, [megaphone_test_config:listener(
                           megaphone_listener, ["\"unix:", Path, "\""],
                           megaphone_test_config:request_handlers())]),
    megaphone_test_wait:until("the listener's Unix socket", fun() -> filelib:last_modified(Path) =/= 0 end),
    Path.

%% A request that is answered shows that the trunk works.
serve(Trunk) ->
    {ok, 200, <<"127.0.0.1">>, Served} = megaphone_test_trunk:request(Trunk, id(1), ?GET),
    Served.

ask_until_close(Trunk) ->
    ok = megaphone_test_trunk:send(
           Trunk, megaphone_test_trunk:frame(id(1), "GET /echo HTTP/1.1\r\nHost: localhost\r\n"
                                                    "Connection: close\r\n\r\n")),
    megaphone_test_trunk:recv_content(Trunk, id(1), all).

connect(Config) ->
    connect(Config, <<>>).

connect(Config, Before) ->
    await_open(Config),
    megaphone_test_trunk:connect({{127, 0, 0, 1}, proplists:get_value(port, Config)}, Before).

await_open(Config) ->
    megaphone_test_wait:until("the listener's port to be open", fun() -> is_open(Config) end).

await_closed(Config) ->
    megaphone_test_wait:until("the listener's port to be closed", fun() -> not is_open(Config) end).

is_open(Config) ->
    case gen_tcp:connect({127, 0, 0, 1}, proplists:get_value(port, Config), []) of
        {ok, Socket} -> gen_tcp:close(Socket), true;
        {error, econnrefused} -> false
    end.

listener(Config, Options) when is_list(Config) ->
    listener(proplists:get_value(port, Config), Options);
listener(Port, Options) ->
    megaphone_test_config:listener(megaphone_listener, Port,
                                   ["    ip: \"127.0.0.1\"\n",
                                    megaphone_test_config:request_handlers(), Options]).

reload(Config, Listeners) ->
    megaphone_test_ejabberd:reload(ejabberd(Config), #{listeners => Listeners}).

await_failure(Config, Port) ->
    _ = megaphone_test_ejabberd:await_log(
          ejabberd(Config), ["Failed to open socket at 127.0.0.1:", integer_to_list(Port),
                             " for megaphone_listener: address already in use"]),
    ok.

await_log(Config, Line) ->
    _ = megaphone_test_ejabberd:await_log(ejabberd(Config), Line),
    ok.

trunks(Config) ->
    Numbers = maps:get(trunk_numbers, call(Config, megaphone, status, [])),
    [Status || Number <- Numbers, {ok, Status} <- [call(Config, megaphone, status, [Number])]].

reader(Config, Trunk) ->
    Port = megaphone_test_trunk:port(Trunk),
    [Reader] = [Pid || #{peername := {_, P}, reader := Pid} <- trunks(Config), P =:= Port],
    Reader.

call(Config, Module, Function, Arguments) ->
    megaphone_test_ejabberd:call(ejabberd(Config), Module, Function, Arguments).

ejabberd(Config) ->
    proplists:get_value(ejabberd, Config).
