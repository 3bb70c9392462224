//! A connection of a session, and what has come on it in part.

use bytes::Bytes;
use megaphone_xmpp::framing::{Control, put_control};

use super::incoming::{Incoming, Next, OfMove, Said};
use crate::trunk::{Connection, Delivery, End, Sent, TrunkLost};

/// A session's connection; a session that moves has two.
#[derive(Debug)]
pub struct Channel {
    /// It.
    pub connection: Connection,
    /// There is none while no document is under way.
    incoming: Option<Box<Incoming>>,
}

/// What has come from ejabberd.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next document.
    Document(Bytes),
    /// Something of a move.
    OfMove(OfMove),
    /// Nothing more will come.
    End(End),
    /// Nothing now.
    Nothing,
}

impl Channel {
    /// Of a connection of which nothing was read.
    pub const fn new(connection: Connection) -> Self {
        Self {
            connection,
            incoming: None,
        }
    }

    /// The next of what has come, and how many bytes that was: the window is to be returned by as much.
    pub fn next(&mut self, max_document: u32) -> (Heard, usize) {
        let mut all_used = 0;
        loop {
            if let Some(incoming) = &mut self.incoming {
                let Next {
                    message,
                    used,
                    is_empty,
                } = incoming.next();
                all_used += used;
                if is_empty {
                    self.incoming = None;
                }
                match message {
                    Ok(Some(Said::Document(document))) => {
                        return (Heard::Document(document), all_used);
                    }
                    Ok(Some(Said::OfMove(said))) => return (Heard::OfMove(said), all_used),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(id = %self.connection, "ejabberd sent {error}");
                        return (Heard::End(End::Reset), all_used);
                    }
                }
            }
            match self.connection.take() {
                Delivery::Content(chunk) => self
                    .incoming
                    .get_or_insert_with(|| Box::new(Incoming::new(max_document)))
                    .feed(chunk),
                Delivery::End(end) => return (Heard::End(end), all_used),
                Delivery::Nothing => return (Heard::Nothing, all_used),
            }
        }
    }

    /// Whether it holds no buffer.
    #[cfg(test)]
    pub const fn is_idle(&self) -> bool {
        self.incoming.is_none()
    }

    /// Says something of a move, all of it or nothing.
    pub fn say(&mut self, control: &Control<'_>) -> Result<Sent, TrunkLost> {
        let mut message = Vec::new();
        match put_control(&mut message, control) {
            Ok(()) => self.connection.try_send(&message),
            // What is said from here has no body, which could be too long.
            Err(_) => Ok(Sent::Sent),
        }
    }
}
