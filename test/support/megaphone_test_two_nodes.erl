%% @doc An ECM with two nodes of a cluster behind it, `a' and `b', for suites in which sessions leave the first one; and
%% what their clients, by all transports, have in common.
-module(megaphone_test_two_nodes).

-export([start_ecm/3, stop_ecm/1, await_trunks/1, ctl/2, transports/0, target/2, user_of/1, poll/1, next_second/0]).

-type ct_config() :: [{atom(), term()}].

%% @doc Starts an ECM whose nodes are at these addresses; the case's configuration gets what the other functions here ask
%% for, and `ecm'. More of the ECM's configuration may be given, as TOML.
-spec start_ecm([inet:port_number()], iodata(), ct_config()) -> ct_config().
start_ecm(TrunkPorts, More, Config) ->
    [Http, Xmpp] = megaphone_test_port:free(2),
    Dir = proplists:get_value(ecm_dir, Config),
    %% The path of a Unix socket has no more than some hundred bytes.
    Socket = filename:join("/tmp", "megaphone-two-nodes-" ++ os:getpid() ++ ".sock"),
    {ok, Ecm} = megaphone_test_ecm:start(#{dir => Dir, port => Http, trunk_port => 0,
                                           config => config(Http, Xmpp, Socket, TrunkPorts, More)}),
    Started = [{ecm, Ecm}, {http, Http}, {xmpp, Xmpp}, {socket, Socket} | Config],
    ok = await_trunks(Started),
    Started.

config(Http, Xmpp, Socket, TrunkPorts, More) ->
    ["[log]\nlevel = \"debug\"\n",
     "[control]\nsocket = \"", Socket, "\"\n"
     "[nodes]\nslow_start = \"0s\"\n",
     [["[[node]]\nname = \"", Name, "\"\naddress = \"127.0.0.1:", integer_to_list(Port), "\"\n"]
      || {Name, Port} <- lists:zip(["a", "b"], TrunkPorts)],
     "[trunk]\ntrunks = 1\nbackoff_max = \"200ms\"\n",
     "[[listener]]\naddress = \"127.0.0.1:", integer_to_list(Http), "\"\n",
     "[[listener]]\nkind = \"xmpp\"\nstarttls = \"off\"\naddress = \"127.0.0.1:", integer_to_list(Xmpp), "\"\n",
     More].

-spec stop_ecm(ct_config()) -> ok.
stop_ecm(Config) ->
    megaphone_test_ecm:stop(proplists:get_value(ecm, Config)).

%% @doc Waits for a trunk to each node since the ECM has started.
-spec await_trunks(ct_config()) -> ok.
await_trunks(Config) ->
    [megaphone_test_ecm:await_output(proplists:get_value(ecm, Config), ["trunk to ", Name, " is up"])
     || Name <- ["a", "b"]],
    ok.

%% @doc Says a command to the ECM.
-spec ctl([string()], ct_config()) -> ok.
ctl(Words, Config) ->
    Log = filename:join(proplists:get_value(ecm_dir, Config), "ctl.log"),
    Arguments = ["ctl", "--socket", proplists:get_value(socket, Config) | Words],
    {0, _} = megaphone_test_program:run(megaphone_test_ecm:path(), Arguments, #{log => Log}),
    ok.

-spec transports() -> [megaphone_test_xmpp:transport()].
transports() ->
    [megaphone_test_c2s, megaphone_test_websocket, megaphone_test_bosh].

%% @doc Where clients of a transport connect to.
-spec target(megaphone_test_xmpp:transport(), ct_config()) -> megaphone_test_http:target().
target(megaphone_test_c2s, Config) -> {{127, 0, 0, 1}, proplists:get_value(xmpp, Config), []};
target(_Transport, Config) -> {{127, 0, 0, 1}, proplists:get_value(http, Config), []}.

-spec user_of(megaphone_test_xmpp:client()) -> binary().
user_of(Client) ->
    hd(binary:split(megaphone_test_xmpp:jid(Client), <<"@">>)).

%% @doc Has a request of a BOSH client wait for an answer: its session moves later if none does.
-spec poll(megaphone_test_xmpp:client()) -> megaphone_test_xmpp:client().
poll(#{transport := megaphone_test_bosh, state := State} = Client) ->
    megaphone_test_xmpp:update(Client, megaphone_test_bosh:post(State, []));
poll(Client) ->
    Client.

%% @doc Waits until it is another second: by the second ejabberd tells which of two nodes' sessions is newer.
-spec next_second() -> ok.
next_second() ->
    Second = erlang:system_time(second),
    true = megaphone_test_wait:until("the next second", fun() -> erlang:system_time(second) > Second end),
    ok.
