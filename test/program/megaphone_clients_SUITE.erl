%% XMPP clients, a BOSH server and an HTTP client that nobody here wrote: strophe.js, @xmpp/client,
%% node-xmpp-bosh and curl, through the ECM and the trunk, and the same without ours.
-module(megaphone_clients_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_group/2, end_per_group/2]).
-export([strophe_over_bosh/1, strophe_over_websocket/1, xmpp_client_over_websocket/1,
         strophe_over_node_xmpp_bosh/1, curl_upload_and_download/1, curl_chunked_upload/1, curl_command/1,
         curl_head/1, curl_reuses_connection/1]).

-define(MESSAGES, "50").

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, plain}, {group, ecm}].

groups() ->
    %% Plain ejabberd_http refuses chunked bodies. Who has BOSH needs no BOSH server in front of XML streams, but
    %% those who have such a one need not give it up.
    [{plain, [{group, clients}]},
     {ecm, [{group, clients}, curl_chunked_upload, strophe_over_node_xmpp_bosh]},
     {clients, [parallel],
      [strophe_over_bosh, strophe_over_websocket, xmpp_client_over_websocket,
       curl_upload_and_download, curl_command, curl_head, curl_reuses_connection]}].

init_per_group(clients, Config) ->
    Config;
init_per_group(plain, Config) ->
    megaphone_test_stage:start(plain, Config);
