%% @doc The memory of an OS process, as proc(5) has it.
-module(megaphone_test_memory).

-export([growth/2]).

%% @doc What the function answers, and how far above what it had before the process was while it ran
%% (bytes).
-spec growth(OsPid :: string(), fun(() -> Result)) -> {Result, integer()}.
growth(OsPid, Run) ->
    Before = bytes(OsPid, "VmRSS"),
    %% The peak counts from now on.
    ok = file:write_file(["/proc/", OsPid, "/clear_refs"], "5"),
    Result = Run(),
    {Result, bytes(OsPid, "VmHWM") - Before}.

bytes(OsPid, Name) ->
    {ok, Status} = file:read_file(["/proc/", OsPid, "/status"]),
    {match, [KiB]} = re:run(Status, [Name, ":\\s*([0-9]+) kB"], [{capture, [1], binary}]),
    binary_to_integer(KiB) * 1024.
