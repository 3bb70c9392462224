%% Who may open a trunk: mutual TLS at megaphone_listener, with certificates that are right and such that
%% are not, and certificates that change while trunks are open.
-module(megaphone_v2_trust_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([right_certificate/1, large_transfer/1, wrong_authority/1, expired_certificate/1,
         missing_certificate/1, old_version/1, plain_bytes/1, version_1_over_tls/1,
         unix_socket/1, certificates_are_read_again/1]).

-import(megaphone_test_listeners, [call/4, ejabberd/1]).

-define(GET, "GET /echo/ip HTTP/1.1\r\nHost: localhost\r\n\r\n").

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [right_certificate, large_transfer, wrong_authority, expired_certificate, missing_certificate,
     old_version, plain_bytes, version_1_over_tls, unix_socket, certificates_are_read_again].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(ssl),
    Ca = megaphone_test_certificates:ca("the trunks' authority"),
    {CertFile, CaFile} = megaphone_test_certificates:write_signed(Ca, Config, "listener"),
    Socket = "/tmp/megaphone-" ++ integer_to_list(erlang:unique_integer([positive])) ++ "-"
        ++ os:getpid() ++ ".sock",
    Started = megaphone_test_listeners:start(
                Config,
                #{tls => ["    tls: true\n"
                          "    certfile: \"", CertFile, "\"\n"
                          "    cafile: \"", CaFile, "\"\n"]},
                #{more_listeners => [megaphone_test_config:listener(
                                       megaphone_listener, ["\"unix:", Socket, "\""],
                                       megaphone_test_config:request_handlers())]}),
    [{ca, Ca}, {cert_file, CertFile}, {ca_file, CaFile}, {unix_socket, Socket} | Started].

end_per_suite(Config) ->
    megaphone_test_listeners:stop(Config),
    _ = file:delete(proplists:get_value(unix_socket, Config)),
    ok.

init_per_testcase(unix_socket, Config) ->
    case megaphone_test_ejabberd:unix_sockets() of
        ok -> Config;
        Skip -> Skip
    end;
init_per_testcase(_, Config) ->
    Config.

end_per_testcase(_, Config) ->
    megaphone_test_listeners:await_end(Config).

%% Confirms that a peer with a certificate of the authority gets a trunk, by TLS 1.2 and 1.3, and that the
%% listener shows its own.
right_certificate(Config) ->
    [begin
         Trunk = connect(Config, [{versions, [Version]} | options(sign(Config), Config)]),
         ok = serve(Trunk),
         megaphone_test_yamux:close(Trunk)
     end || Version <- ['tlsv1.2', 'tlsv1.3']].

%% Confirms that megabytes go both ways.
large_transfer(Config) ->
    Trunk = connect(Config, options(sign(Config), Config)),
    Target = megaphone_test_stream:target(Trunk, client()),
    Connection = megaphone_test_http:connect(Target),
    Body = rand:bytes(5_000_000),
    #{status := 200, body := Back} =
        megaphone_test_http:request(Connection, "POST", "/echo/body", [], Body),
    ?assert(Back =:= Body),
    megaphone_test_yamux:close(Trunk).

%% Confirms that a certificate of another authority gets nothing, even one of the same name.
wrong_authority(Config) ->
    Other = megaphone_test_certificates:ca("the trunks' authority"),
    refused(Config, options(megaphone_test_certificates:sign(Other, "localhost"), Config)).

expired_certificate(Config) ->
    Expired = megaphone_test_certificates:sign(proplists:get_value(ca, Config), "localhost",
                                               [{validity, {{2020, 1, 1}, {2020, 2, 1}}}]),
    refused(Config, options(Expired, Config)).

missing_certificate(Config) ->
    refused(Config, trusted(Config)).

%% Confirms that TLS 1.1 isn't spoken.
old_version(Config) ->
    Options = [{versions, ['tlsv1.1']} | options(sign(Config), Config)],
    refused(Config, Options).

