%%% @doc Looks, as a listener starts, whether this ejabberd is made as the application needs it: without that, what
%%% is missing would show in the sessions of clients, one crash after the other.
%%%
%%% Three things are looked at. The functions that are called are those that the compiler has written into the
%%% modules that call ejabberd: there is no list of them that could fall behind. The functions that ejabberd
%%% calls here are those of its behaviours. And what a client's c2s is made of, and what it understands, shows in
%%% one that is made for this; its socket is this module, and what it answers goes nowhere.
-module(megaphone_ejabberd_check).

-behaviour(xmpp_socket).

-export([run/0, callers/0, says_tested/1]).
%% xmpp_socket's callbacks
-export([send_xml/2, get_owner/1, get_transport/1, change_shaper/2, controlling_process/2, close/1,
         sockname/1, peername/1, setopts/2, reset_stream/1]).

-include_lib("kernel/include/logger.hrl").

%% The process that asked for it, in which nothing happens.
-type socket() :: {?MODULE, pid()}.

-define(NS_FRAMING, "urn:ietf:params:xml:ns:xmpp-framing").
%% How long it may take to make a c2s and to open its stream (milliseconds).
-define(TIMEOUT, 10000).

%% @doc Whether clients can have sessions. If so, and the version is none that was tested, the log says that.
-spec run() -> ok | {error, Text :: iodata()}.
run() ->
    case missing_functions() ++ missing_callbacks() of
        [] -> judge(missing_in_c2s());
        Missing -> judge(Missing)
    end.

judge(Missing) ->
    Version = megaphone_ejabberd:version(),
    case {Missing, says_tested(Version)} of
        {[], true} ->
            ok;
        {[], false} ->
            ?LOG_WARNING("megaphone: this is ejabberd ~ts, and Megaphone was tested with ~ts. What it needs to start "
                         "is there.", [name(Version), tested()]);
        {_, IsTested} ->
            {error, io_lib:format("sessions can't work in this ejabberd, ~ts: ~ts. ~ts",
                                  [name(Version), lists:join("; ", Missing), what_to_do(IsTested)])}
    end.

what_to_do(true) ->
    "It was tested, but not so: install it and its libraries, xmpp among them, from one place.";
what_to_do(false) ->
    ["Megaphone was tested with ", tested(), ": take one of those, or a newer Megaphone."].

name({ok, _, Text}) -> Text;
name({unknown, ""}) -> "of an unknown version";
name({unknown, Text}) -> Text.

tested() ->
    {Oldest, Newest} = megaphone_ejabberd:tested(),
    [format(Oldest), " to ", format(Newest)].

format({Year, Month}) ->
    io_lib:format("~2..0b.~2..0b", [Year, Month]).

%% @doc Whether a version is one of those that were tested, or between two of them.
-spec says_tested({ok, megaphone_ejabberd:version(), string()} | {unknown, string()}) -> boolean().
says_tested({ok, Version, _}) ->
    {Oldest, Newest} = megaphone_ejabberd:tested(),
    Oldest =< Version andalso Version =< Newest;
says_tested({unknown, _}) ->
    false.

%% Functions.

%% @doc The modules that call ejabberd or its libraries.
-spec callers() -> [module()].
callers() ->
    [ejabberd_sm_megaphone, megaphone_certificate, megaphone_ejabberd, megaphone_ejabberd_admin, megaphone_ejabberd_c2s,
     megaphone_ejabberd_sm, megaphone_framing,
     megaphone_listener_options, megaphone_session, megaphone_session_socket, megaphone_undelivered,
     megaphone_stanza_limits].

missing_functions() ->
    Called = lists:usort(lists:append([imports(Module) || Module <- callers()])),
    [io_lib:format("there is no ~ts:~ts/~b", [Module, Function, Arity])
     || {Module, Function, Arity} <- Called, not is_there(Module, Function, Arity)].

%% Where only the loaded code is left of a module, nothing is known of what it calls.
imports(Module) ->
    case code:get_object_code(Module) of
        {Module, Beam, _File} ->
            {ok, {Module, [{imports, Imports}]}} = beam_lib:chunks(Beam, [imports]),
            Imports;
        error ->
            []
    end.

is_there(Module, Function, Arity) ->
    erlang:is_builtin(Module, Function, Arity)
        orelse (code:ensure_loaded(Module) =:= {module, Module}
                andalso erlang:function_exported(Module, Function, Arity)).

%% What a behaviour asks for, and has asked for in no version that was read.
missing_callbacks() ->
    [io_lib:format("~ts calls a ~ts/~b that ~ts does not have", [Behaviour, Function, Arity, Module])
     || {Behaviour, Module} <- [{ejabberd_listener, megaphone_listener},
                                {ejabberd_sm, ejabberd_sm_megaphone},
                                {p1_server, megaphone_session},
                                {xmpp_socket, megaphone_session_socket}],
        {Function, Arity} <- callbacks(Behaviour), not is_there(Module, Function, Arity)].

%% One that asks for nothing lacks what is called of it, too.
callbacks(Behaviour) ->
    case is_there(Behaviour, behaviour_info, 1) of
        true -> Behaviour:behaviour_info(callbacks) -- Behaviour:behaviour_info(optional_callbacks);
        false -> []
    end.

