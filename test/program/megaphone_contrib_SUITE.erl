%% The folder of `make contrib', installed into a real ejabberd that has no Megaphone, as `ejabberdctl module_install'
%% does it, used, and removed while users are online.
-module(megaphone_contrib_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([install_use_and_remove/1, the_nif_is_missing/1]).

suite() ->
    [{timetrap, {minutes, 2}}].

all() ->
    [install_use_and_remove, the_nif_is_missing].

init_per_suite(Config) ->
    Dir = filename:join(proplists:get_value(priv_dir, Config), ?MODULE),
    Repository = megaphone_test_program:repository(),
    Folder = filename:join(Dir, "contrib"),
    ok = filelib:ensure_path(Dir),
    {0, _} = megaphone_test_program:run(filename:join(Repository, "packaging/contrib/make.sh"), [Folder],
                                        #{log => filename:join(Dir, "make.log")}),
    [{dir, Dir}, {folder, Folder} | Config].

end_per_suite(_Config) ->
    ok.

%% Confirms that clients chat through what was installed, also after ejabberd was started again, that removing it ends
%% their sessions and nothing else, and that ejabberd then starts without it.
install_use_and_remove(Config) ->
    #{ejabberd := Ejabberd, port := Port} = Started = start(?FUNCTION_NAME, Config),
    ok = install(Started),
    ok = megaphone_test_ejabberd:register_users(Ejabberd, [<<"alice">>, <<"bob">>, <<"carol">>]),
    Address = {{127, 0, 0, 1}, megaphone_test_port:free()},
    {ok, Ecm} = megaphone_test_ecm:start(#{dir => filename:join(proplists:get_value(dir, Config), "ecm"),
                                           port => element(2, Address), trunk_port => Port}),
    chat(Address),
    0 = megaphone_test_ecm:terminate(Ecm),
    ok = megaphone_test_ejabberd:halt(Ejabberd),
    ok = megaphone_test_ejabberd:restart(Ejabberd),
    ok = megaphone_test_ecm:restart(Ecm),
    chat(Address),
    Carol = megaphone_test_resumption:without(login(Address, <<"carol">>)),
    ?assertEqual(0, ejabberdctl(Ejabberd, ["module_uninstall", "megaphone"])),
    ?assertMatch({#{condition := <<"system-shutdown">>}, _}, megaphone_test_resumption:drain(Carol)),
    ?assertEqual({error, econnrefused}, gen_tcp:connect({127, 0, 0, 1}, Port, [])),
    ?assertEqual([], filelib:wildcard(filename:join(maps:get(modules, Started), "megaphone"))),
    ok = megaphone_test_ecm:stop(Ecm),
    ok = megaphone_test_ejabberd:halt(Ejabberd),
    ok = megaphone_test_ejabberd:restart(Ejabberd),
    ?assertEqual(non_existing, megaphone_test_ejabberd:call(Ejabberd, code, which, [megaphone])),
    ok = megaphone_test_ejabberd:stop(Ejabberd).

%% Confirms that without the NIF ejabberd goes on, and that its log says what to do.
the_nif_is_missing(Config) ->
    #{ejabberd := Ejabberd, sources := Sources} = Started = start(?FUNCTION_NAME, Config),
    ok = file:del_dir_r(filename:join(Sources, "c_src")),
    ok = install(Started),
    _ = megaphone_test_ejabberd:await_log(Ejabberd, "does not start: the NIF can't be loaded: .*Build it"),
    ok = megaphone_test_ejabberd:stop(Ejabberd).

%% An ejabberd without Megaphone, which finds the folder as one of its packages.
start(Name, Config) ->
    Dir = filename:join(proplists:get_value(dir, Config), atom_to_list(Name)),
    Modules = filename:join(Dir, "modules"),
    Sources = filename:join([Modules, "sources", "megaphone"]),
    ok = filelib:ensure_dir(Sources),
    {0, _} = megaphone_test_program:run("/bin/cp", ["-R", proplists:get_value(folder, Config), Sources],
                                        #{log => filename:join(Dir, "cp.log")}),
    Port = megaphone_test_port:free(),
    Yaml = filename:join([Sources, "conf", "megaphone.yml"]),
    {ok, Text} = file:read_file(Yaml),
    ok = file:write_file(Yaml, string:replace(Text, "5290", integer_to_list(Port))),
    Nowhere = filename:join(Dir, "nowhere"),
    {ok, Ejabberd} = megaphone_test_ejabberd:start(#{dir => Dir, listeners => [], megaphone => Nowhere,
                                                     environment => [{"CONTRIB_MODULES_PATH", Modules}]}),
    ?assertEqual(non_existing, megaphone_test_ejabberd:call(Ejabberd, code, which, [megaphone])),
    #{ejabberd => Ejabberd, port => Port, modules => Modules, sources => Sources}.

install(#{ejabberd := Ejabberd}) ->
    ?assertEqual(0, ejabberdctl(Ejabberd, ["module_install", "megaphone"])),
    ok.

%% What the script ejabberdctl has ejabberd do.
ejabberdctl(Ejabberd, Words) ->
    megaphone_test_ejabberd:call(Ejabberd, ejabberd_ctl, process, [Words], 60_000).

login(Address, User) ->
    megaphone_test_xmpp:login(megaphone_test_websocket, Address, User).

chat(Address) ->
    {Alice, Bob} = megaphone_test_xmpp:chat(login(Address, <<"alice">>), login(Address, <<"bob">>), 10),
    lists:foreach(fun megaphone_test_xmpp:logout/1, [Alice, Bob]).
