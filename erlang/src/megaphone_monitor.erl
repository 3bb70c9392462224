%% @doc Who monitors a socket: each monitor is a process that waits for the socket's end.
-module(megaphone_monitor).

-export([start/3, cancel/1]).

-include("megaphone_messages.hrl").

%% @doc inet:monitor/1: the caller gets `{'DOWN', Monitor, socket, Socket, Reason}' when the
%% socket is closed.
-spec start(megaphone_nif:trunk(), megaphone_nif:handle(), megaphone:socket()) -> reference().
start(Trunk, Handle, Socket) ->
    Caller = self(),
    Monitor = make_ref(),
    Watcher = spawn(fun() -> watch(Trunk, Handle, Caller, {'DOWN', Monitor, socket, Socket, closed}) end),
    put({?MODULE, Monitor}, Watcher),
    Monitor.

%% @doc inet:cancel_monitor/1, by the process that called {@link start/3}; true if the socket
%% was open.
-spec cancel(reference()) -> boolean().
cancel(Monitor) ->
    case erase({?MODULE, Monitor}) of
        undefined ->
            false;
        Watcher ->
            Down = erlang:monitor(process, Watcher),
            exit(Watcher, cancelled),
            Reason = receive {'DOWN', Down, process, Watcher, R} -> R end,
            receive {'DOWN', Monitor, socket, _, _} -> ok after 0 -> ok end,
            Reason =:= cancelled
    end.

watch(Trunk, Handle, Caller, Message) ->
    Monitor = erlang:monitor(process, Caller),
    case megaphone_nif:watch(Trunk, Handle) of
        closed ->
            Caller ! Message;
        {wait, Wait} ->
            await(Wait, Monitor, Caller, Message)
    end.

await(Wait, Monitor, Caller, Message) ->
    receive
        ?WAKE(Wait) ->
            Caller ! Message;
        {'DOWN', Monitor, process, Caller, _} ->
            ok;
        Stray ->
            megaphone_log:stray("the process of a socket's monitor", Stray),
            await(Wait, Monitor, Caller, Message)
    end.
