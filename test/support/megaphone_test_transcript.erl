%% @doc An XMPP client that writes down all that its server says, in lines that can be compared: those of two
%% ways to the same server, say. It never fails by what it gets. What differs each time (identifiers, nonces,
%% times) is left out.
-module(megaphone_test_transcript).

-export([open/2, open/3, header/1, login/2, login/3, send/2, recv/1, sync/1, drain/1, restart/1, plain/2,
         plain/3, scram/3, bind/2, close/1, drop/1, last/1, lines/1]).

-export_type([client/0, way/0]).

-define(TIMEOUT, 5000).
-define(NS_SASL, "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'").

%% By what the client talks and where to, with the transport's options, and how long it waits for more
%% (milliseconds).
-type way() :: #{transport := megaphone_test_xmpp:transport(), target := megaphone_test_http:target(),
                 options => map(), patience => pos_integer(), _ => _}.
%% `state' is the transport's, `none' once the connection is over. `last' is the last element.
-type client() :: #{transport := megaphone_test_xmpp:transport(), state := map() | none,
                    patience := pos_integer(), lines := [iodata()], last := megaphone_test_xml:element() | none,
                    syncs := non_neg_integer()}.

%% @doc Opens a stream to localhost; what comes next are its features.
-spec open(way(), Name :: iodata()) -> client().
open(Way, Name) ->
    open(Way, Name, <<"localhost">>).

