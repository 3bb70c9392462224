%% @doc What clients of megaphone_same_SUITE hear otherwise through the ECM than from ejabberd's own listeners.
-module(megaphone_same_differences).

-export([all/0]).

-type difference() :: {Ejabberd :: [iodata()], Ecm :: [iodata()], Reason :: string()}.

-define(CLOSE, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>").
-define(RESTRICTED, "RFC 6120 (11.1) forbids comments, processing instructions and document types; ejabberd takes "
                    "the first two").
-define(NAMES, "a prefix means nothing (RFC 6120, 4.8.5); ejabberd knows that on its XML streams alone").
-define(OPENED_AGAIN, "who opens a stream again before the login waits for its features; ejabberd's c2s drops it").
-define(MECHANISMS, ["DIGEST-MD5", "PLAIN", "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "X-OAUTH2"]).
-define(PREFIXED, echo("<x:y x:a='b' xmlns:x='urn:z'><x:c/></x:y>")).
-define(UNPREFIXED, echo("<y x:a='b' xmlns='urn:z' xmlns:x='urn:z'><c/></y>")).
%% The answer to a stanza without an address.
-define(NO_SESSION, ?NO_SESSION("")).
-define(NO_SESSION_FRAMED, ?NO_SESSION(" xmlns='jabber:client'")).
-define(NO_SESSION(Namespace),
        "<message from='alice@localhost' to='alice@localhost/test' type='error' xml:lang='en'" Namespace ">"
        "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xml:lang='en' "
        "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>User session not found</text></error></message>").

%% @doc By scenario and transport: the lines that ejabberd's own listener says and the ECM does not, the other
%% way round, and why. A line that both say as often is in neither.
-spec all() -> #{{Scenario :: atom(), tcp | tls | websocket | bosh} => difference()}.
all() ->
    #{{opening, bosh} =>
          {[], ["header charsets='UTF-8'", "header xml:lang='en'"],
           "XEP-0124 (7.2) lets a server say its charsets, and RFC 6120 (4.7.4) wants its language said"},
      {starttls, tls} =>
          {[mechanisms(["DIGEST-MD5", "PLAIN", "SCRAM-SHA-512-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-256-PLUS",
                        "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "X-OAUTH2"])],
           [mechanisms(?MECHANISMS)],
           "channel binding needs the keys of TLS, which the ECM has and ejabberd has not"},
      {starttls_declined, tls} =>
          {["<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><encryption-required/></failure>"],
           [stream_error("policy-violation")],
           "where STARTTLS is required the ECM talks of nothing else, and has no session in ejabberd"},
      {unknown_host, bosh} =>
          {["the session is over: internal-server-error"], ["the session is over: remote-stream-error"],
           "it is ejabberd's stream error, which comes with it, and no fault of the BOSH server (XEP-0206, 6)"},
      {text_of_all_kinds, websocket} => {[?PREFIXED], [?UNPREFIXED], ?NAMES},
      {text_of_all_kinds, bosh} => {[?PREFIXED], [?UNPREFIXED], ?NAMES},
      {malformed, tcp} =>
          {[stream_error("not-well-formed")], [stream_error("restricted-xml")],
           "an entity that XMPP does not have is restricted XML (RFC 6120, 11.1)"},
      {malformed, websocket} =>
          {lists:duplicate(4, websocket_close(1000)) ++ [?CLOSE, websocket_close(1000)],
           lists:append([[framed_error(Condition), websocket_close(1007)]
                         || Condition <- ["not-well-formed", "not-well-formed", "restricted-xml", "not-well-formed"]])
           ++ [websocket_close(1007)],
           "RFC 7395 (3.3.3) wants a stream error, RFC 6455 (8.1) 1007 for what is no UTF-8; ejabberd's c2s crashes"},
      {malformed, bosh} =>
          {lists:duplicate(5, "HTTP 400"), lists:duplicate(5, "the session is over: bad-request"),
           "clients that say `ver' get conditions, the HTTP codes are for older ones (XEP-0124, 17.1)"},
      {restricted_xml, tcp} =>
          {[?NO_SESSION, "closes", ?NO_SESSION, "closes", stream_error("not-well-formed")],
           [stream_error("restricted-xml"), stream_error("restricted-xml"), "the stream is closed",
            stream_error("restricted-xml"), "the stream is closed"],
           ?RESTRICTED},
      {restricted_xml, websocket} =>
          {[?NO_SESSION_FRAMED, "closes", ?NO_SESSION_FRAMED, "closes", websocket_close(1000)],
           [framed_error("restricted-xml"), websocket_close(1007), framed_error("restricted-xml"), ?CLOSE,
            websocket_close(1007), framed_error("restricted-xml"), ?CLOSE, websocket_close(1007)],
           ?RESTRICTED},
      {restricted_xml, bosh} =>
          {[?NO_SESSION_FRAMED, "closes", ?NO_SESSION_FRAMED, "closes", "HTTP 400"],
           lists:duplicate(3, "the session is over: bad-request"), ?RESTRICTED},
      {no_stanza, bosh} =>
          {[unknown_tag("jabber:client")], [unknown_tag("urn:other")],
           "ejabberd_bosh gives all that it sends one namespace, the error to a stanza of another too"},
      {second_stream_early, websocket} =>
          {[], [Line || _ <- [first, second],
                        Line <- ["<open from='localhost' id='...' version='1.0' xml:lang='en' "
                                 "xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
                                 mechanisms(" xmlns:stream='http://etherx.jabber.org/streams'", ?MECHANISMS)]],
           ?OPENED_AGAIN},
      {second_stream_early, bosh} =>
          {[], [mechanisms(?MECHANISMS), mechanisms(?MECHANISMS)], ?OPENED_AGAIN},
      {oversize, websocket} =>
          {["closes"], [framed_error("policy-violation"), ?CLOSE, websocket_close(1000)],
           "max_stanza_size holds for all sessions, ejabberd_http_ws has none"},
      {oversize, bosh} =>
          {["HTTP 403"], ["the session is over: remote-stream-error"],
           "clients that say `ver' get conditions, the HTTP codes are for older ones (XEP-0124, 17.1)"},
      {killed, tcp} =>
          {["closed"], [stream_error("remote-connection-failed"), "the stream is closed"],
           "the ECM can tell what ejabberd can't once its process has crashed"},
      {killed, websocket} =>
          {["timeout"], [framed_error("remote-connection-failed"), ?CLOSE, websocket_close(1011)],
           "ejabberd_http_ws does not look after its c2s process"},
      {killed, bosh} =>
          {["timeout"], ["the session is over: remote-connection-failed"],
           "ejabberd_bosh does not look after its c2s process"}}.

echo(Payload) ->
    ["<message from='alice@localhost/test' to='alice@localhost/test' type='chat' xml:lang='en' "
     "xmlns='jabber:client'>", Payload, "</message>"].

%% What is offered before the login.
mechanisms(Names) ->
    mechanisms("", Names).

mechanisms(Attributes, Names) ->
    ["<stream:features", Attributes, "><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>",
     [["<mechanism>", Name, "</mechanism>"] || Name <- Names], "</mechanisms></stream:features>"].

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
