%% @doc The options of megaphone_listener as its validators and defaults have them: a line for each, its name, what
%% it may be and its default, with tabs between.
%%
%% A validator is a function. What it takes is learned from what it says of values that it refuses.
-module(megaphone_doc_options).

-export([print/0]).

-define(NOTHING, '$nothing').

-spec print() -> ok.
print() ->
    %% An ejabberd that is not in Erlang's own library folder, as in erlang/rebar.config.script.
    _ = code:which(ejabberd) =/= non_existing
        orelse code:add_pathsz(filelib:wildcard("/usr/lib/*/ejabberd-*/ebin")),
    Defaults = megaphone_listener:listen_options(),
    Own = [Option || {Name, _} = Option <- Defaults,
                     lists:member(Name, [tls, certfile, cafile])
                         orelse not lists:member(Option, megaphone_ejabberd:http_options())],
    lists:foreach(fun print/1, [{use_proxy_protocol, false} | Own]),
    lists:foreach(fun print_limit/1, megaphone_stanza_limits:names()).

print({Name, Default}) ->
    line(atom_to_list(Name), kind(Name), default(kind(Name), Default)).

print_limit(Name) ->
    line("c2s." ++ atom_to_list(Name), kind_of(megaphone_stanza_limits:opt_type(Name)), "").

line(Name, Kind, Default) ->
    io:format("~ts\t~ts\t~ts~n", [Name, text(Kind), Default]).

kind(Name) when Name =:= certfile; Name =:= cafile -> file;
kind(ip) -> address;
kind(Name) -> kind_of(validator(Name)).

%% As ejabberd does: what the listener's module does not know may be an option of every listener.
validator(Name) ->
    try
        megaphone_listener:listen_opt_type(Name)
    catch
        error:_ -> ejabberd_listener:listen_opt_type(Name)
    end.

kind_of(Validator) ->
    case refusal(Validator, {?NOTHING}) of
        {bad_timeout, {?NOTHING}} -> time;
        {bad_timeout, infinity, {?NOTHING}} -> {time, infinity};
        {bad_int, _} -> or_infinity(econf:validate(Validator, infinity), range(refusal(Validator, -1)));
        {bad_int, infinity, _} -> {range(refusal(Validator, -1)), infinity};
        {bad_atom, {?NOTHING}} -> word(refusal(Validator, ?NOTHING));
        {bad_list, {?NOTHING}} -> {list, word(refusal(Validator, [?NOTHING]))};
        {bad_map, {?NOTHING}} -> map
    end.

or_infinity({ok, infinity}, Range) -> {Range, infinity};
or_infinity({error, _, _}, Range) -> Range.

range({bad_int, Least, Most, -1}) -> {int, Least, Most};
range({bad_non_neg_int, -1}) -> {int, 0, infinity};
range({bad_pos_int, -1}) -> {int, 1, infinity};
range({bad_pos_int, infinity, -1}) -> {int, 1, infinity}.

word({bad_bool, ?NOTHING}) -> bool;
word({bad_enum, Words, ?NOTHING}) -> {enum, Words}.

refusal(Validator, Value) ->
    {error, Why, _} = econf:validate(Validator, Value),
    Why.

text(file) -> "file";
text(address) -> "IP address";
text(map) -> "options";
text(bool) -> "true, false";
text(time) -> "time";
text({time, infinity}) -> "time or infinity";
text({int, Least, infinity}) -> io_lib:format("number from ~b", [Least]);
text({int, Least, Most}) -> io_lib:format("number, ~b to ~b", [Least, Most]);
text({{int, _, _} = Int, infinity}) -> [text(Int), " or infinity"];
text({list, {enum, Words}}) -> ["list of ", lists:join(", ", [atom_to_list(Word) || Word <- Words])].

default(_Kind, undefined) -> "";
default(address, IP) -> inet:ntoa(IP);
default(map, []) -> "{}";
default({list, _}, Words) -> ["[", lists:join(", ", [atom_to_list(Word) || Word <- Words]), "]"];
default(Kind, Milliseconds) when Kind =:= time; Kind =:= {time, infinity} -> seconds(Milliseconds div 1000);
default(_Kind, Value) -> io_lib:format("~p", [Value]).

seconds(Seconds) when Seconds rem 60 =:= 0 -> io_lib:format("~b minutes", [Seconds div 60]);
seconds(Seconds) -> io_lib:format("~b seconds", [Seconds]).
