%% @doc A function of ejabberd's hook `c2s_init', inside the test's ejabberd: it keeps what ejabberd knows of the HTTP
%% request by which a client came.
-module(megaphone_test_c2s_hook).

-export([add/0, c2s_init/2]).

-spec add() -> ok.
add() ->
    ejabberd_hooks:add(c2s_init, ?MODULE, c2s_init, 50).

%% @doc The state has it as `megaphone_test_http'.
-spec c2s_init({ok, map()}, [{atom(), term()}]) -> {ok, map()}.
c2s_init({ok, State}, Opts) ->
    {ok, State#{megaphone_test_http => proplists:get_value(http, Opts, none)}}.
