%% @doc What an idle connection takes in the NIF. Each measurement has a VM of its own, so that
%% nothing but the connections makes it grow.
-module(megaphone_bench_memory).

-export([run/1, measure/1]).

%% What is measured: connections of bytes or of HTTP, all of one process; and what it adds that
%% each has a process of its own, which the VM monitors.
-define(KINDS, [raw, http, owners]).
-define(BUDGET, 400).
-define(BATCH, 1000).

-spec run(pos_integer()) -> map().
run(Count) ->
    megaphone_bench_report:section(io_lib:format("bytes of memory each of ~b idle connections", [Count])),
    Costs = maps:from_list([{Kind, in_own_vm(Kind, Count)} || Kind <- ?KINDS]),
    #{raw := Raw, http := Http, owners := Owners} = Costs,
    megaphone_bench_report:note("raw, one owner                ~8.1f", [Raw]),
    megaphone_bench_report:note("HTTP after an answer, one owner~7.1f", [Http]),
    megaphone_bench_report:note("each its own process: the NIF and its monitor in the VM take ~.1f more, "
                                "without the process", [Owners]),
    Verdict = case max(Raw, Http) =< ?BUDGET of
                  true -> "is kept";
                  false -> "is passed"
              end,
    megaphone_bench_report:note("the budget of ~b bytes ~ts", [?BUDGET, Verdict]),
    Costs#{connections => Count, budget => ?BUDGET}.

in_own_vm(Kind, Count) ->
    Erl = filename:join([code:root_dir(), "bin", "erl"]),
    Ebin = filename:dirname(code:which(?MODULE)),
    Arguments = ["-noinput", "+P", integer_to_list(max(2 * Count, 262144)), "-pa", Ebin,
                 "-run", atom_to_list(?MODULE), "measure", atom_to_list(Kind), integer_to_list(Count)],
    Port = open_port({spawn_executable, Erl}, [{args, Arguments}, binary, exit_status]),
    printed(Port, Kind, <<>>).

printed(Port, Kind, Text) ->
    receive
        {Port, {data, Data}} -> printed(Port, Kind, <<Text/binary, Data/binary>>);
        {Port, {exit_status, 0}} -> binary_to_float(string:trim(Text));
        {Port, {exit_status, Status}} -> error({memory_of, Kind, exit_status, Status, Text})
    end.

%% @doc In its own VM: prints how many bytes each connection took.
-spec measure([string()]) -> no_return().
measure([Kind, Count]) ->
    Bytes = grown(list_to_atom(Kind), list_to_integer(Count)),
    io:format("~.3f~n", [Bytes]),
    halt(0).

grown(owners, Count) ->
    Trunk = megaphone_test_nif:open(settings(raw, Count)),
    Handles = open(raw, Trunk, Count),
    Owners = [spawn(fun() -> erlang:hibernate(timer, sleep, [infinity]) end) || _ <- Handles],
    Own = fun() -> own(Trunk, Handles, Owners) end,
    growth(Own, Count);
grown(Kind, Count) ->
    %% What the first connections make the VM and the allocator take once is not theirs.
    Warm = megaphone_test_nif:open(settings(Kind, Count)),
    _ = open(Kind, Warm, ?BATCH),
    Trunk = megaphone_test_nif:open(settings(Kind, Count)),
    Growth = growth(fun() -> discard(Kind, Trunk, 1, Count) end, Count),
    #{connections := Count} = status(Trunk),
    Growth.

growth(Act, Count) ->
    Before = rss(),
    Act(),
    (rss() - Before) / Count.

settings(Kind, Count) ->
    #{content => Kind, max_connections => Count}.

open(Kind, Trunk, Count) ->
    lists:append([batch(Kind, Trunk, From, min(From + ?BATCH - 1, Count))
                  || From <- lists:seq(1, Count, ?BATCH)]).

discard(_Kind, _Trunk, From, Count) when From > Count ->
    ok;
discard(Kind, Trunk, From, Count) ->
    To = min(From + ?BATCH - 1, Count),
    Handles = batch(Kind, Trunk, From, To),
    lists:foreach(fun(Handle) -> ok = megaphone_nif:own(Trunk, Handle, self()) end, Handles),
    discard(Kind, Trunk, To + 1, Count).

%% Opens connections and leaves them idle: all that came is read, and a request answered.
batch(Kind, Trunk, From, To) ->
    Frames = [megaphone_test_nif:frame(megaphone_test_nif:id(N), first(Kind)) || N <- lists:seq(From, To)],
    {ok, Handles, []} = megaphone_nif:feed(Trunk, iolist_to_binary(Frames)),
    lists:foreach(fun(Handle) ->
                          {ok, _} = megaphone_nif:recv(Trunk, Handle, 0),
                          ok = respond(Kind, Trunk, Handle)
                  end, Handles),
    _ = megaphone_nif:take_output(Trunk, 1 bsl 20),
    Handles.

first(raw) -> <<"!">>;
first(http) -> <<"GET /bosh HTTP/1.1\r\nHost: localhost\r\n\r\n">>.

respond(raw, _Trunk, _Handle) ->
    ok;
respond(http, Trunk, Handle) ->
    megaphone_nif:send(Trunk, Handle, <<"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok">>).

own(_Trunk, [], []) ->
    ok;
own(Trunk, [Handle | Handles], [Owner | Owners]) ->
    ok = megaphone_nif:own(Trunk, Handle, Owner),
    own(Trunk, Handles, Owners).

status(Trunk) ->
    {ok, Status} = megaphone:status(megaphone_nif:number(Trunk)),
    Status.

%% Bytes of memory that the VM has in use, its garbage collected.
rss() ->
    true = erlang:garbage_collect(),
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Kilobytes]} = re:run(Status, "VmRSS:\\s+(\\d+) kB", [{capture, [1], binary}]),
    binary_to_integer(Kilobytes) * 1024.
