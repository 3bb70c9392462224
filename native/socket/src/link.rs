//! The trunk's protocol, as the connections see it.

use std::sync::atomic::Ordering::Relaxed;

use megaphone_trunk::room::{Reserved, Wish};
use megaphone_trunk::v1::{ConnectionId, Decoder};
use megaphone_trunk::v2::{Session, StreamId};
use parking_lot::Mutex;

use crate::backlog::Backlog;
use crate::counters::Counters;
use crate::names::Names;
use crate::outbox::Outbox;
use crate::turns::Turns;

/// What tells connections apart on the trunk, and takes what they have to say. A trunk's first
/// byte says which it is.
#[allow(clippy::large_enum_variant)] // There is one a trunk.
pub(crate) enum Link {
    V1(V1),
    V2(V2),
}

/// Version 1: frames with ids, no windows.
pub(crate) struct V1 {
    pub(crate) decoder: Mutex<Decoder>,
    pub(crate) names: Mutex<Names>,
    pub(crate) outbox: Outbox,
}

/// Version 2: a yamux session. Its streams' tags are the connections' handles.
///
/// A send does not touch the session. What it has to say stays with its connection until the writer takes it.
pub(crate) struct V2 {
    session: Mutex<Session>,
    pub(crate) backlog: Backlog,
    pub(crate) turns: Turns,
}

impl V2 {
    pub(crate) fn new(session: Session, max_output: usize) -> Self {
        Self {
            session: Mutex::new(session),
            backlog: Backlog::new(max_output),
            turns: Turns::new(),
        }
    }

    /// Does something with the session, under its lock.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Session) -> R) -> R {
        let mut session = self.session.lock();
        let result = work(&mut session);
        self.backlog.set_left(Wish {
            waiting: session.total_queued(),
            shut: session.total_shut(),
        });
        result
    }
}

/// A connection's name on the trunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    V1(ConnectionId),
    V2(StreamId),
}

impl Link {
    /// The trunk is lost: what waits on it goes nowhere.
    pub(crate) fn abandon(&self) {
        match self {
            Self::V1(v1) => {
                *v1.names.lock() = Names::default();
                v1.outbox.clear();
            }
            Self::V2(v2) => {
                v2.with(Session::abandon);
                v2.turns.clear();
                v2.backlog.clear();
            }
        }
    }

    /// Ends a connection towards the peer; with version 2, after what was left for it.
    pub(crate) fn close(&self, key: &Key, counters: &Counters) {
        match (self, key) {
            (Self::V1(v1), Key::V1(id)) => {
                v1.outbox.frame_close(id);
                counters.frames_out.fetch_add(1, Relaxed);
            }
            // Nothing to release: the peer has reset it meanwhile.
            (Self::V2(v2), Key::V2(id)) => {
                let _ = v2.with(|session| session.release(*id));
            }
            _ => {}
        }
    }

    /// Ends a connection towards the peer at once, by a fault: RST, a close frame in version 1.
    pub(crate) fn reset(&self, key: &Key, counters: &Counters) {
        match (self, key) {
            (Self::V2(v2), Key::V2(id)) => {
                let _ = v2.with(|session| session.reset(*id));
            }
            _ => self.close(key, counters),
        }
    }

    /// As [`Link::reset`], and held against the peer.
    pub(crate) fn reject(&self, key: &Key) {
        if let (Self::V2(v2), Key::V2(id)) = (self, key) {
            // If it was one too many, the next feed or tick says so.
            let _ = v2.with(|session| session.reject(*id));
        }
    }

    /// The peer may send this many bytes more on the connection.
    pub(crate) fn consumed(&self, key: &Key, bytes: usize) {
        if let (Self::V2(v2), Key::V2(id)) = (self, key) {
            // It fails if the stream is gone: then nobody sends.
            let _ = v2.with(|session| session.consumed(*id, bytes));
        }
    }

    /// The owner sends no more; version 1 has no word for it.
    pub(crate) fn finish(&self, key: &Key) {
        if let (Self::V2(v2), Key::V2(id)) = (self, key) {
            let _ = v2.with(|session| session.finish(*id));
        }
    }

    /// Room that was kept for a connection is not needed.
    pub(crate) fn unreserve(&self, reserved: Reserved) {
        match self {
            Self::V1(v1) => v1.outbox.unreserve(reserved),
            Self::V2(v2) => v2.backlog.unreserve(reserved),
        }
    }

    /// How many bytes of a connection were left with the session.
    pub(crate) fn queued(&self, key: &Key) -> usize {
        match (self, key) {
            (Self::V2(v2), Key::V2(id)) => v2.with(|session| session.queued(*id)),
            _ => 0,
        }
    }

    pub(crate) fn has_windows(&self) -> bool {
        matches!(self, Self::V2(_))
    }
}
