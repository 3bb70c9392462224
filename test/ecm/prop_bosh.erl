%% @doc Two users talk to each other through BOSH clients whose requests are sent late, twice, in any order,
%% half, and on connections that break: each message arrives exactly once and in order, in both directions,
%% a request that is sent again gets the same answer, and none is left without one.
%%
%% A test is a list of actions of either client. One that means nothing in the state that is reached is
%% skipped.
-module(prop_bosh).

-include_lib("proper/include/proper.hrl").

-export([prop_exactly_once/2]).

-define(CLIENT, prop_bosh_client).
%% How long an answer that is due may take (milliseconds).
-define(PATIENCE, 5000).

%% @doc The users have accounts at localhost. The ECM needs `max_hold' of 3, and no `min_polling'.
-spec prop_exactly_once(megaphone_test_http:target(), {binary(), binary()}) -> proper:test().
prop_exactly_once(Target, Users) ->
    ?FORALL({AliceSetup, BobSetup, Actions}, {setup(), setup(), list({oneof([alice, bob]), action()})},
            prop_result:holds(fun() -> alone(fun() -> run(Target, Users, {AliceSetup, BobSetup}, Actions) end) end)).

%% In a process of its own: a test that fails leaves its connections and messages to no other.
alone(Test) ->
    {_, Monitor} = spawn_monitor(fun() -> exit({result, Test()}) end),
    receive
        {'DOWN', Monitor, process, _, {result, Result}} -> Result;
        {'DOWN', Monitor, process, _, Reason} -> error(Reason)
    end.

run(Target, {AliceName, BobName}, {AliceSetup, BobSetup}, Actions) ->
    Resource = integer_to_binary(erlang:unique_integer([positive])),
    Alice = ?CLIENT:login(Target, AliceName, Resource, AliceSetup),
    Bob = ?CLIENT:login(Target, BobName, Resource, BobSetup),
    Final = finish(lists:foldl(fun({Who, Action}, Clients) -> deliver(act(Who, Action, Clients)) end,
                               #{alice => Alice, bob => Bob}, Actions)),
    [ok = ?CLIENT:terminate(Client) || Client <- maps:values(Final)],
    true.

act(Who, {send, Count, How}, Clients) ->
    %% Nobody delays, and the next one may overtake it.
    with(Who, fun(Client) -> ?CLIENT:transmit(?CLIENT:make(Client, to(Who, Clients), Count, []), 0, How) end, Clients);
act(Who, {make, Count}, Clients) ->
    with(Who, fun(Client) -> ?CLIENT:make(Client, to(Who, Clients), Count, []) end, Clients);
act(Who, {transmit, Index, How}, Clients) ->
    with(Who, fun(Client) -> ?CLIENT:transmit(Client, Index, How) end, Clients);
act(Who, {repeat, Index, How}, Clients) ->
    with(Who, fun(Client) -> ?CLIENT:repeat(Client, Index, How) end, Clients);
act(Who, {repeat_answered, Index, How}, Clients) ->
    with(Who, fun(Client) -> ?CLIENT:repeat_answered(Client, Index, How) end, Clients);
act(Who, {cut, Index}, Clients) ->
    with(Who, fun(Client) -> ?CLIENT:cut(Client, Index) end, Clients);
act(Who, {break, Index}, Clients) ->
    with(Who, fun(Client) -> ?CLIENT:break(Client, Index) end, Clients);
act(Who, await, Clients) ->
    %% All requests but as many as may be held are answered, however long `wait' is.
    await(fun(#{Who := Client}) -> length(?CLIENT:unanswered(Client)) =< ?CLIENT:hold(Client) end,
          with(Who, fun ?CLIENT:settle/1, Clients)).

%% Until both have all messages, and no request is left without its answer.
finish(Clients) ->
    All = await(fun(#{alice := Alice, bob := Bob}) -> has_all(Alice, Bob) andalso has_all(Bob, Alice) end, Clients),
    Released = lists:foldl(fun(Who, Before) -> act(Who, await, Before) end, All, [alice, bob]),
    lists:foldl(fun(Who, Before) ->
                        #{Who := #{setup := #{wait := Wait}}} = Before,
                        case Wait of
                            1 -> await_timeout(Who, Before);
                            _ -> Before
                        end
                end, Released, [alice, bob]).

%% No request is unanswered for longer than its `wait'.
await_timeout(Who, Clients) ->
    Polled = with(Who, fun(Client) -> ?CLIENT:settle(?CLIENT:poll(Client)) end, Clients),
    await_answers(fun(#{Who := Client}) -> ?CLIENT:unanswered(Client) =:= [] end, Polled).

has_all(Client, Other) ->
    length(?CLIENT:received(Client)) =:= ?CLIENT:sent(Other).

%% Waits for something, with requests for whatever comes.
await(Has, Clients) ->
    case Has(Clients) of
        true ->
            Clients;
        false ->
            Polled = maps:map(fun(_, Client) -> ?CLIENT:settle(?CLIENT:poll(Client)) end, Clients),
            await(Has, deliver_one(Polled))
    end.

await_answers(Has, Clients) ->
    case Has(Clients) of
        true -> Clients;
        false -> await_answers(Has, deliver_one(Clients))
    end.

deliver_one(Clients) ->
    receive
        {?CLIENT, Reader, Response} -> deliver(Reader, Response, Clients)
    after ?PATIENCE ->
        error({no_answer, maps:map(fun(_, Client) -> {?CLIENT:unanswered(Client), ?CLIENT:received(Client)} end,
                                   Clients)})
    end.

%% What has come by now.
deliver(Clients) ->
    receive
        {?CLIENT, Reader, Response} -> deliver(deliver(Reader, Response, Clients))
    after 0 ->
        Clients
    end.

%% Answers of connections that broke are lost.
deliver(Reader, Response, Clients) ->
    maps:map(fun(_, Client) ->
                     case ?CLIENT:owns(Client, Reader) of
                         true -> ?CLIENT:deliver(Client, Reader, Response);
                         false -> Client
                     end
             end, Clients).

with(Who, Do, Clients) ->
    #{Who := Client} = Clients,
    Clients#{Who := Do(Client)}.

to(alice, #{bob := Bob}) -> ?CLIENT:jid(Bob);
to(bob, #{alice := Alice}) -> ?CLIENT:jid(Alice).

setup() ->
    ?LET({Wait, Hold, Acks, Keys, Login},
         %% Each test with a short `wait' lasts as long.
         {frequency([{60, 60}, {1, 1}]), range(0, 3), oneof([used, unused]), oneof([used, unused]),
          vector(3, frequency([{5, none}, {1, twice}, {1, lost}, {1, half}]))},
         #{wait => Wait, hold => Hold, acks => Acks, keys => Keys, login => Login}).

action() ->
    frequency([{8, {send, range(0, 3), how()}},
               {4, {make, range(0, 3)}},
               {5, {transmit, range(0, 3), how()}},
               {4, {repeat, range(0, 3), how()}},
               {2, {repeat_answered, range(0, 3), how()}},
               {2, {cut, range(0, 3)}},
               {4, {break, range(0, 5)}},
               {2, await}]).

how() ->
    frequency([{4, plain}, {1, chunked}, {1, pieces}, {2, pipelined}]).
