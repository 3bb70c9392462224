%%% @doc The options of {@link megaphone_listener}: how each is checked, its default, and its value.
-module(megaphone_listener_options).

-export([get/2, acceptor/1, takes_proxy_header/1, ceilings/1, type/1, defaults/0]).

%% megaphone_nif:ceiling()
-define(CEILINGS, [unused_streams, unanswered_streams, refused_streams, pings,
                   empty_frames, tiny_frames, idle_updates, stray_frames]).
%% The NIF counts in 32 bits.
-define(MOST_LIMIT, 16#ffffffff).
%% A send_timeout of `infinity' (milliseconds): 24 days.
-define(FOR_EVER, 16#7fffffff).

%% @doc An option's value, or its default.
-spec get(atom(), [{atom(), term()}]) -> term().
get(Name, Opts) ->
    proplists:get_value(Name, Opts, proplists:get_value(Name, defaults())).

%% @doc The process that accepted a trunk.
-spec acceptor([{atom(), term()}]) -> pid().
acceptor(Opts) ->
    proplists:get_value(acceptor, Opts, self()).

%% @doc Whether a trunk begins with a PROXY header.
-spec takes_proxy_header([{atom(), term()}]) -> boolean().
takes_proxy_header(Opts) ->
    megaphone_ejabberd:is_proxy_header_left(Opts).

%% @doc The ceilings that the listener sets, as megaphone_nif:open/1 takes them.
-spec ceilings([{atom(), term()}]) -> #{megaphone_nif:ceiling() => #{most | per_second => non_neg_integer()}}.
ceilings(Opts) ->
    maps:from_list([{Name, limits(Limits)} || {Name, Limits} <- get(ceilings, Opts)]).

limits(Most) when is_integer(Most) -> #{most => Most};
limits(Limits) -> maps:from_list(Limits).

%% @doc The validator of each option: our own, or ejabberd_http's, which also loads the request
%% handlers. ejabberd tries its common options where this fails.
-spec type(atom()) -> econf:validator().
type(max_frame_size) ->
    econf:int(33, 9999999999);
type(max_connections) ->
    econf:pos_int();
type(max_trunks) ->
    econf:pos_int();
type(handshake_timeout) ->
    econf:timeout(second, infinity);
type(frame_timeout) ->
    econf:timeout(second, infinity);
type(use_proxy_protocol) ->
    econf:and_then(econf:bool(), fun megaphone_ejabberd:leave_proxy_header/1);
type(max_trunk_buffer) ->
    econf:pos_int();
type(max_trunk_output) ->
    econf:pos_int();
type(idle_timeout) ->
    econf:timeout(second, infinity);
type(send_timeout) ->
    econf:and_then(econf:timeout(second, infinity), fun(Timeout) -> min(Timeout, ?FOR_EVER) end);
type(shutdown_timeout) ->
    econf:timeout(second);
type(drain_timeout) ->
    econf:either(econf:int(0, 0), econf:timeout(second));
type(ceilings) ->
    Limit = econf:int(0, ?MOST_LIMIT),
    Limits = econf:options(#{most => Limit, per_second => Limit}, [unique]),
    econf:options(maps:from_list([{Name, econf:either(Limit, Limits)} || Name <- ?CEILINGS]), [unique]);
type(allow_plain) ->
    econf:bool();
type(protocols) ->
    econf:list(econf:enum([http, 'xmpp-client', 'xmpp-framing']), [unique]);
type(hibernate_after) ->
    econf:timeout(second, infinity);
type(c2s) ->
    Types = maps:from_list([{Name, megaphone_ejabberd:c2s_option_type(Name)}
                            || {Name, _} <- megaphone_ejabberd:c2s_options(), Name =/= tls]),
    Limits = maps:from_list([{Name, megaphone_stanza_limits:opt_type(Name)}
                             || Name <- megaphone_stanza_limits:names()]),
    econf:options(maps:merge(Types, Limits), [unique]);
type(Option) ->
    megaphone_ejabberd:http_option_type(Option).

%% @doc The options and their defaults; times in milliseconds, sizes in bytes.
-spec defaults() -> [{atom(), term()}].
defaults() ->
    Own = [{max_frame_size, 1048576},
           {max_connections, 1000000},
           {max_trunk_buffer, 67108864},
           {max_trunk_output, 67108864},
           {max_trunks, 1000},
           {handshake_timeout, 10000},
           {frame_timeout, 30000},
           {idle_timeout, 600000},
           {send_timeout, 15000},
           {shutdown_timeout, 5000},
           {drain_timeout, 60000},
           {ceilings, []},
           {protocols, [http, 'xmpp-client', 'xmpp-framing']},
           {hibernate_after, 5000},
           {c2s, []},
           {tls, false},
           {certfile, undefined},
           {cafile, undefined},
           {allow_plain, false},
           {ip, {127, 0, 0, 1}},
           %% A fleet comes back at once; ejabberd's own default may be 5.
           {backlog, 1024}],
    Own ++ [Option || {Name, _} = Option <- megaphone_ejabberd:http_options(),
                      not lists:keymember(Name, 1, Own)].
