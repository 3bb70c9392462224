%% @doc A client with stream management (XEP-0198) on megaphone_test_xmpp's: it counts what it has handled,
%% keeps what the server hasn't acknowledged, and goes on with its session on a new connection.
-module(megaphone_test_resumption).

-export([enable/1, without/1, jid/1, send_message/3, ping/1, drain/1, recv_messages/2, received/1, drop/1,
         resume/2, start_resuming/2, resumed/2, logout/1]).

-export_type([resumable/0, ending/0]).

-define(TIMEOUT, 10_000).
-define(NS_ERRORS, <<"urn:ietf:params:xml:ns:xmpp-streams">>).

-type resumable() :: #{client := megaphone_test_xmpp:client(), id := binary(),
                       handled := non_neg_integer(), sent := non_neg_integer(),
                       %% What was sent, by its number, the newest first.
                       unacknowledged := [{pos_integer(), iodata()}],
                       %% The bodies of the messages, the newest first.
                       received := [binary()],
                       pings := non_neg_integer(),
                       %% Whether the server wants to know what was handled.
                       asked := boolean()}.
%% The condition of the stream error, if there was one, and whether the stream was closed.
-type ending() :: #{condition := binary() | none, stream := closed | open}.

%% @doc Asks for stream management with resumption.
-spec enable(megaphone_test_xmpp:client()) -> resumable().
enable(Client) ->
    Asked = megaphone_test_xmpp:send(Client, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"),
    {Enabled, Ready} = await_enabled(Asked),
    #{client => Ready, id => megaphone_test_xml:attribute(<<"id">>, Enabled), handled => 0, sent => 0,
      unacknowledged => [], received => [], pings => 0, asked => false}.

%% @doc The same for a client that has no stream management: what it counts is nothing to anybody.
-spec without(megaphone_test_xmpp:client()) -> resumable().
without(Client) ->
    #{client => Client, id => <<>>, handled => 0, sent => 0, unacknowledged => [], received => [], pings => 0,
      asked => false}.

