%% @doc megaphone_test_stage with every kind of listener that the ECM has, for suites whose clients come
%% in by several of them.
-module(megaphone_test_entrances).

-export([start/2, address/2, target/2, login/3, login_from/4, authenticate/3, certificate_file/1, ca_file/1,
         await_open/1]).

-export_type([kind/0]).

%% `http' and `https' are for WebSocket clients; the kinds of `xmpp' have STARTTLS required, optional
%% and off.
-type kind() :: http | https | xmpp | xmpp_optional | xmpp_off | xmpps.
-type ct_config() :: [{atom(), term()}].

%% @doc Starts it; megaphone_test_stage:stop/1 stops it. The settings are megaphone_test_stage's.
-spec start(ct_config(), map()) -> ct_config().
start(Config, Settings) ->
    Ca = megaphone_test_certificates:ca("an authority of the tests"),
    {CertFile, CaFile} = megaphone_test_certificates:write_signed(Ca, Config, "localhost"),
    Kinds = [https, xmpp, xmpp_optional, xmpp_off, xmpps],
    Ports = lists:zip(Kinds, megaphone_test_port:free(length(Kinds))),
    Ecm = [[["[[listener]]\naddress = \"127.0.0.1:", integer_to_list(Port), "\"\n", options(Kind)]
            || {Kind, Port} <- Ports],
           "[[certificate]]\ncert = \"", CertFile, "\"\nkey = \"", CertFile, "\"\n",
           maps:get(ecm, Settings, "")],
    Started = megaphone_test_stage:start(ecm, Config, Settings#{ecm => Ecm}),
    [{ports, Ports}, {certificate_file, CertFile}, {ca_file, CaFile} | Started].

-spec address(ct_config(), kind()) -> {inet:ip_address(), inet:port_number()}.
address(Config, http) ->
    megaphone_test_stage:target(Config);
address(Config, Kind) ->
    {{127, 0, 0, 1}, proplists:get_value(Kind, proplists:get_value(ports, Config))}.

%% @doc Where clients of that kind connect, by TLS where they have to.
-spec target(ct_config(), kind()) -> megaphone_test_http:target().
target(Config, Kind) ->
    target(Config, Kind, []).

%% @doc A client that is logged in and has sent presence.
-spec login(ct_config(), kind(), binary()) -> megaphone_test_xmpp:client().
login(Config, Kind, User) ->
    megaphone_test_xmpp:login(transport(Kind), target(Config, Kind), User, client_options(Kind)).

%% @doc The same for a client that comes from an address of its own, such as 127.0.0.5.
-spec login_from(inet:ip_address(), ct_config(), kind(), binary()) -> megaphone_test_xmpp:client().
login_from(Address, Config, Kind, User) ->
    Target = target(Config, Kind, [{ip, Address}]),
    megaphone_test_xmpp:login(transport(Kind), Target, User, client_options(Kind)).

%% @doc A client that is logged in and has no session of its own yet.
-spec authenticate(ct_config(), kind(), binary()) -> megaphone_test_xmpp:client().
authenticate(Config, Kind, User) ->
    megaphone_test_xmpp:authenticate(transport(Kind), target(Config, Kind), User, client_options(Kind)).

%% @doc The ECM's certificate, with its key.
-spec certificate_file(ct_config()) -> file:name().
certificate_file(Config) ->
    proplists:get_value(certificate_file, Config).

%% @doc The certificate of who signed the ECM's.
-spec ca_file(ct_config()) -> file:name().
ca_file(Config) ->
    proplists:get_value(ca_file, Config).

%% @doc Waits until sessions can be opened: after a restart of the ECM or ejabberd.
-spec await_open(ct_config()) -> ok.
await_open(Config) ->
    Target = address(Config, xmpp_off),
    megaphone_test_wait:until(
      "a session that the ECM and ejabberd open",
      fun() ->
              {ok, Client} = megaphone_test_c2s:open(Target, <<"localhost">>, #{}),
              First = megaphone_test_c2s:recv(Client, 5000),
              ok = megaphone_test_c2s:drop(Client),
              case First of
                  {ok, {xmlel, <<"stream:features">>, _, _}, _} -> ok;
                  _ -> false
              end
      end).

target(Config, Kind, Options) when Kind =:= https; Kind =:= xmpps ->
    megaphone_test_tls:target(address(Config, Kind), ca_file(Config), Options);
target(Config, Kind, Options) ->
    {Host, Port} = address(Config, Kind),
    {Host, Port, Options}.

options(https) -> "kind = \"https\"\n";
options(xmpp) -> "kind = \"xmpp\"\n";
options(xmpp_optional) -> "kind = \"xmpp\"\nstarttls = \"optional\"\n";
options(xmpp_off) -> "kind = \"xmpp\"\nstarttls = \"off\"\n";
options(xmpps) -> "kind = \"xmpps\"\n".

transport(Kind) when Kind =:= http; Kind =:= https -> megaphone_test_websocket;
transport(_) -> megaphone_test_c2s.

client_options(Kind) when Kind =:= xmpp; Kind =:= xmpp_optional -> #{starttls => true};
client_options(_) -> #{}.
