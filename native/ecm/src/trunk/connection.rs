//! One connection in a trunk, whatever its protocol.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::mailbox::{Delivery, Mailbox};
use super::queue::Room;
use super::{TrunkLost, v1, v2};

/// A virtual connection in a trunk. Dropping it closes it in order.
#[derive(Debug)]
pub enum Connection {
    /// In a trunk of version 1.
    V1(v1::Connection),
    /// In a trunk of version 2.
    V2(v2::Connection),
}

/// Room in a trunk that is being waited for.
pub type RoomToCome = Pin<Box<dyn Future<Output = Result<Room, TrunkLost>> + Send>>;

/// What became of content that was to be sent.
pub enum SendResult {
    /// It is on its way.
    Sent,
    /// The trunk has no room for it: this tells when there is.
    NoRoom(RoomToCome),
    /// The connection's window is shut: [`Connection::poll_changed`] tells when to try again.
    WindowShut,
}

/// How the client's side of a connection ended before the connection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HalfClose {
    /// ejabberd was told, and may go on sending.
    Told,
    /// The protocol can't say it.
    Unknown,
}

impl Connection {
    /// Sends content, all of it or nothing.
    ///
    /// # Errors
    /// [`TrunkLost`]; if ejabberd knew of the connection, its end says so too, after what still came.
    pub fn try_send(&mut self, content: &[u8]) -> Result<SendResult, TrunkLost> {
        match self {
            Self::V1(connection) => Ok(match connection.try_send(content)? {
                v1::SendResult::Sent => SendResult::Sent,
                v1::SendResult::NoRoom => {
                    SendResult::NoRoom(Box::pin(connection.room(content.len())))
                }
            }),
            Self::V2(connection) => Ok(match connection.try_send(content)? {
                v2::Sent::Sent => SendResult::Sent,
                v2::Sent::Refused => SendResult::WindowShut,
            }),
        }
    }

    /// Sends content into room that was waited for.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send).
    pub fn send(&mut self, room: Room, content: &[u8]) -> Result<SendResult, TrunkLost> {
        match self {
            Self::V1(connection) => {
                connection.send(room, content);
                Ok(SendResult::Sent)
            }
            Self::V2(_) => self.try_send(content),
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

    /// See [`Mailbox::poll_changed`].
    pub fn poll_changed(&self, context: &Context<'_>) -> Poll<()> {
        self.mailbox().poll_changed(context)
    }

    /// The client sends nothing more, and takes what comes.
    pub fn finish(&mut self) -> HalfClose {
        match self {
            Self::V1(_) => HalfClose::Unknown,
            Self::V2(connection) => {
                connection.finish();
                HalfClose::Told
            }
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
