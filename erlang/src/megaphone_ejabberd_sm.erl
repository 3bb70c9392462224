%%% @doc ejabberd's table of sessions, as far as one that moves has to change it. ejabberd_sm has functions for a
%%% session that begins or ends, and none for one that moves; its backends have those that are used here.
%%%
%%% Read in ejabberd 23.01, 24.12 and 26.07, and the same in all of them where nothing else is said.
-module(megaphone_ejabberd_sm).

-export([find_row/1, row_of/3, replace_row/2, settle/1, resumed/2, session_came/2, session_left/2, end_session/2]).

-export_type([row/0, sid/0, place/0, look/0]).

-include("megaphone_row.hrl").

%% The id of a session is when it began, and its process.
-type sid() :: {erlang:timestamp(), pid()}.
%% The client's address, and how it is connected.
-type place() :: {term(), Connection :: atom()}.
-opaque row() :: #session{}.
%% What a process at a node has to call: when it returns, whoever is looked up there is found by the new row.
-type look() :: {module(), atom(), [term()]}.

%% How long another node may take for its part of what a database has to do (milliseconds).
-define(TIMEOUT, 5000).

%% Whether a backend has its rows in Mnesia.
-define(IS_MNESIA(Backend), (Backend =:= ejabberd_sm_mnesia orelse Backend =:= ejabberd_sm_megaphone)).

