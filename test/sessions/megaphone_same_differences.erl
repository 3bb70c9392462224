%% @doc What clients of megaphone_same_SUITE hear otherwise through the ECM than from ejabberd's own listeners.
-module(megaphone_same_differences).

-export([all/0, about/1, find/3]).

-type transport() :: tcp | tls | websocket | bosh.
%% The versions of ejabberd that it was found in. Those that are not covered have none.
-type versions() :: all | {before, string()} | {since, string()}.
-type difference() :: {{Scenario :: atom(), transport()}, versions(), Ejabberd :: [iodata()], Ecm :: [iodata()],
                       Reason :: string()}.

-define(CLOSE, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>").
-define(RESTRICTED, "RFC 6120 (11.1) forbids comments, processing instructions and document types; ejabberd takes "
                    "the first two").
-define(NAMES, "a prefix means nothing (RFC 6120, 4.8.5); ejabberd respects that only on its XML streams").
-define(OPENED_AGAIN, "a client that opens its stream again before the login waits for features; ejabberd's c2s "
                      "ignores it").
-define(PLUS_MECHANISMS, ["DIGEST-MD5", "PLAIN", "SCRAM-SHA-512-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-256-PLUS",
                          "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "X-OAUTH2"]).
-define(MECHANISMS, ["DIGEST-MD5", "PLAIN", "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "X-OAUTH2"]).
-define(PREFIXED, echo("<x:y x:a='b' xmlns:x='urn:z'><x:c/></x:y>")).
-define(UNPREFIXED, echo("<y x:a='b' xmlns='urn:z' xmlns:x='urn:z'><c/></y>")).
%% The answer to a stanza without an address.
-define(NO_SESSION, ?NO_SESSION("")).
-define(NO_SESSION_FRAMED, ?NO_SESSION(" xmlns='jabber:client'")).
%% To a comment and a processing instruction within a message.
-define(COMMENTS_TAKEN, [?NO_SESSION_FRAMED, "closes", ?NO_SESSION_FRAMED, "closes"]).
-define(RESTRICTED_FRAMED, [framed_error("restricted-xml"), websocket_close(1007),
                            framed_error("restricted-xml"), ?CLOSE, websocket_close(1007),
                            framed_error("restricted-xml"), ?CLOSE, websocket_close(1007)]).
-define(NO_SESSION(Namespace),
        "<message from='alice@localhost' to='alice@localhost/test' type='error' xml:lang='en'" Namespace ">"
        "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xml:lang='en' "
        "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>User session not found</text></error></message>").

%% @doc By scenario and transport: the lines that ejabberd's own listener says and the ECM does not, the other
%% way round, and why. A line that both say as often is in neither.
-spec all() -> [difference()].
all() ->
    [{{opening, bosh}, all,
      [], ["header charsets='UTF-8'", "header xml:lang='en'"],
      "XEP-0124 (7.2) lets a server say its charsets, and RFC 6120 (4.7.4) requires it to say its language"},
     {{starttls, tls}, {before, "24.02"},
      [mechanisms(?PLUS_MECHANISMS)], [mechanisms(?MECHANISMS)],
      "ejabberd before 24.02 only knows tls-unique, and offers it with TLS 1.3, where it does not exist (RFC 9266)"},
     {{unknown_host, bosh}, all,
      ["the session is over: internal-server-error"], ["the session is over: remote-stream-error"],
      "the error is ejabberd's stream error, which is included, and not one of the BOSH server (XEP-0206, 6)"},
     {{text_of_all_kinds, websocket}, all, [?PREFIXED], [?UNPREFIXED], ?NAMES},
     {{text_of_all_kinds, bosh}, all, [?PREFIXED], [?UNPREFIXED], ?NAMES},
     {{stream_management, bosh}, all,
      [message("bob", "<body>meanwhile</body>"), "<r xmlns='urn:xmpp:sm:3'/>"], [],
      "ejabberd_bosh and stream management both resend what waits for a client that is gone, so it arrives twice"},
     {{malformed, tcp}, all,
      [stream_error("not-well-formed")], [stream_error("restricted-xml")],
      "an entity that XMPP does not have is restricted XML (RFC 6120, 11.1)"},
     {{malformed, websocket}, {before, "24.10"},
      lists:duplicate(4, websocket_close(1000)) ++ [?CLOSE, websocket_close(1000)],
      lists:append([[framed_error(Condition), websocket_close(1007)]
                    || Condition <- ["not-well-formed", "not-well-formed", "restricted-xml", "not-well-formed"]])
      ++ [websocket_close(1007)],
      "RFC 7395 (3.3.3) requires a stream error, and RFC 6455 (8.1) 1007 for text that is not UTF-8; ejabberd's c2s "
      "crashes"},
     {{malformed, websocket}, {since, "24.10"},
      lists:duplicate(3, websocket_close(1000)) ++ [framed_error("not-well-formed"), websocket_close(1000),
                                                   framed_error("not-well-formed"), ?CLOSE, websocket_close(1000)],
      [websocket_close(1007), websocket_close(1007), framed_error("restricted-xml")]
      ++ lists:duplicate(3, websocket_close(1007)),
      "a message that can't be understood ends a WebSocket with 1007 (RFC 6455, 7.4.1); an entity that XMPP does "
      "not have is restricted XML (RFC 6120, 11.1); text that is not UTF-8 gets no answer (RFC 6455, 8.1)"},
     {{malformed, bosh}, all,
      lists:duplicate(5, "HTTP 400"), lists:duplicate(5, "the session is over: bad-request"),
      "clients that send `ver' get conditions; HTTP codes are for older ones (XEP-0124, 17.1)"},
     {{restricted_xml, tcp}, all,
      [?NO_SESSION, "closes", ?NO_SESSION, "closes", stream_error("not-well-formed")],
      [stream_error("restricted-xml"), stream_error("restricted-xml"), "the stream is closed",
       stream_error("restricted-xml"), "the stream is closed"],
      ?RESTRICTED},
     {{restricted_xml, websocket}, {before, "24.10"},
      ?COMMENTS_TAKEN ++ [websocket_close(1000)], ?RESTRICTED_FRAMED, ?RESTRICTED},
     {{restricted_xml, websocket}, {since, "24.10"},
      ?COMMENTS_TAKEN ++ [framed_error("not-well-formed"), websocket_close(1000)], ?RESTRICTED_FRAMED, ?RESTRICTED},
     {{restricted_xml, bosh}, all,
      ?COMMENTS_TAKEN ++ ["HTTP 400"], lists:duplicate(3, "the session is over: bad-request"), ?RESTRICTED},
     {{no_stanza, bosh}, all,
      [unknown_tag("jabber:client")], [unknown_tag("urn:other")],
      "ejabberd_bosh puts everything into one namespace, even the error to a stanza of another one"},
     {{second_stream_early, websocket}, all,
      [], [Line || _ <- [first, second],
                   Line <- ["<open from='localhost' id='...' version='1.0' xml:lang='en' "
                            "xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
                            features(" xmlns:stream='http://etherx.jabber.org/streams'", ?MECHANISMS, "")]],
      ?OPENED_AGAIN},
     {{second_stream_early, bosh}, all,
      [], [mechanisms(?MECHANISMS), mechanisms(?MECHANISMS)], ?OPENED_AGAIN},
     {{oversize, websocket}, all,
      ["closes"], [framed_error("policy-violation"), ?CLOSE, websocket_close(1000)],
      "max_stanza_size applies to all sessions; ejabberd_http_ws has no such limit"},
     {{oversize, bosh}, all,
      ["HTTP 403"], ["the session is over: remote-stream-error"],
      "clients that send `ver' get conditions; HTTP codes are for older ones (XEP-0124, 17.1)"},
     {{killed, tcp}, all,
      ["closed"], [stream_error("remote-connection-failed"), "the stream is closed"],
      "the ECM can tell the client what ejabberd can't, once its process has crashed"},
     {{killed, websocket}, all,
      ["timeout"], [framed_error("remote-connection-failed"), ?CLOSE, websocket_close(1011)],
      "ejabberd_http_ws does not monitor its c2s process"},
     {{killed, bosh}, all,
      ["timeout"], ["the session is over: remote-connection-failed"],
      "ejabberd_bosh does not monitor its c2s process"}].

%% @doc What the clients of a scenario do.
-spec about(Scenario :: atom()) -> string().
about(opening) -> "A client opens its stream";
about(starttls) -> "A client must use STARTTLS, and does";
about(unknown_host) -> "A client asks for a host that is not served";
about(text_of_all_kinds) -> "Clients send texts and elements of all kinds";
about(stream_management) -> "A client with stream management breaks off and resumes";
about(malformed) -> "A client sends something that is not XML";
about(restricted_xml) -> "A client sends a comment, a processing instruction or a document type";
about(no_stanza) -> "A client sends an element that is not a stanza";
about(second_stream_early) -> "A client opens its stream twice before its login";
about(oversize) -> "A client sends more than max_stanza_size";
about(killed) -> "A client's process in ejabberd is killed".

%% @doc What differs with this version of ejabberd (`23.01', say; what a distribution puts behind it does not count).
-spec find(Scenario :: atom(), transport(), Version :: string()) -> {Ejabberd :: [iodata()], Ecm :: [iodata()]} | none.
find(Scenario, Transport, Version) ->
    case [{Ejabberd, Ecm} || {Key, Versions, Ejabberd, Ecm, _Reason} <- all(), Key =:= {Scenario, Transport},
                             covers(Versions, lists:sublist(Version, length("YY.MM")))] of
        [Difference] -> Difference;
        [] -> none
    end.

%% The versions are of one length, so that text compares as they do.
covers(all, _) -> true;
covers({before, First}, Version) -> Version < First;
covers({since, First}, Version) -> Version >= First.

echo(Payload) ->
    message("alice", Payload).

message(From, Payload) ->
    ["<message from='", From, "@localhost/test' to='alice@localhost/test' type='chat' xml:lang='en' "
     "xmlns='jabber:client'>", Payload, "</message>"].

%% What is offered before the login.
mechanisms(Names) ->
    features("", Names, "").

features(Attributes, Names, More) ->
    ["<stream:features", Attributes, "><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>",
     [["<mechanism>", Name, "</mechanism>"] || Name <- Names], "</mechanisms>", More, "</stream:features>"].

stream_error(Condition) ->
    ["<stream:error><", Condition, " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"].

framed_error(Condition) ->
    ["<stream:error xmlns:stream='http://etherx.jabber.org/streams'><", Condition,
     " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"].

websocket_close(Code) ->
    ["the WebSocket is closed with ", integer_to_list(Code)].

unknown_tag(Namespace) ->
    ["<message type='error' xmlns='", Namespace, "'><error type='modify'><bad-request "
     "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xml:lang='en' xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>"
     "Unknown tag &lt;message/&gt; qualified by namespace &apos;urn:other&apos;</text></error></message>"].
