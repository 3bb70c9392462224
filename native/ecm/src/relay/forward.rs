//! From the client to ejabberd.

use super::requests::{Next, Outgoing};
use super::{Client, Input, PIPELINED};
use crate::config::Application;
use crate::http::Reply;
use crate::http::deadlines::Position;
use crate::metrics::{REFUSALS, Reason};
use crate::peer::Moved;
use crate::peer::task::Ending;
use crate::shutdown::Phase;
use crate::trunk::{Content, Opening, Sent, TrunkLost};

impl Client {
    /// Makes the next bytes for ejabberd of what was read.
    pub(super) fn next_requests(&mut self) -> Result<Moved, Ending> {
        if self.outgoing.is_some() || !self.takes_requests() {
            return Ok(Moved::No);
        }
        match self.requests.next(&self.downstream.settings.routes) {
            Next::Wait => Ok(Moved::No),
            Next::Send(outgoing) => {
                self.outgoing = Some(outgoing);
                Ok(Moved::Yes)
            }
            Next::Routed(routed) => {
                self.routed = Some(routed);
                Ok(Moved::Yes)
            }
            Next::Refuse(error) => {
                REFUSALS.of(Reason::BadRequest).add(1);
                tracing::debug!(peer = %self.peer(), reason = error.name(), "refused: {error}");
                self.refuse(error.response())?;
                Ok(Moved::Yes)
            }
        }
    }

    /// Sends what waits, if there is a trunk and room in it.
    pub(super) fn send_outgoing(&mut self) -> Moved {
        if self.ending.is_some() {
            return Moved::No;
        }
        let Some(outgoing) = self.outgoing.take() else {
            return Moved::No;
        };
        if self.is_of_another_client(&outgoing) {
            if !self.answers.is_idle() {
                self.outgoing = Some(outgoing);
                return Moved::No;
            }
            self.connection = None;
        }
        if self.connection.is_none() {
            self.connection = self
                .downstream
                .registries
                .nodes
                .open(&self.opening(&outgoing));
            self.carries = outgoing.client;
            self.carries_as = outgoing.scheme;
        }
        let Some(connection) = &mut self.connection else {
            self.reply(Reply::NoTrunk, outgoing.asked.map(|asked| asked.kind));
            return Moved::Yes;
        };
        let was_open = connection.is_open();
        match connection.try_send(&outgoing.bytes) {
            Ok(Sent::Sent) => {
                if !was_open {
                    tracing::debug!(peer = %outgoing.client, id = %connection, "connection opened");
                }
                self.sent(&outgoing);
                Moved::Yes
            }
            Ok(Sent::Refused) => {
                self.outgoing = Some(outgoing);
                Moved::No
            }
            // The trunk takes no more connections since this one was made; another one may.
            Err(TrunkLost) if !was_open => {
                self.connection = None;
                self.outgoing = Some(outgoing);
                Moved::Yes
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

    /// Whether it begins a request of another client than those that the connection carries, or one that came
    /// in another way: a proxy sends them all the same way, and ejabberd takes what it was told of a connection
    /// for all its requests.
    fn is_of_another_client(&self, outgoing: &Outgoing) -> bool {
        let is_other = outgoing.client != self.carries || outgoing.scheme != self.carries_as;
        self.connection.is_some() && outgoing.asked.is_some() && is_other
    }

    /// What ejabberd is told of a connection that begins with these bytes.
    fn opening(&self, outgoing: &Outgoing) -> Opening {
        let content = match self.downstream.service.application() {
            Application::Http => Content::Http,
            Application::Xmpp => Content::XmppClient,
        };
        let host = outgoing.host();
        self.downstream
            .opening(outgoing.client, host, content, outgoing.scheme)
    }

    /// Whether a request may be taken from what was read.
    fn takes_requests(&self) -> bool {
        let may_start =
            self.phase == Phase::Serving || self.requests.position() == Position::InBody;
        self.ending.is_none()
            && self.refusal.is_none()
            && self.routed.is_none()
            && may_start
            && self.answers.waiting_bytes() < PIPELINED
    }

    /// Whether the client's socket is read: not while what was read before waits to be sent, and while
    /// it waits for an answer only so far that a client which leaves is noticed.
    pub(super) fn wants_input(&self) -> bool {
        self.input == Input::Open
            && self.outgoing.is_none()
            && self.takes_requests()
            && self.requests.unread() < PIPELINED
    }
}
