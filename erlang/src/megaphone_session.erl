%%% @doc A session: ejabberd's c2s of one client, in one process, on a connection whose bytes are documents.
%%%
%%% The process is ejabberd's in all but its loop. What it does with a message is {@link megaphone_session_live}'s,
%%% unless the session moves ({@link megaphone_move}): while it is lent to another process, or is not there yet, all
%%% that comes is kept for whichever of the two goes on; and one that has moved passes it on.
-module(megaphone_session).

-behaviour(p1_server).

-export([start/2, accept/1, redirect/2, shut_down/1]).
%% p1_server's callbacks
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).

-type session() :: megaphone_session_live:session().
-type state() :: session()
               | {lent, megaphone_move_give:lent(), session()}
               | {gone, megaphone_move_give:gone()}
               %% Another process has resumed it.
               | {resumed, pid()}
               | {taking, megaphone_move_take:taking(), session()}
               %% It was never here.
               | none.
-type answer() :: {noreply, state(), timeout() | hibernate} | {stop, term(), state()}.

%% How long a process whose session was resumed elsewhere passes on what is still sent to it (milliseconds), and that
%% it is over.
-define(LINGER, 5000).
-define(LINGERED, {?MODULE, lingered}).

%% What lives in a session is small and what it makes is garbage soon: there is no old generation
%% worth its room.
-define(SPAWN_OPTIONS, [{fullsweep_after, 0}]).

