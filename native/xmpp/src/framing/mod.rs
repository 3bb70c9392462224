//! RFC 7395: one document a message, and the same documents on a trunk.
//!
//! What a WebSocket message has to be, [`check`] says; what a document is for, [`Kind`]. A session on a
//! trunk (ALPN `xmpp-framing`) is a sequence of messages, each a u32 big-endian length and one document:
//! [`put_message`] and [`Messages`]. What its client never got goes back by [`put_given_back`], and [`Control`]
//! messages move it to another node.

mod control;
mod message;

pub use control::{Control, MAX_CONTROL, is_control, put_control, read_control};
pub use message::{Message, MessageError, Messages, put_document, put_given_back, put_message};

use std::borrow::Cow;

use crate::error::XmlError;
use crate::limits::Limits;
use crate::namespace;
use crate::open::Open;
use crate::xml::{self, Builder, Document, Root, Scope, check_in};

/// `<close/>`: the stream ends (RFC 7395, 3.6).
pub const CLOSE: &[u8] = b"<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>";

/// Checks that a WebSocket text message is exactly one document (RFC 7395, 3.3).
///
/// As in ejabberd, white space and an XML declaration around it do no harm, and an element without a
/// namespace is in `jabber:client`, which the result then declares.
pub fn check<'a>(message: &'a [u8], limits: &Limits) -> Result<Document<'a>, XmlError> {
    check_in(message, Scope::CLIENT, limits)
}

/// What a document is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// `<open/>`: a stream starts, or starts again.
    Open(Open<'a>),
    /// `<close/>`: the stream ends.
    Close {
        /// Where the client should go instead (RFC 7395, 3.6.1).
        see_other_uri: Option<Cow<'a, str>>,
    },
    /// `<stream:features/>`.
    Features,
    /// `<stream:error/>`: `<close/>` follows.
    Error,
    /// `<message/>`.
    Message,
    /// `<presence/>`.
    Presence,
    /// `<iq/>`.
    Iq,
    /// `<challenge/>` of SASL (RFC 6120, 6).
    Challenge,
    /// `<success/>` of SASL: the client has logged in, and opens its stream anew.
    Success,
    /// `<success/>` of SASL2 (XEP-0388): the client has logged in, and its stream goes on.
    Success2,
    /// `<failure/>` of either.
    Failure,
    /// `<resumed/>` (XEP-0198): the client has its old session.
    Resumed,
    /// Everything else.
    Other,
}

impl<'a> Kind<'a> {
    /// The kind of a well-formed document, by its root's tag; `None` if it doesn't start with a tag.
    ///
    /// It reads that tag alone. A root without prefix or namespace is in `jabber:client`.
    pub fn of(document: &'a [u8]) -> Option<Self> {
        Root::new(document).map(|root| Self::of_root(&root))
    }

    pub(crate) fn of_root(root: &Root<'a>) -> Self {
        let local = root.local_name();
        if !matches!(
            local,
            "open"
                | "close"
                | "features"
                | "error"
                | "message"
                | "presence"
                | "iq"
                | "challenge"
                | "success"
                | "failure"
                | "resumed"
        ) {
            return Self::Other;
        }
        let namespace = root.namespace();
        match (local, namespace.as_deref().unwrap_or(namespace::CLIENT)) {
            ("open", namespace::FRAMING) => Self::Open(Open::of(root)),
            ("close", namespace::FRAMING) => Self::Close {
                see_other_uri: root.attribute("see-other-uri"),
            },
            ("features", namespace::STREAM) => Self::Features,
            ("error", namespace::STREAM) => Self::Error,
            ("message", namespace::CLIENT) => Self::Message,
            ("presence", namespace::CLIENT) => Self::Presence,
            ("iq", namespace::CLIENT) => Self::Iq,
            ("challenge", namespace::SASL) => Self::Challenge,
            ("success", namespace::SASL) => Self::Success,
            ("success", namespace::SASL2) => Self::Success2,
            ("failure", namespace::SASL | namespace::SASL2) => Self::Failure,
            ("resumed", namespace::SM_2 | namespace::SM_3) => Self::Resumed,
            _ => Self::Other,
        }
    }
}

