//! The names of the namespaces that a connection manager meets.

/// Stanzas between a client and its server (RFC 6120, 4.8.2).
pub const CLIENT: &str = "jabber:client";
/// `<stream:stream/>`, `<stream:features/>`, `<stream:error/>` (RFC 6120, 4.8.1).
pub const STREAM: &str = "http://etherx.jabber.org/streams";
/// The conditions inside `<stream:error/>` (RFC 6120, 4.9.2).
pub const STREAM_ERROR: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// `<open/>` and `<close/>` (RFC 7395, 3.3.2).
pub const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
/// `<starttls/>` and its answers (RFC 6120, 5).
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL (RFC 6120, 6).
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// BOSH's `<body/>` (XEP-0124).
pub const HTTP_BIND: &str = "http://jabber.org/protocol/httpbind";
/// The attributes `xmpp:version`, `xmpp:restart`, `xmpp:restartlogic` (XEP-0206).
pub const XBOSH: &str = "urn:xmpp:xbosh";
/// The same attributes, as some clients spell the namespace.
pub const XBOSH_MISSPELT: &str = "urn:xmpp:bosh";
/// What the prefix `xml` stands for, declared or not (Namespaces in XML, 3).
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// What the prefix `xmlns` stands for (Namespaces in XML, 3).
pub const XMLNS: &str = "http://www.w3.org/2000/xmlns/";
