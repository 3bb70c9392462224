%% How much of what ejabberd has to say may wait on a trunk, before clients that read nothing and before a trunk
%% that takes nothing. The far end of the trunk is the test.
-module(megaphone_output_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([answers_that_nobody_reads/1, trunk_that_takes_nothing/1, trunk_of_version_1_that_takes_nothing/1,
         trunk_that_is_lost_while_it_is_full/1, senders_wait_no_longer_than_send_timeout/1,
         last_bytes_that_nobody_reads/1, what_requests_leave/1]).

-import(megaphone_test_listeners, [call/4, connect/2, address/2, ejabberd/1, trunk_status/2]).

-define(MOST, 4194304).
%% What may be framed beside that, and what a socket's own buffers hold.
-define(FRAMED, (65536 + 16384 + 100 * 32)).
-define(FILE_SIZE, 200_000).
-define(CLIENTS, 300).
-define(WINDOW, 262144).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [answers_that_nobody_reads, trunk_that_takes_nothing, trunk_of_version_1_that_takes_nothing,
     trunk_that_is_lost_while_it_is_full, senders_wait_no_longer_than_send_timeout, last_bytes_that_nobody_reads,
     what_requests_leave].

init_per_suite(Config) ->
    Started = megaphone_test_listeners:start(
                Config, #{default => "    max_trunk_output: 4194304\n    send_timeout: 60\n",
                          quick => "    max_trunk_output: 4194304\n    send_timeout: 1\n    idle_timeout: 2\n"}),
    Files = filename:join(megaphone_test_ejabberd:dir(ejabberd(Started)), "files"),
    File = rand:bytes(?FILE_SIZE),
    ok = file:write_file(filename:join(Files, "file"), File),
    ok = file:write_file(filename:join(Files, "large"), binary:copy(File, 10)),
    [{file, File} | Started].

end_per_suite(Config) ->
    megaphone_test_listeners:stop(Config).

