%% @doc What a case asks of processes: their ends, and its own messages.
-module(megaphone_test_process).

-export([ended/1, mailbox/0]).

-define(PATIENCE, 30_000).

%% @doc The reason with which a process ends that the caller monitors.
-spec ended({pid(), reference()}) -> Reason :: term().
ended({Pid, Monitor}) ->
    receive
        {'DOWN', Monitor, process, Pid, Reason} -> Reason
    after ?PATIENCE ->
        ct:fail("expected ~p to end within ~b ms; it is at ~p",
                [Pid, ?PATIENCE, process_info(Pid, current_stacktrace)])
    end.

%% @doc All messages that are there.
-spec mailbox() -> [term()].
mailbox() ->
    receive Message -> [Message | mailbox()] after 0 -> [] end.
