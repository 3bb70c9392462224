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
/// SASL2 (XEP-0388).
pub const SASL2: &str = "urn:xmpp:sasl:2";
/// A resource that comes with SASL2 (XEP-0386).
pub const BIND_2: &str = "urn:xmpp:bind:0";
/// Stream management (XEP-0198).
pub const SM_3: &str = "urn:xmpp:sm:3";
/// Stream management as it was before.
pub const SM_2: &str = "urn:xmpp:sm:2";
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
