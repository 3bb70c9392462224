%%% @doc What an admin is shown of this node's trunks: their state, alarms, figures, and each trunk by itself.
%%%
%%% It reads counters and asks no process: it answers while a trunk is stuck, and where the NIF could not be loaded.
-module(megaphone_overview).

-export([read/0, counters/0, counter/1, trunk/1]).

-export_type([overview/0, trunk/0]).

-type overview() ::
    #{state := ready | draining | unavailable,
      alarms := [Text :: binary()],
      counters := [{Name :: binary(), non_neg_integer()}],
      trunks := [trunk()]}.
-type trunk() ::
    #{number := pos_integer(),
      state := handshake | ready | draining,
      peer := binary(),
      listener := binary(),
      version := 0..2,
      %% `<<"none">>' without TLS.
      tls := binary(),
      certificate := binary(),
      %% RFC 3339.
      since := binary(),
      sessions := #{megaphone_nif:session_transport() => non_neg_integer()},
      connections | opened | frames_in | frames_out | bytes_in | bytes_out | buffered | unsent | waiters :=
          non_neg_integer(),
      errors := #{atom() => pos_integer()}}.

%% Kinds of errors have names of their own behind this.
-define(ERRORS, "errors_").

%% @doc All of it.
-spec read() -> overview().
read() ->
    Alarms = alarms(),
    #{state => state(),
      alarms => Alarms,
      counters => counters(length(Alarms)),
      trunks => trunks()}.

%% @doc The figures, those of trunks that have ended among them.
-spec counters() -> [{Name :: binary(), non_neg_integer()}].
counters() ->
    counters(length(alarms())).

%% @doc One of them. An error of a kind that has not occurred counts 0.
-spec counter(Name :: binary()) -> {ok, non_neg_integer()} | error.
counter(Name) ->
    case {lists:keyfind(Name, 1, counters()), Name} of
        {{Name, Value}, _} -> {ok, Value};
        {false, <<?ERRORS, _/binary>>} -> {ok, 0};
        {false, _} -> error
    end.

%% @doc One trunk.
-spec trunk(integer()) -> {ok, trunk()} | error.
trunk(Number) ->
    case [Trunk || #{number := N} = Trunk <- trunks(), N =:= Number] of
        [Trunk] -> {ok, Trunk};
        [] -> error
    end.

state() ->
    case {is_loaded(), megaphone_drain:is_told()} of
        {false, _} -> unavailable;
        {true, true} -> draining;
        {true, false} -> ready
    end.

is_loaded() ->
    megaphone_nif:load_error() =:= none.

%% Alarms.

alarms() ->
    case megaphone_nif:load_error() of
        none -> listener_alarms() ++ trunk_alarms();
        Error -> [text("the NIF can't be loaded: ~ts", [Error])]
    end.

listener_alarms() ->
    Running = megaphone_ejabberd:running_end_points(),
    case megaphone_ejabberd:listeners(megaphone_listener) of
        [] ->
            [<<"no megaphone_listener is configured">>];
        Listeners ->
            [text("the listener at ~ts does not run; the log says why", [megaphone_ports:name(EndPoint)])
             || {EndPoint, _, _} <- Listeners, not lists:member(EndPoint, Running)]
    end.

%% Who reaches the port without a word is no trunk that could carry a client.
trunk_alarms() ->
    IsUp = lists:any(fun(#{status := #{frames_in := Frames}}) -> Frames > 0 end, megaphone_nif:trunks()),
    case IsUp orelse megaphone_nif:last_end() of
        true -> [];
        0 -> [<<"no trunk is up, and none was since ejabberd started">>];
        Time -> [text("no trunk is up; the last one ended at ~ts, and the log says why", [time(Time)])]
    end.

%% Figures.

counters(Alarms) ->
    case is_loaded() of
        true -> counters_of(megaphone:status(), Alarms);
        false -> [{<<"alarms">>, Alarms}]
    end.

counters_of(#{trunks := Trunks, sessions := Sessions, errors := Errors} = Status, Alarms) ->
    [{<<"alarms">>, Alarms},
     {<<"trunks">>, Trunks},
     {<<"sessions">>, sum(Sessions)}]
        ++ [{<<"sessions_", (name(Transport))/binary>>, Count} || {Transport, Count} <- sorted(Sessions)]
        ++ [{name(Key), maps:get(Key, Status)}
            || Key <- [connections, opened, bytes_in, bytes_out, frames_in, frames_out, buffered, unsent, waiters]]
        ++ [{<<"errors">>, sum(Errors)}]
        ++ [{<<?ERRORS, (name(Kind))/binary>>, Count} || {Kind, Count} <- sorted(Errors)].

sum(Counts) -> lists:sum(maps:values(Counts)).

sorted(Map) -> lists:sort(maps:to_list(Map)).

name(Atom) -> atom_to_binary(Atom, utf8).

%% Trunks.

trunks() ->
    case is_loaded() of
        true -> [trunk_of(Trunk) || Trunk <- megaphone_nif:trunks()];
        false -> []
    end.

trunk_of(#{number := Number, peername := Peer, sockname := Listener, version := Version, since := Since, tls := Tls,
           status := Status} = Trunk) ->
    {TlsVersion, Certificate} = case Tls of
                                    none -> {<<"none">>, <<"none">>};
                                    _ -> Tls
                                end,
    Status#{number => Number,
            state => trunk_state(Trunk),
            peer => iolist_to_binary(megaphone_address:format(Peer)),
            listener => iolist_to_binary(megaphone_address:format(Listener)),
            version => Version,
            tls => TlsVersion,
            certificate => Certificate,
            since => time(Since)}.

trunk_state(#{status := #{frames_in := 0}}) -> handshake;
trunk_state(#{draining := true}) -> draining;
trunk_state(#{}) -> ready.

time(Seconds) ->
    list_to_binary(calendar:system_time_to_rfc3339(Seconds, [{offset, "Z"}])).

text(Format, Arguments) ->
    unicode:characters_to_binary(io_lib:format(Format, Arguments)).
