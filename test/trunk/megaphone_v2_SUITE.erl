%% Version 2 of the trunk protocol at megaphone_listener, spoken by a yamux client of the tests' own:
%% what its streams may carry, by the same clients that talk to a plain ejabberd, and whose address
%% ejabberd sees on them.
-module(megaphone_v2_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1,
         init_per_group/2, end_per_group/2]).
%% HTTP.
-export([requests_on_one_stream/1, header_in_pieces/1, client_addresses/1, unknown_client/1,
         bosh_client/1, websocket_client/1, twenty_thousand_streams/1]).
%% XML streams.
-export([c2s_client/1, c2s_starttls/1, c2s_compression/1, c2s_bytes_cut_anywhere/1,
         c2s_options_are_ejabberds/1, c2s_reset_ends_the_session/1]).
%% What the listener does not serve.
-export([protocols_without_http/1, protocols_without_xmpp/1, bad_header_resets_its_stream/1]).

-import(megaphone_test_listeners, [connect/1, connect/2, call/4, errors/2, await_error/3, ejabberd/1]).

-define(CLIENT, {{192, 0, 2, 7}, 40001}).
-define(GET, "GET /echo/ip HTTP/1.1\r\nHost: localhost\r\n\r\n").

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, http}, {group, xmpp}, {group, refused}].

groups() ->
    [{http, [parallel],
      [requests_on_one_stream, header_in_pieces, client_addresses, unknown_client, bosh_client,
       websocket_client, twenty_thousand_streams]},
     {xmpp, [parallel],
      [c2s_client, c2s_starttls, c2s_compression, c2s_bytes_cut_anywhere,
       c2s_options_are_ejabberds, c2s_reset_ends_the_session]},
     {refused, [parallel],
      [protocols_without_http, protocols_without_xmpp, bad_header_resets_its_stream]}].

init_per_suite(Config) ->
    Certificate = filename:join(proplists:get_value(priv_dir, Config), "localhost.pem"),
    ok = megaphone_test_certificates:write_self_signed(Certificate, "localhost"),
    megaphone_test_listeners:start(
      Config,
      #{default => "    c2s:\n      starttls: true\n      zlib: true\n",
        http_only => "    protocols: [http]\n",
        xmpp_only => "    protocols: [xmpp-client]\n",
        tls_required => "    c2s:\n      starttls_required: true\n"},
      #{top => ["certfiles:\n  - \"", Certificate, "\"\n"]}).

end_per_suite(Config) ->
    megaphone_test_listeners:stop(Config).

init_per_group(_, Config) ->
    Config.

end_per_group(_, Config) ->
    megaphone_test_listeners:await_end(Config).

%% HTTP.

%% Confirms that every request of a keep-alive connection is answered and has the client's address, and
%% that bodies larger than a window go both ways.
requests_on_one_stream(Config) ->
    Trunk = connect(Config),
    Connection = megaphone_test_http:connect(http_target(Trunk, ?CLIENT)),
    [?assertMatch(#{status := 200, body := <<"192.0.2.7">>},
                  megaphone_test_http:request(Connection, "GET", "/echo/ip", []))
     || _ <- lists:seq(1, 5)],
    Body = rand:bytes(1_000_000),
    #{status := 200, body := Back} =
        megaphone_test_http:request(Connection, "POST", "/echo/body", [], Body),
    ?assert(Back =:= Body),
    ?assertMatch(#{body := <<"192.0.2.7">>},
                 megaphone_test_http:request(Connection, "GET", "/echo/ip", [])),
    ok = megaphone_test_http:close(Connection),
    megaphone_test_yamux:close(Trunk).

