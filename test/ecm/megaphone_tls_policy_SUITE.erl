%% Where ejabberd wants TLS of its clients (starttls_required), those who came by TLS to the ECM have it, by
%% whatever they speak, and nobody else logs in.
-module(megaphone_tls_policy_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([who_came_by_tls_logs_in/1, others_are_refused/1]).

-import(megaphone_test_entrances, [target/2]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [who_came_by_tls_logs_in, others_are_refused].

init_per_suite(Config) ->
    megaphone_test_entrances:start(Config, #{options => "    c2s:\n      starttls_required: true\n"}).

end_per_suite(Config) ->
    megaphone_test_stage:stop(Config).

who_came_by_tls_logs_in(Config) ->
    [begin
         Client = megaphone_test_xmpp:login(Transport, target(Config, Kind), user(Config), Options),
         ok = megaphone_test_xmpp:logout(Client)
     end || {Transport, Kind, Options} <- [{megaphone_test_websocket, https, #{}}, {megaphone_test_bosh, https, #{}},
                                           {megaphone_test_c2s, xmpps, #{}},
                                           {megaphone_test_c2s, xmpp, #{starttls => true}},
                                           {megaphone_test_c2s, xmpp_optional, #{starttls => true}}]].

%% Confirms that no mechanism is offered to the others, and that none works.
others_are_refused(Config) ->
    [begin
         {ok, Opened} = Transport:open(target(Config, Kind), <<"localhost">>, #{}),
         {ok, Features, Greeted} = Transport:recv(Opened, 5000),
         Who = {Transport, Kind},
         ?assertEqual(<<"stream:features">>, megaphone_test_xml:name(Features), Who),
         ?assertEqual(undefined, megaphone_test_xml:child(<<"mechanisms">>, Features), Who),
         {ok, Asked} = Transport:send(Greeted, megaphone_test_session:auth(user(Config), <<"megaphone">>)),
         {ok, Failure, Refused} = Transport:recv(Asked, 5000),
         ?assertEqual(<<"failure">>, megaphone_test_xml:name(Failure), Who),
         ?assertMatch({xmlel, _, _, _}, megaphone_test_xml:child(<<"encryption-required">>, Failure), Who),
         ok = Transport:drop(Refused)
     end || {Transport, Kind} <- [{megaphone_test_websocket, http}, {megaphone_test_bosh, http},
                                  {megaphone_test_c2s, xmpp_off}, {megaphone_test_c2s, xmpp_optional}]].

user(Config) ->
    megaphone_test_stage:user(Config, <<"user">>).
