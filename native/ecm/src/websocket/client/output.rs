//! From ejabberd to the client.

use std::cell::RefCell;
use std::io;
use std::task::Poll;
use std::task::{Context, ready};

use tokio::time::Instant;

use super::{Client, Ending, Moved, Stage};
use crate::session::Received;
use crate::websocket::frame::{Opcode, put_frame};

/// Documents are put together for one write up to about this.
const WRITE_SIZE: usize = 16 * 1024;

thread_local! {
    /// What is about to be written; it is the thread's, so a client that takes its output has no buffer.
    static OUTPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a client's socket did not take.
#[derive(Debug)]
pub struct Unsent {
    bytes: Vec<u8>,
    written: usize,
    /// Since when it takes nothing.
    pub stuck_since: Instant,
}

impl Unsent {
    /// Bytes to be written; none is nothing.
    pub fn of(bytes: &[u8]) -> Option<Box<Self>> {
        let unsent = || Self {
            bytes: bytes.to_vec(),
            written: 0,
            stuck_since: Instant::now(),
        };
        (!bytes.is_empty()).then(|| Box::new(unsent()))
    }
}

impl Client {
    /// Writes what the socket did not take before.
    pub(super) fn write_unsent(&mut self, context: &mut Context<'_>) -> Result<Moved, Ending> {
        match self.poll_write_unsent(context) {
            Poll::Ready(Ok(moved)) => Ok(moved),
            Poll::Ready(Err(error)) => Err(left(&error)),
            Poll::Pending => Ok(Moved::No),
        }
    }

    fn poll_write_unsent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Moved>> {
        let Some(unsent) = &mut self.unsent else {
            return self.poll_flush(context);
        };
        while unsent.written < unsent.bytes.len() {
            match self.stream.try_write(&unsent.bytes[unsent.written..]) {
                Ok(length) => {
                    unsent.written += length;
                    unsent.stuck_since = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.stream.poll_writable(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.unsent = None;
        Poll::Ready(Ok(Moved::Yes))
    }

    /// Sends what is encrypted and was not sent.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Moved>> {
        while self.stream.has_unsent() {
            self.stream.flush()?;
            if self.stream.has_unsent() {
                ready!(self.stream.poll_writable(context))?;
            }
        }
        Poll::Ready(Ok(Moved::No))
    }

    /// Writes what comes next from ejabberd, once the client has taken all before.
    pub(super) fn write_documents(&mut self) -> Result<Moved, Ending> {
        if self.unsent.is_some() {
            return Ok(Moved::No);
        }
        OUTPUT.with_borrow_mut(|out| {
            out.clear();
            if let Some(payload) = self.pong.take()
                && self.stage == Stage::Serving
            {
                put_frame(out, Opcode::Pong, &payload);
            }
            let end = self.take_documents(out);
            let written = self.write(out);
            out.clear();
            out.shrink_to(4 * WRITE_SIZE);
            let moved = written?;
            if let Some(end) = end {
                self.session_ended(end);
                return Ok(Moved::Yes);
            }
            Ok(moved)
        })
    }

    /// Puts what ejabberd has sent into frames, and says how the session ended, if it did.
    fn take_documents(&mut self, out: &mut Vec<u8>) -> Option<crate::trunk::End> {
        let session = self.session.as_mut()?;
        while out.len() < WRITE_SIZE {
            match session.next() {
                Received::Document(document) => {
                    self.xmpp.server_sent(&document);
                    put_frame(out, Opcode::Text, &document);
                }
                Received::End(end) => return Some(end),
                Received::Nothing => break,
            }
        }
        None
    }

    /// Writes bytes; what the socket does not take is unsent.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<Moved, Ending> {
        if bytes.is_empty() {
            return Ok(Moved::No);
        }
        let written = match self.stream.try_write(bytes) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(left(&error)),
        };
        self.unsent = Unsent::of(&bytes[written..]);
        Ok(Moved::Yes)
    }

    /// Puts bytes behind what is unsent.
    pub(super) fn queue(&mut self, bytes: &[u8]) {
        match &mut self.unsent {
            Some(unsent) => unsent.bytes.extend_from_slice(bytes),
            None => self.unsent = Unsent::of(bytes),
        }
    }
}

fn left(error: &io::Error) -> Ending {
    tracing::debug!("a WebSocket client left: {error}");
    Ending::ClientLeft
}
