//! How much the trunks of one ejabberd carry.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::opening::Content;

/// The connections in them, whichever trunk they are in.
#[derive(Debug, Default)]
pub struct Usage {
    sessions: AtomicU64,
    requests: AtomicU64,
}

/// What a connection counts among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A user's: a session, or an XML stream.
    Session,
    /// HTTP.
    Request,
}

impl Kind {
    /// What a connection with this content counts among.
    pub const fn of(content: Content) -> Self {
        match content {
            Content::Http => Self::Request,
            Content::XmppClient | Content::XmppFraming(_) => Self::Session,
        }
    }
}

impl Usage {
    /// How many there are.
    pub fn count(&self, kind: Kind) -> u64 {
        self.of(kind).load(Relaxed)
    }

    pub(super) fn add(&self, kind: Kind) {
        self.of(kind).fetch_add(1, Relaxed);
    }

    pub(super) fn remove(&self, kind: Kind) {
        self.of(kind).fetch_sub(1, Relaxed);
    }

    const fn of(&self, kind: Kind) -> &AtomicU64 {
        match kind {
            Kind::Session => &self.sessions,
            Kind::Request => &self.requests,
        }
    }
}
