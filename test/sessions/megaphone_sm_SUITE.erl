%% ejabberd's table of sessions where it is Megaphone's (`sm_db_type: megaphone'): to ejabberd it is as its own. What it
%% does as sessions move, and as nodes go, is in megaphone_move_databases_SUITE.
-module(megaphone_sm_SUITE).

-include_lib("proper/include/proper.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([it_answers_as_ejabberds_own/1, any_listener/1]).

-define(HOSTS, [<<"one.example">>, <<"two.example">>]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [it_answers_as_ejabberds_own, any_listener].

init_per_suite(Config) ->
    [Port, TrunkPort] = megaphone_test_port:free(2),
    Listener = fun(Module, Its) -> megaphone_test_config:listener(Module, Its, "    ip: \"127.0.0.1\"\n") end,
    {ok, Ejabberd} = megaphone_test_ejabberd:start(
                       #{dir => filename:join(proplists:get_value(priv_dir, Config), ?MODULE),
                         top => "sm_db_type: megaphone\n",
                         listeners => [Listener(ejabberd_c2s, Port), Listener(megaphone_listener, TrunkPort)]}),
    [{ejabberd, Ejabberd}, {port, Port}, {trunk_port, TrunkPort} | Config].

end_per_suite(Config) ->
    megaphone_test_ejabberd:stop(proplists:get_value(ejabberd, Config)).

%% Confirms that whatever is written and deleted, all that is read is what ejabberd's own table would have.
it_answers_as_ejabberds_own(Config) ->
    ok = call(Config, ejabberd_sm_mnesia, init, []),
    Processes = [call(Config, erlang, whereis, [Name]) || Name <- [init, kernel_sup, ejabberd_sup]],
    Property = ?FORALL(Steps, list(step(Processes)),
                       prop_result:holds(fun() ->
                                                 Same = lists:all(fun(Step) -> is_same(Config, Step) end, Steps),
                                                 [ok = write(Config, delete_session, Row)
                                                  || Row <- call(Config, ejabberd_sm_mnesia, get_sessions, [])],
                                                 Same andalso is_same(Config, none)
                                         end)),
    prop_result:holds_for(Property, 100).

step(Processes) ->
    {oneof([set_session, set_session, delete_session]), row(Processes)}.

row(Processes) ->
    ?LET({User, Host, Resource, Time, Process, Priority, Info},
         {oneof([<<"a">>, <<"b">>]), oneof(?HOSTS), oneof([<<"x">>, <<"y">>]), {1, 1, range(0, 2)}, oneof(Processes),
          oneof([undefined, 0, 1]), oneof([[], [{conn, c2s}]])},
         {session, {Time, Process}, {User, Host, Resource}, {User, Host}, Priority, Info}).

is_same(Config, Step) ->
    ok = step(Config, Step),
    [Own, Ours] = [[read(Config, Backend, Arguments) || Arguments <- questions()]
                   || Backend <- [ejabberd_sm_mnesia, ejabberd_sm_megaphone]],
    _ = Own =:= Ours orelse prop_result:note("ejabberd's ~p~nours ~p~n", [Own, Ours]),
    Own =:= Ours.

%% A session has one user: a row with its id and another user's name would be another key of ours.
step(_Config, none) ->
    ok;
step(Config, {set_session, {session, Sid, _, UserAndHost, _, _} = Row}) ->
    case [1 || {session, Its, _, Other, _, _} <- call(Config, ejabberd_sm_mnesia, get_sessions, []),
               Its =:= Sid, Other =/= UserAndHost] of
        [] -> write(Config, set_session, Row);
        [_] -> ok
    end;
step(Config, {delete_session, {session, Sid, _, UserAndHost, _, _}}) ->
    %% What is deleted was read before.
    _ = [ok = write(Config, delete_session, Row)
         || {session, Its, _, Same, _, _} = Row <- call(Config, ejabberd_sm_mnesia, get_sessions, []),
            Its =:= Sid, Same =:= UserAndHost],
    ok.

write(Config, Function, Row) ->
    ok = call(Config, ejabberd_sm_mnesia, Function, [Row]),
    call(Config, ejabberd_sm_megaphone, Function, [Row]).

questions() ->
    [[]] ++ [[Host] || Host <- ?HOSTS] ++ [[User, Host] || User <- [<<"a">>, <<"b">>, <<"c">>], Host <- ?HOSTS].

read(Config, Backend, Arguments) ->
    case call(Config, Backend, get_sessions, Arguments) of
        {ok, Rows} -> {ok, lists:sort(Rows)};
        Rows -> lists:sort(Rows)
    end.

%% Confirms that clients of ejabberd's own listener and of Megaphone's find each other, that presence and a login with
%% the same resource are seen, and that a session which is killed leaves nothing.
any_listener(Config) ->
    Ejabberd = proplists:get_value(ejabberd, Config),
    ok = megaphone_test_ejabberd:register_users(Ejabberd, [<<"alice">>, <<"bob">>]),
    Alice = megaphone_test_xmpp:connect(megaphone_test_c2s, {{127, 0, 0, 1}, proplists:get_value(port, Config)},
                                        <<"alice">>, #{}),
    ?assertMatch([{session, _, _, _, undefined, _}], rows(Config, <<"alice">>)),
    Present = megaphone_test_xmpp:send_presence(Alice),
    ?assertMatch([{session, _, _, _, 0, _}], rows(Config, <<"alice">>)),
    Target = {megaphone_test_yamux:connect({{127, 0, 0, 1}, proplists:get_value(trunk_port, Config)}),
              megaphone_test_session:header()},
    Bob = megaphone_test_xmpp:login(megaphone_test_session, Target, <<"bob">>, #{}),
    {_, _} = megaphone_test_xmpp:chat(Present, Bob, 3),
    ?assertEqual(2, call(Config, ejabberd_sm, connected_users_number, [])),
    [{session, {_, First}, {_, _, Resource}, _, _, _}] = rows(Config, <<"bob">>),
    {_, Again} = megaphone_test_xmpp:request(
                   megaphone_test_xmpp:authenticate(megaphone_test_session, Target, <<"bob">>, #{}),
                   {"set", "", ["<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                                "<resource>", Resource, "</resource></bind>"]}),
    true = megaphone_test_wait:until("one session of two with a resource",
                                     fun() -> not lists:keymember(First, 2, sids(Config, <<"bob">>)) end),
    ?assertEqual(1, length(sids(Config, <<"bob">>))),
    ok = megaphone_test_xmpp:logout(Again),
    ?assertEqual([], rows(Config, <<"bob">>)),
    [{_, Process}] = sids(Config, <<"alice">>),
    true = call(Config, erlang, exit, [Process, kill]),
    true = megaphone_test_wait:until("nobody to be found",
                                     fun() -> call(Config, ejabberd_sm, connected_users, []) =:= [] end),
    ?assertEqual([], rows(Config, <<"alice">>)).

rows(Config, User) ->
    {ok, Rows} = call(Config, ejabberd_sm_megaphone, get_sessions, [User, <<"localhost">>]),
    Rows.

sids(Config, User) ->
    [Sid || {session, Sid, _, _, _, _} <- rows(Config, User)].

call(Config, Module, Function, Arguments) ->
    megaphone_test_ejabberd:call(proplists:get_value(ejabberd, Config), Module, Function, Arguments).