init_per_group(ecm, Config) ->
    Port = megaphone_test_port:free(),
    Listener = ["[[listener]]\naddress = \"127.0.0.1:", integer_to_list(Port), "\"\nkind = \"xmpp\"\n"
                "starttls = \"off\"\n"],
    [{xmpp_port, Port} | megaphone_test_stage:start(ecm, Config, #{ecm => Listener})].

end_per_group(clients, _Config) -> ok;
end_per_group(_Path, Config) -> megaphone_test_stage:stop(Config).

%% Confirms that two strophe.js clients chat over BOSH.
strophe_over_bosh(Config) ->
    chat(Config, "strophe", url(Config, "http://127.0.0.1", "/bosh")).

%% Confirms that two strophe.js clients chat over WebSocket.
strophe_over_websocket(Config) ->
    chat(Config, "strophe", url(Config, "ws://127.0.0.1", "/ws")).

%% Confirms that two @xmpp/client clients chat over WebSocket.
xmpp_client_over_websocket(Config) ->
    chat(Config, "xmpp", url(Config, "ws://127.0.0.1", "/ws")).

%% Confirms that two strophe.js clients chat over a BOSH server that connects to the ECM as XMPP clients do.
strophe_over_node_xmpp_bosh(Config) ->
    case megaphone_test_front:missing(node_xmpp_bosh) of
        none -> chat_over_node_xmpp_bosh(Config);
        Skip -> Skip
    end.

chat_over_node_xmpp_bosh(Config) ->
    Port = megaphone_test_port:free(),
    Dir = filename:join(proplists:get_value(priv_dir, Config), "node_xmpp_bosh"),
    Front = megaphone_test_front:start(node_xmpp_bosh, Dir, Port, proplists:get_value(xmpp_port, Config)),
    try chat(Config, "strophe", ["http://127.0.0.1:", integer_to_list(Port), "/http-bind/"])
    after megaphone_test_front:stop(Front)
    end.

%% Confirms that curl puts 10 MiB into an upload slot and gets them back, byte by byte.
curl_upload_and_download(Config) ->
    {Sent, Size} = random_file(Config, "curl_upload", 10 bsl 20),
    Path = megaphone_test_upload:slot(Config, "up.bin", Size),
    <<"201">> = curl(Config, ["--upload-file", Sent, "--output", "/dev/null",
                              "--write-out", "%{http_code}", url(Config, "http://localhost", Path)]),
    Received = Sent ++ ".received",
    <<"200">> = curl(Config, ["--output", Received, "--write-out", "%{http_code}",
                              url(Config, "http://localhost", Path)]),
    assert_same(Sent, Received).

%% Confirms the same for a body whose length curl doesn't announce (Transfer-Encoding: chunked).
curl_chunked_upload(Config) ->
    {Sent, Size} = random_file(Config, "curl_chunked", 1 bsl 20),
    Path = megaphone_test_upload:slot(Config, "chunked.bin", Size),
    <<"201">> = curl(Config, ["--header", "Transfer-Encoding: chunked", "--upload-file", Sent,
                              "--output", "/dev/null", "--write-out", "%{http_code}",
                              url(Config, "http://localhost", Path)]),
    Received = Sent ++ ".received",
    <<>> = curl(Config, ["--output", Received, url(Config, "http://localhost", Path)]),
    assert_same(Sent, Received).

%% Confirms that a command of mod_http_api answers curl.
curl_command(Config) ->
    User = megaphone_test_stage:user(Config, <<"curl">>),
    <<"0">> = curl(Config, ["--data", ["{\"user\": \"", User, "\", \"host\": \"localhost\"}"],
                            url(Config, "http://localhost", "/api/check_account")]),
    <<"1">> = curl(Config, ["--data", "{\"user\": \"nobody\", \"host\": \"localhost\"}",
                            url(Config, "http://localhost", "/api/check_account")]).

%% Confirms that curl takes the answer to HEAD, with a length and no body, as complete.
curl_head(Config) ->
    {File, Size} = random_file(Config, "curl_head", 1000),
    {ok, _} = file:copy(File, filename:join([megaphone_test_ejabberd:dir(
                                               megaphone_test_stage:ejabberd(Config)),
                                             "files", "curl_head"])),
    Head = curl(Config, ["--head", url(Config, "http://localhost", "/files/curl_head")]),
    {match, _} = re:run(Head, ["Content-Length: ", integer_to_list(Size), "\r\n"]).

%% Confirms that curl needs one connection for twenty requests.
curl_reuses_connection(Config) ->
    Urls = lists:duplicate(20, url(Config, "http://localhost", "/echo/ip")),
    Output = curl(Config, ["--write-out", "|%{http_code} %{num_connects}\n" | Urls]),
    Lines = string:lexemes(binary_to_list(Output), "\n"),
    ?assertEqual(["127.0.0.1|200 1" | lists:duplicate(19, "127.0.0.1|200 0")], Lines).

chat(Config, Library, Url) ->
    [Alice, Bob] = [<<(megaphone_test_stage:user(Config, Name))/binary, "@localhost">>
                    || Name <- [<<"alice">>, <<"bob">>]],
    ?assertEqual(<<>>, megaphone_test_clients:run(
                         node, ["chat.js", Library, Url, Alice, Bob, "megaphone", ?MESSAGES], [], Config)).

curl(Config, Arguments) ->
    {Status, Output} = megaphone_test_program:run(
                         os:find_executable("curl"),
                         ["--silent", "--show-error", "--ipv4", "--http1.1", "--max-time", "25" | Arguments],
                         #{log => log_path(Config)}),
    ?assertEqual(0, Status, Output),
    Output.

url(Config, Server, Path) ->
    {_Address, Port} = megaphone_test_stage:target(Config),
    lists:flatten([Server, ":", integer_to_list(Port), Path]).

random_file(Config, Name, Size) ->
    Unique = integer_to_list(erlang:unique_integer([positive])),
    Path = filename:join(proplists:get_value(priv_dir, Config), Name ++ Unique),
    ok = file:write_file(Path, rand:bytes(Size)),
    {Path, Size}.

assert_same(Sent, Received) ->
    {ok, SentBytes} = file:read_file(Sent),
    {ok, ReceivedBytes} = file:read_file(Received),
    ?assert(SentBytes =:= ReceivedBytes, "what was received is what was sent").

log_path(Config) ->
    filename:join(proplists:get_value(priv_dir, Config), "clients.log").
