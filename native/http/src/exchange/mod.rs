//! One HTTP/1.1 connection as the server's reader must see it: one request at a time.
//!
//! ejabberd_http throws away what it received behind a request, doesn't know chunked bodies, and after
//! an answer takes what it didn't read of the body for the next request. An [`Exchange`] stands before
//! such a reader: it hands over one request, with a `Content-Length`, and keeps everything behind it
//! until the answer to it has passed by.
//!
//! ```text
//!          receive()            peek(), consume()
//! client ───────────> Exchange ──────────────────> reader (ejabberd_http)
//!   ^                    │                            │
//!   └── take_reply() ────┤<──────── send() ───────────┘
//!   └── the answer's bytes, sent by the caller as they are
//! ```
//!
//! The caller's part:
//!
//! 1. [`receive`](Exchange::receive) what the client sends; then wake a reader if
//!    [`readable`](Exchange::readable) isn't 0.
//! 2. A read of exactly n bytes takes them off [`peek`](Exchange::peek). A read of "whatever is there"
//!    takes [`piece`](Exchange::piece), which ends with the head: **a reader that gets head and body
//!    together and doesn't want the body may take it for the next request**, and ejabberd_http does
//!    (it keeps the rest when it answers 400, and a client chooses what stands there).
//! 3. [`send`](Exchange::send) shows the server's bytes on their way to the client.
//! 4. After both, [`take_reply`](Exchange::take_reply) to the client, behind the server's bytes; then
//!    close if [`must_close`](Exchange::must_close).
//!
//! What isn't read stays here: [`buffered`](Exchange::buffered) and
//! [`wants_input`](Exchange::wants_input) are what the caller's flow control should look at. One request
//! costs `max_head` and `max_collected_body`, or `max_chunked_body`; what the client pipelines behind it
//! has no limit of its own.

mod found;
mod steps;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;

use crate::error::RequestError;
use crate::inbox::Inbox;
use crate::limits::Limits;
use crate::response::{Progress, ResponseTracker};

/// One connection between a client and a reader that can hold one request.
///
/// An idle one is 72 bytes and no allocation; one whose answer is awaited (a BOSH long poll) the same.
/// One that [`is_idle`](Self::is_idle) may be dropped and made anew when bytes arrive.
#[derive(Debug)]
pub struct Exchange {
    limits: Arc<Limits>,
    inbox: Option<Box<Inbox>>,
    refusal: Option<Box<RequestError>>,
    phase: Phase,
    tracker: ResponseTracker,
    current: Current,
    reply: Reply,
    empty_lines: u8,
    input_ended: bool,
}

/// ```text
///  ┌─> Head ─┬─ whole ────────────────────────────────────────> Answer ──┬─> Raw (101)
///  │         ├─ small body ──────> Collect ──whole──────────────> │      │
///  │         ├─ chunked body ────> Chunks ───whole──────────────> │      │
///  │         ├─ large body ──────> Stream ───all came───────────> │      │
///  │         │                       │ answered                          │ answered
///  │         │                       v                                   │
///  ├─────────│───────all came──── Discard                                │
///  └─────────│───────────────────────────────────────────────────────────┤
///            └─ refused ──────────────────────> Over <──────last answer──┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A head is awaited, or part of one is there.
    Head,
    /// A head of `head` bytes is there, and of its body `pending` waits until all of it is.
    Collect { head: u32, body: u32 },
    /// A head is there and its chunked body is being collected.
    Chunks,
    /// The head was handed over and `left` bytes of the body are still to come.
    Stream { left: u64 },
    /// The request was handed over; the answer isn't complete.
    Answer,
    /// The answer is complete, and `left` bytes of the request are still to come.
    Discard { left: u64 },
    /// Both directions are bytes.
    Raw,
    /// No request will be handed over any more.
    Over,
}

/// What about the request that was handed over matters until it's answered.
#[derive(Clone, Copy, Debug, Default)]
struct Current {
    /// The client may go on after the answer, or the answer may switch protocols: bytes behind the
    /// request are kept.
    goes_on: bool,
    /// The client waits for 100 Continue, and sent nothing of the body yet.
    waits_for_continue: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    None,
    Continue,
    Refusal,
}

impl Exchange {
    /// An idle connection. The limits may be shared: `Arc<Limits>` or `Limits`.
    pub fn new(limits: impl Into<Arc<Limits>>) -> Self {
        Self {
            limits: limits.into(),
            inbox: None,
            refusal: None,
            phase: Phase::Head,
            tracker: ResponseTracker::new(),
            current: Current::default(),
            reply: Reply::None,
            empty_lines: 0,
            input_ended: false,
        }
    }

    /// Takes bytes from the client. After [`finish_input`](Self::finish_input), and once no request
    /// can follow, they are dropped.
    pub fn receive(&mut self, data: &[u8]) {
        if self.input_ended {
            return;
        }
        let rest = match &mut self.phase {
            Phase::Stream { left } => {
                let (body, rest) = split_body(data, left);
                if !body.is_empty() {
                    self.current.waits_for_continue = false;
                }
                if *left == 0 {
                    self.phase = Phase::Answer;
                }
                self.readable_mut(body);
                rest
            }
            Phase::Discard { left } => {
                let (_, rest) = split_body(data, left);
                if *left == 0 {
                    self.phase = Phase::Head;
                }
                rest
            }
            Phase::Raw => {
                self.readable_mut(data);
                return;
            }
            _ => data,
        };
        let dropped = match self.phase {
            Phase::Over => true,
            Phase::Answer => !self.current.goes_on,
            _ => false,
        };
        if !dropped && !rest.is_empty() {
            self.inbox.get_or_insert_default().append(rest);
            self.advance();
        }
    }

