%% Logins that are bound to the client's TLS, which ends at the ECM: SCRAM-SHA-1-PLUS and the like (RFC 5802, 6),
%% with what ejabberd's own listener offers of it (XEP-0440).
-module(megaphone_bindings_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([offers/1, bound_login/1, wrong_binding/1, binding_not_missed/1, nothing_to_bind_to/1, slixmpp/1,
         profanity/1]).

-define(USER, <<"bound">>).
-define(FEATURES, <<"stream:features">>).
-define(VERSIONS, [tls12, tls13]).
-define(ENDS, [{xmpp, #{starttls => true}}, {xmpps, #{direct_tls => true}}]).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [offers, bound_login, wrong_binding, binding_not_missed, nothing_to_bind_to, slixmpp, profanity].

init_per_suite(Config) ->
    Port = megaphone_test_port:free(),
    Certificate = filename:join(proplists:get_value(priv_dir, Config), "ejabberd.pem"),
    ok = megaphone_test_certificates:write_self_signed(Certificate, "localhost"),
    Own = megaphone_test_config:listener(ejabberd_c2s, Port, "    ip: \"127.0.0.1\"\n    starttls_required: true\n"),
    Started = megaphone_test_entrances:start(Config, #{top => ["certfiles:\n  - \"", Certificate, "\"\n"],
                                                       more_listeners => [Own]}),
    ok = megaphone_test_ejabberd:register_users(megaphone_test_stage:ejabberd(Started), [?USER]),
    [{own, {{127, 0, 0, 1}, Port}} | Started].

end_per_suite(Config) ->
    megaphone_test_stage:stop(Config).

%% libstrophe binds from 0.13 on.
init_per_testcase(profanity, Config) ->
    case megaphone_test_clients:need([{"profanity", "profanity"}], Config) of
        {skip, _} = Skip -> Skip;
        _ -> profanity_binds(Config)
    end;
init_per_testcase(_Case, Config) ->
    Config.

end_per_testcase(_Case, _Config) ->
    ok.

profanity_binds(Config) ->
    case knows_bindings() of
        true -> Config;
        false -> {skip, "ejabberd before 24.02 knows tls-unique alone, which profanity has no more"}
    end.

%% Confirms that mechanisms and bindings are offered as by ejabberd's own listener.
offers(Config) ->
    [?assertEqual(offer(own(Config), Version, #{starttls => true}), offer(target(Config, Kind), Version, How),
                  {Kind, Version})
     || {Kind, How} <- ?ENDS, Version <- ?VERSIONS, is_bindable(Version)],
    ?assertEqual(case knows_bindings() of
                     true -> [<<"tls-exporter">>, <<"tls-server-end-point">>];
                     %% Its own listener offers a binding that TLS 1.3 does not have.
                     false -> []
                 end, bindings(target(Config, xmpp), tls13, #{starttls => true})).

%% Confirms that by each of them a client logs in.
bound_login(Config) ->
    [?assertEqual(ok, authenticate(Target, Version, How, Binding, fun(Data) -> Data end), {Version, How, Binding})
     || {Target, Version, How, Binding} <- bindings(Config)].

%% Confirms that each is refused that is not this connection's: with another bit in it, with none, and under the name
%% of another.
wrong_binding(Config) ->
    [?assertEqual(<<"not-authorized">>, authenticate(Target, Version, How, Binding, Change), {Version, How, Binding})
     || {Target, Version, How, Binding} <- bindings(Config),
        Change <- [fun(<<First, Rest/binary>>) -> <<(First bxor 1), Rest/binary>> end,
                   fun(_) -> <<>> end,
                   fun(Data) -> <<Data/binary, 0>> end]].

%% Confirms what becomes of clients that do not bind: those that can't log in; those that believe that the server
%% can't have met somebody who took its offer away, as ejabberd's own listener says too.
binding_not_missed(Config) ->
    [begin
         ?assertEqual(ok, scram(Target, Version, How, <<"n,,">>), {Version, How}),
         ?assertEqual(scram(own(Config), Version, #{starttls => true}, <<"y,,">>),
                      scram(Target, Version, How, <<"y,,">>), {Version, How})
     end || {Kind, How} <- ?ENDS, Version <- ?VERSIONS, is_bindable(Version), Target <- [target(Config, Kind)]].

%% Confirms that nothing is offered by WebSocket and BOSH, nor to those who came without TLS.
nothing_to_bind_to(Config) ->
    [begin
         {ok, Opened} = Transport:open(megaphone_test_entrances:target(Config, Kind), <<"localhost">>, #{}),
         {ok, Features, Greeted} = Transport:recv(Opened, 5000),
         {Mechanisms, Bindings} = offered(Features),
         ?assertEqual({[], []}, {[M || M <- Mechanisms, is_plus(M)], Bindings}, {Transport, Kind}),
         ok = Transport:drop(Greeted)
     end || {Transport, Kind} <- [{megaphone_test_websocket, http}, {megaphone_test_websocket, https},
                                  {megaphone_test_bosh, http}, {megaphone_test_bosh, https},
                                  {megaphone_test_c2s, xmpp_off}]].

%% Confirms that slixmpp, which knows `tls-unique', binds with TLS 1.2, and that with TLS 1.3 it does without.
slixmpp(Config) ->
    [begin
         #{<<"mechanism">> := Mechanism, <<"tls">> := Version} = chat(Config, Kind, Security),
         ?assertEqual(Binds, is_plus(Mechanism), {Security, Mechanism, Version})
     end || {Kind, Security, Binds} <- [{xmpp, "starttls-1.2", true}, {xmpps, "direct-tls-1.2", true},
                                        {xmpp, "starttls", false}, {xmpps, "direct-tls", false}]].

%% Confirms that profanity, which speaks XMPP by libstrophe, binds with TLS 1.3.
profanity(Config) ->
    User = megaphone_test_stage:user(Config, <<"profanity">>),
    {_, Port} = megaphone_test_entrances:address(Config, xmpp),
    {ok, Profanity} = megaphone_test_program:start(
                        os:find_executable("python3"),
                        ["profanity.py", [User, "@localhost"], "megaphone", "friend@localhost", integer_to_list(Port),
                         megaphone_test_entrances:certificate_file(Config)],
                        #{log => filename:join(proplists:get_value(priv_dir, Config), "clients.log"),
                          cd => megaphone_test_clients:folder()}),
    try
        _ = megaphone_test_ejabberd:await_log(megaphone_test_stage:ejabberd(Config),
                                              ["Accepted c2s SCRAM-SHA-[0-9]+-PLUS authentication for ", User, "@"]),
        ok
    after
        megaphone_test_program:kill(Profanity)
    end.

%% The facts that chat.py prints.
chat(Config, Kind, Security) ->
    {_, Port} = megaphone_test_entrances:address(Config, Kind),
    Users = [<<(megaphone_test_stage:user(Config, Name))/binary, "@localhost">> || Name <- [<<"alice">>, <<"bob">>]],
    Output = megaphone_test_clients:run(
               python, ["chat.py", "chat", Security, "127.0.0.1", integer_to_list(Port),
                        megaphone_test_entrances:ca_file(Config), <<"megaphone">> | Users], [], Config),
    %% What slixmpp logs comes before it.
    megaphone_test_json:decode(lists:last(binary:split(string:trim(Output), <<"\n">>, [global]))).

%% Each binding that each kind of listener offers.
bindings(Config) ->
    [{Target, Version, How, Binding}
     || {Kind, How} <- ?ENDS, Version <- ?VERSIONS, Target <- [target(Config, Kind)],
        Binding <- bindings(Target, Version, How)].

%% ejabberd before 24.02 says nothing of bindings, and knows one.
bindings(Target, Version, How) ->
    {Mechanisms, Bindings} = offer(Target, Version, How),
    case {knows_bindings(), lists:any(fun is_plus/1, Mechanisms)} of
        {true, true} -> Bindings;
        {false, true} -> [<<"tls-unique">>];
        {_, false} -> []
    end.

offer(Target, Version, How) ->
    {Features, Client} = open(Target, Version, How),
    ok = megaphone_test_c2s:drop(Client),
    offered(Features).

offered(Features) ->
    Mechanisms = megaphone_test_xml:children(megaphone_test_xml:child(<<"mechanisms">>, Features)),
    Bindings = case megaphone_test_xml:child(<<"sasl-channel-binding">>, Features) of
                   undefined -> [];
                   Offered -> megaphone_test_xml:children(Offered)
               end,
    {lists:sort([megaphone_test_xml:text(Mechanism) || Mechanism <- Mechanisms]),
     lists:sort([megaphone_test_xml:attribute(<<"type">>, Binding) || Binding <- Bindings])}.

open(Target, Version, How) ->
    {ok, Opened} = megaphone_test_c2s:open(Target, <<"localhost">>, How#{tls_options => tls_options(Version)}),
    {ok, Features, Client} = megaphone_test_c2s:recv(Opened, 5000),
    ?assertEqual(?FEATURES, megaphone_test_xml:name(Features)),
    {Features, Client}.

tls_options(tls12) -> [{protocol_options, <<"no_tlsv1_3">>}];
tls_options(tls13) -> [].

%% Logs in by SCRAM-SHA-1-PLUS, with a binding as it is changed: `ok', or the condition of the failure.
authenticate(Target, Version, How, Binding, Change) ->
    {_Features, Client} = open(Target, Version, How),
    Data = Change(data(Binding, megaphone_test_c2s:tls(Client))),
    login(Client, <<"SCRAM-SHA-1-PLUS">>, <<"p=", Binding/binary, ",,">>, Data).

%% Logs in by SCRAM-SHA-1, as a client that binds nothing.
scram(Target, Version, How, Flag) ->
    {_Features, Client} = open(Target, Version, How),
    login(Client, <<"SCRAM-SHA-1">>, Flag, <<>>).

data(<<"tls-unique">>, Tls) ->
    %% Of the first handshake, the client's.
    {ok, Finished} = fast_tls:get_tls_last_message(self, Tls),
    Finished;
data(<<"tls-exporter">>, Tls) ->
    {ok, Exported} = fast_tls:get_tls_cb_exporter(Tls),
    Exported;
data(<<"tls-server-end-point">>, Tls) ->
    {ok, Certificate} = fast_tls:get_peer_certificate(Tls, der),
    crypto:hash(sha256, Certificate).

login(Client, Mechanism, Flag, Data) ->
    Bare = megaphone_test_scram:first(?USER),
    Auth = ["<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='", Mechanism, "'>",
            base64:encode(<<Flag/binary, Bare/binary>>), "</auth>"],
    {Challenge, Challenged} = ask(Client, Auth),
    case megaphone_test_xml:name(Challenge) of
        <<"challenge">> ->
            First = base64:decode(megaphone_test_xml:text(Challenge)),
            {Final, _} = megaphone_test_scram:final(<<Flag/binary, Data/binary>>, Bare, First, <<"megaphone">>),
            Response = ["<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>", base64:encode(Final), "</response>"],
            {Answer, Answered} = ask(Challenged, Response),
            ok = megaphone_test_c2s:drop(Answered),
            outcome(Answer);
        _ ->
            ok = megaphone_test_c2s:drop(Challenged),
            outcome(Challenge)
    end.

outcome({xmlel, <<"success">>, _, _}) -> ok;
outcome({xmlel, <<"failure">>, _, [{xmlel, Condition, _, _} | _]}) -> Condition.

ask(Client, Document) ->
    {ok, Asked} = megaphone_test_c2s:send(Client, Document),
    {ok, Answer, Answered} = megaphone_test_c2s:recv(Asked, 5000),
    {Answer, Answered}.

is_plus(Mechanism) ->
    binary:longest_common_suffix([Mechanism, <<"-PLUS">>]) =:= 5.

is_bindable(Version) ->
    Version =:= tls12 orelse knows_bindings().

%% From 24.02 on.
knows_bindings() ->
    {module, _} = code:ensure_loaded(xmpp_socket),
    erlang:function_exported(xmpp_socket, get_tls_cb_exporter, 1).

own(Config) ->
    proplists:get_value(own, Config).

target(Config, Kind) ->
    megaphone_test_entrances:address(Config, Kind).
