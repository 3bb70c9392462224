%%% @doc Opens the ports of listeners that a reload could not open, as soon as that is possible.
%%%
%%% A reload that changes a listener's options closes its port and opens it anew at once, and the port may
%%% not be free yet, or another program may have taken it. ejabberd logs that and leaves it.
-module(megaphone_ports).

-export([look/1, leave/0, name/1]).

-include_lib("kernel/include/logger.hrl").

-define(FIRST_PAUSE, 100).
-define(LONGEST_PAUSE, 10000).

%% @doc Looks after the listeners of a module, once ejabberd has opened what it could.
-spec look(module()) -> ok.
look(Module) ->
    case closed(Module) of
        [] ->
            ok;
        Closed ->
            ?LOG_WARNING("megaphone: ~ts could not be opened; trying again until that works",
                         [lists:join(", ", [name(EndPoint) || EndPoint <- Closed])]),
            _ = spawn(fun() -> begin_retries(Module) end),
            ok
    end.

%% @doc Opens nothing more: ejabberd stops.
-spec leave() -> ok.
leave() ->
    case whereis(?MODULE) of
        undefined ->
            ok;
        Pid ->
            Monitor = monitor(process, Pid),
            exit(Pid, kill),
            receive {'DOWN', Monitor, process, Pid, _} -> ok end
    end.

%% One process is enough: it goes by the configuration of the moment.
begin_retries(Module) ->
    try register(?MODULE, self()) of
        true -> retry(Module, ?FIRST_PAUSE)
    catch
        error:badarg -> ok
    end.

retry(Module, Pause) ->
    timer:sleep(Pause),
    Before = closed(Module),
    ok = megaphone_ejabberd:open_listeners(),
    After = closed(Module),
    lists:foreach(fun(EndPoint) -> ?LOG_NOTICE("megaphone: ~ts is open again", [name(EndPoint)]) end,
                  Before -- After),
    case After of
        [] -> ok;
        _ -> retry(Module, min(2 * Pause, ?LONGEST_PAUSE))
    end.

%% One that has refused its own options is none of them.
closed(Module) ->
    Open = megaphone_ejabberd:open_end_points(),
    [EndPoint || {EndPoint, _, _} <- megaphone_ejabberd:listeners(Module), not lists:member(EndPoint, Open)].

%% @doc An end point for the log.
-spec name(megaphone_ejabberd:end_point()) -> iodata().
name({<<"unix:", _/binary>> = Path, _, _}) -> Path;
name({Port, _, _}) -> ["port ", integer_to_list(Port)].
