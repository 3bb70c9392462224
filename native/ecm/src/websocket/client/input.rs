//! From the client to ejabberd.

use std::task::{Context, Poll};

use megaphone_xmpp::{Condition, Document, Limits, framing, namespace};

use super::state::{Client, Held, ReadyState};
use crate::entrance::{QueuedLogin, UNREACHABLE};
use crate::peer::task::Ending;
use crate::peer::{Moved, socket};
use crate::session::{Cause, Documents, MAX_BEFORE_LOGIN, Sent, Session, document_limits};
use crate::websocket::close::{CloseCode, read_close};
use crate::websocket::error::FrameError;
use crate::websocket::reader::{Event, MessageReader};
use crate::websocket::stream::Purpose;

/// Whether more can be read.
#[derive(Debug, PartialEq, Eq)]
enum Flow {
    GoOn,
    /// There is no room for this document.
    Hold(Vec<u8>),
    /// Nothing that comes after it is of interest.
    Stop,
}

impl Client {
    /// Reads what the client has sent, unless there is no room for it in the session.
    pub(super) fn read(&mut self, context: &mut Context<'_>) -> Result<Moved, Ending> {
        if self.ready_state == ReadyState::Closed || !self.has_room() {
            return Ok(Moved::No);
        }
        socket::with_read_buffer(|buffer| match self.stream.poll_read(context, buffer) {
            Poll::Pending => Ok(Moved::No),
            Poll::Ready(Ok(0)) => Err(Ending::ClientLeft),
            Poll::Ready(Ok(length)) => {
                self.clock.heard();
                match &mut self.held {
                    Some(held) => held.rest.extend_from_slice(&buffer[..length]),
                    None => self.handle(&mut buffer[..length]),
                }
                Ok(Moved::Yes)
            }
            Poll::Ready(Err(error)) => {
                tracing::debug!("a WebSocket client left: {error}");
                Err(Ending::ClientLeft)
            }
        })
    }

    /// Whether what the client sends is handled, or kept until its turn comes: that is how it is seen to leave.
    fn has_room(&self) -> bool {
        let Some(held) = &self.held else {
            return true;
        };
        let waits = self.session.as_ref().map(Session::waits_for_turn);
        waits.unwrap_or(self.is_queued()) && held.len() < MAX_BEFORE_LOGIN
    }

    /// Goes on with what was held, if there is room.
    pub(super) fn send_held(&mut self) -> Moved {
        let Some(mut held) = self.held.take() else {
            return Moved::No;
        };
        if self.is_queued() {
            self.held = Some(held);
            return Moved::No;
        }
        if let Some(document) = held.document.take() {
            let sent = self.session.as_mut().map(|it| it.try_send(&document));
            if let Some(Ok(Sent::Refused)) = sent {
                held.document = Some(document);
                self.held = Some(held);
                return Moved::No;
            }
        }
        self.handle(&mut held.rest);
        Moved::Yes
    }

    fn handle(&mut self, mut input: &mut [u8]) {
        // Away from the client while its events refer to it.
        let mut reader = std::mem::take(&mut self.reader);
        while let Some(event) = self.next_event(&mut reader, &mut input) {
            let flow = match event {
                Event::Text(text) => {
                    // A part of another one may follow in the same read.
                    self.clock.within_message(false);
                    self.text(text)
                }
                Event::Ping(payload) => {
                    self.pong = Some(payload.into());
                    Flow::GoOn
                }
                Event::Pong => Flow::GoOn,
                Event::Close(payload) => {
                    self.closed(payload);
                    Flow::Stop
                }
            };
            match flow {
                Flow::GoOn => {}
                Flow::Stop => break,
                Flow::Hold(document) => {
                    self.held = Some(Box::new(Held {
                        document: Some(document),
                        rest: input.to_vec(),
                    }));
                    break;
                }
            }
        }
        self.clock.within_message(reader.is_within());
        self.reader = reader;
    }

