%% @doc A BOSH client (XEP-0124, XEP-0206) that does all that networks and clients do to requests: they are
%% sent late or in another order, twice, in pieces or half, on connections that break. It keeps the rules
%% that bind a client, and checks those that bind the server as answers come.
%%
%% A process a connection reads; the answers come to the process that owns the client.
-module(prop_bosh_client).

-export([login/4, jid/1, make/4, transmit/3, repeat/3, repeat_answered/3, cut/2, break/2, poll/1, settle/1,
         deliver/3, owns/2, unsent/1, unanswered/1, received/1, sent/1, hold/1, terminate/1, close/1]).

-export_type([client/0, setup/0, how/0]).

-define(NS, "xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'").
-define(FIRST, 1000).
%% More requests than a test can have.
-define(KEYS, 400).
%% How long an answer that is due may take (milliseconds).
-define(PATIENCE, 5000).

-type setup() :: #{wait := pos_integer(), hold := 0..3, acks := used | unused, keys := used | unused,
                   %% What happens to the requests of the login.
                   login := [login_fault()]}.
-type login_fault() :: none | twice | lost | half.
%% How a request is sent: as it is, with a body in chunks, in two pieces, or behind another one on the same
%% connection.
-type how() :: plain | chunked | pieces | pipelined.
-type rid() :: pos_integer().
-type connection() :: #{reader := pid(), socket := gen_tcp:socket(),
                        %% The requests that it has no answer to, the oldest first.
                        waiting := [rid()]}.
-type client() :: #{target := megaphone_test_http:target(), setup := setup(), jid := binary(),
                    sid := binary(), window := pos_integer(),
                    %% The bodies of all requests, and of those whose answers came.
                    made := #{rid() => iodata()}, answers := #{rid() => binary()},
                    next := rid(),
                    %% Requests that were made and not sent.
                    unsent := [rid()],
                    connections := [connection()],
                    %% Answers are processed in order, up to this one.
                    processed := rid(),
                    %% The numbers of the messages that came, and all else, the newest first.
                    received := [pos_integer()], others := [megaphone_test_xml:element()],
                    %% How many messages it has sent.
                    sent := non_neg_integer(),
                    keys := [binary()]}.

