%% Many clients at once through one ECM and a few trunks, and messages across.
-module(megaphone_crowd_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_group/2, end_per_group/2]).
-export([thousand_requests_beside_chats/1, hundreds_of_users_chat/1]).

%% How many log in at the same time: a storm is another suite's subject.
-define(LOGINS, 50).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, ecm}, {group, ecm_v1}].

groups() ->
    [{ecm, [thousand_requests_beside_chats, hundreds_of_users_chat]},
     {ecm_v1, [hundreds_of_users_chat]}].

init_per_group(Path, Config) ->
    megaphone_test_stage:start(Path, Config).

end_per_group(_Path, Config) ->
    megaphone_test_stage:stop(Config).

%% Confirms that a thousand requests that are being worked on hold up no chat over BOSH or WebSocket,
%% and that each of them gets its own answer.
thousand_requests_beside_chats(Config) ->
    Names = [<<"crowd-", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 1000)],
    Waiting = [{Name, start_request(Config, Name)} || Name <- Names],
    megaphone_test_wait:until(
      "a thousand requests in work",
      fun() -> not lists:member(false, call(Config, megaphone_test_handler, held_all, [Names])) end),
    assert_spread(Config, 1000),
    in_parallel([fun() -> chat(Config, Transports) end
                 || _ <- lists:seq(1, 5), Transports <- pairs()]),
    ok = call(Config, megaphone_test_handler, release_all, [lists:reverse(Names)]),
    lists:foreach(fun({Name, Connection}) ->
                          ?assertMatch(#{status := 200, body := Name},
                                       megaphone_test_http:recv(Connection)),
                          megaphone_test_http:close(Connection)
                  end, Waiting),
    await_quiet(Config).

%% Confirms that three hundred users, half of them over BOSH and half over WebSocket, are online at once,
%% that each gets the messages of its own partner, and that nothing is left when they go.
hundreds_of_users_chat(Config) ->
    Users = [<<"user", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 300)],
    ok = call(Config, megaphone_test_handler, register_users, [Users, <<"localhost">>,
                                                               <<"megaphone">>]),
    Clients = log_in(Config, lists:zip(Users, lists:append(lists:duplicate(150, transports())))),
    assert_spread(Config, 300),
    Pairs = pair_up(Clients),
    ?assertEqual(150, length(Pairs)),
    in_parallel([fun() ->
                         Chatted = [megaphone_test_xmpp:chat(Alice, Bob, 2) || {Alice, Bob} <- Some],
                         [megaphone_test_xmpp:logout(Client)
                          || {Alice, Bob} <- Chatted, Client <- [Alice, Bob]]
                 end || Some <- split(Pairs, ?LOGINS)]),
    await_quiet(Config).

%% Confirms that all trunks are up, that they have at least so many connections, and each its share.
assert_spread(Config, AtLeast) ->
    Count = megaphone_test_stage:trunks(Config),
    #{trunk_numbers := Numbers, connections := Connections} = call(Config, megaphone, status, []),
    ?assertEqual(Count, length(Numbers)),
    ?assert(Connections >= AtLeast, Connections),
    Shares = [begin
                  {ok, #{connections := Share}} = call(Config, megaphone, status, [Number]),
                  Share
              end || Number <- Numbers],
    ?assert(lists:min(Shares) >= AtLeast div (2 * Count), Shares).

transports() ->
    [megaphone_test_bosh, megaphone_test_websocket].

pairs() ->
    [{One, Other} || One <- transports(), Other <- transports()].

chat(Config, {One, Other}) ->
    Target = megaphone_test_stage:target(Config),
    Alice = megaphone_test_xmpp:login(One, Target, megaphone_test_stage:user(Config, <<"alice">>)),
    Bob = megaphone_test_xmpp:login(Other, Target, megaphone_test_stage:user(Config, <<"bob">>)),
    {Alice1, Bob1} = megaphone_test_xmpp:chat(Alice, Bob, 10),
    ok = megaphone_test_xmpp:logout(Alice1),
    ok = megaphone_test_xmpp:logout(Bob1).

%% The clients in the order of their users. Their sockets are used by other processes later.
log_in(Config, Users) ->
    Target = megaphone_test_stage:target(Config),
    lists:append(in_parallel(
                   [fun() -> [megaphone_test_xmpp:login(Transport, Target, User, #{wait => 60})
                              || {User, Transport} <- Some]
                    end || Some <- split(Users, ?LOGINS)])).

%% Each of the first half with one of the second.
pair_up(Clients) ->
    {First, Second} = lists:split(length(Clients) div 2, Clients),
    lists:zip(First, lists:reverse(Second)).

start_request(Config, Name) ->
    Connection = megaphone_test_http:connect(megaphone_test_stage:target(Config)),
    ok = megaphone_test_http:send(Connection, megaphone_test_http:encode("GET", ["/echo/hold/", Name],
                                                                         [], [])),
    Connection.

%% Runs all functions at once, each in a process of its own, and gives their results in order. The
%% processes stay as long as the caller: a socket closes with its owner.
in_parallel(Functions) ->
    Self = self(),
    Workers = [spawn_monitor(fun() ->
                                     Caller = monitor(process, Self),
                                     Self ! {self(), Function()},
                                     receive {'DOWN', Caller, process, Self, _} -> ok end
                             end) || Function <- Functions],
    [receive
         {Worker, Result} -> Result;
         {'DOWN', Monitor, process, Worker, Reason} -> ct:fail("a client failed: ~p", [Reason])
     end || {Worker, Monitor} <- Workers].

split(List, Count) ->
    Size = length(List) div Count,
    case List of
        [] -> [];
        _ -> {Some, Rest} = lists:split(min(max(1, Size), length(List)), List),
             [Some | case Rest of [] -> []; _ -> split(Rest, max(1, Count - 1)) end]
    end.

await_quiet(Config) ->
    megaphone_test_wait:until(
      fun() -> io_lib:format("no connection and no process left, there are ~0p and ~0p",
                             [call(Config, megaphone, status, []),
                              [{Pid, call(Config, erlang, process_info,
                                          [Pid, [current_stacktrace, messages]])}
                               || Pid <- megaphone_test_stage:http_processes(Config)]]) end,
      fun() -> maps:get(connections, call(Config, megaphone, status, [])) =:= 0
                   andalso megaphone_test_stage:http_processes(Config) =:= [] end).

call(Config, Module, Function, Arguments) ->
    megaphone_test_ejabberd:call(megaphone_test_stage:ejabberd(Config), Module, Function, Arguments).
