%% @doc What OTP and fast_xml make of bytes, beside what was made of them in Rust: the other end of `src/erlang.rs'.
%%
%% It reads batches from its standard input and answers each: nothing if all is the same, else a text about the first
%% that is not. What is the same is what the suites' properties say.
-module(compare).

-export([run/0]).

-spec run() -> no_return().
run() ->
    {ok, _} = application:ensure_all_started(fast_xml),
    Differences = prop_decode_packet:differences(os:getenv("FUZZ_DIFFERENCES")),
    loop(open_port({fd, 0, 1}, [binary, {packet, 4}, eof]), Differences).

loop(Port, Differences) ->
    receive
        {Port, {data, <<Kind, Cases/binary>>}} ->
            true = port_command(Port, compare(Kind, Cases, Differences)),
            loop(Port, Differences);
        {Port, eof} ->
            halt(0)
    end.

compare(_, <<>>, _) ->
    <<>>;
compare(Kind, <<Option, Length:32, Bytes:Length/binary, TermLength:32, Term:TermLength/binary, Cases/binary>>,
        Differences) ->
    Ours = binary_to_term(<<131, Term/binary>>),
    try is_same(Kind, Option, Bytes, Ours, Differences) of
        true -> compare(Kind, Cases, Differences);
        false -> io_lib:format("~c ~c~n  bytes ~p~n   ours ~p~n theirs ~p", [Kind, Option, Bytes, Ours, theirs(Kind, Option, Bytes)])
    catch
        _:Reason:Stack -> io_lib:format("~c ~c~n  bytes ~p~n   ours ~p~n ~p~n~p", [Kind, Option, Bytes, Ours, Reason, Stack])
    end.

is_same($p, Option, Bytes, Ours, Differences) ->
    prop_decode_packet:is_theirs(Ours, packet_type(Option), Bytes, Differences);
%% fxml takes comments and other things that XMPP has not.
is_same($d, _, _, refused, _) ->
    true;
is_same($d, _, Bytes, Ours, _) ->
    prop_document:is_theirs(Bytes, Ours).

theirs($p, Option, Bytes) ->
    erlang:decode_packet(packet_type(Option), Bytes, []);
theirs($d, _, Bytes) ->
    fxml_stream:parse_element(Bytes).

packet_type($r) -> http_bin;
packet_type($h) -> httph_bin.
