%%% @doc The module that an admin writes in ejabberd.yml beside the listener: a page of WebAdmin for each node, with
%%% its trunks and buttons, and the commands even where no listener runs. Trunks and sessions work without it.
%%%
%%% ```
%%% modules:
%%%   mod_megaphone: {}
%%% '''
%%%
%%% What it adds is the node's, whichever of its hosts have the module.
-module(mod_megaphone).

-behaviour(gen_mod).

-export([start/2, stop/1, reload/3, depends/2, mod_options/1, mod_doc/0]).

-define(HOOKS, [{webadmin_menu_node, menu}, {webadmin_page_node, page}]).
-define(SEQUENCE, 50).

%% @doc The first host that has it adds what there is.
-spec start(binary(), map()) -> ok.
start(_Host, _Opts) ->
    ok = megaphone_webadmin:init(),
    ok = megaphone_commands:register(),
    lists:foreach(fun({Hook, Function}) ->
                          ok = megaphone_ejabberd:add_hook(Hook, {megaphone_webadmin, Function}, ?SEQUENCE)
                  end, ?HOOKS).

%% @doc The last one takes it back. A listener needs the commands still.
-spec stop(binary()) -> ok.
stop(Host) ->
    case megaphone_ejabberd_admin:is_loaded_elsewhere(Host, ?MODULE) of
        true ->
            ok;
        false ->
            lists:foreach(fun({Hook, Function}) ->
                                  ok = megaphone_ejabberd_admin:delete_hook(Hook, {megaphone_webadmin, Function},
                                                                            ?SEQUENCE)
                          end, ?HOOKS),
            case megaphone_ejabberd:listeners(megaphone_listener) of
                [] -> megaphone_commands:unregister();
                _ -> ok
            end
    end.

%% @doc It has no options.
-spec reload(binary(), map(), map()) -> ok.
reload(_Host, _NewOpts, _OldOpts) ->
    ok.

%% @doc It needs no other module.
-spec depends(binary(), map()) -> [].
depends(_Host, _Opts) ->
    [].

%% @doc None.
-spec mod_options(binary()) -> [].
mod_options(_Host) ->
    [].

%% @doc For ejabberd's own documentation.
-spec mod_doc() -> #{desc := [binary()], example := [string()]}.
mod_doc() ->
    #{desc => [<<"This module shows the trunks of Megaphone in WebAdmin, in the menu of each node, with buttons to "
                 "drain the node and to close a trunk. The commands whose names begin with 'megaphone_' show and do "
                 "the same.">>, <<"">>,
               <<"The clients of connection managers come in by the listener 'megaphone_listener', which works without "
                 "this module.">>],
      example => ["listen:",
                  "  -",
                  "    port: 5290",
                  "    ip: 127.0.0.1",
                  "    module: megaphone_listener",
                  "",
                  "modules:",
                  "  mod_megaphone: {}"]}.
