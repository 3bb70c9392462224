%%% @doc What of ejabberd this application calls and knows. Together with {@link megaphone_ejabberd_c2s},
%%% which has the state of a c2s, {@link megaphone_ejabberd_sm}, which has the table of sessions, and
%%% {@link megaphone_ejabberd_admin}, which has the commands and WebAdmin, it is all: no other module calls
%%% ejabberd, or relies on how it is made. What they call, {@link megaphone_ejabberd_check} looks for as a
%%% listener starts.
%%%
%%% Most of it no ejabberd documents. It was read in 23.01, 24.12 and 26.07, is the same in all of them where
%%% nothing else is said, and runs under test on each.
-module(megaphone_ejabberd).

-export([tested/0, version/0, read_version/1]).
-export([http_options/0, http_option_type/1, c2s_options/0, c2s_option_type/1, send_timeout/2,
         leave_proxy_header/1, is_proxy_header_left/1]).
-export([start_http/2, start_xml_stream/2, accept_xml_stream/1, is_held/1]).
-export([request_socket/1, request_path/1, as_https/1, handle_request/3, http_headers/1]).
-export([listeners/1, open_end_points/0, running_end_points/0, open_listeners/0, close_listener/2]).
-export([add_hook/3, run_hook/1, is_alone/0, cluster/0, made_of/0, route/1, codec_options/0]).

-export_type([version/0, options/0, end_point/0, listeners/0, request_handler/0]).

-type version() :: {Year :: non_neg_integer(), Month :: non_neg_integer()}.
%% What ejabberd_listener hands to a listener's module: what differs from the defaults. What that makes of it, for
%% all connections, has to be a list of pairs too, which ejabberd searches and puts `sock_peer_name' in front of.
-type options() :: [{atom(), term()}].
%% A port, or a Unix socket's path as `<<"unix:/path">>'.
-type end_point() :: {inet:port_number() | binary(), inet:ip_address(), tcp | udp}.
-type listeners() :: [{end_point(), module(), map()}].
%% The path, in its segments, and who answers requests for it and for all below.
-type request_handler() :: {[binary()], module()} | {[binary()], module(), Opts :: term()}.

%% A request as ejabberd_http hands it to its handlers.
-record(request, {method :: term(),
                  path :: term(),
                  raw_path :: term(),
                  q :: term(),
                  us :: term(),
                  auth :: term(),
                  lang :: term(),
                  data :: term(),
                  ip :: term(),
                  host :: term(),
                  port :: term(),
                  opts :: term(),
                  tp :: term(),
                  headers :: term(),
                  length :: term(),
                  sockmod :: term(),
                  socket :: term()}).

%% @doc The oldest and the newest ejabberd that this application was tested with.
-spec tested() -> {Oldest :: version(), Newest :: version()}.
tested() ->
    {{23, 1}, {26, 7}}.

%% @doc The version of the ejabberd that runs here. Debian's are `23.01-1' and the like, those that Mix makes
%% `23.1.0', and what lies between two versions `24.12.5' or `24.12-5-g0123abc'.
-spec version() -> {ok, version(), string()} | {unknown, string()}.
version() ->
    case application:get_key(ejabberd, vsn) of
        {ok, Text} -> read_version(lists:flatten(io_lib:format("~ts", [Text])));
        undefined -> read_version("")
    end.

%% @doc The same of such a text.
-spec read_version(string()) -> {ok, version(), string()} | {unknown, string()}.
read_version(Text) ->
    case re:run(Text, "^([0-9]+)\\.([0-9]+)", [{capture, all_but_first, list}]) of
        {match, Parts} -> {ok, list_to_tuple([list_to_integer(Part) || Part <- Parts]), Text};
        nomatch -> {unknown, Text}
    end.

%% Options.

%% @doc The options of ejabberd_http and their defaults. Its module is a listener's, and such modules have this
%% function and the next, in which what has no type of its own is undefined; ejabberd asks them too.
-spec http_options() -> options().
http_options() ->
    ejabberd_http:listen_options().

%% @doc The validator of one; it also loads the request handlers.
-spec http_option_type(atom()) -> econf:validator().
http_option_type(Name) ->
    ejabberd_http:listen_opt_type(Name).

%% @doc The options of ejabberd_c2s and their defaults. From 26.04 on `pre_auth_max_stanza_size',
%% `pre_auth_max_stanza_elements' and `max_stanza_elements' are among them.
-spec c2s_options() -> options().
c2s_options() ->
    ejabberd_c2s:listen_options().

%% @doc The validator of one. Those that several modules have in common are ejabberd_listener's.
-spec c2s_option_type(atom()) -> econf:validator().
c2s_option_type(Name) ->
    try
        ejabberd_c2s:listen_opt_type(Name)
    catch
        error:_ -> ejabberd_listener:listen_opt_type(Name)
    end.

