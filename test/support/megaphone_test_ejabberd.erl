%% @doc A real ejabberd in an OS process of its own, with its own ports, spool, configuration and log,
%% all under one folder. It is steered over its standard input and output (OTP's peer), so it needs no
%% node name, unless it is to be in a cluster, and it ends with the VM that started it.
-module(megaphone_test_ejabberd).

-behaviour(gen_server).

-export([start/1, start_node/1, stop/1, halt/1, start_halt/1, await_halt/1, kill/1, restart/1, call/4, call/5, peer/1,
         await_sleep/2, unix_sockets/0, register_users/2, configure/2, reload/2, log/1, await_log/2, await_log/3, os_pid/1, dir/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-export_type([ejabberd/0, settings/0]).

-define(BOOT_TIMEOUT, 60_000).
-define(CALL_TIMEOUT, 30_000).
-define(HALT_TIMEOUT, 30_000).

-type ejabberd() :: pid().
%% `dir' is made if need be. `megaphone' is the ebin folder of another Megaphone than the one that the
%% tests run with, `code' has folders of code that come before all others, and `environment' more of the environment.
%% `node' names the node; its port is megaphone_test_epmd's to tell. The rest is megaphone_test_config's.
-type settings() :: #{dir := file:name(), listeners := [iodata()], megaphone => file:name(),
                      code => [file:name()], node => node(), environment => [{string(), string()}],
                      top => iodata(), modules => iodata(), commands_from => iodata()}.

%% @doc Starts ejabberd and answers when it is ready. The error has the end of its log.
-spec start(settings()) -> {ok, ejabberd()} | {error, {not_started, Log :: binary()}}.
start(Settings) ->
    {ok, Ejabberd} = start_node(Settings),
    case restart(Ejabberd) of
        ok -> {ok, Ejabberd};
        {error, _} = Error -> stop(Ejabberd), Error
    end.

%% @doc A handle whose ejabberd isn't running yet; restart/1 starts it.
-spec start_node(settings()) -> {ok, ejabberd()}.
start_node(Settings) ->
    gen_server:start(?MODULE, Settings, []).

%% @doc Stops ejabberd the way an admin does and forgets it. No process of it is left. Fails if it had
%% to be killed, or if something has crashed in it since its first start.
-spec stop(ejabberd()) -> ok.
stop(Ejabberd) ->
    try
        ok = await_halt(start_halt(Ejabberd)),
        Dir = dir(Ejabberd),
        [] = [ct:fail("~ts says ~ts", [Path, Line])
              || Path <- [log_path(Dir), errors_path(Dir)], Line <- crashes(read(Path))],
        ok
    after
        gen_server:stop(Ejabberd)
    end.

%% @doc Stops ejabberd the way an admin does; restart/1 brings it back. Fails if it had to be killed.
-spec halt(ejabberd()) -> ok.
halt(Ejabberd) ->
    await_halt(start_halt(Ejabberd)).

%% @doc Begins to stop it and doesn't wait for the end, which await_halt/1 does.
-spec start_halt(ejabberd()) -> gen_server:request_id().
start_halt(Ejabberd) ->
    gen_server:send_request(Ejabberd, halt).

-spec await_halt(gen_server:request_id()) -> ok.
await_halt(Request) ->
    case gen_server:wait_response(Request, infinity) of
        {reply, ok} -> ok;
        {reply, killed} -> ct:fail("expected ejabberd to stop within ~b ms", [?HALT_TIMEOUT])
    end.

%% @doc Kills the OS process; restart/1 brings it back.
-spec kill(ejabberd()) -> ok.
kill(Ejabberd) ->
    gen_server:call(Ejabberd, kill, infinity).

%% @doc Starts ejabberd again, with the configuration as it is now and with its data.
-spec restart(ejabberd()) -> ok | {error, {not_started, Log :: binary()}}.
restart(Ejabberd) ->
    gen_server:call(Ejabberd, restart, infinity).

%% @doc Calls a function in ejabberd's VM; its exceptions are raised here.
-spec call(ejabberd(), module(), atom(), [term()]) -> term().
call(Ejabberd, Module, Function, Arguments) ->
    call(Ejabberd, Module, Function, Arguments, ?CALL_TIMEOUT).

-spec call(ejabberd(), module(), atom(), [term()], timeout()) -> term().
call(Ejabberd, Module, Function, Arguments, Timeout) ->
    peer:call(peer(Ejabberd), Module, Function, Arguments, Timeout).

%% @doc Waits until a process in ejabberd, such as a session, hibernates.
-spec await_sleep(ejabberd(), pid()) -> true.
await_sleep(Ejabberd, Pid) ->
    megaphone_test_wait:until("the session's sleep",
                              fun() ->
                                      call(Ejabberd, erlang, process_info, [Pid, current_function])
                                          =:= {current_function, {erlang, hibernate, 3}}
                              end).

%% @doc OTP's peer process, for calls while ejabberd stops.
-spec peer(ejabberd()) -> pid().
peer(Ejabberd) ->
    gen_server:call(Ejabberd, peer, infinity).

%% @doc Whether this ejabberd can listen on a Unix socket. From 23.10 to 24.12 its listener crashes at each
%% connection there, as it logs it.
-spec unix_sockets() -> ok | {skip, Reason :: string()}.
unix_sockets() ->
    _ = application:load(ejabberd),
    {ok, Version} = application:get_key(ejabberd, vsn),
    case [list_to_integer(Part) || Part <- lists:sublist(string:lexemes(Version, ".-+~"), 2)] of
        Number when Number >= [23, 10], Number =< [24, 12] ->
            {skip, "ejabberd " ++ Version ++ " can't listen on a Unix socket"};
        _ ->
            ok
    end.

%% @doc Makes accounts at localhost, and the same at impatient.localhost, password `megaphone'.
-spec register_users(ejabberd(), [binary()]) -> ok.
register_users(Ejabberd, Users) ->
    lists:foreach(
      fun({User, Host}) ->
              ok = call(Ejabberd, ejabberd_auth, try_register, [User, Host, <<"megaphone">>])
      end, [{User, Host} || User <- Users, Host <- [<<"localhost">>, <<"impatient.localhost">>]]).

%% @doc Writes another configuration; restart/1 or reload/2 puts it in force.
-spec configure(ejabberd(), #{listeners => [iodata()], top => iodata(), modules => iodata()}) -> ok.
configure(Ejabberd, Settings) ->
    gen_server:call(Ejabberd, {configure, Settings}, infinity).

%% @doc Writes another configuration and has it reloaded, as `ejabberdctl reload_config' does.
-spec reload(ejabberd(), #{listeners => [iodata()], top => iodata(), modules => iodata()}) -> term().
reload(Ejabberd, Settings) ->
    ok = configure(Ejabberd, Settings),
    call(Ejabberd, ejabberd_config, reload, []).

%% @doc All that ejabberd has logged.
-spec log(ejabberd()) -> binary().
log(Ejabberd) ->
    read_log(dir(Ejabberd)).

%% @doc As await_log/3, from the log's beginning.
-spec await_log(ejabberd(), Pattern :: iodata()) -> binary().
await_log(Ejabberd, Pattern) ->
    await_log(Ejabberd, Pattern, 0).

%% @doc Waits until what was logged after the first `Offset' bytes matches the regular expression, and
%% answers the match.
-spec await_log(ejabberd(), Pattern :: iodata(), Offset :: non_neg_integer()) -> binary().
await_log(Ejabberd, Pattern, Offset) ->
    Dir = dir(Ejabberd),
    What = io_lib:format("a line matching ~ts in ~ts", [Pattern, log_path(Dir)]),
    megaphone_test_wait:until(
      What,
      fun() ->
              <<_:Offset/binary, Log/binary>> = read_log(Dir),
              case re:run(Log, Pattern, [{capture, first, binary}]) of
                  {match, [Match]} -> Match;
                  nomatch -> false
              end
      end).

-spec os_pid(ejabberd()) -> string().
os_pid(Ejabberd) ->
    gen_server:call(Ejabberd, os_pid, infinity).

-spec dir(ejabberd()) -> file:name().
dir(Ejabberd) ->
    gen_server:call(Ejabberd, dir, infinity).

init(#{dir := Dir} = Settings) ->
    [ok = filelib:ensure_dir(filename:join([Dir, Folder, "."]))
     || Folder <- ["spool", "files", "upload"]],
    %% All that the VM prints goes where its log is, not into the middle of the test's report.
    {ok, Output} = file:open(filename:join(Dir, "output.log"), [append]),
    true = group_leader(Output, self()),
    ok = write_config(Settings),
    process_flag(trap_exit, true),
    {ok, #{settings => Settings, spool => link_spool(Dir), peer => none, os_pid => none}}.

handle_call(restart, _From, State) ->
    {_, Stopped} = halt_peer(State),
    case start_peer(Stopped) of
        {ok, Started} -> {reply, ok, Started};
        {error, _} = Error -> {reply, Error, Stopped}
    end;
handle_call(halt, _From, State) ->
    {How, Stopped} = halt_peer(State),
    {reply, How, Stopped};
handle_call(kill, _From, #{peer := Peer, os_pid := OsPid} = State) ->
    Monitor = monitor(process, Peer),
    megaphone_test_program:signal(OsPid, "KILL"),
    receive {'DOWN', Monitor, process, Peer, _} -> ok end,
    {reply, ok, State#{peer := none, os_pid := none}};
handle_call({configure, Changes}, _From, #{settings := Settings} = State) ->
    Changed = maps:merge(Settings, Changes),
    {reply, write_config(Changed), State#{settings := Changed}};
handle_call(peer, _From, #{peer := Peer} = State) ->
    {reply, Peer, State};
handle_call(os_pid, _From, #{os_pid := OsPid} = State) ->
    {reply, OsPid, State};
handle_call(dir, _From, #{settings := #{dir := Dir}} = State) ->
    {reply, Dir, State}.

handle_cast(_, State) ->
    {noreply, State}.

handle_info(_, State) ->
    {noreply, State}.

terminate(_Reason, #{spool := Spool}) ->
    file:delete(Spool).

%% ejabberd 24.12 makes a Unix socket in its spool first, under a name that is longer than the one it is to
%% have, and crashes where that path has more than 107 bytes. So the spool has a short name beside its own.
link_spool(Dir) ->
    Link = lists:concat(["/tmp/megaphone-", os:getpid(), "-", erlang:unique_integer([positive])]),
    ok = file:make_symlink(filename:join(Dir, "spool"), Link),
    Link.

start_peer(#{settings := #{dir := Dir} = Settings, spool := Spool} = State) ->
    {ok, Peer, _Node} =
        peer:start(#{connection => standard_io,
                     %% What the emulator and its port programs say on standard error.
                     exec => {"/bin/sh", ["-c", "errors=$1; shift; exec \"$0\" \"$@\" 2>>\"$errors\"",
                                          filename:join([code:root_dir(), "bin", "erl"]),
                                          errors_path(Dir)]},
                     wait_boot => ?BOOT_TIMEOUT,
                     args => ["+S", "2", "+K", "true",
                              "-mnesia", "dir", "\"" ++ Spool ++ "\"",
                              "-ejabberd", "quiet", "true", "log_rate_limit", "100000"]
                     ++ megaphone_test_epmd:arguments(maps:get(node, Settings, nonode@nohost))
                     ++ ["-pa" | code_path(Settings)],
                     env => [{"EJABBERD_CONFIG_PATH", filename:join(Dir, "ejabberd.yml")},
                             {"EJABBERD_LOG_PATH", log_path(Dir)},
                             {"EJABBERD_PID_PATH", ""},
                             {"ERL_CRASH_DUMP", filename:join(Dir, "erl_crash.dump")}
                             | maps:get(environment, Settings, [])]}),
    OsPid = peer:call(Peer, os, getpid, []),
    try peer:call(Peer, application, ensure_all_started, [ejabberd], ?BOOT_TIMEOUT) of
        {ok, _Applications} ->
            {ok, State#{peer := Peer, os_pid := OsPid}};
        {error, Reason} ->
            peer:stop(Peer),
            {error, {not_started, iolist_to_binary(io_lib:format("~p~n~ts", [Reason, tail(Dir)]))}}
    catch
        %% ejabberd halts its VM when it can't start.
        exit:_ ->
            {error, {not_started, tail(Dir)}}
    end.

halt_peer(#{peer := none} = State) ->
    {ok, State};
halt_peer(#{peer := Peer, os_pid := OsPid} = State) ->
    %% Not peer:stop/1: in OTP 25 it calls init:stop() in this VM if the other one has no node name.
    Monitor = monitor(process, Peer),
    catch peer:cast(Peer, init, stop, []),
    How = receive {'DOWN', Monitor, process, Peer, _} -> ok
          after ?HALT_TIMEOUT ->
                  megaphone_test_program:signal(OsPid, "KILL"),
                  receive {'DOWN', Monitor, process, Peer, _} -> killed end
          end,
    {How, State#{peer := none, os_pid := none}}.

write_config(#{dir := Dir, listeners := Listeners} = Settings) ->
    file:write_file(filename:join(Dir, "ejabberd.yml"),
                    megaphone_test_config:yaml(Listeners, Settings)).

%% ejabberd is Debian's, unless ERL_LIBS names another. The handler of the tests is this folder's.
code_path(Settings) ->
    %% The last comes first.
    [maps:get(megaphone, Settings, ebin(megaphone, ".")),
     ebin(ejabberd, "/usr/lib/*/ejabberd-*/ebin"),
     filename:dirname(code:which(megaphone_test_handler))
     | maps:get(code, Settings, [])].

ebin(Module, Pattern) ->
    case {code:which(Module), filelib:wildcard(Pattern)} of
        {Path, _} when is_list(Path) -> filename:dirname(Path);
        {_, [Folder | _]} -> Folder;
        {_, []} -> error({not_installed, Module, Pattern})
    end.

log_path(Dir) ->
    filename:join(Dir, "ejabberd.log").

errors_path(Dir) ->
    filename:join(Dir, "error_output.log").

read_log(Dir) ->
    read(log_path(Dir)).

read(Path) ->
    case file:read_file(Path) of
        {ok, Text} -> Text;
        {error, enoent} -> <<>>
    end.

%% Lines that no test should bring about: crashed processes, and panics of the NIF.
crashes(Text) ->
    case re:run(Text, "^.*(CRASH REPORT|terminated with reason|panicked at).*(\n.*){0,5}",
                [multiline, global, {capture, first, binary}]) of
        {match, Lines} -> lists:append(Lines);
        nomatch -> []
    end.

tail(Dir) ->
    Log = read_log(Dir),
    Size = min(byte_size(Log), 4096),
    iolist_to_binary([binary:part(Log, byte_size(Log), -Size), "\n(the log: ", log_path(Dir), ")"]).
