%% @doc Runs properties, and keeps what one says of a test that fails.
-module(prop_result).

-export([holds_for/2, holds/1, note/2]).

%% @doc Runs so many tests of a property from a fresh seed. The case fails if one does, and says the seed;
%% MEGAPHONE_SEED="{A,B,C}" repeats it.
-spec holds_for(proper:test(), Tests :: pos_integer()) -> ok.
holds_for(Property, Tests) ->
    Seed = seed(),
    _ = rand:seed(exsplus, Seed),
    Log = fun(Format, Arguments) -> put(log, [get(log), io_lib:format(Format, Arguments)]), ok end,
    put(log, []),
    case proper:quickcheck(Property, [{numtests, Tests}, {on_output, Log}, {max_size, 40}, nocolors]) of
        true -> ok;
        _ -> ct:fail("with MEGAPHONE_SEED=\"~w\":~n~ts~n~ts", [Seed, get(log), take_notes()])
    end.

%% @doc Whether it holds; an exception is a failure with a note. PropEr itself asks for stack traces in a
%% way that OTP 24 has ended.
-spec holds(fun(() -> boolean())) -> boolean().
holds(Test) ->
    try
        Test()
    catch
        Class:Reason:Stack ->
            note("~p: ~p~n~p~n", [Class, Reason, Stack]),
            false
    end.

%% @doc Keeps a text about the test that is run; that of the last one, shrunk most, is shown.
-spec note(io:format(), [term()]) -> ok.
note(Format, Arguments) ->
    put(?MODULE, io_lib:format(Format, Arguments)),
    ok.

seed() ->
    case os:getenv("MEGAPHONE_SEED") of
        false ->
            {rand:uniform(1 bsl 32), rand:uniform(1 bsl 32), rand:uniform(1 bsl 32)};
        Text ->
            {ok, Tokens, _} = erl_scan:string(Text ++ "."),
            {ok, Seed} = erl_parse:parse_term(Tokens),
            Seed
    end.

%% The last text.
take_notes() ->
    case erase(?MODULE) of
        undefined -> "";
        Text -> Text
    end.
