%% The property of BOSH sessions (PropEr) against the real ECM in front of a real ejabberd. As in
%% megaphone_prop_SUITE, MEGAPHONE_SEED="{A,B,C}" repeats a failure as far as the network lets it.
-module(megaphone_bosh_prop_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([each_message_once_and_in_order/1]).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [each_message_once_and_in_order].

init_per_suite(Config) ->
    megaphone_test_stage:start(ecm, Config, #{ecm => "[bosh]\n"
                                                     "max_hold = 3\n"
                                                     "min_polling = \"0s\"\n"}).

end_per_suite(Config) ->
    megaphone_test_stage:stop(Config).

%% Confirms that whatever befalls requests and connections, each message arrives exactly once and in order,
%% in both directions, and that each request is answered, and each time in the same way.
each_message_once_and_in_order(Config) ->
    Users = {megaphone_test_stage:user(Config, <<"alice">>), megaphone_test_stage:user(Config, <<"bob">>)},
    prop_result:holds_for(prop_bosh:prop_exactly_once(megaphone_test_stage:target(Config), Users), 150).