/// Whether the server has to answer a document of a client that logs in: a step of its login, or a request. Of much
/// else it says nothing, as of an error.
pub fn is_login_step(document: &[u8]) -> bool {
    let Some(root) = Root::new(document) else {
        return false;
    };
    let namespace = root.namespace();
    match (
        root.local_name(),
        namespace.as_deref().unwrap_or(namespace::CLIENT),
    ) {
        ("open", namespace::FRAMING)
        | ("auth" | "response" | "abort", namespace::SASL)
        | ("authenticate" | "response" | "abort" | "next", namespace::SASL2)
        | ("resume" | "enable", namespace::SM_2 | namespace::SM_3) => true,
        ("iq", namespace::CLIENT) => {
            let kind = root.attribute("type");
            matches!(kind.as_deref(), Some("get" | "set"))
        }
        _ => false,
    }
}

/// Whether a `<success/>` of SASL2 has given its client a resource (XEP-0386), or its old session
/// (XEP-0198).
pub fn has_resource(success: &[u8]) -> bool {
    let mut found = Resource::default();
    let limits = Limits::of_trunk(success.len().saturating_add(1));
    let built = xml::build(success, &limits, success.len(), &mut found);
    built.is_ok() && found.is_there
}

/// Looks for an element that gives one, directly in the root.
#[derive(Default)]
struct Resource {
    depth: usize,
    /// An element of this name directly in the root, whose namespace is to be told.
    named: Option<&'static str>,
    is_there: bool,
}

impl Builder for Resource {
    fn start(&mut self, name: &str) {
        self.depth += 1;
        self.named = match (self.depth, name) {
            (2, "bound") => Some("bound"),
            (2, "resumed") => Some("resumed"),
            _ => None,
        };
    }

    fn attribute(&mut self, name: &str, value: &str) {
        self.is_there |= name == "xmlns"
            && matches!(
                (self.named, value),
                (Some("bound"), namespace::BIND_2)
                    | (Some("resumed"), namespace::SM_2 | namespace::SM_3)
            );
    }

    fn text(&mut self, _text: &str) {}

    fn end(&mut self) {
        self.depth -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_document: 1000,
        max_depth: 10,
        max_attributes: 10,
    };

    #[test]
    fn kinds() {
        let stream = "xmlns:stream='http://etherx.jabber.org/streams'";
        for (document, kind) in [
            ("<message xmlns='jabber:client'/>", Kind::Message),
            ("<message/>", Kind::Message),
            ("<c:iq xmlns:c='jabber:client'/>", Kind::Iq),
            ("<presence xmlns='jabber:client'>..", Kind::Presence),
            ("<iq xmlns='jabber:server'/>", Kind::Other),
            (&format!("<stream:features {stream}/>"), Kind::Features),
            (
                "<features xmlns='http://etherx.jabber.org/streams'/>",
                Kind::Features,
            ),
            ("<features/>", Kind::Other),
            (&format!("<stream:error {stream}/>"), Kind::Error),
            ("<error/>", Kind::Other),
            ("<open/>", Kind::Other),
            (
                "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
                Kind::Other,
            ),
            (
                "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
                Kind::Challenge,
            ),
            (
                "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
                Kind::Success,
            ),
            ("<success xmlns='urn:xmpp:sasl:2'>", Kind::Success2),
            ("<success/>", Kind::Other),
            ("<success xmlns='urn:other'/>", Kind::Other),
            (
                "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
                Kind::Failure,
            ),
            ("<failure xmlns='urn:xmpp:sasl:2'/>", Kind::Failure),
            (
                "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
                Kind::Other,
            ),
            ("<resumed h='1' xmlns='urn:xmpp:sm:3'/>", Kind::Resumed),
            ("<resumed/>", Kind::Other),
            (
                "<close xmlns=\"urn:ietf:params:xml:ns:xmpp-framing\"/>",
                Kind::Close {
                    see_other_uri: None,
                },
            ),
            (
                "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing' see-other-uri='wss://a/?b&amp;c'/>",
                Kind::Close {
                    see_other_uri: Some("wss://a/?b&c".into()),
                },
            ),
            (
                "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a.example' version='1.0' xml:lang='en'/>",
                Kind::Open(Open {
                    to: Some("a.example".into()),
                    version: Some("1.0".into()),
                    lang: Some("en".into()),
                    ..Open::default()
                }),
            ),
        ] {
            assert_eq!(Kind::of(document.as_bytes()), Some(kind), "{document}");
        }
        assert_eq!(Kind::of(b"text"), None);
    }

