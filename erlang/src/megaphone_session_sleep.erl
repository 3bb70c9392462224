%%% @doc When a session sleeps, and what it keeps while it is awake: the packed state that it woke with
%%% ({@link megaphone_session_state}).
%%%
%%% A session sleeps once it had no message for `hibernate_after'. One that had slept for longer than that, and was woken
%%% by what leaves its state as it was, sleeps again at once: a client that asks for an acknowledgement each minute says
%%% nothing else then, and to wait would cost a timer, another turn of the process, and the memory of a session that is
%%% awake. A second message so soon shows that there is more to come, and keeps it awake as any other.
-module(megaphone_session_sleep).

-export([timeout/2, due/2, wake/3, at_once/2, sleep/2]).

-export_type([sleep/0]).

-type state() :: megaphone_ejabberd_c2s:state().
-type packed() :: megaphone_session_state:packed().
%% Of one that is awake for the first time; that sleeps, with the time when it woke last; that is awake again.
-type sleep() :: none | integer() | {Woke :: integer(), IsAlone :: boolean(), megaphone_session_state:slept()}.

%% When a session that has logged in gives the garbage of that back, long before it hibernates
%% (milliseconds): in a storm of logins that is most of the memory.
-define(COLLECT_AFTER, 100).

%% @doc How long a session may be without a message until something is {@link due/2}. `IsFresh' says whether it still
%% has the garbage of its login.
-spec timeout(IsFresh :: boolean(), HibernateAfter :: timeout()) -> timeout().
timeout(true, HibernateAfter) -> min(?COLLECT_AFTER, HibernateAfter);
timeout(false, HibernateAfter) -> HibernateAfter.

%% @doc What is due then: that it gives back its garbage, and waits for so long again; or that it sleeps.
-spec due(IsFresh :: boolean(), HibernateAfter :: timeout()) -> {collect, timeout()} | sleep.
due(true, infinity) -> {collect, infinity};
due(true, HibernateAfter) when HibernateAfter > ?COLLECT_AFTER -> {collect, HibernateAfter - ?COLLECT_AFTER};
due(_IsFresh, _HibernateAfter) -> sleep.

%% @doc The state of a session that sleeps.
-spec wake(packed(), sleep(), HibernateAfter :: timeout()) -> {state(), sleep()}.
wake(Packed, Last, HibernateAfter) ->
    State = megaphone_session_state:unpack(Packed),
    Now = erlang:monotonic_time(millisecond),
    IsAlone = Last =:= none orelse Now - Last > HibernateAfter,
    {State, {Now, IsAlone, {Packed, State}}}.

%% @doc Whether it sleeps again at once: if nothing else is there to do.
-spec at_once(state(), sleep()) -> {sleeps, packed(), sleep()} | awake.
at_once(State, {Woke, true, Slept}) ->
    case process_info(self(), message_queue_len) of
        {message_queue_len, 0} ->
            case megaphone_session_state:pack_again(State, Slept) of
                {ok, Packed} -> {sleeps, Packed, Woke};
                changed -> awake
            end;
        _ ->
            awake
    end;
at_once(_State, _Sleep) ->
    awake.

%% @doc It sleeps now.
-spec sleep(state(), sleep()) -> {packed(), sleep()}.
sleep(State, {Woke, _IsAlone, Slept}) ->
    case megaphone_session_state:pack_again(State, Slept) of
        {ok, Packed} -> {Packed, Woke};
        changed -> {megaphone_session_state:pack(State), Woke}
    end;
sleep(State, none) ->
    {megaphone_session_state:pack(State), none}.
