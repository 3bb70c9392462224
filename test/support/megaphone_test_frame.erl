%% @doc The frames of yamux (hashicorp's spec.md, version 0): right ones, and such as break a rule.
-module(megaphone_test_frame).

-export([frame/3, frame/4, header/4, split/1]).

-export_type([frame/0, kind/0, flag/0]).

-type kind() :: data | window_update | ping | go_away.
-type flag() :: syn | ack | fin | rst.
%% A header; a data frame's bytes are left out.
-type frame() :: {kind(), [flag()], Id :: non_neg_integer(), Length :: non_neg_integer()}.

%% @doc A data frame.
-spec frame([flag()], Id :: non_neg_integer(), iodata()) -> iodata().
frame(Flags, Id, Bytes) ->
    frame(Flags, Id, iolist_size(Bytes), Bytes).

%% @doc A data frame that says another length.
-spec frame([flag()], Id :: non_neg_integer(), non_neg_integer(), iodata()) -> iodata().
frame(Flags, Id, Length, Bytes) ->
    [header(data, Flags, Id, Length), Bytes].

%% @doc A header with any type and flags.
-spec header(kind() | byte(), [flag()] | 0..65535, non_neg_integer(), non_neg_integer()) -> binary().
header(Kind, Flags, Id, Length) ->
    <<0, (kind_number(Kind)), (flags_number(Flags)):16, Id:32, Length:32>>.

%% @doc The first whole frame, its bytes, and what follows.
-spec split(binary()) -> {frame(), binary(), Rest :: binary()} | more.
split(<<0, 0, Flags:16, Id:32, Length:32, Bytes:Length/binary, Rest/binary>>) ->
    {{data, flags(Flags), Id, Length}, Bytes, Rest};
split(<<0, Kind, Flags:16, Id:32, Length:32, Rest/binary>>) when Kind > 0 ->
    {{kind(Kind), flags(Flags), Id, Length}, <<>>, Rest};
split(_) ->
    more.

kind_number(data) -> 0;
kind_number(window_update) -> 1;
kind_number(ping) -> 2;
kind_number(go_away) -> 3;
kind_number(Number) -> Number.

kind(1) -> window_update;
kind(2) -> ping;
kind(3) -> go_away.

flags_number(Number) when is_integer(Number) -> Number;
flags_number(Flags) -> lists:sum([Bit || {Flag, Bit} <- flag_bits(), lists:member(Flag, Flags)]).

flags(Number) -> [Flag || {Flag, Bit} <- flag_bits(), Number band Bit =/= 0].

flag_bits() -> [{syn, 1}, {ack, 2}, {fin, 4}, {rst, 8}].