%% @doc A client that has logged in, whatever befell the requests of that.
-spec login(megaphone_test_http:target(), User :: binary(), Resource :: binary(), setup()) -> client().
login(Target, User, Resource, #{login := [AuthFault, RestartFault, BindFault]} = Setup) ->
    Plain = base64:encode(<<0, User/binary, 0, "megaphone">>),
    Opened = create(Target, Setup),
    Authenticated = login_step(AuthFault, [], ["<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>",
                                               Plain, "</auth>"], <<"success">>, Opened),
    Restarted = login_step(RestartFault, [{"to", "localhost"}, {"xmpp:restart", "true"}], [],
                           <<"stream:features">>, Authenticated),
    Bound = login_step(BindFault, [], ["<iq xmlns='jabber:client' type='set' id='b'>"
                                       "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>", Resource,
                                       "</resource></bind></iq>"], <<"iq">>, Restarted),
    Bound#{jid := <<User/binary, "@localhost/", Resource/binary>>}.

-spec jid(client()) -> binary().
jid(#{jid := Jid}) ->
    Jid.

%% @doc Makes a request with so many messages, unless as many as may be are unanswered. It is not sent yet.
-spec make(client(), To :: binary(), Count :: non_neg_integer(), [{string(), iodata()}]) -> client().
make(Client, To, Count, Attributes) ->
    case has_room(Client) of
        true ->
            #{sent := Sent} = Client,
            Payload = [message(To, Number) || Number <- lists:seq(Sent + 1, Sent + Count)],
            make_body(Client#{sent := Sent + Count}, Attributes, Payload);
        false ->
            Client
    end.

%% @doc Sends one of those that were made and not sent.
-spec transmit(client(), Index :: non_neg_integer(), how()) -> client().
transmit(#{unsent := Unsent} = Client, Index, How) ->
    choose(Index, Unsent, Client,
           fun(Rid) -> send(Client#{unsent := lists:delete(Rid, Unsent)}, Rid, How) end).

%% @doc Sends one again whose answer has not come.
-spec repeat(client(), Index :: non_neg_integer(), how()) -> client().
repeat(Client, Index, How) ->
    choose(Index, unanswered(Client) -- unsent(Client), Client, fun(Rid) -> send(Client, Rid, How) end).

%% @doc Sends one again whose answer has come, and is among those that the server has to keep (XEP-0124,
%% 14.3). With acknowledgements it keeps none of those that the client says it has.
-spec repeat_answered(client(), Index :: non_neg_integer(), how()) -> client().
repeat_answered(#{answers := Answers, next := Next, window := Window, setup := #{acks := unused}} = Client,
                Index, How) ->
    Kept = [Rid || Rid <- lists:seq(max(?FIRST + 1, Next - Window), Next - 1), is_map_key(Rid, Answers)],
    choose(Index, Kept, Client, fun(Rid) -> send(Client, Rid, How) end);
repeat_answered(Client, _Index, _How) ->
    Client.

%% @doc Sends half of a request on a connection that breaks then.
-spec cut(client(), Index :: non_neg_integer()) -> client().
cut(#{target := Target, made := Made} = Client, Index) ->
    choose(Index, unanswered(Client), Client,
           fun(Rid) ->
                   Bytes = iolist_to_binary(encode(maps:get(Rid, Made), plain)),
                   Connection = megaphone_test_http:connect(Target),
                   ok = megaphone_test_http:send(Connection, binary:part(Bytes, 0, byte_size(Bytes) div 2)),
                   ok = megaphone_test_http:close(Connection),
                   Client
           end).

%% @doc One of its connections breaks, wherever its requests or answers are.
-spec break(client(), Index :: non_neg_integer()) -> client().
break(#{connections := Connections} = Client, Index) ->
    choose(Index, Connections, Client,
           fun(Connection) ->
                   ok = disconnect(Connection),
                   Client#{connections := lists:delete(Connection, Connections)}
           end).

%% @doc Makes an empty request, if none is unanswered.
-spec poll(client()) -> client().
poll(Client) ->
    case unanswered(Client) of
        [] -> make(Client, <<>>, 0, []);
        [_ | _] -> Client
    end.

%% @doc Sends all that was not sent, and again all whose connections broke.
-spec settle(client()) -> client().
settle(#{connections := Connections} = Client) ->
    Waiting = lists:append([Rids || #{waiting := Rids} <- Connections]),
    lists:foldl(fun(Rid, Before) -> send(Before, Rid, plain) end, Client#{unsent := []},
                unanswered(Client) -- Waiting).

%% @doc Takes a reader's message; owns/2 says whose it is.
-spec deliver(client(), Reader :: pid(), megaphone_test_http:response() | {error, term()}) -> client().
deliver(#{connections := Connections} = Client, Reader, #{status := 200, body := Body}) ->
    [#{waiting := [Rid | Waiting]} = Connection] = [C || #{reader := R} = C <- Connections, R =:= Reader],
    Others = lists:delete(Connection, Connections),
    process(answered(Client#{connections := Others ++ [Connection#{waiting := Waiting}]}, Rid, Body));
deliver(#{connections := Connections}, Reader, Other) ->
    Waiting = [Rids || #{reader := R, waiting := Rids} <- Connections, R =:= Reader],
    error({expected_answers, Waiting, got, Other}).

%% @doc Whether a process reads for this client.
-spec owns(client(), pid()) -> boolean().
owns(#{connections := Connections}, Reader) ->
    lists:any(fun(#{reader := R}) -> R =:= Reader end, Connections).

-spec unsent(client()) -> [rid()].
unsent(#{unsent := Unsent}) ->
    Unsent.

%% @doc The requests whose answers have not come, sent or not.
-spec unanswered(client()) -> [rid()].
unanswered(#{made := Made, answers := Answers}) ->
    lists:sort(maps:keys(maps:without(maps:keys(Answers), Made))).

%% @doc The numbers of the messages, in the order of the answers.
-spec received(client()) -> [pos_integer()].
received(#{received := Received}) ->
    lists:reverse(Received).

%% @doc How many messages it has sent.
-spec sent(client()) -> non_neg_integer().
sent(#{sent := Sent}) ->
    Sent.

%% @doc How many requests may be held.
-spec hold(client()) -> 0..3.
hold(#{setup := #{hold := Hold}}) ->
    Hold.

%% @doc Ends the session (XEP-0124, 13): each connection gets its answers, the last request that of the end.
-spec terminate(client()) -> ok.
terminate(Client) ->
    #{next := Rid} = Client,
    Made = make_body(Client, [{"type", "terminate"}], []),
    await_end(send(Made#{unsent := []}, Rid, plain), Rid).

%% @doc Leaves without a word.
-spec close(client()) -> ok.
close(#{connections := Connections}) ->
    lists:foreach(fun disconnect/1, Connections).

create(Target, #{wait := Wait, hold := Hold} = Setup) ->
    {NewKey, Keys} = case Setup of
                         #{keys := used} -> keys();
                         #{keys := unused} -> {[], []}
                     end,
    Attributes = [{"to", "localhost"}, {"ver", "1.11"}, {"xmpp:version", "1.0"},
                  {"wait", integer_to_list(Wait)}, {"hold", integer_to_list(Hold)}]
        ++ [{"ack", "1"} || maps:get(acks, Setup) =:= used] ++ NewKey,
    New = #{target => Target, setup => Setup, jid => <<>>, sid => <<>>, window => 1, made => #{}, answers => #{},
            next => ?FIRST, unsent => [], connections => [], processed => ?FIRST - 1, received => [],
            others => [], sent => 0, keys => Keys},
    Asked = send(New#{made := #{?FIRST => body(?FIRST, Attributes, [])}, next := ?FIRST + 1}, ?FIRST, plain),
    #{answers := #{?FIRST := Text}} = Created = await(fun(C) -> unanswered(C) =:= [] end, Asked),
    Body = megaphone_test_xml:parse(Text),
    [Sid, Window, Held] = [megaphone_test_xml:attribute(Name, Body)
                           || Name <- [<<"sid">>, <<"requests">>, <<"hold">>]],
    {Sid, Hold, true} = {Sid, binary_to_integer(Held), Sid =/= <<>>},
    Created#{sid := Sid, window := binary_to_integer(Window), others := []}.

%% XEP-0124, 15: each key is the hash of the one that comes after it.
keys() ->
    Hash = fun(_, [Last | _] = Keys) -> [string:lowercase(binary:encode_hex(crypto:hash(sha, Last))) | Keys] end,
    [First | Keys] = lists:foldl(Hash, [<<"seed">>], lists:seq(1, ?KEYS)),
    {[{"newkey", First}], Keys}.

login_step(Fault, Attributes, Payload, Expected, #{next := Rid, target := Target} = Client) ->
    #{made := #{Rid := Body}} = Made = make_body(Client, Attributes, Payload),
    Unsent = Made#{unsent := []},
    Sent = case Fault of
               none ->
                   send(Unsent, Rid, plain);
               twice ->
                   send(send(Unsent, Rid, plain), Rid, chunked);
               lost ->
                   Connection = megaphone_test_http:connect(Target),
                   ok = megaphone_test_http:send(Connection, encode(Body, plain)),
                   ok = megaphone_test_http:close(Connection),
                   send(Unsent, Rid, pieces);
               half ->
                   send(cut(Unsent, 0), Rid, plain)
           end,
    Has = fun(#{others := Others}) -> lists:keymember(Expected, 2, Others) end,
    Answered = await(Has, Sent),
    Answered#{others := []}.

%% Waits for answers until the client has what it wants, and asks for more as long as it hasn't.
await(Has, Client) ->
    case Has(Client) of
        true ->
            Client;
        false ->
            Asked = settle(poll(Client)),
            Readers = readers(Asked),
            receive
                {?MODULE, Reader, Response} when is_map_key(Reader, Readers) ->
                    await(Has, deliver(Asked, Reader, Response))
            after ?PATIENCE ->
                error({no_answer, unanswered(Asked), maps:with([others, answers], Asked)})
            end
    end.

await_end(#{connections := Connections, answers := Answers} = Client, Last) ->
    case {lists:append([Rids || #{waiting := Rids} <- Connections]), Answers} of
        {[], #{Last := Text}} ->
            {<<"terminate">>, <<>>} = ending(megaphone_test_xml:parse(Text)),
            close(Client);
        {Waiting, _} ->
            Readers = readers(Client),
            receive
                {?MODULE, Reader, #{body := Body}} when is_map_key(Reader, Readers) ->
                    [#{waiting := [Rid | Rest]} = Connection] = [C || #{reader := R} = C <- Connections, R =:= Reader],
                    Others = lists:delete(Connection, Connections),
                    Next = Client#{connections := [Connection#{waiting := Rest} | Others]},
                    await_end(Next#{answers := Answers#{Rid => Body}}, Last)
            after ?PATIENCE ->
                error({no_answer_at_the_end, Waiting})
            end
    end.

readers(#{connections := Connections}) ->
    maps:from_list([{Reader, true} || #{reader := Reader} <- Connections]).

%% The client does not have more requests unanswered than the server allows (XEP-0124, 11): the
%% first of them holds up those behind it.
has_room(#{next := Next, window := Window} = Client) ->
    case unanswered(Client) of
        [First | _] -> Next - First < Window;
        [] -> true
    end.

make_body(#{next := Rid, sid := Sid, made := Made, unsent := Unsent} = Client, Attributes, Payload) ->
    {Key, Keys} = case Client of
                      #{keys := [First | Rest]} -> {[{"key", First}], Rest};
                      #{keys := []} -> {[], []}
                  end,
    Body = body(Rid, [{"sid", Sid} | ack(Client)] ++ Key ++ Attributes, Payload),
    Client#{made := Made#{Rid => Body}, next := Rid + 1, unsent := Unsent ++ [Rid], keys := Keys}.

%% XEP-0124, 9.1: the last request that is answered with all before it, unless it is the one before this.
ack(#{setup := #{acks := used}, next := Rid, processed := Processed}) when Processed =/= Rid - 1 ->
    [{"ack", integer_to_list(Processed)}];
ack(_Client) ->
    [].

body(Rid, Attributes, Payload) ->
    ["<body " ?NS, [[" ", Name, "='", Value, "'"] || {Name, Value} <- [{"rid", integer_to_list(Rid)} | Attributes]],
     ">", Payload, "</body>"].

message(To, Number) ->
    ["<message xmlns='jabber:client' type='chat' to='", To, "' id='", integer_to_list(Number), "'><body>",
     integer_to_list(Number), "</body></message>"].

encode(Body, chunked) ->
    Bytes = iolist_to_binary(Body),
    {First, Second} = split_binary(Bytes, byte_size(Bytes) div 3),
    ["POST /bosh HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
     megaphone_test_http:chunked([First, Second])];
encode(Body, _How) ->
    megaphone_test_http:encode("POST", "/bosh", [{"Content-Type", "text/xml; charset=utf-8"}], Body).

send(#{made := Made} = Client, Rid, How) ->
    {#{socket := Socket, waiting := Waiting} = Connection, Others} = connection(Client, Rid, How),
    Bytes = iolist_to_binary(encode(maps:get(Rid, Made), How)),
    Pieces = case How of
                 pieces -> tuple_to_list(split_binary(Bytes, byte_size(Bytes) div 2));
                 _ -> [Bytes]
             end,
    [ok = megaphone_test_http:send(Socket, Piece) || Piece <- Pieces],
    Client#{connections := Others ++ [Connection#{waiting := Waiting ++ [Rid]}]}.

%% One that has nothing to wait for, or a new one; or one with earlier requests.
connection(#{connections := Connections} = Client, Rid, pipelined) ->
    Fit = [C || #{waiting := [_ | _] = Waiting} = C <- Connections, lists:max(Waiting) =< Rid],
    case Fit of
        [Connection | _] -> {Connection, lists:delete(Connection, Connections)};
        [] -> connection(Client, Rid, plain)
    end;
connection(#{connections := Connections, target := Target}, _Rid, _How) ->
    case [C || #{waiting := []} = C <- Connections] of
        [Connection | _] -> {Connection, lists:delete(Connection, Connections)};
        [] -> {connect(Target), Connections}
    end.

connect(Target) ->
    Owner = self(),
    Socket = megaphone_test_http:connect(Target),
    Reader = spawn_link(fun() -> receive go -> read(Owner, Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Reader),
    Reader ! go,
    #{reader => Reader, socket => Socket, waiting => []}.

read(Owner, Socket) ->
    Response = megaphone_test_http:recv(Socket, "POST", infinity),
    Owner ! {?MODULE, self(), Response},
    case Response of
        {error, _} -> ok;
        _ -> read(Owner, Socket)
    end.

disconnect(#{reader := Reader, socket := Socket}) ->
    Monitor = monitor(process, Reader),
    unlink(Reader),
    exit(Reader, kill),
    receive {'DOWN', Monitor, process, Reader, _} -> ok end,
    %% It was the reader's and is closed with it.
    _ = gen_tcp:close(Socket),
    ok.

%% The answer to one copy of a request. All copies get the same.
answered(#{answers := Answers} = Client, Rid, Text) ->
    case {Answers, ending(megaphone_test_xml:parse(Text))} of
        {#{Rid := Text}, _} ->
            Client;
        {#{Rid := First}, Ending} ->
            %% A copy that came so late that its client had gone on long ago.
            has_gone_on(Client, Rid) andalso Ending =:= {<<"terminate">>, <<"item-not-found">>}
                orelse error({two_answers, Rid, First, Text}),
            Client;
        {_, {<<>>, <<>>}} ->
            Client#{answers := Answers#{Rid => Text}};
        {_, _} ->
            error({session_ended, Rid, Text})
    end.

has_gone_on(#{setup := #{acks := used}}, _Rid) -> true;
has_gone_on(#{next := Next, window := Window}, Rid) -> Next - Rid > Window.

ending(Body) ->
    {megaphone_test_xml:attribute(<<"type">>, Body), megaphone_test_xml:attribute(<<"condition">>, Body)}.

process(#{processed := Processed, answers := Answers} = Client) ->
    case Answers of
        #{Processed + 1 := Text} ->
            Children = megaphone_test_xml:children(megaphone_test_xml:parse(Text)),
            process(lists:foldl(fun stanza/2, Client#{processed := Processed + 1}, Children));
        _ ->
            Client
    end.

stanza(Stanza, #{received := Received, others := Others} = Client) ->
    case megaphone_test_xml:name(Stanza) of
        <<"message">> ->
            Number = binary_to_integer(megaphone_test_xml:attribute(<<"id">>, Stanza)),
            Expected = case Received of [Last | _] -> Last + 1; [] -> 1 end,
            Number =:= Expected orelse error({expected_message, Expected, got, Number, Stanza}),
            Client#{received := [Number | Received]};
        _ ->
            Client#{others := [Stanza | Others]}
    end.

choose(_Index, [], Client, _Use) ->
    Client;
choose(Index, List, _Client, Use) ->
    Use(lists:nth(1 + Index rem length(List), List)).
