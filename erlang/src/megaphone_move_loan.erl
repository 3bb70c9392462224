%%% @doc What a session hands over when it moves: the state of its c2s, and the row by which ejabberd finds it. While
%%% the session is lent, the row is the new session's.
-module(megaphone_move_loan).

-export([version/0, may_move/1, lend/3, take_back/2, give_away/2, new_row/1, merge/2, start/2, returned/1, lost/1]).

-export_type([loan/0]).

-include_lib("kernel/include/logger.hrl").

-type state() :: megaphone_ejabberd_c2s:state().
-record(loan, {state :: megaphone_ejabberd_c2s:lent(),
               registration :: megaphone_ejabberd_c2s:registration(),
               row :: megaphone_ejabberd_sm:row(),
               new_row :: megaphone_ejabberd_sm:row(),
               sid :: megaphone_ejabberd_sm:sid()}).
-opaque loan() :: #loan{}.

%% @doc A session can move between nodes with the same version.
-spec version() -> binary().
version() ->
    iolist_to_binary(lists:join(", ", [["Megaphone ", own_version()] | megaphone_ejabberd:made_of()])).

%% A listener has loaded the application. While the VM stops nothing can be loaded any more, and sessions still move.
own_version() ->
    case application:get_key(megaphone, vsn) of
        {ok, Version} -> Version;
        %% No other node has this version.
        undefined -> ["of an unknown version at ", atom_to_list(node())]
    end.

%% @doc Whether the session with this state can move now.
-spec may_move(state()) -> ok | {error, Why :: string()}.
may_move(Stream) ->
    case megaphone_undelivered:is_client_gone() of
        true -> {error, "the client is gone"};
        false -> megaphone_ejabberd_c2s:may_move(Stream)
    end.

%% The old session's part.

%% @doc Lends the session to the process at that place. From here on ejabberd finds that one, at each node as it looks.
-spec lend(pid(), megaphone_ejabberd_sm:place(), state()) ->
          {ok, loan(), megaphone_ejabberd_sm:look(), state()} | {error, Why :: string()}.
lend(Taker, Place, Stream) ->
    Registration = megaphone_ejabberd_c2s:registration(Stream),
    case megaphone_ejabberd_sm:find_row(Registration) of
        {ok, Row} ->
            {Sid, New} = megaphone_ejabberd_sm:row_of(Taker, Place, Row),
            case megaphone_ejabberd_sm:replace_row(Row, New) of
                {ok, Look} ->
                    {Lent, Lender} = megaphone_ejabberd_c2s:lend(Stream),
                    {ok, #loan{state = Lent, registration = Registration, row = Row, new_row = New, sid = Sid}, Look,
                     Lender};
                {error, _} = Error ->
                    Error
            end;
        none ->
            {error, "ejabberd does not know the session: another one has its resource"}
    end.

%% @doc The session stays here, with this state.
-spec take_back(loan(), state()) -> state().
take_back(#loan{state = Lent, row = Row, new_row = New}, Stream) ->
    case megaphone_ejabberd_sm:replace_row(New, Row) of
        {ok, {Module, Function, Arguments}} ->
            erpc:multicast(megaphone_ejabberd:cluster(), Module, Function, Arguments);
        {error, Why} ->
            ?LOG_ERROR("megaphone: a session that could not move can't be found any more, its client has to log in "
                       "again: ~ts", [Why])
    end,
    megaphone_ejabberd_c2s:start_timers(Lent, Stream).

%% @doc The session now belongs to the other process.
-spec give_away(loan(), state()) -> ok.
give_away(#loan{row = Row, registration = Registration}, Stream) ->
    ok = megaphone_ejabberd_c2s:release(Stream),
    megaphone_ejabberd_sm:session_left(Row, Registration).

%% @doc The row that it has at the new place.
-spec new_row(loan()) -> megaphone_ejabberd_sm:row().
new_row(#loan{new_row = New}) -> New.

%% The new session's part.

%% @doc The state of the session on the new connection, whose state is given; ejabberd is told that the session is here.
-spec merge(loan(), Open :: state()) -> state().
merge(#loan{state = Lent, sid = Sid, new_row = New, registration = Registration}, Open) ->
    Merged = megaphone_ejabberd_c2s:merge(Lent, Sid, Open),
    ok = megaphone_ejabberd_sm:session_came(New, Registration),
    Merged.

%% @doc The session now belongs to this process.
-spec start(loan(), state()) -> state().
start(#loan{state = Lent}, Stream) ->
    megaphone_ejabberd_c2s:start_timers(Lent, Stream).

%% @doc The session is not here after all: the old one has its row again.
-spec returned(loan()) -> ok.
returned(#loan{new_row = New, registration = Registration}) ->
    megaphone_ejabberd_sm:session_left(New, Registration).

%% @doc The same if the old session can't be reached. It has its own row, wherever it is.
-spec lost(loan()) -> ok.
lost(#loan{new_row = New, registration = Registration}) ->
    megaphone_ejabberd_sm:end_session(New, Registration).
