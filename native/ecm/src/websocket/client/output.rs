//! From ejabberd to the client.

use std::task::{Context, Poll};

use super::state::{Client, ReadyState};
use crate::peer::Moved;
use crate::peer::socket::Written;
use crate::session::Received;
use crate::session::outlet::{self, Batch};
use crate::trunk::End;
use crate::websocket::frame::{Opcode, put_frame};

/// Documents are put together for one write up to about this.
const WRITE_SIZE: usize = 16 * 1024;

impl Client {
    /// Writes what the socket did not take before.
    pub(super) fn write_unsent(&mut self, context: &mut Context<'_>) -> Moved {
        let mut moved = Moved::No;
        loop {
            match self.outlet.flush(&mut self.stream) {
                Written::Some(_) => moved = Moved::Yes,
                Written::Nothing => return moved,
                Written::Stuck => match self.stream.poll_writable(context) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => {
                        tracing::debug!("can't write to a WebSocket client any more: {error}");
                        self.outlet.shut();
                    }
                    Poll::Pending => return moved,
                },
            }
        }
    }

    /// Writes what comes next from ejabberd, once the client has taken all before.
    pub(super) fn write_documents(&mut self) -> Moved {
        if !self.outlet.is_empty() || self.outlet.is_full() || self.ready_state != ReadyState::Open
        {
            return Moved::No;
        }
        outlet::with_batch(|batch| {
            if let Some(payload) = self.pong.take() {
                put_frame(&mut batch.bytes, Opcode::Pong, &payload);
            }
            let end = self.take_documents(batch);
            let taken = !batch.bytes.is_empty();
            self.outlet.write(&mut self.stream, batch);
            if let Some(end) = end {
                self.session_ended(end);
            }
            if taken || end.is_some() {
                Moved::Yes
            } else {
                Moved::No
            }
        })
    }

    /// Puts what ejabberd has sent into frames, and says how the session ended, if it did.
    fn take_documents(&mut self, batch: &mut Batch) -> Option<End> {
        let session = self.session.as_mut()?;
        while batch.bytes.len() < WRITE_SIZE {
            match session.next() {
                Received::Document(document) => {
                    self.xmpp.server_sent(&document);
                    if session.is_logged_in() {
                        self.xmpp.logged_in();
                    }
                    put_frame(&mut batch.bytes, Opcode::Text, &document);
                    batch.ends(document);
                }
                Received::End(end) => return Some(end),
                Received::Nothing => break,
            }
        }
        None
    }

    /// A ping, if the client takes its output.
    pub(super) fn ping(&mut self) {
        if self.outlet.is_empty() {
            outlet::with_batch(|batch| {
                put_frame(&mut batch.bytes, Opcode::Ping, b"");
                self.outlet.write(&mut self.stream, batch);
            });
        }
    }
}
