%% @doc What sends cost that many threads make on one trunk at a time, while another thread feeds it and a
%% third takes its output. Each process is bound to a scheduler of its own, in a VM that has as many.
-module(megaphone_bench_threads).

-behaviour(gen_server).

-export([run/1]).
%% In the VM that is measured.
-export([init/1, handle_call/3, handle_cast/2]).

-import(megaphone_bench_measure, [summary/1, timed/1]).

-define(SENDERS, [2, 8, 32]).
-define(VERSIONS, [{v2, "version 2"}, {v1, "version 1"}]).
%% What all senders send together in a turn.
-define(SENDS, 192_000).
-define(DATA, (binary:copy(<<"x">>, 64))).
%% Each sender has so many connections of its own.
-define(CONNECTIONS, 16).
%% The feeder's connections: so many that the writer has time enough to return their windows.
-define(FED, 1024).
%% In a feed, each for another of these.
-define(FRAMES, 32).
-define(BATCH, 262144).
%% All that a turn sends fits into a window that was opened by so much.
-define(WINDOW, (1 bsl 31)).

-record(trunk, {trunk :: megaphone_nif:trunk(),
                writer :: pid(),
                sends :: [[megaphone_nif:handle()]],
                feeds :: [{binary(), [megaphone_nif:handle()]}]}).