%% Confirms that a peer without TLS gets nothing from a listener with it, and is not served.
plain_bytes(Config) ->
    Trunk = megaphone_test_yamux:connect(address(Config)),
    _ = megaphone_test_yamux:open(Trunk, client(), #{first => ?GET}),
    ?assertMatch({ok, _}, megaphone_test_yamux:await_end(Trunk)),
    ?assertEqual([], megaphone_test_stage:http_processes(Config)).

%% Confirms that version 1 goes over TLS as well.
version_1_over_tls(Config) ->
    {{_, _, _, _} = Ip, Port} = address(Config),
    {ok, Socket} = ssl:connect(Ip, Port, [binary, {active, false} | options(sign(Config), Config)]),
    Id = megaphone_test_trunk:id(1),
    ok = ssl:send(Socket, megaphone_test_trunk:frame(Id, ?GET)),
    {ok, <<_:10/binary, "|", Id:20/binary, "|HTTP/1.1 200 OK", _/binary>>} = ssl:recv(Socket, 0, 10_000),
    ssl:close(Socket).

%% Confirms that a Unix socket carries version 2, without TLS.
unix_socket(Config) ->
    Trunk = megaphone_test_yamux:connect({local, proplists:get_value(unix_socket, Config)}),
    ok = serve(Trunk),
    megaphone_test_yamux:close(Trunk).

%% Confirms that after reload_config new trunks meet the new certificate and the new authority, and that
%% the old trunks go on.
certificates_are_read_again(Config) ->
    Mine = sign(Config),
    Old = connect(Config, options(Mine, Config)),
    Before = listeners_certificate(Config, options(Mine, Config)),
    NewCa = megaphone_test_certificates:ca("the next authority"),
    New = [{ca, NewCa} | Config],
    ok = megaphone_test_certificates:write(proplists:get_value(cert_file, Config),
                                           proplists:get_value(ca_file, Config),
                                           megaphone_test_certificates:sign(NewCa, "localhost")),
    ok = call(Config, ejabberd_config, reload, []),
    ?assertNotEqual(Before, listeners_certificate(New, options(sign(New), New))),
    refused(New, options(Mine, New)),
    ok = serve(Old),
    Trunk = connect(New, options(sign(New), New)),
    ok = serve(Trunk),
    megaphone_test_yamux:close(Trunk),
    megaphone_test_yamux:close(Old).

%% Connects, or learns by the first bytes that it did not work: with TLS 1.3 a client is ready before the
%% server has seen its certificate. The log says why.
refused(Config, Options) ->
    Before = byte_size(megaphone_test_ejabberd:log(ejabberd(Config))),
    case megaphone_test_yamux:try_connect(address(Config), #{tls => Options}) of
        {ok, Trunk} ->
            Stream = megaphone_test_yamux:open(Trunk, client(), #{first => ?GET}),
            ?assertEqual({error, closed}, megaphone_test_yamux:recv(Stream, 0)),
            ?assertEqual({ok, []}, megaphone_test_yamux:await_end(Trunk));
        {error, {tls_alert, _}} -> ok;
        {error, closed} -> ok
    end,
    _ = megaphone_test_ejabberd:await_log(
          ejabberd(Config), "the trunk from 127.0.0.1:\\d+ is lost with 0 connections: TLS server", Before),
    ?assertEqual([], megaphone_test_stage:http_processes(Config)).

%% What the listener shows.
listeners_certificate(Config, Options) ->
    {Ip, Port} = address(Config),
    {ok, Socket} = ssl:connect(Ip, Port, Options),
    {ok, Certificate} = ssl:peercert(Socket),
    ok = ssl:close(Socket),
    Certificate.

connect(Config, Options) ->
    megaphone_test_yamux:connect(address(Config), #{tls => Options}).

options(#{cert := Cert, key := Key}, Config) ->
    Type = element(1, Key),
    [{cert, Cert}, {key, {Type, public_key:der_encode(Type, Key)}} | trusted(Config)].

trusted(Config) ->
    #{cert := Ca} = proplists:get_value(ca, Config),
    [{cacerts, [Ca]}, {verify, verify_peer}, {server_name_indication, "localhost"}, {log_level, none}].

sign(Config) ->
    megaphone_test_certificates:sign(proplists:get_value(ca, Config), "localhost").

serve(Trunk) ->
    Stream = megaphone_test_yamux:open(Trunk, client(), #{first => ?GET}),
    ?assertMatch(#{status := 200, body := <<"192.0.2.7">>},
                 megaphone_test_http:recv(megaphone_test_stream:socket(Stream))),
    ok.

client() ->
    megaphone_test_proxy:client({{192, 0, 2, 7}, 40001}).

address(Config) ->
    megaphone_test_listeners:address(Config, tls).
