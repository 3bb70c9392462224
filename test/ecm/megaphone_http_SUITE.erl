%% HTTP through the ECM, the trunk and ejabberd_http: commands, uploads, downloads, and every form of
%% request that HTTP/1.1 allows or forbids. What plain ejabberd_http does as well is tried on it too.
-module(megaphone_http_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_group/2, end_per_group/2]).
%% On both paths.
-export([command/1, upload_and_download/1, file_download/1, head/1, options/1, not_found/1,
         http_1_0/1, http_1_0_keep_alive/1, keep_alive/1, connection_close/1, absolute_form/1,
         request_byte_by_byte/1, expect_continue/1, client_address/1,
         largest_head/1, half_closed_client/1]).
%% Where Megaphone does what plain ejabberd_http doesn't.
-export([pipelined_posts/1, pipelined_mix/1, request_behind_an_upload/1, chunked_post/1,
         chunked_byte_by_byte/1, chunked_upload/1, chunked_expects_continue/1, refused_requests/1,
         refused_behind_a_good_one/1, forged_address/1, address_behind_a_proxy/1, refused_body_is_no_request/1]).
%% What version 1 has no word for.
-export([half_closed_client_has_left/1]).

-define(MIB, (1 bsl 20)).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, plain}, {group, ecm}, {group, ecm_v1}].

groups() ->
    [{plain, [{group, http}]},
     {ecm, [{group, http}, {group, beyond}]},
     {ecm_v1, [parallel],
      [upload_and_download, file_download, client_address, pipelined_mix, request_behind_an_upload,
       chunked_upload, forged_address, address_behind_a_proxy, half_closed_client_has_left]},
     {http, [parallel],
      [command, upload_and_download, file_download, head, options, not_found, http_1_0,
       http_1_0_keep_alive, keep_alive, connection_close, absolute_form, request_byte_by_byte,
       expect_continue, client_address, largest_head, half_closed_client]},
     {beyond, [parallel],
      [pipelined_posts, pipelined_mix, request_behind_an_upload, chunked_post,
       chunked_byte_by_byte, chunked_upload, chunked_expects_continue, refused_requests,
       refused_behind_a_good_one, forged_address, address_behind_a_proxy, refused_body_is_no_request]}].