-spec run(pos_integer()) -> [map()].
run(Rounds) ->
    Vms = [{Senders, start(Senders)} || Senders <- ?SENDERS],
    Keys = [{Senders, Version} || Senders <- ?SENDERS, {Version, _} <- ?VERSIONS],
    Round = fun() ->
                    [{Key, peer:call(element(2, lists:keyfind(Senders, 1, Vms)), gen_server, call,
                                     [?MODULE, {turn, Version}, infinity], infinity)}
                     || {Senders, Version} = Key <- Keys]
            end,
    %% The first warms up.
    _ = Round(),
    Turns = lists:append([Round() || _ <- lists:seq(1, Rounds)]),
    [peer:stop(Vm) || {_, Vm} <- Vms],
    Rows = [{Key, costs([Turn || {K, Turn} <- Turns, K =:= Key])} || Key <- Keys],
    Columns = [{send, "a send, all together"}, {cpu, "CPU of a send"}, {feed, "a feed"}, {worst, "99th of 100 feeds"}],
    megaphone_bench_report:table("ns, many threads", Columns, [{name(Key), Costs} || {Key, Costs} <- Rows]),
    [Costs#{senders => Senders, version => Version} || {{Senders, Version}, Costs} <- Rows].

name({Senders, Version}) ->
    {_, Name} = lists:keyfind(Version, 1, ?VERSIONS),
    io_lib:format("~b senders, ~ts", [Senders, Name]).

costs([First | _] = Turns) ->
    maps:map(fun(Name, _) -> summary([maps:get(Name, Turn) || Turn <- Turns]) end, First).

start(Senders) ->
    Schedulers = integer_to_list(Senders + 2),
    Arguments = ["+S", Schedulers ++ ":" ++ Schedulers, "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none",
                 "-pa", filename:dirname(code:which(?MODULE))],
    {ok, Vm, _} = peer:start(#{connection => standard_io, args => Arguments}),
    {ok, _} = peer:call(Vm, gen_server, start, [{local, ?MODULE}, ?MODULE, Senders, []], infinity),
    Vm.

-spec init(pos_integer()) -> {ok, #{v1 | v2 => #trunk{}}}.
init(Senders) ->
    {ok, maps:from_list([{Version, open(Version, Senders)} || {Version, _} <- ?VERSIONS])}.

-spec handle_call({turn, v1 | v2}, gen_server:from(), Trunks) -> {reply, map(), Trunks}.
handle_call({turn, Version}, _From, Trunks) ->
    erlang:garbage_collect(),
    {reply, turn(maps:get(Version, Trunks)), Trunks}.

-spec handle_cast(none(), Trunks) -> {noreply, Trunks}.
handle_cast(_, Trunks) ->
    {noreply, Trunks}.

open(Version, Senders) ->
    Trunk = megaphone_test_nif:open(#{idle_timeout => infinity}),
    Writer = spawn_opt(fun() -> write(Trunk) end, [link, {scheduler, 1}]),
    ok = megaphone_nif:set_writer(Trunk, Writer),
    Numbers = lists:seq(1, Senders * ?CONNECTIONS + ?FED),
    {ok, Opened, []} = megaphone_nif:feed(Trunk, iolist_to_binary([connection(Version, N) || N <- Numbers])),
    Handles = [Handle || {Handle, _} <- Opened],
    [{ok, _} = megaphone_nif:recv(Trunk, Handle, 0) || Handle <- Handles],
    {Sends, Fed} = lists:split(Senders * ?CONNECTIONS, lists:zip(Numbers, Handles)),
    #trunk{trunk = Trunk, writer = Writer,
           sends = [[Handle || {_, Handle} <- Some] || Some <- cut(?CONNECTIONS, Sends)],
           feeds = [{iolist_to_binary([data(Version, N) || {N, _} <- Some]), [Handle || {_, Handle} <- Some]}
                    || Some <- cut(?FRAMES, Fed)]}.

cut(_Size, []) -> [];
cut(Size, List) ->
    {Some, Others} = lists:split(Size, List),
    [Some | cut(Size, Others)].

connection(v1, Number) ->
    data(v1, Number);
connection(v2, Number) ->
    Header = megaphone_test_proxy:header(#{alpn => <<"xmpp-client">>}),
    Id = 2 * Number - 1,
    [megaphone_test_frame:frame([syn], Id, [Header, ?DATA]),
     megaphone_test_frame:header(window_update, [], Id, ?WINDOW)].

data(v1, Number) ->
    megaphone_test_nif:frame(megaphone_test_nif:id(Number), ?DATA);
data(v2, Number) ->
    megaphone_test_frame:frame([], 2 * Number - 1, ?DATA).

%% One turn: all senders begin at a time, and the feeder feeds until the last of them is done.
turn(#trunk{trunk = Trunk, sends = Sends, feeds = Feeds}) ->
    Self = self(),
    Count = ?SENDS div length(Sends),
    Senders = [spawn_opt(fun() ->
                                 receive go -> send(Trunk, Handles, Handles, Count) end,
                                 Self ! {sent, self()}
                         end, [link, {scheduler, Scheduler}])
               || {Scheduler, Handles} <- lists:zip(lists:seq(3, length(Sends) + 2), Sends)],
    Feeder = spawn_opt(fun() ->
                               receive go -> Self ! {fed, feed(Trunk, Feeds, Feeds, [])} end
                       end, [link, {scheduler, 2}]),
    {Before, _} = statistics(runtime),
    Wall = timed(fun() ->
                         [Process ! go || Process <- [Feeder | Senders]],
                         [receive {sent, Sender} -> ok end || Sender <- Senders]
                 end),
    Feeder ! stop,
    Fed = lists:sort(receive {fed, Times} -> Times end),
    {After, _} = statistics(runtime),
    At = fun(Part) -> lists:nth(1 + round(Part * (length(Fed) - 1)), Fed) end,
    #{send => Wall / ?SENDS, cpu => (After - Before) * 1.0e6 / ?SENDS, feed => At(0.5), worst => At(0.99)}.

send(_Trunk, _Next, _All, 0) ->
    ok;
send(Trunk, [], All, Count) ->
    send(Trunk, All, All, Count);
send(Trunk, [Handle | Next], All, Count) ->
    ok = send(Trunk, Handle),
    send(Trunk, Next, All, Count - 1).

send(Trunk, Handle) ->
    case megaphone_nif:send(Trunk, Handle, ?DATA) of
        ok -> ok;
        {wait, Wait, _} -> receive {'$megaphone', Wait} -> send(Trunk, Handle) end
    end.

%% Feeds and reads, until it is told to stop.
feed(Trunk, [], All, Times) ->
    feed(Trunk, All, All, Times);
feed(Trunk, [{Frames, Handles} | Next], All, Times) ->
    Time = timed(fun() -> {ok, [], []} = megaphone_nif:feed(Trunk, Frames) end),
    [{ok, _} = megaphone_nif:recv(Trunk, Handle, 0) || Handle <- Handles],
    receive
        stop -> [Time | Times]
    after 0 ->
            feed(Trunk, Next, All, [Time | Times])
    end.

write(Trunk) ->
    receive {'$megaphone', 0} -> take(Trunk) end,
    write(Trunk).

take(Trunk) ->
    case megaphone_nif:take_output(Trunk, ?BATCH) of
        none -> ok;
        _ -> take(Trunk)
    end.
