%% @doc The ejabberdctl that came with ejabberd, for an ejabberd that megaphone_test_ejabberd has started with a node
%% name. As it changes to the user that ejabberd is installed for, a copy of it runs that does not.
-module(megaphone_test_ctl).

-export([install/1, run/3]).

-type ctl() :: #{program := file:name(), dir := file:name()}.

%% @doc Makes the copy, under a folder of its own.
-spec install(file:name()) -> {ok, ctl()} | {skip, Reason :: string()}.
install(Dir) ->
    Program = filename:join(Dir, "ejabberdctl"),
    ok = filelib:ensure_dir(Program),
    case os:find_executable("ejabberdctl", "/usr/sbin:/usr/bin:/usr/local/sbin") of
        false ->
            {skip, "there is no ejabberdctl"};
        Original ->
            {ok, Script} = file:read_file(Original),
            Copy = re:replace(Script, "^INSTALLUSER=.*$", "INSTALLUSER=", [multiline, {return, binary}]),
            ok = file:write_file(Program, Copy),
            ok = file:change_mode(Program, 8#755),
            ok = file:write_file(filename:join(Dir, "ejabberdctl.cfg"), "ERL_OPTIONS='-setcookie megaphone'\n"),
            ok = file:write_file(filename:join(Dir, "inetrc"), ""),
            {ok, #{program => Program, dir => Dir}}
    end.

%% @doc Runs a command; there is no epmd, so the port says which node is meant.
-spec run(ctl(), megaphone_test_ejabberd:ejabberd(), [string()]) -> {Status :: non_neg_integer(), Output :: binary()}.
run(#{program := Program, dir := Dir}, Ejabberd, Arguments) ->
    Node = megaphone_test_ejabberd:call(Ejabberd, erlang, node, []),
    [_, Port, _] = string:lexemes(atom_to_list(Node), "-@"),
    Home = megaphone_test_ejabberd:dir(Ejabberd),
    megaphone_test_program:run(
      Program, ["--config-dir", Dir, "--ctl-config", filename:join(Dir, "ejabberdctl.cfg"),
                "--config", filename:join(Home, "ejabberd.yml"), "--logs", Dir, "--spool", Dir,
                "--node", atom_to_list(Node) | Arguments],
      #{log => filename:join(Dir, "ejabberdctl.log"), env => [{"ERL_DIST_PORT", Port}, {"HOME", Dir}], cd => Dir}).
