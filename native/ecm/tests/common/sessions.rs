//! ejabberd's end of sessions: documents instead of bytes.

use std::collections::HashMap;

use megaphone_trunk::proxy::Header;
use megaphone_xmpp::framing::put_message;

pub use super::said::{Said, documents, gone};
use super::v2::{Seen, Trunk2};

/// A trunk that carries sessions.
pub struct Sessions {
    pub trunk: Trunk2,
    unread: HashMap<u32, Vec<u8>>,
}

impl Sessions {
    pub fn new(trunk: Trunk2) -> Self {
        Self {
            trunk,
            unread: HashMap::new(),
        }
    }

    /// The next thing, which has to be a new session with its first document.
    #[track_caller]
    pub fn opened(&mut self) -> (u32, Header, String) {
        match self.trunk.next() {
            Seen::Opened(id, header) => (id, *header, self.document(id)),
            other => panic!("expected a new session, got {other:?}"),
        }
    }

    /// The next document of a session.
    #[track_caller]
    pub fn document(&mut self, id: u32) -> String {
        match self.next(id) {
            Said::Document(document) => document,
            other => panic!("expected a document on {id}, got {other:?}"),
        }
    }

    /// The next document of a session that is given back.
    #[track_caller]
    pub fn given_back(&mut self, id: u32) -> String {
        match self.next(id) {
            Said::GivenBack(document) => document,
            other => panic!("expected a document to come back on {id}, got {other:?}"),
        }
    }

    /// What is next on a session.
    #[track_caller]
    pub fn next(&mut self, id: u32) -> Said {
        loop {
            let unread = self.unread.entry(id).or_default();
            if let Some(said) = Said::read(unread) {
                return said;
            }
            match self.trunk.next_on(id) {
                Seen::Data(_, bytes) => unread.extend_from_slice(&bytes),
                Seen::Finished(_) => return Said::Finished,
                Seen::Reset(_) => return Said::Reset,
                other => panic!("expected something on {id}, got {other:?}"),
            }
        }
    }

    /// What is said on a session from here to its FIN. ejabberd ends its side when it hears that the client is
    /// gone.
    #[track_caller]
    pub fn said_to_the_end(&mut self, id: u32) -> Vec<Said> {
        let mut all = Vec::new();
        loop {
            match self.next(id) {
                Said::Finished => return all,
                Said::Reset => panic!("the end overtakes what was said: {all:?}"),
                said => {
                    if said == Said::GivenBack(String::new()) {
                        self.trunk.finish(id);
                    }
                    all.push(said);
                }
            }
        }
    }

    /// Bytes of a session that were taken from the trunk.
    pub fn unread(&mut self, id: u32, bytes: &[u8]) {
        self.unread.entry(id).or_default().extend_from_slice(bytes);
    }

    /// Sends documents; the session's window has to have room.
    #[track_caller]
    pub fn send(&mut self, id: u32, documents: &[&str]) {
        let mut out = Vec::new();
        for document in documents {
            put_message(&mut out, document.as_bytes()).unwrap();
        }
        self.trunk.send(id, &out);
    }
}

/// That the client is gone which was refused: there is nothing to come back to.
pub fn gone_for_good() -> Vec<Said> {
    let close = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>";
    [gone(&[]), documents(&[close])].concat()
}
