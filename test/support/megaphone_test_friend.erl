%% @doc Whom a client that other people wrote talks with: a user who is in the roster of the client's user.
%% The programs in test/clients that are such clients log in, tell the friend once that they are seen to be
%% online, answer each message, and log out when they are told to.
-module(megaphone_test_friend).

-export([new/2, jid/1, user/1, resource/1, meet/1, talk/1, talk/2, part/1, answer/2]).

-export_type([friend/0]).

%% `resource' is the client's full JID.
-type friend() :: #{client := megaphone_test_xmpp:client(), user := binary(), resource => binary()}.

%% Programs have to start, on a machine that may have much to do.
-define(TIMEOUT, 60_000).
-define(AGAIN, 2_000).
-define(BODIES, [<<"hello">>,
                 <<"<b>\"5 > 3\" & 'quotes'</b>">>,
                 <<"Grüße, 日本語, 🎉"/utf8>>,
                 <<(binary:copy(<<"much text, ">>, 1000))/binary, "all of it">>,
                 <<"and more">>]).

%% @doc A new user, for the client, and a friend of theirs, who is online.
-spec new([{atom(), term()}], Name :: binary()) -> friend().
new(Config, Name) ->
    [User, Friend] = [megaphone_test_xmpp:login(megaphone_test_websocket, megaphone_test_stage:target(Config),
                                                megaphone_test_stage:user(Config, Each))
                      || Each <- [Name, <<"friend">>]],
    {Subscribed, Asked} = subscribe(User, Friend),
    {Client, Left} = subscribe(Asked, Subscribed),
    ok = megaphone_test_xmpp:logout(Left),
    {_, Alone} = presence(Client, bare(User), <<"unavailable">>),
    #{client => Alone, user => bare(User)}.

%% @doc The friend's bare JID.
-spec jid(friend()) -> binary().
jid(#{client := Client}) ->
    bare(Client).

%% @doc The bare JID that the client logs in as.
-spec user(friend()) -> binary().
user(#{user := User}) ->
    User.

%% @doc The client's full JID.
-spec resource(friend()) -> binary().
resource(#{resource := Resource}) ->
    Resource.

%% @doc Waits until each sees the other online.
-spec meet(friend()) -> friend().
meet(#{client := Client, user := User} = Friend) ->
    {Resource, Seen} = presence(Client, User, <<>>),
    greet(Friend#{client := Seen, resource => Resource}, ?TIMEOUT div ?AGAIN).

%% A client may get the presence of its contacts before it knows who they are, and then shows nothing: the friend
%% says it again until there is an answer.
greet(#{client := Client} = Friend, Times) ->
    Present = megaphone_test_xmpp:send(Client, "<presence xmlns='jabber:client'><priority>1</priority></presence>"),
    case greeted(Friend#{client := Present}) of
        {yes, Met} -> Met;
        {no, Waited} when Times > 1 -> greet(Waited, Times - 1);
        {no, _} -> ct:fail("expected the client to say that it sees its friend online")
    end.

greeted(#{client := Client, resource := Resource} = Friend) ->
    case megaphone_test_xmpp:poll(Client, ?AGAIN) of
        timeout ->
            {no, Friend};
        {Stanza, Received} ->
            case megaphone_test_xmpp:message(Stanza) of
                {Resource, <<"you are online">>} -> {yes, Friend#{client := Received}};
                _ -> greeted(Friend#{client := Received})
            end
    end.

%% @doc Says things that a client could get wrong, all at once, and hears the answers in order.
-spec talk(friend()) -> friend().
talk(Friend) ->
    talk(?BODIES, Friend).

%% @doc The same with other things.
-spec talk([Body :: binary()], friend()) -> friend().
talk(Bodies, Friend) ->
    lists:foldl(fun(Body, Before) -> hear(<<"you said: ", Body/binary>>, Before) end,
                lists:foldl(fun say/2, Friend, Bodies), Bodies).

%% @doc Tells the client to log out, and waits until it has.
-spec part(friend()) -> ok.
part(Friend) ->
    #{client := Client, user := User, resource := Resource} = say(<<"log out">>, Friend),
    {Resource, Alone} = presence(Client, User, <<"unavailable">>),
    megaphone_test_xmpp:logout(Alone).

%% With an id, as all real clients have it: some tell messages apart by that.
say(Body, #{client := Client, resource := Resource} = Friend) ->
    Id = integer_to_binary(erlang:unique_integer([positive])),
    Message = ["<message xmlns='jabber:client' type='chat' id='", Id, "' to='", Resource, "'>"
               "<body>", megaphone_test_xml:escape(Body), "</body></message>"],
    Friend#{client := megaphone_test_xmpp:send(Client, Message)}.

%% @doc The other way round: answers so many messages, of whomever, and says what was in them.
-spec answer(megaphone_test_xmpp:client(), Count :: non_neg_integer()) -> {[binary()], megaphone_test_xmpp:client()}.
answer(Client, Count) ->
    lists:foldl(fun(_, {Bodies, Before}) ->
                        {{From, Body}, Received} = megaphone_test_xmpp:recv_message(Before, ?TIMEOUT),
                        {[Body | Bodies], megaphone_test_xmpp:send_message(Received, From, ["you said: ", Body])}
                end, {[], Client}, lists:seq(1, Count)).

%% The one gets to see when the other is online.
subscribe(One, Other) ->
    Asked = send_presence(One, bare(Other), "subscribe"),
    {_, Read} = presence(Other, bare(One), <<"subscribe">>),
    Granted = send_presence(Read, bare(One), "subscribed"),
    {_, Subscribed} = presence(Asked, bare(Other), <<>>),
    {Subscribed, Granted}.

send_presence(Client, To, Type) ->
    megaphone_test_xmpp:send(Client, ["<presence xmlns='jabber:client' to='", To, "' type='", Type, "'/>"]).

%% The next presence of that type that is a user's, and whose resource's it is.
presence(Client, User, Type) ->
    Wanted = fun(Stanza) ->
                     megaphone_test_xml:name(Stanza) =:= <<"presence">> andalso
                         bare(megaphone_test_xml:attribute(<<"from">>, Stanza)) =:= User andalso
                         megaphone_test_xml:attribute(<<"type">>, Stanza) =:= Type
             end,
    {Presence, Received} = megaphone_test_xmpp:recv_until(Client, Wanted, ?TIMEOUT),
    {megaphone_test_xml:attribute(<<"from">>, Presence), Received}.

%% The client's next message has to be this one; those without a body say that somebody is typing.
hear(Body, #{client := Client, resource := Resource} = Friend) ->
    case megaphone_test_xmpp:recv_message(Client, ?TIMEOUT) of
        {{Resource, <<>>}, Received} -> hear(Body, Friend#{client := Received});
        {{Resource, Body}, Received} -> Friend#{client := Received};
        {Other, _} -> ct:fail("expected ~P, got ~P", [{Resource, Body}, 40, Other, 40])
    end.

bare(#{} = Client) ->
    bare(megaphone_test_xmpp:jid(Client));
bare(Jid) ->
    hd(binary:split(Jid, <<"/">>)).
