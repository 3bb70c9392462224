%%% @doc Waits until what the processes of all nodes have sent to the caller so far is in its mailbox.
%%%
%%% A process is started at each node, and its end is reported to the caller. The report takes the way of all that
%%% was sent from there, so it arrives behind it. The caller goes on meanwhile, and gives each message to
%%% {@link pass/2}.
-module(megaphone_move_barrier).

-export([start/1, pass/2]).

-export_type([barrier/0]).

%% The nodes that are left, by the monitors of their processes.
-opaque barrier() :: #{reference() => node()}.

%% @doc Sends for an answer of each of the nodes.
-spec start([node(), ...]) -> barrier().
start(Nodes) ->
    maps:from_list([{monitor_at(Node), Node} || Node <- Nodes]).

%% Where the node is gone, that is reported.
monitor_at(Node) ->
    {_, Monitor} = spawn_monitor(Node, erlang, yield, []),
    Monitor.

%% @doc Whether a message is one of these reports, and whether it is the last.
-spec pass(term(), barrier()) -> {left, barrier()} | passed | no.
pass({'DOWN', Monitor, process, _, _}, Barrier) when is_map_key(Monitor, Barrier) ->
    case maps:remove(Monitor, Barrier) of
        None when map_size(None) =:= 0 -> passed;
        Left -> {left, Left}
    end;
pass(_Message, _Barrier) ->
    no.
