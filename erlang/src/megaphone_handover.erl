%% @doc How a socket changes hands, and its messages with it.
-module(megaphone_handover).

-export([hand_over/4]).

%% @doc gen_tcp:controlling_process/2, by the socket's owner.
-spec hand_over(megaphone_nif:trunk(), megaphone_nif:handle(), megaphone:socket(), term()) ->
          ok | {error, closed | not_owner | badarg}.
hand_over(Trunk, Handle, Socket, NewOwner) when is_pid(NewOwner) ->
    Self = self(),
    case megaphone_nif:owner(Trunk, Handle) of
        NewOwner -> ok;
        Self -> hand_over_own(Trunk, Handle, Socket, NewOwner);
        closed -> {error, closed};
        _ -> {error, not_owner}
    end;
hand_over(_Trunk, _Handle, _Socket, _NewOwner) ->
    {error, badarg}.

hand_over_own(Trunk, Handle, Socket, NewOwner) ->
    case {is_alive(NewOwner), megaphone_options:get(Trunk, Handle, [active])} of
        {true, {ok, [{active, Active}]}} ->
            %% Passive meanwhile, so that no message comes behind those that are moved.
            _ = megaphone_nif:setopts(Trunk, Handle, [{active, false}]),
            own(move_messages(Socket, NewOwner, open), Trunk, Handle, NewOwner, Active);
        {false, _} ->
            {error, badarg};
        {true, {error, _}} ->
            {error, closed}
    end.

%% The peer's close may come at any step, and closes an active socket.
own(closed, _Trunk, _Handle, _NewOwner, _Active) ->
    ok;
own(open, Trunk, Handle, NewOwner, Active) ->
    case megaphone_nif:own(Trunk, Handle, NewOwner) of
        ok when Active =:= false -> ok;
        ok -> megaphone_nif:setopts(Trunk, Handle, [{active, Active}]);
        closed -> {error, closed}
    end.

%% Answers whether the new owner was told that the socket is closed.
move_messages(Socket, NewOwner, State) ->
    receive
        {Tag, Socket, _} = Message when Tag =:= tcp; Tag =:= http; Tag =:= tcp_error ->
            NewOwner ! Message,
            move_messages(Socket, NewOwner, State);
        {tcp_passive, Socket} = Message ->
            NewOwner ! Message,
            move_messages(Socket, NewOwner, State);
        {tcp_closed, Socket} = Message ->
            NewOwner ! Message,
            move_messages(Socket, NewOwner, closed)
    after 0 ->
        State
    end.

is_alive(Pid) ->
    node(Pid) =:= node() andalso is_process_alive(Pid).
