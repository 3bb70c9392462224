%%% @doc Lines of the log that others than the admin can bring about, as many as they like: no more than a
%%% hundred of a kind are written in ten seconds, then one line says how many more there were.
%%%
%%% Each kind has a process of its own while it goes on, which writes: who logs does not wait. It ends
%%% with the first ten seconds in which all was written.
-module(megaphone_log).

-export([bounded/4, stray/2]).

-include_lib("kernel/include/logger.hrl").

%% Trunks that are up; connections that are refused for `max_trunks'; ends of trunks before and after their first frame;
%% connections in a trunk that get no owner; trunks that are full of output; messages that nobody knows.
-type kind() :: begun | refused | unproven | ended | reset | held_up | stray.
-type line() :: {logger:level(), io:format(), [term()]}.

-define(IN_FULL, 100).
-define(PERIOD, 10000).
%% How much of an unknown message is shown (depth).
-define(DEPTH, 20).

%% @doc Logs a line of a kind.
-spec bounded(kind(), logger:level(), io:format(), [term()]) -> ok.
bounded(Kind, Level, Format, Arguments) ->
    log(Kind, {Level, Format, Arguments}).

%% @doc Logs a message, call or cast that a process does not know and drops.
-spec stray(Process :: string(), term()) -> ok.
stray(Process, Message) ->
    bounded(stray, warning, "megaphone: ~ts (~p) got what it does not know, and dropped it: ~0P",
            [Process, self(), Message, ?DEPTH]).

-spec log(kind(), line()) -> ok.
log(Kind, Line) ->
    case whereis(name(Kind)) of
        undefined -> _ = spawn(fun() -> begin_period(Kind, Line) end), ok;
        Writer -> Writer ! {line, Line}, ok
    end.

begin_period(Kind, Line) ->
    try register(name(Kind), self()) of
        true -> period(Kind, [Line])
    catch
        %% Another one was quicker.
        error:badarg -> log(Kind, Line)
    end.

period(Kind, Lines) ->
    End = erlang:start_timer(?PERIOD, self(), over),
    lists:foreach(fun write/1, Lines),
    collect(Kind, End, length(Lines)).

collect(Kind, End, Count) ->
    receive
        {line, Line} when Count < ?IN_FULL ->
            write(Line),
            collect(Kind, End, Count + 1);
        {line, _} ->
            collect(Kind, End, Count + 1);
        {timeout, End, over} when Count > ?IN_FULL ->
            ?LOG_WARNING("megaphone: ~b more ~ts in the last ~b seconds",
                         [Count - ?IN_FULL, what(Kind), ?PERIOD div 1000]),
            period(Kind, []);
        {timeout, End, over} ->
            true = unregister(name(Kind)),
            leave(Kind);
        _ ->
            collect(Kind, End, Count)
    end.

%% What was sent before the name was gone.
leave(Kind) ->
    receive
        {line, Line} -> log(Kind, Line), leave(Kind)
    after 0 ->
        ok
    end.

write({Level, Format, Arguments}) ->
    ?LOG(Level, Format, Arguments).

name(begun) -> megaphone_log_begun;
name(refused) -> megaphone_log_refused;
name(unproven) -> megaphone_log_unproven;
name(ended) -> megaphone_log_ended;
name(reset) -> megaphone_log_reset;
name(held_up) -> megaphone_log_held_up;
name(stray) -> megaphone_log_stray.

what(begun) -> "trunks came up";
what(refused) -> "trunks were refused, as their listener had max_trunks of them,";
what(unproven) -> "trunks ended before their first whole frame";
what(ended) -> "trunks ended";
what(reset) -> "connections in trunks were reset, as they got no process,";
what(held_up) -> "trunks were full of output";
what(stray) -> "messages were unknown and dropped".
