//! From the client to ejabberd.

use super::replies::Reply;
use super::requests::{Next, Outgoing, Position};
use super::{Client, Ending, Moved, PIPELINED};
use crate::shutdown::Phase;
use crate::trunk::{Room, SendResult, TrunkLost};

impl Client {
    /// Makes the next bytes for ejabberd of what was read.
    pub(super) fn next_requests(&mut self) -> Result<Moved, Ending> {
        if self.outgoing.is_some() || !self.takes_requests() {
            return Ok(Moved::No);
        }
        match self.requests.next() {
            Next::Wait => Ok(Moved::No),
            Next::Send(outgoing) => {
                self.outgoing = Some(outgoing);
                Ok(Moved::Yes)
            }
            Next::Refuse(error) => {
                tracing::debug!(peer = %self.peer, reason = error.name(), "refused: {error}");
                self.refuse(error.response())?;
                Ok(Moved::Yes)
            }
        }
    }

    /// Sends what waits, if there is a trunk and room in it.
    pub(super) fn send_outgoing(&mut self) -> Moved {
        if self.room.is_some() || self.ending.is_some() {
            return Moved::No;
        }
        let Some(outgoing) = self.outgoing.take() else {
            return Moved::No;
        };
        if self.connection.is_none() {
            self.connection = self.trunks.open();
            if let Some(connection) = &self.connection {
                tracing::debug!(peer = %self.peer, id = %connection.id(), "connection opened");
            }
        }
        let Some(connection) = &mut self.connection else {
            self.reply(Reply::NoTrunk, outgoing.asked.map(|asked| asked.kind));
            return Moved::Yes;
        };
        match connection.try_send(&outgoing.bytes) {
            Ok(SendResult::Sent) => {
                self.sent(&outgoing);
                Moved::Yes
            }
            Ok(SendResult::NoRoom) => {
                self.room = Some(Box::pin(connection.room(outgoing.bytes.len())));
                self.outgoing = Some(outgoing);
                Moved::No
            }
            // The connection's end says what becomes of the answers that are due.
            Err(TrunkLost) => {
                self.outgoing = Some(outgoing);
                Moved::No
            }
        }
    }

    fn sent(&mut self, outgoing: &Outgoing) {
        match outgoing.asked {
            Some(asked) => self.answers.asked(asked, outgoing.bytes.len()),
            None => self.answers.sent_more(outgoing.bytes.len()),
        }
    }

    /// Whether a request may be taken from what was read.
    fn takes_requests(&self) -> bool {
        let may_start =
            self.phase == Phase::Serving || self.requests.position() == Position::InBody;
        self.ending.is_none()
            && self.refusal.is_none()
            && may_start
            && self.answers.waiting_bytes() < PIPELINED
    }

    /// Whether the client's socket is read: not while what was read before waits to be sent, and while
    /// it waits for an answer only so far that a client which leaves is noticed.
    pub(super) fn wants_input(&self) -> bool {
        self.outgoing.is_none() && self.takes_requests() && self.requests.unread() < PIPELINED
    }

    /// Sends what waited for the room that there is now.
    pub(super) fn use_room(&mut self, room: Result<Room, TrunkLost>) {
        self.room = None;
        if let (Ok(room), Some(connection)) = (room, &mut self.connection)
            && let Some(outgoing) = self.outgoing.take()
        {
            connection.send(room, &outgoing.bytes);
            self.sent(&outgoing);
        }
    }
}
