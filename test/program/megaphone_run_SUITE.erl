%% `make run`, as a newcomer starts it: each line that it prints is used as it is printed.
-module(megaphone_run_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([every_line_has_its_case/1, chat_page_over_websocket/1, chat_page_over_bosh/1, bosh/1, websocket/1, xmpp/1,
         host_meta/1, api/1, uploads/1, files/1, https/1, wss/1, certificate/1, trunk/1, metrics_and_health/1,
         users_and_password/1, make_status/1, ctrl_c/1]).

-import(megaphone_test_run, [line/2]).

-define(LINES, ["chat in a browser", "BOSH", "WebSocket", "XMPP", "host-meta", "API", "uploads (XEP-0363)", "files",
                "all of HTTP by TLS", "certificate", "trunk", "metrics, health", "users", "password"]).

suite() ->
    [{timetrap, {seconds, 90}}].

%% One after another, as all are alice and bob.
all() ->
    [{group, lines}, ctrl_c].

groups() ->
    [{lines, [], [every_line_has_its_case, chat_page_over_websocket, chat_page_over_bosh, bosh, websocket, xmpp,
                  host_meta, api, uploads, files, https, wss, certificate, trunk, metrics_and_health,
                  users_and_password, make_status]}].

init_per_suite(Config) ->
    ct:timetrap({minutes, 6}),
    %% A space, as there may be one in the path of a home.
    Dir = filename:join(proplists:get_value(priv_dir, Config), "make run"),
    [{run, megaphone_test_run:start(Dir, [{"USERS", "3"}])} | Config].

end_per_suite(Config) ->
    megaphone_test_run:stop(run(Config)).

init_per_testcase(Case, Config) ->
    megaphone_test_clients:need(needed(Case), Config).

end_per_testcase(_Case, _Config) ->
    ok.

needed(chat_page_over_websocket) -> [{"chromium", "chromium"}];
needed(chat_page_over_bosh) -> [{"chromium", "chromium"}];
needed(_) -> [].

%% Confirms that there is no line that no case uses.
every_line_has_its_case(Config) ->
    ?assertEqual(?LINES, megaphone_test_run:names(run(Config))).

%% Confirms that two users of the chat page see each other come and go and get each other's messages.
chat_page_over_websocket(Config) ->
    chat_page("websocket", Config).

chat_page_over_bosh(Config) ->
    chat_page("bosh", Config).

chat_page(Transport, Config) ->
    [Alice, Bob | _] = [User || {User, _Host} <- jids(Config)],
    Url = line("chat in a browser", run(Config)),
    ?assertEqual(<<>>, client(node, ["chat-page.js", Url, Transport, Alice, Bob, password(Config)], [], Config)).

bosh(Config) ->
    strophe(line("BOSH", run(Config)), [], Config).

websocket(Config) ->
    strophe(line("WebSocket", run(Config)), [], Config).

%% Confirms that two clients that want TLS, and trust the certificate alone that is printed, chat.
xmpp(Config) ->
    ["localhost", Port] = string:split(capture("XMPP", "^(\\S+), with STARTTLS$", Config), ":"),
    [Alice, Bob | _] = [User ++ "@" ++ Host || {User, Host} <- jids(Config)],
    _ = client(python, ["chat.py", "chat", "starttls", "localhost", Port, certificate_file(Config), password(Config),
                        Alice, Bob], [], Config),
    ok.

%% Confirms that what a client finds by asking there is what is printed.
host_meta(Config) ->
    Url = line("host-meta", run(Config)),
    #{<<"links">> := Links} = megaphone_test_json:decode(curl([Url ++ ".json"], Config)),
    Xml = curl([Url], Config),
    [begin
         Printed = list_to_binary(line(Name, run(Config))),
         Link = #{<<"rel">> => <<"urn:xmpp:alt-connections:", Kind/binary>>, <<"href">> => Printed},
         ?assert(lists:member(Link, Links)),
         ?assertMatch({_, _}, binary:match(Xml, <<"href='", Printed/binary, "'">>))
     end || {Name, Kind} <- [{"BOSH", <<"xbosh">>}, {"WebSocket", <<"websocket">>}]].

api(Config) ->
    ?assertMatch({_, _}, binary:match(curl([line("API", run(Config))], Config), <<"is started">>)).

%% Confirms that a user gets a slot, that its URLs are what is printed, and that a file whose name needs care is
%% put there, with Expect: 100-continue (RFC 9110, 10.1.1), and got whole.
uploads(Config) ->
    [Service, Below] = string:split(line("uploads (XEP-0363)", run(Config)), "    gives URLs below "),
    [{Alice, _} | _] = jids(Config),
    Client = megaphone_test_xmpp:login(megaphone_test_websocket, target("WebSocket", Config), list_to_binary(Alice),
                                       #{password => list_to_binary(password(Config))}),
    Left = lists:foldl(
             fun({Name, Size}, Before) ->
                     {#{put := Put, get := Get}, After} = megaphone_test_upload:request(Before, Service, Name, Size),
                     [?assertEqual(Below, string:slice(Url, 0, length(Below))) || Url <- [Put, Get]],
                     put_and_get(Put, Get, rand:bytes(Size)),
                     After
             end, Client, [{<<"Grüße aus Köln (1).txt"/utf8>>, 200_000}, {<<"one byte">>, 1},
                           {<<"日本語 100% & '+#.png"/utf8>>, 70_000}]),
    ok = megaphone_test_xmpp:logout(Left).

put_and_get(Put, Get, Bytes) ->
    {Connection, Path} = connect(Put),
    Length = integer_to_list(byte_size(Bytes)),
    Head = ["PUT ", Path, " HTTP/1.1\r\nHost: ", host(Put), "\r\nContent-Length: ", Length, "\r\n"
            "Expect: 100-continue\r\n\r\n"],
    ok = megaphone_test_http:send(Connection, Head),
    ?assertMatch(#{status := 100}, megaphone_test_http:recv(Connection, "PUT"), Put),
    ok = megaphone_test_http:send(Connection, Bytes),
    ?assertMatch(#{status := 201}, megaphone_test_http:recv(Connection, "PUT"), Put),
    ok = megaphone_test_http:close(Connection),
    {Reader, GetPath} = connect(Get),
    Asked = megaphone_test_http:request(Reader, "HEAD", GetPath, []),
    ?assertMatch(#{status := 200}, Asked, Get),
    ?assertEqual(list_to_binary(Length), megaphone_test_http:header(<<"content-length">>, Asked), Get),
    ?assertMatch(#{status := 200, body := Bytes}, megaphone_test_http:request(Reader, "GET", GetPath, []), Get),
    ok = megaphone_test_http:close(Reader).

%% Confirms that a file in the folder is served under the URL.
files(Config) ->
    [Url, Folder] = string:split(line("files", run(Config)), "    from "),
    Name = "served.txt",
    ok = file:write_file(filename:join(Folder, Name), <<"a file">>),
    ?assertEqual(<<"a file">>, curl([string:replace(Url, "NAME", Name)], Config)).

%% Confirms that each kind of HTTP that is printed is there by TLS too, with the certificate that is printed.
https(Config) ->
    [Base, _] = tls_urls(Config),
    [begin
         #{path := Path} = uri_string:parse(line(Name, run(Config))),
         ?assertEqual(<<"200">>, curl(["--cacert", certificate_file(Config), "--output", "/dev/null",
                                       "--write-out", "%{http_code}", Base ++ Path], Config), Name)
     end || Name <- ["chat in a browser", "BOSH", "API", "host-meta"]].

wss(Config) ->
    [_, Url] = tls_urls(Config),
    strophe(Url, [{"NODE_EXTRA_CA_CERTS", certificate_file(Config)}], Config).

tls_urls(Config) ->
    string:split(line("all of HTTP by TLS", run(Config)), ", ").

%% Confirms that the certificate is one for localhost.
certificate(Config) ->
    {ok, Pem} = file:read_file(certificate_file(Config)),
    [{'Certificate', Der, not_encrypted}] = public_key:pem_decode(Pem),
    ?assert(public_key:pkix_verify_hostname(public_key:pkix_decode_cert(Der, otp), [{dns_id, "localhost"}])).

%% Confirms that an ECM, of whichever version, may bring its trunk there.
trunk(Config) ->
    ["127.0.0.1", Port] = string:split(line("trunk", run(Config)), ":"),
    Trunk = megaphone_test_trunk:connect({{127, 0, 0, 1}, list_to_integer(Port)}),
    Request = megaphone_test_http:encode("GET", "/api/status", [], <<>>),
    {ok, 200, _, Answered} = megaphone_test_trunk:request(Trunk, megaphone_test_trunk:id(1), Request),
    ok = megaphone_test_trunk:close(Answered).

metrics_and_health(Config) ->
    [Metrics, Health] = string:split(line("metrics, health", run(Config)), ", "),
    ?assertMatch({_, _}, binary:match(curl([Metrics], Config), <<"\nmegaphone_ecm_trunks_up 1\n">>)),
    ?assertEqual(<<"200">>, curl(["--output", "/dev/null", "--write-out", "%{http_code}", Health], Config)).

%% Confirms that each user who is named logs in with the password.
users_and_password(Config) ->
    ["alice@localhost", "bob@localhost", "carol@localhost", "user0 to user2"] =
        string:split(line("users", run(Config)), ", ", all),
    Users = [User || {User, _} <- jids(Config)] ++ ["user0", "user1", "user2"],
    [ok = megaphone_test_xmpp:logout(
            megaphone_test_xmpp:login(megaphone_test_bosh, target("BOSH", Config), list_to_binary(User),
                                      #{password => list_to_binary(password(Config))}))
     || User <- Users].

%% Confirms that it counts the ECM's trunks.
make_status(Config) ->
    {0, Output} = megaphone_test_run:make("status", run(Config)),
    {match, [Trunks]} = re:run(Output, "\\btrunks => (\\d+)", [{capture, all_but_first, list}]),
    ?assert(list_to_integer(Trunks) > 0, Output).

%% Confirms that Ctrl-C ends it in order, all of it, and leaves what was written.
ctrl_c(Config) ->
    Run = run(Config),
    ?assertMatch({match, _}, re:run(megaphone_test_run:output(Run),
                                    ["Ctrl-C ends it all; what is in ", megaphone_test_run:dir(Run), " stays\\."])),
    Uploaded = filelib:wildcard("upload/*/*/*", megaphone_test_run:dir(Run)),
    {Status, Output} = megaphone_test_run:interrupt(Run),
    ?assertEqual(0, Status, Output),
    ?assertMatch({match, _}, re:run(Output, "stopping\r?\nstopped\r?\n$"), Output),
    ?assertEqual([], [Line || Line <- string:lexemes(os:cmd("ps -e -o args="), "\n"),
                              string:find(Line, megaphone_test_run:dir(Run)) =/= nomatch]),
    ?assertEqual(Uploaded, filelib:wildcard("upload/*/*/*", megaphone_test_run:dir(Run))).

%% Two users of strophe.js.
strophe(Url, Environment, Config) ->
    [Alice, Bob | _] = [User ++ "@" ++ Host || {User, Host} <- jids(Config)],
    ?assertEqual(<<>>, client(node, ["chat.js", "strophe", Url, Alice, Bob, password(Config), "10"], Environment,
                              Config)).

client(Language, Arguments, Environment, Config) ->
    megaphone_test_clients:run(Language, Arguments, Environment, Config).

curl(Arguments, Config) ->
    {Status, Output} = megaphone_test_program:run(
                         os:find_executable("curl"), ["--silent", "--show-error", "--max-time", "25" | Arguments],
                         #{log => filename:join(proplists:get_value(priv_dir, Config), "curl.log")}),
    ?assertEqual(0, Status, Output),
    Output.

%% The users whom the line names with their hosts.
jids(Config) ->
    {match, Jids} = re:run(line("users", run(Config)), "(\\w+)@(\\w+)", [global, {capture, all_but_first, list}]),
    [{User, Host} || [User, Host] <- Jids].

password(Config) ->
    line("password", run(Config)).

certificate_file(Config) ->
    line("certificate", run(Config)).

%% Where the URL behind a name leads.
target(Name, Config) ->
    #{host := Host, port := Port} = uri_string:parse(line(Name, run(Config))),
    {Host, Port}.

connect(Url) ->
    #{host := Host, port := Port, path := Path} = uri_string:parse(Url),
    {megaphone_test_http:connect({Host, Port}), Path}.

host(Url) ->
    #{host := Host, port := Port} = uri_string:parse(Url),
    [Host, ":", integer_to_list(Port)].

capture(Name, Pattern, Config) ->
    {match, [Captured]} = re:run(line(Name, run(Config)), Pattern, [{capture, all_but_first, list}]),
    Captured.

run(Config) ->
    proplists:get_value(run, Config).
