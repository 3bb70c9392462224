%%% @doc The old session's part of a move ({@link megaphone_move}).
%%%
%%% Parked, the session goes on as ever but for its client's input, until the token is used, or is too old. Once it
%%% is lent to another process it keeps the messages that it gets, in their order, for whichever of the two goes
%%% on. Having left, it passes on what still comes.
-module(megaphone_move_give).

-export([park/1, is_parked/2, unpark/1, lend/3, handle/2, moved/2, taken_back/2, pass_on/2]).

-export_type([parked/0, lent/0, gone/0]).

-include("megaphone_messages.hrl").

-opaque parked() :: {megaphone_token:key(), Timer :: reference()}.

-record(lent, {ref :: megaphone_move:ref(),
               taker :: pid(),
               monitor :: reference(),
               timer :: reference(),
               loan :: megaphone_move_loan:loan(),
               %% The messages since, the newest first: first until the barrier has passed, then behind it.
               step :: {barrier, megaphone_move_barrier:barrier()} | ready,
               kept = [] :: [term()],
               late = [] :: [term()],
               %% Those that mean something to this process alone.
               own = [] :: [term()]}).

-opaque lent() :: #lent{}.
-type gone() :: {gone, pid()}.

%% How long a token is good, and how long a taker may take (milliseconds).
-define(GOOD_FOR, 15000).
-define(TAKES, 15000).
%% How long a session that has moved passes on what comes. Who looked it up before it moved sends at once
%% (milliseconds).
-define(LINGER, 5000).

%% @doc A token for the session with this state, which a `?EXPIRED' follows.
-spec park(megaphone_ejabberd_c2s:state()) -> {ok, Token :: binary(), parked()} | {error, Why :: string()}.
park(Stream) ->
    case megaphone_move_loan:may_move(Stream) of
        ok ->
            {Key, Token} = megaphone_token:new(),
            {ok, Token, {Key, erlang:send_after(?GOOD_FOR, self(), ?EXPIRED(Key))}};
        {error, _} = Error ->
            Error
    end.

%% @doc The token is good for nothing any more.
-spec unpark(parked()) -> ok.
unpark({_Key, Timer}) ->
    _ = erlang:cancel_timer(Timer),
    ok.

%% @doc Whether it is that key's token for which the session is parked.
-spec is_parked(megaphone_token:key(), parked()) -> boolean().
is_parked(Key, {Key, _Timer}) -> true;
is_parked(_Key, _Parked) -> false.

%% @doc Lends the session to who asks for it with the token's key; the token is good for nothing any more. If it is
%% not lent the one who asks is told why.
-spec lend(megaphone_move:request(), parked(), megaphone_ejabberd_c2s:state()) ->
          {lent, lent(), megaphone_ejabberd_c2s:state()} | {error, Why :: iodata()}.
lend(#{ref := Ref, taker := Taker, place := Place, version := Version}, Parked, Stream) ->
    ok = unpark(Parked),
    case lendable(Version, Stream) of
        ok ->
            case megaphone_move_loan:lend(Taker, Place, Stream) of
                {ok, Loan, Lender} -> {lent, lent(Ref, Taker, Loan), Lender};
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

lent(Ref, Taker, Loan) ->
    Monitor = monitor(process, Taker),
    ok = megaphone_move:say(Taker, Ref, {lent, self(), Loan}),
    %% The row is the taker's: who looks the session up from now on sends to it.
    Barrier = megaphone_move_barrier:start(megaphone_ejabberd:cluster()),
    #lent{ref = Ref, taker = Taker, monitor = Monitor, loan = Loan, step = {barrier, Barrier},
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
handle({'DOWN', Monitor, process, _, Reason}, #lent{monitor = Monitor} = Lent) ->
    {void, why_down(Reason), Lent};
handle(Message, #lent{step = {barrier, Barrier}} = Lent) ->
    case megaphone_move_barrier:pass(Message, Barrier) of
        no -> {wait, keep(Message, Lent)};
        {left, Left} -> {wait, Lent#lent{step = {barrier, Left}}};
        passed -> {wait, send_kept(Lent)}
    end;
handle(Message, Lent) ->
    {wait, keep(Message, Lent)}.

why_down(noconnection) -> "the new session's node is gone";
why_down(_) -> "the new session has ended".

send_kept(#lent{ref = Ref, taker = Taker, kept = Kept} = Lent) ->
    ok = megaphone_move:say(Taker, Ref, {kept, lists:reverse(Kept)}),
    Lent#lent{step = ready}.

keep(Message, #lent{own = Own, kept = Kept, late = Late, step = Step} = Lent) ->
    case is_own(Message) of
        true -> Lent#lent{own = [Message | Own]};
        false when Step =:= ready -> Lent#lent{late = [Message | Late]};
        false -> Lent#lent{kept = [Message | Kept]}
    end.

%% Wakes of its connection and what it says to itself; timers; ends that it watches; and that this node stops.
is_own({'$megaphone', _}) -> true;
is_own({timeout, Timer, _}) when is_reference(Timer) -> true;
is_own({'DOWN', _, _, _, _}) -> true;
is_own({'$gen_cast', {megaphone_session, shut_down}}) -> true;
is_own({megaphone_move, _, _}) -> true;
is_own(_) -> false.

%% @doc The session is the taker's, and the ECM knows: passes on what came meanwhile.
-spec moved(lent(), megaphone_ejabberd_c2s:state()) -> gone().
moved(#lent{ref = Ref, taker = Taker, loan = Loan, late = Late} = Lent, Stream) ->
    ok = unwatch(Lent),
    lists:foreach(fun(Message) -> Taker ! Message end, lists:reverse(Late)),
    ok = megaphone_move:say(Taker, Ref, moved),
    ok = megaphone_move_loan:give_away(Loan, Stream),
    _ = erlang:send_after(?LINGER, self(), ?LINGERED),
    {gone, Taker}.

%% @doc The session stays, with this state: all that came meanwhile has its turn, in its order.
-spec taken_back(lent(), megaphone_ejabberd_c2s:state()) -> {megaphone_ejabberd_c2s:state(), [term()]}.
taken_back(#lent{ref = Ref, taker = Taker, loan = Loan, kept = Kept, late = Late, own = Own} = Lent, Stream) ->
    ok = unwatch(Lent),
    ok = megaphone_move:say(Taker, Ref, void),
    {megaphone_move_loan:take_back(Loan, Stream),
     lists:reverse(Kept, lists:reverse(Late, lists:reverse(Own)))}.

unwatch(#lent{monitor = Monitor, timer = Timer}) ->
    true = demonitor(Monitor, [flush]),
    _ = erlang:cancel_timer(Timer),
    ok.

%% @doc A message to a session that has moved; `done' once it has passed on long enough.
-spec pass_on(term(), gone()) -> ok | done.
pass_on(?LINGERED, _Gone) ->
    done;
pass_on({megaphone_move, take, Request}, _Gone) ->
    megaphone_move:refuse(Request);
pass_on(Message, {gone, Taker}) ->
    _ = is_own(Message) orelse (Taker ! Message),
    ok.