    /// The client will send no more (half-close). A request that is there only in part is refused.
    pub fn finish_input(&mut self) {
        self.input_ended = true;
        self.advance();
    }

    /// How many bytes the reader may have now.
    pub fn readable(&self) -> usize {
        self.peek().len()
    }

    /// All bytes that the reader may have now, in one piece.
    pub fn peek(&self) -> &[u8] {
        self.inbox.as_ref().map_or(&[], |inbox| &inbox.readable)
    }

    /// What a read of "whatever is there" takes: the rest of a head, or what is there of a body. Never
    /// both, as the module's text explains.
    pub fn piece(&self) -> &[u8] {
        let readable = self.peek();
        match self.inbox.as_ref().map_or(0, |inbox| inbox.head_left) {
            0 => readable,
            head => readable.get(..head).unwrap_or(readable),
        }
    }

    /// The reader took the first `count` bytes of [`peek`](Self::peek).
    pub fn consume(&mut self, count: usize) {
        if let Some(inbox) = &mut self.inbox {
            inbox.consume(count);
        }
        self.give_back();
    }

    /// Shows bytes that the server sends. They go to the client as they are, by the caller.
    pub fn send(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        match self.phase {
            Phase::Raw | Phase::Over => {}
            // An answer to nothing: what the client will take it for, nobody knows.
            Phase::Head | Phase::Collect { .. } | Phase::Chunks | Phase::Discard { .. } => {
                self.end();
            }
            Phase::Stream { .. } | Phase::Answer => match self.tracker.follow(data) {
                Progress::Within => {}
                Progress::UntilClose => {
                    self.current.goes_on = false;
                    self.drop_pending();
                }
                Progress::Upgraded { .. } => self.switch_to_raw(),
                Progress::Complete { consumed } if consumed == data.len() => self.answered(),
                Progress::Complete { .. } => self.end(),
            },
        }
    }

    /// Bytes that the exchange itself has for the client: `100 Continue`, or the answer to a refused
    /// request. To be asked after [`receive`](Self::receive), [`send`](Self::send) and
    /// [`finish_input`](Self::finish_input), and sent behind the server's bytes.
    pub fn take_reply(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.reply, Reply::None) {
            Reply::None => None,
            Reply::Continue => Some(Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n")),
            Reply::Refusal => self.refusal.as_ref().map(|error| error.response()),
        }
    }

    /// Whether the connection ends once what was sent is out: after a refusal's reply was taken, after
    /// the last answer, or when the client's input ended and everything is answered.
    pub fn must_close(&self) -> bool {
        self.phase == Phase::Over && self.reply == Reply::None
    }

    /// Why a request was refused, for the log and the counters.
    pub fn refusal(&self) -> Option<&RequestError> {
        self.refusal.as_deref()
    }

    /// All bytes held.
    pub fn buffered(&self) -> usize {
        self.inbox.as_ref().map_or(0, |inbox| inbox.len())
    }

    /// Whether the reader gets nothing more unless the client sends more. While this is so, a caller
    /// whose flow control counts what the reader consumed has to let the client send all the same: a
    /// head or body that is being collected is read only when it's whole.
    pub fn wants_input(&self) -> bool {
        match self.phase {
            Phase::Head | Phase::Collect { .. } | Phase::Chunks | Phase::Discard { .. } => true,
            Phase::Stream { .. } | Phase::Raw => self.readable() == 0,
            Phase::Answer | Phase::Over => false,
        }
    }

    /// Whether nothing is held that a new `Exchange` wouldn't have: no request in flight, no bytes, no
    /// reply, and HTTP goes on.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Head
            && self.inbox.is_none()
            && self.reply == Reply::None
            && !self.input_ended
    }

    /// Whether a request was handed over, wholly or in part, and isn't answered.
    pub fn in_flight(&self) -> bool {
        matches!(self.phase, Phase::Stream { .. } | Phase::Answer)
    }

    /// Whether the connection is bytes in both directions, after an upgrade.
    pub fn is_raw(&self) -> bool {
        self.phase == Phase::Raw
    }

    /// Whether a reader has had everything that it will ever get: its next read is answered as on a
    /// closed connection.
    pub fn at_end(&self) -> bool {
        self.readable() == 0
            && match self.phase {
                Phase::Over => true,
                Phase::Raw | Phase::Stream { .. } => self.input_ended,
                // A reader that comes back for more thinks that it has answered: closing makes it so.
                Phase::Answer if self.tracker.is_until_close() => true,
                Phase::Answer => self.input_ended && self.inbox.is_none(),
                _ => false,
            }
    }
}

/// The part of `data` that belongs to a body of which `left` bytes are to come, and what follows it.
fn split_body<'a>(data: &'a [u8], left: &mut u64) -> (&'a [u8], &'a [u8]) {
    let body = usize::try_from(*left).map_or(data.len(), |left| left.min(data.len()));
    *left -= body as u64;
    data.split_at(body)
}
