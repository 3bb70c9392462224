//! One connection in a trunk, whatever its protocol.

use std::fmt;
use std::task::{Context, Poll};

use super::leaving::Passage;
use super::mailbox::{Delivery, Mailbox, Unread};
use super::{TrunkLost, v1, v2};

/// A virtual connection in a trunk. Dropping it closes it in order.
#[derive(Debug)]
pub enum Connection {
    /// In a trunk of version 1.
    V1(v1::Channel),
    /// In a trunk of version 2.
    V2(v2::Stream),
}

/// What became of content that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Sent,
    /// There is no room for it now, in the trunk or in the connection's window:
    /// [`Connection::poll_changed`] tells when to try the same again.
    Refused,
}

impl Connection {
    /// Sends content, all of it or nothing.
    ///
    /// # Errors
    /// [`TrunkLost`]; if ejabberd knew of the connection, its end says so too, after what still came.
    pub fn try_send(&mut self, content: &[u8]) -> Result<Sent, TrunkLost> {
        match self {
            Self::V1(connection) => connection.try_send(content),
            Self::V2(connection) => connection.try_send(content),
        }
    }

    /// Whether ejabberd knows of it.
    pub const fn is_open(&self) -> bool {
        match self {
            Self::V1(_) => true,
            Self::V2(connection) => connection.is_open(),
        }
    }

    /// Whether its trunk takes no more connections and ends once those that it has do.
    pub fn is_retired(&self) -> bool {
        match self {
            Self::V1(_) => false,
            Self::V2(connection) => connection.is_retired(),
        }
    }

    /// Which sessions can move to its trunk, as ejabberd says it.
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::V1(_) => None,
            Self::V2(connection) => connection.version(),
        }
    }

    /// Leave for its session to move to another trunk, if it is to; see [`Leaving::begin`].
    pub fn passage(&self, tried: &mut u8) -> Option<Passage> {
        match self {
            Self::V1(_) => None,
            Self::V2(connection) => connection.passage(tried),
        }
    }

    /// Wakes whoever waits for it, for a reason that has nothing to do with ejabberd.
    pub fn wake(&self) {
        self.mailbox().wake();
    }

    /// What of its output its client has not taken, whatever becomes of it; version 1 has none.
    pub fn unread(&self) -> Option<Unread> {
        match self {
            Self::V1(_) => None,
            Self::V2(connection) => Some(connection.unread()),
        }
    }

    /// What has come for the client.
    pub fn take(&self) -> Delivery {
        self.mailbox().take()
    }

    /// See [`Mailbox::has_overflowed`].
    pub fn has_overflowed(&self) -> bool {
        self.mailbox().has_overflowed()
    }

    /// The client's socket took `bytes`.
    pub fn delivered(&mut self, bytes: usize) {
        match self {
            Self::V1(connection) => {
                connection.mailbox().delivered(bytes);
            }
            Self::V2(connection) => connection.delivered(bytes),
        }
    }

    /// Whether there may be something for [`take`](Self::take), or room for [`try_send`](Self::try_send), that was
    /// not there when this was last ready. It wakes the task that asked last.
    pub fn poll_changed(&mut self, context: &Context<'_>) -> Poll<()> {
        match self {
            Self::V1(connection) => connection.poll_changed(context),
            Self::V2(connection) => connection.mailbox().poll_changed(context),
        }
    }

    /// The client sends nothing more, and takes what comes: said if the trunk has
    /// [a way to](super::Capabilities::half_close).
    pub fn finish(&mut self) {
        match self {
            Self::V1(_) => {}
            Self::V2(connection) => connection.finish(),
        }
    }

    /// Ends it in the middle of something.
    pub fn abort(self) {
        match self {
            // Version 1 has one kind of close.
            Self::V1(_) => {}
            Self::V2(connection) => connection.abort(),
        }
    }

    fn mailbox(&self) -> &Mailbox {
        match self {
            Self::V1(connection) => connection.mailbox(),
            Self::V2(connection) => connection.mailbox(),
        }
    }
}

/// The connection's id, for logs.
impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V1(connection) => connection.id().fmt(f),
            Self::V2(connection) => connection.id().fmt(f),
        }
    }
}