-spec open(way(), Name :: iodata(), Host :: binary()) -> client().
open(#{transport := Transport, target := Target} = Way, Name, Host) ->
    Client = #{transport => Transport, state => none, patience => maps:get(patience, Way, ?TIMEOUT),
               lines => [[Name, " opens"]], last => none, syncs => 0},
    case Transport:open(Target, Host, maps:get(options, Way, #{})) of
        {ok, State} -> Client#{state := State};
        {error, Reason} -> ended(Client, Reason)
    end.

%% @doc Writes down the attributes of the server's stream, or of the answer that made the session.
-spec header(client()) -> client().
header(#{state := none} = Client) ->
    Client;
header(#{transport := Transport, state := State} = Client) ->
    Attributes = [[Name, "='", case lists:member(Name, [<<"id">>, <<"sid">>, <<"authid">>]) of
                                   true -> "...";
                                   false -> Value
                               end, "'"] || {Name, Value} <- lists:sort(Transport:header(State))],
    lists:foldl(fun(Attribute, Before) -> note(["header ", Attribute], Before) end, Client, Attributes).

%% @doc A client that has logged in and bound the resource `test'; nothing of that is written down.
-spec login(way(), User :: binary()) -> client().
login(Way, User) ->
    login(Way, User, <<"test">>).

-spec login(way(), User :: binary(), Resource :: binary()) -> client().
login(Way, User, Resource) ->
    Bound = bind(recv(restart(plain(recv(open(Way, User)), User))), Resource),
    Bound#{lines := [[User, " logs in"]]}.

%% @doc Sends XML, right or wrong.
-spec send(client(), iodata()) -> client().
send(#{state := none} = Client, _Xml) ->
    Client;
send(#{transport := Transport, state := State} = Client, Xml) ->
    case Transport:send(State, Xml) of
        {ok, Sent} -> Client#{state := Sent};
        {error, {Answer, _} = Reason} when Answer =:= terminated; Answer =:= unexpected_response ->
            ended(Client, Reason);
        %% What the server has said before is there to be read.
        {error, _} -> Client
    end.

%% @doc Writes down the next element, or the connection's end.
-spec recv(client()) -> client().
recv(#{state := none} = Client) ->
    Client;
recv(#{transport := Transport, state := State, patience := Patience} = Client) ->
    case Transport:recv(State, Patience) of
        {ok, Element, Received} -> note(text(Element), Client#{state := Received, last := Element});
        {error, Reason} -> ended(Client, Reason)
    end.

%% @doc Writes down all that comes up to the answer of a ping, which is not.
-spec sync(client()) -> client().
sync(#{syncs := Syncs} = Client) ->
    Id = <<"sync-", (integer_to_binary(Syncs))/binary>>,
    await_sync(send(Client#{syncs := Syncs + 1},
                    ["<iq xmlns='jabber:client' type='get' to='localhost' id='", Id,
                     "'><ping xmlns='urn:xmpp:ping'/></iq>"]), Id).

%% @doc Writes down all that comes up to the connection's end.
-spec drain(client()) -> client().
drain(#{state := none} = Client) ->
    Client;
drain(Client) ->
    drain(recv(Client)).

%% @doc Opens the stream anew.
-spec restart(client()) -> client().
restart(#{state := none} = Client) ->
    Client;
restart(#{transport := Transport, state := State} = Client) ->
    case Transport:restart(State) of
        {ok, Restarted} -> Client#{state := Restarted};
        {error, Reason} -> ended(Client, Reason)
    end.

%% @doc SASL PLAIN (RFC 4616), and its answer.
-spec plain(client(), User :: binary()) -> client().
plain(Client, User) ->
    plain(Client, User, <<"megaphone">>).

-spec plain(client(), User :: binary(), Password :: binary()) -> client().
plain(Client, User, Password) ->
    recv(send(Client, ["<auth " ?NS_SASL " mechanism='PLAIN'>",
                       base64:encode(<<0, User/binary, 0, Password/binary>>), "</auth>"])).

%% @doc SASL SCRAM-SHA-1, and its answers.
-spec scram(client(), User :: binary(), Password :: binary()) -> client().
scram(Client, User, Password) ->
    Bare = megaphone_test_scram:first(User),
    Challenged = recv(send(Client, ["<auth " ?NS_SASL " mechanism='SCRAM-SHA-1'>",
                                    base64:encode(<<"n,,", Bare/binary>>), "</auth>"])),
    case Challenged of
        #{last := {xmlel, <<"challenge">>, _, _} = Challenge} ->
            First = base64:decode(megaphone_test_xml:text(Challenge)),
            {Final, _} = megaphone_test_scram:final(<<"n,,">>, Bare, First, Password),
            recv(send(Challenged, ["<response " ?NS_SASL ">", base64:encode(Final), "</response>"]));
        _ ->
            Challenged
    end.

%% @doc Binds a resource (RFC 6120, 7).
-spec bind(client(), Resource :: binary()) -> client().
bind(Client, Resource) ->
    recv(send(Client, ["<iq xmlns='jabber:client' type='set' id='bind'>"
                       "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>", Resource,
                       "</resource></bind></iq>"])).

%% @doc Ends the stream as the transport's specification says; how that went.
-spec close(client()) -> client().
close(#{state := none} = Client) ->
    Client;
close(#{transport := Transport, state := State} = Client) ->
    Line = case Transport:close(State) of
               ok -> "closes";
               {error, Reason} -> io_lib:format("fails to close: ~0p", [Reason])
           end,
    note(Line, Client#{state := none}).

%% @doc Leaves without a word.
-spec drop(client()) -> client().
drop(#{state := none} = Client) ->
    Client;
drop(#{transport := Transport, state := State} = Client) ->
    ok = Transport:drop(State),
    note("leaves", Client#{state := none}).

%% @doc The last element that came.
-spec last(client()) -> megaphone_test_xml:element() | none.
last(#{last := Last}) ->
    Last.

%% @doc All that was written down.
-spec lines(client()) -> [binary()].
lines(#{lines := Lines}) ->
    [iolist_to_binary(Line) || Line <- lists:reverse(Lines)].

note(Line, #{lines := Lines} = Client) ->
    Client#{lines := [Line | Lines]}.

await_sync(Client, Id) ->
    #{lines := Lines} = Client,
    case recv(Client) of
        #{state := none} = Ended ->
            Ended;
        #{last := Element} = Received ->
            case megaphone_test_xml:attribute(<<"id">>, Element) of
                Id -> Received#{lines := Lines};
                _ -> await_sync(Received, Id)
            end
    end.

%% The ends are said in the transports' own words.
ended(Client, {expected_element, {xmlstreamend, _}}) ->
    note("the stream is closed", ended(Client));
ended(Client, {unexpected, close, <<Code:16, _Text/binary>>}) ->
    note(io_lib:format("the WebSocket is closed with ~b", [Code]), ended(Client));
ended(Client, {terminated, Condition}) ->
    note(["the session is over: ", Condition], ended(Client));
ended(Client, {unexpected_response, #{status := Status}}) ->
    note(io_lib:format("HTTP ~b", [Status]), ended(Client));
ended(Client, {expected_open, Element}) ->
    note(["instead of <open/>: ", text(Element)], ended(Client));
ended(Client, econnreset) ->
    note("closed", ended(Client));
ended(Client, Reason) ->
    note(io_lib:format("~0p", [Reason]), ended(Client)).

ended(#{state := none} = Client) ->
    Client;
ended(#{transport := Transport, state := State} = Client) ->
    ok = Transport:drop(State),
    Client#{state := none}.

text({error, Reason}) ->
    io_lib:format("~0p", [Reason]);
text(Element) ->
    fxml:element_to_binary(plainly(Element)).

%% Attributes in order, and without what differs each time.
plainly({xmlel, <<"stream:error">>, Attributes, Children}) ->
    %% Its text is for people.
    {xmlel, <<"stream:error">>, Attributes,
     [plainly(Child) || {xmlel, Name, _, _} = Child <- Children, Name =/= <<"text">>]};
plainly({xmlel, Name, Attributes, Children}) ->
    {xmlel, Name, lists:sort([{Key, value(Name, Key, Value)} || {Key, Value} <- Attributes]),
     case lists:member(Name, [<<"challenge">>, <<"success">>]) of
         true -> [{xmlcdata, <<"...">>} || _ <- Children];
         false -> joined([plainly(Child) || Child <- Children])
     end};
plainly({xmlcdata, _} = Text) ->
    Text.

joined([{xmlcdata, First}, {xmlcdata, Second} | Rest]) -> joined([{xmlcdata, <<First/binary, Second/binary>>} | Rest]);
joined([Child | Rest]) -> [Child | joined(Rest)];
joined([]) -> [].

value(<<"iq">>, <<"id">>, <<"push", _/binary>>) -> <<"push...">>;
value(<<"enabled">>, <<"id">>, _) -> <<"...">>;
value(<<"resumed">>, <<"previd">>, _) -> <<"...">>;
value(<<"open">>, <<"id">>, _) -> <<"...">>;
value(<<"delay">>, <<"stamp">>, _) -> <<"...">>;
value(<<"c">>, <<"ver">>, _) -> <<"...">>;
value(_, _, Value) -> Value.
