%% What the application knows of ejabberd stands in few places, and a listener says where this ejabberd is
%% another one. The other ones are the installed ejabberd with changed modules, or another version's name.
-module(megaphone_ejabberd_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, groups/0, init_per_suite/1, end_per_suite/1, init_per_group/2, end_per_group/2,
         init_per_testcase/2, end_per_testcase/2]).
-export([ejabberd_is_called_in_one_place/1, libraries_are_known/1, state_is_known_in_one_place/1, versions/1]).
-export([tested_version/1, no_function/1, more_callbacks/1, no_key/1, another_kind_of_key/1, silent_c2s/1, broken_c2s/1,
         unwilling_module/1]).
-export([newer_version/1, older_version/1, refused_at_the_start/1]).

-define(UNTESTED, "\\[warning\\].*megaphone: this is ejabberd .*").

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [ejabberd_is_called_in_one_place, libraries_are_known, state_is_known_in_one_place, versions,
     {group, running}, newer_version, older_version, refused_at_the_start].

%% Of these all have the same ejabberd, and each a listener of its own in it.
groups() ->
    [{running, [tested_version, no_function, more_callbacks, no_key, another_kind_of_key, silent_c2s, broken_c2s,
                unwilling_module]}].

init_per_suite(Config) ->
    Config.

end_per_suite(_Config) ->
    ok.

