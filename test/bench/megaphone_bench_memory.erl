%% @doc What an idle connection takes in the NIF. Each measurement has a VM of its own, so that
%% nothing but the connections makes it grow.
-module(megaphone_bench_memory).

-export([run/1, measure/1]).

%% What is measured: connections of bytes or of HTTP, in version 1 and as streams of version 2 with
%% their client's address, all of one process; and what it adds that each has a process of its own,
%% which the VM monitors.
-define(KINDS, [raw, http, raw_stream, http_stream, owners]).
-define(BUDGET, 400).
-define(REQUEST, <<"GET /bosh HTTP/1.1\r\nHost: localhost\r\n\r\n">>).
-define(BATCH, 1000).

-spec run(pos_integer()) -> map().
run(Count) ->
    megaphone_bench_report:section(io_lib:format("bytes of memory each of ~b idle connections", [Count])),
    Costs = maps:from_list([{Kind, in_own_vm(Kind, Count)} || Kind <- ?KINDS]),
    {Owners, Idle} = maps:take(owners, Costs),
    [megaphone_bench_report:note("~-40ts~8.1f", [Name, maps:get(Kind, Costs)])
     || {Kind, Name} <- [{raw, "bytes, version 1"}, {http, "HTTP after an answer, version 1"},
                         {raw_stream, "an XML stream, version 2"},
                         {http_stream, "HTTP after an answer, version 2"}]],
    megaphone_bench_report:note("each its own process: the NIF and its monitor in the VM take ~.1f more, "
                                "without the process", [Owners]),
    Verdict = case lists:max(maps:values(Idle)) =< ?BUDGET of
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
    #{content => content(Kind), max_connections => Count}.

%% A stream of version 2 says itself what it carries.
content(http) -> http;
content(_) -> raw.

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
    Frames = [frame(Kind, N) || N <- lists:seq(From, To)],
    {ok, Opened, []} = megaphone_nif:feed(Trunk, iolist_to_binary(Frames)),
    Handles = [Handle || {Handle, _} <- Opened],
    lists:foreach(fun(Handle) ->
                          {ok, _} = megaphone_nif:recv(Trunk, Handle, 0),
                          ok = respond(Kind, Trunk, Handle)
                  end, Handles),
    _ = megaphone_nif:take_output(Trunk, 1 bsl 20),
    Handles.

frame(raw, N) ->
    megaphone_test_nif:frame(megaphone_test_nif:id(N), <<"!">>);
frame(http, N) ->
    megaphone_test_nif:frame(megaphone_test_nif:id(N), ?REQUEST);
frame(raw_stream, N) ->
    stream(N, <<"xmpp-client">>, <<"!">>);
frame(http_stream, N) ->
    stream(N, <<"http/1.1">>, ?REQUEST).

%% A yamux data frame with SYN, and in it a PROXY header of version 2 before the stream's first bytes.
stream(N, Alpn, First) ->
    Addresses = <<192, 0, 2, 7, 198, 51, 100, 1, 4711:16, 443:16, 1, (byte_size(Alpn)):16, Alpn/binary>>,
    Data = <<"\r\n\r\n\0\r\nQUIT\n", 16#21, 16#11, (byte_size(Addresses)):16, Addresses/binary,
             First/binary>>,
    <<0, 0, 1:16, (2 * N + 1):32, (byte_size(Data)):32, Data/binary>>.

respond(Kind, _Trunk, _Handle) when Kind =:= raw; Kind =:= raw_stream ->
    ok;
respond(_Http, Trunk, Handle) ->
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