%% @doc Starts a session, from its trunk's process; {@link accept/1} follows.
-spec start(megaphone:socket(), megaphone_session_live:options()) -> {ok, pid()} | ignore | {error, term()}.
start(Socket, #{c2s := Opts} = Options) ->
    p1_server:start(?MODULE, {self(), Socket, Options},
                    [{spawn_opt, ?SPAWN_OPTIONS} | megaphone_ejabberd_c2s:process_options(Opts)]).

%% @doc The session owns its connection now and reads.
-spec accept(pid()) -> ok.
accept(Session) ->
    megaphone_ejabberd_c2s:accept(Session).

%% @doc Sends the client to another URI, by `<close see-other-uri=.../>' (RFC 7395, 3.6.1). To ejabberd
%% it is a connection that broke: with stream management the client may resume.
-spec redirect(pid(), Uri :: binary()) -> ok.
redirect(Session, Uri) ->
    p1_server:cast(Session, {?MODULE, redirect, Uri}).

%% @doc Ends the session, as ejabberd stops.
-spec shut_down(pid()) -> ok.
shut_down(Session) ->
    p1_server:cast(Session, {?MODULE, shut_down}).

-spec init({Trunk :: pid(), megaphone:socket(), megaphone_session_live:options()}) -> {ok, session(), timeout()}.
init({Trunk, Socket, Options}) ->
    megaphone_session_live:init(Trunk, Socket, Options).

-spec handle_call(term(), {pid(), term()}, state()) -> answer().
handle_call(Call, From, State) ->
    handle({'$gen_call', From, Call}, State).

-spec handle_cast(term(), state()) -> answer().
handle_cast(Cast, State) ->
    handle({'$gen_cast', Cast}, State).

-spec handle_info(term(), state()) -> answer().
handle_info(Info, State) ->
    handle(Info, State).

-spec terminate(term(), state()) -> term().
terminate(_Reason, none) -> ok;
terminate(_Reason, {gone, _}) -> ok;
terminate(_Reason, {resumed, _}) -> ok;
terminate(_Reason, {taking, Taking, _}) -> megaphone_move_take:abandon(Taking);
terminate(Reason, {lent, _, Session}) -> megaphone_session_live:terminate(Reason, Session);
terminate(Reason, Session) -> megaphone_session_live:terminate(Reason, Session).

-spec code_change(term(), state(), term()) -> {ok, state()} | {error, term()}.
code_change(OldVersion, {Lent, Move, Session}, Extra) when Lent =:= lent; Lent =:= taking ->
    case megaphone_session_live:code_change(OldVersion, Session, Extra) of
        {ok, Changed} -> {ok, {Lent, Move, Changed}};
        Error -> Error
    end;
code_change(_OldVersion, {Ended, _} = State, _Extra) when Ended =:= gone; Ended =:= resumed ->
    {ok, State};
code_change(OldVersion, Session, Extra) ->
    megaphone_session_live:code_change(OldVersion, Session, Extra).

%% One message, as it stood in the mailbox.
handle(Message, {lent, Lent, Session}) ->
    giving(megaphone_move_give:handle(Message, Lent), Session);
handle(Message, {taking, Taking, Session}) ->
    taking(megaphone_move_take:handle(Message, Taking), Session);
handle(Message, {gone, Gone} = State) ->
    case megaphone_move_give:pass_on(Message, Gone) of
        {wait, Left} -> {noreply, {gone, Left}, hibernate};
        done -> {stop, normal, State}
    end;
%% What is for the user goes on; that the old session is to end, which is said more than once, does not.
handle({route, _} = Message, {resumed, Process} = State) ->
    Process ! Message,
    {noreply, State, hibernate};
handle(?LINGERED, {resumed, _} = State) ->
    {stop, normal, State};
handle(_Message, {resumed, _} = State) ->
    {noreply, State, hibernate};
handle({'$gen_cast', accept}, Session) ->
    case megaphone_session_live:accept(Session) of
        {takeover, Token, Accepted} -> take_over(Token, Accepted);
        Answer -> Answer
    end;
handle({megaphone_move, take, Request}, Session) ->
    case megaphone_session_live:lend(Request, Session) of
        {lent, Lent, Lender} -> {noreply, {lent, Lent, Lender}, infinity};
        Answer -> Answer
    end;
handle({'$gen_call', From, Call}, Session) ->
    megaphone_session_live:handle_call(Call, From, Session);
handle({'$gen_cast', Cast}, Session) ->
    ended(megaphone_session_live:handle_cast(Cast, Session));
handle(Info, Session) ->
    megaphone_session_live:handle_info(Info, Session).

%% A session that another process has resumed ends, and passes on for a while what is still sent to it.
ended({stop, Reason, Session} = Stop) ->
    Stream = megaphone_session_live:stream(Session),
    case megaphone_ejabberd_c2s:resumed_by(Stream) of
        {ok, Process} ->
            ok = megaphone_ejabberd_sm:resumed(Process, megaphone_ejabberd_c2s:registration(Stream)),
            _ = megaphone_session_live:terminate(Reason, Session),
            _ = erlang:send_after(?LINGER, self(), ?LINGERED),
            {noreply, {resumed, Process}, hibernate};
        none ->
            Stop
    end;
ended(Answer) ->
    Answer.

%% The session is lent.
giving({wait, Lent}, Session) ->
    {noreply, {lent, Lent, Session}, infinity};
giving({ready, Lent}, Session) ->
    case megaphone_session_live:leave(Session) of
        ok ->
            Stream = megaphone_session_live:stream(Session),
            {noreply, {gone, megaphone_move_give:moved(Lent, Stream)}, hibernate};
        {error, Why} -> stay(Why, Lent, Session)
    end;
giving({void, Why, Lent}, Session) ->
    stay(Why, Lent, Session).

stay(Why, Lent, Session) ->
    {Own, Messages} = megaphone_move_give:taken_back(Lent, megaphone_session_live:stream(Session)),
    handle_all(Messages, fun megaphone_session_live:rest/1, megaphone_session_live:stay(Why, Own, Session)).

%% The session is to come here; or the ECM asks whether one can.
take_over(<<>>, Session) ->
    never_here({version, megaphone_move_loan:version()}, Session);
take_over(Token, Session) ->
    Stream = megaphone_session_live:stream(Session),
    taking(megaphone_move_take:start(Token, megaphone_session_live:socket(Session), Stream), Session).

taking({wait, Taking}, Session) ->
    {noreply, {taking, Taking, Session}, infinity};
taking({taken, Stream, Messages, Wait}, Session) ->
    handle_all(Messages, fun megaphone_session_live:read/1, megaphone_session_live:taken(Stream, Wait, Session));
taking({refused, Why}, Session) ->
    never_here({refused, Why}, Session);
taking({returned, Why, Gone}, Session) ->
    ok = last_word({refused, Why}, Session),
    {noreply, {gone, Gone}, hibernate}.

never_here(Said, Session) ->
    ok = last_word(Said, Session),
    {stop, normal, none}.

last_word(Said, Session) ->
    Socket = megaphone_session_live:socket(Session),
    _ = megaphone_control:send(Socket, Said),
    megaphone:close(Socket).

%% What came while the session was away, in its order, and then what it does next.
handle_all([], Next, Session) ->
    Next(Session);
handle_all([Message | Messages], Next, Session) ->
    case handle(Message, Session) of
        {noreply, Handled, _} ->
            handle_all(Messages, Next, Handled);
        Stop ->
            %% ejabberd_c2s routes what is in the mailbox of one that has ended.
            lists:foreach(fun(Left) -> self() ! Left end, Messages),
            Stop
    end.
