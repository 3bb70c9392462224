//! From ejabberd to the client.

use bytes::Bytes;

use super::answers::Then;
use super::{Client, Input};
use crate::http::Reply;
use crate::peer::Moved;
use crate::peer::socket::Written;
use crate::peer::task::Ending;
use crate::trunk::{Connection, Delivery, End};

impl Client {
    pub(super) fn write_output(&mut self) -> Result<Moved, Ending> {
        if !self.output.is_empty()
            && let Some(connection) = &self.connection
            && connection.has_overflowed()
        {
            return Err(self.overflowed());
        }
        if self.takes_nothing {
            return Ok(Moved::No);
        }
        let written = match self.downstream.socket.write_due(&mut self.output) {
            Ok(written) => written,
            Err(error) => {
                self.output_failed(&error)?;
                return Ok(Moved::Yes);
            }
        };
        if let (Written::Some(bytes), Some(connection)) = (written, &mut self.connection) {
            connection.delivered(bytes);
        }
        self.deadlines.output(written);
        Ok(written.moved())
    }

    /// Takes what comes next for the client, once its socket has taken all before.
    pub(super) fn next_output(&mut self) -> Result<Moved, Ending> {
        if !self.output.is_empty() || self.ending.is_some() {
            return Ok(Moved::No);
        }
        match self
            .connection
            .as_ref()
            .map_or(Delivery::Nothing, Connection::take)
        {
            Delivery::Content(content) if self.takes_nothing => {
                if let Some(connection) = &mut self.connection {
                    connection.delivered(content.len());
                }
                Ok(Moved::Yes)
            }
            Delivery::Content(content) => {
                self.relay(content);
                Ok(Moved::Yes)
            }
            Delivery::End(End::Closed) => {
                self.closed();
                self.ending = Some(Ending::Close);
                Ok(Moved::Yes)
            }
            Delivery::End(End::TrunkLost) => self.lost(Reply::TrunkLost),
            Delivery::End(End::Reset) => self.lost(Reply::ConnectionLost),
            Delivery::End(End::Overflowed) => Err(self.overflowed()),
            Delivery::Nothing if self.refusal.is_some() && self.answers.is_idle() => {
                self.output = self.refusal.take().map_or_else(Bytes::new, |it| *it);
                self.ending = Some(Ending::Close);
                Ok(Moved::Yes)
            }
            Delivery::Nothing => {
                self.leave_retired();
                Ok(Moved::No)
            }
        }
    }

    /// A trunk that takes no more connections ends sooner if those between two requests leave it.
    fn leave_retired(&mut self) {
        let unused = self.answers.is_idle()
            && !self.answers.is_raw()
            && self.outgoing.is_none()
            && self.input == Input::Open
            && !self.requests.is_partly_sent();
        if unused && self.connection.as_ref().is_some_and(Connection::is_retired) {
            self.connection = None;
        }
    }

    fn relay(&mut self, mut content: Bytes) {
        let followed = self.answers.follow(&content);
        match followed.then {
            Then::SwitchToRaw => self.requests.switch_to_raw(),
            // An upgrade that still waits to be sent was not declined by this.
            Then::GoOn if self.answers.is_idle() && self.outgoing.is_none() => {
                self.requests.resume_http();
            }
            Then::GoOn => {}
            Then::Close => {
                content.truncate(followed.relay);
                self.leave_connection(Ending::Close);
                self.ending = Some(Ending::Close);
            }
        }
        self.output = content;
    }

    /// ejabberd sends no more: whatever is due has come, or never will.
    fn closed(&mut self) {
        if let Some(connection) = self.connection.take()
            && self.requests.is_partly_sent()
        {
            connection.abort();
        }
    }

    /// The connection is gone, with or without its trunk.
    fn lost(&mut self, reply: Reply) -> Result<Moved, Ending> {
        tracing::debug!(peer = %self.peer(), "the connection to ejabberd is lost: {reply:?}");
        self.connection = None;
        if self.answers.is_raw() {
            return Err(Ending::Close);
        }
        if self.answers.is_idle() {
            // If nothing of a request is lost, it goes through the next trunk. One whose answer did
            // not wait for its end is lost in part.
            let cut = self.requests.is_partly_sent()
                || self
                    .outgoing
                    .as_ref()
                    .is_some_and(|outgoing| outgoing.asked.is_none());
            return if cut {
                Err(Ending::Close)
            } else {
                Ok(Moved::Yes)
            };
        }
        if self.answers.has_begun() {
            return Err(Ending::Reset);
        }
        self.reply(reply, self.answers.due());
        Ok(Moved::Yes)
    }

    fn overflowed(&self) -> Ending {
        tracing::info!(
            peer = %self.peer(),
            "closing a client that reads more slowly than ejabberd writes: too much output was waiting"
        );
        Ending::Reset
    }
}
