%% @doc Where a connection of a trunk intends to answer otherwise than gen_tcp: prop_socket's two sides.
-module(prop_socket_differences).

-include("prop_socket.hrl").

-export([difference/4, is_possible/2, patient/2, examples/0]).

-export_type([name/0]).

-type name() :: closed_for_ever
              | failed_send_closes_nothing
              | rest_can_be_read
              | length_is_forgotten
              | close_is_seen_at_once
              | reader_gives_way
              | length_in_packet_mode
              | packet_mode_is_for_all
              | headers_need_a_header
              | close_ends_both_directions
              | shutdown_of_reading_drops
              | open_until_our_close
              | all_messages_are_moved
              | dead_process_gets_nothing
              | send_of_nothing_is_a_send.

%% Commands that read, or make the socket send what there is to read.
-define(IS_READING(Command),
        (element(1, Command) =:= recv orelse element(1, Command) =:= recv_all
         orelse element(1, Command) =:= recv_packet orelse element(1, Command) =:= start_recv
         orelse element(1, Command) =:= active)).
%% How long a recv may take that is answered when gen_tcp sees the close (milliseconds).
-define(PATIENCE, 2000).

%% @doc Commands that show each intended difference, the last of them the one that differs.
-spec examples() -> [{name(), [prop_socket:command()]}].
examples() ->
    [{closed_for_ever, [peer_close, {recv_all, 0}, {recv_all, 0}]},
     {closed_for_ever, [{shutdown, write}, {always, {send, "a"}}, {always, {send, "a"}}]},
     {rest_can_be_read, [{peer_send, <<"abc">>}, peer_close, {recv, 4, 0}, {recv, 3, 0}]},
     {length_is_forgotten, [{recv, 3, 0}, {peer_send, <<"ab">>}, {always, {recv_all, 0}}]},
     {close_is_seen_at_once, [{peer_send, <<"abc">>}, peer_close, {always, {recv, 4, 0}}]},
     {packet_mode_is_for_all, [{packet, httph}, {peer_send, <<"A: b\r\n">>}, {recv_packet, 0},
                               {always, {packet, http}}, {recv_packet, 0}]},
     {headers_need_a_header, [{active, once}, {packet, httph}, {always, {packet, http}},
                              {peer_send, <<"\nabc">>}]},
     {reader_gives_way, [{start_recv, 1}, {always, {active, true}}]},
     {dead_process_gets_nothing, [{active, true}, {peer_send, <<"a">>}, {hand_over, other},
                                  {always, {hand_over, dead}}]},
     {failed_send_closes_nothing, [{start_recv, 1}, {shutdown, write}, {always, {send, "a"}}]},
     {send_of_nothing_is_a_send, [{shutdown, write}, {always, {send, ""}}]},
     {open_until_our_close, [peer_close, {recv, 1, 0}, {shutdown, write}]},
     {open_until_our_close, [{shutdown, write}, peer_close, {shutdown, write}]},
     {length_in_packet_mode, [{packet, http}, peer_close, {recv_all, 0}, {recv, 1, 0}]},
     {close_ends_both_directions, [peer_close, {send, "a"}]},
     {shutdown_of_reading_drops, [{peer_send, <<"abc">>}, {shutdown, read}, {recv_all, 0}]},
     {all_messages_are_moved, [{packet, http_bin}, {active, once},
                               {peer_send, <<"GET / HTTP/1.1\r\n">>}, {hand_over, other}]},
     {all_messages_are_moved, [{active, 0}, {hand_over, other}]}].

