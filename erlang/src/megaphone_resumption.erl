%%% @doc Keeps the order of what is sent to a session that another session resumes (XEP-0198, 5), which may be at
%%% another node: what was sent to the old process comes before what was sent to the new one.
%%%
%%% ```
%%%   old session                                 new session
%%%                                <- resume ----   ejabberd's own call
%%%     ------------------------------ hold ----->
%%%     ------------------- the state ----------->   opens itself; holds whatever is routed to it
%%%     keeps whatever is routed to it
%%%                                <--- stop -----   ejabberd's own cast
%%%     a barrier through all nodes that answer
%%%     ------------------------------ kept ----->   what was kept, then what it held
%%%     passes on what still comes
%%% '''
%%%
%%% A new process that is a c2s of ejabberd's own holds nothing: it gets what was kept at once.
-module(megaphone_resumption).

%% The old session's part.
-export([offer/1, resumed/2, new/1, give/2, stopped/3, ended/1]).
%% The new one's.
-export([hold/2, held/2, release/1]).

-export_type([offer/0, given/0, holding/0]).

%% The new process, and by what it knows the old one's messages if it holds what is routed to it.
-opaque offer() :: {pid(), reference() | none}.

-record(given, {offer :: offer(),
                monitor :: reference(),
                %% The newest first.
                kept = [] :: [term()],
                barrier = none :: none | megaphone_move_barrier:barrier()}).
-opaque given() :: #given{}.

-record(holding, {ref :: reference(),
                  old :: reference(),
                  timer :: reference(),
                  %% The newest first.
                  held = [] :: [term()]}).
-opaque holding() :: #holding{}.

%% How long the new session waits for the old one, whose node may hang (milliseconds).
-define(TIMEOUT, 15000).

%% @doc Before the session gives its state to a process that asks for it: if that is a session, it learns that there
%% will be something to wait for.
-spec offer(pid()) -> offer().
offer(New) ->
    case megaphone_move:is_session(New) of
        true ->
            Ref = make_ref(),
            New ! {?MODULE, Ref, {hold, self()}},
            {New, Ref};
        false ->
            {New, none}
    end.

%% @doc That process has the state.
-spec resumed(offer(), megaphone_ejabberd_c2s:state()) -> {ok, given()} | no.
resumed({New, _} = Offer, Stream) ->
    case megaphone_ejabberd_c2s:resumed_by(Stream) of
        {ok, New} -> {ok, #given{offer = Offer, monitor = monitor(process, New)}};
        none -> no
    end.

%% @doc The process that has resumed the session.
-spec new(given()) -> pid().
new(#given{offer = {New, _}}) ->
    New.

%% @doc A message to a session that was resumed; `no' if it is to handle that itself, `done' once it may
%% {@link ended/1. end}, and `lost', with all that was kept, if the new one is gone.
-spec give(term(), given()) -> {wait, given()} | {done, given()} | {lost, [term()]} | no.
give({route, _} = Message, #given{kept = Kept} = Given) ->
    {wait, Given#given{kept = [Message | Kept]}};
give({'DOWN', Monitor, process, _, _}, #given{monitor = Monitor, kept = Kept}) ->
    {lost, lists:reverse(Kept)};
give({?MODULE, Ref, slow}, #given{offer = {_, Ref}, barrier = Barrier} = Given) ->
    case megaphone_move_barrier:ask(Barrier) of
        hang -> {done, Given};
        {asked, Asked} -> {wait, wait(Given#given{barrier = Asked})}
    end;
give(_Message, #given{barrier = none}) ->
    no;
%% It was told so before.
give({'$gen_cast', stop}, Given) ->
    {wait, Given};
give(Message, #given{barrier = Barrier} = Given) ->
    case megaphone_move_barrier:pass(Message, Barrier) of
        no ->
            no;
        {left, Left} ->
            Passed = Given#given{barrier = Left},
            case megaphone_move_barrier:is_passed(Left) of
                true -> {done, Passed};
                false -> {wait, Passed}
            end
    end.

%% @doc ejabberd finds the new process, at each node once that has called this. Until then the old one may be sent
%% something.
-spec stopped([node()], megaphone_ejabberd_sm:look(), given()) -> {wait, given()} | {done, given()}.
stopped(_Nodes, _Look, #given{offer = {_, none}} = Given) ->
    {done, Given};
stopped(Nodes, Look, Given) ->
    {wait, wait(Given#given{barrier = megaphone_move_barrier:start(Nodes, Look)})}.

wait(#given{offer = {_, Ref}} = Given) ->
    _ = erlang:send_after(megaphone_move_barrier:patience(), self(), {?MODULE, Ref, slow}),
    Given.

%% @doc The new process gets what was kept.
-spec ended(given()) -> ok.
ended(#given{offer = {New, Ref}, monitor = Monitor, kept = Kept, barrier = Barrier}) ->
    true = demonitor(Monitor, [flush]),
    _ = Barrier =/= none andalso megaphone_move_barrier:stop(Barrier),
    Messages = lists:reverse(Kept),
    lists:foreach(fun(Message) -> New ! Message end,
                  case Ref of
                      none -> Messages;
                      _ -> [{?MODULE, Ref, {kept, Messages}}]
                  end).

%% @doc What comes next was sent to the new session, which has this state. If it did not get the old one's, there is
%% nothing to wait for.
-spec hold(term(), megaphone_ejabberd_c2s:state()) -> {hold, holding()} | no.
hold({?MODULE, Ref, {hold, Old}}, Stream) ->
    case megaphone_ejabberd_c2s:has_stream_management(Stream) of
        true ->
            {hold, #holding{ref = Ref, old = monitor(process, Old),
                            timer = erlang:send_after(?TIMEOUT, self(), {?MODULE, Ref, timeout})}};
        false ->
            no
    end;
hold(_Message, _Stream) ->
    no.

%% @doc A message to a session that holds; `no' if it is to handle that itself, and in the end all messages that it is
%% to handle, in their order.
-spec held(term(), holding()) -> {hold, holding()} | {ended, [term()]} | no.
held({route, _} = Message, #holding{held = Held} = Holding) ->
    {hold, Holding#holding{held = [Message | Held]}};
held({?MODULE, Ref, {kept, Kept}}, #holding{ref = Ref} = Holding) ->
    {ended, Kept ++ release(Holding)};
held({?MODULE, Ref, timeout}, #holding{ref = Ref} = Holding) ->
    {ended, release(Holding)};
held({'DOWN', Old, process, _, _}, #holding{old = Old} = Holding) ->
    {ended, release(Holding)};
held(_Message, _Holding) ->
    no.

%% @doc All that is held, if it is not to wait any longer.
-spec release(holding()) -> [term()].
release(#holding{old = Old, timer = Timer, held = Held}) ->
    true = demonitor(Old, [flush]),
    _ = erlang:cancel_timer(Timer),
    lists:reverse(Held).
