%%% @doc Lets the trunks' answers in flight finish, and their sessions end in order.
-module(megaphone_drain).

-export([begin_all/0, all/0, one/2]).

%% How often to look whether they are done (milliseconds).
-define(LOOK, 20).
%% How long the trunks' processes may take to answer, all together (milliseconds).
-define(ANSWER_TIMEOUT, 5000).

%% @doc Lets no trunk take new connections; returns at once.
-spec begin_all() -> ok.
begin_all() ->
    _ = drain_readers(),
    ok.

%% @doc Drains all trunks at once, and tells their sessions that the system shuts down; returns when
%% these have ended and no answer is in flight that will come by itself, or the longest
%% `shutdown_timeout' of the trunks has passed.
-spec all() -> ok.
all() ->
    Drained = drain_readers(),
    Now = erlang:monotonic_time(millisecond),
    lists:foreach(fun({Trunk, _}) -> end_sessions(Trunk) end, Drained),
    wait([{Trunk, Now + Timeout} || {Trunk, Timeout} <- Drained], fun is_left/1).

%% @doc Drains one trunk, within `Timeout' (milliseconds). Its sessions stay.
-spec one(megaphone_nif:trunk(), non_neg_integer()) -> ok.
one(Trunk, Timeout) ->
    ok = megaphone_nif:drain(Trunk),
    wait([{Trunk, erlang:monotonic_time(millisecond) + Timeout}], fun is_busy/1).

%% All are asked before the first answer is waited for: one that is stuck keeps none of the others.
drain_readers() ->
    Requests = [gen_server:send_request(Reader, drain) || #{reader := Reader} <- megaphone_nif:trunks()],
    Deadline = erlang:monotonic_time(millisecond) + ?ANSWER_TIMEOUT,
    lists:filtermap(fun(Request) -> answer(Request, Deadline) end, Requests).

answer(Request, Deadline) ->
    Timeout = max(0, Deadline - erlang:monotonic_time(millisecond)),
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
    Now = erlang:monotonic_time(millisecond),
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
