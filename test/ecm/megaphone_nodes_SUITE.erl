%% One ECM with several real ejabberds behind it: who goes where, what an operator does, and what happens when one is
%% stopped, restarted, or only found by its name. The ejabberds know nothing of one another: it is the ECM that is
%% tested here.
-module(megaphone_nodes_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([shared/1, drained/1, maintained/1, stopped_and_continued/1, restarted/1, found_by_name/1,
         strangers_that_do_not_log_in/1, a_slow_database/1]).

%% How many may wait for a slow database at once.
-define(LOGINS, 2).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [shared, drained, maintained, stopped_and_continued, restarted, found_by_name, strangers_that_do_not_log_in,
     a_slow_database].

init_per_suite(Config) ->
    Dir = proplists:get_value(priv_dir, Config),
    %% Two addresses, so that a name can have both with one port.
    Port = megaphone_test_port:free(),
    [A, B] = [start_ejabberd(filename:join(Dir, Name), Ip, Port) || {Name, Ip} <- addresses()],
    [{a, A}, {b, B}, {trunk_port, Port} | Config].

end_per_suite(Config) ->
    [ok = megaphone_test_ejabberd:stop(ejabberd(Config, Name)) || Name <- [a, b]],
    ok.

addresses() ->
    [{"a", "127.0.0.1"}, {"b", "127.0.0.2"}].

start_ejabberd(Dir, Ip, Port) ->
    Listener = megaphone_test_config:listener(megaphone_listener, integer_to_list(Port),
                                              ["    ip: \"", Ip, "\"\n", megaphone_test_config:request_handlers()]),
    {ok, Ejabberd} = megaphone_test_ejabberd:start(#{dir => Dir, listeners => [Listener]}),
    ok = megaphone_test_ejabberd:register_users(Ejabberd, [user(N) || N <- lists:seq(1, 20)]),
    Ejabberd.

init_per_testcase(Case, Config) ->
    Dir = filename:join(proplists:get_value(priv_dir, Config), Case),
    [Port, DnsPort, HttpPort, MetricsPort] = megaphone_test_port:free(4),
    %% The path of a Unix socket has no more than some hundred bytes, of which the suite's folder alone takes more.
    Socket = filename:join("/tmp", "megaphone-nodes-" ++ os:getpid() ++ ".sock"),
    Dns = start_dns(Case, Dir, DnsPort),
    {ok, Ecm} = megaphone_test_ecm:start(#{dir => Dir, port => Port, trunk_port => 0, await => port,
                                           config => ecm_config(Port, HttpPort, MetricsPort, Socket,
                                                                nodes(Case, Config, DnsPort))}),
    [megaphone_test_ecm:await_output(Ecm, ["trunk to ", Name, " is up"]) || Name <- names(Case, Config)],
    [{ecm, Ecm}, {port, Port}, {http, HttpPort}, {metrics, MetricsPort}, {socket, Socket}, {dns, Dns}, {dir, Dir} | Config].

end_per_testcase(_, Config) ->
    ok = megaphone_test_ecm:stop(proplists:get_value(ecm, Config)),
    case proplists:get_value(dns, Config) of
        none -> ok;
        {Program, _Hosts} -> megaphone_test_program:kill(Program)
    end,
    [megaphone_test_wait:until("no session to be left", fun() -> online(Config, Name) =:= 0 end) || Name <- [a, b]],
    ok.

ecm_config(Port, HttpPort, MetricsPort, Socket, Nodes) ->
    ["[trunk]\ntrunks = 2\nbackoff_max = \"200ms\"\n"
     "[[listener]]\naddress = \"127.0.0.1:", integer_to_list(Port), "\"\nkind = \"xmpp\"\nstarttls = \"off\"\n"
     "[[listener]]\naddress = \"127.0.0.1:", integer_to_list(HttpPort), "\"\n"
     "[metrics]\naddress = \"127.0.0.1:", integer_to_list(MetricsPort), "\"\n"
     "[control]\nsocket = \"", Socket, "\"\n"
     %% No session can move between nodes that are in no cluster.
     "[nodes]\nrebalance = false\nmaintenance_timeout = \"0s\"\nslow_start = \"0s\"\nping_interval = \"1s\"\nping_timeout = \"3s\"\neject_min = \"1s\"\n", Nodes].

nodes(found_by_name, Config, DnsPort) ->
    ["name_servers = [\"127.0.0.1:", integer_to_list(DnsPort), "\"]\n"
     "[[node]]\naddress = \"ejabberd.test:", integer_to_list(trunk_port(Config)), "\"\n"];
nodes(strangers_that_do_not_log_in, Config, DnsPort) ->
    ["login_timeout = \"500ms\"\neject_after = 3\n", nodes(any, Config, DnsPort)];
nodes(a_slow_database, Config, _) ->
    ["[limits]\nlogins_at_once = ", integer_to_list(?LOGINS), "\n"
     "[[node]]\naddress = \"127.0.0.1:", integer_to_list(trunk_port(Config)), "\"\nname = \"a\"\n"];
nodes(_, Config, _) ->
    [["[[node]]\naddress = \"", Ip, ":", integer_to_list(trunk_port(Config)), "\"\nname = \"", Name, "\"\n"]
     || {Name, Ip} <- addresses()].

names(found_by_name, Config) ->
    [by_name(Config, Ip) || Ip <- ["127.0.0.1", "127.0.0.2"]];
names(a_slow_database, _) ->
    ["a"];
names(_, _) ->
    ["a", "b"].

by_name(Config, Ip) ->
    ["ejabberd.test/", Ip, ":", integer_to_list(trunk_port(Config))].

start_dns(found_by_name, Dir, Port) ->
    Hosts = filename:join(Dir, "hosts"),
    ok = filelib:ensure_dir(Hosts),
    ok = file:write_file(Hosts, "127.0.0.1 ejabberd.test\n127.0.0.2 ejabberd.test\n"),
    {ok, Program} = megaphone_test_program:start(
                      os:find_executable("dnsmasq"),
                      ["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                       "--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file=", "--local-ttl=1", "--user=",
                       "--log-facility=-", "--local=/test/", ["--port=", integer_to_list(Port)],
                       ["--addn-hosts=", Hosts]],
                      #{log => filename:join(Dir, "dnsmasq.log")}),
    {Program, Hosts};
start_dns(_, _, _) ->
    none.

%% Confirms that sessions go to both ejabberds, and that a client of each is served.
shared(Config) ->
    Clients = login(Config, 1, 6),
    ?assertEqual({3, 3}, {online(Config, a), online(Config, b)}),
    ?assertMatch([[<<"a">>, <<"ready">>, <<"well">>, <<"2">>, <<"3">> | _], [<<"b">>, _, _, <<"2">>, <<"3">> | _]],
                 table(Config)),
    logout(talk(Clients)).

%% Confirms that a node that is drained keeps its sessions and gets none, until it is ready.
drained(Config) ->
    Before = login(Config, 1, 4),
    ?assertEqual({0, <<"node b gets no new sessions; it has 2\n">>}, ctl(Config, ["drain", "b"])),
    Drained = login(Config, 5, 8),
    ?assertEqual({6, 2}, {online(Config, a), online(Config, b)}),
    ?assertEqual({0, <<"node b is ready\n">>}, ctl(Config, ["ready", "b"])),
    After = login(Config, 9, 12),
    ?assertEqual({6, 6}, {online(Config, a), online(Config, b)}),
    logout(talk(Before ++ Drained ++ After)).

%% Confirms that a node in maintenance has neither trunks nor sessions, and that the others' clients don't notice.
maintained(Config) ->
    Clients = login(Config, 1, 4),
    ?assertEqual({0, <<"node b is in maintenance; its 2 sessions end\n">>}, ctl(Config, ["maintenance", "b"])),
    megaphone_test_wait:until("b's sessions to end", fun() -> online(Config, b) =:= 0 end),
    ?assertMatch([_, [<<"b">>, <<"maintenance">>, <<"down">>, <<"0">>, <<"0">> | _]], table(Config)),
    %% They came in turn.
    {Kept, Lost} = lists:partition(fun(Client) -> is_online(Config, a, Client) end, Clients),
    ?assertEqual({2, 2}, {length(Kept), length(Lost)}),
    More = login(Config, 5, 6),
    ?assertEqual(4, online(Config, a)),
    {0, _} = ctl(Config, ["ready", "b"]),
    await_well(Config),
    logout(talk(Kept ++ More)).

%% Confirms that an ejabberd that stands still is left, that its clients stay, and that it comes back.
stopped_and_continued(Config) ->
    Clients = login(Config, 1, 4),
    OsPid = megaphone_test_ejabberd:os_pid(ejabberd(Config, b)),
    ok = megaphone_test_program:signal(OsPid, "STOP"),
    More = try
               output(Config, "node b is ejected for \\S+: it does not answer pings"),
               Found = login(Config, 5, 10),
               ?assertEqual(8, online(Config, a)),
               {0, Text} = ctl(Config, ["nodes"]),
               ?assertMatch({match, _}, re:run(Text, "\nb +ready +ejected \\(silent\\) +2 +2 ")),
               Found
           after
               ok = megaphone_test_program:signal(OsPid, "CONT")
           end,
    output(Config, "node b is used again"),
    After = login(Config, 11, 12),
    ?assertEqual({8, 4}, {online(Config, a), online(Config, b)}),
    logout(talk(Clients ++ More ++ After)).

%% Confirms that an ejabberd that restarts costs its own clients alone, and gets new ones when it is back.
restarted(Config) ->
    Clients = login(Config, 1, 4),
    Kept = [Client || Client <- Clients, is_online(Config, a, Client)],
    ok = megaphone_test_ejabberd:halt(ejabberd(Config, b)),
    output(Config, "no trunk to b"),
    More = login(Config, 5, 6),
    ?assertEqual(4, online(Config, a)),
    ok = megaphone_test_ejabberd:restart(ejabberd(Config, b)),
    await_well(Config),
    After = login(Config, 7, 10),
    ?assertEqual({4, 4}, {online(Config, a), online(Config, b)}),
    logout(talk(Kept ++ More ++ After)).

%% Confirms that each address of a name is a node, and that one the name has no longer drains.
found_by_name(Config) ->
    Clients = login(Config, 1, 4),
    ?assertEqual({2, 2}, {online(Config, a), online(Config, b)}),
    {Program, Hosts} = proplists:get_value(dns, Config),
    ok = file:write_file(Hosts, "127.0.0.1 ejabberd.test\n"),
    ok = megaphone_test_program:signal(megaphone_test_program:os_pid(Program), "HUP"),
    output(Config, "no longer has the address 127.0.0.2:\\d+"),
    More = login(Config, 5, 8),
    ?assertEqual({6, 2}, {online(Config, a), online(Config, b)}),
    logout(talk(Clients ++ More)),
    output(Config, ["node ", by_name(Config, "127.0.0.2"), " has ended"]),
    ?assertMatch([_], table(Config)).

%% Confirms that no node is left because of clients that begin to log in and don't go on, or don't take the answer.
strangers_that_do_not_log_in(Config) ->
    Strangers = lists:seq(1, 10),
    Silent = [begin
                  {ok, Client} = megaphone_test_c2s:open(target(Config), <<"localhost">>, #{}),
                  %% ejabberd answers it to nobody.
                  {ok, Said} = megaphone_test_c2s:send(Client, "<presence type='error'/>"),
                  Said
              end || _ <- Strangers],
    Http = {{127, 0, 0, 1}, proplists:get_value(http, Config)},
    Wrong = base64:encode(<<0, "user1", 0, "wrong">>),
    [begin
         {ok, Client} = megaphone_test_bosh:open(Http, <<"localhost">>, #{}),
         Asked = megaphone_test_bosh:post(Client, ["<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>",
                                                   Wrong, "</auth>"]),
         megaphone_test_bosh:drop(Asked)
     end || _ <- Strangers],
    megaphone_test_wait:until("ejabberd's answers", fun() -> failures(Config) >= length(Strangers) end),
    megaphone_test_wait:until("no login to be waited for",
                              fun() -> [] =:= [Row || Row <- table(Config), not has_word(<<"^0/">>, Row)] end),
    [?assertEqual({<<"well">>, <<"0">>}, {lists:nth(3, Row), lists:last(Row)}) || Row <- table(Config)],
    [megaphone_test_c2s:close(Client) || Client <- Silent],
    logout(talk(login(Config, 1, 2))).

%% Confirms that a database behind ejabberd has no more queries at once than logins may run, however many clients have
%% opened their streams before, and that all of them log in then.
a_slow_database(Config) ->
    Ejabberd = ejabberd(Config, a),
    Database = megaphone_test_database:start(proplists:get_value(dir, Config)),
    Http = {{127, 0, 0, 1}, proplists:get_value(http, Config)},
    Transports = [{megaphone_test_c2s, target(Config)}, {megaphone_test_websocket, Http}, {megaphone_test_bosh, Http}],
    Logins = [{Transport, Target, user(N)} || {Transport, Target} <- Transports, N <- lists:seq(1, 4)],
    Self = self(),
    ok = reload(Ejabberd, megaphone_test_database:options(Database, length(Logins))),
    try
        Clients = [spawn_link(fun() ->
                                      Client = megaphone_test_xmpp:login(Transport, Target, User, #{}),
                                      Self ! {self(), online},
                                      receive leave -> megaphone_test_xmpp:logout(Client) end
                              end) || {Transport, Target, User} <- Logins],
        megaphone_test_wait:until("the other logins to wait",
                                  fun() -> has_logins(?LOGINS, length(Logins) - ?LOGINS, Config)
                                               andalso megaphone_test_database:asked(Database) =:= ?LOGINS
                                  end),
        ok = megaphone_test_database:answer_all(Database),
        [receive {Client, online} -> ok end || Client <- Clients],
        ?assertEqual(?LOGINS, megaphone_test_database:most(Database)),
        [Client ! leave || Client <- Clients],
        [megaphone_test_wait:for_down(Client, 10_000) || Client <- Clients],
        ok
    after
        ok = reload(Ejabberd, ""),
        ok = megaphone_test_database:stop(Database)
    end.

reload(Ejabberd, Top) ->
    ok = megaphone_test_ejabberd:reload(Ejabberd, #{top => Top}).

%% Whether so many logins wait for ejabberd's answer, and for their turn.
has_logins(Running, Waiting, Config) ->
    Connection = megaphone_test_http:connect({{127, 0, 0, 1}, proplists:get_value(metrics, Config)}),
    ok = megaphone_test_http:send(Connection, megaphone_test_http:encode("GET", "/metrics", [], [])),
    #{status := 200, body := Metrics} = megaphone_test_http:recv(Connection),
    megaphone_test_http:close(Connection),
    lists:all(fun({Name, Value}) ->
                      Line = ["\nmegaphone_ecm_logins_", Name, $\s, integer_to_list(Value), $\n],
                      binary:match(Metrics, iolist_to_binary(Line)) =/= nomatch
              end, [{"running", Running}, {"waiting", Waiting}]).

failures(Config) ->
    lists:sum([case re:run(megaphone_test_ejabberd:log(ejabberd(Config, Name)), "Failed c2s PLAIN", [global]) of
                   {match, Lines} -> length(Lines);
                   nomatch -> 0
               end || Name <- [a, b]]).

has_word(Pattern, Row) ->
    lists:any(fun(Word) -> re:run(Word, Pattern) =/= nomatch end, Row).

await_well(Config) ->
    megaphone_test_wait:until("b to be well", fun() ->
                                                      [_, [_, _, Condition | _]] = table(Config),
                                                      Condition =:= <<"well">>
                                              end).

ejabberd(Config, Name) ->
    proplists:get_value(Name, Config).

trunk_port(Config) ->
    proplists:get_value(trunk_port, Config).

user(N) ->
    <<"user", (integer_to_binary(N))/binary>>.

login(Config, From, To) ->
    [megaphone_test_xmpp:login(megaphone_test_c2s, target(Config), user(N), #{}) || N <- lists:seq(From, To)].

target(Config) ->
    {{127, 0, 0, 1}, proplists:get_value(port, Config)}.

%% @doc Each says something to itself.
talk(Clients) ->
    [begin
         Jid = megaphone_test_xmpp:jid(Client),
         Said = megaphone_test_xmpp:send_message(Client, Jid, "here"),
         {{Jid, <<"here">>}, Heard} = megaphone_test_xmpp:recv_message(Said),
         Heard
     end || Client <- Clients].

logout(Clients) ->
    [megaphone_test_xmpp:logout(Client) || Client <- Clients],
    ok.

online(Config, Name) ->
    megaphone_test_ejabberd:call(ejabberd(Config, Name), ejabberd_sm, connected_users_number, []).

is_online(Config, Name, Client) ->
    [User, _] = binary:split(megaphone_test_xmpp:jid(Client), <<"@">>),
    [] =/= megaphone_test_ejabberd:call(ejabberd(Config, Name), ejabberd_sm, get_user_resources,
                                        [User, <<"localhost">>]).

output(Config, Pattern) ->
    megaphone_test_ecm:await_output(proplists:get_value(ecm, Config), Pattern).

ctl(Config, Words) ->
    Socket = proplists:get_value(socket, Config),
    Log = filename:join(proplists:get_value(dir, Config), "ctl.log"),
    megaphone_test_program:run(megaphone_test_ecm:path(), ["ctl", "--socket", Socket | Words], #{log => Log}).

%% @doc The table of nodes without its head, a list of words for each.
table(Config) ->
    {0, Text} = ctl(Config, ["nodes"]),
    [_ | Rows] = binary:split(Text, <<"\n">>, [global, trim]),
    [re:split(Row, " +", [trim]) || Row <- Rows].
