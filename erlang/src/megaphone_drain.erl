%%% @doc Lets answers in progress on the trunks finish, and their sessions move away or end in order.
-module(megaphone_drain).

-export([begin_all/0, all/0, one/2]).
%% ejabberd's commands
-export([drain/0, undrain/0, is_told/0]).

-export_type([timeouts/0]).

%% As the listener's options have them (milliseconds).
-type timeouts() :: #{shutdown_timeout | drain_timeout => non_neg_integer()}.

%% How often to check whether they are done (milliseconds).
-define(LOOK, 20).
%% The same for sessions that the ECMs move away, of which there may be many.
-define(LOOK_FOR_SESSIONS, 200).
%% After how long without any move the sessions that are left are given up (milliseconds).
-define(NONE_MOVES, 5000).
%% How long the trunks' processes may take to answer, all together (milliseconds).
-define(ANSWER_TIMEOUT, 5000).

%% @doc Has all trunks of this node say that they take nothing new, those to come too, so that the ECMs move their
%% sessions to other nodes; until {@link undrain/0}.
-spec drain() -> ok.
drain() ->
    ok = application:set_env(megaphone, drain, true),
    lists:foreach(fun(#{reader := Reader}) -> gen_server:cast(Reader, drain) end, megaphone_nif:trunks()).

%% @doc New trunks are as ever. Those that drain go on with that.
-spec undrain() -> ok.
undrain() ->
    application:set_env(megaphone, drain, false).

%% @doc Whether this node was told to drain.
-spec is_told() -> boolean().
is_told() ->
    application:get_env(megaphone, drain, false).

%% @doc Lets no trunk take new connections; returns at once.
-spec begin_all() -> ok.
begin_all() ->
    _ = drain_readers(),
    ok.

%% @doc Drains all trunks at once. Where the cluster has other nodes their sessions may move there, as long as some do
%% and for `drain_timeout' at most. Those that are left are told that the system shuts down; it returns when they
%% have ended and no answer is in flight that will come by itself, or the longest `shutdown_timeout' of the trunks
%% has passed.
-spec all() -> ok.
all() ->
    Drained = drain_readers(),
    ok = case megaphone_ejabberd:is_alone() of
             true -> ok;
             false -> let_move([{Trunk, now_ms() + Timeout} || {Trunk, #{drain_timeout := Timeout}} <- Drained])
         end,
    lists:foreach(fun({Trunk, _}) -> end_sessions(Trunk) end, Drained),
    wait([{Trunk, now_ms() + Timeout} || {Trunk, #{shutdown_timeout := Timeout}} <- Drained], fun is_left/1).

let_move(Trunks) ->
    let_move(Trunks, infinity, now_ms()).

%% There were so many sessions, or fewer, since that time.
let_move(Trunks, Before, Since) ->
    Now = now_ms(),
    case lists:sum([length(megaphone_nif:sessions(Trunk)) || {Trunk, Deadline} <- Trunks, Deadline > Now]) of
        0 ->
            ok;
        Left when Left < Before ->
            timer:sleep(?LOOK_FOR_SESSIONS),
            let_move(Trunks, Left, Now);
        _ when Now - Since < ?NONE_MOVES ->
            timer:sleep(?LOOK_FOR_SESSIONS),
            let_move(Trunks, Before, Since);
        _ ->
            ok
    end.

%% @doc Drains one trunk, within `Timeout' (milliseconds). Its sessions stay.
-spec one(megaphone_nif:trunk(), non_neg_integer()) -> ok.
one(Trunk, Timeout) ->
    ok = megaphone_nif:drain(Trunk),
    wait([{Trunk, now_ms() + Timeout}], fun is_busy/1).

%% All are asked before the first answer is waited for: one that is stuck keeps none of the others.
drain_readers() ->
    Requests = [gen_server:send_request(Reader, drain) || #{reader := Reader} <- megaphone_nif:trunks()],
    Deadline = now_ms() + ?ANSWER_TIMEOUT,
    lists:filtermap(fun(Request) -> answer(Request, Deadline) end, Requests).

answer(Request, Deadline) ->
    Timeout = max(0, Deadline - now_ms()),
    case gen_server:receive_response(Request, Timeout) of
        {reply, Answer} -> {true, Answer};
        %% It has ended meanwhile, or it is stuck.
        _ -> false
    end.

end_sessions(Trunk) ->
    lists:foreach(fun megaphone_session:shut_down/1, megaphone_nif:sessions(Trunk)).

wait([], _Condition) ->
    ok;
wait(Trunks, Condition) ->
    Now = now_ms(),
    case [Waiting || {Trunk, Deadline} = Waiting <- Trunks, Deadline > Now, Condition(Trunk)] of
        [] ->
            ok;
        Left ->
            timer:sleep(?LOOK),
            wait(Left, Condition)
    end.

is_left(Trunk) ->
    is_busy(Trunk) orelse megaphone_nif:sessions(Trunk) =/= [].

%% A held BOSH poll is answered when its session ends, which is ejabberd's next step. An answer may
%% be out of its owner's hands and wait for its client.
is_busy(Trunk) ->
    megaphone_nif:has_output(Trunk)
        orelse lists:any(fun(Owner) -> not megaphone_reaper:is_held(Owner) end,
                         megaphone_nif:in_flight(Trunk)).

now_ms() ->
    erlang:monotonic_time(millisecond).