%% @doc The row of a session.
-spec find_row(megaphone_ejabberd_c2s:registration()) -> {ok, row()} | none.
find_row({Sid, Host, {User, _, _}}) ->
    case (backend(Host)):get_sessions(jid:nodeprep(User), Host) of
        {ok, Rows} ->
            case lists:keyfind(Sid, #session.sid, Rows) of
                false -> none;
                Row -> {ok, Row}
            end;
        {error, _} ->
            none
    end.

%% @doc The row that the session gets as it moves to another process. The newer of two sessions with one resource is
%% told by their times, and stays: so this one has to be newer than the one that it comes from, and older than any
%% that a client has opened since. Two nodes' clocks need not say so.
-spec row_of(pid(), place(), row()) -> {sid(), row()}.
row_of(Process, {Ip, Conn}, #session{sid = {{Mega, Seconds, Micro}, _}, info = Info} = Row) ->
    Time = case Micro < 999999 of
               true -> {Mega, Seconds, Micro + 1};
               false -> {Mega, Seconds + 1, 0}
           end,
    Sid = {Time, Process},
    {Sid, Row#session{sid = Sid,
                      info = lists:keystore(conn, 1, lists:keystore(ip, 1, Info, {ip, Ip}), {conn, Conn})}}.

%% @doc One row for the other: what is routed meanwhile finds one of them, at whichever node. Nobody is waited for but
%% a database; a node has the new row once the answer was called there.
%%
%% Mnesia's dirty writes of one process reach each node in their order, so none has the delete before the write.
-spec replace_row(Old :: row(), New :: row()) -> {ok, look()} | {error, Why :: string()}.
replace_row(#session{us = {_, Host} = UserAndHost} = Old, New) ->
    case backend(Host) of
        Backend when ?IS_MNESIA(Backend) ->
            ok = write(Backend, New),
            ok = Backend:delete_session(Old),
            %% A transaction begins behind the writes that have come to its node.
            {ok, {mnesia, transaction, [fun erlang:node/0]}};
        Backend ->
            Replaced = replace_in_database(Backend, Old, New),
            forget_cached(Backend, UserAndHost, Replaced)
    end.

replace_in_database(Backend, Old, New) ->
    case at_its_node(Backend, set_session, New) of
        ok ->
            delete_in_database(Backend, Old);
        {error, Why} ->
            %% It may have been written.
            _ = delete_in_database(Backend, New),
            {error, io_lib:format("the new row can't be written to the database of sessions: ~0P", [Why, 10])}
    end.

delete_in_database(Backend, Row) ->
    case at_its_node(Backend, delete_session, Row) of
        ok -> ok;
        %% Its node is gone, or is about to be.
        {error, _} -> _ = Backend:delete_session(Row), ok
    end.

%% A row in SQL has its process as the process's own node writes it, and one in Redis is in the list of rows which the
%% node that has written it deletes as it starts.
at_its_node(Backend, Function, #session{sid = {_, Process}} = Row) when node(Process) =:= node() ->
    Backend:Function(Row);
at_its_node(Backend, Function, #session{sid = {_, Process}} = Row) ->
    try
        erpc:call(node(Process), Backend, Function, [Row], ?TIMEOUT)
    catch
        _:Reason -> {error, Reason}
    end.

forget_cached(Backend, UserAndHost, Replaced) ->
    Look = look(uses_cache(Backend, UserAndHost), UserAndHost),
    {Module, Function, Arguments} = Look,
    _ = apply(Module, Function, Arguments),
    case Replaced of
        ok -> {ok, Look};
        Error -> Error
    end.

look(true, UserAndHost) -> {ets_cache, delete, [sm_cache, UserAndHost]};
look(false, _UserAndHost) -> {erlang, yield, []}.

%% As ejabberd_sm does.
uses_cache(Backend, {_, Host}) ->
    case erlang:function_exported(Backend, use_cache, 1) of
        true -> Backend:use_cache(Host);
        false -> ejabberd_option:sm_use_cache(Host)
    end.

backend(Host) ->
    list_to_existing_atom("ejabberd_sm_" ++ atom_to_list(ejabberd_option:sm_db_type(Host))).

%% @doc A node that took long to look has the new row now. If the session has ended meanwhile, or gone elsewhere, that
%% may have come there from another node before, and the row would stay for good.
-spec settle(New :: row()) -> ok.
settle(#session{sid = Sid, us = {User, Host}} = New) ->
    Backend = backend(Host),
    case ?IS_MNESIA(Backend) andalso Backend:get_sessions(User, Host) of
        {ok, Rows} ->
            case lists:keymember(Sid, #session.sid, Rows) of
                true -> ok;
                false -> Backend:delete_session(New)
            end;
        false ->
            ok
    end.

%% @doc The session has been resumed by this process, and the caller is about to delete the row that it had. mnesia
%% does not wait for the other nodes: one that heard of that before it heard of the new row would find no session, and
%% answer a message with an error. So the caller writes the new row as well, which reaches each node before its delete.
-spec resumed(pid(), megaphone_ejabberd_c2s:registration()) -> ok.
resumed(Process, {_, Host, {User, _, _}}) ->
    Backend = backend(Host),
    Find = fun() -> row_at_its_node(Backend, Process, jid:nodeprep(User), Host) end,
    case ?IS_MNESIA(Backend) andalso Find() of
        #session{} = Row ->
            ok = write(Backend, Row),
            %% It may have ended meanwhile.
            case Find() of
                none -> Backend:delete_session(Row);
                _ -> ok
            end;
        _ ->
            ok
    end.

%% Also where the row is here already.
write(ejabberd_sm_mnesia, Row) -> mnesia:dirty_write(Row);
write(ejabberd_sm_megaphone, Row) -> ejabberd_sm_megaphone:write(Row).

row_at_its_node(Backend, Process, User, Host) ->
    try erpc:call(node(Process), Backend, get_sessions, [User, Host], ?TIMEOUT) of
        {ok, Rows} ->
            case [Row || #session{sid = {_, Its}} = Row <- Rows, Its =:= Process] of
                [Row | _] -> Row;
                [] -> none
            end;
        _ ->
            none
    catch
        %% Its node is gone, or does not answer.
        _:_ -> none
    end.

%% @doc Runs the hook that ejabberd_sm:open_session/6 runs at this node, which mod_ping and the counters of sessions go
%% by. All else that it does has been done as the row was replaced, or would be wrong: it writes the row, whoever has
%% one by then, and ends the older session with the same resource.
-spec session_came(row(), megaphone_ejabberd_c2s:registration()) -> ok.
session_came(#session{sid = Sid, info = Info}, {_, Host, {User, Server, Resource}}) ->
    ejabberd_hooks:run(sm_register_connection_hook, Host, [Sid, jid:make(User, Server, Resource), Info]).

%% @doc Runs the hook of ejabberd_sm:close_session/4 at this node, of a session whose row is another process's. An
%% anonymous user is one as long as there is that.
-spec session_left(row(), megaphone_ejabberd_c2s:registration()) -> ok.
session_left(#session{sid = Sid, info = Info}, {_, Host, {User, Server, Resource}}) ->
    ejabberd_hooks:run(sm_remove_connection_hook, Host, [Sid, jid:make(User, Server, Resource), Info]).

%% @doc Ends the session that has this row, which nobody else will.
-spec end_session(row(), megaphone_ejabberd_c2s:registration()) -> ok.
end_session(#session{sid = Sid}, {_, _, {User, Server, Resource}}) ->
    ejabberd_sm:close_session(Sid, User, Server, Resource).
