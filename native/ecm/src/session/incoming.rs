//! From a connection's bytes to documents.

use bytes::{Buf as _, Bytes};
use megaphone_xmpp::framing::{Control, Message, MessageError, Messages};

/// Cuts what comes from ejabberd into documents.
#[derive(Debug)]
pub struct Incoming {
    messages: Messages,
    chunk: Bytes,
}

/// What [`Incoming::next`] came to.
#[derive(Debug)]
pub struct Next {
    /// What is next; `None` if it is not whole.
    pub message: Result<Option<Said>, MessageError>,
    /// How many bytes that was.
    pub used: usize,
    /// Whether nothing is left, not even a part of a document.
    pub is_empty: bool,
}

/// What ejabberd says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// A document.
    Document(Bytes),
    /// Something of a move.
    OfMove(OfMove),
}

/// What ejabberd says of a session's move (doc/protocol.md, "How a session moves").
#[derive(Debug, PartialEq, Eq)]
pub enum OfMove {
    /// What the new connection has to say.
    Token(Bytes),
    /// The session stays, for this reason.
    Stays(String),
    /// It goes on at the new connection.
    Moved,
    /// The new connection has no session, for this reason.
    Refused(String),
    /// Nothing that ejabberd has a reason to say here.
    Misplaced,
}

impl Incoming {
    /// Reads documents of at most this many bytes.
    pub fn new(max_document: u32) -> Self {
        Self {
            messages: Messages::new(usize::try_from(max_document).unwrap_or(usize::MAX)),
            chunk: Bytes::new(),
        }
    }

    /// Takes bytes, once [`next`](Self::next) has no whole document any more.
    pub fn feed(&mut self, chunk: Bytes) {
        self.chunk = chunk;
    }

    /// What is next. Of a document that lies whole in what was fed it is no copy.
    pub fn next(&mut self) -> Next {
        let mut rest = &self.chunk[..];
        let read = self.messages.read_any(&mut rest);
        let message = read.map(|read| read.map(|message| Said::of(&message, &self.chunk)));
        let used = self.chunk.len() - rest.len();
        self.chunk.advance(used);
        Next {
            is_empty: self.chunk.is_empty() && matches!(message, Ok(Some(_))),
            message,
            used,
        }
    }
}

impl Said {
    fn of(message: &Message<'_>, chunk: &Bytes) -> Self {
        match message {
            Message::Document(document) => Self::Document(share(chunk, document)),
            Message::Control(control) => Self::OfMove(match control {
                Control::Token(token) => OfMove::Token(Bytes::copy_from_slice(token)),
                Control::Stays(why) => OfMove::Stays((*why).to_owned()),
                Control::Moved => OfMove::Moved,
                Control::Refused(why) => OfMove::Refused((*why).to_owned()),
                Control::Mark | Control::Stay | Control::Go | Control::Version(_) => {
                    OfMove::Misplaced
                }
            }),
        }
    }
}

fn share(chunk: &Bytes, document: &[u8]) -> Bytes {
    if chunk.as_ptr_range().contains(&document.as_ptr()) {
        chunk.slice_ref(document)
    } else {
        Bytes::copy_from_slice(document)
    }
}
