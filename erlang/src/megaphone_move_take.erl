%%% @doc The new session's part of a move ({@link megaphone_move}): from the token on its connection to the moment when
%%% it owns the session. Until then it holds all messages that it is sent, in order.
-module(megaphone_move_take).

-export([start/3, handle/2, abandon/1]).

-export_type([taking/0]).

-include("megaphone_messages.hrl").

-record(taking, {ref :: megaphone_move:ref(),
                 socket :: megaphone:socket(),
                 %% The state of a session on this connection, then the old one's on it.
                 stream :: megaphone_ejabberd_c2s:state(),
                 step :: step(),
                 wait = none :: none | megaphone_nif:wait(),
                 kept = [] :: [term()],
                 %% The newest first.
                 held = [] :: [term()]}).

%% Asks by a process at the old node; waits for its answer; has the session, for its messages, and at last for the
%% word that it is the session.
-type step() :: {knock, Monitor :: reference()}
              | {ask, Old :: pid(), Monitor :: reference()}
              | {lent | ready, megaphone_move_loan:loan(), Old :: pid(), Monitor :: reference()}
              | {lone, megaphone_move_loan:loan()}.

-opaque taking() :: #taking{}.

-type result() :: {wait, taking()}
                  %% The session, and the messages to handle before any others.
                | {taken, megaphone_ejabberd_c2s:state(), [term()], none | megaphone_nif:wait()}
                  %% Also if its own connection has ended, so that the reason reaches nobody.
                | {refused, Why :: iodata()}
                  %% The same, and who looked this session up meanwhile may still send to it.
                | {returned, Why :: iodata(), megaphone_move_give:gone()}.

%% How long the old session may take to lend itself, and how long everything after that may take (milliseconds).
-define(TIMEOUT, 15000).
%% How long the ECM may take to say go if the old session can't be reached (milliseconds).
-define(GO_TIMEOUT, 60000).
-define(HEADER_SIZE, 4).