%% @doc The options with `send_timeout' among them, if it is not the default. From 25.10 on ejabberd sets it on
%% the port's socket and takes it out of the options; before that it is an option alone.
-spec send_timeout(ListenSocket :: inet:socket(), options()) -> options().
send_timeout(ListenSocket, Opts) ->
    case {lists:keymember(send_timeout, 1, Opts), inet:getopts(ListenSocket, [send_timeout])} of
        {false, {ok, [{send_timeout, Timeout}]}} when is_integer(Timeout) ->
            [{send_timeout, Timeout} | Opts];
        _ ->
            Opts
    end.

%% @doc The value of `use_proxy_protocol' that leaves the header to the listener's module. ejabberd_listener
%% reads it only where the option is `true'; then it waits for each peer that sends none, before it accepts
%% another, and falls over some headers.
-spec leave_proxy_header(boolean()) -> false | by_trunk.
leave_proxy_header(true) -> by_trunk;
leave_proxy_header(false) -> false.

%% @doc Whether a connection of the listener with these options begins with a header.
-spec is_proxy_header_left(options()) -> boolean().
is_proxy_header_left(Opts) ->
    proplists:get_value(use_proxy_protocol, Opts, false) =:= by_trunk.

%% Owners of connections.

%% @doc Starts ejabberd_http on a socket. It reads by itself. It knows `gen_tcp' and `fast_tls' as socket
%% modules, and no other.
-spec start_http(megaphone:socket(), options()) -> {ok, pid()}.
start_http(Socket, Opts) ->
    ejabberd_http:start(gen_tcp, Socket, Opts).

%% @doc Starts ejabberd_c2s on a socket, where it reads an XML stream; {@link accept_xml_stream/1} follows.
-spec start_xml_stream(megaphone:socket(), options()) -> {ok, pid()} | ignore | {error, term()}.
start_xml_stream(Socket, Opts) ->
    ejabberd_c2s:start(gen_tcp, Socket, Opts).

%% @doc The process owns its connection now and reads.
-spec accept_xml_stream(pid()) -> ok.
accept_xml_stream(Pid) ->
    _ = ejabberd_c2s:accept(Pid),
    ok.

%% @doc Whether a process that waits is one of ejabberd_http's in a call to a BOSH session, by its stack: the
%% call is in ejabberd_bosh, whose functions stand in it.
-spec is_held([{module(), atom(), arity() | [term()], term()}]) -> boolean().
is_held(Stack) ->
    lists:any(fun({Module, _, _, _}) -> Module =:= ejabberd_bosh end, Stack).

%% Requests.

