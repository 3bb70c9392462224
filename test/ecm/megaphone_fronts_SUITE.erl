%% Proxies that nobody here wrote in front of the ECM, and clients of BOSH, WebSocket and HTTP behind
%% them: all work, and ejabberd sees the clients' own addresses.
-module(megaphone_fronts_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1,
         init_per_group/2, end_per_group/2]).
-export([bosh/1, websocket/1, requests/1, forged_address/1, upload/1]).

%% Where the clients come from.
-define(CLIENT, {127, 0, 0, 5}).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, Kind} || Kind <- kinds()].

groups() ->
    [{Kind, [parallel], [bosh, websocket, requests, forged_address, upload]} || Kind <- kinds()].

kinds() ->
    [apache, nginx, nginx_proxy, haproxy, haproxy_proxy, haproxy_proxy_v2].

%% One ECM with two listeners: one believes X-Forwarded-For, one wants the PROXY protocol.
init_per_suite(Config) ->
    Port = megaphone_test_port:free(),
    Started = megaphone_test_stage:start(
                ecm, Config,
                #{ecm_top => "trusted_proxies = [\"127.0.0.1\"]\n",
                  ecm => ["[[listener]]\n"
                          "address = \"127.0.0.1:", integer_to_list(Port), "\"\n"
                          "proxy_protocol = true\n"]}),
    [{proxy_port, Port} | Started].

end_per_suite(Config) ->
    megaphone_test_stage:stop(Config).

init_per_group(Kind, Config) ->
    {_, HttpPort} = megaphone_test_stage:target(Config),
    Ecm = case lists:member(Kind, [nginx_proxy, haproxy_proxy, haproxy_proxy_v2]) of
              true -> proplists:get_value(proxy_port, Config);
              false -> HttpPort
          end,
    Port = megaphone_test_port:free(),
    Dir = filename:join(proplists:get_value(priv_dir, Config), Kind),
    Front = megaphone_test_front:start(Kind, Dir, Port, Ecm),
    [{front, Front}, {front_port, Port} | Config].

end_per_group(_Kind, Config) ->
    megaphone_test_front:stop(proplists:get_value(front, Config)).

bosh(Config) ->
    chat(Config, megaphone_test_bosh).

websocket(Config) ->
    chat(Config, megaphone_test_websocket).

%% Confirms that each request of a connection has the client's address.
requests(Config) ->
    Connection = megaphone_test_http:connect(target(Config)),
    [?assertMatch(#{status := 200, body := <<"127.0.0.5">>},
                  megaphone_test_http:request(Connection, "GET", "/echo/ip", []))
     || _ <- lists:seq(1, 3)],
    megaphone_test_http:close(Connection).

%% Confirms that nobody can give themselves another address.
forged_address(Config) ->
    [begin
         Connection = megaphone_test_http:connect(target(Config)),
         ?assertMatch(#{status := 200, body := <<"127.0.0.5">>},
                      megaphone_test_http:request(Connection, "GET", "/echo/ip", Headers)),
         megaphone_test_http:close(Connection)
     end || Headers <- [[{"X-Forwarded-For", "203.0.113.9"}],
                        [{"X-Forwarded-For", "203.0.113.9, 198.51.100.3"}],
                        [{"X-Forwarded-For", "203.0.113.9"}, {"X-Forwarded-For", "127.0.0.1"}]]].

%% Confirms that a large body goes through, up and down.
upload(Config) ->
    Body = rand:bytes(3_000_000),
    Connection = megaphone_test_http:connect(target(Config)),
    #{status := 200, body := Back} =
        megaphone_test_http:request(Connection, "POST", "/echo/body", [], Body),
    ?assert(Back =:= Body),
    megaphone_test_http:close(Connection).

chat(Config, Transport) ->
    [Alice, Bob] = [megaphone_test_xmpp:login(Transport, target(Config),
                                              megaphone_test_stage:user(Config, Name))
                    || Name <- [<<"alice">>, <<"bob">>]],
    [?assertEqual(<<"127.0.0.5">>, address(Config, megaphone_test_xmpp:jid(Client)))
     || Client <- [Alice, Bob]],
    {Alice1, Bob1} = megaphone_test_xmpp:chat(Alice, Bob, 5),
    ok = megaphone_test_xmpp:logout(Alice1),
    ok = megaphone_test_xmpp:logout(Bob1).

%% As connected_users_info tells it.
address(Config, Jid) ->
    All = megaphone_test_ejabberd:call(megaphone_test_stage:ejabberd(Config), mod_admin_extra,
                                       connected_users_info, []),
    [Ip] = [Ip || {Full, _, Ip, _, _, _, _, _, _, _} <- All, Full =:= Jid],
    iolist_to_binary(Ip).

target(Config) ->
    {{127, 0, 0, 1}, proplists:get_value(front_port, Config), [{ip, ?CLIENT}]}.
