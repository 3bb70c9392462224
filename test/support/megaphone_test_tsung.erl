%% @doc Tsung, a load generator: users who log in, write to a friend, and wait for the answer to each message.
-module(megaphone_test_tsung).

-export([start/2, stop/1]).

-export_type([run/0]).

%% `type' is what Tsung calls the server's: tcp, bosh or websocket.
-type settings() :: #{type := string(), port := inet:port_number(), users := [binary()], friend := binary(),
                      messages := pos_integer()}.
-opaque run() :: #{program := megaphone_test_program:program(), folder := file:name(), epmd := string()}.

%% RFC 7395's <open/> and <auth/>: Tsung's own requests begin a stream as TCP has it.
-define(OPEN, "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>").
-define(AUTH, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%%_plain%%</auth>").

%% @doc Starts it in a folder of its own.
-spec start(file:name(), settings()) -> run().
start(Folder, #{type := Type, users := Users} = Settings) ->
    {ok, Template} = file:read_file(filename:join(megaphone_test_clients:folder(), "tsung.xml.in")),
    Values = [{"TYPE", Type}, {"PORT", integer_to_list(maps:get(port, Settings))},
              {"USERS", integer_to_list(length(Users))}, {"FRIEND", maps:get(friend, Settings)},
              {"MESSAGES", integer_to_list(maps:get(messages, Settings))}, {"FOLDER", Folder}, {"LOGIN", login(Type)},
              {"MATCH", match(Type)}],
    Xml = lists:foldl(fun({Name, Value}, Text) -> string:replace(Text, ["@", Name, "@"], Value, all) end,
                      Template, Values),
    [Configuration, Csv] = [filename:join(Folder, Name) || Name <- ["tsung.xml", "users.csv"]],
    ok = filelib:ensure_dir(Csv),
    ok = file:write_file(Configuration, Xml),
    ok = file:write_file(Csv, [[User, ",megaphone,", base64:encode(<<0, User/binary, 0, "megaphone">>), "\n"]
                               || User <- Users]),
    %% Erlang's distribution, which it can't do without, has a daemon of its own and a node's name of its own.
    Epmd = integer_to_list(megaphone_test_port:free()),
    {ok, Program} = megaphone_test_program:start(
                      os:find_executable("tsung"), ["-n", "-i", Type, "-f", Configuration, "-l", Folder, "start"],
                      #{log => filename:join(Folder, "output.log"),
                        env => [{"HOME", Folder}, {"ERL_EPMD_PORT", Epmd}, {"ERL_FLAGS", false}, {"ERL_LIBS", false}]}),
    #{program => Program, folder => Folder, epmd => Epmd}.

%% @doc Waits for its end, and answers the sums of what it has counted; `match' is how many answers were right, which
%% it does not look at over WebSocket.
-spec stop(run()) -> #{Name :: string() => integer()}.
stop(#{program := Program, folder := Folder, epmd := Epmd}) ->
    try
        0 = megaphone_test_program:await_exit(Program, 40_000),
        [Log] = filelib:wildcard(filename:join([Folder, "*", "tsung.log"])),
        {ok, Text} = file:read_file(Log),
        {match, Counted} = re:run(Text, "^stats: (\\w+) \\d+ (\\d+)$",
                                  [multiline, global, {capture, all_but_first, list}]),
        %% The last ones count.
        maps:from_list([{Name, list_to_integer(Total)} || [Name, Total] <- Counted])
    after
        megaphone_test_program:kill(Program),
        _ = os:cmd("epmd -port " ++ Epmd ++ " -kill")
    end.

login("websocket") ->
    [raw(?OPEN), thinktime(), raw(?AUTH), raw(?OPEN)];
login(_) ->
    [request("<jabber type=\"connect\" ack=\"local\">"
             "<xmpp_authenticate username=\"%%_user%%\" passwd=\"%%_password%%\"/></jabber>"),
     thinktime(),
     request("<jabber type=\"auth_sasl\" ack=\"local\"/>"),
     request("<jabber type=\"connect\" ack=\"local\"/>")].

%% Over WebSocket Tsung takes the first of the frames that came together, and the next one when more comes: it is
%% always behind.
match("websocket") ->
    "";
match(_) ->
    "<match do=\"log\" when=\"nomatch\" subst=\"true\">you said: number %%_number%% of %%_user%%</match>".

raw(Data) ->
    request(["<jabber type=\"raw\" ack=\"local\" data=\"", megaphone_test_xml:escape(Data), "\"/>"]).

request(Jabber) ->
    ["<request subst=\"true\">", Jabber, "</request>\n"].

thinktime() ->
    "<thinktime value=\"1\"/>\n".
