%% @doc Asks mod_http_upload for a slot (XEP-0363).
-module(megaphone_test_upload).

-export([slot/3, request/4]).

%% @doc The path to which a file of that name and size may be put, and where it may be got then. The
%% slot is a new user's, asked for over WebSocket.
-spec slot([{atom(), term()}], Name :: iodata(), Size :: non_neg_integer()) -> string().
slot(Config, Name, Size) ->
    Client = megaphone_test_xmpp:login(megaphone_test_websocket, megaphone_test_stage:target(Config),
                                       megaphone_test_stage:user(Config, <<"upload">>)),
    {#{put := Put}, Answered} = request(Client, "upload.localhost", Name, Size),
    ok = megaphone_test_xmpp:logout(Answered),
    #{path := Path} = uri_string:parse(Put),
    Path.

%% @doc The URLs of a slot of the client's.
-spec request(megaphone_test_xmpp:client(), Service :: iodata(), Name :: iodata(), Size :: non_neg_integer()) ->
          {#{put := string(), get := string()}, megaphone_test_xmpp:client()}.
request(Client, Service, Name, Size) ->
    {Answer, Answered} =
        megaphone_test_xmpp:request(
          Client, {"get", ["to='", Service, "'"],
                   ["<request xmlns='urn:xmpp:http:upload:0' filename='", megaphone_test_xml:escape(Name),
                    "' size='", integer_to_list(Size), "'/>"]}),
    Slot = megaphone_test_xml:child(<<"slot">>, Answer),
    Url = fun(Element) ->
                  uri(megaphone_test_xml:attribute(<<"url">>, megaphone_test_xml:child(Element, Slot)))
          end,
    {#{put => Url(<<"put">>), get => Url(<<"get">>)}, Answered}.

%% Newer ejabberds write an IRI, of which a client makes a URI (RFC 3987, 3.1).
uri(Iri) ->
    lists:append([case Byte < 128 of
                      true -> [Byte];
                      false -> [$% | binary_to_list(binary:encode_hex(<<Byte>>))]
                  end || <<Byte>> <= Iri]).
