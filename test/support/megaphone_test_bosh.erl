%% @doc A BOSH client (XEP-0124, XEP-0206) over megaphone_test_http. It keeps connections for reuse,
%% holds a poll only while recv/2 waits, and hands out the stanzas of the answers one by one.
-module(megaphone_test_bosh).

-behaviour(megaphone_test_xmpp).

%% What every XMPP client has.
-export([open/3, restart/1, send/2, recv/2, close/1, header/1]).
%% One HTTP request at a time.
-export([post/2, post/3, await/1, await/2, waiting/1, sid/1, rid/1, drop/1]).

-export_type([session/0]).

-define(PATH, "/bosh").
-define(PATIENCE, 10_000).
-define(NS_HTTP_BIND, "http://jabber.org/protocol/httpbind").
-define(HEAD_START, 20).

-type session() ::
        #{target := megaphone_test_http:target(),
          host := binary(),
          rid := pos_integer(),
          sid := binary(),
          %% Connections without a request, and those with one, oldest first.
          idle := [megaphone_test_http:connection()],
          waiting := [megaphone_test_http:connection()],
          %% Stanzas that came and were not asked for yet.
          stanzas := [megaphone_test_xml:element()],
          %% The condition of the session's end, if the server has ended it.
          ended => binary(),
          %% How each body begins and ends: its name, with declarations.
          body := {Start :: iodata(), End :: iodata()},
          %% What the server answered when it made the session.
          answer := megaphone_test_xml:element()}.

%% @doc Creates a session (XEP-0124, 7). Options: `wait' in seconds, and `hold'; the `prefix' of bodies and
%% what else they `declare'; who the client says it is (`from').
-spec open(megaphone_test_http:target(), binary(),
           #{wait => pos_integer(), hold => 0 | 1, prefix => string(), declare => iodata(),
             from => binary()}) ->
          {ok, session()} | {error, term()}.
