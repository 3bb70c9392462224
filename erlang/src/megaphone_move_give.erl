%%% @doc The old session's part of a move ({@link megaphone_move}).
%%%
%%% While parked, the session goes on as before, except that its client sends nothing, until the token is used or
%%% expires. Once it is lent to another process it keeps the messages that it gets, in order, for whichever of the two
%%% goes on. After it has moved, it passes on what still comes.
-module(megaphone_move_give).

-export([park/1, is_parked/2, unpark/1, lend/3, handle/2, moved/2, taken_back/2, gone_to/1, pass_on/2]).

-export_type([parked/0, lent/0, gone/0]).

-include("megaphone_messages.hrl").

-opaque parked() :: {megaphone_token:key(), Timer :: reference()}.

-record(lent, {ref :: megaphone_move:ref(),
               taker :: pid(),
               monitor :: reference(),
               timer :: reference(),
               loan :: megaphone_move_loan:loan(),
               %% The nodes that have yet to see the new row.
               barrier :: megaphone_move_barrier:barrier(),
               %% Those of them that do not even answer at once, once some are slow.
               silent = megaphone_move_barrier:ask([]) :: megaphone_move_barrier:barrier(),
               %% The messages since, the newest first: first until the barrier has passed, then behind it.
               step = keeps :: keeps | ready,
               kept = [] :: [term()],
               late = [] :: [term()],
               %% Messages that only concern this process.
               own = [] :: [term()]}).

-record(gone, {taker :: pid(),
               %% The nodes that did not answer in time, and the row that they have yet to see.
               barrier = none :: none | {megaphone_move_barrier:barrier(), megaphone_ejabberd_sm:row()},
               lingers = true :: boolean()}).

-opaque lent() :: #lent{}.
-opaque gone() :: #gone{}.

%% How long a token is valid, and how long the new session may take (milliseconds).
-define(GOOD_FOR, 15000).
-define(TAKES, 15000).
%% How long nodes have to see the new row before they are asked whether they are there, and to answer that
%% (milliseconds). One that has much to do answers, and is waited for: otherwise what is sent from there to the old
%% session could be overtaken. One that hangs, a third one maybe, is not: that is passed on once it goes on.
-define(NODE_ANSWERS, 500).
%% How long a session that has moved passes on what comes. Who looked it up before it moved sends at once
%% (milliseconds).
-define(LINGER, 5000).

