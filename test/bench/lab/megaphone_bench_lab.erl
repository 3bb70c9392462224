%% @doc Runs inside the ejabberd of a bench: creates the users, then answers questions. They come as lines on
%% the standard input and are answered on the standard output, a line each. The end of the input ends
%% the node, so that it never outlives who started it.
-module(megaphone_bench_lab).

-export([main/1]).

%% @doc Called by erl's -run once ejabberd is up, with the number of users. Tells of them as
%% megaphone_run does: "started", "users Done Total", "users-ready".
-spec main([string()]) -> pid().
main([Count]) ->
    spawn(fun() ->
                  ok = keep_tables_in_memory(),
                  ok = megaphone_run:main(["/dev/stdout", Count]),
                  collect_garbage(),
                  serve(open_port({fd, 0, 1}, [eof, {line, 1024}]))
          end).

%% ejabberd keeps rosters in files that one process reads, so that logins wait for it. With a log beside
%% them, tables in memory survive a restart as well.
keep_tables_in_memory() ->
    lists:foreach(fun(Table) ->
                          {atomic, ok} = mnesia:change_table_copy_type(Table, node(), disc_copies)
                  end,
                  [Table || Table <- mnesia:system_info(tables),
                            mnesia:table_info(Table, storage_type) =:= disc_only_copies]).

serve(Port) ->
    receive
        {Port, {data, {eol, Question}}} ->
            true = port_command(Port, [answer(Question), $\n]),
            serve(Port);
        {Port, eof} ->
            halt(0)
    end.

%% Memory in bytes, as erlang:memory/0 has it, users online, and processes.
answer("memory") ->
    Memory = maps:from_list(erlang:memory()),
    megaphone_bench_json:encode(Memory#{sessions => sessions(),
                                        process_count => erlang:system_info(process_count)});
answer("collect") ->
    collect_garbage(),
    "{}";
%% The reader of the trunk with the most connections is killed, and its socket closed with it.
answer("cut") ->
    {Connections, Reader} = lists:max([{Count, Pid} || #{reader := Pid, status := #{connections := Count}}
                                                           <- megaphone_nif:trunks()]),
    exit(Reader, kill),
    integer_to_list(Connections);
%% All users of a group are in each other's rosters.
answer("contacts " ++ Numbers) ->
    [First, Groups, Size] = [list_to_integer(Number) || Number <- string:lexemes(Numbers, " ")],
    lists:foreach(fun(Start) -> make_contacts(lists:seq(Start, Start + Size - 1)) end,
                  lists:seq(First, First + (Groups - 1) * Size, Size)),
    "{}";
answer("census") ->
    megaphone_bench_json:encode(megaphone_bench_census:take());
answer("reload") ->
    io_lib:format("~0p", [ejabberd_admin:reload_config()]);
answer("disconnect") ->
    lists:foreach(fun ejabberd_c2s:close/1, ejabberd_sm:get_all_pids()),
    "{}";
answer("join " ++ Node) ->
    io_lib:format("~w", [ejabberd_cluster:join(list_to_atom(Node))]);
answer("cluster") ->
    integer_to_list(length(ejabberd_cluster:get_nodes()));
answer("stop") ->
    ok = init:stop(),
    "ok";
answer("versions") ->
    {ok, Ejabberd} = application:get_key(ejabberd, vsn),
    megaphone_bench_json:encode(#{otp => text(erlang:system_info(otp_release)),
                                  erts => text(erlang:system_info(version)),
                                  ejabberd => text(Ejabberd)}).

%% Rows in the tables of sessions: ejabberd's, and Megaphone's.
sessions() ->
    lists:sum([mnesia:table_info(Table, size) || Table <- [session, megaphone_session],
                                                 lists:member(Table, mnesia:system_info(tables))]).

make_contacts(Group) ->
    lists:foreach(fun(Number) ->
                          Items = [item(Other) || Other <- Group, Other =/= Number],
                          Query = {xmlel, <<"query">>, [{<<"xmlns">>, <<"jabber:iq:roster">>}], Items},
                          {atomic, _} = mod_roster:set_items(name(Number), <<"localhost">>, xmpp:decode(Query))
                  end, Group).

item(Number) ->
    Jid = <<(name(Number))/binary, "@localhost">>,
    {xmlel, <<"item">>, [{<<"jid">>, Jid}, {<<"subscription">>, <<"both">>}], []}.

name(Number) ->
    <<"user", (integer_to_binary(Number))/binary>>.

collect_garbage() ->
    lists:foreach(fun erlang:garbage_collect/1, processes()).

text(Chars) ->
    unicode:characters_to_binary(Chars).