%% @doc Asks for the session that the token names. The state is the caller's, which has sent nothing yet.
-spec start(Token :: binary(), megaphone:socket(), megaphone_ejabberd_c2s:state()) -> result().
start(Token, Socket, Stream) ->
    case place(megaphone_token:read(Token)) of
        {ok, Node, Key, Process} ->
            Ref = make_ref(),
            Monitor = megaphone_move:knock(Node, Process,
                                           #{key => Key, ref => Ref, taker => self(),
                                             version => megaphone_move_loan:version(),
                                             place => megaphone_ejabberd_c2s:place(Stream)}),
            _ = megaphone_move:watch_timer(Ref, ?TIMEOUT),
            listen(#taking{ref = Ref, socket = Socket, stream = Stream, step = {knock, Monitor}});
        {error, Why} ->
            {refused, Why}
    end.

place({ok, #{node := Name, key := Key, process := Process}}) ->
    case [Node || Node <- megaphone_ejabberd:cluster(), atom_to_binary(Node) =:= Name] of
        [Node] -> {ok, Node, Key, Process};
        [] -> {error, ["the token's node is not in the cluster of ", atom_to_list(node())]}
    end;
place(error) ->
    {error, "the token can't be read"}.

%% Until the session is taken, only go and the connection's end matter.
listen(#taking{wait = none, socket = Socket} = Taking) ->
    case megaphone:recv_nowait(Socket, ?HEADER_SIZE) of
        {wait, Wait} -> {wait, Taking#taking{wait = Wait}};
        {ok, <<Word:32>>} -> heard(megaphone_control:decode(Word), Taking);
        {error, _} -> closed(Taking)
    end;
listen(Taking) ->
    {wait, Taking}.

%% @doc A message to a session that is not there yet.
-spec handle(term(), taking()) -> result().
handle(?WAKE(Wait), #taking{wait = Wait} = Taking) ->
    listen(Taking#taking{wait = none});
handle({megaphone_move, Ref, Said}, #taking{ref = Ref, step = Step} = Taking) ->
    said(Said, Step, Taking);
handle({'DOWN', Monitor, process, _, Reason}, #taking{step = Step} = Taking) ->
    down(Monitor, Reason, Step, Taking);
handle({spawn_reply, Monitor, error, Reason}, #taking{step = {knock, Monitor} = Step} = Taking) ->
    down(Monitor, Reason, Step, Taking);
handle({megaphone_move, take, Request}, Taking) ->
    ok = megaphone_move:refuse(Request),
    {wait, Taking};
handle(Message, #taking{held = Held} = Taking) ->
    {wait, Taking#taking{held = [Message | Held]}}.

%% What the old session says.
said({refused, Why}, Step, Taking) when element(1, Step) =:= knock; element(1, Step) =:= ask ->
    ok = unwatch(Taking),
    {refused, Why};
said({lent, Old, Loan}, Step, Taking) when element(1, Step) =:= knock; element(1, Step) =:= ask ->
    ok = unwatch(Taking),
    lent(Old, Loan, Taking);
said({kept, Kept}, {lent, Loan, Old, Monitor}, #taking{ref = Ref, socket = Socket} = Taking) ->
    %% Its end may stand behind this.
    case megaphone:is_open(Socket) of
        true ->
            ok = megaphone_move:say(Old, Ref, ready),
            {wait, Taking#taking{kept = Kept, step = {ready, Loan, Old, Monitor}}};
        false ->
            closed(Taking)
    end;
said(moved, {ready, _, _, _}, Taking) ->
    ok = unwatch(Taking),
    taken(Taking);
said(moved, {lone, _}, Taking) ->
    taken(Taking);
said(void, {Step, Loan, Old, _}, #taking{held = Held} = Taking) when Step =:= lent; Step =:= ready ->
    ok = unwatch(Taking),
    %% What has come to this process is the old session's.
    lists:foreach(fun(Message) -> Old ! Message end, lists:reverse(Held)),
    ok = megaphone_move_loan:returned(Loan),
    {returned, "the old session goes on", megaphone_move_give:gone_to(Old)};
said(timeout, {lone, Loan}, _Taking) ->
    lost("the old session can't be reached, and the ECM has not said go", Loan);
said(timeout, Step, Taking) when element(1, Step) =:= knock; element(1, Step) =:= ask ->
    ok = unwatch(Taking),
    {refused, io_lib:format("the old session does not answer within ~b seconds", [?TIMEOUT div 1000])};
said(_Said, _Step, Taking) ->
    {wait, Taking}.

lent(Old, Loan, #taking{stream = Stream} = Taking) ->
    Monitor = monitor(process, Old),
    {wait, Taking#taking{stream = megaphone_move_loan:merge(Loan, Stream), step = {lent, Loan, Old, Monitor}}}.

%% The old session, or who asked for it there, is gone.
down(Monitor, {megaphone_move, {asked, Old}}, {knock, Monitor}, Taking) ->
    {wait, Taking#taking{step = {ask, Old, monitor(process, Old)}}};
down(Monitor, {megaphone_move, no_session}, {knock, Monitor}, _Taking) ->
    {refused, "there is no such session"};
down(Monitor, noconnection, {knock, Monitor}, _Taking) ->
    {refused, "the token's node is gone"};
down(Monitor, Reason, {knock, Monitor}, _Taking) ->
    {refused, io_lib:format("the token's node can't hand over sessions: ~0P", [Reason, 10])};
down(Monitor, _Reason, {ask, _Old, Monitor}, _Taking) ->
    {refused, "there is no such session"};
down(Monitor, noconnection, {lent, Loan, _Old, Monitor}, _Taking) ->
    lost("the old session's node is gone", Loan);
%% It may have said moved to the ECM, and not to this process any more. Then the ECM says go.
down(Monitor, noconnection, {ready, Loan, _Old, Monitor}, #taking{ref = Ref} = Taking) ->
    _ = megaphone_move:watch_timer(Ref, ?GO_TIMEOUT),
    %% Its own connection may have ended already.
    listen(Taking#taking{step = {lone, Loan}});
%% No other process has the session. Messages that the old one has kept are lost with it, as with any process.
down(Monitor, _Reason, {_Step, _Loan, _Old, Monitor}, Taking) ->
    taken(Taking);
down(_Monitor, _Reason, _Step, Taking) ->
    {wait, Taking}.

lost(Why, Loan) ->
    ok = megaphone_move_loan:lost(Loan),
    {refused, Why}.

%% What the ECM says.
heard(go, #taking{step = Step} = Taking) when element(1, Step) =:= ready; element(1, Step) =:= lone ->
    ok = unwatch(Taking),
    taken(Taking);
heard(_, #taking{socket = Socket} = Taking) ->
    ok = megaphone:reset(Socket),
    closed(Taking).

%% The old session takes back what it has lent, and says void; or it can't any more, and says moved: then this one
%% breaks as any session does.
closed(#taking{step = {Step, _, Old, _}, ref = Ref} = Taking) when Step =:= lent; Step =:= ready ->
    ok = megaphone_move:say(Old, Ref, given_up),
    {wait, Taking};
closed(#taking{step = {lone, Loan}}) ->
    lost("its connection has ended", Loan);
closed(Taking) ->
    ok = unwatch(Taking),
    {refused, "its connection has ended"}.

taken(#taking{stream = Stream, step = Step, kept = Kept, held = Held, wait = Wait}) ->
    {taken, megaphone_move_loan:start(element(2, Step), Stream), Kept ++ lists:reverse(Held), Wait}.

%% @doc The process ends before it has the session. The old one sees that, and takes its row back.
-spec abandon(taking()) -> ok.
abandon(#taking{step = {_, Loan, Old, _}, held = Held}) ->
    lists:foreach(fun(Message) -> Old ! Message end, lists:reverse(Held)),
    megaphone_move_loan:returned(Loan);
abandon(_Taking) ->
    ok.

unwatch(#taking{step = Step}) ->
    _ = is_reference(element(tuple_size(Step), Step))
        andalso demonitor(element(tuple_size(Step), Step), [flush]),
    ok.