%% @doc A token for the session with this state. `?EXPIRED' is sent to the caller when it expires.
-spec park(megaphone_ejabberd_c2s:state()) -> {ok, Token :: binary(), parked()} | {error, Why :: string()}.
park(Stream) ->
    case megaphone_move_loan:may_move(Stream) of
        ok ->
            {Key, Token} = megaphone_token:new(),
            {ok, Token, {Key, erlang:send_after(?GOOD_FOR, self(), ?EXPIRED(Key))}};
        {error, _} = Error ->
            Error
    end.

%% @doc The token is no longer valid.
-spec unpark(parked()) -> ok.
unpark({_Key, Timer}) ->
    _ = erlang:cancel_timer(Timer),
    ok.

%% @doc Whether the session is parked for the token with this key.
-spec is_parked(megaphone_token:key(), parked()) -> boolean().
is_parked(Key, {Key, _Timer}) -> true;
is_parked(_Key, _Parked) -> false.

%% @doc Lends the session to the process that asks for it with the token's key; the token is no longer valid then. If
%% the session is not lent, that process is told why.
-spec lend(megaphone_move:request(), parked(), megaphone_ejabberd_c2s:state()) ->
          {lent, lent(), megaphone_ejabberd_c2s:state()} | {error, Why :: iodata()}.
lend(#{ref := Ref, taker := Taker, place := Place, version := Version}, Parked, Stream) ->
    ok = unpark(Parked),
    case lendable(Version, Stream) of
        ok ->
            case megaphone_move_loan:lend(Taker, Place, Stream) of
                {ok, Loan, Look, Lender} -> {lent, lent(Ref, Taker, Loan, Look), Lender};
                {error, Why} -> refuse(Taker, Ref, Why)
            end;
        {error, Why} ->
            refuse(Taker, Ref, Why)
    end.

lendable(Version, Stream) ->
    case megaphone_move_loan:version() of
        Version -> megaphone_move_loan:may_move(Stream);
        Own -> {error, ["the versions differ: ", Version, " there, ", Own, " here"]}
    end.

refuse(Taker, Ref, Why) ->
    ok = megaphone_move:say(Taker, Ref, {refused, Why}),
    {error, Why}.

lent(Ref, Taker, Loan, Look) ->
    Monitor = monitor(process, Taker),
    ok = megaphone_move:say(Taker, Ref, {lent, self(), Loan}),
    %% The row is the taker's: who looks the session up from then on sends to it.
    Barrier = megaphone_move_barrier:start(megaphone_ejabberd:cluster(), Look),
    _ = megaphone_move:slow_timer(Ref, ?NODE_ANSWERS),
    #lent{ref = Ref, taker = Taker, monitor = Monitor, loan = Loan, barrier = Barrier,
          timer = megaphone_move:watch_timer(Ref, ?TAKES)}.

%% @doc A message to a session that is lent. `ready': say moved to the ECM, then {@link moved/2}. `void': the session
%% stays, see {@link taken_back/2}.
-spec handle(term(), lent()) -> {wait, lent()} | {ready, lent()} | {void, Why :: iodata(), lent()}.
handle({megaphone_move, Ref, ready}, #lent{ref = Ref, step = ready} = Lent) ->
    {ready, Lent};
handle({megaphone_move, Ref, given_up}, #lent{ref = Ref} = Lent) ->
    {void, "the new session's connection has ended", Lent};
handle({megaphone_move, take, Request}, Lent) ->
    ok = megaphone_move:refuse(Request),
    {wait, Lent};
handle({megaphone_move, Ref, timeout}, #lent{ref = Ref} = Lent) ->
    {void, io_lib:format("the new session has not come within ~b seconds", [?TAKES div 1000]), Lent};
handle({megaphone_move, Ref, slow}, #lent{ref = Ref, step = keeps} = Lent) ->
    {wait, slow(Lent)};
handle({megaphone_move, Ref, slow}, #lent{ref = Ref} = Lent) ->
    {wait, Lent};
handle({'DOWN', Monitor, process, _, Reason}, #lent{monitor = Monitor} = Lent) ->
    {void, why_down(Reason), Lent};
handle(Message, #lent{barrier = Barrier, silent = Silent} = Lent) ->
    case {megaphone_move_barrier:pass(Message, Barrier), megaphone_move_barrier:pass(Message, Silent)} of
        {no, no} -> {wait, keep(Message, Lent)};
        {no, {left, Left}} -> {wait, Lent#lent{silent = Left}};
        {{left, Left}, no} -> {wait, passed(Left, Lent#lent{barrier = Left})}
    end.

%% Goes on without the nodes that hang, if there are no others to wait for.
slow(#lent{ref = Ref, barrier = Barrier, silent = Silent} = Lent) ->
    Left = megaphone_move_barrier:left(Barrier),
    case Left -- megaphone_move_barrier:left(Silent) of
        [] ->
            send_kept(Lent);
        _ ->
            ok = megaphone_move_barrier:stop(Silent),
            _ = megaphone_move:slow_timer(Ref, ?NODE_ANSWERS),
            Lent#lent{silent = megaphone_move_barrier:ask(Left)}
    end.

passed(Left, #lent{step = keeps} = Lent) ->
    case megaphone_move_barrier:is_passed(Left) of
        true -> send_kept(Lent);
        false -> Lent
    end;
passed(_Left, #lent{loan = Loan} = Lent) ->
    ok = megaphone_ejabberd_sm:settle(megaphone_move_loan:new_row(Loan)),
    Lent.

why_down(noconnection) -> "the new session's node is gone";
why_down(_) -> "the new session has ended".

send_kept(#lent{ref = Ref, taker = Taker, kept = Kept, silent = Silent} = Lent) ->
    ok = megaphone_move_barrier:stop(Silent),
    ok = megaphone_move:say(Taker, Ref, {kept, lists:reverse(Kept)}),
    Lent#lent{step = ready, silent = megaphone_move_barrier:ask([])}.

keep(Message, #lent{own = Own, kept = Kept, late = Late, step = Step} = Lent) ->
    case is_own(Message) of
        true -> Lent#lent{own = [Message | Own]};
        false when Step =:= ready -> Lent#lent{late = [Message | Late]};
        false -> Lent#lent{kept = [Message | Kept]}
    end.

%% Wakes of its connection and what it says to itself; timers; ends that it watches; and that this node stops.
is_own(?WAKE(_)) -> true;
is_own({timeout, Timer, _}) when is_reference(Timer) -> true;
is_own({'DOWN', _, _, _, _}) -> true;
is_own({spawn_reply, _, _, _}) -> true;
is_own({'$gen_cast', {megaphone_session, shut_down}}) -> true;
is_own({megaphone_move, _, _}) -> true;
is_own(_) -> false.

%% @doc The session belongs to the taker, and the ECM knows: passes on what came meanwhile.
-spec moved(lent(), megaphone_ejabberd_c2s:state()) -> gone().
moved(#lent{ref = Ref, taker = Taker, loan = Loan, late = Late, barrier = Barrier} = Lent, Stream) ->
    ok = unwatch(Lent),
    lists:foreach(fun(Message) -> Taker ! Message end, lists:reverse(Late)),
    ok = megaphone_move:say(Taker, Ref, moved),
    ok = megaphone_move_loan:give_away(Loan, Stream),
    Gone = gone_to(Taker),
    case megaphone_move_barrier:is_passed(Barrier) of
        true -> Gone;
        false -> Gone#gone{barrier = {Barrier, megaphone_move_loan:new_row(Loan)}}
    end.

%% @doc The session is another process's: what still comes is passed on to that.
-spec gone_to(pid()) -> gone().
gone_to(Taker) ->
    _ = erlang:send_after(?LINGER, self(), ?LINGERED),
    #gone{taker = Taker}.

%% @doc The session stays, with this state: the messages that came meanwhile are handled now, in order.
-spec taken_back(lent(), megaphone_ejabberd_c2s:state()) -> {megaphone_ejabberd_c2s:state(), [term()]}.
taken_back(#lent{ref = Ref, taker = Taker, loan = Loan, barrier = Barrier, silent = Silent} = Lent, Stream) ->
    ok = unwatch(Lent),
    ok = megaphone_move_barrier:stop(Barrier),
    ok = megaphone_move_barrier:stop(Silent),
    Own = megaphone_move_loan:take_back(Loan, Stream),
    ok = megaphone_move:say(Taker, Ref, void),
    {Own, in_order(Lent)}.

in_order(#lent{kept = Kept, late = Late, own = Own}) ->
    lists:reverse(Kept, lists:reverse(Late, lists:reverse(Own))).

unwatch(#lent{monitor = Monitor, timer = Timer}) ->
    true = demonitor(Monitor, [flush]),
    _ = erlang:cancel_timer(Timer),
    ok.

%% @doc A message to a session that has moved; `done' once it has passed on long enough.
-spec pass_on(term(), gone()) -> {wait, gone()} | done.
pass_on(?LINGERED, #gone{barrier = none}) ->
    done;
pass_on(?LINGERED, Gone) ->
    {wait, Gone#gone{lingers = false}};
pass_on({megaphone_move, take, Request}, Gone) ->
    ok = megaphone_move:refuse(Request),
    {wait, Gone};
pass_on(Message, #gone{taker = Taker} = Gone) ->
    case is_own(Message) of
        true ->
            {wait, answered(Message, Gone)};
        false ->
            Taker ! Message,
            {wait, Gone}
    end.

%% A node answers that was not waited for.
answered(Message, #gone{barrier = {Barrier, Row}, lingers = Lingers} = Gone) ->
    case megaphone_move_barrier:pass(Message, Barrier) of
        no ->
            Gone;
        {left, Left} ->
            ok = megaphone_ejabberd_sm:settle(Row),
            case megaphone_move_barrier:is_passed(Left) of
                true ->
                    _ = Lingers orelse erlang:send_after(?LINGER, self(), ?LINGERED),
                    Gone#gone{barrier = none, lingers = true};
                false ->
                    Gone#gone{barrier = {Left, Row}}
            end
    end;
answered(_Message, Gone) ->
    Gone.