-spec jid(resumable()) -> binary().
jid(#{client := Client}) ->
    megaphone_test_xmpp:jid(Client).

%% @doc Sends a message and keeps it; the connection may be broken already.
-spec send_message(resumable(), To :: binary(), Body :: binary()) -> resumable().
send_message(Resumable, To, Body) ->
    send_stanza(Resumable, ["<message xmlns='jabber:client' type='chat' to='", To, "'><body>", Body,
                            "</body></message>"]).

%% @doc Asks the server and waits for the answer: all that the server had for the client before is there
%% then. Or the connection ends first.
-spec ping(resumable()) -> {alive, resumable()} | {ending(), resumable()}.
ping(#{pings := Pings} = Resumable) ->
    Id = <<"ping-", (integer_to_binary(Pings))/binary>>,
    Asked = send_stanza(Resumable#{pings := Pings + 1},
                        ["<iq xmlns='jabber:client' type='get' to='localhost' id='", Id,
                         "'><ping xmlns='urn:xmpp:ping'/></iq>"]),
    read(Asked, fun(Element, _) ->
                        megaphone_test_xml:name(Element) =:= <<"iq">> andalso
                            megaphone_test_xml:attribute(<<"id">>, Element) =:= Id
                end).

%% @doc Reads until the connection ends.
-spec drain(resumable()) -> {ending(), resumable()}.
drain(Resumable) ->
    read(Resumable, fun(_, _) -> false end).

%% @doc Reads until so many messages have come, those before included.
-spec recv_messages(resumable(), Count :: pos_integer()) -> resumable().
recv_messages(#{received := Received} = Resumable, Count) when length(Received) >= Count ->
    Resumable;
recv_messages(Resumable, Count) ->
    case read(Resumable, fun(_, #{received := Received}) -> length(Received) >= Count end) of
        {alive, Read} -> Read;
        {Ending, #{received := Received}} ->
            ct:fail("~ts expected ~b messages, got ~p, then the connection's end ~p",
                    [jid(Resumable), Count, lists:reverse(Received), Ending])
    end.

%% @doc The bodies of all messages so far, in order.
-spec received(resumable()) -> [binary()].
received(#{received := Received}) ->
    lists:reverse(Received).

-spec drop(resumable()) -> ok.
drop(#{client := Client}) ->
    megaphone_test_xmpp:drop(Client).

%% @doc Resumes the session with a client that is logged in without one (XEP-0198, 5), and sends what the
%% server says that it did not get. It fails if the server knows no such session.
-spec resume(resumable(), megaphone_test_xmpp:client()) -> resumable().
resume(Resumable, New) ->
    resumed(Resumable, start_resuming(Resumable, New)).

%% @doc Asks for it; {@link resumed/2} has to follow.
-spec start_resuming(resumable(), megaphone_test_xmpp:client()) -> megaphone_test_xmpp:client().
start_resuming(#{id := Id, handled := Handled}, New) ->
    megaphone_test_xmpp:send(New, ["<resume xmlns='urn:xmpp:sm:3' h='", integer_to_binary(Handled),
                                   "' previd='", Id, "'/>"]).

%% @doc Waits for the answer.
-spec resumed(resumable(), megaphone_test_xmpp:client()) -> resumable().
resumed(#{client := Old} = Resumable, Asked) ->
    {Answer, Answered} = megaphone_test_xmpp:recv(Asked),
    case megaphone_test_xml:name(Answer) of
        <<"resumed">> -> ok;
        _ -> ct:fail("~ts expected to resume, got ~p", [jid(Resumable), Answer])
    end,
    Client = Answered#{jid := megaphone_test_xmpp:jid(Old)},
    #{unacknowledged := Left} = Resumed = acknowledged(Answer, Resumable#{client := Client}),
    lists:foldr(fun({_, Stanza}, State) -> write(State, Stanza) end, Resumed, Left).

-spec logout(resumable()) -> ok.
logout(#{client := Client}) ->
    megaphone_test_xmpp:logout(Client).

await_enabled(Client) ->
    {Element, Received} = megaphone_test_xmpp:recv(Client),
    case megaphone_test_xml:name(Element) of
        <<"enabled">> -> {Element, Received};
        _ -> await_enabled(Received)
    end.

send_stanza(#{sent := Sent, unacknowledged := Unacknowledged} = Resumable, Stanza) ->
    write(Resumable#{sent := Sent + 1, unacknowledged := [{Sent + 1, Stanza} | Unacknowledged]}, Stanza).

write(#{client := #{transport := Transport, state := State} = Client} = Resumable, Stanza) ->
    case Transport:send(State, Stanza) of
        {ok, Sent} -> Resumable#{client := megaphone_test_xmpp:update(Client, Sent)};
        {error, _} -> Resumable
    end.

read(Resumable, IsEnough) ->
    read(Resumable, IsEnough, #{condition => none, stream => open}).

read(#{client := #{transport := Transport, state := State} = Client} = Resumable, IsEnough, Ending) ->
    case Transport:recv(State, ?TIMEOUT) of
        {ok, Element, Received} ->
            Read = handle(Element, Resumable#{client := megaphone_test_xmpp:update(Client, Received)}),
            case {IsEnough(Element, Read), megaphone_test_xml:name(Element)} of
                {true, _} -> {alive, acknowledge(Read)};
                {false, <<"stream:error">>} -> read(Read, IsEnough, Ending#{condition := condition(Element)});
                {false, <<"close">>} -> {Ending#{stream := closed}, Read};
                {false, _} -> read(Read, IsEnough, Ending)
            end;
        {error, {expected_element, {xmlstreamend, _}}} ->
            {Ending#{stream := closed}, Resumable};
        {error, timeout} ->
            ct:fail("~ts expected more or the connection's end; it has got ~p",
                    [jid(Resumable), received(Resumable)]);
        {error, _} ->
            {Ending, Resumable}
    end.

handle(Element, #{handled := Handled, received := Bodies} = Resumable) ->
    case megaphone_test_xml:name(Element) of
        <<"message">> ->
            Body = megaphone_test_xml:text(megaphone_test_xml:child(<<"body">>, Element)),
            Resumable#{handled := Handled + 1, received := [Body | Bodies]};
        Stanza when Stanza =:= <<"presence">>; Stanza =:= <<"iq">> ->
            Resumable#{handled := Handled + 1};
        <<"r">> ->
            Resumable#{asked := true};
        <<"a">> ->
            acknowledged(Element, Resumable);
        _ ->
            Resumable
    end.

%% Only where the connection is known to be open: what is written to one that is closed may cost all that is
%% there to be read.
acknowledge(#{asked := true, handled := Handled} = Resumable) ->
    write(Resumable#{asked := false}, ["<a xmlns='urn:xmpp:sm:3' h='", integer_to_binary(Handled), "'/>"]);
acknowledge(Resumable) ->
    Resumable.

acknowledged(Element, #{unacknowledged := Unacknowledged} = Resumable) ->
    Handled = binary_to_integer(megaphone_test_xml:attribute(<<"h">>, Element)),
    Resumable#{unacknowledged := [Kept || {Number, _} = Kept <- Unacknowledged, Number > Handled]}.

condition(Error) ->
    [Condition | _] = [megaphone_test_xml:name(Child) || Child <- megaphone_test_xml:children(Error),
                                                         megaphone_test_xml:namespace(Child) =:= ?NS_ERRORS,
                                                         megaphone_test_xml:name(Child) =/= <<"text">>],
    Condition.
