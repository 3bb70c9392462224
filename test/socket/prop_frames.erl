%% @doc Frames mean the same however the trunk's bytes are cut on their way.
-module(prop_frames).

-include_lib("proper/include/proper.hrl").

-export([prop_any_cut/0]).

-define(TRUNK, megaphone_test_nif).

%% @doc Any cutting of a sequence of frames, also one that ends in bytes that are no frame, gives each
%% connection the same bytes and the same end, and the trunk the same error.
-spec prop_any_cut() -> proper:test().
prop_any_cut() ->
    ?FORALL({Frames, Tail, Cuts}, {list(frame()), tail(), non_empty(list(pos_integer()))},
            prop_result:holds(fun() -> is_read(Frames, Tail, Cuts) end)).

is_read(Frames, {Behind, TailBytes, _} = Tail, Cuts) ->
    Whole = iolist_to_binary([encode(Frame) || Frame <- Frames]),
    Trunk = ?TRUNK:open(),
    {Handles, End} = feed(Trunk, cut(<<Whole/binary, TailBytes/binary>>, Cuts, Cuts), []),
    Read = {[read(megaphone:socket(Trunk, Handle), []) || Handle <- Handles], End},
    Expected = {connections(Frames ++ Behind), expected_end(Tail, byte_size(Whole))},
    prop_result:note("expected ~p~n     got ~p~n", [Expected, Read]),
    Read =:= Expected.

%% Few ids, so that they are closed and opened anew.
frame() ->
    {range(1, 4), frequency([{5, ?SUCHTHAT(Content, binary(), Content =/= <<>>)},
                             {1, ?LET(Size, range(100, 3000), binary(Size))},
                             {2, close}])}.

%% What follows the last whole frame: the frames it counts for, its bytes, and the place of the first byte
%% that is wrong.
tail() ->
    frequency([{2, {[], <<>>, none}},
               {2, {[{1, <<"cut">>}], binary:part(encode({1, <<"cut short">>}), 0, 35), none}},
               {1, {[], binary:part(encode({1, <<"x">>}), 0, 31), none}},
               {1, {[], <<"00000000x5|", 0:200>>, 8}},
               {1, {[], <<"0000000031|", 0:200>>, 0}},
               {1, {[], <<"0000000040|", (?TRUNK:id(7))/binary, "!", 0:200>>, 31}}]).

encode({Id, close}) -> ?TRUNK:close_frame(?TRUNK:id(Id));
encode({Id, Content}) -> ?TRUNK:frame(?TRUNK:id(Id), Content).

cut(<<>>, _Cuts, _All) -> [];
cut(Bytes, [], All) -> cut(Bytes, All, All);
cut(Bytes, [Size | Cuts], All) ->
    Piece = binary:part(Bytes, 0, min(Size, byte_size(Bytes))),
    [Piece | cut(binary:part(Bytes, byte_size(Piece), byte_size(Bytes) - byte_size(Piece)), Cuts, All)].

feed(_Trunk, [], Handles) ->
    {Handles, ok};
feed(Trunk, [Piece | Pieces], Handles) ->
    case ?TRUNK:feed(Trunk, Piece) of
        {ok, Opened, []} -> feed(Trunk, Pieces, Handles ++ handles(Opened));
        {error, Opened, [], Text} -> {Handles ++ handles(Opened), place(Text)}
    end.

place(<<"trunk byte ", Text/binary>>) ->
    [Place | _] = binary:split(Text, <<":">>),
    binary_to_integer(Place).

expected_end({_, _, none}, _Before) -> ok;
expected_end({_, _, Place}, Before) -> Before + Place.

%% The connections in the order in which they open, each with its bytes and its end.
connections(Frames) ->
    {Ended, Open} = lists:foldl(fun follow/2, {[], []}, Frames),
    Ordered = lists:keysort(1, Ended ++ [{Number, Bytes, timeout} || {_, Number, Bytes} <- Open]),
    [{Bytes, End} || {_, Bytes, End} <- Ordered].

follow({Id, Content}, {Ended, Open}) ->
    case {lists:keyfind(Id, 1, Open), Content} of
        {false, close} ->
            {Ended, Open};
        {false, _} ->
            {Ended, [{Id, length(Ended) + length(Open), Content} | Open]};
        {{Id, Number, Bytes}, close} ->
            {[{Number, Bytes, closed} | Ended], lists:keydelete(Id, 1, Open)};
        {{Id, Number, Bytes}, _} ->
            {Ended, lists:keyreplace(Id, 1, Open, {Id, Number, <<Bytes/binary, Content/binary>>})}
    end.

read(Socket, Pieces) ->
    case gen_tcp:recv(Socket, 0, 0) of
        {ok, Piece} -> read(Socket, [Pieces, Piece]);
        {error, End} -> {iolist_to_binary(Pieces), End}
    end.

handles(Opened) ->
    [Handle || {Handle, _} <- Opened].
