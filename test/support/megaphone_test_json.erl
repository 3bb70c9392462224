%% @doc JSON by OTP's json, which came with OTP 27, or else by jiffy, which newer Debians don't have.
-module(megaphone_test_json).

-export([encode/1, decode/1]).

%% @doc Objects are maps, strings are binaries.
-spec encode(#{binary() => term()}) -> iodata().
encode(Object) ->
    case has_json() of
        true -> apply(json, encode, [Object]);
        false -> apply(jiffy, encode, [Object])
    end.

%% @doc The same the other way round.
-spec decode(binary()) -> term().
decode(Text) ->
    case has_json() of
        true -> apply(json, decode, [Text]);
        false -> apply(jiffy, decode, [Text, [return_maps]])
    end.

has_json() ->
    code:ensure_loaded(json) =:= {module, json}.
