%% @doc Just enough JSON for results: maps with atom keys, lists, numbers, binaries and atoms.
-module(megaphone_bench_json).

-export([encode/1]).

-spec encode(term()) -> iodata().
encode(Map) when is_map(Map) ->
    Pair = fun({Key, Value}) -> [string(atom_to_binary(Key, utf8)), $:, encode(Value)] end,
    [${, lists:join($,, lists:map(Pair, lists:sort(maps:to_list(Map)))), $}];
encode(List) when is_list(List) ->
    [$[, lists:join($,, lists:map(fun encode/1, List)), $]];
encode(Integer) when is_integer(Integer) ->
    integer_to_binary(Integer);
encode(Float) when is_float(Float) ->
    float_to_binary(Float, [{decimals, 3}]);
encode(Atom) when Atom =:= true; Atom =:= false; Atom =:= null ->
    atom_to_binary(Atom, utf8);
encode(Binary) when is_binary(Binary) ->
    string(Binary).

string(Text) ->
    [$", [escape(Char) || <<Char/utf8>> <= Text], $"].

escape(Char) when Char =:= $"; Char =:= $\\ -> [$\\, Char];
escape(Char) when Char < 32 -> io_lib:format("\\u~4.16.0b", [Char]);
escape(Char) -> <<Char/utf8>>.
