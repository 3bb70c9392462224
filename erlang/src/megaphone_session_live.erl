%%% @doc A session that is neither on its way here nor away: ejabberd's c2s on a connection whose bytes are documents
%%% (RFC 7395), each after its length as a big-endian number of four bytes. If the first bit of a length is set, the
%%% document is one of ejabberd's that its client never got ({@link megaphone_undelivered}); if the first two are, it
%%% is no document, but the ECM's own ({@link megaphone_control}).
%%%
%%% ```
%%%   connection -> length, document -> megaphone_framing -> megaphone_ejabberd_c2s -> ejabberd_c2s
%%%   connection <- length, document <- megaphone_framing <- megaphone_session_socket <-'
%%% '''
%%%
%%% Each message that the process gets goes to the callbacks of ejabberd's c2s ({@link megaphone_ejabberd_c2s}), so
%%% whatever ejabberd does with a c2s process works. What is added: documents are read, one at a time and only as the
%%% shaper allows, so a client's window is returned as its stanzas are handled; and after `hibernate_after' without a
%%% message the process hibernates with its state packed ({@link megaphone_session_state}).
%%%
%%% A session that had to wait for its client looks at once whether the ECM says that it is gone, which
%%% stands behind what the client sent: else it would send all that is queued for the client, for nobody.
-module(megaphone_session_live).

%% As p1_server's callbacks.
-export([init/3, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).
%% Steps.
-export([accept/1, read/1, rest/1]).
%% Moves.
-export([socket/1, stream/1, lend/2, stay/3, leave/1, taken/3]).

-export_type([session/0, options/0]).

-include("megaphone_messages.hrl").

%% `c2s' are ejabberd_c2s's options, with `max_fsm_queue' as the process's max_queue.
-type options() :: #{c2s := [{atom(), term()}],
                     limits := megaphone_stanza_limits:limits(),
                     hibernate_after := timeout()}.

-record(session, {stream :: megaphone_ejabberd_c2s:state() | megaphone_session_state:packed(),
                  sleep = none :: megaphone_session_sleep:sleep(),
                  socket :: megaphone:socket(),
                  due = header :: due(),
                  pace = in_turn :: pace(),
                  wait = none :: none | megaphone_nif:wait(),
                  login :: login(),
                  max_bytes :: pos_integer(),
                  max_elements :: pos_integer(),
                  hibernate_after :: timeout(),
                %% For the ECM has a token, and is to send nothing of its client's.
                parked = none :: none | megaphone_move_give:parked()}).

-opaque session() :: #session{}.

%% Due, with the limits that hold from then on; or done. What it made is collected once.
-type login() :: {due, megaphone_stanza_limits:limit()} | fresh | collected.

%% What is read next: a length, a document of such a length, or nothing more.
-type due() :: header | non_neg_integer() | nothing.
%% How it is read: a document at a time, between the messages that others send; not before the shaper's pause
%% is over; or so many bytes at once.
-type pace() :: in_turn | paused | {at_once, integer()}.
-type answer() :: {noreply, session(), timeout() | hibernate} | {stop, term(), session()}.

