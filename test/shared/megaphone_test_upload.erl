%% @doc Asks mod_http_upload for a slot (XEP-0363).
-module(megaphone_test_upload).

-export([slot/3]).

%% @doc The path to which a file of that name and size may be put, and where it may be got then. The
%% slot is a new user's, asked for over WebSocket.
-spec slot([{atom(), term()}], Name :: iodata(), Size :: non_neg_integer()) -> string().
slot(Config, Name, Size) ->
    Client = megaphone_test_xmpp:login(megaphone_test_websocket, megaphone_test_stage:target(Config),
                                       megaphone_test_stage:user(Config, <<"upload">>)),
    {Answer, Answered} =
        megaphone_test_xmpp:request(
          Client, {"get", "to='upload.localhost'",
                   ["<request xmlns='urn:xmpp:http:upload:0' filename='", Name,
                    "' size='", integer_to_list(Size), "'/>"]}),
    ok = megaphone_test_xmpp:logout(Answered),
    Put = megaphone_test_xml:child(<<"put">>, megaphone_test_xml:child(<<"slot">>, Answer)),
    #{path := Path} = uri_string:parse(megaphone_test_xml:attribute(<<"url">>, Put)),
    binary_to_list(Path).