%% A c2s.

missing_in_c2s() ->
    Self = self(),
    %% A process of its own: a c2s leaves messages and more in its process, and ejabberd's modules may do what
    %% they like in the hooks that are run for it.
    {Pid, Monitor} = spawn_monitor(fun() -> Self ! {?MODULE, self(), open_c2s({?MODULE, Self})} end),
    receive
        {?MODULE, Pid, Missing} ->
            true = demonitor(Monitor, [flush]),
            Missing;
        {'DOWN', Monitor, process, Pid, Reason} ->
            [io_lib:format("no c2s can be made (~0P)", [Reason, 10])]
    after ?TIMEOUT ->
            demonitor(Monitor, [flush]),
            exit(Pid, kill),
            [io_lib:format("no c2s can be made within ~b seconds", [?TIMEOUT div 1000])]
    end.

open_c2s(Socket) ->
    try
        {ok, New, _} = megaphone_ejabberd_c2s:new(?MODULE, Socket, []),
        case missing_keys(new, New) of
            [] -> accept_c2s(New);
            Missing -> Missing
        end
    catch
        _:Reason:Stack -> [not_made(Reason, Stack)]
    end.

not_made(Reason, [{Module, Function, Arguments, _} | _]) ->
    Arity = case is_list(Arguments) of
                true -> length(Arguments);
                false -> Arguments
            end,
    io_lib:format("no c2s can be made (~0P in ~ts:~ts/~b)", [Reason, 10, Module, Function, Arity]).

accept_c2s(New) ->
    case megaphone_ejabberd_c2s:accepted(New) of
        {ok, Accepted} ->
            case missing_keys(accepted, Accepted) of
                [] -> wrong_answers(megaphone_ejabberd_c2s:open(Accepted, plain));
                Missing -> Missing
            end;
        {stop, _, _} ->
            %% A module of ejabberd's does not want it: that is no fault of the state.
            []
    end.

missing_keys(Step, State) ->
    [io_lib:format("the state of a c2s has ~ts ~ts", [case State of
                                                          #{Key := _} -> "another kind of";
                                                          _ -> "no"
                                                      end, Key])
     || {Key, IsValue} <- lists:sort(maps:to_list(megaphone_ejabberd_c2s:keys(Step))),
        not is_map_key(Key, State) orelse not IsValue(maps:get(Key, State))].

%% What each event is answered with, by the same state.
wrong_answers(State) ->
    [io_lib:format("a c2s does not know ~ts", [What])
     || {What, Event, IsRight} <- [{"a stream", megaphone_framing:decode(open(State), 1), fun is_no_error/1},
                                   {"what is not well-formed", megaphone_framing:decode(<<"<">>, 1),
                                    has(<<"<not-well-formed ">>)},
                                   {"a stanza that is too large", megaphone_framing:too_big(),
                                    has(<<"<policy-violation ">>)}],
        not IsRight(answers(Event, State))].

open(State) ->
    iolist_to_binary(["<open xmlns='" ?NS_FRAMING "' version='1.0' to='", megaphone_ejabberd_c2s:host(State), "'/>"]).

%% A stream's head, and its features. A module of ejabberd's may turn the client away, but not because nobody
%% understands what it says.
is_no_error([<<"<open ", _/binary>>, Answer | _]) -> binary:match(Answer, <<"<invalid-xml ">>) =:= nomatch;
is_no_error(_) -> false.

has(Text) ->
    fun(Answers) -> binary:match(iolist_to_binary(Answers), Text) =/= nomatch end.

answers(Event, State) ->
    _ = erase(?MODULE),
    {noreply, _, _} = megaphone_ejabberd_c2s:event(Event, State),
    lists:reverse(sent()).

%% The newest document is the first.
sent() ->
    case get(?MODULE) of
        undefined -> [];
        Documents -> Documents
    end.

%% @doc Keeps what is sent.
-spec send_xml(socket(), megaphone_framing:element()) -> ok.
send_xml(_Socket, Element) ->
    _ = put(?MODULE, [megaphone_framing:encode(Element) | sent()]),
    ok.

%% @doc Not the process of the c2s, which would get a parser.
-spec get_owner(socket()) -> pid().
get_owner({?MODULE, Owner}) -> Owner.

-spec get_transport(socket()) -> tcp.
get_transport(_Socket) -> tcp.

-spec change_shaper(socket(), none | p1_shaper:state()) -> ok.
change_shaper(_Socket, _Shaper) -> ok.

-spec controlling_process(socket(), pid()) -> ok.
controlling_process(_Socket, _Pid) -> ok.

-spec close(socket()) -> ok.
close(_Socket) -> ok.

-spec sockname(socket()) -> {ok, {inet:ip_address(), inet:port_number()}}.
sockname(_Socket) -> {ok, {{127, 0, 0, 1}, 0}}.

-spec peername(socket()) -> {ok, {inet:ip_address(), inet:port_number()}}.
peername(_Socket) -> {ok, {{127, 0, 0, 1}, 0}}.

-spec setopts(socket(), [term()]) -> ok.
setopts(_Socket, _Options) -> ok.

-spec reset_stream(socket()) -> socket().
reset_stream(Socket) -> Socket.