-define(HEADER_SIZE, 4).
%% The bit in the length of a document that comes back, and those of what is the ECM's own.
-define(GIVEN_BACK, 16#80000000).
-define(CONTROL, 16#c0000000).
%% What a document leaves behind is many times its size. Before a login, where most are some hundred bytes
%% long, that of one above this is given back at once (bytes).
-define(LARGE_BEFORE_LOGIN, 1024).
%% What a client can have sent before its end is said (bytes): a window, and what the ECM writes ahead of it.
-define(MOST_BEFORE_THE_END, 327680).

%% @doc A session that has not accepted its connection yet.
-spec init(Trunk :: pid(), megaphone:socket(), options()) -> {ok, session(), timeout()}.
init(Trunk, Socket, #{c2s := Opts, limits := Limits, hibernate_after := HibernateAfter}) ->
    #{before_login := {MaxBytes, MaxElements}, logged_in := LoggedIn} = Limits,
    %% Made here, the connection stands in the state once.
    SessionSocket = megaphone_session_socket:new(Trunk, Socket),
    Http = megaphone_ejabberd_c2s:http_options(megaphone:take_http_fields(Socket)),
    {ok, Stream, Timeout} = megaphone_ejabberd_c2s:new(megaphone_session_socket, SessionSocket, Http ++ Opts),
    {ok, #session{stream = Stream,
                  socket = Socket,
                  login = {due, LoggedIn},
                  max_bytes = MaxBytes,
                  max_elements = MaxElements,
                  hibernate_after = HibernateAfter}, Timeout}.

%% @doc The connection is this process's. A session that is to come here from another process has said nothing yet.
-spec accept(session()) -> answer() | {takeover, Token :: binary(), session()}.
accept(#session{stream = Stream, socket = Socket} = Session) ->
    case megaphone_ejabberd_c2s:accepted(Stream) of
        {ok, Accepted} ->
            Opened = Session#session{stream = megaphone_session_socket:open(Accepted, Socket)},
            case megaphone:take_takeover(Socket) of
                none -> read(Opened);
                Token -> {takeover, Token, Opened}
            end;
        not_due ->
            stray({cast, accept}, Session);
        Stop ->
            continue(Stop, Session)
    end.

%% Moves.

%% @doc Its connection.
-spec socket(session()) -> megaphone:socket().
socket(#session{socket = Socket}) -> Socket.

%% @doc The state of its c2s.
-spec stream(session()) -> megaphone_ejabberd_c2s:state().
stream(Session) ->
    #session{stream = Stream} = wake(Session),
    Stream.

%% @doc Lends the session to the process that asks for it, if it has the token.
-spec lend(megaphone_move:request(), session()) -> {lent, megaphone_move_give:lent(), session()} | answer().
lend(#{key := Key} = Request, #session{parked = Parked} = Session) ->
    case Parked =/= none andalso megaphone_move_give:is_parked(Key, Parked) of
        true ->
            #session{stream = Stream} = Awake = wake(Session),
            case megaphone_move_give:lend(Request, Parked, Stream) of
                {lent, Lent, Lender} -> {lent, Lent, Awake#session{stream = Lender, parked = none}};
                {error, Why} -> rest(unpark(Why, Session))
            end;
        false ->
            ok = megaphone_move:refuse(Request),
            rest(Session)
    end.

%% @doc The session has come back, with this state.
-spec stay(Why :: iodata(), megaphone_ejabberd_c2s:state(), session()) -> session().
stay(Why, Stream, Session) ->
    say({stays, Why}, Session#session{stream = Stream}).

%% @doc Says to the ECM that the session has moved, and closes the connection.
-spec leave(session()) -> ok | {error, Why :: string()}.
leave(#session{socket = Socket}) ->
    case megaphone_control:send(Socket, moved) of
        ok ->
            megaphone:close(Socket);
        {error, Reason} ->
            _ = Reason =:= timeout andalso (self() ! ?STUCK),
            {error, "its connection is lost"}
    end.

%% @doc The session has come here, with this state, while the process waited for its connection.
-spec taken(megaphone_ejabberd_c2s:state(), none | megaphone_nif:wait(), session()) -> session().
taken(Stream, Wait, #session{login = {due, {MaxBytes, MaxElements}}} = Session) ->
    Session#session{stream = megaphone_ejabberd_c2s:forget_login(Stream), login = collected, wait = Wait,
                    max_bytes = MaxBytes, max_elements = MaxElements}.

%% What the ECM says beside the client's documents.
control(mark, #session{parked = none, stream = Stream} = Session) ->
    case megaphone_move_give:park(Stream) of
        {ok, Token, Parked} -> say({token, Token}, Session#session{parked = Parked});
        {error, Why} -> say({stays, Why}, Session)
    end;
control(mark, #session{parked = Parked} = Session) ->
    ok = megaphone_move_give:unpark(Parked),
    control(mark, Session#session{parked = none});
control(stay, Session) ->
    unpark("the ECM wants it", Session);
%% It is the session already: the old one has said so.
control(go, Session) ->
    Session.

say(Said, #session{socket = Socket} = Session) ->
    %% A connection that is lost says so when it is read.
    _ = megaphone_control:send(Socket, Said) =:= {error, timeout} andalso (self() ! ?STUCK),
    Session.

unpark(_Why, #session{parked = none} = Session) ->
    Session;
unpark(Why, #session{parked = Parked} = Session) ->
    ok = megaphone_move_give:unpark(Parked),
    say({stays, Why}, Session#session{parked = none}).

-spec handle_call(term(), {pid(), term()}, session()) -> answer().
handle_call(Call, From, Session) ->
    #session{stream = Stream} = Awake = wake(Session),
    continue(megaphone_ejabberd_c2s:handle_call(Call, From, Stream), Awake).

-spec handle_cast(term(), session()) -> answer().
handle_cast({megaphone_session, shut_down}, Session) ->
    ok = megaphone_ejabberd_c2s:shut_down(self()),
    rest(Session);
handle_cast({megaphone_session, redirect, Uri}, Session) ->
    leave(Uri, wake(Session));
handle_cast(Cast, Session) ->
    #session{stream = Stream} = Awake = wake(Session),
    continue(megaphone_ejabberd_c2s:handle_cast(Cast, Stream), Awake).

-spec handle_info(term(), session()) -> answer().
handle_info(?WAKE(Wait), #session{wait = Wait} = Session) ->
    read(wake(Session#session{wait = none}));
handle_info(?READ, #session{pace = paused} = Session) ->
    rest(Session);
handle_info(?READ, Session) ->
    read(wake(Session));
handle_info(?PAUSED, Session) ->
    read(wake(Session#session{pace = in_turn}));
handle_info(?STUCK, #session{socket = Socket} = Session) ->
    Awake = wake(Session),
    ok = client_gone(megaphone_undelivered:timeout(stuck, Socket), Awake),
    rest(Awake);
handle_info(?OVERDUE, #session{due = nothing} = Session) ->
    rest(Session);
handle_info(?OVERDUE, Session) ->
    refuse(wake(Session));
handle_info(?EXPIRED(Key), #session{parked = Parked} = Session) ->
    case Parked =/= none andalso megaphone_move_give:is_parked(Key, Parked) of
        true -> rest(unpark("nobody has taken it", Session));
        false -> rest(Session)
    end;
handle_info(?WAKE(_), Session) ->
    rest(Session);
%% What is left of a move.
handle_info({megaphone_move, _, _}, Session) ->
    rest(Session);
%% What has no timeout gets none.
handle_info(timeout, #session{stream = Packed} = Session) when not is_map(Packed) ->
    stray(timeout, Session);
handle_info(timeout, #session{stream = Stream} = Session) ->
    case is_integer(megaphone_ejabberd_c2s:timeout(Stream)) of
        false -> idle(Session);
        true -> continue(megaphone_ejabberd_c2s:handle_info(timeout, Stream), Session)
    end;
%% It reads by itself: no socket has anything to say here.
handle_info({tcp, _, _} = Message, Session) ->
    stray(Message, Session);
handle_info({tcp_closed, _} = Message, Session) ->
    stray(Message, Session);
handle_info({tcp_error, _, _} = Message, Session) ->
    stray(Message, Session);
handle_info(Info, Session) ->
    #session{stream = Stream} = Awake = wake(Session),
    continue(megaphone_ejabberd_c2s:handle_info(Info, Stream), Awake).

-spec terminate(term(), session()) -> term().
terminate(Reason, Session) ->
    #session{stream = Stream, max_elements = MaxElements} = wake(Session),
    Terminated = megaphone_ejabberd_c2s:terminate(Reason, Stream),
    ok = megaphone_undelivered:route(Stream, MaxElements),
    Terminated.

-spec code_change(term(), session(), term()) -> {ok, session()} | {error, term()}.
code_change(OldVersion, Session, Extra) ->
    #session{stream = Stream} = Awake = wake(Session),
    case megaphone_ejabberd_c2s:code_change(OldVersion, Stream, Extra) of
        {ok, Changed} -> {ok, Awake#session{stream = Changed}};
        Error -> Error
    end.

stray(Message, Session) ->
    megaphone_log:stray("a session", Message),
    rest(Session).

%% @doc Reads on where it stands.
-spec read(session()) -> answer().
read(#session{due = nothing} = Session) ->
    rest(Session);
read(#session{due = header, socket = Socket} = Session) ->
    case megaphone:recv_nowait(Socket, ?HEADER_SIZE) of
        {ok, <<Size:32>>} -> read(Session#session{due = Size});
        Other -> unread(Other, Session)
    end;
read(#session{due = Word} = Session) when Word >= ?CONTROL ->
    case megaphone_control:decode(Word) of
        error -> refuse(Session);
        Heard -> read_after(0, control(Heard, Session#session{due = header}))
    end;
read(#session{parked = Parked} = Session) when Parked =/= none ->
    read(unpark("there is more of its client", Session));
read(#session{due = Length} = Session) when Length >= ?GIVEN_BACK ->
    read_given_back(Length - ?GIVEN_BACK, Session);
read(#session{due = Size, max_bytes = Max} = Session) when Size > Max ->
    event(megaphone_framing:too_big(), Session#session{due = nothing});
read(#session{due = 0} = Session) ->
    document(<<>>, Session);
read(#session{due = Size, socket = Socket} = Session) ->
    case megaphone:recv_nowait(Socket, Size) of
        {ok, Document} -> document(Document, Session);
        Other -> unread(Other, Session)
    end.

read_given_back(0, Session) ->
    given_back(<<>>, Session);
read_given_back(Size, #session{stream = Stream, socket = Socket} = Session) ->
    case Size =< megaphone_undelivered:longest(Stream) andalso megaphone:recv_nowait(Socket, Size) of
        false -> refuse(Session);
        {ok, Document} -> given_back(Document, Session);
        Other -> unread(Other, Session)
    end.

given_back(Document, #session{socket = Socket} = Session) ->
    ok = case megaphone_undelivered:is_client_gone() of
             true -> ok;
             false -> client_gone(megaphone_undelivered:timeout(gone, Socket), Session)
         end,
    case megaphone_undelivered:given_back(Document) of
        ok -> read_after(0, Session#session{due = header});
        {error, too_many} -> refuse(Session)
    end.

%% This side ends behind what is on its way, which comes back as well if the client does not get it. What the
%% client sent is read to its end, which comes from the ECM.
client_gone(Timeout, #session{stream = Stream, socket = Socket}) ->
    ok = megaphone_undelivered:client_gone(Stream),
    _ = erlang:send_after(Timeout, self(), ?OVERDUE),
    %% A connection that is lost says so when it is read.
    _ = megaphone:shutdown(Socket, write),
    ok.

%% No ECM sends such a thing, or takes so long: what it still says counts for nothing.
refuse(#session{socket = Socket} = Session) ->
    ok = megaphone:reset(Socket),
    unread({error, econnreset}, Session).

unread({wait, Wait}, Session) ->
    rest(Session#session{wait = Wait});
%% It waits already.
unread({error, ealready}, Session) ->
    rest(Session);
unread({error, Reason}, #session{stream = Stream, socket = Socket} = Session) ->
    continue(megaphone_ejabberd_c2s:lost(Reason, Socket, Stream), Session#session{due = nothing}).

document(Document, #session{max_elements = MaxElements} = Session) ->
    Size = byte_size(Document),
    Pause = megaphone_session_socket:pause(?HEADER_SIZE + Size),
    case event(megaphone_framing:decode(Document, MaxElements), read_so_much(Size, Session#session{due = header})) of
        {noreply, #session{due = header} = Next, _} ->
            ok = collect(Size, Next),
            read_after(Pause, Next);
        Answer ->
            Answer
    end.

read_so_much(Size, #session{pace = {at_once, Left}} = Session) when Left > Size ->
    Session#session{pace = {at_once, Left - Size}};
read_so_much(_Size, Session) ->
    Session#session{pace = in_turn}.

%% Before a login hardly anything follows that would do so.
collect(Size, #session{login = {due, _}}) when Size > ?LARGE_BEFORE_LOGIN ->
    true = garbage_collect(),
    ok;
collect(_Size, _Session) ->
    ok.

%% One document at a time: what others have sent meanwhile has its turn.
read_after(0, #session{pace = {at_once, _}} = Session) ->
    read(Session);
read_after(0, #session{socket = Socket} = Session) ->
    case megaphone:recv_nowait(Socket, ?HEADER_SIZE) of
        {ok, <<Size:32>>} ->
            self() ! ?READ,
            rest(Session#session{due = Size});
        Other ->
            unread(Other, Session)
    end;
read_after(Pause, Session) ->
    _ = erlang:send_after(Pause, self(), ?PAUSED),
    rest(Session#session{pace = paused}).

%% Reads what is there, as far as the shaper allows, unless it is at it.
catch_up(#session{pace = in_turn, due = Due} = Session) when Due =/= nothing ->
    case read(Session#session{pace = {at_once, ?MOST_BEFORE_THE_END}}) of
        {noreply, #session{pace = {at_once, _}} = Read, Timeout} ->
            {noreply, Read#session{pace = in_turn}, Timeout};
        Answer ->
            Answer
    end;
catch_up(Session) ->
    rest(Session).

%% What is left to the parser and the socket of a stream: it opens where that makes sense, and nobody starts
%% TLS inside of a session.
event({xmlstreamstart, _, _} = Start, #session{stream = Stream} = Session) ->
    case megaphone_ejabberd_c2s:reopen(Stream) of
        {ok, Open} -> handle(Start, Session#session{stream = Open});
        {error, not_now} -> rest(Session)
    end;
event({xmlstreamelement, {xmlel, <<"starttls">>, _, _}} = Event, #session{stream = Stream} = Session) ->
    continue(megaphone_ejabberd_c2s:starttls(Event, Stream), Session);
event({xmlstreamelement, {xmlel, <<"resume">>, _, _}} = Event, #session{stream = Stream, socket = Socket} = Session) ->
    Sent = fun() -> megaphone:getstat(Socket, [send_cnt]) end,
    continue(megaphone_ejabberd_c2s:resume(Event, Sent, Stream), Session);
event(Event, Session) ->
    handle(Event, Session).

handle(Event, #session{stream = Stream} = Session) ->
    continue(megaphone_ejabberd_c2s:event(Event, Stream), Session).

leave(Uri, #session{stream = Stream, socket = Socket} = Session) ->
    ok = megaphone_session_socket:redirect(Socket, Uri),
    continue(megaphone_ejabberd_c2s:event(closed, Stream), Session#session{due = nothing}).

continue({noreply, Stream, _Timeout}, #session{login = {due, LoggedIn}} = Session) ->
    case megaphone_ejabberd_c2s:has_logged_in(Stream) of
        true ->
            {MaxBytes, MaxElements} = LoggedIn,
            rest(Session#session{stream = Stream, login = fresh, max_bytes = MaxBytes, max_elements = MaxElements});
        false ->
            go_on(Session#session{stream = Stream})
    end;
continue({noreply, Stream, _Timeout}, Session) ->
    go_on(Session#session{stream = Stream});
continue({stop, Reason, Stream}, Session) ->
    {stop, Reason, Session#session{stream = Stream}}.

go_on(Session) ->
    case megaphone_session_socket:has_waited() of
        false -> rest(Session);
        true -> catch_up(Session)
    end.

%% @doc Until the next message.
-spec rest(session()) -> answer().
rest(#session{stream = Stream, sleep = Sleep} = Session) when is_map(Stream) ->
    case megaphone_ejabberd_c2s:timeout(Stream) of
        infinity ->
            case megaphone_session_sleep:at_once(Stream, Sleep) of
                {sleeps, Packed, Sleeps} -> {noreply, Session#session{stream = Packed, sleep = Sleeps}, hibernate};
                awake -> {noreply, Session, before_idle(Session)}
            end;
        ended -> {noreply, Session#session{due = nothing}, before_idle(Session)};
        %% Not logged in yet: how long that may take is what counts.
        Timeout -> {noreply, Session, Timeout}
    end;
rest(Session) ->
    {noreply, Session, hibernate}.

before_idle(#session{login = Login, hibernate_after = HibernateAfter}) ->
    megaphone_session_sleep:timeout(Login =:= fresh, HibernateAfter).

idle(#session{login = Login, stream = Stream, sleep = Sleep, hibernate_after = HibernateAfter} = Session) ->
    case megaphone_session_sleep:due(Login =:= fresh, HibernateAfter) of
        {collect, Timeout} ->
            LoggedIn = Session#session{login = collected, stream = megaphone_ejabberd_c2s:forget_login(Stream)},
            true = garbage_collect(),
            {noreply, LoggedIn, Timeout};
        sleep ->
            {Packed, Sleeps} = megaphone_session_sleep:sleep(Stream, Sleep),
            {noreply, Session#session{stream = Packed, sleep = Sleeps}, hibernate}
    end.

wake(#session{stream = Stream} = Session) when is_map(Stream) ->
    Session;
wake(#session{stream = Packed, sleep = Sleep, hibernate_after = HibernateAfter} = Session) ->
    {Stream, Sleeps} = megaphone_session_sleep:wake(Packed, Sleep, HibernateAfter),
    Session#session{stream = Stream, sleep = Sleeps}.
