%% A path that ends in the ECM does so however it is written: an ejabberd behind it that has handlers for
%% the same paths is no way around the ECM's limits.
-module(megaphone_paths_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([no_way_around_origins/1, no_way_around_logins_per_address/1, same_as_ejabberd/1]).

%% Ways to write a path that ejabberd takes for one.
-define(WAYS(Path, Escaped),
        ["/" Path, "/" Path "/", "//" Path, "/./" Path, "/" Path "/.", "/../" Path, "/x/../" Path, "/x/y/../../" Path,
         "/" Path "/x/..", Escaped, "/x/%2e%2e/" Path, "/x%2f..%2F" Path, "/%2f" Path, "/x/%2e%2e//." Escaped "/",
         "/" Path "?x", "http://localhost/" Path, "http://localhost//" Path, "HTTP://localhost" Escaped,
         "http://localhost?x/" Path]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [no_way_around_origins, no_way_around_logins_per_address, same_as_ejabberd].

init_per_suite(Config) ->
    Http = megaphone_test_port:free(),
    Started = megaphone_test_stage:start(
                ecm, Config,
                #{more_listeners => [megaphone_test_config:listener(ejabberd_http, Http)],
                  ecm => "[websocket]\npaths = [\"/ws\"]\norigins = [\"https://chat.example\"]\n"
                         "[bosh]\npaths = [\"/bosh\"]\norigins = [\"https://chat.example\"]\n"
                         "[limits]\nlogins_per_second_per_address = 1\n"}),
    [{plain, {{127, 0, 0, 1}, Http}} | Started].

end_per_suite(Config) ->
    megaphone_test_stage:stop(Config).

%% Confirms that a page of an origin that is not listed connects by no way of writing the path, and that one
%% of an origin that is listed connects by each.
no_way_around_origins(Config) ->
    Asked = [{Path, websocket(Config, Path, "https://other.example"), bosh(Config, Path, "https://other.example")}
             || Path <- ?WAYS("ws", "/%77s") ++ ?WAYS("bosh", "/%62osh")],
    %% GET gets a page at BOSH's paths, POST a refusal at WebSocket's.
    ?assertEqual([], [Case || {_, WebSocket, Bosh} = Case <- Asked, WebSocket =:= 101 orelse Bosh =:= session]),
    ?assertEqual([], [Path || Path <- ?WAYS("ws", "/%77s") ++ ["/ws/x"],
                              websocket(Config, Path, "https://other.example") =/= 403]),
    ?assertEqual([], [Path || Path <- ?WAYS("bosh", "/%62osh"),
                              bosh(Config, Path, "https://other.example") =/= 403]),
    ?assertEqual([], [Path || Path <- ?WAYS("ws", "/%77s") ++ ["/ws/x"],
                              websocket(Config, Path, "https://chat.example") =/= 101]).

%% Confirms the same of a limit that counts: logins of one address, of which eleven may come at once.
no_way_around_logins_per_address(Config) ->
    Answers = [bosh(Config, {127, 0, 0, 8}, Path, "https://chat.example") || Path <- ?WAYS("bosh", "/%62osh")],
    ?assert(lists:member(session, Answers)),
    ?assert(lists:member(<<"policy-violation">>, Answers)),
    ?assertEqual([], Answers -- [Answer || Answer <- Answers,
                                           Answer =:= session orelse Answer =:= <<"policy-violation">>]).

%% Confirms that the ECM serves what ejabberd would give to its handlers of BOSH and WebSocket, and that
%% all else reaches ejabberd as the path that it is.
same_as_ejabberd(Config) ->
    Property = prop_paths:prop_same_as_ejabberd(proplists:get_value(plain, Config),
                                                megaphone_test_stage:target(Config)),
    prop_result:holds_for(Property, 400).

websocket(Config, Path, Origin) ->
    Connection = megaphone_test_http:connect(megaphone_test_stage:target(Config)),
    Answer = megaphone_test_http:request(Connection, "GET", Path,
                                         [{"Connection", "Upgrade"}, {"Upgrade", "websocket"},
                                          {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="},
                                          {"Sec-WebSocket-Version", "13"}, {"Sec-WebSocket-Protocol", "xmpp"},
                                          {"Origin", Origin}]),
    ok = megaphone_test_http:close(Connection),
    maps:get(status, Answer).

bosh(Config, Path, Origin) ->
    bosh(Config, {127, 0, 0, 1}, Path, Origin).

%% A session, or why there is none: an HTTP status or BOSH's condition.
bosh(Config, Address, Path, Origin) ->
    Connection = megaphone_test_http:connect(megaphone_test_stage:target_from(Address, Config)),
    Answer = megaphone_test_http:request(Connection, "POST", Path, [{"Origin", Origin}],
                                         "<body xmlns='http://jabber.org/protocol/httpbind' rid='1' "
                                         "to='localhost' wait='1' hold='1' ver='1.6' xmpp:version='1.0' "
                                         "xmlns:xmpp='urn:xmpp:xbosh'/>"),
    ok = megaphone_test_http:close(Connection),
    case Answer of
        #{status := 200, body := Body} ->
            Answered = megaphone_test_xml:parse(Body),
            case {megaphone_test_xml:attribute(<<"sid">>, Answered),
                  megaphone_test_xml:attribute(<<"condition">>, Answered)} of
                {<<>>, Condition} -> Condition;
                {_, <<>>} -> session
            end;
        #{status := Status} ->
            Status
    end.
