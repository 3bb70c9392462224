%% @doc Waits for a condition that no message announces: asks again until it holds or a deadline
%% passes. A wait that a message or a monitor can end doesn't need this module.
-module(megaphone_test_wait).

-export([until/2, until/3, for_down/2]).

%% A text, or a function that makes one when it is too late: it can say what there was instead.
-type what() :: iodata() | fun(() -> iodata()).

-define(PAUSE, 10).
-define(PATIENCE, 10_000).

%% @doc As until/3, with ten seconds.
-spec until(what(), fun(() -> false | Result)) -> Result.
until(What, Condition) ->
    until(What, Condition, ?PATIENCE).

%% @doc Calls the condition until it answers something else than `false', and answers that. After
%% `Milliseconds' the case fails, and the failure says what was waited for.
-spec until(what(), fun(() -> false | Result), non_neg_integer()) -> Result.
until(What, Condition, Milliseconds) ->
    until_deadline(What, Condition, Milliseconds, now_ms() + Milliseconds).

%% @doc Waits for the end of a process of this node.
-spec for_down(pid(), non_neg_integer()) -> Reason :: term().
for_down(Pid, Milliseconds) ->
    Monitor = monitor(process, Pid),
    receive
        {'DOWN', Monitor, process, Pid, Reason} -> Reason
    after Milliseconds ->
        demonitor(Monitor, [flush]),
        ct:fail("expected ~p to end within ~b ms", [Pid, Milliseconds])
    end.

until_deadline(What, Condition, Milliseconds, Deadline) ->
    case {Condition(), now_ms() >= Deadline} of
        {false, true} ->
            ct:fail("expected within ~b ms: ~ts", [Milliseconds, text(What)]);
        {false, false} ->
            receive after ?PAUSE -> ok end,
            until_deadline(What, Condition, Milliseconds, Deadline);
        {Result, _} ->
            Result
    end.

text(What) when is_function(What) -> What();
text(What) -> What.

now_ms() ->
    erlang:monotonic_time(millisecond).
