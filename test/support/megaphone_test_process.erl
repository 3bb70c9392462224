%% @doc What a case asks of processes: their ends, and its own messages.
-module(megaphone_test_process).

-export([ended/1, mailbox/0, memory/1]).

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

%% @doc How many processes of this VM have begun in a module's `init', and the memory of all of them, with the
%% binaries that they keep alive.
-spec memory(module()) -> {Processes :: non_neg_integer(), Bytes :: non_neg_integer()}.
memory(Module) ->
    Each = [Memory + lists:sum([Size || {_, Size, _} <- lists:ukeysort(1, Binaries)])
            || Pid <- processes(),
               [{dictionary, Dictionary}, {memory, Memory}, {binary, Binaries}]
                   <- [process_info(Pid, [dictionary, memory, binary])],
               is_started_by(Module, Dictionary)],
    {length(Each), lists:sum(Each)}.

is_started_by(Module, Dictionary) ->
    case lists:keyfind('$initial_call', 1, Dictionary) of
        {_, {Module, init, _}} -> true;
        _ -> false
    end.
