//! What has passed of a client's XMPP stream (RFC 7395, section 3). Sans-IO.

use megaphone_xmpp::framing::{self, Kind};
use megaphone_xmpp::{Condition, Document, Open, namespace};

/// How far a stream is.
#[derive(Debug, Clone, Copy)]
pub struct StreamState {
    /// Whether the client has opened it.
    has_begun: bool,
    is_logged_in: bool,
    header: Header,
    client: Side,
    server: Side,
}

/// The server's `<open/>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    Due,
    Sent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Open,
    /// It has sent `<close/>`.
    Closed,
}

/// What a client's document is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It opens the stream for the first time.
    Begin,
    /// It is of a stream that is open.
    Continue,
    /// Nothing: the client has closed its stream.
    Ignore,
}

/// A stream can't begin without `<open/>` (RFC 7395, section 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a stream begins with <open xmlns='urn:ietf:params:xml:ns:xmpp-framing'/> (RFC 7395, section 3.4)"
)]
pub struct NotOpen;

impl StreamState {
    /// A client that has just connected.
    pub const fn new() -> Self {
        Self {
            has_begun: false,
            is_logged_in: false,
            header: Header::Due,
            client: Side::Open,
            server: Side::Open,
        }
    }

    /// Whether the client has logged in.
    pub const fn is_logged_in(&self) -> bool {
        self.is_logged_in
    }

    /// The client has logged in.
    pub const fn logged_in(&mut self) {
        self.is_logged_in = true;
    }

    /// Whether the client has closed the stream: then nothing of it can be resumed.
    pub fn is_closed_by_client(&self) -> bool {
        self.client == Side::Closed
    }

    /// Whether the server has closed the stream, ejabberd or this program for it.
    pub fn is_closed_by_server(&self) -> bool {
        self.server == Side::Closed
    }

    /// Looks at a client's document.
    ///
    /// # Errors
    /// [`NotOpen`] if it is the first one and is not an `<open/>`.
    pub fn client_sent(&mut self, document: &Document<'_>) -> Result<Purpose, NotOpen> {
        if self.client == Side::Closed {
            return Ok(Purpose::Ignore);
        }
        let begins = !self.has_begun;
        if document.is("open", namespace::FRAMING) {
            self.header = Header::Due;
            if begins {
                self.has_begun = true;
                return Ok(Purpose::Begin);
            }
        } else if begins {
            return Err(NotOpen);
        } else if document.is("close", namespace::FRAMING) {
            self.client = Side::Closed;
        }
        Ok(Purpose::Continue)
    }

    /// Looks at a document of ejabberd's.
    pub fn server_sent(&mut self, document: &[u8]) {
        match Kind::of(document) {
            Some(Kind::Open(_)) => self.header = Header::Sent,
            Some(Kind::Close { .. }) => self.server = Side::Closed,
            _ => {}
        }
    }

    /// The documents that end the stream with an error (RFC 7395, sections 3.4 to 3.6): an `<open/>` if
    /// the client has none, the error, and `<close/>`. None if ejabberd has closed the stream already.
    pub fn error(&mut self, condition: Condition, text: &str) -> Vec<Vec<u8>> {
        if self.server == Side::Closed {
            return Vec::new();
        }
        self.server = Side::Closed;
        let mut documents = Vec::new();
        if self.header == Header::Due {
            let mut open = Vec::new();
            let header = Open {
                id: getrandom::u64().ok().map(|id| format!("{id:016x}").into()),
                version: Some("1.0".into()),
                ..Open::default()
            };
            header.write_document(&mut open);
            documents.push(open);
        }
        documents.push(condition.document(text));
        documents.push(framing::CLOSE.to_vec());
        documents
    }
}

#[cfg(test)]
mod tests {
    use megaphone_xmpp::Limits;

    use super::*;

    const OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a'/>";
    const CLOSE: &str = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>";

    fn from_client(state: &mut StreamState, document: &str) -> Result<Purpose, NotOpen> {
        let limits = Limits::default();
        state.client_sent(&framing::check(document.as_bytes(), &limits).unwrap())
    }

    fn error(state: &mut StreamState) -> Vec<String> {
        let documents = state.error(Condition::Reset, "why");
        let names = documents.iter().map(|document| {
            let checked = framing::check(document, &Limits::default()).unwrap();
            checked.name().to_owned()
        });
        names.collect()
    }

    #[test]
    fn a_stream_begins_with_open() {
        for first in ["<iq/>", CLOSE, "<open xmlns='jabber:client'/>"] {
            let mut state = StreamState::new();
            assert_eq!(from_client(&mut state, first), Err(NotOpen), "{first}");
        }
        let mut state = StreamState::new();
        assert_eq!(from_client(&mut state, OPEN), Ok(Purpose::Begin));
        assert_eq!(from_client(&mut state, "<iq/>"), Ok(Purpose::Continue));
        assert_eq!(from_client(&mut state, OPEN), Ok(Purpose::Continue));
        assert_eq!(from_client(&mut state, CLOSE), Ok(Purpose::Continue));
        assert!(state.is_closed_by_client() && !state.is_closed_by_server());
        assert_eq!(from_client(&mut state, "<iq/>"), Ok(Purpose::Ignore));
    }

    #[test]
    fn an_error_comes_with_what_the_client_has_not_got() {
        let mut state = StreamState::new();
        assert_eq!(error(&mut state), ["open", "error", "close"]);
        assert_eq!(error(&mut state), [""; 0]);
        let mut state = StreamState::new();
        from_client(&mut state, OPEN).unwrap();
        state.server_sent(OPEN.as_bytes());
        assert_eq!(error(&mut state.clone()), ["error", "close"]);
        from_client(&mut state, OPEN).unwrap();
        assert_eq!(error(&mut state.clone()), ["open", "error", "close"]);
        state.server_sent(CLOSE.as_bytes());
        assert!(state.is_closed_by_server());
        assert_eq!(error(&mut state), [""; 0]);
    }
}
