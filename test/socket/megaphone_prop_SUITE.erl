%% The properties (PropEr). Each runs a fixed number of tests from a fresh seed; a failure prints the
%% seed, and MEGAPHONE_SEED="{A,B,C}" repeats it.
-module(megaphone_prop_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0]).
-export([frames/1, documents_like_fxml/1, documents_broken/1, characters_like_fxml/1,
         decode_packet_near_valid/1, decode_packet_random/1, decode_packet_differences/1, packets_on_a_socket/1,
         socket_like_gen_tcp/1, socket_differences/1, calls/0, calls/1]).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [frames, documents_like_fxml, documents_broken, characters_like_fxml, decode_packet_near_valid,
     decode_packet_random, decode_packet_differences, packets_on_a_socket, socket_like_gen_tcp, socket_differences, calls].

%% Confirms that the cutting of a trunk's bytes means nothing.
frames(_Config) ->
    prop_result:holds_for(prop_frames:prop_any_cut(), 1000).

%% Confirms that a document is parsed as ejabberd's own parser does.
documents_like_fxml(_Config) ->
    prop_result:holds_for(prop_document:prop_like_fxml(), 3000).

%% Confirms that what ejabberd's own parser refuses is refused, and nothing else is read out of it.
documents_broken(_Config) ->
    prop_result:holds_for(prop_document:prop_broken(), 5000).

%% Confirms the same of each character, in names and in text: what one took and the other did not would break
%% the streams of others.
characters_like_fxml(_Config) ->
    Planes = [Plane bsl 16 + Low || Plane <- lists:seq(1, 16), Low <- [0, 16#1234, 16#fffd, 16#fffe, 16#ffff]],
    Characters = lists:seq(1, 16#d7ff) ++ lists:seq(16#e000, 16#ffff) ++ Planes,
    Places = [{<<"<">>, <<"/>">>}, {<<"<a">>, <<"/>">>}, {<<"<a>">>, <<"</a>">>}, {<<"<a b='">>, <<"'/>">>}],
    Read = fun({error, _}) -> refused; ({xmlel, _, _, _} = Element) -> Element end,
    ?assertEqual([], [{Character, Before}
                      || Character <- Characters, {Before, After} <- Places,
                         Document <- [<<Before/binary, (character(Character))/binary, After/binary>>],
                         Read(megaphone_nif:parse(Document, 1)) =/= Read(fxml_stream:parse_element(Document))]).

%% In UTF-8; unicode:characters_to_binary/1 refuses some.
character(Character) when Character < 16#80 -> <<Character>>;
character(Character) when Character < 16#800 -> <<2#110:3, (Character bsr 6):5, 2#10:2, Character:6>>;
character(Character) when Character < 16#10000 ->
    <<2#1110:4, (Character bsr 12):4, 2#10:2, (Character bsr 6):6, 2#10:2, Character:6>>;
character(Character) ->
    <<2#11110:5, (Character bsr 18):3, 2#10:2, (Character bsr 12):6, 2#10:2, (Character bsr 6):6, 2#10:2, Character:6>>.

%% Confirms that lines that are right, or nearly so, are decoded as erlang:decode_packet/3 does.
decode_packet_near_valid(Config) ->
    prop_result:holds_for(prop_decode_packet:prop_near_valid(differences(Config)), 20_000).

%% Confirms the same for bytes that are mostly no line.
decode_packet_random(Config) ->
    prop_result:holds_for(prop_decode_packet:prop_random(differences(Config)), 10_000).

%% Confirms each row of the table: that we answer as it says, and that this release answers otherwise, or
%% isn't said to.
decode_packet_differences(Config) ->
    Release = list_to_integer(erlang:system_info(otp_release)),
    [begin
         ?assertNotEqual(Ours, Theirs, Name),
         ?assertEqual(Ours, megaphone_nif:decode_packet(Type, Input), Name),
         ?assertEqual(match, re:run(Input, Lines, [caseless, {capture, none}]), Name),
         ?assert(lists:member(Type, Types), Name),
         Expected = if Release >= First, Release =< Last -> Theirs; true -> Ours end,
         ?assertEqual(Expected, erlang:decode_packet(Type, Input, []), Name)
     end || {Name, #{type := Type, types := Types, input := Input, lines := Lines, ours := Ours,
                     theirs := Theirs, otp := {First, Last}}} <- differences(Config)].

%% Confirms that a socket in a packet mode gives the same packets, however their bytes come.
packets_on_a_socket(_Config) ->
    prop_result:holds_for(prop_decode_packet:prop_on_a_socket(), 1000).

%% Confirms that a connection and a gen_tcp socket answer the same calls the same way.
socket_like_gen_tcp(_Config) ->
    prop_result:holds_for(prop_socket:prop_like_gen_tcp(), 1000).

%% Confirms that each difference that is intended is one: that its commands meet it.
socket_differences(_Config) ->
    [?assertEqual({ok, [Name]}, prop_socket:run(Commands), Commands)
     || {Name, Commands} <- prop_socket_differences:examples()].

differences(Config) ->
    prop_decode_packet:differences(proplists:get_value(data_dir, Config)).

calls() ->
    [{timetrap, {hours, 1}}].

%% Confirms that no call of the NIF, whatever its arguments and whoever calls at the same time, does more than to answer
%% or to raise badarg. MEGAPHONE_CALLS is how many are made.
calls(_Config) ->
    Calls = list_to_integer(os:getenv("MEGAPHONE_CALLS", "10000")),
    prop_result:holds_for(prop_calls:prop_any_calls(), Calls div prop_calls:calls_per_test() + 1).
