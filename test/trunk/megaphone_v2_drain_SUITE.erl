%% How version 2's trunks end in good order: go-away, answers in flight, and then the close, when a
%% listener or ejabberd is stopped.
-module(megaphone_v2_drain_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([removed_listener/1, answer_that_takes_too_long/1, trunk_without_connections/1,
         peers_go_away/1, ejabberd_finishes_answers/1, clients_hear_of_ejabberds_end/1]).

-import(megaphone_test_listeners, [connect/1, call/4, ejabberd/1]).

-define(GET(Path), ["GET ", Path, " HTTP/1.1\r\nHost: localhost\r\n\r\n"]).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [removed_listener, answer_that_takes_too_long, trunk_without_connections, peers_go_away,
     ejabberd_finishes_answers, clients_hear_of_ejabberds_end].

init_per_suite(Config) ->
    megaphone_test_listeners:start(Config, #{default => "    shutdown_timeout: 2\n"}).

end_per_suite(Config) ->
    megaphone_test_listeners:stop(Config).

%% Each case finds the listener open.
init_per_testcase(_, Config) ->
    {Ip, Port} = megaphone_test_listeners:address(Config, default),
    ok = call(Config, ejabberd_listener, start_listeners, []),
    megaphone_test_wait:until("the listener's port to be open",
                              fun() -> case gen_tcp:connect(Ip, Port, []) of
                                           {ok, Socket} -> gen_tcp:close(Socket), true;
                                           {error, econnrefused} -> false
                                       end
                              end),
    Config.

end_per_testcase(_, Config) ->
    megaphone_test_listeners:await_end(Config).

%% Confirms that a listener that is stopped says go-away, closes what is idle, refuses what is new, lets
%% the answer in flight finish, and then ends the trunk.
removed_listener(Config) ->
    Trunk = connect(Config),
    Idle = open(Trunk, ?GET("/echo/ip")),
    #{status := 200} = megaphone_test_stream:answer(Idle),
    Held = open(Trunk, ?GET("/echo/hold/removed")),
    await_held(Config, <<"removed">>),
    ok = call(Config, ejabberd_listener, stop_listeners, []),
    ?assertEqual({ok, 0}, megaphone_test_yamux:await_go_away(Trunk)),
    ?assertEqual({error, closed}, megaphone_test_yamux:recv(Idle, 0)),
    ?assertEqual({error, econnreset}, megaphone_test_yamux:recv(open(Trunk, ?GET("/echo/ip")), 0)),
    ok = call(Config, megaphone_test_handler, release, [<<"removed">>]),
    ?assertMatch(#{status := 200, body := <<"removed">>}, megaphone_test_stream:answer(Held)),
    ?assertEqual({error, closed}, megaphone_test_yamux:recv(Held, 0)),
    ?assertEqual({ok, [0]}, megaphone_test_yamux:await_end(Trunk)).

%% Confirms that an answer which does not come holds the trunk up no longer than `shutdown_timeout'.
answer_that_takes_too_long(Config) ->
    Trunk = connect(Config),
    Held = open(Trunk, ?GET("/echo/hold/too_long")),
    await_held(Config, <<"too_long">>),
    ok = call(Config, ejabberd_listener, stop_listeners, []),
    ?assertEqual({ok, [0]}, megaphone_test_yamux:await_end(Trunk)),
    ?assertEqual({error, closed}, megaphone_test_yamux:recv(Held, 0)).

trunk_without_connections(Config) ->
    Trunk = connect(Config),
    ok = megaphone_test_yamux:ping(Trunk),
    ok = call(Config, ejabberd_listener, stop_listeners, []),
    ?assertEqual({ok, [0]}, megaphone_test_yamux:await_end(Trunk)).

%% Confirms that a peer that drains is waited for: its streams go on until it closes the trunk.
peers_go_away(Config) ->
    Trunk = connect(Config),
    Stream = open(Trunk, ?GET("/echo/hold/peer")),
    await_held(Config, <<"peer">>),
    ok = megaphone_test_yamux:go_away(Trunk, 0),
    ok = megaphone_test_yamux:ping(Trunk),
    ok = call(Config, megaphone_test_handler, release, [<<"peer">>]),
    ?assertMatch(#{status := 200}, megaphone_test_stream:answer(Stream)),
    ok = megaphone_test_yamux:send(Stream, ?GET("/echo/ip")),
    ?assertMatch(#{status := 200}, megaphone_test_stream:answer(Stream)),
    megaphone_test_yamux:close(Trunk).

%% Confirms that ejabberd's end waits for answers in flight, large ones too, and takes no new streams.
ejabberd_finishes_answers(Config) ->
    Bytes = rand:bytes(3 bsl 20),
    ok = file:write_file(filename:join([megaphone_test_ejabberd:dir(ejabberd(Config)), "files", "last"]),
                         Bytes),
    Trunk = connect(Config),
    Held = open(Trunk, ?GET("/echo/hold/stop")),
    await_held(Config, <<"stop">>),
    Download = open(Trunk, ?GET("/echo/file/last")),
    {ok, First} = megaphone_test_yamux:recv(Download, 1),
    Peer = megaphone_test_ejabberd:peer(ejabberd(Config)),
    Stop = megaphone_test_ejabberd:start_halt(ejabberd(Config)),
    ?assertEqual({ok, 0}, megaphone_test_yamux:await_go_away(Trunk)),
    ?assertEqual({error, econnreset}, megaphone_test_yamux:recv(open(Trunk, ?GET("/echo/ip")), 0)),
    {ok, Rest} = megaphone_test_stream:read_to_end(Download, First),
    [_Head, Body] = binary:split(Rest, <<"\r\n\r\n">>),
    ?assert(Body =:= Bytes, "the file comes whole"),
    ok = peer:call(Peer, megaphone_test_handler, release, [<<"stop">>]),
    ?assertMatch(#{status := 200, body := <<"stop">>}, megaphone_test_stream:answer(Held)),
    ?assertEqual({ok, [0]}, megaphone_test_yamux:await_end(Trunk)),
    ok = megaphone_test_ejabberd:await_halt(Stop),
    megaphone_test_ejabberd:restart(ejabberd(Config)).

%% Confirms that clients are told of ejabberd's end as over TCP: by a stream error (RFC 6120, 4.9.3.20),
%% and by the end of the BOSH session.
clients_hear_of_ejabberds_end(Config) ->
    Trunk = connect(Config),
    #{state := C2s} = login(Config, Trunk, megaphone_test_c2s, <<"xmpp-client">>),
    #{state := Websocket} = login(Config, Trunk, megaphone_test_websocket, <<"http/1.1">>),
    Stop = megaphone_test_ejabberd:start_halt(ejabberd(Config)),
    ?assertEqual({ok, 0}, megaphone_test_yamux:await_go_away(Trunk)),
    [?assertMatch({ok, {xmlel, <<"stream:error">>, _, [{xmlel, <<"system-shutdown">>, _, _} | _]}, _},
                  Module:recv(State, 10_000))
     || {Module, State} <- [{megaphone_test_c2s, C2s}, {megaphone_test_websocket, Websocket}]],
    ?assertEqual({ok, [0]}, megaphone_test_yamux:await_end(Trunk)),
    ok = megaphone_test_ejabberd:await_halt(Stop),
    megaphone_test_ejabberd:restart(ejabberd(Config)).

login(Config, Trunk, Transport, Alpn) ->
    Header = megaphone_test_proxy:client({{192, 0, 2, 7}, 40001}, Alpn),
    megaphone_test_xmpp:login(Transport, megaphone_test_stream:target(Trunk, Header),
                              megaphone_test_stage:user(Config, <<"drain">>)).

open(Trunk, First) ->
    Header = megaphone_test_proxy:client({{192, 0, 2, 7}, 40001}),
    megaphone_test_yamux:open(Trunk, Header, #{first => First}).

await_held(Config, Name) ->
    _ = megaphone_test_wait:until(["the request ", Name, " to be held"],
                                  fun() -> call(Config, megaphone_test_handler, held, [Name]) end),
    ok.
