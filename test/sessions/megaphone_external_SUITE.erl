%% Logins by the client's certificate (SASL EXTERNAL, XEP-0178), which is shown to the ECM, beside ejabberd's own
%% listener with `tls_verify'.
-module(megaphone_external_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([own_jid/1, sasl2/1, other_jid/1, several_jids/1, strangers/1, no_certificate/1, not_asked/1, not_wanted/1,
         nothing_offered_that_cannot_work/1, slixmpp/1]).

-define(HOST, <<"localhost">>).
-define(EXTERNAL, <<"EXTERNAL">>).
-define(VERSIONS, [tls12, tls13]).
-define(WAYS, [own, xmpp, xmpps]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [own_jid, sasl2, other_jid, several_jids, strangers, no_certificate, not_asked, not_wanted,
     nothing_offered_that_cannot_work, slixmpp].

init_per_suite(Config) ->
    [Own, Xmpp, Xmpps, Off, Without] = Ports = megaphone_test_port:free(5),
    Dir = proplists:get_value(priv_dir, Config),
    [CertFile, CaFile, StrangerFile] = [filename:join(Dir, Name) || Name <- ["localhost.pem", "ca.pem", "other.pem"]],
    Ca = megaphone_test_certificates:rsa_ca("an authority of the tests"),
    ok = megaphone_test_certificates:write(CertFile, CaFile, megaphone_test_certificates:sign(Ca, "localhost")),
    Other = megaphone_test_certificates:rsa_ca("another authority"),
    ok = megaphone_test_certificates:write(StrangerFile, none,
                                           megaphone_test_certificates:sign_jids(Other, [<<"alice@localhost">>])),
    Listener = megaphone_test_config:listener(
                 ejabberd_c2s, Own, ["    ip: \"127.0.0.1\"\n    starttls_required: true\n    tls_verify: true\n"
                                     "    cafile: \"", CaFile, "\"\n"]),
    Started = megaphone_test_stage:start(
                ecm, Config,
                #{top => ["certfiles:\n  - \"", CertFile, "\"\n"],
                  options => "    c2s:\n      tls_verify: true\n",
                  more_listeners => [Listener, megaphone_test_config:listener(megaphone_listener, Without,
                                                                             "    ip: \"127.0.0.1\"\n")],
                  ecm => [listener(Xmpp, "xmpp", "client_certificates = \"request\"\n"),
                          listener(Xmpps, "xmpps", "client_certificates = \"request\"\n"),
                          listener(Off, "xmpps", ""),
                          "[[certificate]]\ncert = \"", CertFile, "\"\nkey = \"", CertFile, "\"\n"
                          "[xmpp]\nclient_ca = \"", CaFile, "\"\n"]}),
    ok = megaphone_test_ejabberd:register_users(megaphone_test_stage:ejabberd(Started), [<<"alice">>, <<"bob">>]),
    [{ports, lists:zip([own, xmpp, xmpps, off, without], Ports)}, {ca, Ca}, {ca_file, CaFile}, {stranger, StrangerFile}
     | Started].

listener(Port, Kind, More) ->
    ["[[listener]]\naddress = \"127.0.0.1:", integer_to_list(Port), "\"\nkind = \"", Kind, "\"\n", More].

end_per_suite(Config) ->
    megaphone_test_stage:stop(Config).

init_per_testcase(sasl2, Config) ->
    case lists:keymember(allow_unencrypted_sasl2, 1, ejabberd_c2s:listen_options()) of
        true -> Config;
        false -> {skip, "this ejabberd has no SASL2"}
    end;
init_per_testcase(_Case, Config) ->
    Config.

end_per_testcase(_Case, _Config) ->
    ok.

%% Confirms that a certificate with one JID is a login, whether the client says which or not.
own_jid(Config) ->
    File = certificate(Config, [<<"alice@localhost">>]),
    [begin
         Client = open(Config, Way, Version, [{certfile, File}]),
         ?assert(lists:member(?EXTERNAL, mechanisms(Client)), {Way, Version}),
         ?assertMatch(<<"alice@localhost/", _/binary>>, bound(external(Client, Jid)), {Way, Version, Jid})
     end || Way <- ?WAYS, Version <- ?VERSIONS, Jid <- [<<>>, <<"alice@localhost">>]].

%% Confirms the same by SASL2 (XEP-0388), and that nobody else's login is refused there too.
sasl2(Config) ->
    Jid = <<"alice@localhost">>,
    File = certificate(Config, [Jid]),
    [begin
         {_Features, Client} = open(Config, Way, tls13, [{certfile, File}], #{from => Jid}),
         {ok, Asked} = megaphone_test_c2s:send(
                         Client, ["<authenticate xmlns='urn:xmpp:sasl:2' mechanism='EXTERNAL'><initial-response>",
                                  base64:encode(Who), "</initial-response></authenticate>"]),
         {ok, Answer, Answered} = megaphone_test_c2s:recv(Asked, 5000),
         ok = megaphone_test_c2s:drop(Answered),
         ?assertEqual(Expected, megaphone_test_xml:name(Answer), {Way, Who})
     end || Way <- ?WAYS, {Who, Expected} <- [{Jid, <<"success">>}, {<<"bob@localhost">>, <<"failure">>}]].

%% Confirms that it is nobody else's login.
other_jid(Config) ->
    File = certificate(Config, [<<"alice@localhost">>]),
    [?assertEqual({failure, <<"not-authorized">>},
                  element(1, external(open(Config, Way, Version, [{certfile, File}]), Jid)), {Way, Version, Jid})
     || Way <- ?WAYS, Version <- ?VERSIONS, Jid <- [<<"bob@localhost">>, <<"alice@elsewhere.example">>]].

%% Confirms that with several JIDs the client has to say which.
several_jids(Config) ->
    File = certificate(Config, [<<"alice@localhost">>, <<"bob@localhost">>]),
    [begin
         Open = fun() -> open(Config, Way, tls13, [{certfile, File}]) end,
         ?assertMatch(<<"bob@localhost/", _/binary>>, bound(external(Open(), <<"bob@localhost">>)), Way),
         ?assertEqual({failure, <<"not-authorized">>}, element(1, external(Open(), <<>>)), Way)
     end || Way <- ?WAYS].

%% Confirms that a certificate of another authority is no login, and that the client logs in otherwise.
strangers(Config) ->
    File = proplists:get_value(stranger, Config),
    [begin
         {Refusal, Refused} = external(open(Config, Way, Version, [{certfile, File}]), <<>>),
         ?assertEqual({failure, <<"not-authorized">>}, Refusal, {Way, Version}),
         ?assertMatch({success, _}, plain(Refused), {Way, Version})
     end || Way <- ?WAYS, Version <- ?VERSIONS].

%% Confirms the same for clients that show none.
no_certificate(Config) ->
    [begin
         {Refusal, Refused} = external(open(Config, Way, tls13, []), <<"alice@localhost">>),
         ?assertEqual({failure, <<"not-authorized">>}, Refusal, Way),
         ?assertMatch({success, _}, plain(Refused), Way)
     end || Way <- ?WAYS].

%% Confirms that nobody is asked for a certificate where the ECM's listener doesn't say so.
not_asked(Config) ->
    File = certificate(Config, [<<"alice@localhost">>]),
    Client = open(Config, off, tls13, [{certfile, File}]),
    ?assertNot(lists:member(?EXTERNAL, mechanisms(Client))),
    ?assertMatch({{failure, <<"not-authorized">>}, _}, external(Client, <<>>)).

%% Confirms that ejabberd has to want it too: what a trunk's peer says of a certificate counts where its listener
%% has `tls_verify', and only if it was verified.
not_wanted(Config) ->
    #{cert := Certificate} = megaphone_test_certificates:sign_jids(proplists:get_value(ca, Config),
                                                                  [<<"alice@localhost">>]),
    [?assertEqual(Offered, offers(Port, Verify, Certificate), {Port, Verify})
     || {Port, Verify, Offered} <- [{megaphone_test_stage:trunk_port(Config), 0, true},
                                    {megaphone_test_stage:trunk_port(Config), 1, false},
                                    {port(Config, without), 0, false}]].