    /// The next of what the client sent; nothing after what can't be read.
    fn next_event<'a, 'i: 'a>(
        &mut self,
        reader: &'a mut MessageReader,
        input: &mut &'i mut [u8],
    ) -> Option<Event<'a>> {
        let limit = self.limits().max_document;
        reader.next(input, limit).unwrap_or_else(|error| {
            self.misread(&error);
            None
        })
    }

    /// A whole message, which has to be one document (RFC 7395, section 3.3).
    fn text(&mut self, text: &[u8]) -> Flow {
        // White space is no document, and as a sign of life it does no harm.
        if text.trim_ascii().is_empty() {
            return Flow::GoOn;
        }
        if self.ready_state != ReadyState::Open {
            return self.late_text(text);
        }
        let document = match framing::check(text, &self.limits()) {
            Ok(document) => document,
            Err(error) => {
                let code = match error.condition() {
                    Condition::PolicyViolation => CloseCode::POLICY_VIOLATION,
                    _ => CloseCode::INVALID_PAYLOAD,
                };
                self.refuse(error.condition(), &error.to_string(), code);
                return Flow::GoOn;
            }
        };
        match self.xmpp.client_sent(&document) {
            Ok(Purpose::Begin) => self.begin_login(document.to_vec()),
            Ok(Purpose::Continue) if self.is_queued() => return Flow::Hold(document.to_vec()),
            Ok(Purpose::Continue) => {
                if let Some(session) = &mut self.session {
                    return pass_on(session, &document);
                }
            }
            Ok(Purpose::Ignore) => {}
            Err(error) => {
                let text = error.to_string();
                self.refuse(Condition::BadFormat, &text, CloseCode::POLICY_VIOLATION);
            }
        }
        Flow::GoOn
    }

    /// A message of a client that was told that its stream is over, and may not have known.
    fn late_text(&mut self, text: &[u8]) -> Flow {
        let limits = self.limits();
        match (&mut self.session, framing::check(text, &limits)) {
            (Some(session), Ok(document))
                if self.cause.is_some_and(Cause::hears_on) && !is_framing(&document) =>
            {
                pass_on(session, &document)
            }
            _ => Flow::GoOn,
        }
    }

    /// The documents that were read and ejabberd has not taken. Half a document is none, and what a client sent before
    /// its turn to log in does not count.
    pub(super) fn take_unsent(&mut self) -> Documents {
        let mut unsent = Documents::default();
        let Some(mut held) = self.held.take().filter(|_| self.session.is_some()) else {
            return unsent;
        };
        if let Some(document) = held.document.take() {
            unsent.push(document);
        }
        let limits = self.limits();
        let mut rest = &mut held.rest[..];
        while let Ok(Some(event)) = self.reader.next(&mut rest, limits.max_document) {
            let document = match event {
                Event::Text(text) if text.trim_ascii().is_empty() => continue,
                Event::Text(text) => framing::check(text, &limits),
                Event::Ping(_) | Event::Pong => continue,
                Event::Close(_) => break,
            };
            match document.map(|document| (self.xmpp.client_sent(&document), document)) {
                Ok((Ok(Purpose::Continue), document)) => unsent.push(document.to_vec()),
                Ok((Ok(Purpose::Begin | Purpose::Ignore), _)) => {}
                Ok((Err(_), _)) | Err(_) => break,
            }
        }
        unsent
    }

    fn begin_login(&mut self, open: Vec<u8>) {
        let Some(unopened) = &mut self.unopened else {
            return;
        };
        let Some(opening) = unopened.opening.take() else {
            return;
        };
        match QueuedLogin::begin(&self.registries, &self.settings, opening) {
            Ok(login) => {
                let has_turn = login.has_turn();
                unopened.queued = Some((login, open));
                self.clock.restart();
                if has_turn {
                    self.open_session();
                }
            }
            Err(too_many) => self.refuse_for(
                Some(too_many.reason()),
                Condition::PolicyViolation,
                &too_many.to_string(),
                CloseCode::POLICY_VIOLATION,
            ),
        }
    }

    /// Opens the session if its turn has come.
    pub(super) fn take_turn(&mut self, context: &Context<'_>) -> Moved {
        match &self.unopened {
            Some(unopened) if unopened.poll_turn(context).is_ready() => {
                self.clock.restart();
                self.open_session();
                Moved::Yes
            }
            _ => Moved::No,
        }
    }

    fn open_session(&mut self) {
        let Some((login, open)) = self.unopened.take().and_then(|it| it.queued) else {
            return;
        };
        match login.open(&open) {
            Ok(session) => self.session = Some(session),
            Err(reason) => self.refuse_for(
                Some(reason),
                Condition::RemoteConnectionFailed,
                UNREACHABLE,
                CloseCode::TRY_AGAIN_LATER,
            ),
        }
    }

    /// The client's close frame.
    fn closed(&mut self, payload: &[u8]) {
        match read_close(payload) {
            Ok(code) => self.answer_close(code),
            Err(error) => self.misread(&error),
        }
    }

    /// The client's bytes can't be read from here on.
    fn misread(&mut self, error: &FrameError) {
        if self.ready_state != ReadyState::Open {
            self.ready_state = ReadyState::Closed;
        } else if let FrameError::TooBig { .. } = error {
            self.refuse(
                Condition::PolicyViolation,
                &error.to_string(),
                CloseCode::of_error(error),
            );
            self.ready_state = ReadyState::Closed;
        } else {
            self.fail(error);
        }
    }

    fn limits(&self) -> Limits {
        document_limits(&self.settings.limits, self.xmpp.is_logged_in())
    }
}

fn pass_on(session: &mut Session, document: &Document<'_>) -> Flow {
    match session.try_send_checked(document) {
        Ok(Sent::Refused) => Flow::Hold(document.to_vec()),
        // If the session is gone, it says so itself.
        Ok(Sent::Sent) | Err(_) => Flow::GoOn,
    }
}

/// Whether it is one of the stream's own tags.
fn is_framing(document: &Document<'_>) -> bool {
    document.is("open", namespace::FRAMING) || document.is("close", namespace::FRAMING)
}