init_per_group(Path, Config) when Path =:= plain; Path =:= ecm; Path =:= ecm_v1 ->
    megaphone_test_stage:start(Path, Config, #{ecm_top => "trusted_proxies = [\"127.0.0.9\"]\n"});
init_per_group(_, Config) ->
    Config.

end_per_group(Path, Config) when Path =:= plain; Path =:= ecm; Path =:= ecm_v1 ->
    megaphone_test_stage:stop(Config);
end_per_group(_, _Config) ->
    ok.

%% Confirms that mod_http_api runs a command.
command(Config) ->
    User = megaphone_test_stage:user(Config, <<"known">>),
    Connection = connect(Config),
    ?assertMatch(#{status := 200, body := <<"0">>}, check_account(Connection, User)),
    ?assertMatch(#{status := 200, body := <<"1">>}, check_account(Connection, <<"unknown">>)),
    close(Connection).

%% Confirms that 10 MiB put into an upload slot come back byte by byte.
upload_and_download(Config) ->
    Bytes = rand:bytes(10 * ?MIB),
    Path = megaphone_test_upload:slot(Config, "up.bin", byte_size(Bytes)),
    Connection = connect(Config),
    ?assertMatch(#{status := 201}, request(Connection, "PUT", Path, [], Bytes)),
    #{status := 200, body := Received} = request(Connection, "GET", Path, []),
    ?assert(Bytes =:= Received, "the 10 MiB come back as they were sent"),
    close(Connection).

%% Confirms that mod_http_fileserver serves 10 MiB, byte by byte, and that the connection goes on.
file_download(Config) ->
    Bytes = rand:bytes(10 * ?MIB),
    ok = write_file(Config, "download.bin", Bytes),
    Connection = connect(Config),
    #{status := 200, body := Received} = request(Connection, "GET", "/files/download.bin", []),
    ?assert(Bytes =:= Received, "the file comes as it is"),
    ?assertMatch(#{status := 404}, request(Connection, "GET", "/files/missing.bin", [])),
    close(Connection).

%% Confirms that HEAD gets the length without the body, and that the next answer isn't mistaken for it.
head(Config) ->
    ok = write_file(Config, "head.txt", <<"twelve bytes">>),
    Connection = connect(Config),
    #{status := 200} = Head = request(Connection, "HEAD", "/files/head.txt", []),
    ?assertEqual(<<"12">>, megaphone_test_http:header(<<"content-length">>, Head)),
    ?assertMatch(#{status := 200, body := <<"twelve bytes">>},
                 request(Connection, "GET", "/files/head.txt", [])),
    close(Connection).

%% Confirms that a browser's CORS preflight for BOSH is answered.
options(Config) ->
    Connection = connect(Config),
    #{status := 200} = Response = request(Connection, "OPTIONS", "/bosh", []),
    ?assertEqual(<<"*">>,
                 megaphone_test_http:header(<<"access-control-allow-origin">>, Response)),
    close(Connection).

%% Confirms that a path nobody serves is ejabberd's 404.
not_found(Config) ->
    Connection = connect(Config),
    ?assertMatch(#{status := 404}, request(Connection, "GET", "/nowhere", [])),
    close(Connection).

%% Confirms that an HTTP/1.0 request is answered and the connection then closes.
http_1_0(Config) ->
    Connection = connect(Config),
    ok = megaphone_test_http:send(Connection, "GET /echo HTTP/1.0\r\nHost: localhost\r\n\r\n"),
    ?assertMatch(#{status := 200}, megaphone_test_http:recv(Connection)),
    ?assertEqual(ok, megaphone_test_http:recv_close(Connection)).

%% Confirms that `Connection: keep-alive' lets an HTTP/1.0 connection go on.
http_1_0_keep_alive(Config) ->
    Connection = connect(Config),
    lists:foreach(
      fun(_) ->
              ok = megaphone_test_http:send(Connection, "GET /echo HTTP/1.0\r\nHost: localhost\r\n"
                                                        "Connection: keep-alive\r\n\r\n"),
              ?assertMatch(#{status := 200}, megaphone_test_http:recv(Connection))
      end, [1, 2, 3]),
    close(Connection).

%% Confirms that one connection carries a thousand requests, each with its own answer.
keep_alive(Config) ->
    Connection = connect(Config),
    lists:foreach(
      fun(Number) ->
              Body = ["request ", integer_to_list(Number)],
              #{status := 200, body := Echo} = request(Connection, "POST", "/echo/body", [], Body),
              ?assertEqual(iolist_to_binary(Body), Echo)
      end, lists:seq(1, 1000)),
    close(Connection).

%% Confirms that `Connection: close' closes behind the answer.
connection_close(Config) ->
    Connection = connect(Config),
    ?assertMatch(#{status := 200}, request(Connection, "GET", "/echo", [{"Connection", "close"}])),
    ?assertEqual(ok, megaphone_test_http:recv_close(Connection)).

%% Confirms that the absolute form of a target, a proxy's, is served (RFC 9112, 3.2.2).
absolute_form(Config) ->
    Connection = connect(Config),
    #{status := 200, body := Echo} = request(Connection, "GET", "http://localhost/echo/x?y=z", []),
    ?assertMatch(#{<<"path">> := [<<"x">>]}, decode(Echo)),
    close(Connection).

%% Confirms that a request that comes byte by byte is one request.
request_byte_by_byte(Config) ->
    Connection = connect(Config),
    Request = iolist_to_binary(megaphone_test_http:encode("POST", "/echo/body", [], "slowly")),
    [ok = megaphone_test_http:send(Connection, <<Byte>>) || <<Byte>> <= Request],
    ?assertMatch(#{status := 200, body := <<"slowly">>}, megaphone_test_http:recv(Connection)),
    close(Connection).

%% Confirms that `Expect: 100-continue' gets one 100, then the body is taken, then comes one answer.
expect_continue(Config) ->
    Bytes = rand:bytes(200_000),
    Connection = connect(Config),
    Head = ["POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            "Content-Length: ", integer_to_list(byte_size(Bytes)), "\r\n\r\n"],
    ok = megaphone_test_http:send(Connection, Head),
    ?assertMatch(#{status := 100}, megaphone_test_http:recv(Connection)),
    ok = megaphone_test_http:send(Connection, Bytes),
    #{status := 200, body := Echo} = megaphone_test_http:recv(Connection),
    assert_echo(Bytes, Echo),
    ?assertMatch(#{status := 200}, request(Connection, "GET", "/echo", [])),
    close(Connection).

%% Confirms that ejabberd sees the client's own address, on every request of a connection.
client_address(Config) ->
    Connection = connect_from(Config, {127, 0, 0, 5}),
    lists:foreach(fun(_) ->
                          ?assertMatch(#{status := 200, body := <<"127.0.0.5">>},
                                       request(Connection, "GET", "/echo/ip", []))
                  end, [1, 2, 3]),
    close(Connection).

%% Confirms that a head just below the limit passes with all its headers.
largest_head(Config) ->
    Headers = [{"X-" ++ integer_to_list(N), lists:duplicate(700, $a)} || N <- lists:seq(1, 90)],
    Connection = connect(Config),
    #{status := 200, body := Echo} = request(Connection, "GET", "/echo", Headers),
    #{<<"headers">> := Seen} = decode(Echo),
    ?assertEqual([binary:copy(<<"a">>, 700)],
                 lists:usort([maps:get(iolist_to_binary(Name), Seen) || {Name, _} <- Headers])),
    close(Connection).

%% Confirms that a client that closes its sending side gets the answer that it waits for, and then a close.
half_closed_client(Config) ->
    Connection = half_closed(Config, "half"),
    ok = call(Config, release, [<<"half">>]),
    ?assertMatch(#{status := 200, body := <<"half">>}, megaphone_test_http:recv(Connection)),
    ?assertEqual(ok, megaphone_test_http:recv_close(Connection)).

%% Confirms that two POSTs in one packet are both served, in order.
pipelined_posts(Config) ->
    Connection = connect(Config),
    ok = megaphone_test_http:send(Connection,
                                  [megaphone_test_http:encode("POST", "/echo/body", [], "first"),
                                   megaphone_test_http:encode("POST", "/echo/body", [], "second")]),
    ?assertMatch(#{status := 200, body := <<"first">>}, megaphone_test_http:recv(Connection)),
    ?assertMatch(#{status := 200, body := <<"second">>}, megaphone_test_http:recv(Connection)),
    close(Connection).

%% Confirms the same for a hundred requests of all kinds in one packet, the last of which closes.
pipelined_mix(Config) ->
    ok = write_file(Config, "mix.txt", <<"a file">>),
    Connection = connect(Config),
    Kinds = [{"POST", megaphone_test_http:encode("POST", "/echo/body", [], "post"), <<"post">>},
             {"HEAD", megaphone_test_http:encode("HEAD", "/files/mix.txt", [], []), <<>>},
             {"GET", megaphone_test_http:encode("GET", "/files/mix.txt", [], []), <<"a file">>},
             {"POST", ["POST /echo/body HTTP/1.1\r\nHost: localhost\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n",
                       megaphone_test_http:chunked(["in ", "chunks"])], <<"in chunks">>}],
    Requests = lists:append(lists:duplicate(25, Kinds)),
    Last = megaphone_test_http:encode("GET", "/files/mix.txt", [{"Connection", "close"}], []),
    ok = megaphone_test_http:send(Connection, [[Bytes || {_, Bytes, _} <- Requests], Last]),
    lists:foreach(fun({Method, _, Body}) ->
                          #{status := 200, body := Got} = megaphone_test_http:recv(Connection, Method),
                          ?assertEqual(Body, Got)
                  end, Requests),
    ?assertMatch(#{status := 200, body := <<"a file">>}, megaphone_test_http:recv(Connection)),
    ?assertEqual(ok, megaphone_test_http:recv_close(Connection)).

%% Confirms that a request right behind a large upload, in the same stream of bytes, is served.
request_behind_an_upload(Config) ->
    Bytes = rand:bytes(?MIB),
    Path = megaphone_test_upload:slot(Config, "behind.bin", byte_size(Bytes)),
    Connection = connect(Config),
    ok = megaphone_test_http:send(Connection, [megaphone_test_http:encode("PUT", Path, [], Bytes),
                                               megaphone_test_http:encode("GET", Path, [], [])]),
    ?assertMatch(#{status := 201}, megaphone_test_http:recv(Connection)),
    #{status := 200, body := Received} = megaphone_test_http:recv(Connection),
    ?assert(Bytes =:= Received, "the upload comes back as it was sent"),
    close(Connection).

%% Confirms that a chunked POST, with extensions and trailers, reaches ejabberd with a Content-Length.
chunked_post(Config) ->
    Connection = connect(Config),
    ok = megaphone_test_http:send(Connection,
                                  ["POST /echo HTTP/1.1\r\nHost: localhost\r\n"
                                   "Transfer-Encoding: chunked\r\n\r\n"
                                   "5;name=value\r\nhello\r\n",
                                   "00006\r\n world\r\n",
                                   "0\r\nX-Trailer: dropped\r\n\r\n"]),
    #{status := 200, body := Echo} = megaphone_test_http:recv(Connection),
    assert_echo(<<"hello world">>, Echo),
    #{<<"headers">> := Headers} = decode(Echo),
    ?assertMatch(#{<<"Content-Length">> := <<"11">>}, Headers),
    ?assertNot(is_map_key(<<"Transfer-Encoding">>, Headers)),
    close(Connection).

%% Confirms the same for chunks that come byte by byte.
chunked_byte_by_byte(Config) ->
    Connection = connect(Config),
    Request = iolist_to_binary(["POST /echo/body HTTP/1.1\r\nHost: localhost\r\n"
                                "Transfer-Encoding: chunked\r\n\r\n",
                                megaphone_test_http:chunked(["very ", "slowly"])]),
    [ok = megaphone_test_http:send(Connection, <<Byte>>) || <<Byte>> <= Request],
    ?assertMatch(#{status := 200, body := <<"very slowly">>}, megaphone_test_http:recv(Connection)),
    close(Connection).

%% Confirms that an upload without an announced length arrives whole.
chunked_upload(Config) ->
    Bytes = rand:bytes(3 * ?MIB),
    Path = megaphone_test_upload:slot(Config, "chunked.bin", byte_size(Bytes)),
    Connection = connect(Config),
    Pieces = [binary:part(Bytes, N * 65536, 65536) || N <- lists:seq(0, 47)],
    ok = megaphone_test_http:send(Connection, ["PUT ", Path, " HTTP/1.1\r\nHost: localhost\r\n"
                                               "Transfer-Encoding: chunked\r\n\r\n",
                                               megaphone_test_http:chunked(Pieces)]),
    ?assertMatch(#{status := 201}, megaphone_test_http:recv(Connection)),
    #{status := 200, body := Received} = request(Connection, "GET", Path, []),
    ?assert(Bytes =:= Received, "the upload comes back as it was sent"),
    close(Connection).

%% Confirms that a client that waits for 100 before it sends chunks gets it.
chunked_expects_continue(Config) ->
    Connection = connect(Config),
    ok = megaphone_test_http:send(Connection,
                                  "POST /echo/body HTTP/1.1\r\nHost: localhost\r\n"
                                  "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ?assertMatch(#{status := 100}, megaphone_test_http:recv(Connection)),
    ok = megaphone_test_http:send(Connection, megaphone_test_http:chunked(["go on"])),
    ?assertMatch(#{status := 200, body := <<"go on">>}, megaphone_test_http:recv(Connection)),
    close(Connection).

%% Confirms that each forbidden request gets its status, a text that names the fault, and a close.
refused_requests(Config) ->
    Results = [refused(Config, Row) || Row <- megaphone_test_bad_http:requests()],
    ?assertEqual([], [Error || {error, Error} <- Results]).

%% Confirms that a forbidden request behind a good one takes nothing from the good one's answer.
refused_behind_a_good_one(Config) ->
    Connection = connect(Config),
    ok = megaphone_test_http:send(Connection,
                                  [megaphone_test_http:encode("POST", "/echo/body", [], "good"),
                                   "GET /echo HTTP/1.1\r\nHost : localhost\r\n\r\n"]),
    ?assertMatch(#{status := 200, body := <<"good">>}, megaphone_test_http:recv(Connection)),
    ?assertMatch(#{status := 400}, megaphone_test_http:recv(Connection)),
    ?assertEqual(ok, megaphone_test_http:recv_close(Connection)).

%% Confirms that a client can't give itself another address: what it says in X-Forwarded-For isn't
%% believed, since it is no proxy of the ECM's list.
forged_address(Config) ->
    Connection = connect_from(Config, {127, 0, 0, 5}),
    ?assertMatch(#{status := 200, body := <<"127.0.0.5">>},
                 request(Connection, "GET", "/echo/ip", [{"X-Forwarded-For", "192.0.2.1"}])),
    ?assertMatch(#{status := 200, body := <<"127.0.0.5">>},
                 request(Connection, "GET", "/echo/ip", [{"X-Forwarded-For", "127.0.0.1"},
                                                         {"X-Forwarded-For", "127.0.0.1"}])),
    close(Connection).

%% Confirms that what a proxy of the ECM's list says in X-Forwarded-For is believed.
address_behind_a_proxy(Config) ->
    Connection = connect_from(Config, {127, 0, 0, 9}),
    ?assertMatch(#{status := 200, body := <<"192.0.2.1">>},
                 request(Connection, "GET", "/echo/ip", [{"X-Forwarded-For", "192.0.2.1"}])),
    close(Connection).

%% Confirms that the body of a request that ejabberd refuses is never taken for the next request
%% (it keeps what it has read of a body when it answers 400).
refused_body_is_no_request(Config) ->
    Connection = connect(Config),
    Smuggled = iolist_to_binary(megaphone_test_http:encode("GET", "/echo/smuggled", [], [])),
    %% ejabberd_http has no handler for PATCH.
    #{status := Status} = request(Connection, "PATCH", "/echo", [], Smuggled),
    ?assert(Status >= 400),
    case request(Connection, "GET", "/echo/honest", []) of
        #{status := 200, body := Echo} -> ?assertMatch(#{<<"path">> := [<<"honest">>]}, decode(Echo));
        {error, _} -> ok
    end.

%% Confirms that over version 1 a client that closes its sending side is taken for one that has left, also
%% while its request is worked on: its connection closes.
half_closed_client_has_left(Config) ->
    Connection = half_closed(Config, "left"),
    ?assertEqual(ok, megaphone_test_http:recv_close(Connection)),
    ok = call(Config, release, [<<"left">>]).

%% A client whose request is worked on until the name is released, and that sends no more.
half_closed(Config, Name) ->
    Connection = connect(Config),
    ok = megaphone_test_http:send(Connection, megaphone_test_http:encode(
                                                "GET", ["/echo/hold/", Name], [], [])),
    _ = megaphone_test_wait:until("a request in work",
                                  fun() -> call(Config, held, [list_to_binary(Name)]) end),
    ok = gen_tcp:shutdown(Connection, write),
    Connection.

call(Config, Function, Arguments) ->
    megaphone_test_ejabberd:call(megaphone_test_stage:ejabberd(Config), megaphone_test_handler,
                                 Function, Arguments).

refused(Config, {_, Bytes, _, _} = Row) ->
    Connection = connect(Config),
    %% The answer may come before all of it is sent.
    _ = megaphone_test_http:send(Connection, Bytes),
    case megaphone_test_bad_http:check(Row, megaphone_test_http:recv(Connection)) of
        ok ->
            case megaphone_test_http:recv_close(Connection) of
                ok -> ok;
                {error, Reason} -> {error, {element(1, Row), expected_close, got, Reason}}
            end;
        {error, _} = Error ->
            Error
    end.

check_account(Connection, User) ->
    request(Connection, "POST", "/api/check_account", [],
            ["{\"user\": \"", User, "\", \"host\": \"localhost\"}"]).

assert_echo(Body, Echo) ->
    Hash = binary:encode_hex(crypto:hash(sha256, Body)),
    ?assertMatch(#{<<"sha256">> := Hash}, decode(Echo)).

decode(Json) ->
    megaphone_test_json:decode(Json).

write_file(Config, Name, Bytes) ->
    Dir = megaphone_test_ejabberd:dir(megaphone_test_stage:ejabberd(Config)),
    file:write_file(filename:join([Dir, "files", Name]), Bytes).

connect(Config) ->
    megaphone_test_http:connect(megaphone_test_stage:target(Config)).

connect_from(Config, Address) ->
    megaphone_test_http:connect(megaphone_test_stage:target_from(Address, Config)).

request(Connection, Method, Path, Headers) ->
    megaphone_test_http:request(Connection, Method, Path, Headers).

request(Connection, Method, Path, Headers, Body) ->
    megaphone_test_http:request(Connection, Method, Path, Headers, Body).

close(Connection) ->
    megaphone_test_http:close(Connection).