%% Confirms that what many clients ask for and don't read fills no more than a part of the trunk's output, that
%% nothing of their files waits elsewhere, that others are served meanwhile, and that who reads gets it all.
answers_that_nobody_reads(Config) ->
    Trunk = connect(Config, default),
    Target = {Trunk, megaphone_test_session:header()},
    [Alice, Bob] = [megaphone_test_xmpp:login(megaphone_test_session, Target,
                                              megaphone_test_stage:user(Config, Name))
                    || Name <- [<<"alice">>, <<"bob">>]],
    Offset = byte_size(megaphone_test_ejabberd:log(ejabberd(Config))),
    Before = held_up(trunk_status(Config, Trunk)),
    Streams = [open(Trunk, request("/echo/file/large")) || _ <- lists:seq(1, ?CLIENTS)],
    [await_window(Stream) || Stream <- Streams],
    %% They are all that waits beside the two sessions.
    megaphone_test_wait:until("senders that wait",
                              fun() -> maps:get(waiters, trunk_status(Config, Trunk)) =:= ?CLIENTS + 2 end),
    Full = trunk_status(Config, Trunk),
    %% Who waits for a window has half of it.
    ?assertMatch(#{unsent := Unsent} when Unsent > ?MOST div 8 andalso Unsent =< ?MOST div 2, Full),
    ?assert(held_up(Full) - Before > ?CLIENTS div 2, Full),
    {?CLIENTS, Memory} = call(Config, megaphone_test_process, memory, [ejabberd_http]),
    ?assert(Memory < ?CLIENTS * 60_000, Memory),
    _ = megaphone_test_ejabberd:await_log(ejabberd(Config), "is full of output \\(max_trunk_output\\)", Offset),
    {_, _} = megaphone_test_xmpp:chat(Alice, Bob, 20),
    File = proplists:get_value(file, Config),
    [?assertEqual({200, File}, answer(open(Trunk, request("/echo/file/file")))) || _ <- lists:seq(1, 5)],
    Large = binary:copy(File, 10),
    [?assert(answer(Stream) =:= {200, Large}) || Stream <- lists:sublist(Streams, 1, 3)],
    [ok = megaphone_test_yamux:reset(Stream) || Stream <- lists:nthtail(3, Streams)],
    megaphone_test_wait:until("no output", fun() -> maps:get(unsent, trunk_status(Config, Trunk)) =:= 0 end),
    megaphone_test_yamux:close(Trunk).

%% Confirms that a trunk that takes nothing holds no more, and that all comes once it takes it.
trunk_that_takes_nothing(Config) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, element(2, address(Config, default)),
                                   [binary, {active, false}, {recbuf, 65536}]),
    Client = megaphone_test_proxy:header(megaphone_test_proxy:client({{192, 0, 2, 7}, 40001})),
    Ids = lists:seq(1, 2 * ?CLIENTS, 2),
    ok = gen_tcp:send(Socket, [megaphone_test_frame:frame([syn], Id, [Client, request("/echo/file/file")]) || Id <- Ids]),
    Number = await_full(Config, Socket),
    Answers = read_answers(Socket, <<>>, #{}, ?CLIENTS),
    File = proplists:get_value(file, Config),
    ?assertEqual(Ids, lists:sort(maps:keys(Answers))),
    [?assertMatch({true, _}, {is_answer(Answer, File), Id}) || {Id, Answer} <- maps:to_list(Answers)],
    {ok, #{unsent := 0}} = call(Config, megaphone, status, [Number]),
    ok = gen_tcp:close(Socket).

%% Confirms the same of version 1, which has no windows.
trunk_of_version_1_that_takes_nothing(Config) ->
    Trunk = #{socket := Socket} = megaphone_test_trunk:connect(address(Config, default)),
    Ids = [megaphone_test_trunk:id(Number) || Number <- lists:seq(1, ?CLIENTS)],
    ok = megaphone_test_trunk:send(Trunk, [megaphone_test_trunk:frame(Id, request("/echo/file/file")) || Id <- Ids]),
    Number = await_full(Config, Socket),
    File = proplists:get_value(file, Config),
    _ = lists:foldl(fun(Id, Before) ->
                            {ok, 200, Body, After} = megaphone_test_trunk:recv_response(Before, Id),
                            ?assert(Body =:= File, Id),
                            After
                    end, Trunk, Ids),
    ?assertMatch({ok, #{unsent := 0}}, call(Config, megaphone, status, [Number])),
    megaphone_test_trunk:close(Trunk).

%% Confirms that what a trunk held is not there any more once it is gone.
trunk_that_is_lost_while_it_is_full(Config) ->
    Trunk = #{socket := Socket} = megaphone_test_trunk:connect(address(Config, default)),
    ok = megaphone_test_trunk:send(Trunk, [megaphone_test_trunk:frame(megaphone_test_trunk:id(Number),
                                                                      request("/echo/file/file"))
                                           || Number <- lists:seq(1, ?CLIENTS)]),
    _ = await_full(Config, Socket),
    megaphone_test_trunk:close(Trunk),
    megaphone_test_wait:until(
      fun() -> io_lib:format("nothing that waits, there is ~0p", [megaphone_test_listeners:status(Config)]) end,
      fun() ->
              #{trunks := Trunks, unsent := Unsent} = megaphone_test_listeners:status(Config),
              {Trunks, Unsent} =:= {0, 0}
      end),
    megaphone_test_wait:until("the end of all processes",
                              fun() -> call(Config, megaphone_test_process, memory, [ejabberd_http]) =:= {0, 0} end).

%% Confirms that who finds no room waits no longer than before a shut window.
senders_wait_no_longer_than_send_timeout(Config) ->
    Trunk = connect(Config, quick),
    _ = [open(Trunk, request("/echo/file/large")) || _ <- lists:seq(1, ?CLIENTS)],
    megaphone_test_wait:until("answers that wait", fun() -> held_up(trunk_status(Config, Trunk)) > 0 end),
    megaphone_test_wait:until("the end of all connections",
                              fun() -> maps:get(connections, trunk_status(Config, Trunk)) =:= 0 end),
    megaphone_test_wait:until("the end of all processes",
                              fun() -> call(Config, megaphone_test_process, memory, [ejabberd_http]) =:= {0, 0} end),
    ok = megaphone_test_yamux:ping(Trunk),
    megaphone_test_yamux:close(Trunk).

%% Confirms that what the process of a connection has left unread is not kept for ever.
last_bytes_that_nobody_reads(Config) ->
    Trunk = connect(Config, quick),
    Unread = open(Trunk, request("/echo/file/large")),
    await_window(Unread),
    megaphone_test_wait:until(
      fun() -> io_lib:format("its end, the trunk is ~0p", [trunk_status(Config, Trunk)]) end,
      fun() ->
              case trunk_status(Config, Trunk) of
                  #{unsent := 0, errors := #{unread_streams := Count}} -> Count =:= 1;
                  _ -> false
              end
      end),
    ?assertEqual({error, econnreset}, megaphone_test_yamux:recv(Unread, ?WINDOW + 1)),
    megaphone_test_yamux:close(Trunk).

%% Confirms that what requests make of their bytes is not kept by processes that wait for the next one.
what_requests_leave(Config) ->
    Trunk = connect(Config, default),
    [begin
         Streams = [open(Trunk, Head) || _ <- lists:seq(1, 20)],
         [ok = megaphone_test_yamux:send(Stream, Body) || Stream <- Streams],
         _ = [answer(Stream) || Stream <- Streams],
         megaphone_test_wait:until("processes that wait",
                                   fun() -> maps:get(waiters, trunk_status(Config, Trunk)) =:= 20 end),
         {20, Memory} = call(Config, megaphone_test_process, memory, [ejabberd_http]),
         ?assert(Memory < 20 * 150_000, {Name, Memory}),
         [ok = megaphone_test_yamux:reset(Stream) || Stream <- Streams],
         megaphone_test_wait:until("the end of all processes",
                                   fun() -> call(Config, megaphone_test_process, memory, [ejabberd_http]) =:= {0, 0} end)
     end || {Name, Head, Body} <- [{"a path", request(["/nowhere", lists:duplicate(3900, "/a")]), ""},
                                   {"a query", request(["/nowhere?", lists:duplicate(2600, "a=&")]), ""},
                                   {"JSON", "POST /api/status HTTP/1.1\r\nHost: localhost\r\n"
                                            "Content-Type: application/json\r\nContent-Length: 200000\r\n\r\n",
                                    [lists:duplicate(100_000, $[), lists:duplicate(100_000, $])]}]],
    megaphone_test_yamux:close(Trunk).

%% Helpers.

open(Trunk, First) ->
    megaphone_test_yamux:open(Trunk, megaphone_test_proxy:client({{192, 0, 2, 7}, 40001}), #{first => First}).

request(Path) ->
    ["GET ", Path, " HTTP/1.1\r\nHost: localhost\r\n\r\n"].

answer(Stream) ->
    #{status := Status, body := Body} = megaphone_test_http:recv(megaphone_test_stream:socket(Stream)),
    {Status, Body}.

is_answer(<<"HTTP/1.1 200 ", _/binary>> = Answer, Body) ->
    [_Head, Rest] = binary:split(Answer, <<"\r\n\r\n">>),
    Rest =:= Body;
is_answer(_, _) ->
    false.

held_up(#{errors := Errors}) ->
    maps:get(max_trunk_output, Errors, 0).

%% Waits until all has come that the stream's window holds.
await_window(Stream) ->
    megaphone_test_wait:until(
      "a window to be used up",
      fun() -> maps:get(buffered, megaphone_test_yamux:status(Stream)) =:= ?WINDOW end, 60_000).

%% Waits until the trunk of a socket that reads nothing is full and all of its clients wait, and answers its
%% number.
await_full(Config, Socket) ->
    {ok, {_, Port}} = inet:sockname(Socket),
    Status = fun() ->
                     Numbers = maps:get(trunk_numbers, call(Config, megaphone, status, [])),
                     Found = [Status || {ok, #{peername := {_, P}} = Status}
                                            <- [call(Config, megaphone, status, [Number]) || Number <- Numbers],
                                        P =:= Port],
                     hd(Found ++ [none])
             end,
    Full = fun() ->
                   case Status() of
                       #{opened := ?CLIENTS, waiters := ?CLIENTS, unsent := Unsent} = Found
                         when Unsent > ?MOST div 4 ->
                           Found;
                       _ ->
                           false
                   end
           end,
    #{unsent := Unsent, number := Number} =
        megaphone_test_wait:until(
          fun() -> io_lib:format("~b clients that wait for a full trunk, there are ~0p", [?CLIENTS, Status()]) end,
          Full, 30_000),
    ?assert(Unsent =< ?MOST + ?FRAMED, Unsent),
    {?CLIENTS, Memory} = call(Config, megaphone_test_process, memory, [ejabberd_http]),
    ?assert(Memory < ?CLIENTS * 60_000, Memory),
    Number.

%% All that comes on each stream, until so many have come to their end or are as long as an answer is.
read_answers(_Socket, _Bytes, Answers, 0) ->
    maps:map(fun(_, {Answer, _}) -> iolist_to_binary(lists:reverse(Answer)) end, Answers);
read_answers(Socket, Bytes, Answers, Left) ->
    case megaphone_test_frame:split(Bytes) of
        {{data, _, Id, Length}, Content, Rest} ->
            {Before, Size} = maps:get(Id, Answers, {[], 0}),
            Whole = Size < ?FILE_SIZE andalso Size + Length >= ?FILE_SIZE,
            read_answers(Socket, Rest, Answers#{Id => {[Content | Before], Size + Length}},
                         Left - case Whole of true -> 1; false -> 0 end);
        {_, _, Rest} ->
            read_answers(Socket, Rest, Answers, Left);
        more ->
            {ok, More} = gen_tcp:recv(Socket, 0, 30_000),
            read_answers(Socket, <<Bytes/binary, More/binary>>, Answers, Left)
    end.
