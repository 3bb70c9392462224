%% @doc The functions of the NIF and the types of their arguments, for the cases that call all of them.
-module(megaphone_test_calls).

-include_lib("stdlib/include/assert.hrl").

-export([functions/0, right/1, terms/0]).

-export_type([type/0]).

-type type() :: address | binary | direction | handle | iodata | options | packet_type | pid | settings | size
              | trunk | wait.

%% @doc All functions that are exported and have arguments, and their types. A new function of the NIF has to be
%% added here: the call fails until it is.
-spec functions() -> [{atom(), [type()]}].
functions() ->
    Functions =
        [{open, [settings]},
         {set_writer, [trunk, pid]},
         {feed, [trunk, binary]}, {feed_dirty, [trunk, binary]},
         {take_output, [trunk, size]},
         {own, [trunk, handle, pid]}, {owner, [trunk, handle]},
         {sweep, [trunk]}, {tick, [trunk]}, {held_up, [trunk]}, {drain, [trunk]}, {in_flight, [trunk]},
         {sessions, [trunk]}, {is_serving, [trunk]}, {has_output, [trunk]},
         {lose, [trunk]}, {number, [trunk]}, {version, [trunk]}, {status, [trunk]},
         {set_peername, [trunk, address]}, {set_tls, [trunk, binary, binary]}, {admit, [pid, size]}, {trunk, [size]},
         {recv, [trunk, handle, size]}, {recv_dirty, [trunk, handle, size]},
         {send, [trunk, handle, iodata]},
         {reserve, [trunk, handle, size]}, {unreserve, [trunk, handle]},
         {cancel, [trunk, handle, wait]},
         {close, [trunk, handle]}, {reset, [trunk, handle]},
         {shutdown, [trunk, handle, direction]},
         {setopts, [trunk, handle, options]}, {getopts, [trunk, handle]},
         {getstat, [trunk, handle]}, {is_open, [trunk, handle]}, {watch, [trunk, handle]},
         {peername, [trunk, handle]}, {sockname, [trunk, handle]},
         {transport, [trunk, handle]},
         {take_channel_bindings, [trunk, handle]}, {take_http_fields, [trunk, handle]},
         {take_certificate, [trunk, handle]}, {take_takeover, [trunk, handle]},
         {decode_packet, [packet_type, binary]}, {proxy_header, [binary]},
         {parse, [binary, size]}, {parse_dirty, [binary, size]}],
    Exported = [Function || {Name, Arity} = Function <- megaphone_nif:module_info(exports),
                            Arity > 0, Name =/= module_info],
    ?assertEqual(lists:sort(Exported), lists:sort([{Name, length(Types)} || {Name, Types} <- Functions])),
    Functions.

%% @doc An argument of a type, but for trunks and handles.
-spec right(type()) -> term().
right(pid) -> self();
right(binary) -> <<>>;
right(iodata) -> <<>>;
right(size) -> 1;
right(wait) -> 1;
right(direction) -> write;
right(options) -> [];
right(packet_type) -> http;
right(settings) ->
    #{content => raw, max_frame_size => 1000, max_connections => 1, max_trunk_buffer => 1,
      max_trunk_output => 1, idle_timeout => infinity, send_timeout => infinity, handshake_timeout => infinity,
      frame_timeout => infinity, ceilings => #{}, listener => self(), peername => undefined,
      sockname => undefined};
right(address) -> undefined.

%% @doc Terms of each of Erlang's types.
-spec terms() -> [term()].
terms() ->
    [an_atom, -1, 1 bsl 64, 1 bsl 200, 1.5, <<"binary">>, <<1:3>>, "string", [], [a | b],
     {}, {a, b}, #{}, #{a => b}, make_ref(), self(), fun() -> ok end].
