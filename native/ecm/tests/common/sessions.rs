//! ejabberd's end of sessions: documents instead of bytes.

use std::collections::HashMap;

use megaphone_trunk::proxy::Header;
use megaphone_xmpp::framing::{Messages, put_message};

use super::v2::{Seen, Trunk2};

/// A trunk that carries sessions.
pub struct Sessions {
    pub trunk: Trunk2,
    unread: HashMap<u32, Vec<u8>>,
}

/// What happened on a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Document(String),
    Finished,
    Reset,
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

    /// What is next on a session.
    #[track_caller]
    pub fn next(&mut self, id: u32) -> Said {
        loop {
            let unread = self.unread.entry(id).or_default();
            let mut rest = &unread[..];
            let mut messages = Messages::new(usize::MAX);
            if let Some(document) = messages.read(&mut rest).unwrap() {
                let document = String::from_utf8(document.to_vec()).unwrap();
                *unread = rest.to_vec();
                return Said::Document(document);
            }
            match self.trunk.next_on(id) {
                Seen::Data(_, bytes) => unread.extend_from_slice(&bytes),
                Seen::Finished(_) => return Said::Finished,
                Seen::Reset(_) => return Said::Reset,
                other => panic!("expected something on {id}, got {other:?}"),
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
