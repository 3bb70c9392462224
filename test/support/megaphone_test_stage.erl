%% @doc Sets the stage of an end-to-end group: an ejabberd, and what stands between it and the clients.
%% A group named `plain' has nothing there, its clients reach ejabberd_http: it proves that the cases
%% are right. A group named `ecm' has the ECM with four trunks, and megaphone_listener there; one named
%% `ecm_v1' has one trunk of version 1 instead.
-module(megaphone_test_stage).

-export([start/2, start/3, stop/1, target/1, target_from/2, ejabberd/1, ecm/1, trunk_port/1, trunks/1, user/2,
         http_processes/1]).

-export_type([path/0]).

-type path() :: plain | ecm | ecm_v1.
-type ct_config() :: [{atom(), term()}].
-type settings() :: #{top => iodata(), modules => iodata(),
                      %% More options of megaphone_listener or ejabberd_http, as YAML.
                      options => iodata(),
                      %% More listeners of ejabberd's, megaphone_test_config:listener/3's.
                      more_listeners => [iodata()],
                      %% More of the ECM's configuration, as TOML: before its tables, and behind them.
                      ecm_top => iodata(), ecm => iodata()}.

-spec start(path(), ct_config()) -> ct_config().
start(Path, Config) ->
    start(Path, Config, #{}).

%% @doc Starts it under the suite's private folder. The case's configuration gets what the other
%% functions here ask for.
-spec start(path(), ct_config(), settings()) -> ct_config().
start(plain, Config, Settings) ->
    Port = megaphone_test_port:free(),
    Ejabberd = start_ejabberd(ejabberd_http, Port, plain, Config, Settings),
    [{ejabberd, Ejabberd}, {ecm, none}, {target, {{127, 0, 0, 1}, Port}} | Config];
start(Path, Config, Settings) ->
    [Port, TrunkPort] = megaphone_test_port:free(2),
    Ejabberd = start_ejabberd(megaphone_listener, TrunkPort, Path, Config, Settings),
    try
        {ok, Ecm} = megaphone_test_ecm:start(
                      #{dir => filename:join(proplists:get_value(priv_dir, Config), Path),
                        port => Port,
                        trunk_port => TrunkPort,
                        trunk => ecm_trunk(Path),
                        top => maps:get(ecm_top, Settings, ""),
                        more => maps:get(ecm, Settings, "")}),
        [{ejabberd, Ejabberd}, {ecm, Ecm}, {trunk_port, TrunkPort}, {path, Path},
         {target, {{127, 0, 0, 1}, Port}} | Config]
    catch Class:Reason:Stack ->
            megaphone_test_ejabberd:stop(Ejabberd),
            erlang:raise(Class, Reason, Stack)
    end.

%% @doc Stops all that start/3 started.
-spec stop(ct_config()) -> ok.
stop(Config) ->
    try
        case ecm(Config) of
            none -> ok;
            Ecm -> megaphone_test_ecm:stop(Ecm)
        end
    after
        megaphone_test_ejabberd:stop(ejabberd(Config))
    end.

%% @doc Where clients connect to.
-spec target(ct_config()) -> megaphone_test_http:target().
target(Config) ->
    proplists:get_value(target, Config).

%% @doc The same for clients that come from an address of their own, such as 127.0.0.5.
-spec target_from(inet:ip_address(), ct_config()) -> megaphone_test_http:target().
target_from(Address, Config) ->
    {Host, Port} = target(Config),
    {Host, Port, [{ip, Address}]}.

-spec ejabberd(ct_config()) -> megaphone_test_ejabberd:ejabberd().
ejabberd(Config) ->
    proplists:get_value(ejabberd, Config).

-spec ecm(ct_config()) -> megaphone_test_ecm:ecm() | none.
ecm(Config) ->
    proplists:get_value(ecm, Config).

%% @doc Where megaphone_listener listens.
-spec trunk_port(ct_config()) -> inet:port_number().
trunk_port(Config) ->
    proplists:get_value(trunk_port, Config).

%% @doc How many trunks the ECM keeps up.
-spec trunks(ct_config()) -> pos_integer().
trunks(Config) ->
    trunk_count(proplists:get_value(path, Config)).

%% @doc Makes an account that no other case has; its name starts with the one given.
-spec user(ct_config(), binary()) -> binary().
user(Config, Name) ->
    Unique = integer_to_binary(erlang:unique_integer([positive])),
    User = <<Name/binary, "-", Unique/binary>>,
    ok = megaphone_test_ejabberd:register_users(ejabberd(Config), [User]),
    User.

%% @doc The processes of ejabberd_http that are alive in ejabberd now.
-spec http_processes(ct_config()) -> [pid()].
http_processes(Config) ->
    megaphone_test_ejabberd:call(ejabberd(Config), megaphone_test_handler, http_processes, []).

ecm_trunk(Path) ->
    io_lib:format("protocol = \"~s\"~ntrunks = ~b~n", [protocol(Path), trunk_count(Path)]).

protocol(ecm) -> v2;
protocol(ecm_v1) -> v1.

trunk_count(ecm) -> 4;
trunk_count(ecm_v1) -> 1.

%% With version 1 the ECM tells the client's address in X-Forwarded-For alone; else ejabberd needs to
%% believe nobody.
trusted_proxies(ecm_v1) -> "trusted_proxies: [\"127.0.0.1\", \"127.0.0.9\"]\n";
trusted_proxies(_) -> "".

start_ejabberd(Module, Port, Path, Config, Settings) ->
    Options = ["    ip: \"127.0.0.1\"\n", megaphone_test_config:request_handlers(),
               maps:get(options, Settings, "")],
    Start = (maps:with([modules], Settings))
        #{top => [trusted_proxies(Path), maps:get(top, Settings, "")],
          dir => filename:join(proplists:get_value(priv_dir, Config), Path),
          listeners => [megaphone_test_config:listener(Module, Port, Options)
                        | maps:get(more_listeners, Settings, [])]},
    case megaphone_test_ejabberd:start(Start) of
        {ok, Ejabberd} -> Ejabberd;
        {error, {not_started, Log}} -> ct:fail("ejabberd didn't start:~n~ts", [Log])
    end.