%% Confirms that a stream's PROXY header and its first request may come in frames cut anywhere.
header_in_pieces(Config) ->
    Trunk = connect(Config),
    Bytes = <<(megaphone_test_proxy:header(megaphone_test_proxy:client(?CLIENT)))/binary, ?GET>>,
    Streams = [begin
                   <<First:Cut/binary, Second/binary>> = Bytes,
                   Stream = megaphone_test_yamux:open(Trunk, First),
                   ok = megaphone_test_yamux:send(Stream, Second),
                   Stream
               end || Cut <- lists:seq(0, byte_size(Bytes))],
    [?assertMatch(#{body := <<"192.0.2.7">>}, megaphone_test_stream:answer(Stream)) || Stream <- Streams],
    megaphone_test_yamux:close(Trunk).

%% Confirms that ejabberd sees the header's address, IPv4 or IPv6, for each stream its own.
client_addresses(Config) ->
    Trunk = connect(Config),
    V6 = #{source => {{16#2001, 16#db8, 0, 0, 0, 0, 0, 7}, 5222},
           destination => {{16#2001, 16#db8, 0, 0, 0, 0, 0, 1}, 443},
           alpn => <<"http/1.1">>, transport => <<"tls">>, tls => <<"TLSv1.3">>,
           authority => <<"localhost">>, unique_id => <<"one of a kind">>,
           more => [{16#ee, <<"whatever it means">>}]},
    [?assertMatch(#{body := Text}, ask(Trunk, Header))
     || {Text, Header} <- [{<<"192.0.2.7">>, megaphone_test_proxy:client(?CLIENT)},
                           {<<"192.0.2.200">>, megaphone_test_proxy:client({{192, 0, 2, 200}, 1})},
                           {<<"2001:db8::7">>, V6}]],
    megaphone_test_yamux:close(Trunk).

%% Confirms that without a client's address ejabberd sees the trunk's peer.
unknown_client(Config) ->
    Trunk = connect(Config),
    Http = #{alpn => <<"http/1.1">>},
    Local = (megaphone_test_proxy:client(?CLIENT))#{command => local},
    Unix = Http#{source => {local, <<"/run/client">>}, destination => {local, <<"/run/ecm">>}},
    [?assertMatch(#{body := <<"127.0.0.1">>}, ask(Trunk, Header)) || Header <- [Http, Local, Unix]],
    megaphone_test_yamux:close(Trunk).

%% Confirms that a BOSH client talks over streams as it does over TCP, and is known by its address.
bosh_client(Config) ->
    chat(Config, megaphone_test_bosh, <<"http/1.1">>, <<"http_bind">>, #{}).

%% Confirms the same for WebSocket.
websocket_client(Config) ->
    chat(Config, megaphone_test_websocket, <<"http/1.1">>, <<"websocket">>, #{}).

%% Confirms that of very many streams that open at once each gets its answer, wherever the transport
%% cuts their frames.
twenty_thousand_streams(Config) ->
    Trunk = connect(Config),
    Client = fun(N) -> {{10, 0, N div 250, N rem 250}, 40000} end,
    Streams = [{N, megaphone_test_yamux:open(Trunk, megaphone_test_proxy:client(Client(N)),
                                             #{first => ?GET})}
               || N <- lists:seq(1, 20_000)],
    [begin
         #{body := Body} = megaphone_test_stream:answer(Stream),
         ?assertEqual(inet:ntoa(element(1, Client(N))), binary_to_list(Body))
     end || {N, Stream} <- Streams],
    ?assertMatch(#{connections := 20_000, buffered := 0},
                 megaphone_test_listeners:trunk_status(Config, Trunk)),
    megaphone_test_yamux:close(Trunk).

%% XML streams.

%% Confirms that a plain XML stream works, and its client is known by its address.
c2s_client(Config) ->
    chat(Config, megaphone_test_c2s, <<"xmpp-client">>, <<"c2s">>, #{}).

%% Confirms that STARTTLS works through a stream.
c2s_starttls(Config) ->
    chat(Config, megaphone_test_c2s, <<"xmpp-client">>, <<"c2s_tls">>, #{starttls => true}).

%% Confirms that stream compression works through a stream.
c2s_compression(Config) ->
    Trunk = connect(Config),
    User = user(Config, <<"zlib">>),
    Client = megaphone_test_xmpp:connect(megaphone_test_c2s, xmpp_target(Trunk, ?CLIENT), User,
                                         #{compress => true}),
    Present = megaphone_test_xmpp:send_presence(Client),
    ?assertEqual({<<"c2s_compressed">>, <<"192.0.2.7">>},
                 connection_info(Config, megaphone_test_xmpp:jid(Present))),
    Long = binary:copy(<<"compressible ">>, 10_000),
    Sent = megaphone_test_xmpp:send_message(Present, megaphone_test_xmpp:jid(Present), Long),
    {{_, Long}, Received} = megaphone_test_xmpp:recv_message(Sent),
    ok = megaphone_test_xmpp:logout(Received),
    megaphone_test_yamux:close(Trunk).

%% Confirms that an XML stream, encrypted or not, may be cut into frames anywhere.
c2s_bytes_cut_anywhere(Config) ->
    Trunk = connect(Config),
    Stream = megaphone_test_yamux:open(Trunk, megaphone_test_proxy:client(?CLIENT, <<"xmpp-client">>)),
    [ok = megaphone_test_yamux:send(Stream, [Byte])
     || Byte <- "<?xml version='1.0'?><stream:stream xmlns='jabber:client' to='localhost' "
                "xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"],
    {ok, Answer} = recv_until(Stream, <<"</stream:features>">>, <<>>),
    ?assertMatch({match, _}, re:run(Answer, "<starttls")),
    megaphone_test_yamux:close(Trunk).

%% Confirms that the listener's `c2s' options are ejabberd_c2s's: this one lets nobody in without TLS.
c2s_options_are_ejabberds(Config) ->
    Trunk = connect(Config, tls_required),
    {ok, Client} = megaphone_test_c2s:open(xmpp_target(Trunk, ?CLIENT), <<"localhost">>, #{}),
    {ok, Features, Greeted} = megaphone_test_c2s:recv(Client, 10_000),
    ?assertEqual(undefined, megaphone_test_xml:child(<<"mechanisms">>, Features)),
    ?assertMatch({xmlel, _, _, [{xmlel, <<"required">>, _, _}]},
                 megaphone_test_xml:child(<<"starttls">>, Features)),
    ok = megaphone_test_c2s:drop(Greeted),
    megaphone_test_yamux:close(Trunk).

%% Confirms that a reset stream ends its session, and nobody else's.
c2s_reset_ends_the_session(Config) ->
    Trunk = connect(Config),
    [Alice, Bob] = [login(Config, megaphone_test_c2s, xmpp_target(Trunk, ?CLIENT), User)
                    || User <- [<<"alice">>, <<"bob">>]],
    #{state := #{socket := Socket}} = Alice,
    ok = megaphone_test_yamux:reset(megaphone_test_stream:stream(Socket)),
    megaphone_test_wait:until("the end of the session whose stream was reset",
                              fun() -> connection_info(Config, megaphone_test_xmpp:jid(Alice))
                                           =:= none
                              end),
    ok = megaphone_test_xmpp:logout(Bob),
    megaphone_test_yamux:close(Trunk).

%% What the listener does not serve.

%% Confirms that a stream of a protocol that is switched off is reset, the log says why, and the
%% others go on.
protocols_without_http(Config) ->
    switched_off(Config, xmpp_only, <<"http/1.1">>, "http"),
    Trunk = connect(Config, xmpp_only),
    Client = login(Config, megaphone_test_c2s, xmpp_target(Trunk, ?CLIENT), <<"only">>),
    ok = megaphone_test_xmpp:logout(Client),
    megaphone_test_yamux:close(Trunk).

protocols_without_xmpp(Config) ->
    switched_off(Config, http_only, <<"xmpp-client">>, "xmpp-client"),
    Trunk = connect(Config, http_only),
    ?assertMatch(#{body := <<"192.0.2.7">>}, ask(Trunk, megaphone_test_proxy:client(?CLIENT))),
    megaphone_test_yamux:close(Trunk).

%% Confirms that each bad header resets its stream, is counted by its name, and costs nobody else
%% anything.
bad_header_resets_its_stream(Config) ->
    Trunk = connect(Config),
    Neighbour = megaphone_test_http:connect(http_target(Trunk, ?CLIENT)),
    lists:foreach(
      fun({Name, Bytes}) ->
              Before = errors(Config, Name),
              Stream = megaphone_test_yamux:open(Trunk, Bytes),
              ?assertEqual({Name, {error, econnreset}},
                           {Name, megaphone_test_yamux:recv(Stream, 0)}),
              ?assert(await_error(Config, Name, Before) > Before),
              ?assertMatch(#{body := <<"192.0.2.7">>},
                           megaphone_test_http:request(Neighbour, "GET", "/echo/ip", []))
      end, bad_headers()),
    megaphone_test_yamux:close(Trunk).

bad_headers() ->
    #{source := Source, destination := Destination} = Header = megaphone_test_proxy:client(?CLIENT),
    {Inet, Addresses} = megaphone_test_proxy:addresses(Source, Destination),
    Tlvs = megaphone_test_proxy:tlvs(Header),
    Good = fun(Command, Family, Rest) -> megaphone_test_proxy:header(Command, Family, Rest) end,
    [{proxy_signature, ?GET},
     {proxy_signature, <<"\r\n\r\n\0\r\nQUIT\r">>},
     {proxy_signature, "PROXY TCP4 192.0.2.7 198.51.100.1 40001 443\r\n"},
     {proxy_version, Good(16#11, Inet, [Addresses, Tlvs])},
     {proxy_command, Good(16#22, Inet, [Addresses, Tlvs])},
     {proxy_family, Good(16#21, 16#41, [Addresses, Tlvs])},
     {proxy_addresses, Good(16#21, 16#21, Addresses)},
     {proxy_tlv, Good(16#21, Inet, [Addresses, Tlvs, 16#ee, 0])},
     {proxy_tlv, Good(16#21, Inet, [Addresses, 1, <<100:16>>, "http/1.1"])},
     {proxy_value, Good(16#21, Inet, [Addresses, Tlvs, megaphone_test_proxy:tlv(16#02, <<255>>)])},
     {proxy_checksum, Good(16#21, Inet, [Addresses, Tlvs, megaphone_test_proxy:tlv(16#03, <<0:32>>)])},
     {proxy_too_long, Good(16#21, Inet, [Addresses, Tlvs,
                                         megaphone_test_proxy:tlv(16#ee, <<0:(8 * 16_384)>>)])},
     {proxy_alpn, Good(16#21, Inet, Addresses)},
     {proxy_alpn, megaphone_test_proxy:header(Header#{alpn => <<"h2">>})}].

switched_off(Config, Listener, Alpn, Name) ->
    Trunk = connect(Config, Listener),
    Before = byte_size(megaphone_test_ejabberd:log(ejabberd(Config))),
    Stream = megaphone_test_yamux:open(Trunk, megaphone_test_proxy:client(?CLIENT, Alpn)),
    ?assertEqual({error, econnreset}, megaphone_test_yamux:recv(Stream, 0)),
    _ = megaphone_test_ejabberd:await_log(
          ejabberd(Config), ["connection from 192.0.2.7:40001 is reset: .*'protocols'.*", Name],
          Before),
    ok = megaphone_test_yamux:ping(Trunk),
    megaphone_test_yamux:close(Trunk).

%% Two clients, each with an address of its own, say a few things to one another.
chat(Config, Transport, Alpn, Connection, Options) ->
    Trunk = connect(Config),
    [Alice, Bob] = [begin
                        Target = megaphone_test_stream:target(
                                   Trunk, megaphone_test_proxy:client({Ip, 40001}, Alpn)),
                        Client = login(Config, Transport, Target, User, Options),
                        Info = connection_info(Config, megaphone_test_xmpp:jid(Client)),
                        ?assertEqual({Connection, list_to_binary(inet:ntoa(Ip))}, Info),
                        Client
                    end || {User, Ip} <- [{<<"alice">>, {192, 0, 2, 7}},
                                          {<<"bob">>, {198, 51, 100, 8}}]],
    {Alice1, Bob1} = megaphone_test_xmpp:chat(Alice, Bob, 5),
    ok = megaphone_test_xmpp:logout(Alice1),
    ok = megaphone_test_xmpp:logout(Bob1),
    megaphone_test_yamux:close(Trunk).

login(Config, Transport, Target, Name) ->
    login(Config, Transport, Target, Name, #{}).

login(Config, Transport, Target, Name, Options) ->
    megaphone_test_xmpp:login(Transport, Target, user(Config, Name), Options).

user(Config, Name) ->
    megaphone_test_stage:user(Config, Name).

%% How ejabberd says that a user is connected, and from where.
connection_info(Config, Jid) ->
    All = call(Config, mod_admin_extra, connected_users_info, []),
    case [{Connection, Ip} || {Full, Connection, Ip, _, _, _, _, _, _, _} <- All, Full =:= Jid] of
        [{Connection, Ip}] -> {iolist_to_binary(Connection), iolist_to_binary(Ip)};
        [] -> none
    end.

http_target(Trunk, Client) ->
    megaphone_test_stream:target(Trunk, megaphone_test_proxy:client(Client)).

xmpp_target(Trunk, Client) ->
    megaphone_test_stream:target(Trunk, megaphone_test_proxy:client(Client, <<"xmpp-client">>)).

ask(Trunk, Header) ->
    Stream = megaphone_test_yamux:open(Trunk, Header, #{first => ?GET}),
    Answer = megaphone_test_stream:answer(Stream),
    ok = megaphone_test_yamux:close_stream(Stream),
    Answer.

recv_until(Stream, End, Received) ->
    case binary:match(Received, End) of
        nomatch ->
            case megaphone_test_yamux:recv(Stream, 0) of
                {ok, Bytes} -> recv_until(Stream, End, <<Received/binary, Bytes/binary>>);
                {error, Reason} -> {error, {Reason, Received}}
            end;
        _ ->
            {ok, Received}
    end.