%% Whether EXTERNAL is offered to a client of which a trunk's peer says this.
offers(Port, Verify, Certificate) ->
    Trunk = megaphone_test_yamux:connect({{127, 0, 0, 1}, Port}),
    Tls = [<<3, Verify:32>>, megaphone_test_proxy:tlv(16#28, Certificate)],
    Header = megaphone_test_session:header(#{transport => <<"tls">>,
                                             more => [{16#20, Tls}, {16#e1, binary:copy(<<7>>, 32)}]}),
    {ok, Opened} = megaphone_test_session:open({Trunk, Header}, ?HOST, #{}),
    {ok, Features, _} = megaphone_test_session:recv(Opened, 5000),
    ok = megaphone_test_yamux:close(Trunk),
    lists:member(?EXTERNAL, names(Features)).

%% Confirms that to a client with a certificate nothing is offered that binds the login to what ejabberd doesn't know.
nothing_offered_that_cannot_work(Config) ->
    File = certificate(Config, [<<"alice@localhost">>]),
    [begin
         With = mechanisms(open(Config, Way, Version, [{certfile, File}])),
         ?assertEqual(lists:sort([?EXTERNAL | mechanisms(open(Config, Way, Version, []))]), lists:sort(With),
                      {Way, Version})
     end || Way <- [xmpp, xmpps], Version <- ?VERSIONS].

%% Confirms that slixmpp, a client that nobody here wrote, logs in by its certificate, and that two such clients chat.
slixmpp(Config) ->
    Folder = proplists:get_value(priv_dir, Config),
    Jids = [<<"alice@localhost">>, <<"bob@localhost">>],
    [ok = file:rename(certificate(Config, [Jid]), filename:join(Folder, <<User/binary, ".pem">>))
     || Jid <- Jids, [User, _] <- [binary:split(Jid, <<"@">>)]],
    [begin
         Output = megaphone_test_clients:run(
                    python, ["chat.py", "chat", Security, "127.0.0.1", integer_to_list(port(Config, Way)),
                             proplists:get_value(ca_file, Config), ["certificates:", Folder] | Jids], [], Config),
         %% What slixmpp logs comes before it.
         Facts = megaphone_test_json:decode(lists:last(binary:split(string:trim(Output), <<"\n">>, [global]))),
         ?assertMatch(#{<<"mechanism">> := ?EXTERNAL}, Facts, {Way, Security})
     end || {Way, Security} <- [{xmpp, "starttls"}, {xmpps, "direct-tls"}, {xmpps, "direct-tls-1.2"}]].

certificate(Config, Jids) ->
    Unique = integer_to_list(erlang:unique_integer([positive])),
    File = filename:join(proplists:get_value(priv_dir, Config), ["client", Unique, ".pem"]),
    Signed = megaphone_test_certificates:sign_jids(proplists:get_value(ca, Config), Jids),
    ok = megaphone_test_certificates:write(File, none, Signed),
    iolist_to_binary(File).

port(Config, Way) ->
    proplists:get_value(Way, proplists:get_value(ports, Config)).

%% A client that has the features of its stream.
open(Config, Way, Version, Options) ->
    open(Config, Way, Version, Options, #{}).

open(Config, Way, Version, Options, Stream) ->
    How = case Way of
              Direct when Direct =:= xmpps; Direct =:= off -> #{direct_tls => true};
              _ -> #{starttls => true}
          end,
    More = [{protocol_options, <<"no_tlsv1_3">>} || Version =:= tls12],
    {ok, Opened} = megaphone_test_c2s:open({{127, 0, 0, 1}, port(Config, Way)}, ?HOST,
                                           maps:merge(Stream, How#{tls_options => More ++ Options})),
    {ok, Features, Client} = megaphone_test_c2s:recv(Opened, 5000),
    {Features, Client}.

mechanisms({Features, _Client}) ->
    names(Features).

names(Features) ->
    [megaphone_test_xml:text(Mechanism)
     || Mechanism <- megaphone_test_xml:children(megaphone_test_xml:child(<<"mechanisms">>, Features))].

external(Client, <<>>) -> auth(Client, ?EXTERNAL, "=");
external(Client, Jid) -> auth(Client, ?EXTERNAL, base64:encode(Jid)).

plain(Client) ->
    auth({none, Client}, <<"PLAIN">>, base64:encode(<<0, "alice", 0, "megaphone">>)).

auth({_Features, Client}, Mechanism, Data) ->
    {ok, Asked} = megaphone_test_c2s:send(Client, ["<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='",
                                                   Mechanism, "'>", Data, "</auth>"]),
    case megaphone_test_c2s:recv(Asked, 5000) of
        {ok, {xmlel, <<"success">>, _, _}, Answered} -> {success, Answered};
        {ok, {xmlel, <<"failure">>, _, [{xmlel, Condition, _, _} | _]}, Answered} -> {{failure, Condition}, Answered}
    end.

%% The full JID that a client gets which is logged in.
bound({success, Client}) ->
    {ok, Restarted} = megaphone_test_c2s:restart(Client),
    {ok, _Features, Greeted} = megaphone_test_c2s:recv(Restarted, 5000),
    {ok, Asked} = megaphone_test_c2s:send(Greeted, "<iq type='set' id='b'>"
                                                   "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"),
    {ok, Result, Bound} = megaphone_test_c2s:recv(Asked, 5000),
    ok = megaphone_test_c2s:drop(Bound),
    megaphone_test_xml:text(megaphone_test_xml:child(<<"jid">>, megaphone_test_xml:child(<<"bind">>, Result))).
