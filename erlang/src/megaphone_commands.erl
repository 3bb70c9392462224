%%% @doc ejabberd's commands of this application: what there is of them, and what they do. A listener registers them as
%%% it starts, or {@link mod_megaphone} does.
-module(megaphone_commands).

-export([register/0, unregister/0]).
%% ejabberd's commands
-export([status/0, counters/0, counter/1, trunks/0, trunk/1, sessions/0, drain/0, undrain/0, close_trunk/1]).

-type pair() :: {Name :: binary(), Value :: binary()}.
%% ejabberd's form of an error: what kind, a number, and a text.
-type not_there() :: {error, not_exists, non_neg_integer(), Text :: string()}.
%% What `restuple' says of a command that changes something.
-type done() :: {ok, Text :: string()}.

-define(NOT_THERE, 404).
%% What {@link trunks/0} says of each.
-define(TRUNK, [{number, integer}, {state, string}, {peer, string}, {version, integer}, {tls, string},
                {certificate, string}, {since, string}, {sessions, integer}, {connections, integer},
                {bytes_in, integer}, {bytes_out, integer}, {buffered, integer}, {unsent, integer}, {errors, integer}]).

%% @doc Registers those that are not there.
-spec register() -> ok.
register() ->
    megaphone_ejabberd_admin:register_commands(commands()).

%% @doc Takes them back.
-spec unregister() -> ok.
unregister() ->
    megaphone_ejabberd_admin:unregister_commands(commands()).

commands() ->
    [#{name => megaphone_status, function => {?MODULE, status},
       desc => "State, alarms and totals of this node's trunks",
       longdesc => "The state is ready, draining (megaphone_drain was called) or unavailable (the NIF is not loaded). "
                   "An alarm says that no trunk is up, for example.",
       result => pairs(status),
       result_desc => "What it is, and its value",
       result_example => [{"state", "ready"}, {"alarms", "none"}, {"trunks", "4"}, {"sessions", "250000"}]},
     #{name => megaphone_counters, function => {?MODULE, counters},
       desc => "All figures of megaphone_status as numbers",
       longdesc => "Those that count something that happens go up since ejabberd's start.",
       result => {counters, {list, {counter, {tuple, [{key, string}, {value, integer}]}}}},
       result_desc => "The figures by their names",
       result_example => [{"trunks", 4}, {"sessions", 250000}, {"bytes_in", 8123456789}]},
     #{name => megaphone_counter, function => {?MODULE, counter},
       desc => "One figure of megaphone_counters, such as sessions",
       longdesc => "For mod_prometheus: a gauge of it has this command and the figure's name as its only argument. "
                   "An error of a kind that has not occurred yet counts 0.",
       args => [{name, binary}],
       args_desc => ["The figure's name"],
       args_example => [<<"sessions">>],
       result => {value, integer},
       result_desc => "Its value",
       result_example => 250000},
     #{name => megaphone_trunks, function => {?MODULE, trunks},
       desc => "All trunks of this node, the oldest first",
       longdesc => "buffered are bytes that no process of ejabberd has asked for yet, unsent are bytes that the trunk "
                   "has not taken yet.",
       result => {trunks, {list, {trunk, {tuple, ?TRUNK}}}},
       result_desc => "A line for each",
       result_example => [{3, "ready", "192.0.2.1:40312", 2, "tlsv1.3", "ecm1.example.org", "2026-11-30T19:00:00Z",
                           62500, 62510, 2030864197, 4123456789, 0, 512, 0}]},
     #{name => megaphone_trunk, function => {?MODULE, trunk},
       desc => "All there is to say of one trunk",
       args => [{trunk, integer}],
       args_desc => ["Its number, as megaphone_trunks has it"],
       args_example => [3],
       result => pairs(trunk),
       result_desc => "What it is, and its value",
       result_example => [{"number", "3"}, {"peer", "192.0.2.1:40312"}, {"errors_idle_timeout", "1"}]},
     #{name => megaphone_sessions, function => {?MODULE, sessions},
       desc => "How many sessions each trunk has, by how their clients are connected",
       longdesc => "The transports are tcp, tls, websocket and bosh. A session is counted from its stream's begin on, "
                   "before its login too.",
       result => {sessions, {list, {count, {tuple, [{trunk, integer}, {transport, string}, {sessions, integer}]}}}},
       result_desc => "A line for each trunk and transport",
       result_example => [{3, "bosh", 1200}, {3, "websocket", 61300}]},
     #{name => megaphone_drain, function => {?MODULE, drain},
       desc => "Have the connection managers move their sessions to other nodes, until megaphone_undrain",
       result => {res, restuple},
       result_desc => "Whether it was done",
       result_example => {ok, "trunks are told to go away: 4 now, and those to come"}},
     #{name => megaphone_undrain, function => {?MODULE, undrain},
       desc => "Let connection managers come back after megaphone_drain",
       result => {res, restuple},
       result_desc => "Whether it was done",
       result_example => {ok, "New trunks take sessions"}},
     #{name => megaphone_close_trunk, function => {?MODULE, close_trunk},
       desc => "Close one trunk at once",
       longdesc => "Its clients lose their streams, and may resume them. A connection manager comes back with another "
                   "trunk at once. To have sessions move first, use megaphone_drain.",
       args => [{trunk, integer}],
       args_desc => ["Its number, as megaphone_trunks has it"],
       args_example => [3],
       result => {res, restuple},
       result_desc => "Whether it was done",
       result_example => {ok, "trunk 3 is closed"}}].

%% Of a list of names and values, so called, mod_http_api makes an object, which 24.12 can't write on OTP 27.
pairs(Name) ->
    {Name, {list, {pair, {tuple, [{key, string}, {value, string}]}}}}.

%% @doc State, alarms and totals.
-spec status() -> [pair()].
status() ->
    #{state := State, alarms := Alarms, counters := [{<<"alarms">>, _} | Counters]} = megaphone_overview:read(),
    [{<<"state">>, atom_to_binary(State, utf8)}, {<<"alarms">>, alarms(Alarms)}
     | [{Name, integer_to_binary(Value)} || {Name, Value} <- Counters]].

alarms([]) -> <<"none">>;
alarms(Alarms) -> iolist_to_binary(lists:join("; ", Alarms)).

%% @doc The figures.
-spec counters() -> [{Name :: binary(), non_neg_integer()}].
counters() ->
    megaphone_overview:counters().

%% @doc One of them.
-spec counter(Name :: binary()) -> non_neg_integer() | not_there().
counter(Name) ->
    case megaphone_overview:counter(Name) of
        {ok, Value} -> Value;
        error -> not_there("there is no such figure; megaphone_counters lists them")
    end.

%% @doc All trunks.
-spec trunks() -> [tuple()].
trunks() ->
    #{trunks := Trunks} = megaphone_overview:read(),
    [list_to_tuple([field(Name, Trunk) || {Name, _} <- ?TRUNK]) || Trunk <- Trunks].

field(state, #{state := State}) -> atom_to_binary(State, utf8);
field(Name, #{sessions := Sessions}) when Name =:= sessions -> sum(Sessions);
field(Name, #{errors := Errors}) when Name =:= errors -> sum(Errors);
field(Name, Trunk) -> maps:get(Name, Trunk).

sum(Counts) -> lists:sum(maps:values(Counts)).

%% @doc One trunk.
-spec trunk(integer()) -> [pair()] | not_there().
trunk(Number) ->
    case megaphone_overview:trunk(Number) of
        {ok, #{sessions := Sessions, errors := Errors, listener := Listener} = Trunk} ->
            [{atom_to_binary(Name, utf8), value(field(Name, Trunk))} || {Name, _} <- ?TRUNK]
                ++ [{atom_to_binary(Name, utf8), value(maps:get(Name, Trunk))}
                    || Name <- [opened, frames_in, frames_out, waiters]]
                ++ [{<<"listener">>, Listener}]
                ++ kinds(<<"sessions_">>, Sessions) ++ kinds(<<"errors_">>, Errors);
        error ->
            not_there(no_trunk(Number))
    end.

value(Value) when is_integer(Value) -> integer_to_binary(Value);
value(Value) when is_binary(Value) -> Value.

kinds(Prefix, Counts) ->
    [{<<Prefix/binary, (atom_to_binary(Kind, utf8))/binary>>, integer_to_binary(Count)}
     || {Kind, Count} <- lists:sort(maps:to_list(Counts))].

%% @doc The sessions of each trunk by transport.
-spec sessions() -> [{pos_integer(), Transport :: binary(), non_neg_integer()}].
sessions() ->
    #{trunks := Trunks} = megaphone_overview:read(),
    [{Number, atom_to_binary(Transport, utf8), Count}
     || #{number := Number, sessions := Sessions} <- Trunks, {Transport, Count} <- lists:sort(maps:to_list(Sessions))].

%% @doc Has the trunks' sessions move away.
-spec drain() -> done().
drain() ->
    #{trunks := Trunks} = megaphone_overview:read(),
    ok = megaphone_drain:drain(),
    {ok, format("trunks are told to go away: ~b now, and those to come", [length(Trunks)])}.

%% @doc Ends that.
-spec undrain() -> done().
undrain() ->
    ok = megaphone_drain:undrain(),
    {ok, "New trunks take sessions"}.

%% @doc Closes a trunk.
-spec close_trunk(integer()) -> done() | {not_exists, Text :: string()}.
close_trunk(Number) ->
    case [Reader || #{number := N, reader := Reader} <- megaphone_nif:trunks(), N =:= Number] of
        [Reader] ->
            ok = megaphone_trunk:close(Reader),
            {ok, format("trunk ~b is closed", [Number])};
        [] ->
            {not_exists, no_trunk(Number)}
    end.

no_trunk(Number) ->
    format("there is no trunk ~b; megaphone_trunks lists them", [Number]).

not_there(Text) ->
    {error, not_exists, ?NOT_THERE, Text}.

format(Format, Arguments) ->
    lists:flatten(io_lib:format(Format, Arguments)).
