%% @doc What a property says of a test that fails.
-module(prop_result).

-export([holds/1, note/2, take_notes/0]).

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

%% @doc The last text.
-spec take_notes() -> iodata().
take_notes() ->
    case erase(?MODULE) of
        undefined -> "";
        Text -> Text
    end.
