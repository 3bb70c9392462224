%% Stanzas that a client never got, which the ECM gives back: they are routed again, each once.
-module(megaphone_undelivered_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2,
         end_per_testcase/2]).
-export([go_offline/1, go_to_another_resource/1, on_their_way/1, sleeping_session/1, with_stream_management/1,
         no_stanzas/1, ends_without_fin/1, too_many/1, too_many_that_are_short/1, too_large/1,
         too_many_elements/1, before_a_login/1, too_large_before_a_login/1, overdue/1]).

-import(megaphone_test_listeners, [call/4, connect/1, ejabberd/1]).
-import(megaphone_test_xmpp, [jid/1]).

-define(GIVEN_BACK, 16#80000000).
-define(LAST, <<"this is the last one">>).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [go_offline, go_to_another_resource, on_their_way, sleeping_session, with_stream_management, no_stanzas,
     ends_without_fin, too_many, too_many_that_are_short, too_large, too_many_elements, before_a_login,
     too_large_before_a_login, overdue].

init_per_suite(Config) ->
    megaphone_test_listeners:start(Config, #{default => "    hibernate_after: 1\n"},
                                   #{modules => "  mod_offline: {}\n"}).

end_per_suite(Config) ->
    megaphone_test_listeners:stop(Config).

init_per_testcase(_, Config) ->
    [{trunk, connect(Config)} | Config].

end_per_testcase(_, Config) ->
    megaphone_test_yamux:close(trunk(Config)).

%% Confirms that messages that came back are offline messages, once and in order, in front of those that
%% came after the user was gone.
go_offline(Config) ->
    {Alice, Bob, User} = alice_and_bob(Config),
    Pid = session(Config, Bob),
    Alice1 = say(Alice, jid(Bob), [<<"one">>, <<"two">>, <<"three">>]),
    Messages = [message_document(Bob) || _ <- [one, two, three]],
    ok = give_back(Bob, [<<>> | Messages]),
    ok = await_fin(Bob),
    ok = megaphone_test_yamux:finish(stream(Bob)),
    await_gone(Config, Pid),
    _ = say(Alice1, jid(Bob), [<<"four">>]),
    ?assertEqual([<<"one">>, <<"two">>, <<"three">>, <<"four">>], offline(Config, User)).

%% Confirms that another resource of the user gets them, if there is one.
go_to_another_resource(Config) ->
    {Alice, Bob, User} = alice_and_bob(Config),
    Pid = session(Config, Bob),
    _ = say(Alice, jid(Bob), [<<"for whoever is there">>]),
    Message = message_document(Bob),
    Other = login(Config, User),
    ok = give_back(Bob, [<<>>, Message]),
    ok = megaphone_test_yamux:finish(stream(Bob)),
    await_gone(Config, Pid),
    ?assertMatch({{_, <<"for whoever is there">>}, _}, megaphone_test_xmpp:recv_message(Other)).

%% Confirms that what is sent while the session waits for the rest is neither sent to the client nor lost, and
%% comes after what was on its way.
on_their_way(Config) ->
    {Alice, Bob, User} = alice_and_bob(Config),
    Pid = session(Config, Bob),
    Alice1 = say(Alice, jid(Bob), [<<"on its way">>]),
    Message = message_document(Bob),
    ok = give_back(Bob, [<<>>]),
    ok = await_fin(Bob),
    Alice2 = say(Alice1, jid(Bob), [<<"after that">>]),
    {_, _} = megaphone_test_xmpp:request(Alice2, {"get", "", "<query xmlns='jabber:iq:roster'/>"}),
    %% It was routed, so the session has handled it when it answers.
    _ = call(Config, sys, get_state, [Pid]),
    ok = give_back(Bob, [Message]),
    ok = megaphone_test_yamux:finish(stream(Bob)),
    await_gone(Config, Pid),
    ?assertEqual([<<"on its way">>, <<"after that">>], offline(Config, User)).

%% Confirms the same of a session that slept with its state packed.
sleeping_session(Config) ->
    {Alice, Bob, User} = alice_and_bob(Config),
    Pid = session(Config, Bob),
    _ = say(Alice, jid(Bob), [<<"good night">>]),
    Message = message_document(Bob),
    megaphone_test_ejabberd:await_sleep(ejabberd(Config), Pid),
    ok = give_back(Bob, [<<>>, Message]),
    ok = megaphone_test_yamux:finish(stream(Bob)),
    await_gone(Config, Pid),
    ?assertEqual([<<"good night">>], offline(Config, User)).

%% Confirms that with stream management it is the resumed session that gets them, once.
with_stream_management(Config) ->
    User = megaphone_test_stage:user(Config, <<"bob">>),
    Resumable = megaphone_test_resumption:enable(login(Config, User)),
    #{client := Bob} = Resumable,
    Pid = session(Config, Bob),
    Alice = say(login(Config, <<"alice">>, new), jid(Bob), [<<"one">>, <<"two">>]),
    Messages = [message_document(Bob) || _ <- [one, two]],
    ok = give_back(Bob, [<<>> | Messages]),
    ok = await_fin(Bob),
    ok = megaphone_test_yamux:finish(stream(Bob)),
    megaphone_test_wait:until("the session to be without a connection",
                              fun() -> not is_map_key(socket, c2s_state(Config, Pid)) end),
    _ = say(Alice, jid(Bob), [<<"three">>]),
    New = megaphone_test_xmpp:authenticate(megaphone_test_session, {trunk(Config), header()}, User, #{}),
    {alive, Back} = megaphone_test_resumption:ping(megaphone_test_resumption:resume(Resumable, New)),
    ?assertEqual([<<"one">>, <<"two">>, <<"three">>], megaphone_test_resumption:received(Back)),
    ok = megaphone_test_resumption:logout(Back),
    ?assertEqual([], offline(Config, User)).

%% Confirms that whatever else is given back does no harm.
no_stanzas(Config) ->
    {_, Bob, User} = alice_and_bob(Config),
    Pid = session(Config, Bob),
    ok = give_back(Bob, [<<"<message xmlns='jabber:client' type='chat'><body>from nobody</body></message>">>,
                         <<"<message xmlns='jabber:client' from='not a jid@' to='b@localhost'/>">>,
                         <<"<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>">>,
                         <<"<not well-formed">>]),
    ok = megaphone_test_yamux:finish(stream(Bob)),
    await_gone(Config, Pid),
    ?assertEqual([], offline(Config, User)).

%% Confirms that a stream that breaks off loses nothing that has come back.
ends_without_fin(Config) ->
    {Alice, Bob, User} = alice_and_bob(Config),
    Pid = session(Config, Bob),
    _ = say(Alice, jid(Bob), [<<"not lost">>]),
    Message = message_document(Bob),
    ok = give_back(Bob, [<<>>, Message]),
    ok = await_fin(Bob),
    %% It reads on with its next message, which comes before the second of these at the latest.
    _ = call(Config, sys, get_state, [Pid]),
    _ = call(Config, sys, get_state, [Pid]),
    ok = megaphone_test_yamux:reset(stream(Bob)),
    await_gone(Config, Pid),
    ?assertEqual([<<"not lost">>], offline(Config, User)).

%% Confirms that a session keeps no more of it than an ECM can have.
too_many(Config) ->
    {_, Bob, _} = alice_and_bob(Config),
    Pid = session(Config, Bob),
    Large = ["<message xmlns='jabber:client'>", lists:duplicate(100_000, $x), "</message>"],
    %% The end may be known before all is sent.
    _ = [megaphone_test_yamux:send(stream(Bob), framed(Large)) || _ <- lists:seq(1, 30)],
    await_gone(Config, Pid),
    ?assertEqual({error, econnreset}, await_end(Bob)).

%% Confirms that short documents count with what they take beside their bytes.
too_many_that_are_short(Config) ->
    {_, Bob, _} = alice_and_bob(Config),
    Pid = session(Config, Bob),
    Many = [framed("x") || _ <- lists:seq(1, 10_000)],
    _ = [megaphone_test_yamux:send(stream(Bob), Many) || _ <- lists:seq(1, 6)],
    await_gone(Config, Pid),
    ?assertEqual({error, econnreset}, await_end(Bob)).

too_large(Config) ->
    {_, Bob, _} = alice_and_bob(Config),
    Pid = session(Config, Bob),
    ok = megaphone_test_yamux:send(stream(Bob), <<16#ffffffff:32>>),
    await_gone(Config, Pid),
    ?assertEqual({error, econnreset}, await_end(Bob)).

%% Confirms that a stanza which would be a term many times its size is not routed, and others are.
too_many_elements(Config) ->
    {Alice, Bob, User} = alice_and_bob(Config),
    Pid = session(Config, Bob),
    _ = say(Alice, jid(Bob), [<<"before">>, <<"many">>, <<"after">>]),
    [First, Second, Third] = [message_document(Bob) || _ <- [1, 2, 3]],
    Many = binary:replace(Second, <<"</message>">>, iolist_to_binary([lists:duplicate(65_536, "<a/>"), "</message>"])),
    ok = give_back(Bob, [<<>>, First, Many, Third]),
    ok = megaphone_test_yamux:finish(stream(Bob)),
    await_gone(Config, Pid),
    ?assertEqual([<<"before">>, <<"after">>], offline(Config, User)).

%% Confirms that nobody who is not logged in gives stanzas back.
before_a_login(Config) ->
    User = megaphone_test_stage:user(Config, <<"bob">>),
    Jid = <<User/binary, "@localhost">>,
    State = greeted(Config),
    Stream = megaphone_test_session:stream(State),
    ok = megaphone_test_yamux:send(
           Stream, [framed(Document)
                    || Document <- ["", ["<message xmlns='jabber:client' type='chat' from='alice@localhost/1' to='", Jid,
                                         "'><body>forged</body></message>"]]]),
    ok = megaphone_test_yamux:finish(Stream),
    ?assertEqual({none, {no_close, closed}}, megaphone_test_session:stream_end(State)),
    megaphone_test_wait:until("the session's end", fun() -> sessions(Config) =:= 0 end),
    ?assertEqual([], offline(Config, User)).

too_large_before_a_login(Config) ->
    State = greeted(Config),
    ok = megaphone_test_yamux:send(megaphone_test_session:stream(State), <<(?GIVEN_BACK + 65_537):32>>),
    ?assertEqual({none, {no_close, econnreset}}, megaphone_test_session:stream_end(State)).

%% Confirms that a session does not keep for ever what is for a client that is gone, if its peer neither gives
%% all back nor ends. Nobody waits for its time here.
overdue(Config) ->
    {Alice, Bob, User} = alice_and_bob(Config),
    Pid = session(Config, Bob),
    Alice1 = say(Alice, jid(Bob), [<<"one">>]),
    Message = message_document(Bob),
    ok = give_back(Bob, [<<>>, Message]),
    ok = await_fin(Bob),
    Alice2 = say(Alice1, jid(Bob), [<<"two">>]),
    {_, _} = megaphone_test_xmpp:request(Alice2, {"get", "", "<query xmlns='jabber:iq:roster'/>"}),
    %% It was routed, and what came back before is read by the second of these at the latest.
    _ = call(Config, sys, get_state, [Pid]),
    _ = call(Config, sys, get_state, [Pid]),
    _ = call(Config, erlang, send, [Pid, {'$megaphone', overdue}]),
    await_gone(Config, Pid),
    ?assertEqual({error, econnreset}, await_end(Bob)),
    ?assertEqual([<<"one">>, <<"two">>], offline(Config, User)).

%% Helpers.

trunk(Config) ->
    proplists:get_value(trunk, Config).

header() ->
    megaphone_test_session:header().

alice_and_bob(Config) ->
    User = megaphone_test_stage:user(Config, <<"bob">>),
    {login(Config, <<"alice">>, new), login(Config, User), User}.

login(Config, Name, new) ->
    login(Config, megaphone_test_stage:user(Config, Name)).

login(Config, User) ->
    megaphone_test_xmpp:login(megaphone_test_session, {trunk(Config), header()}, User).

say(Client, To, Texts) ->
    lists:foldl(fun(Text, Speaker) -> megaphone_test_xmpp:send_message(Speaker, To, Text) end, Client, Texts).

stream(Client) ->
    megaphone_test_session:stream(maps:get(state, Client)).

%% The next message as it came; other documents are passed over.
message_document(Client) ->
    case document(Client) of
        <<"<message ", _/binary>> = Message -> Message;
        Other when is_binary(Other) -> message_document(Client)
    end.

document(Client) ->
    case megaphone_test_yamux:recv(stream(Client), 4, 10_000) of
        {ok, <<Size:32>>} ->
            {ok, Document} = megaphone_test_yamux:recv(stream(Client), Size, 10_000),
            Document;
        {error, _} = Error ->
            Error
    end.

give_back(Client, Documents) ->
    megaphone_test_yamux:send(stream(Client), [framed(Document) || Document <- Documents]).

framed(Document) ->
    [<<(?GIVEN_BACK + iolist_size(Document)):32>>, Document].

%% ejabberd ends its side, and says nothing more before.
await_fin(Client) ->
    {error, closed} = document(Client),
    ok.

await_end(Client) ->
    case document(Client) of
        Document when is_binary(Document) -> await_end(Client);
        Error -> Error
    end.

%% The bodies of the user's offline messages.
offline(Config, User) ->
    Client = megaphone_test_xmpp:connect(megaphone_test_session, {trunk(Config), header()}, User, #{}),
    Present = megaphone_test_xmpp:send(Client, "<presence xmlns='jabber:client'/>"),
    bodies(megaphone_test_xmpp:send_message(Present, jid(Client), ?LAST), []).

bodies(Client, Bodies) ->
    case megaphone_test_xmpp:recv_message(Client) of
        {{_, ?LAST}, Received} ->
            ok = megaphone_test_xmpp:logout(Received),
            lists:reverse(Bodies);
        {{_, Body}, Received} ->
            bodies(Received, [Body | Bodies])
    end.

%% A client that has opened its stream.
greeted(Config) ->
    {ok, State} = megaphone_test_session:open({trunk(Config), header()}, <<"localhost">>, #{}),
    {ok, _Features} = megaphone_test_session:recv_document(State),
    State.

%% How many there are.
sessions(Config) ->
    element(1, call(Config, megaphone_test_process, memory, [megaphone_session])).

session(Config, Client) ->
    [User, Rest] = binary:split(jid(Client), <<"@">>),
    [Host, Resource] = binary:split(Rest, <<"/">>),
    call(Config, ejabberd_sm, get_session_pid, [User, Host, Resource]).

c2s_state(Config, Pid) ->
    case element(2, call(Config, sys, get_state, [Pid])) of
        State when is_map(State) -> State;
        Packed -> call(Config, megaphone_session_state, unpack, [Packed])
    end.

await_gone(Config, Pid) ->
    megaphone_test_wait:until("the session's end", fun() -> not call(Config, erlang, is_process_alive, [Pid]) end).
