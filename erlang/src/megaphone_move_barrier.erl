%%% @doc Waits until what the processes of all nodes have sent to the caller so far is in its mailbox.
%%%
%%% A process is started at each node, and its end is reported to the caller. The report takes the way of all that
%%% was sent from there, so it arrives behind it. The caller goes on meanwhile, also where a node does not answer, and
%%% gives each message to {@link pass/2}.
-module(megaphone_move_barrier).

-export([start/2, ask/1, pass/2, is_passed/1, left/1, stop/1]).

-export_type([barrier/0]).

%% The nodes that are left, by the monitors of their processes.
-opaque barrier() :: #{reference() => node()}.

%% @doc Has each of the nodes call a function, and then answer.
-spec start([node()], {module(), atom(), [term()]}) -> barrier().
start(Nodes, Call) ->
    maps:from_list([{monitor_at(Node, Call), Node} || Node <- Nodes]).

%% @doc The same of a call that takes no time: a node that does not answer hangs.
-spec ask([node()]) -> barrier().
ask(Nodes) ->
    start(Nodes, {erlang, yield, []}).

%% Where the node is gone, that is reported. spawn_monitor/4 would wait for it.
monitor_at(Node, {Module, Function, Arguments}) ->
    spawn_request(Node, Module, Function, Arguments, [monitor, {reply, error_only}]).

%% @doc Whether a message is one of these reports, and what is left then.
-spec pass(term(), barrier()) -> {left, barrier()} | no.
pass({'DOWN', Monitor, process, _, _}, Barrier) when is_map_key(Monitor, Barrier) ->
    {left, maps:remove(Monitor, Barrier)};
pass({spawn_reply, Monitor, error, _}, Barrier) when is_map_key(Monitor, Barrier) ->
    {left, maps:remove(Monitor, Barrier)};
pass(_Message, _Barrier) ->
    no.

-spec is_passed(barrier()) -> boolean().
is_passed(Barrier) ->
    map_size(Barrier) =:= 0.

%% @doc The nodes that have not answered yet.
-spec left(barrier()) -> [node()].
left(Barrier) ->
    maps:values(Barrier).

%% @doc Nobody waits for the nodes that are left.
-spec stop(barrier()) -> ok.
stop(Barrier) ->
    lists:foreach(fun forget/1, maps:keys(Barrier)).

forget(Monitor) ->
    _ = spawn_request_abandon(Monitor),
    true = demonitor(Monitor, [flush]),
    receive {spawn_reply, Monitor, _, _} -> ok after 0 -> ok end.
