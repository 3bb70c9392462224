%% The way back from Megaphone, and there again, with users online: the ECM ends, and one reload of ejabberd puts its own
%% listeners on the ports that the ECM had. Who has stream management goes on with the session; all come back where they
%% were; who came by a listener of ejabberd's own notices nothing.
-module(megaphone_way_back_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([back_and_there_again/1]).

-import(megaphone_test_entrances, [address/2]).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [back_and_there_again].

init_per_suite(Config) ->
    Dir = filename:join(proplists:get_value(priv_dir, Config), ?MODULE),
    ok = filelib:ensure_dir(filename:join(Dir, ".")),
    Port = megaphone_test_port:free(),
    Started = megaphone_test_entrances:start(lists:keystore(priv_dir, 1, Config, {priv_dir, Dir}),
                                             #{more_listeners => [c2s_listener(Port)]}),
    [{c2s, {{127, 0, 0, 1}, Port}} | Started].

end_per_suite(Config) ->
    megaphone_test_stage:stop(Config).

%% Confirms all of it by WebSocket, XMPP over TCP and BOSH.
back_and_there_again(Config) ->
    Friend = megaphone_test_xmpp:login(megaphone_test_c2s, proplists:get_value(c2s, Config), user(Config, <<"friend">>)),
    Names = [{Kind, user(Config, <<"mover">>)} || Kind <- [http, xmpp_off]],
    Movers = [{Kind, Name, megaphone_test_resumption:enable(megaphone_test_entrances:login(Config, Kind, Name))}
              || {Kind, Name} <- Names],
    BoshName = user(Config, <<"bosh">>),
    Bosh = bosh(Config, BoshName),
    {Talked, _} = megaphone_test_xmpp:chat(Friend, Bosh, 3),
    ?assertEqual(3, session_count(Config)),

    0 = megaphone_test_ecm:terminate(megaphone_test_stage:ecm(Config)),
    Ended = [{Kind, Name, element(2, megaphone_test_resumption:drain(Mover))} || {Kind, Name, Mover} <- Movers],
    Told = lists:foldl(fun({_, _, Mover}, Client) ->
                               megaphone_test_xmpp:send_message(Client, megaphone_test_resumption:jid(Mover), "while you moved")
                       end, Talked, Ended),
    ok = reload(Config, plain_listeners(Config)),
    Resumed = [{Kind, resume(Config, Kind, Name, Mover)} || {Kind, Name, Mover} <- Ended],
    ?assertEqual(0, session_count(Config)),
    %% By the same ports, which are ejabberd's own now.
    {Still, _} = megaphone_test_xmpp:chat(Told, bosh(Config, BoshName), 3),

    ok = reload(Config, trunk_listeners(Config)),
    ok = megaphone_test_ecm:restart(megaphone_test_stage:ecm(Config)),
    %% Those of ejabberd's own listeners stay online, and go as they like.
    Heard = lists:foldl(fun({_, Mover}, Client) ->
                                To = megaphone_test_xmpp:jid(Client),
                                {alive, Sent} = megaphone_test_resumption:ping(
                                                  megaphone_test_resumption:send_message(Mover, To, <<"still here">>)),
                                {{_, <<"still here">>}, Next} = megaphone_test_xmpp:recv_message(Client),
                                ok = megaphone_test_resumption:logout(Sent),
                                Next
                        end, Still, Resumed),
    Last = lists:foldl(fun({Kind, Name}, Client) ->
                               {Next, Back} = megaphone_test_xmpp:chat(Client, megaphone_test_entrances:login(Config, Kind, Name), 3),
                               ?assertEqual(1, session_count(Config)),
                               ok = megaphone_test_xmpp:logout(Back),
                               true = megaphone_test_wait:until("its session's end", fun() -> session_count(Config) =:= 0 end),
                               Next
                       end, Heard, Names),
    ok = megaphone_test_xmpp:logout(Last).

%% It has what came while it was away.
resume(Config, Kind, Name, Mover) ->
    Back = megaphone_test_resumption:resume(Mover, megaphone_test_entrances:authenticate(Config, Kind, Name)),
    Read = megaphone_test_resumption:recv_messages(Back, 1),
    ?assertEqual([<<"while you moved">>], megaphone_test_resumption:received(Read)),
    Read.

user(Config, Name) ->
    megaphone_test_stage:user(Config, Name).

bosh(Config, Name) ->
    megaphone_test_xmpp:login(megaphone_test_bosh, address(Config, http), Name).

%% Of Megaphone.
session_count(Config) ->
    Sessions = maps:get(sessions, megaphone_test_ejabberd:call(megaphone_test_stage:ejabberd(Config), megaphone, status, [])),
    lists:sum(maps:values(Sessions)).

reload(Config, Listeners) ->
    {_, Port} = proplists:get_value(c2s, Config),
    megaphone_test_ejabberd:reload(megaphone_test_stage:ejabberd(Config), #{listeners => [c2s_listener(Port) | Listeners]}).

plain_listeners(Config) ->
    {_, Http} = address(Config, http),
    {_, Xmpp} = address(Config, xmpp_off),
    [megaphone_test_config:listener(ejabberd_http, Http), c2s_listener(Xmpp)].

trunk_listeners(Config) ->
    [megaphone_test_config:listener(megaphone_listener, megaphone_test_stage:trunk_port(Config))].

c2s_listener(Port) ->
    megaphone_test_config:listener(ejabberd_c2s, Port, "    ip: \"127.0.0.1\"\n").
