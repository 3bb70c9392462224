%% What ejabberd's HTTP handlers know of how they were asked: by HTTP or HTTPS, by which name and port. It is the same
%% behind the ECM as by ejabberd's own listeners, whoever ends the TLS.
-module(megaphone_https_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([as_on_ejabberds_listeners/1, each_request_of_a_connection/1, behind_a_proxy/1, behind_a_stranger/1,
         handlers_that_keep_the_socket/1, handlers_that_crash/1, upload_and_download/1, web_admin/1, conversejs/1,
         host_meta/1]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [as_on_ejabberds_listeners, each_request_of_a_connection, behind_a_proxy, behind_a_stranger,
     handlers_that_keep_the_socket, handlers_that_crash, upload_and_download, web_admin, conversejs, host_meta].

init_per_suite(Config) ->
    [Http, Https] = megaphone_test_port:free(2),
    Ca = megaphone_test_certificates:ca("an authority of ejabberd's"),
    {Certificate, CaFile} = megaphone_test_certificates:write_signed(Ca, Config, "ejabberd"),
    Handlers = "      /raw: ejabberd_http_ws\n"
               "      /admin: ejabberd_web_admin\n"
               "      /conversejs: mod_conversejs\n",
    Listener = fun(Port, Options) ->
                       megaphone_test_config:listener(
                         ejabberd_http, Port,
                         ["    ip: \"127.0.0.1\"\n", Options, megaphone_test_config:request_handlers(), Handlers])
               end,
    Started = megaphone_test_entrances:start(
                Config, #{top => ["certfiles:\n  - \"", Certificate, "\"\n"
                                  "acl:\n  admin:\n    user: admin@localhost\n"
                                  "access_rules:\n  configure:\n    allow: admin\n"],
                          modules => "  mod_conversejs:\n"
                                     "    websocket_url: \"wss://@HOST@/ws\"\n"
                                     "    bosh_service_url: \"https://@HOST@/bosh\"\n",
                          options => Handlers,
                          more_listeners => [Listener(Http, ""), Listener(Https, "    tls: true\n")],
                          ecm_top => "trusted_proxies = [\"127.0.0.9\"]\n"}),
    ok = megaphone_test_ejabberd:register_users(megaphone_test_stage:ejabberd(Started), [<<"admin">>]),
    [{own_ca, CaFile},
     {own, #{http => {{127, 0, 0, 1}, Http}, https => {{127, 0, 0, 1}, Https}}}
     | Started].

end_per_suite(Config) ->
    megaphone_test_stage:stop(Config).

%% Confirms that a handler sees the same by ejabberd's own listeners and behind the ECM's.
as_on_ejabberds_listeners(Config) ->
    #{http := Http, https := Https} = proplists:get_value(own, Config),
    OwnTls = megaphone_test_tls:target(Https, proplists:get_value(own_ca, Config), []),
    lists:foreach(
      fun({Kind, Own, Host, Url}) ->
              ?assertEqual(Url, url(Own, Host, []), {ejabberd, Host}),
              ?assertEqual(Url, url(megaphone_test_entrances:target(Config, Kind), Host, []), {ecm, Host})
      end, [{http, Http, <<"localhost">>, <<"http://localhost:80">>},
            {http, Http, <<"localhost:5280">>, <<"http://localhost:5280">>},
            {http, Http, <<"[::1]">>, <<"http://::1:80">>},
            {https, OwnTls, <<"localhost">>, <<"https://localhost:443">>},
            {https, OwnTls, <<"localhost:5443">>, <<"https://localhost:5443">>},
            {https, OwnTls, <<"localhost:80">>, <<"https://localhost:80">>},
            {https, OwnTls, <<"[::1]">>, <<"https://::1:443">>},
            {https, OwnTls, <<"[::1]:5443">>, <<"https://::1:5443">>}]).

each_request_of_a_connection(Config) ->
    Connection = megaphone_test_http:connect(megaphone_test_entrances:target(Config, https)),
    [?assertMatch(#{status := 200, body := <<"https://localhost:443">>}, ask(Connection, <<"localhost">>, []))
     || _ <- lists:seq(1, 3)],
    megaphone_test_http:close(Connection).

%% Confirms that a trusted proxy says for each of its requests how the client came.
behind_a_proxy(Config) ->
    {Host, Port} = megaphone_test_entrances:address(Config, http),
    Connection = megaphone_test_http:connect({Host, Port, [{ip, {127, 0, 0, 9}}]}),
    [?assertMatch(#{status := 200, body := Url}, ask(Connection, <<"localhost">>, Headers), Headers)
     || {Headers, Url} <- [{[{"X-Forwarded-Proto", "https"}], <<"https://localhost:443">>},
                           {[{"X-Forwarded-Proto", "http"}], <<"http://localhost:80">>},
                           {[{"X-Forwarded-Proto", "https"}], <<"https://localhost:443">>},
                           {[], <<"http://localhost:80">>}]],
    megaphone_test_http:close(Connection).

behind_a_stranger(Config) ->
    Target = megaphone_test_entrances:target(Config, http),
    ?assertEqual(<<"http://localhost:80">>, url(Target, <<"localhost">>, [{"X-Forwarded-Proto", "https"}])).

%% Confirms that ejabberd_http_ws, which goes on with the socket, works by HTTPS too.
handlers_that_keep_the_socket(Config) ->
    {ok, Connection} = megaphone_test_websocket:connect(megaphone_test_entrances:target(Config, https), "/raw", "xmpp"),
    {ok, Asked} = megaphone_test_websocket:send(
                    Connection, "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>"),
    {ok, Open, Opened} = megaphone_test_websocket:recv(Asked, 10_000),
    ?assertEqual(<<"open">>, megaphone_test_xml:name(Open)),
    ok = megaphone_test_websocket:drop(Opened).

%% Confirms that the connection of a request ends with its handler, by both.
handlers_that_crash(Config) ->
    ok = call(Config, logger, set_primary_config, [level, none]),
    try
        [begin
             Connection = megaphone_test_http:connect(megaphone_test_entrances:target(Config, Kind)),
             Answer = megaphone_test_http:request(Connection, "GET", "/echo/after/never", []),
             ?assertEqual({error, closed}, Answer, Kind)
         end || Kind <- [http, https]]
    after ok = call(Config, logger, set_primary_config, [level, info])
    end.

upload_and_download(Config) ->
    Bytes = rand:bytes(100_000),
    Path = megaphone_test_upload:slot(Config, "up.bin", byte_size(Bytes)),
    Connection = megaphone_test_http:connect(megaphone_test_entrances:target(Config, https)),
    ?assertMatch(#{status := 201},
                 megaphone_test_http:request(Connection, "PUT", Path, [], Bytes)),
    #{status := 200, body := Received} = megaphone_test_http:request(Connection, "GET", Path, []),
    ?assert(Bytes =:= Received, "the bytes come back as they were sent"),
    megaphone_test_http:close(Connection).

%% Confirms that the web admin answers by HTTPS: its links are relative.
web_admin(Config) ->
    Connection = megaphone_test_http:connect(megaphone_test_entrances:target(Config, https)),
    Auth = {"Authorization", ["Basic ", base64:encode("admin@localhost:megaphone")]},
    Ask = fun(Path) -> megaphone_test_http:request(Connection, "GET", Path, [Auth]) end,
    Moved = Ask("/admin"),
    ?assertMatch(#{status := 301}, Moved),
    ?assertEqual(<<"/admin/">>, megaphone_test_http:header(<<"location">>, Moved)),
    ?assertMatch(#{status := 200}, Ask("/admin/")),
    ?assertMatch(#{status := 200}, Ask("/admin/server/localhost/")),
    megaphone_test_http:close(Connection).

%% Confirms that mod_conversejs's page has the URLs that were written for it.
conversejs(Config) ->
    Connection = megaphone_test_http:connect(megaphone_test_entrances:target(Config, https)),
    #{status := 200, body := Page} =
        megaphone_test_http:request(Connection, "GET", "/conversejs", []),
    [?assertMatch({_, _}, binary:match(Page, Url), Url)
     || Url <- [<<"wss://localhost/ws">>, <<"https://localhost/bosh">>]],
    megaphone_test_http:close(Connection).

%% Confirms that the ECM says where BOSH and WebSocket are, without mod_host_meta.
host_meta(Config) ->
    lists:foreach(
      fun({Kind, Links}) ->
              Connection = megaphone_test_http:connect(megaphone_test_entrances:target(Config, Kind)),
              #{status := 200, body := Body} = ask(Connection, "/.well-known/host-meta.json", <<"localhost:1234">>, []),
              #{<<"links">> := Found} = megaphone_test_json:decode(Body),
              ?assertEqual(Links, lists:sort([Href || #{<<"href">> := Href} <- Found])),
              megaphone_test_http:close(Connection)
      end, [{http, [<<"http://localhost:1234/bosh">>, <<"ws://localhost:1234/ws">>]},
            {https, [<<"https://localhost:1234/bosh">>, <<"wss://localhost:1234/ws">>]}]).

url(Target, Host, Headers) ->
    Connection = megaphone_test_http:connect(Target),
    #{status := 200, body := Url} = ask(Connection, Host, Headers),
    ok = megaphone_test_http:close(Connection),
    Url.

ask(Connection, Host, Headers) ->
    ask(Connection, "/echo/url", Host, Headers).

ask(Connection, Path, Host, Headers) ->
    ok = megaphone_test_http:send(Connection, ["GET ", Path, " HTTP/1.1\r\n",
                                               [[Name, ": ", Value, "\r\n"]
                                                || {Name, Value} <- [{"Host", Host} | Headers]], "\r\n"]),
    megaphone_test_http:recv(Connection, "GET").

call(Config, Module, Function, Arguments) ->
    megaphone_test_ejabberd:call(megaphone_test_stage:ejabberd(Config), Module, Function, Arguments).
