%% XML streams through the ECM with a client that nobody here wrote, slixmpp: STARTTLS, TLS from the first
%% byte, SCRAM, stream management. And how ejabberd shows clients of every kind.
-module(megaphone_streams_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([starttls_required/1, starttls_optional/1, starttls_declined/1, starttls_needed/1, direct_tls/1,
         no_tls/1, resume/1, resume_by_tls/1, wrong_password/1, unknown_host/1, unknown_authority/1,
         clients_as_ejabberd_shows_them/1]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, clients}].

groups() ->
    [{clients, [parallel],
      [starttls_required, starttls_optional, starttls_declined, starttls_needed, direct_tls, no_tls, resume,
       resume_by_tls, wrong_password, unknown_host, unknown_authority, clients_as_ejabberd_shows_them]}].

init_per_suite(Config) ->
    megaphone_test_entrances:start(Config, #{options => login_in_clear()}).

end_per_suite(Config) ->
    megaphone_test_stage:stop(Config).

%% From 24.12 on ejabberd refuses SCRAM in clear text to a client that knows channel binding, as slixmpp does,
%% unless it may do without TLS; older ones have no such option.
login_in_clear() ->
    case lists:keymember(allow_unencrypted_sasl2, 1, ejabberd_c2s:listen_options()) of
        true -> "    c2s:\n      allow_unencrypted_sasl2: true\n";
        false -> ""
    end.

%% Confirms that two clients chat after STARTTLS, which they have to use, with SCRAM and TLS 1.3.
starttls_required(Config) ->
    ?assertMatch(#{<<"mechanism">> := <<"SCRAM-", _/binary>>, <<"tls">> := <<"TLSv1.3">>},
                 chat(Config, xmpp, "starttls")).

%% Confirms the same where they may use it.
starttls_optional(Config) ->
    ?assertMatch(#{<<"mechanism">> := <<"SCRAM-", _/binary>>, <<"tls">> := <<"TLSv1.3">>},
                 chat(Config, xmpp_optional, "starttls")).

%% Confirms that where they may use it, they needn't.
starttls_declined(Config) ->
    ?assertMatch(#{<<"mechanism">> := <<"SCRAM-", _/binary>>, <<"tls">> := null},
                 chat(Config, xmpp_optional, "plain")).

%% Confirms that where it is required, nothing but it is offered.
starttls_needed(Config) ->
    ?assertEqual(#{<<"events">> => [<<"stream_negotiated">>], <<"failures">> => []},
                 refused(Config, xmpp, "plain", <<"localhost">>, <<"megaphone">>)).

%% Confirms that two clients chat with TLS from the first byte (XEP-0368).
direct_tls(Config) ->
    ?assertMatch(#{<<"mechanism">> := <<"SCRAM-", _/binary>>, <<"tls">> := <<"TLSv1.3">>},
                 chat(Config, xmpps, "direct-tls")).

no_tls(Config) ->
    ?assertMatch(#{<<"mechanism">> := <<"SCRAM-", _/binary>>, <<"tls">> := null},
                 chat(Config, xmpp_off, "plain")).

%% Confirms that a client whose connection broke resumes its session and gets what came meanwhile.
resume(Config) ->
    ?assertEqual(#{<<"same_jid">> => true}, run(Config, "resume", xmpp, "starttls", users(Config))).

resume_by_tls(Config) ->
    ?assertEqual(#{<<"same_jid">> => true}, run(Config, "resume", xmpps, "direct-tls", users(Config))).

%% Confirms that a wrong password is told so, whichever mechanism is tried.
wrong_password(Config) ->
    ?assertEqual(#{<<"events">> => [<<"failed_all_auth">>], <<"failures">> => [<<"not-authorized">>]},
                 refused(Config, xmpp, "starttls", <<"localhost">>, <<"wrong">>)).

%% Confirms that a host that ejabberd doesn't serve is a stream error.
unknown_host(Config) ->
    ?assertEqual(#{<<"events">> => [<<"stream_error">>], <<"condition">> => <<"host-unknown">>,
                   <<"failures">> => []},
                 refused(Config, xmpp_off, "plain", <<"elsewhere.example">>, <<"megaphone">>)).

%% Confirms that clients are shown the configured certificate: one who trusts others gets no TLS.
unknown_authority(Config) ->
    File = filename:join(proplists:get_value(priv_dir, Config), "other_ca.pem"),
    Other = megaphone_test_certificates:ca("another authority"),
    ok = megaphone_test_certificates:write(File ++ ".unused", File,
                                           megaphone_test_certificates:sign(Other, "localhost")),
    Target = megaphone_test_tls:target(megaphone_test_entrances:address(Config, xmpps), File, []),
    ?assertError({cannot_connect, _, _, {tls_alert, {unknown_ca, _}}}, Target()).

%% Confirms that connected_users_info has each client's own address and how it is connected.
clients_as_ejabberd_shows_them(Config) ->
    [begin
         User = megaphone_test_stage:user(Config, <<"shown">>),
         Client = megaphone_test_entrances:login_from({127, 0, 0, 5}, Config, Kind, User),
         Infos = megaphone_test_ejabberd:call(megaphone_test_stage:ejabberd(Config), mod_admin_extra,
                                              connected_users_info, []),
         Info = lists:keyfind(megaphone_test_xmpp:jid(Client), 1, Infos),
         ?assertMatch({_, Shown, "127.0.0.5", _, _, _, _, _, _, _}, Info, Kind),
         ?assertEqual(local_port(Client), element(4, Info), Kind),
         megaphone_test_xmpp:logout(Client)
     end || {Kind, Shown} <- [{xmpp_off, "c2s"}, {xmpp, "c2s_tls"}, {xmpp_optional, "c2s_tls"},
                              {xmpps, "c2s_tls"}, {http, "websocket"}, {https, "websocket"}]].

chat(Config, Kind, Security) ->
    run(Config, "chat", Kind, Security, users(Config)).

refused(Config, Kind, Security, Host, Password) ->
    User = megaphone_test_stage:user(Config, <<"refused">>),
    run(Config, "refused", Kind, Security, Password, [<<User/binary, "@", Host/binary>>]).

users(Config) ->
    [<<(megaphone_test_stage:user(Config, Name))/binary, "@localhost">> || Name <- [<<"alice">>, <<"bob">>]].

run(Config, Scenario, Kind, Security, Jids) ->
    run(Config, Scenario, Kind, Security, <<"megaphone">>, Jids).

%% The facts that chat.py prints.
run(Config, Scenario, Kind, Security, Password, Jids) ->
    {_, Port} = megaphone_test_entrances:address(Config, Kind),
    Output = megaphone_test_clients:run(
               python, ["chat.py", Scenario, Security, "127.0.0.1", integer_to_list(Port),
                        megaphone_test_entrances:ca_file(Config), Password | Jids], [], Config),
    %% What slixmpp logs comes before it.
    megaphone_test_json:decode(lists:last(binary:split(string:trim(Output), <<"\n">>, [global]))).

local_port(#{state := #{socket := Socket} = State}) ->
    {ok, {_, Port}} = case State of
                          #{module := fast_tls} -> fast_tls:sockname(Socket);
                          _ -> inet:sockname(Socket)
                      end,
    Port.