    #[test]
    fn the_steps_of_a_login_are_answered_and_not_all_else() {
        const SASL: &str = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'";
        for (document, expected) in [
            (
                "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a'/>",
                true,
            ),
            (&format!("<auth {SASL} mechanism='PLAIN'>AA==</auth>"), true),
            (&format!("<response {SASL}/>"), true),
            (&format!("<abort {SASL}/>"), true),
            (
                "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'>",
                true,
            ),
            ("<resume xmlns='urn:xmpp:sm:3' h='1' previd='2'/>", true),
            ("<iq type='set' id='1'><bind/></iq>", true),
            ("<iq xmlns='jabber:client' type='get'/>", true),
            ("<iq type='result'/>", false),
            ("<iq type='error'/>", false),
            ("<iq/>", false),
            ("<iq xmlns='other' type='get'/>", false),
            ("<presence type='error'/>", false),
            ("<message/>", false),
            ("<auth/>", false),
            ("<r xmlns='urn:xmpp:sm:3'/>", false),
            (
                "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
                false,
            ),
            ("text", false),
        ] {
            assert_eq!(is_login_step(document.as_bytes()), expected, "{document}");
        }
    }

    #[test]
    fn a_success_may_have_a_resource_with_it() {
        for (inside, has) in [
            ("", false),
            ("<bound xmlns='urn:xmpp:bind:0'/>", true),
            ("<a/><bound xmlns='urn:xmpp:bind:0'><b/></bound>", true),
            ("<resumed xmlns='urn:xmpp:sm:3' h='1'/>", true),
            ("<bound/>", false),
            ("<bound xmlns='urn:other'/>", false),
            ("<boundary xmlns='urn:xmpp:bind:0'/>", false),
            ("<a><bound xmlns='urn:xmpp:bind:0'/></a>", false),
            ("<a>&lt;bound xmlns='urn:xmpp:bind:0'/></a>", false),
            ("<a b='&lt;resumed'/>", false),
            ("<bound", false),
        ] {
            let success = format!("<success xmlns='urn:xmpp:sasl:2'>{inside}</success>");
            assert_eq!(has_resource(success.as_bytes()), has, "{inside}");
        }
    }

    #[test]
    fn open_and_close_are_read_as_written() {
        let open = Open {
            to: Some("a'b".into()),
            from: Some("<x>".into()),
            id: Some("1\t2".into()),
            version: Some("1.0".into()),
            lang: Some("de".into()),
        };
        let mut out = Vec::new();
        open.write_document(&mut out);
        check(&out, &LIMITS).unwrap();
        assert_eq!(Kind::of(&out), Some(Kind::Open(open)));
        let see_other_uri = None;
        assert_eq!(Kind::of(CLOSE), Some(Kind::Close { see_other_uri }));
    }

    #[test]
    fn a_message_is_one_document() {
        for (message, document) in [
            ("<iq xmlns='jabber:client'/>", "<iq xmlns='jabber:client'/>"),
            ("<iq/>", "<iq xmlns='jabber:client'/>"),
            (
                "<x:iq xmlns:x='y'><b/></x:iq>",
                "<x:iq xmlns='jabber:client' xmlns:x='y'><b/></x:iq>",
            ),
            (" <a xmlns='b'/> \n", "<a xmlns='b'/>"),
            ("<?xml version='1.0'?>\n<a xmlns=''/>", "<a xmlns=''/>"),
            // WebSocket says that it is UTF-8 (RFC 6455, 5.6).
            (
                "<?xml version='1.0' encoding='ISO-8859-1'?><a xmlns='b'/>",
                "<a xmlns='b'/>",
            ),
        ] {
            let checked = check(message.as_bytes(), &LIMITS).unwrap();
            assert_eq!(String::from_utf8(checked.to_vec()).unwrap(), document);
        }
        use XmlError::*;
        for (message, error) in [
            ("", Unfinished { at: 0 }),
            (" ", Unfinished { at: 0 }),
            ("<a>", Unfinished { at: 3 }),
            ("<a/><b/>", AfterRoot { at: 4 }),
            ("<a/>x", AfterRoot { at: 4 }),
            ("x", NoElement { at: 0 }),
            ("</a>", NoElement { at: 0 }),
            ("<stream:stream>", UnboundPrefix { at: 15 }),
            ("<a/><!-- -->", AfterRoot { at: 4 }),
            ("\u{feff}<a/>", NoElement { at: 0 }),
        ] {
            assert_eq!(
                check(message.as_bytes(), &LIMITS).unwrap_err(),
                error,
                "{message}"
            );
        }
    }
}