%% @doc Whether two results that differ do so by intention: one clause for each difference, with its reason.
%% `stop': the sides have nothing in common from here on.
-spec difference(prop_socket:command(), #context{}, prop_socket:result(), prop_socket:result()) ->
          {go | stop, name()} | unintended.
%% A peer that closed has closed both directions: version 1 of the trunk has no half-close. TCP's can
%% still receive.
difference({send, _}, #context{peer = closed, ours = open}, {{error, closed}, M, R}, {_, M, R}) ->
    {go, close_ends_both_directions};
%% A peer's close leaves what came before it, in any lengths. gen_tcp drops it once it has told of the
%% close because more was asked for.
difference(Command, #context{told = yes, buffered = Rest}, _, _) when Rest > 0, ?IS_READING(Command) ->
    {stop, rest_can_be_read};
%% Each recv stands for itself. gen_tcp goes on to wait for the length of one that timed out, whatever the
%% next one asks for.
difference({recv_all, _}, #context{asked = Length}, _, _) when is_integer(Length) ->
    {stop, length_is_forgotten};
%% A recv that a close has made impossible is told so. gen_tcp sees the close behind a rest only if it
%% waits.
difference({recv, _, 0}, #context{forced = yes, peer = closed, buffered = Rest}, {{error, closed}, M, R},
           {{error, timeout}, M, R}) when Rest > 0 ->
    {stop, close_is_seen_at_once};
%% A packet mode is for all bytes that haven't been read. gen_tcp's is for those that it hasn't yet in a
%% buffer of its own, until more come.
difference({recv_packet, _}, #context{forced = yes, split = perhaps}, {{ok, _}, M, R},
           {{error, timeout}, M, R}) ->
    {stop, packet_mode_is_for_all};
%% A socket that was in mode httph goes on with headers in mode http if it has read one. gen_tcp does too if
%% it has looked for one.
difference({peer_send, _}, #context{forced = yes, packet = http}, {ok, {[{http, {http_error, _}}], []}, R},
           {ok, {[{http, http_eoh}], []}, R}) ->
    {stop, headers_need_a_header};
%% A process in recv is answered when the socket becomes active. gen_tcp leaves it there, and gives some of
%% what comes to nobody.
difference({active, _}, _, {ok, M, {answered, {error, einval}}}, {ok, M, waits}) ->
    {stop, reader_gives_way};
%% After a shutdown of reading nothing is read. Linux still gives what came; gen_tcp closes behind it.
difference(Command, #context{reading = shut, told = Told}, _, _)
  when Told =:= yes; is_tuple(Command), ?IS_READING(Command) ->
    {stop, shutdown_of_reading_drops};
%% A peer's close that a recv has told of, or our shutdown of the other direction, leaves the socket as it
%% is. It closes gen_tcp's, or the kernel's.
difference({shutdown, _}, #context{peer = closed, ours = open, told = Told, writing = Writing}, {ok, M, R},
           {{error, enotconn}, M, R}) when Told =:= yes; Writing =:= shut ->
    {stop, open_until_our_close};
%% A send after a shutdown of writing fails, and that is all. gen_tcp's closes the socket.
difference({send, _}, #context{writing = shut}, {{error, closed}, M, waits},
           {{error, closed}, M, {answered, {error, closed}}}) ->
    {stop, failed_send_closes_nothing};
%% A send of nothing is a send. gen_tcp has nothing to ask the kernel for.
difference({send, ""}, #context{writing = shut}, {{error, closed}, M, R}, {{ok, <<>>}, M, R}) ->
    {go, send_of_nothing_is_a_send};
%% A process that is dead gets nothing. gen_tcp sends it the messages first, and leaves the socket passive.
difference({hand_over, dead}, _, {{error, badarg}, _, R}, {{error, badarg}, _, R}) ->
    {stop, dead_process_gets_nothing};
%% A length in a packet mode is wrong, also when the peer has closed.
difference({recv, _, _}, #context{told = yes, ours = open, packet = Packet}, {{error, einval}, M, R},
           {{error, enotconn}, M, R}) when Packet =/= 0 ->
    {go, length_in_packet_mode};
%% What can't be done on a closed socket, or in a direction that was shut, is answered `closed' for ever,
%% where gen_tcp changes to other names. ({@link megaphone})
difference(_, #context{told = Told, ours = Ours, writing = Writing}, {OurAnswer, M, OurReader},
           {TheirAnswer, M, TheirReader})
  when Told =:= yes; Ours =:= closed; Writing =:= shut ->
    case is_closed(OurAnswer, TheirAnswer) andalso is_closed(OurReader, TheirReader) of
        true -> {go, closed_for_ever};
        false -> unintended
    end;
