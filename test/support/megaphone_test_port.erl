%% @doc Finds TCP ports that nobody listens on.
-module(megaphone_test_port).

-export([free/0, free/1]).

%% The kernel gives outgoing connections ports from 32768 up. A port from there could be taken by one
%% of a suite's own clients while a server that is being restarted doesn't hold it.
-define(FIRST, 20_000).
-define(LAST, 32_000).
-define(ATTEMPTS, 200).

%% @doc A TCP port of the loopback address that is free now.
-spec free() -> inet:port_number().
free() ->
    [Port] = free(1),
    Port.

%% @doc `Count' different ones.
-spec free(pos_integer()) -> [inet:port_number()].
free(Count) ->
    free(Count, [], ?ATTEMPTS).

free(0, Ports, _Attempts) ->
    Ports;
free(_Count, _Ports, 0) ->
    ct:fail("no free TCP port found between ~b and ~b", [?FIRST, ?LAST]);
free(Count, Ports, Attempts) ->
    Port = ?FIRST + rand:uniform(?LAST - ?FIRST),
    case not lists:member(Port, Ports) andalso gen_tcp:listen(Port, [{ip, {0, 0, 0, 0}}]) of
        {ok, Socket} ->
            ok = gen_tcp:close(Socket),
            free(Count - 1, [Port | Ports], Attempts);
        _ ->
            free(Count, Ports, Attempts - 1)
    end.
