%% @doc Holds a process of ejabberd's still. To be called in ejabberd's VM.
-module(megaphone_test_suspend).

-export([suspend/1, resume/1]).

%% @doc From here on it runs no more, whoever asked for that.
-spec suspend(pid()) -> Holder :: pid().
suspend(Pid) ->
    Caller = self(),
    Holder = spawn(fun() ->
                           true = erlang:suspend_process(Pid),
                           Caller ! {self(), suspended},
                           receive resume -> ok end
                   end),
    receive {Holder, suspended} -> Holder end.

%% @doc It runs again, as the holder ends.
-spec resume(Holder :: pid()) -> ok.
resume(Holder) ->
    Holder ! resume,
    ok.
