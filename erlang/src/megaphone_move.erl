%%% @doc How a session moves to another process, at this node or another one of the cluster: what the old and the new
%%% session say to each other. The ECM's part is in doc/protocol.md.
%%%
%%% ```
%%%   old session, megaphone_move_give            new session, megaphone_move_take
%%%     mark: a token, and a key that it keeps
%%%                                <- take ------- by its trunk it got the token
%%%     one row for the other
%%%     ---------------------------- lent -------> holds whatever it is sent
%%%     keeps whatever it is sent
%%%     a barrier through all nodes that answer
%%%     ---------------------------- kept ------->
%%%                                <- ready ------
%%%     moved, FIN, to the ECM
%%%     ---------------------------- moved ------> what was kept, what it held, the client
%%%     passes on what still comes
%%% '''
%%%
%%% Up to `moved' the old session owns the session, and takes everything back if anything goes wrong: then it says
%%% `void', or is gone, and the new session leaves nothing behind. Each monitors the other.
-module(megaphone_move).

-export([knock/3, take/2, refuse/1, say/3, watch_timer/2, slow_timer/2]).

-export_type([request/0, ref/0]).

%% Names one take-over in all messages of it.
-type ref() :: reference().
%% A request to take a session over, with what the new session's row needs.
-type request() :: #{key := megaphone_token:key(), ref := ref(), taker := pid(), version := binary(),
                     place := megaphone_ejabberd_sm:place()}.
-type said() :: {refused, Why :: iodata()}
              | {lent, Old :: pid(), megaphone_move_loan:loan()}
              | {kept, [term()]}
              | ready
              | given_up
              | moved
              | void.

%% @doc Asks the session that a token names to hand itself over. The process that is started at its node for that ends
%% with the result, which the caller's monitor reports; if it can't be started, `{spawn_reply, Monitor, error, Reason}'
%% says so. The caller does not wait for a node that does not answer.
-spec knock(node(), Process :: binary(), request()) -> Monitor :: reference().
knock(Node, Process, Request) ->
    spawn_request(Node, ?MODULE, take, [Process, Request], [monitor, {reply, error_only}]).

%% @doc The part of {@link knock/3} that runs at the session's node.
-spec take(Process :: binary(), request()) -> no_return().
take(Process, Request) ->
    try list_to_pid(binary_to_list(Process)) of
        Pid when node(Pid) =:= node() ->
            case is_session(Pid) of
                true ->
                    Pid ! {?MODULE, take, Request},
                    exit({?MODULE, {asked, Pid}});
                false ->
                    exit({?MODULE, no_session})
            end;
        _ ->
            exit({?MODULE, no_session})
    catch
        error:badarg -> exit({?MODULE, no_session})
    end.

is_session(Pid) ->
    proc_lib:translate_initial_call(Pid) =:= {megaphone_session, init, 1}.

%% @doc Refuses a request whose token is not valid.
-spec refuse(request()) -> ok.
refuse(#{ref := Ref, taker := Taker}) ->
    say(Taker, Ref, {refused, "the token is void, or was used"}).

%% @doc Says something to the other session of a move.
-spec say(pid(), ref(), said()) -> ok.
say(Pid, Ref, Said) ->
    Pid ! {?MODULE, Ref, Said},
    ok.

%% @doc Sends `timeout' for this move to the caller, after this many milliseconds.
-spec watch_timer(ref(), pos_integer()) -> reference().
watch_timer(Ref, Timeout) ->
    erlang:send_after(Timeout, self(), {?MODULE, Ref, timeout}).

%% @doc Says `slow' to the caller in the same way.
-spec slow_timer(ref(), pos_integer()) -> reference().
slow_timer(Ref, Timeout) ->
    erlang:send_after(Timeout, self(), {?MODULE, Ref, slow}).
