%%% @doc Ends the processes that wait in a held BOSH request whose connection has gone.
%%%
%%% ejabberd_http sits in a call to the BOSH session meanwhile and sees no close; the call can
%%% last as long as the session's `wait'. A process that does something else is left to finish
%%% it: half a registration is worse than an answer that nobody reads.
%%%
%%% A client whose sending side alone is closed may still read. Most have left, and it looks just
%%% the same: it gets the answer that comes soon, and not the one that is held.
-module(megaphone_reaper).

-export([reap/1, reap_left/1, is_held/1]).

%% When to look again at a process that was at work, in milliseconds after the look before: it
%% may be on its way into the call. After the last it is left alone.
-define(LOOKS, [0, 20, 200, 2000, 20000]).
%% The same where the peer may still read: a session's answers that are not held are out by then.
-define(LATE_LOOKS, [2000, 20000]).

%% @doc Looks after owners whose connection ended while they were at work.
-spec reap([pid()]) -> ok.
reap(Owners) ->
    look_later(Owners, ?LOOKS).

%% @doc Looks after owners that their peers left while they were at work, by an end of the
%% connection or of the sending side alone.
-spec reap_left([megaphone_nif:left()]) -> ok.
reap_left([]) ->
    ok;
reap_left(Left) ->
    reap([Owner || Owner <- Left, is_pid(Owner)]),
    look_later([Owner || {half_closed, Owner} <- Left], ?LATE_LOOKS).

look_later([], _Looks) ->
    ok;
look_later(Owners, Looks) ->
    _ = spawn(fun() -> reap(Owners, Looks) end),
    ok.

reap(_Owners, []) ->
    ok;
reap(Owners, [Pause | Pauses]) ->
    timer:sleep(Pause),
    case lists:filter(fun is_left/1, Owners) of
        [] -> ok;
        Left -> reap(Left, Pauses)
    end.

is_left(Owner) ->
    case is_held(Owner) of
        true ->
            exit(Owner, shutdown),
            false;
        false ->
            is_process_alive(Owner)
    end.

%% @doc Whether the process waits in a BOSH session's answer.
-spec is_held(pid()) -> boolean().
is_held(Pid) ->
    case process_info(Pid, [status, current_stacktrace]) of
        [{status, waiting}, {current_stacktrace, Stack}] -> megaphone_ejabberd:is_held(Stack);
        _ -> false
    end.
