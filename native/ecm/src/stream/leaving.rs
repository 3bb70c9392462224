//! How a client's stream comes to its end.
//!
//! | what happens | the client gets | the session ends as |
//! |---|---|---|
//! | the stream is closed, by either side | the other end of it | [`Cause::Closed`] |
//! | the connection ends | | [`Cause::Left`] |
//! | what can't be read, or not taken, deadlines | a stream error | [`Cause::Refused`] |
//! | silence | a stream error | [`Cause::Silent`] |
//! | output is not taken | a reset | [`Cause::SlowReader`] |
//! | it has to go with what it sent | a reset | [`Cause::Flooded`] |
//! | the program ends | a stream error | [`Cause::Shutdown`] |
//! | the session or its trunk is lost | a stream error | |

use std::io;
use std::ops::ControlFlow;

use megaphone_xmpp::stream::Writer;
use megaphone_xmpp::{Condition, Document, Open, framing};
use tokio::sync::watch;
use tokio::time::timeout;

use super::input::{Heard, hear, pass_on};
use super::{Client, Ending, Stage};
use crate::backlog::Evicted;
use crate::metrics::{REFUSALS, Reason};
use crate::peer::socket::{LINGER, LINGER_BYTES, send_end};
use crate::peer::task;
use crate::session::{Cause, Documents, Left};
use crate::shutdown::Phase;

impl Client {
    /// The program ends: the client is told, and with stream management it may go on elsewhere.
    pub(super) fn shut_down(&mut self) {
        if self.ending.is_some() {
            return;
        }
        if self.stage == Stage::Header && self.input.is_empty() {
            self.ending = Some(Ending::Close);
        } else {
            self.fail_as(Cause::Shutdown, Condition::SystemShutdown, "");
        }
    }

    /// Ends the stream with an error (RFC 6120, section 4.9), after what is being written. A client that breaks the
    /// protocol can't resume its session.
    pub(super) fn fail(&mut self, condition: Condition, text: &str) {
        self.fail_as(Cause::Refused, condition, text);
    }

    /// As [`fail`](Self::fail), but for this cause.
    pub(super) fn fail_as(&mut self, cause: Cause, condition: Condition, text: &str) {
        self.fail_for(Reason::of(condition), cause, condition, text);
    }

    /// As [`fail_as`](Self::fail_as), but counted for this reason.
    pub(super) fn fail_for(
        &mut self,
        reason: Option<Reason>,
        cause: Cause,
        condition: Condition,
        text: &str,
    ) {
        if let Some(reason) = reason {
            REFUSALS.of(reason).add(1);
        }
        tracing::debug!(peer = %self.peer, condition = condition.name(), "stream error: {text}");
        let mut out = Vec::new();
        if self.writer == Writer::new() {
            self.write_header(&mut out, &Open::default());
        }
        self.writer.write(&mut out, &condition.document(text));
        self.outlet.append(&out);
        self.end(cause);
    }

    /// Closes the stream, if that was not done, and then the connection.
    pub(super) fn end(&mut self, cause: Cause) {
        self.say(framing::CLOSE);
        self.queued = None;
        self.cause.get_or_insert(cause);
        self.ending = Some(Ending::Close);
    }

    /// The client has to go, with what it sent.
    pub(super) fn evict(&mut self, evicted: Evicted) -> Ending {
        self.cause = Some(Cause::Flooded);
        task::evict(self.peer, evicted)
    }

    /// Reads on, of a client that was told that its stream is over and may have sent something before it knew,
    /// for as long as a connection may take to close. Gives the documents that ejabberd has no room for.
    pub(super) async fn hear_on(&mut self, phase: &mut watch::Receiver<Phase>) -> Documents {
        let mut unsent = self.take_unsent();
        tokio::select! {
            _ = timeout(LINGER, self.hear_to_the_end(&mut unsent)) => {}
            _ = phase.wait_for(|phase| *phase == Phase::Ended) => {}
        }
        unsent
    }

    /// Whether to [`hear_on`](Self::hear_on).
    pub(super) fn hears_on(&self, ending: Ending) -> bool {
        ending == Ending::Close
            && self.session.is_some()
            && self.stage == Stage::Established
            && self.cause.is_some_and(Cause::hears_on)
    }

    async fn hear_to_the_end(&mut self, unsent: &mut Documents) -> io::Result<()> {
        send_end(&mut self.downstream.socket).await?;
        let mut left = LINGER_BYTES;
        loop {
            let (mut reader, _writer) = self.downstream.socket.split();
            let read = reader.read(|bytes| self.input.extend_from_slice(bytes));
            match read.await? {
                // A client that goes on and on is not heard.
                0 => return Ok(()),
                length if length > left => return Ok(()),
                length => left -= length,
            }
            if self.hear_documents(unsent).is_break() {
                return Ok(());
            }
        }
    }

    /// Takes the documents that were read, unless something else came, the stream's end say.
    fn hear_documents(&mut self, unsent: &mut Documents) -> ControlFlow<()> {
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        loop {
            // None overtakes another.
            let mut session = self.session.as_mut().filter(|_| unsent.is_empty());
            let mut send = |document: &Document<'_>| match &mut session {
                Some(session) => pass_on(document, Some(session)),
                None => Heard::Held(document.to_vec().into()),
            };
            match hear(&mut self.reader, self.stage, &mut send, &mut rest) {
                Heard::Sent => {}
                Heard::Held(document) => unsent.push(document.into()),
                Heard::Nothing => return ControlFlow::Continue(()),
                _ => return ControlFlow::Break(()),
            }
        }
    }

    /// Leaves the session, if there is one. These documents were not sent.
    pub(super) fn leave_session(&mut self, mut unsent: Documents) {
        unsent.append(self.take_unsent());
        let Some(session) = self.session.take() else {
            return;
        };
        let cause = match (self.stage, self.cause) {
            (Stage::Closing, _) => Cause::Closed,
            (_, cause) => cause.unwrap_or(Cause::Left),
        };
        let left = Left::of(unsent, &mut self.outlet);
        session.leave(cause, left, &self.downstream.registries.backlogs);
    }

    /// The documents that were read and ejabberd has not taken. What is half a document is none.
    fn take_unsent(&mut self) -> Documents {
        let mut unsent = Documents::default();
        if let Some(held) = self.held.take() {
            unsent.push(held.into());
        }
        if self.cause == Some(Cause::Refused) {
            // What comes behind that is thrown away.
            return unsent;
        }
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        if self.stage == Stage::Authenticating && begins_stream(rest) {
            // It relies on its login; if ejabberd does not agree, this is nothing.
            self.reader.restart();
        }
        loop {
            let mut collect = |document: &Document<'_>| {
                unsent.push(document.to_vec());
                Heard::Sent
            };
            match hear(&mut self.reader, self.stage, &mut collect, &mut rest) {
                Heard::Sent | Heard::Step(_) => {}
                Heard::Open { document, .. } => unsent.push(document),
                Heard::Close => {
                    unsent.push(framing::CLOSE.to_vec());
                    self.stage = Stage::Closing;
                    return unsent;
                }
                Heard::Nothing
                | Heard::Held(_)
                | Heard::StartTls
                | Heard::LoginTooEarly(_)
                | Heard::TooEarly
                | Heard::Invalid(_) => return unsent,
            }
        }
    }
}

/// Whether these are the first bytes of a stream, not of an element in one.
fn begins_stream(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii_start();
    bytes.starts_with(b"<?xml") || bytes.starts_with(b"<stream:")
}
