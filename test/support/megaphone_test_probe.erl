%% @doc Looks into sessions from inside of ejabberd's VM, for what no client can see.
-module(megaphone_test_probe).

-export([sessions/0, is_pending/1, is_lone/1, time_out/1, ack_left/1, has_ping_timer/1, memory/1, sleeps/1,
         is_in_send/1, await_calls/3]).

%% @doc The processes of all sessions, also of those that nobody can be found by.
-spec sessions() -> [pid()].
sessions() ->
    [Process || Process <- processes(), proc_lib:translate_initial_call(Process) =:= {megaphone_session, init, 1}].

%% @doc How long a client may still take to acknowledge (milliseconds), as mod_stream_mgmt's timer says.
-spec ack_left(pid()) -> non_neg_integer() | none.
ack_left(Session) ->
    case [State || #{mgmt_ack_timer := _} = State <- c2s_states(Session)] of
        [#{mgmt_ack_timer := Timer}] -> erlang:read_timer(Timer);
        [] -> none
    end.

%% @doc Whether mod_ping has the session.
-spec has_ping_timer({User :: binary(), Host :: binary(), Resource :: binary()}) -> boolean().
has_ping_timer({_, Host, _} = User) ->
    State = sys:get_state(gen_mod:get_module_proc(Host, mod_ping)),
    lists:any(fun(Timers) -> is_map(Timers) andalso is_map_key(User, Timers) end, tuple_to_list(State)).

%% @doc Whether the session waits for its client to resume it.
-spec is_pending(pid()) -> boolean().
is_pending(Session) ->
    try
        lists:any(fun(#{mgmt_state := State}) -> State =:= pending; (_) -> false end, c2s_states(Session))
    catch
        %% It has just ended.
        exit:_ -> false
    end.

%% @doc Whether a session that is about to take another's place hears nothing of that one any more.
-spec is_lone(pid()) -> boolean().
is_lone(Session) ->
    lists:any(fun(Part) -> is_tuple(Part) andalso element(1, Part) =:= lone end, taking(Session)).

%% @doc Tells such a session that its time is over.
-spec time_out(pid()) -> ok.
time_out(Session) ->
    [Ref | _] = [Part || Part <- taking(Session), is_reference(Part)],
    Session ! {megaphone_move, Ref, timeout},
    ok.

taking(Session) ->
    {taking, Taking, _} = sys:get_state(Session),
    tuple_to_list(Taking).

%% Also that of one that sleeps.
c2s_states(Session) ->
    [case Part of
         {packed, _, _, _} -> megaphone_session_state:unpack(Part);
         _ -> Part
     end || Part <- tuple_to_list(sys:get_state(Session))].

-spec memory(pid()) -> pos_integer().
memory(Session) ->
    {memory, Bytes} = process_info(Session, memory),
    Bytes.

-spec sleeps(pid()) -> boolean().
sleeps(Session) ->
    process_info(Session, current_function) =:= {current_function, {erlang, hibernate, 3}}.

%% @doc Whether it waits for its client to take what it sends.
-spec is_in_send(pid()) -> boolean().
is_in_send(Session) ->
    {current_stacktrace, Stack} = process_info(Session, current_stacktrace),
    lists:any(fun({Module, _, _, _}) -> Module =:= megaphone end, Stack).

%% @doc Returns when a process has called a function of another module so often from now on.
-spec await_calls(pid(), mfa(), pos_integer()) -> ok.
await_calls(Process, Function, Count) ->
    1 = erlang:trace_pattern(Function, true, [global]),
    1 = erlang:trace(Process, true, [call]),
    lists:foreach(fun(_) -> receive {trace, Process, call, _} -> ok end end, lists:seq(1, Count)),
    1 = erlang:trace(Process, false, [call]),
    1 = erlang:trace_pattern(Function, false, [global]),
    ok.