%% @doc The socket by which a request came; none if it is not one that says so in the way that is known.
-spec request_socket(tuple()) -> {ok, term()} | none.
request_socket(#request{tp = Tp, port = Port, headers = Headers, sockmod = gen_tcp, socket = Socket})
  when is_atom(Tp), is_integer(Port), is_list(Headers) ->
    {ok, Socket};
request_socket(_Request) ->
    none.

%% @doc The part of a request's path that its handler looks at.
-spec request_path(tuple()) -> [binary()].
request_path(#request{path = Path}) ->
    Path.

%% @doc A request as ejabberd_http would make it of one by HTTPS. It tells HTTPS by the socket's module alone,
%% `fast_tls', and with it the port that a host without one has.
-spec as_https(tuple()) -> tuple().
as_https(#request{port = Port, headers = Headers} = Request) ->
    {_, Host} = lists:keyfind('Host', 1, Headers),
    Request#request{tp = https,
                    port = case re:run(Host, ":[0-9]+\\s*$") of
                               nomatch -> 443;
                               {match, _} -> Port
                           end}.

%% @doc Hands a request to its handler, as ejabberd_http does: one with `socket_handoff/3' may keep the socket.
-spec handle_request({module(), Opts :: term()}, LocalPath :: [binary()], tuple()) -> term().
handle_request({Module, Opts}, LocalPath, Request) ->
    case erlang:function_exported(Module, socket_handoff, 3) of
        true -> Module:socket_handoff(LocalPath, Request, Opts);
        false -> Module:process(LocalPath, Request)
    end.

%% @doc The headers of a request as ejabberd_http has them, the last one first, of lines that end with CRLF: those
%% that erlang:decode_packet/3 knows have an atom for a name, the others begin each part of it with a capital.
-spec http_headers(binary()) -> [{Name :: atom() | binary(), Value :: binary()}].
http_headers(Fields) ->
    http_headers(<<Fields/binary, "\r\n">>, []).

http_headers(Fields, Headers) ->
    case erlang:decode_packet(httph_bin, Fields, []) of
        {ok, {http_header, _, Name, _, Value}, Rest} -> http_headers(Rest, [{header_name(Name), Value} | Headers]);
        %% Their end, or what is no header.
        _ -> Headers
    end.

header_name(Name) when is_atom(Name) ->
    Name;
header_name(Name) ->
    iolist_to_binary(lists:join("-", [capitalised(Part) || Part <- binary:split(Name, <<"-">>, [global])])).

capitalised(<<First, Rest/binary>>) -> [upper(First) | [lower(Byte) || <<Byte>> <= Rest]];
capitalised(<<>>) -> <<>>.

upper(Byte) when Byte >= $a, Byte =< $z -> Byte - 32;
upper(Byte) -> Byte.

lower(Byte) when Byte >= $A, Byte =< $Z -> Byte + 32;
lower(Byte) -> Byte.

%% Listeners. ejabberd_listener is the supervisor of its listeners, whose ids are their end points.

%% @doc The end points that the configuration has for a module.
-spec listeners(module()) -> listeners().
listeners(Module) ->
    [Listener || {_, Of, _} = Listener <- ejabberd_option:listen(), Of =:= Module].

%% @doc The end points of all listeners that ejabberd has started. One that has refused its own options is one
%% of them still, without a process.
-spec open_end_points() -> [end_point()].
open_end_points() ->
    [EndPoint || {EndPoint, _, _, _} <- supervisor:which_children(ejabberd_listener)].

%% @doc Those whose port is open.
-spec running_end_points() -> [end_point()].
running_end_points() ->
    [EndPoint || {EndPoint, Process, _, _} <- supervisor:which_children(ejabberd_listener), is_pid(Process)].

%% @doc Opens what the configuration has and is not open, and closes what it no longer has, as a reload does.
-spec open_listeners() -> ok.
open_listeners() ->
    Listeners = ejabberd_option:listen(),
    _ = ejabberd_listener:config_reloaded(),
    %% A reload may have come at the same time: then the newer configuration has the last word.
    case ejabberd_option:listen() of
        Listeners -> ok;
        _ -> open_listeners()
    end.

%% @doc Closes a listener's port; its connections stay.
-spec close_listener(end_point(), module()) -> ok.
close_listener(EndPoint, Module) ->
    _ = ejabberd_listener:delete_listener(EndPoint, Module),
    ok.

%% The rest.

%% @doc Adds a function to a hook of ejabberd's own:
%%
%% <ul>
%% <li>`ejabberd_stopping', before anything of ejabberd stops;</li>
%% <li>`config_reloaded': at 50 ejabberd_listener's own closes and opens ports;</li>
%% <li>`http_request_handlers', for each request of ejabberd_http: the function gets the handlers, the host and
%% the request, and answers the handlers. The first whose path fits gets the request.</li>
%% </ul>
%%
%% Functions of the first two have no arguments.
-spec add_hook(atom(), {module(), atom()}, non_neg_integer()) -> ok | {error, not_running}.
add_hook(Hook, {Module, Function}, Sequence) ->
    try
        ejabberd_hooks:add(Hook, Module, Function, Sequence)
    catch
        %% ejabberd reads its configuration before it starts.
        exit:{noproc, _} -> {error, not_running};
        %% It isn't there: the module is loaded for something else.
        error:undef -> {error, not_running}
    end.

%% @doc Runs the functions of a hook of our own, which have no arguments.
-spec run_hook(atom()) -> ok.
run_hook(Hook) ->
    ejabberd_hooks:run(Hook, []).

%% @doc Whether no other node is in the cluster.
-spec is_alone() -> boolean().
is_alone() ->
    length(ejabberd_cluster:get_nodes()) =:= 1.

%% @doc The nodes of the cluster that run, this one among them.
-spec cluster() -> [node(), ...].
cluster() ->
    lists:usort([node() | ejabberd_cluster:get_nodes()]).

%% @doc What the state of a session is made of, in words: it has records of ejabberd's and of its library's.
-spec made_of() -> [unicode:chardata()].
made_of() ->
    [io_lib:format("~ts ~ts", [Application, made_in(application:get_key(Application, vsn))])
     || Application <- [ejabberd, xmpp]].

made_in({ok, Version}) -> Version;
made_in(undefined) -> "of an unknown version".

%% @doc Routes a stanza, which has both addresses.
-spec route(tuple()) -> ok.
route(Stanza) ->
    ejabberd_router:route(Stanza).

%% @doc How ejabberd_c2s decodes stanzas.
-spec codec_options() -> [xmpp:decode_option()].
codec_options() ->
    ejabberd_config:codec_options().
