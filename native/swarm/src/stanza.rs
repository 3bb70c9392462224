//! The stanzas that clients send, and what they read of those that come.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use megaphone_xmpp::escape;
use megaphone_xmpp::xml::Root;

/// SASL PLAIN (RFC 4616).
pub fn plain_auth(user: &str, password: &str) -> String {
    let token = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{token}</auth>")
}

/// Binds a resource (RFC 6120, section 7).
pub fn bind(resource: &str) -> String {
    format!(
        "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
         <resource>{}</resource></bind></iq>",
        escape(resource)
    )
}

/// A message whose body says which one it is, and when it was sent.
pub fn message(to: &str, note: Note) -> String {
    let Note { number, sent_at } = note;
    format!("<message to='{to}' type='chat'><body>{number} {sent_at}</body></message>")
}

/// By which the answer to a ping is known.
pub const PING_ID: &str = "ping";

/// A ping to the server (XEP-0199, 4.2).
pub fn ping() -> String {
    format!("<iq type='get' id='{PING_ID}'><ping xmlns='urn:xmpp:ping'/></iq>")
}

/// A presence whose text is a number.
pub fn presence(status: u64) -> String {
    format!("<presence><status>{status}</status></presence>")
}

/// The answer to a ping (XEP-0199), or to any other request.
pub fn result(request: &Root<'_>) -> String {
    let attribute = |name| request.attribute(name).unwrap_or_default();
    format!(
        "<iq type='result' id='{}' to='{}'/>",
        escape(&attribute("id")),
        escape(&attribute("from"))
    )
}

/// What the body of a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// Which of its sender's messages, from 0.
    pub number: u32,
    /// When it was sent, in microseconds of the process.
    pub sent_at: u64,
}

impl Note {
    /// Reads it from a body.
    pub fn of(body: &str) -> Option<Self> {
        let (number, sent_at) = body.split_once(' ')?;
        Some(Self {
            number: number.parse().ok()?,
            sent_at: sent_at.parse().ok()?,
        })
    }
}

/// The text of a message's body.
pub fn body(message: &[u8]) -> Option<&str> {
    let start = memchr::memmem::find(message, b"<body>")? + b"<body>".len();
    let rest = message.get(start..)?;
    let end = memchr::memchr(b'<', rest)?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let note = Note {
            number: 7,
            sent_at: 123_456,
        };
        let message = message("a@b", note);
        assert_eq!(body(message.as_bytes()).and_then(Note::of), Some(note));
        for other in ["", "hello", "1 2 3", "1 x"] {
            assert_eq!(Note::of(other), None, "{other}");
        }
        for none in ["<message/>", "<body>1 2"] {
            assert_eq!(body(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn a_result_goes_back_to_who_asked() {
        let ping =
            b"<iq type='get' id='a&amp;b' from='localhost'><ping xmlns='urn:xmpp:ping'/></iq>";
        let root = Root::new(ping).unwrap();
        assert_eq!(
            result(&root),
            "<iq type='result' id='a&amp;b' to='localhost'/>"
        );
    }
}