%% All of a socket's messages go to the new owner. gen_tcp forgets those of the http modes, tcp_passive and
%% tcp_error.
difference({hand_over, other}, _, {ok, {OursA, OursB}, R}, {ok, {TheirsA, TheirsB}, R}) ->
    Left = [Message || Message <- TheirsA ++ TheirsB, not is_moved(Message)],
    case Left =/= [] andalso lists:sort(OursA ++ OursB) =:= lists:sort(TheirsA ++ TheirsB) of
        true -> {go, all_messages_are_moved};
        false -> unintended
    end;
difference(_, _, _, _) ->
    unintended.

is_closed(Same, Same) -> true;
is_closed({error, closed}, {error, Name}) -> Name =:= enotconn orelse Name =:= einval;
is_closed({[], Ours}, {[], Theirs}) -> is_closed(Ours, Theirs);
is_closed({answered, Ours}, {answered, Theirs}) -> is_closed(Ours, Theirs);
is_closed(_, _) -> false.

is_moved({tcp, _}) -> true;
is_moved(tcp_closed) -> true;
is_moved(_) -> false.

%% @doc Whether a command means something in this state, and the sides stay comparable. A clause names the
%% difference that it keeps out: it would end most of the tests, so that an example shows it alone.
-spec is_possible(prop_socket:command(), #context{}) -> boolean().
%% failed_send_closes_nothing
is_possible({send, _}, #context{writing = shut, ours = open}) ->
    false;
%% length_is_forgotten
is_possible({recv, Length, _}, #context{asked = Asked, ours = open}) when is_integer(Asked), Length =/= Asked ->
    false;
is_possible({Command, _}, #context{asked = Asked, ours = open})
  when is_integer(Asked), Command =:= recv_all orelse Command =:= recv_packet orelse
       Command =:= start_recv orelse Command =:= packet orelse Command =:= active ->
    false;

%% A peer that has closed says no more; what it sends to a closed socket is nobody's, and gen_tcp closes
%% as it reads after a shutdown of reading.
is_possible({peer_send, _}, #context{peer = Peer, ours = Ours, reading = Reading}) ->
    {Peer, Ours, Reading} =:= {open, open, open};
is_possible(peer_close, #context{peer = Peer, ours = Ours}) -> {Peer, Ours} =:= {open, open};
is_possible({start_recv, _}, #context{reader = Reader, packet = Packet}) -> {Reader, Packet} =:= {none, 0};
%% reader_gives_way. And gen_tcp's messages of bytes that are split depend on where they are.
is_possible({active, Active}, Context) ->
    Active =:= false
        orelse (Context#context.reader =:= none
                andalso (Context#context.split =:= no orelse Context#context.packet =/= 0));
%% dead_process_gets_nothing
is_possible({hand_over, dead}, #context{active = Active}) -> Active =:= false;
%% headers_need_a_header
is_possible({packet, Packet}, #context{headers_only = was}) when Packet =:= http; Packet =:= http_bin ->
    false;
%% packet_mode_is_for_all
is_possible({packet, _}, #context{reader = Reader, split = Split}) -> {Reader, Split} =:= {none, no};
is_possible(Command, #context{ours = Ours}) when Command =:= kill_owner; Command =:= hand_over_by_other ->
    Ours =:= open;
is_possible(_, _) -> true.

%% @doc The command as it is run: with patience where gen_tcp needs it (close_is_seen_at_once).
-spec patient(prop_socket:command(), #context{}) -> prop_socket:command().
patient({Recv, _}, #context{peer = closed}) when Recv =:= recv_all; Recv =:= recv_packet -> {Recv, ?PATIENCE};
patient({recv, Length, _}, #context{peer = closed}) -> {recv, Length, ?PATIENCE};
patient(Command, _) -> Command.
