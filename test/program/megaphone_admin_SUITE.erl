%% An admin's side in ejabberd: mod_megaphone's commands by ejabberdctl and mod_http_api, its page in WebAdmin with the
%% buttons, its alarms, and what the log says of a trunk. ejabberd, ejabberdctl and the HTTP requests are real, and so
%% are the trunks.
-module(megaphone_admin_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([ctl_shows/1, ctl_errors/1, ctl_help/1, ctl_changes/1, document_has_all_commands/1, api_shows/1, api_errors/1, gauges/1]).
-export([sessions_by_transport/1, certificate_of_a_trunk/1, certificate_that_is_refused/1, names_from_a_certificate/1,
         trunk_comes_and_goes/1]).
-export([no_trunk_is_an_alarm/1, a_listener_that_does_not_run_is_an_alarm/1]).
-export([page_shows/1, page_escapes/1, page_needs_an_admin/1, buttons/1, forged_buttons/1, page_of_another_node/1]).
-export([module_comes_and_goes/1, module_without_a_listener/1, commands_without_the_module/1]).

-import(megaphone_test_listeners, [address/2, call/4, ejabberd/1]).

-define(ADMIN, {<<"admin@localhost">>, <<"megaphone">>}).
-define(TIMEOUT, 10_000).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [ctl_shows, ctl_errors, ctl_help, ctl_changes, document_has_all_commands, api_shows, api_errors, gauges,
     sessions_by_transport, certificate_of_a_trunk, certificate_that_is_refused, names_from_a_certificate,
     trunk_comes_and_goes,
     no_trunk_is_an_alarm, a_listener_that_does_not_run_is_an_alarm,
     page_shows, page_escapes, page_needs_an_admin, buttons, forged_buttons, page_of_another_node,
     module_comes_and_goes, module_without_a_listener, commands_without_the_module].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(ssl),
    Dir = filename:join(proplists:get_value(priv_dir, Config), ?MODULE),
    [CertFile, CaFile] = Files = [filename:join(Dir, Name) || Name <- ["listener.pem", "ca.pem"]],
    ok = filelib:ensure_dir(CertFile),
    Ca = megaphone_test_certificates:ca("the trunks' authority"),
    ok = megaphone_test_certificates:write(CertFile, CaFile, megaphone_test_certificates:sign(Ca, "localhost")),
    [WebPort, NodePort] = megaphone_test_port:free(2),
    Started = megaphone_test_listeners:start(
                lists:keystore(priv_dir, 1, Config, {priv_dir, Dir}),
                #{default => "", tls => tls_options(Files)},
                (settings())#{node => megaphone_test_epmd:node(NodePort), more_listeners => [web_listener(WebPort)]}),
    ok = megaphone_test_ejabberd:register_users(ejabberd(Started), [<<"admin">>, <<"mallory">>]),
    [{ca, Ca}, {files, Files}, {web, {{127, 0, 0, 1}, WebPort}}, {ctl, megaphone_test_ctl:install(filename:join(Dir, "ctl"))}
     | Started].

settings() ->
    #{top => "acl:\n"
             "  admin:\n"
             "    user:\n"
             "      - admin@localhost\n"
             "access_rules:\n"
             "  configure:\n"
             "    allow: admin\n",
      modules => module(),
      commands_from => ""}.

module() ->
    "  mod_megaphone: {}\n".

tls_options([CertFile, CaFile]) ->
    ["    tls: true\n"
     "    certfile: \"", CertFile, "\"\n"
     "    cafile: \"", CaFile, "\"\n"].

web_listener(Port) ->
    megaphone_test_config:listener(ejabberd_http, Port, "    ip: \"127.0.0.1\"\n"
                                                        "    request_handlers:\n"
                                                        "      /admin: ejabberd_web_admin\n"
                                                        "      /api: mod_http_api\n").

end_per_suite(Config) ->
    megaphone_test_listeners:stop(Config).

init_per_testcase(Case, Config) when Case =:= ctl_shows; Case =:= ctl_errors; Case =:= ctl_help; Case =:= ctl_changes ->
    case proplists:get_value(ctl, Config) of
        {ok, _} -> Config;
        Skip -> Skip
    end;
init_per_testcase(_, Config) ->
    Config.

end_per_testcase(_, Config) ->
    ok = call(Config, megaphone_drain, undrain, []),
    megaphone_test_listeners:await_end(Config).

%% ejabberdctl.

%% Confirms that each command that shows something does, with the figures of a trunk that is there.
ctl_shows(Config) ->
    {Trunk, Number} = trunk(Config),
    Session = session(Trunk, #{transport => <<"websocket">>}),
    {0, Status} = ctl(Config, ["megaphone_status"]),
    ?assertMatch([[<<"state">>, <<"ready">>], [<<"alarms">>, <<"none">>], [<<"trunks">>, <<"1">>],
                  [<<"sessions">>, <<"1">>] | _], table(Status)),
    {0, Trunks} = ctl(Config, ["megaphone_trunks"]),
    Port = integer_to_binary(megaphone_test_yamux:port(Trunk)),
    [[Number, <<"ready">>, Peer, <<"2">>, <<"none">>, <<"none">>, Since, <<"1">>, <<"1">>, In, Out, _, _, <<"0">>]] =
        table(Trunks),
    ?assertEqual(<<"127.0.0.1:", Port/binary>>, Peer),
    Age = erlang:system_time(second) - calendar:rfc3339_to_system_time(binary_to_list(Since)),
    ?assert(Age >= 0 andalso Age < 100, Since),
    ?assert(binary_to_integer(In) > 0 andalso binary_to_integer(Out) > 0, Trunks),
    {0, One} = ctl(Config, ["megaphone_trunk", Number]),
    {_, ListenerPort} = address(Config, default),
    Listener = <<"127.0.0.1:", (integer_to_binary(ListenerPort))/binary>>,
    [?assert(lists:member(Row, table(One)), {Row, One})
     || Row <- [[<<"number">>, Number], [<<"peer">>, Peer], [<<"listener">>, Listener],
                [<<"sessions">>, <<"1">>], [<<"sessions_websocket">>, <<"1">>], [<<"opened">>, <<"1">>]]],
    {0, Sessions} = ctl(Config, ["megaphone_sessions"]),
    ?assertEqual([[Number, Name, Count] || {Name, Count} <- [{<<"bosh">>, <<"0">>}, {<<"tcp">>, <<"0">>},
                                                             {<<"tls">>, <<"0">>}, {<<"websocket">>, <<"1">>}]],
                 table(Sessions)),
    {0, Counter} = ctl(Config, ["megaphone_counter", "sessions"]),
    ?assertEqual([[<<"1">>]], table(Counter)),
    {0, Counters} = ctl(Config, ["megaphone_counters"]),
    ?assert(lists:member([<<"sessions">>, <<"1">>], table(Counters)), Counters),
    end_session(Session),
    megaphone_test_yamux:close(Trunk).

%% Confirms that what does not exist is said, and the exit status says it too.
ctl_errors(Config) ->
    [begin
         {Status, Output} = ctl(Config, Command),
         ?assertEqual({1, match}, {Status, re:run(Output, Text, [{capture, none}])}, Output)
     end || {Command, Text} <- [{["megaphone_trunk", "999999"], "there is no trunk 999999; megaphone_trunks lists them"},
                                {["megaphone_close_trunk", "999999"], "there is no trunk 999999"},
                                {["megaphone_close_trunk", "-1"], "there is no trunk -1"},
                                {["megaphone_counter", "users"], "there is no such figure; megaphone_counters lists them"}]].

%% Confirms that ejabberdctl explains the commands, under a tag of their own.
ctl_help(Config) ->
    {_, Tag} = ctl(Config, ["help", "megaphone"]),
    [?assertEqual(match, re:run(Tag, Name, [{capture, none}]), Tag)
     || Name <- ["megaphone_status", "megaphone_counters", "megaphone_counter", "megaphone_trunks", "megaphone_trunk",
                 "megaphone_sessions", "megaphone_drain", "megaphone_undrain", "megaphone_close_trunk"]],
    {_, Help} = ctl(Config, ["help", "megaphone_close_trunk"]),
    [?assertEqual(match, re:run(Help, Text, [{capture, none}]), Help)
     || Text <- ["trunk::integer", "res::restuple", "Its clients lose their streams"]].

%% Confirms that a drain tells a trunk to go away, and one that comes while it lasts, and that it ends.
ctl_changes(Config) ->
    {Old, _} = trunk(Config),
    {0, _} = ctl(Config, ["megaphone_drain"]),
    ?assertEqual({ok, 0}, megaphone_test_yamux:await_go_away(Old)),
    {0, Status} = ctl(Config, ["megaphone_status"]),
    ?assertMatch([[<<"state">>, <<"draining">>] | _], table(Status)),
    New = megaphone_test_listeners:connect(Config),
    ok = megaphone_test_yamux:ping(New),
    ?assertEqual({ok, 0}, megaphone_test_yamux:await_go_away(New)),
    {0, _} = ctl(Config, ["megaphone_undrain"]),
    {Ready, Number} = trunk(Config),
    {0, Closed} = ctl(Config, ["megaphone_close_trunk", Number]),
    ?assertEqual(match, re:run(Closed, ["trunk ", Number, " is closed"], [{capture, none}])),
    ?assertMatch({ok, _}, megaphone_test_yamux:await_end(Ready)),
    _ = megaphone_test_ejabberd:await_log(
          ejabberd(Config), io_lib:format("the trunk from 127.0.0.1:~b is lost with 0 connections: closed by "
                                          "megaphone_close_trunk", [megaphone_test_yamux:port(Ready)])).

%% Confirms that the table in doc/operating.md has all commands, with their arguments, and no other.
document_has_all_commands(Config) ->
    {ok, Text} = file:read_file(filename:join([megaphone_test_program:repository(), "doc", "operating.md"])),
    {match, Rows} = re:run(Text, "^\\| `(megaphone_[a-z_]+)( [A-Z]+)?` \\|", [multiline, global, {capture, [1, 2], list}]),
    ?assertEqual(lists:sort([{Name, length(Arguments)}
                             || {Name, Arguments, _} <- call(Config, ejabberd_commands, list_commands, []),
                                lists:prefix("megaphone_", atom_to_list(Name))]),
                 lists:sort([{list_to_atom(Name), length([Argument || Argument =/= ""])} || [Name, Argument] <- Rows])).

%% mod_http_api.

%% Confirms that the API has the same, with numbers as numbers.
api_shows(Config) ->
    {Trunk, Text} = trunk(Config),
    Number = binary_to_integer(Text),
    Session = session(Trunk, #{transport => <<"bosh">>}),
    ?assertMatch(#{<<"state">> := <<"ready">>, <<"alarms">> := <<"none">>, <<"sessions">> := <<"1">>},
                 pairs(api(Config, "megaphone_status", #{}))),
    ?assertMatch(#{<<"sessions">> := 1, <<"sessions_bosh">> := 1, <<"trunks">> := 1, <<"alarms">> := 0},
                 pairs(api(Config, "megaphone_counters", #{}))),
    ?assertMatch({200, [#{<<"number">> := Number, <<"version">> := 2, <<"sessions">> := 1, <<"bytes_in">> := In}]}
                   when is_integer(In), api(Config, "megaphone_trunks", #{})),
    ?assertMatch(#{<<"number">> := Text, <<"sessions_bosh">> := <<"1">>},
                 pairs(api(Config, "megaphone_trunk", #{<<"trunk">> => Number}))),
    {200, Sessions} = api(Config, "megaphone_sessions", #{}),
    ?assert(lists:member(#{<<"trunk">> => Number, <<"transport">> => <<"bosh">>, <<"sessions">> => 1}, Sessions)),
    ?assertMatch({200, _}, api(Config, "megaphone_close_trunk", #{<<"trunk">> => Number})),
    ?assertMatch({ok, _}, megaphone_test_yamux:await_end(Trunk)),
    _ = Session.

%% Confirms that what does not exist is not found.
api_errors(Config) ->
    [?assertMatch({404, #{<<"message">> := <<"there is no ", _/binary>>}}, api(Config, Command, Arguments))
     || {Command, Arguments} <- [{"megaphone_trunk", #{<<"trunk">> => 999999}},
                                 {"megaphone_close_trunk", #{<<"trunk">> => 999999}},
                                 {"megaphone_counter", #{<<"name">> => <<"users">>}}]].

%% Confirms that each figure is an integer in the way that mod_prometheus reads a gauge, even an error of a kind that
%% has not occurred.
gauges(Config) ->
    {Trunk, _} = trunk(Config),
    Names = [Name || {Name, _} <- call(Config, megaphone_commands, counters, [])],
    ?assert(lists:member(<<"bytes_in">>, Names)),
    [?assert(is_integer(call(Config, ejabberd_commands, execute_command2,
                             [megaphone_counter, [Name], #{caller_module => ejabberd_ctl}, 10000])), Name)
     || Name <- [<<"errors_tiny_frames">> | Names]],
    megaphone_test_yamux:close(Trunk).

%% Trunks.

%% Confirms that sessions are counted while they are open, by how their clients are connected.
sessions_by_transport(Config) ->
    {Trunk, _} = trunk(Config),
    Tls = #{tls => <<"TLSv1.3">>},
    Sessions = [session(Trunk, Fields)
                || Fields <- [#{transport => <<"tcp">>}, #{transport => <<"tls">>}, Tls#{transport => <<"tcp">>},
                              Tls#{transport => <<"websocket">>}, #{transport => <<"websocket">>},
                              #{transport => <<"websocket">>}, Tls#{transport => <<"bosh">>}]],
    ?assertEqual(#{tcp => 1, tls => 2, websocket => 3, bosh => 1}, sessions(Config)),
    %% What is no session is not counted among them.
    Other = megaphone_test_yamux:open(Trunk, megaphone_test_proxy:client({{192, 0, 2, 7}, 1}, <<"http/1.1">>)),
    {Orderly, Broken} = lists:split(3, Sessions),
    lists:foreach(fun end_session/1, Orderly),
    [ok = megaphone_test_yamux:reset(megaphone_test_session:stream(Session)) || Session <- Broken],
    None = #{tcp => 0, tls => 0, websocket => 0, bosh => 0},
    true = megaphone_test_wait:until("the end of all sessions", fun() -> sessions(Config) =:= None end),
    _ = session(Trunk, #{transport => <<"bosh">>}),
    _ = Other,
    megaphone_test_yamux:close(Trunk),
    true = megaphone_test_wait:until("a lost trunk's sessions to be gone", fun() -> sessions(Config) =:= None end).

%% Confirms that a trunk has the name of its peer's certificate, and so does the log.
certificate_of_a_trunk(Config) ->
    Trunk = tls_trunk(Config, "ecm1.example.org", 'tlsv1.3'),
    [#{certificate := <<"ecm1.example.org">>, tls := <<"tlsv1.3">>, number := Number}] = trunks(Config),
    Name = io_lib:format("the trunk from 127.0.0.1:\\d+ \\(certificate of ecm1.example.org, tlsv1.3\\) ", []),
    _ = megaphone_test_ejabberd:await_log(ejabberd(Config),
                                          [Name, "is up: its number is ", integer_to_list(Number), ", its version 2"]),
    megaphone_test_yamux:close(Trunk),
    _ = megaphone_test_ejabberd:await_log(ejabberd(Config), [Name, "is lost with 0 connections: closed by its peer"]).

%% Confirms that the log names the certificate that it did not take, by both versions of TLS, and why.
certificate_that_is_refused(Config) ->
    Other = megaphone_test_certificates:ca("another authority"),
    [begin
         Before = byte_size(megaphone_test_ejabberd:log(ejabberd(Config))),
         refused(Config, tls(Config, megaphone_test_certificates:sign(Ca, Name, Options), Version)),
         _ = megaphone_test_ejabberd:await_log(
               ejabberd(Config), ["the trunk from 127.0.0.1:\\d+ is lost with 0 connections: TLS server.*", Why,
                                  ".*\\(the certificate of ", Name, " is refused\\)"], Before)
     end || {Ca, Name, Options, Why} <- [{Other, "rogue.example.org", [], "Unknown CA"},
                                         {proplists:get_value(ca, Config), "old.example.org",
                                          [{validity, {{2020, 1, 1}, {2020, 2, 1}}}], "Certificate Expired"}],
            Version <- ['tlsv1.2', 'tlsv1.3']].

%% Confirms which name a certificate has, and that control characters of it reach no log.
names_from_a_certificate(Config) ->
    Ca = proplists:get_value(ca, Config),
    Name = fun(#{cert := Der}) -> call(Config, megaphone_peer_certificate, name, [Der]) end,
    ?assertEqual(<<"ecm1.example.org">>, Name(megaphone_test_certificates:sign(Ca, "ecm1.example.org"))),
    ?assertEqual(<<"a?b <b>">>, Name(megaphone_test_certificates:sign(Ca, "a\nb <b>"))),
    ?assertEqual(128, byte_size(Name(megaphone_test_certificates:sign(Ca, lists:duplicate(500, $a))))),
    %% The authority has no DNS name.
    ?assertEqual(<<"the trunks' authority">>, Name(Ca)).

%% Confirms that one line is written as a trunk comes and one as it goes, and none of who said nothing.
trunk_comes_and_goes(Config) ->
    Before = byte_size(megaphone_test_ejabberd:log(ejabberd(Config))),
    {Trunk, Number} = trunk(Config),
    Name = io_lib:format("the trunk from 127.0.0.1:~b ", [megaphone_test_yamux:port(Trunk)]),
    megaphone_test_yamux:close(Trunk),
    _ = megaphone_test_ejabberd:await_log(ejabberd(Config), [Name, "is lost"], Before),
    <<_:Before/binary, Log/binary>> = megaphone_test_ejabberd:log(ejabberd(Config)),
    {match, Lines} = re:run(Log, [".*", Name, ".*"], [global, {capture, first, binary}]),
    ?assertMatch([_, _], Lines),
    [[Up], [Lost]] = Lines,
    ?assertEqual(match, re:run(Up, ["is up: its number is ", Number, ", its version 2$"], [{capture, none}]), Up),
    ?assertEqual(match, re:run(Lost, "is lost with 0 connections: closed by its peer$", [{capture, none}]), Lost).

%% Alarms.

%% Confirms that it is an alarm that no trunk is up, that who has said nothing is none, and that it says since when.
no_trunk_is_an_alarm(Config) ->
    {Trunk, _} = trunk(Config),
    ?assertEqual([], alarms(Config)),
    megaphone_test_yamux:close(Trunk),
    true = megaphone_test_wait:until("an alarm", fun() -> alarms(Config) =/= [] end),
    {ok, Silent} = gen_tcp:connect({127, 0, 0, 1}, element(2, address(Config, default)), []),
    [Alarm] = alarms(Config),
    {match, [Time]} = re:run(Alarm, "^no trunk is up; the last one ended at (\\S+), and the log says why$",
                             [{capture, all_but_first, list}]),
    Age = erlang:system_time(second) - calendar:rfc3339_to_system_time(Time),
    ?assert(Age >= 0 andalso Age < 100, Alarm),
    ?assertMatch([{<<"alarms">>, 1} | _], call(Config, megaphone_commands, counters, [])),
    gen_tcp:close(Silent).

%% Confirms that a listener that has refused its options is an alarm, and so is one whose port another program has.
a_listener_that_does_not_run_is_an_alarm(Config) ->
    [Port, Taken] = megaphone_test_port:free(2),
    {ok, Other} = gen_tcp:listen(Taken, [{ip, {127, 0, 0, 1}}]),
    Wrong = [megaphone_test_config:listener(megaphone_listener, Port, "    ip: \"0.0.0.0\"\n"),
             megaphone_test_config:listener(megaphone_listener, Taken, "    ip: \"127.0.0.1\"\n")],
    _ = megaphone_test_ejabberd:reload(ejabberd(Config), #{listeners => listeners(Config) ++ Wrong}),
    Texts = [iolist_to_binary(io_lib:format("the listener at port ~b does not run; the log says why", [P]))
             || P <- [Port, Taken]],
    true = megaphone_test_wait:until("two alarms", fun() -> Texts -- alarms(Config) =:= [] end),
    gen_tcp:close(Other),
    ok = megaphone_test_ejabberd:reload(ejabberd(Config), #{listeners => listeners(Config)}),
    ?assertEqual(Texts, Texts -- alarms(Config)).

%% WebAdmin.

%% Confirms that the page is in the node's menu, and has the trunks and the totals.
page_shows(Config) ->
    {Trunk, Number} = trunk(Config),
    Session = session(Trunk, #{transport => <<"websocket">>}),
    #{status := 200, html := Menu} = megaphone_test_webadmin:get(web(Config), ?ADMIN, node_path(Config, "")),
    ?assertEqual(match, re:run(Menu, "href=['\"]megaphone/['\"]>Megaphone</a>", [{capture, none}]), Menu),
    #{status := 200} = Page = page(Config),
    Text = megaphone_test_webadmin:text(Page),
    Port = integer_to_binary(megaphone_test_yamux:port(Trunk)),
    [?assertEqual(match, re:run(Text, Pattern, [{capture, none}, multiline]), {Pattern, Text})
     || Pattern <- ["^State: ready$", ["^", Number, "$"], ["^127.0.0.1:", Port, "$"], "^websocket: 1$", "^bytes_in$"]],
    ?assertEqual(nomatch, re:run(Text, "Alarm:")),
    end_session(Session),
    megaphone_test_yamux:close(Trunk),
    true = megaphone_test_wait:until("an alarm", fun() -> alarms(Config) =/= [] end),
    ?assertEqual(match, re:run(megaphone_test_webadmin:text(page(Config)), "^Alarm: no trunk is up; ",
                               [{capture, none}, multiline])).

%% Confirms that a certificate's name is text on the page, whatever it is.
page_escapes(Config) ->
    Name = "<script>alert('&')</script>",
    Trunk = tls_trunk(Config, Name, 'tlsv1.3'),
    #{html := Html} = Page = page(Config),
    ?assertEqual(nomatch, binary:match(Html, <<"<script>alert">>)),
    ?assertNotEqual(nomatch, binary:match(Html, <<"&lt;script&gt;alert(">>)),
    ?assertNotEqual(nomatch, binary:match(megaphone_test_webadmin:text(Page), list_to_binary(Name))),
    megaphone_test_yamux:close(Trunk).

%% Confirms that who is no admin sees nothing and presses nothing.
page_needs_an_admin(Config) ->
    {Trunk, Number} = trunk(Config),
    Page = page(Config),
    [begin
         ?assertMatch(#{status := 401}, megaphone_test_webadmin:get(web(Config), Login, page_path(Config))),
         ?assertMatch(#{status := 401}, press(Config, Login, Page, close_button(Config, Number)))
     end || Login <- [none, {<<"mallory@localhost">>, <<"megaphone">>}, {<<"admin@localhost">>, <<"wrong">>}]],
    ok = megaphone_test_yamux:ping(Trunk),
    megaphone_test_yamux:close(Trunk).

%% Confirms that the buttons do what the commands do, to the trunk that they stand beside.
buttons(Config) ->
    {Kept, KeptNumber} = trunk(Config),
    {Closed, Number} = trunk(Config),
    #{status := 200} = After = press(Config, ?ADMIN, page(Config), close_button(Config, Number)),
    ?assertMatch({ok, _}, megaphone_test_yamux:await_end(Closed)),
    ok = megaphone_test_yamux:ping(Kept),
    ?assertEqual([KeptNumber], [integer_to_binary(N) || #{number := N} <- trunks(Config)]),
    Ports = [integer_to_binary(megaphone_test_yamux:port(Trunk)) || Trunk <- [Kept, Closed]],
    ?assertMatch([{match, _}, nomatch], [re:run(megaphone_test_webadmin:text(After), ["^127.0.0.1:", Port, "$"], [multiline])
                                         || Port <- Ports]),
    Drained = press(Config, ?ADMIN, After, <<"megaphone_drain">>),
    ?assertEqual({ok, 0}, megaphone_test_yamux:await_go_away(Kept)),
    [?assertEqual(match, re:run(megaphone_test_webadmin:text(Drained), Pattern, [{capture, none}, multiline]))
     || Pattern <- ["^State: draining$", "told to go away: 1 now, and those to come"]],
    Ready = press(Config, ?ADMIN, Drained, <<"megaphone_undrain">>),
    ?assertEqual(match, re:run(megaphone_test_webadmin:text(Ready), "^State: ready$", [{capture, none}, multiline])),
    megaphone_test_yamux:close(Kept).

%% Confirms that a request which another site has an admin's browser send presses nothing: it lacks what is hidden in
%% the form, or has another one. ejabberd's own buttons have nothing like that before 26.07.
forged_buttons(Config) ->
    Page = page(Config),
    Tokens = [Name || Name <- megaphone_test_webadmin:hidden(Page, <<"megaphone_drain">>)],
    case {Tokens, is_exported(Config, ejabberd_web_admin, make_command, 4)} of
        {[], true} ->
            {skip, "the buttons of this ejabberd have no token"};
        {[Token], _} ->
            Forgeries = [fun(Fields) -> lists:keydelete(Token, 1, Fields) end,
                         fun(Fields) -> lists:keystore(Token, 1, Fields, {Token, <<"x">>}) end],
            [begin
                 _ = megaphone_test_webadmin:press(web(Config), ?ADMIN, Page, <<"megaphone_drain">>, Forge),
                 ?assertNot(call(Config, megaphone_drain, is_told, []))
             end || Forge <- Forgeries],
            _ = press(Config, ?ADMIN, Page, <<"megaphone_drain">>),
            ?assert(call(Config, megaphone_drain, is_told, []))
    end.

%% Confirms that a node of the cluster shows the page of another one, and that its buttons are about that one.
page_of_another_node(Config) ->
    WebPort = megaphone_test_port:free(),
    Dir = filename:join(proplists:get_value(priv_dir, Config), "cluster"),
    [A, B] = Members = megaphone_test_cluster:start(Dir, [#{}, #{}],
                                                    (settings())#{top => maps:get(top, settings())}),
    try
        ok = megaphone_test_ejabberd:register_users(megaphone_test_cluster:ejabberd(A), [<<"admin">>]),
        {_, TrunkPort} = megaphone_test_cluster:address(A),
        ok = megaphone_test_ejabberd:reload(
               megaphone_test_cluster:ejabberd(A),
               #{listeners => [megaphone_test_config:listener(megaphone_listener, TrunkPort, "    ip: \"127.0.0.1\"\n"),
                               web_listener(WebPort)]}),
        Web = {{127, 0, 0, 1}, WebPort},
        Trunk = megaphone_test_cluster:connect(B),
        ok = megaphone_test_yamux:ping(Trunk),
        Path = ["/admin/node/", atom_to_list(megaphone_test_cluster:node_of(B)), "/megaphone/"],
        Page = megaphone_test_webadmin:get(Web, ?ADMIN, Path),
        Port = integer_to_binary(megaphone_test_yamux:port(Trunk)),
        ?assertEqual(match, re:run(megaphone_test_webadmin:text(Page), ["^127.0.0.1:", Port, "$"],
                                   [{capture, none}, multiline])),
        _ = megaphone_test_webadmin:press(Web, ?ADMIN, Page, <<"megaphone_drain">>),
        ?assertEqual({ok, 0}, megaphone_test_yamux:await_go_away(Trunk)),
        ?assertEqual([false, true], [megaphone_test_cluster:call(Member, megaphone_drain, is_told, []) || Member <- Members]),
        megaphone_test_yamux:close(Trunk)
    after
        megaphone_test_cluster:stop(Members)
    end.

%% The module.

%% Confirms that a reload takes the page away with the module and brings it back, and that trunks and commands stay.
module_comes_and_goes(Config) ->
    {Trunk, _} = trunk(Config),
    ok = megaphone_test_ejabberd:reload(ejabberd(Config), #{modules => ""}),
    ?assertEqual(nomatch, binary:match(maps:get(html, page(Config)), <<"Megaphone at">>)),
    ?assertMatch(#{<<"sessions">> := 0}, pairs(api(Config, "megaphone_counters", #{}))),
    ok = megaphone_test_yamux:ping(Trunk),
    ok = megaphone_test_ejabberd:reload(ejabberd(Config), #{modules => module()}),
    ?assertNotEqual(nomatch, binary:match(maps:get(html, page(Config)), <<"Megaphone at">>)),
    ok = megaphone_test_yamux:ping(Trunk),
    megaphone_test_yamux:close(Trunk).

%% Confirms that the commands come with the module, and say what is missing, and go with it.
module_without_a_listener(Config) ->
    Ejabberd = start_other(Config, "without_listener", #{listeners => [], modules => module()}),
    try
        ?assertMatch([{<<"state">>, <<"ready">>}, {<<"alarms">>, <<"no megaphone_listener is configured; ", _/binary>>} | _],
                     execute(Ejabberd, megaphone_status, [])),
        _ = megaphone_test_ejabberd:reload(Ejabberd, #{modules => ""}),
        ?assertEqual([], commands(Ejabberd)),
        _ = megaphone_test_ejabberd:reload(Ejabberd, #{modules => module()}),
        ?assertEqual(9, length(commands(Ejabberd)))
    after
        megaphone_test_ejabberd:stop(Ejabberd)
    end.

%% Confirms that a listener alone has the commands.
commands_without_the_module(Config) ->
    Port = megaphone_test_port:free(),
    Listener = megaphone_test_config:listener(megaphone_listener, Port, "    ip: \"127.0.0.1\"\n"),
    Ejabberd = start_other(Config, "without_module", #{listeners => [Listener]}),
    try
        true = megaphone_test_wait:until("the commands", fun() -> length(commands(Ejabberd)) =:= 9 end),
        ?assertMatch([{<<"state">>, <<"ready">>},
                      {<<"alarms">>, <<"no trunk is up, and none was since ejabberd started">>} | _],
                     execute(Ejabberd, megaphone_status, []))
    after
        megaphone_test_ejabberd:stop(Ejabberd)
    end.

%% What the cases share.

start_other(Config, Name, Settings) ->
    Dir = filename:join(proplists:get_value(priv_dir, Config), Name),
    case megaphone_test_ejabberd:start(Settings#{dir => Dir}) of
        {ok, Ejabberd} -> Ejabberd;
        {error, {not_started, Log}} -> ct:fail("ejabberd didn't start:~n~ts", [Log])
    end.

execute(Ejabberd, Name, Arguments) ->
    megaphone_test_ejabberd:call(Ejabberd, ejabberd_commands, execute_command2,
                                 [Name, Arguments, #{caller_module => ejabberd_ctl}, 10000]).

commands(Ejabberd) ->
    [Name || {Name, _, _} <- megaphone_test_ejabberd:call(Ejabberd, ejabberd_commands, list_commands, []),
             lists:prefix("megaphone_", atom_to_list(Name))].

%% A trunk that has said something, and its number.
trunk(Config) ->
    Trunk = megaphone_test_listeners:connect(Config),
    ok = megaphone_test_yamux:ping(Trunk),
    #{number := Number} = megaphone_test_listeners:trunk_status(Config, Trunk),
    {Trunk, integer_to_binary(Number)}.

tls_trunk(Config, Name, Version) ->
    Signed = megaphone_test_certificates:sign(proplists:get_value(ca, Config), Name),
    Trunk = megaphone_test_yamux:connect(address(Config, tls), #{tls => tls(Config, Signed, Version)}),
    ok = megaphone_test_yamux:ping(Trunk),
    Trunk.

tls(Config, #{cert := Cert, key := Key}, Version) ->
    [{versions, [Version]}, {cert, Cert}, {key, {'ECPrivateKey', public_key:der_encode('ECPrivateKey', Key)}},
     {cacerts, [maps:get(cert, proplists:get_value(ca, Config))]}, {server_name_indication, "localhost"},
     {verify, verify_peer}].

%% With TLS 1.3 a client is ready before the server has seen its certificate.
refused(Config, Tls) ->
    case megaphone_test_yamux:try_connect(address(Config, tls), #{tls => Tls}) of
        {ok, Trunk} -> ?assertEqual({ok, []}, megaphone_test_yamux:await_end(Trunk));
        {error, _} -> ok
    end.

%% A session whose stream is open.
session(Trunk, Fields) ->
    Header = megaphone_test_session:header(Fields),
    {ok, Session} = megaphone_test_session:open({Trunk, Header}, <<"localhost">>, #{}),
    Session.

end_session(Session) ->
    megaphone_test_session:close(Session).

sessions(Config) ->
    maps:get(sessions, call(Config, megaphone, status, [])).

trunks(Config) ->
    maps:get(trunks, call(Config, megaphone_overview, read, [])).

alarms(Config) ->
    maps:get(alarms, call(Config, megaphone_overview, read, [])).

is_exported(Config, Module, Function, Arity) ->
    {module, Module} = call(Config, code, ensure_loaded, [Module]),
    call(Config, erlang, function_exported, [Module, Function, Arity]).

%% Those that init_per_suite/1 has made.
listeners(Config) ->
    {_, Default} = address(Config, default),
    {_, Tls} = address(Config, tls),
    {_, Web} = web(Config),
    Files = proplists:get_value(files, Config),
    [megaphone_test_config:listener(megaphone_listener, Default, megaphone_test_config:request_handlers()),
     megaphone_test_config:listener(megaphone_listener, Tls, [megaphone_test_config:request_handlers(), tls_options(Files)]),
     web_listener(Web)].

ctl(Config, Arguments) ->
    {ok, Ctl} = proplists:get_value(ctl, Config),
    megaphone_test_ctl:run(Ctl, ejabberd(Config), [unicode:characters_to_list(Argument) || Argument <- Arguments]).

%% ejabberdctl's lines, without what it says of itself.
table(Output) ->
    [binary:split(Line, <<"\t">>, [global])
     || Line <- binary:split(Output, <<"\n">>, [global]), Line =/= <<>>, binary:match(Line, <<"WARNING">>) =:= nomatch].

api(Config, Command, Arguments) ->
    Connection = megaphone_test_http:connect(web(Config)),
    #{status := Status, body := Body} =
        megaphone_test_http:request(Connection, "POST", ["/api/", Command],
                                    [{"Content-Type", "application/json"}], megaphone_test_json:encode(Arguments)),
    megaphone_test_http:close(Connection),
    {Status, megaphone_test_json:decode(Body)}.

pairs({200, Pairs}) ->
    maps:from_list([{Key, Value} || #{<<"key">> := Key, <<"value">> := Value} <- Pairs]).

web(Config) ->
    proplists:get_value(web, Config).

node_path(Config, Rest) ->
    ["/admin/node/", atom_to_list(call(Config, erlang, node, [])), "/", Rest].

page_path(Config) ->
    node_path(Config, "megaphone/").

page(Config) ->
    megaphone_test_webadmin:get(web(Config), ?ADMIN, page_path(Config)).

press(Config, Login, Page, Button) ->
    megaphone_test_webadmin:press(web(Config), Login, Page, Button).

%% The button of a trunk: ejabberd has the number in the button's name, in its own form.
close_button(Config, Number) ->
    case is_exported(Config, ejabberd_web_admin, make_command, 4) of
        true ->
            Id = call(Config, ejabberd_web_admin, term_to_id, [[binary_to_integer(Number)]]),
            <<"megaphone_close_trunk\\Q", Id/binary, "\\E">>;
        false ->
            <<"megaphone_close_trunk/", Number/binary, "['\"]">>
    end.
