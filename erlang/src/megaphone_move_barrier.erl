%%% @doc Waits until what the processes of all nodes have sent to the caller so far is in its mailbox.
%%%
%%% A process is started at each node, and its end is reported to the caller. The report takes the way of all that
%%% was sent from there, so it arrives behind it. The caller goes on meanwhile, also where a node does not answer, and
%%% gives each message to {@link pass/2}.
%%%
%%% A node that takes long may have much to do, or hang. Those that are left after {@link patience/0} are asked whether
%%% they are there, again and again: one that does not even answer that in the same time hangs ({@link ask/1}).
-module(megaphone_move_barrier).

-export([start/2, patience/0, ask/1, pass/2, is_passed/1, stop_asking/1, stop/1]).

-export_type([barrier/0]).

%% Of processes that answer, by their monitors.
-type nodes() :: #{reference() => node()}.
%% The nodes that are left, and those that were asked whether they are there and have not answered.
-opaque barrier() :: {Left :: nodes(), Silent :: nodes()}.

%% @doc Has each of the nodes call a function, and then answer.
-spec start([node()], {module(), atom(), [term()]}) -> barrier().
start(Nodes, Call) ->
    {at(Nodes, Call), #{}}.

%% @doc After how long nodes that are left are asked whether they are there, and how long they have to answer that
%% (milliseconds).
-spec patience() -> pos_integer().
patience() ->
    500.

%% @doc Asks the nodes that are left whether they are there; `hang' if none of them has answered that the last time.
-spec ask(barrier()) -> {asked, barrier()} | hang.
ask({Left, Silent} = Barrier) ->
    case maps:values(Left) -- maps:values(Silent) of
        [] ->
            hang;
        _ ->
            {Left, #{}} = stop_asking(Barrier),
            %% That takes no time.
            {asked, {Left, at(maps:values(Left), {erlang, yield, []})}}
    end.

at(Nodes, Call) ->
    maps:from_list([{monitor_at(Node, Call), Node} || Node <- Nodes]).

%% Where the node is gone, that is reported. spawn_monitor/4 would wait for it.
monitor_at(Node, {Module, Function, Arguments}) ->
    spawn_request(Node, Module, Function, Arguments, [monitor, {reply, error_only}]).

%% @doc Whether a message is one of these reports, and what is left then.
-spec pass(term(), barrier()) -> {left, barrier()} | no.
pass({'DOWN', Monitor, process, _, _}, Barrier) ->
    reported(Monitor, Barrier);
pass({spawn_reply, Monitor, error, _}, Barrier) ->
    reported(Monitor, Barrier);
pass(_Message, _Barrier) ->
    no.

reported(Monitor, {Left, Silent}) when is_map_key(Monitor, Left); is_map_key(Monitor, Silent) ->
    {left, {maps:remove(Monitor, Left), maps:remove(Monitor, Silent)}};
reported(_Monitor, _Barrier) ->
    no.

-spec is_passed(barrier()) -> boolean().
is_passed({Left, _Silent}) ->
    map_size(Left) =:= 0.

%% @doc Nobody wants to know any more whether those that are left are there.
-spec stop_asking(barrier()) -> barrier().
stop_asking({Left, Silent}) ->
    ok = forget(Silent),
    {Left, #{}}.

%% @doc Nobody waits for the nodes that are left.
-spec stop(barrier()) -> ok.
stop({Left, Silent}) ->
    ok = forget(Left),
    forget(Silent).

forget(Nodes) ->
    lists:foreach(fun(Monitor) ->
                          _ = spawn_request_abandon(Monitor),
                          true = demonitor(Monitor, [flush]),
                          receive {spawn_reply, Monitor, _, _} -> ok after 0 -> ok end
                  end, maps:keys(Nodes)).
