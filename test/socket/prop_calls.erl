%% @doc Every function of the NIF, called by several processes at once with arguments that are right, nearly so, or
%% any terms, while connections close and trunks are lost: it answers, or says badarg. In the end nothing is left.
-module(prop_calls).

-include_lib("proper/include/proper.hrl").

-export([prop_any_calls/0, calls_per_test/0]).

-define(TRUNK, megaphone_test_nif).
-define(PROCESSES, 4).
-define(CALLS, 60).

%% @doc How many calls a test makes.
-spec calls_per_test() -> pos_integer().
calls_per_test() ->
    ?PROCESSES * ?CALLS.

-spec prop_any_calls() -> proper:test().
prop_any_calls() ->
    Functions = megaphone_test_calls:functions(),
    ?FORALL(Calls, vector(?PROCESSES, vector(?CALLS, call(Functions))),
            prop_result:holds(fun() -> is_survived(Calls) end)).

%% A trunk that is lost is of less use to the calls that follow.
call(Functions) ->
    ?LET({Name, Types}, frequency([{case Name of lose -> 1; drain -> 1; _ -> 10 end, {Name, Types}}
                                   || {Name, Types} <- Functions]),
         {Name, [frequency([{9, right(Type)}, {1, wrong()}, {1, any()}]) || Type <- Types]}).

wrong() ->
    {$$, term, range(1, length(megaphone_test_calls:terms()))}.

%% What is only there as the calls are made is a tuple that begins with $: {$, What, Which}.
right(trunk) -> {$$, trunk, range(1, 2)};
right(handle) -> {$$, handle, range(1, 8)};
right(pid) -> {$$, pid, oneof([self, test, dead])};
right(wait) -> oneof([{$$, wait, last}, range(0, 3)]);
right(size) -> oneof([range(0, 100), range(0, 200_000), range(0, 1 bsl 64)]);
right(iodata) -> oneof([binary(), list(oneof([byte(), binary()])), ?LET(Size, range(0, 100_000), binary(Size))]);
right(binary) -> oneof([binary(), frames(), document(), line()]);
right(direction) -> oneof([read, write, read_write]);
right(options) -> list(oneof([{active, oneof([true, false, once, range(-40_000, 40_000)])},
                              {packet, oneof([raw, http, http_bin, httph, httph_bin, 0, line])},
                              {send_timeout, oneof([infinity, range(-1, 100_000)])}, {any(), any()}]));
right(packet_type) -> oneof([http, http_bin, httph, httph_bin]);
right(address) -> oneof([undefined, {{127, 0, 0, 1}, range(0, 70_000)}, {vector(8, range(0, 70_000)), 1}]);
right(settings) ->
    ?LET({Key, Value}, {oneof(maps:keys(megaphone_test_calls:right(settings))), any()},
         oneof([megaphone_test_calls:right(settings), (megaphone_test_calls:right(settings))#{Key => Value}])).

frames() ->
    ?LET(Frames, list(oneof([{range(1, 12), binary()}, {range(1, 12), <<>>}, binary(3)])),
         iolist_to_binary([frame(Frame) || Frame <- Frames])).

frame({Id, Content}) -> ?TRUNK:frame(?TRUNK:id(Id), Content);
frame(Bytes) -> Bytes.

document() ->
    oneof([<<"<a b='c'><d xmlns='e'>f&lt;</d></a>">>, <<"<a:b/>">>, <<"<a><b></a>">>]).

line() ->
    oneof([<<"GET / HTTP/1.1\r\n">>, <<"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n">>, <<"Host: a\r\n\r\n">>]).

is_survived(Calls) ->
    Trunks = [?TRUNK:open(), ?TRUNK:open(#{content => http, max_connections => 3, max_trunk_buffer => 10_000})],
    Handles = [Handle || Trunk <- Trunks, _ <- lists:seq(1, 3), Handle <- [opened(Trunk)]],
    Dead = element(1, spawn_monitor(fun() -> ok end)),
    receive {'DOWN', _, process, Dead, _} -> ok end,
    Known = #{trunk => list_to_tuple(Trunks), handles => list_to_tuple(Handles), test => self(), dead => Dead},
    Processes = [spawn_monitor(fun() -> exit({made, [made(Call, Known) || Call <- Own]}) end) || Own <- Calls],
    Ends = [receive {'DOWN', Monitor, process, Pid, End} -> End end || {Pid, Monitor} <- Processes],
    Opened = [Handle || {made, Made} <- Ends, {opened, Some} <- Made, Handle <- Some],
    [megaphone_nif:lose(Trunk) || Trunk <- Trunks],
    [megaphone_nif:close(Trunk, Handle) || Trunk <- Trunks, Handle <- Handles ++ Opened],
    %% The deaths of who waited are told to the NIF by the VM, in its own time.
    Left = megaphone_test_wait:until("nothing that is left", fun() ->
        All = [maps:with([connections, buffered, unsent, waiters], megaphone_nif:status(Trunk)) || Trunk <- Trunks],
        All =:= lists:duplicate(2, #{connections => 0, buffered => 0, unsent => 0, waiters => 0})
    end),
    flush(),
    prop_result:note("ends ~p, left ~p~n", [Ends, Left]),
    lists:all(fun({made, _}) -> true; (_) -> false end, Ends).

opened(Trunk) ->
    {ok, [{Handle, _}], []} = ?TRUNK:feed(Trunk, ?TRUNK:frame(?TRUNK:id(erlang:unique_integer([positive])), "GET ")),
    _ = megaphone_nif:own(Trunk, Handle, self()),
    Handle.

%% Makes a call, whose answer tells of connections that opened, or of nothing.
made({Name, Arguments}, Known) ->
    Real = [real(Argument, Known) || Argument <- Arguments],
    try apply(megaphone_nif, Name, Real) of
        {wait, Wait} -> put(wait, Wait), answered;
        {wait, Wait, _} -> put(wait, Wait), answered;
        {ok, [_ | _] = Opened, _} when Name =:= feed; Name =:= feed_dirty -> {opened, handles(Opened)};
        {error, [_ | _] = Opened, _, _} -> {opened, handles(Opened)};
        _ -> answered
    catch
        error:badarg -> refused;
        %% It names the setting.
        error:<<"Could not decode field ", _/binary>> when Name =:= open -> refused
    end.

handles(Opened) ->
    [Handle || {Handle, _} <- Opened].

real({$$, trunk, Which}, #{trunk := Trunks}) -> element(Which, Trunks);
real({$$, handle, Which}, #{handles := Handles}) when Which =< tuple_size(Handles) -> element(Which, Handles);
real({$$, handle, Which}, _) -> Which;
real({$$, pid, self}, _) -> self();
real({$$, pid, Which}, Known) -> maps:get(Which, Known);
real({$$, term, Which}, _) -> lists:nth(Which, megaphone_test_calls:terms());
real({$$, wait, last}, _) -> case get(wait) of undefined -> 0; Wait -> Wait end;
real(Argument, _) -> Argument.

flush() ->
    receive _ -> flush() after 0 -> ok end.