open(Target, Host, Options) ->
    Session = #{target => Target, host => Host, rid => 1 + rand:uniform(1 bsl 40), sid => <<>>,
                idle => [], waiting => [], stanzas => [], body => body(Options),
                answer => {xmlel, <<"body">>, [], []}},
    Attributes = [{"to", Host}, {"ver", "1.11"}, {"xml:lang", "en"},
                  {"wait", integer_to_list(maps:get(wait, Options, 30))},
                  {"hold", integer_to_list(maps:get(hold, Options, 1))},
                  {"xmpp:version", "1.0"} | [{"from", From} || #{from := From} <- [Options]]],
    case await(post(Session, Attributes, [])) of
        {ok, Body, Opened} ->
            {ok, Opened#{sid := megaphone_test_xml:attribute(<<"sid">>, Body), answer := Body}};
        {error, _} = Error ->
            Error
    end.

%% @doc The attributes of the answer that made the session.
-spec header(session()) -> [{binary(), binary()}].
header(#{answer := Answer}) ->
    megaphone_test_xml:attributes(Answer).

%% @doc Asks for a new stream inside the session, as after SASL (XEP-0206, 5).
-spec restart(session()) -> {ok, session()} | {error, term()}.
restart(#{host := Host} = Session) ->
    {ok, post(Session, [{"to", Host}, {"xmpp:restart", "true"}], [])}.

%% @doc Sends stanzas in a request of their own and doesn't wait for the answer. At most two requests
%% are on their way (XEP-0124, 11), and the second one is sent once the first has had time to arrive:
%% if it overtook the first, ejabberd_bosh would answer neither before `wait' has passed.
-spec send(session(), iodata()) -> {ok, session()} | {error, term()}.
send(#{waiting := []} = Session, Stanzas) ->
    {ok, post(Session, Stanzas)};
send(#{waiting := [_]} = Session, Stanzas) ->
    case await(Session, ?HEAD_START) of
        {ok, _, Answered} -> {ok, post(Answered, Stanzas)};
        {error, timeout} -> {ok, post(Session, Stanzas)};
        {error, _} = Error -> Error
    end;
send(Session, Stanzas) ->
    case await(Session) of
        {ok, _, Answered} -> send(Answered, Stanzas);
        {error, _} = Error -> Error
    end.

%% @doc The next stanza. Polls for it as often as it takes. The session's end comes after its last stanzas.
-spec recv(session(), timeout()) -> {ok, megaphone_test_xml:element(), session()} | {error, term()}.
recv(Session, Milliseconds) ->
    recv_deadline(Session, erlang:monotonic_time(millisecond) + Milliseconds).

%% @doc Ends the session (XEP-0124, 13) and closes the connections.
-spec close(session()) -> ok | {error, term()}.
close(#{waiting := [_ | _]} = Session) ->
    case await(Session, ?HEAD_START) of
        {ok, _, Answered} -> close(Answered);
        {error, timeout} -> terminate(Session);
        {error, _} = Error -> Error
    end;
close(Session) ->
    terminate(Session).

%% @doc Sends one request with a body of these stanzas; its answer is await/1's.
-spec post(session(), iodata()) -> session().
post(Session, Stanzas) ->
    post(Session, [], Stanzas).

%% @doc The same with more attributes on the body.
-spec post(session(), [{string(), iodata()}], iodata()) -> session().
post(#{rid := Rid, sid := Sid, waiting := Waiting, body := {Start, End}} = Session, Attributes, Stanzas) ->
    {Connection, Idle} = idle_connection(Session),
    SidAttribute = [{"sid", Sid} || Sid =/= <<>>],
    Body = [Start,
            [[" ", Name, "='", megaphone_test_xml:escape(Value), "'"]
             || {Name, Value} <- [{"rid", integer_to_list(Rid)} | SidAttribute] ++ Attributes],
            ">", Stanzas, End],
    Headers = [{"Content-Type", "text/xml; charset=utf-8"}],
    %% A connection that is closed says so when the answer is awaited.
    _ = megaphone_test_http:send(Connection,
                                 megaphone_test_http:encode("POST", ?PATH, Headers, Body)),
    Session#{rid := Rid + 1, idle := Idle, waiting := Waiting ++ [Connection]}.

%% @doc As await/2, with ten seconds.
-spec await(session()) -> {ok, megaphone_test_xml:element(), session()} | {error, term()}.
await(Session) ->
    await(Session, ?PATIENCE).

%% @doc The answer to the oldest request that has none yet. Its stanzas wait for recv/2.
-spec await(session(), timeout()) ->
          {ok, megaphone_test_xml:element(), session()} | {error, term()}.
await(Session, Timeout) ->
    case take(Session, Timeout) of
        {ok, _Body, #{ended := Condition}} -> {error, {terminated, Condition}};
        Answered -> Answered
    end.

%% @doc How many requests have no answer yet.
-spec waiting(session()) -> non_neg_integer().
waiting(#{waiting := Waiting}) ->
    length(Waiting).

-spec sid(session()) -> binary().
sid(#{sid := Sid}) ->
    Sid.

%% @doc The id of the next request.
-spec rid(session()) -> pos_integer().
rid(#{rid := Rid}) ->
    Rid.

%% @doc Leaves as a client does whose machine goes down: the connections close, nobody is told.
-spec drop(session()) -> ok.
drop(#{idle := Idle, waiting := Waiting}) ->
    lists:foreach(fun megaphone_test_http:close/1, Idle ++ Waiting).

body(#{prefix := Prefix} = Options) ->
    {["<", Prefix, ":body xmlns:", Prefix, "='" ?NS_HTTP_BIND "' xmlns:xmpp='urn:xmpp:xbosh'",
      maps:get(declare, Options, "")],
     ["</", Prefix, ":body>"]};
body(Options) ->
    {["<body xmlns='" ?NS_HTTP_BIND "' xmlns:xmpp='urn:xmpp:xbosh'", maps:get(declare, Options, "")], "</body>"}.

terminate(Session) ->
    Asked = post(Session, [{"type", "terminate"}],
                 "<presence xmlns='jabber:client' type='unavailable'/>"),
    Ended = await_terminate(Asked),
    drop(Asked),
    Ended.

idle_connection(#{idle := [Connection | Idle]}) ->
    {Connection, Idle};
idle_connection(#{idle := [], target := Target}) ->
    {megaphone_test_http:connect(Target), []}.

recv_deadline(#{stanzas := [Stanza | Stanzas]} = Session, _Deadline) ->
    {ok, Stanza, Session#{stanzas := Stanzas}};
recv_deadline(#{ended := Condition}, _Deadline) ->
    {error, {terminated, Condition}};
recv_deadline(#{waiting := []} = Session, Deadline) ->
    recv_deadline(post(Session, []), Deadline);
recv_deadline(Session, Deadline) ->
    case take(Session, max(0, Deadline - erlang:monotonic_time(millisecond))) of
        {ok, _Body, Answered} -> recv_deadline(Answered, Deadline);
        {error, _} = Error -> Error
    end.

%% The answer to the oldest request that has none yet.
take(#{waiting := [Connection | Waiting], idle := Idle, stanzas := Stanzas} = Session, Timeout) ->
    case megaphone_test_http:recv(Connection, "POST", Timeout) of
        #{status := 200, body := Text} ->
            Body = megaphone_test_xml:parse(Text),
            Taken = Session#{waiting := Waiting, idle := Idle ++ [Connection],
                             stanzas := Stanzas ++ megaphone_test_xml:children(Body)},
            case megaphone_test_xml:attribute(<<"type">>, Body) of
                <<>> -> {ok, Body, Taken};
                <<"terminate">> ->
                    {ok, Body, Taken#{ended => megaphone_test_xml:attribute(<<"condition">>, Body)}};
                Type -> {error, {unexpected_type, Type, Body}}
            end;
        #{} = Response ->
            {error, {unexpected_response, Response}};
        {error, _} = Error ->
            Error
    end.

%% Of the requests that are on their way the last one has the answer; the others may be told that
%% another request ended the session.
await_terminate(#{waiting := [_, Next | Waiting]} = Session) ->
    case await(Session) of
        {ok, _Body, Answered} -> await_terminate(Answered);
        {error, {terminated, <<"other-request">>}} ->
            await_terminate(Session#{waiting := [Next | Waiting]});
        {error, _} = Error -> Error
    end;
await_terminate(#{waiting := [_]} = Session) ->
    case await(Session) of
        {error, {terminated, <<>>}} -> ok;
        Other -> {error, {expected_terminate, Other}}
    end.
