%% Runs inside the ejabberd of `make run`: creates the users, and tells run.sh how far it is by
%% writing lines to Events, a named pipe.
-module(megaphone_run).

-export([main/1]).

-define(HOST, <<"localhost">>).
-define(PASSWORD, <<"megaphone">>).
-define(BATCH, 5000).

%% Called by erl's -run once ejabberd is up. Writes "started", "users Done Total" after each batch and
%% "users-ready" at the end. A failure ends the node, whose log says why.
-spec main([string()]) -> ok.
main([EventsPath, Count]) ->
    {ok, Events} = file:open(EventsPath, [write, raw]),
    ok = file:write(Events, "started\n"),
    ok = keep_passwords_in_memory(),
    lists:foreach(fun register/1, [<<"alice">>, <<"bob">>, <<"carol">>]),
    ok = add_numbered(Events, 0, list_to_integer(Count)),
    ok = file:write(Events, "users-ready\n"),
    ok = file:close(Events).

%% A table in memory with a log is filled many times as fast as ejabberd's default, a file; both
%% survive a restart. run.sh's ejabberd.schema says the same, but ejabberd heeds that only for a
%% table that exists.
keep_passwords_in_memory() ->
    case mnesia:table_info(passwd, storage_type) of
        disc_copies ->
            ok;
        disc_only_copies ->
            {atomic, ok} = mnesia:change_table_copy_type(passwd, node(), disc_copies),
            ok
    end.

register(User) ->
    case ejabberd_auth:try_register(User, ?HOST, ?PASSWORD) of
        ok -> ok;
        {error, exists} -> ok;
        {error, Reason} -> error({user_not_created, User, Reason})
    end.

%% Many users in one transaction, straight into ejabberd_auth_mnesia's table: one by one through
%% ejabberd_auth, whose hooks write more tables, takes hundreds of times as long.
add_numbered(_, Count, Count) ->
    ok;
add_numbered(Events, First, Count) ->
    [us, password] = mnesia:table_info(passwd, attributes),
    End = min(First + ?BATCH, Count),
    Key = key(),
    {atomic, Added} = mnesia:transaction(fun() -> add_batch(Key, First, End) end),
    _ = mnesia:dirty_update_counter(reg_users_counter, ?HOST, Added),
    ok = file:write(Events, io_lib:format("users ~b ~b~n", [End, Count])),
    add_numbered(Events, End, Count).

%% From 25.03 on ejabberd keeps a row for each form of a password.
key() ->
    {module, _} = code:ensure_loaded(ejabberd_auth_mnesia),
    case erlang:function_exported(ejabberd_auth_mnesia, set_password_multiple, 3) of
        true -> fun(User) -> {User, ?HOST, plain} end;
        false -> fun(User) -> {User, ?HOST} end
    end.

%% The number of users that weren't there before.
add_batch(Key, First, End) ->
    mnesia:write_lock_table(passwd),
    length([ok || Number <- lists:seq(First, End - 1),
                  ok =:= add(Key(<<"user", (integer_to_binary(Number))/binary>>))]).

add(Key) ->
    case mnesia:read(passwd, Key) of
        [] -> mnesia:write({passwd, Key, ?PASSWORD});
        [_] -> exists
    end.