init_per_group(running, Config) ->
    {ok, Ejabberd} = megaphone_test_ejabberd:start(#{dir => dir(running, Config), listeners => []}),
    [{ejabberd, Ejabberd} | Config].

end_per_group(running, Config) ->
    megaphone_test_ejabberd:stop(ejabberd(Config)).

init_per_testcase(_, Config) ->
    [Port, Other] = megaphone_test_port:free(2),
    [{port, Port}, {other, Other} | Config].

end_per_testcase(Case, Config) ->
    _ = [begin
             [ok = megaphone_test_changed:load_original(ejabberd(Config), Module)
              || Module <- [xmpp_socket, xmpp_stream_in, ejabberd_c2s]],
             ok = megaphone_test_ejabberd:reload(ejabberd(Config), #{listeners => []})
         end || {_, Cases} <- groups(), lists:member(Case, Cases)],
    ok.

%% What is known where.

ejabberd_is_called_in_one_place(_Config) ->
    Called = [{Module, Library} || Module <- modules(), Library <- libraries(Module), is_ejabberds(Library)],
    ?assertEqual([ejabberd_sm_megaphone, megaphone_ejabberd, megaphone_ejabberd_admin, megaphone_ejabberd_c2s,
                  megaphone_ejabberd_sm],
                 lists:usort([Module || {Module, _} <- Called])).

%% Confirms that what is called of a library is looked for at the start, whichever module does.
libraries_are_known(_Config) ->
    ?assertEqual(lists:sort(megaphone_ejabberd_check:callers()),
                 lists:sort([Module || Module <- modules(), libraries(Module) =/= []])).

%% Confirms that the names of a state's keys stand in one module. Those that are words of the application itself
%% are not counted.
state_is_known_in_one_place(_Config) ->
    Keys = [sasl_mech, sasl_state, mgmt_state | megaphone_ejabberd_c2s:shared_keys()]
        ++ maps:keys(maps:merge(megaphone_ejabberd_c2s:keys(new), megaphone_ejabberd_c2s:keys(accepted))),
    Counted = lists:usort(Keys) -- [codec_options, conn, server, shaper, socket, tls_options],
    ?assertEqual([], [{Module, Key} || Module <- modules(), Module =/= megaphone_ejabberd_c2s,
                                       Key <- Counted, lists:member(Key, atoms(Module))]).

%% Confirms which versions count as tested.
versions(_Config) ->
    [?assertEqual(Tested, megaphone_ejabberd_check:says_tested(megaphone_ejabberd:read_version(Text)), Text)
     || {Text, Tested} <- [{"22.10", false}, {"23.01", true}, {"23.01-1", true}, {"23.1.0", true}, {"24.12", true},
                           {"24.12-5-g0123abc", true}, {"26.07", true}, {"26.7.0", true}, {"26.07.1", true},
                           {"26.08", false}, {"27.01", false}, {"", false}, {"dev", false}]].

modules() ->
    Folder = filename:dirname(code:which(megaphone_listener)),
    [list_to_atom(filename:basename(Path, ".beam")) || Path <- filelib:wildcard(filename:join(Folder, "*.beam"))].

%% The modules that a module calls, but for its own application's and OTP's.
libraries(Module) ->
    {ok, {Module, [{imports, Imports}]}} = beam_lib:chunks(code:which(Module), [imports]),
    [Called || Called <- lists:usort([Called || {Called, _, _} <- Imports]),
               not lists:member(Called, modules()), not lists:member(Called, otp())].

otp() ->
    Applications = [kernel, stdlib, crypto, public_key, ssl],
    _ = [application:load(Application) || Application <- Applications],
    Modules = [Modules || Application <- Applications,
                          {ok, Modules} <- [application:get_key(Application, modules)]],
    lists:append([erlang:pre_loaded() | Modules]).

is_ejabberds(Module) ->
    re:run(atom_to_list(Module), "^(ejabberd|mod_|gen_mod|xmpp_)") =/= nomatch.

atoms(Module) ->
    {ok, {Module, [{abstract_code, {raw_abstract_v1, Forms}}]}} =
        beam_lib:chunks(code:which(Module), [abstract_code]),
    lists:usort(atoms_of(Forms)).

atoms_of({atom, _, Atom}) -> [Atom];
%% Types are no knowledge.
atoms_of({attribute, _, _, _}) -> [];
atoms_of(Term) when is_tuple(Term) -> atoms_of(tuple_to_list(Term));
atoms_of(Terms) when is_list(Terms) -> lists:append([atoms_of(Term) || Term <- Terms]);
atoms_of(_) -> [].

%% As a listener starts.

%% Confirms that this ejabberd is one that was tested, of which the log has nothing to say.
tested_version(Config) ->
    Before = byte_size(megaphone_test_ejabberd:log(ejabberd(Config))),
    ok = reload(Config),
    works(Config),
    %% It would stand before this.
    _ = megaphone_test_ejabberd:await_log(ejabberd(Config), "Closing c2s session for user", Before),
    ?assertEqual(nomatch, re:run(megaphone_test_ejabberd:log(ejabberd(Config)), ?UNTESTED)).

no_function(Config) ->
    refused(Config, megaphone_test_changed:without(xmpp_stream_in, [{terminate, 2}, {send, 2}]),
            "there is no xmpp_stream_in:send/2; there is no xmpp_stream_in:terminate/2\\."),
    refused(Config, megaphone_test_changed:without(ejabberd_c2s, [{stop_async, 1}]),
            "there is no ejabberd_c2s:stop_async/1\\."),
    refused(Config, megaphone_test_changed:empty(xmpp_socket),
            "there is no xmpp_socket:get_peer_certificate/2; .*there is no xmpp_socket:reset_stream/1\\.").

more_callbacks(Config) ->
    refused(Config, megaphone_test_changed:asking_for(xmpp_socket, {get_color, 1}),
            "xmpp_socket calls a get_color/1 that megaphone_session_socket does not have\\.").

no_key(Config) ->
    refused(Config, megaphone_test_changed:renamed(xmpp_stream_in, #{stream_timeout => deadline}),
            "the state of a c2s has no stream_timeout\\."),
    refused(Config, megaphone_test_changed:renamed(xmpp_stream_in, #{socket_mod => module}),
            "the state of a c2s has no socket_mod\\."),
    refused(Config, megaphone_test_changed:renamed(ejabberd_c2s, #{tls_required => tls_needed}),
            "the state of a c2s has no tls_required\\.").

another_kind_of_key(Config) ->
    refused(Config, megaphone_test_changed:renamed(xmpp_stream_in, #{wait_for_stream => waiting}),
            "the state of a c2s has another kind of stream_state\\.").

%% Confirms the same where a c2s looks as it should, and takes what is read for something else.
silent_c2s(Config) ->
    refused(Config, megaphone_test_changed:renamed(xmpp_stream_in, #{'$gen_event' => event}),
            "a c2s does not know a stream; a c2s does not know what is not well-formed; "
            "a c2s does not know a stanza that is too large\\."),
    refused(Config, megaphone_test_changed:renamed(xmpp_stream_in, #{xmlstreamstart => stream}),
            "a c2s does not know a stream\\."),
    refused(Config, megaphone_test_changed:renamed(xmpp_stream_in, #{serr_policy_violation => serr_not_authorized}),
            "a c2s does not know a stanza that is too large\\.").

broken_c2s(Config) ->
    refused(Config, megaphone_test_changed:renamed(xmpp_socket, #{get_owner => who_owns}),
            "no c2s can be made \\(undef in megaphone_ejabberd_check:who_owns/1\\)\\."),
    %% xmpp_stream_in goes on without what ejabberd_c2s adds to the state.
    refused(Config, megaphone_test_changed:renamed(ejabberd_c2s, #{negotiation_timeout => patience}),
            "the state of a c2s has no tls_enabled; .* no tls_required; .* no tls_verify\\.").

%% Confirms that a module that turns clients away, as one of ejabberd's may, is no reason.
unwilling_module(Config) ->
    ok = megaphone_test_changed:turn_all_away(ejabberd(Config), true),
    ok = reload(Config),
    %% It has answered the trunk's first ping: it is one that accepts.
    Trunk = connect(Config),
    ok = megaphone_test_yamux:ping(Trunk),
    ok = megaphone_test_yamux:close(Trunk),
    ok = megaphone_test_changed:turn_all_away(ejabberd(Config), false),
    works(Config).

%% Confirms that the log says so once, and that clients are served.
newer_version(Config) ->
    untested(Config, "27.01"),
    untested(Config, "26.08-1").

older_version(Config) ->
    untested(Config, "22.10").

untested(Config, Version) ->
    Dir = dir(Version, Config),
    Code = filename:join(Dir, "code"),
    ok = megaphone_test_changed:write_version(Code, Version),
    {ok, Ejabberd} = megaphone_test_ejabberd:start(#{dir => Dir, code => [Code], listeners => [listener(Config)]}),
    Started = [{ejabberd, Ejabberd} | Config],
    works(Started),
    ok = megaphone_test_ejabberd:halt(Ejabberd),
    {match, Lines} = re:run(megaphone_test_ejabberd:log(Ejabberd), ?UNTESTED, [global, {capture, first, list}]),
    [[Line]] = Lines,
    ?assertMatch({match, _}, re:run(Line, "ejabberd " ++ Version ++ ", and Megaphone was tested with "
                                          "23\\.01 to 26\\.07\\.")),
    megaphone_test_ejabberd:stop(Ejabberd).

%% Confirms the refusal of a listener that is there as ejabberd starts, which goes on, and that one of an untested
%% version is told to be that.
refused_at_the_start(Config) ->
    Dir = dir(start, Config),
    Code = filename:join(Dir, "code"),
    ok = megaphone_test_changed:write_version(Code, "27.01"),
    ok = megaphone_test_changed:write(Code, megaphone_test_changed:without(xmpp_stream_in, [{terminate, 2}])),
    {ok, Ejabberd} = megaphone_test_ejabberd:start(#{dir => Dir, code => [Code], listeners => listeners(Config)}),
    await_refusal([{ejabberd, Ejabberd} | Config],
                  "27\\.01: there is no xmpp_stream_in:terminate/2\\. "
                  "Megaphone was tested with 23\\.01 to 26\\.07: take one of those", 0),
    megaphone_test_ejabberd:stop(Ejabberd).

%% A listener that starts in an ejabberd with such a module refuses, and once the module is as before, it starts.
refused(Config, {Module, _} = Changed, Why) ->
    ok = megaphone_test_changed:load(ejabberd(Config), Changed),
    Before = byte_size(megaphone_test_ejabberd:log(ejabberd(Config))),
    ok = reload(Config),
    await_refusal(Config, ["[^ ]+: ", Why, " It was tested, but not so: install it and its libraries"], Before),
    ok = megaphone_test_changed:load_original(ejabberd(Config), Module),
    ok = megaphone_test_ejabberd:reload(ejabberd(Config), #{listeners => []}),
    ok = reload(Config),
    works(Config),
    ok = megaphone_test_ejabberd:reload(ejabberd(Config), #{listeners => []}).

%% It has said so in one line of the log, the port is closed, and ejabberd serves at its others.
await_refusal(Config, Why, Before) ->
    Port = integer_to_list(proplists:get_value(port, Config)),
    Line = megaphone_test_ejabberd:await_log(ejabberd(Config), [".*megaphone_listener at 127\\.0\\.0\\.1:", Port, ".*"],
                                             Before),
    ?assertMatch({match, _}, re:run(Line, ["\\[error\\].*does not start: sessions can't work in this ejabberd, ",
                                           Why])),
    megaphone_test_wait:until("the port to be closed", fun() -> not is_open(Config) end),
    Connection = megaphone_test_http:connect({{127, 0, 0, 1}, proplists:get_value(other, Config)}),
    ?assertMatch(#{status := 200}, megaphone_test_http:request(Connection, "GET", "/echo", [])),
    ok = megaphone_test_http:close(Connection).

%% A client logs in by a session and chats with itself.
works(Config) ->
    Trunk = connect(Config),
    Client = megaphone_test_xmpp:login(megaphone_test_session, {Trunk, megaphone_test_session:header()},
                                       megaphone_test_stage:user(Config, <<"user">>)),
    Sent = megaphone_test_xmpp:send_message(Client, megaphone_test_xmpp:jid(Client), "It works."),
    {{_, <<"It works.">>}, Received} = megaphone_test_xmpp:recv_message(Sent),
    ok = megaphone_test_xmpp:logout(Received),
    ok = megaphone_test_yamux:close(Trunk).

reload(Config) ->
    megaphone_test_ejabberd:reload(ejabberd(Config), #{listeners => listeners(Config)}).

listeners(Config) ->
    [listener(Config), megaphone_test_config:listener(ejabberd_http, proplists:get_value(other, Config))].

listener(Config) ->
    megaphone_test_config:listener(megaphone_listener, proplists:get_value(port, Config)).

connect(Config) ->
    megaphone_test_wait:until("the port to be open", fun() -> is_open(Config) end),
    megaphone_test_yamux:connect({{127, 0, 0, 1}, proplists:get_value(port, Config)}).

is_open(Config) ->
    case gen_tcp:connect({127, 0, 0, 1}, proplists:get_value(port, Config), []) of
        {ok, Socket} -> gen_tcp:close(Socket), true;
        {error, econnrefused} -> false
    end.

ejabberd(Config) ->
    proplists:get_value(ejabberd, Config).

dir(Name, Config) ->
    filename:join(proplists:get_value(priv_dir, Config), Name).
