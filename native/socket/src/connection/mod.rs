//! One connection: a socket's state, without the socket.
//!
//! ```text
//!            frames                                   recv, active messages
//!   trunk ------------> receive -> input (one request) --------------------> owner
//!   trunk <------------ outbox  <- output (in turn)    <-------------------- owner
//!            turns                                    send, close, death
//! ```
//!
//! Two ends leave a connection in any order, and its slot is free when both have:
//!
//! ```text
//!   link (to the peer)                     hold (of the owner)
//!   Open --our close--> Closing            Held --close, death--> Released
//!     |                    | output written
//!     +--peer's close------+--> Gone
//! ```
//!
//! What the peer sends is taken in in `arrival`, what the owner reads is in `reading`, what it
//! sends in `writing` and its way to the trunk's writer in `turn`, how either goes in `lifecycle`, and
//! who waits for what in `waiting`.

mod arrival;
mod lifecycle;
mod reading;
mod turn;
mod waiting;
mod writing;

use std::collections::VecDeque;

use bytes::Bytes;
use megaphone_trunk::room::Reserved;
use megaphone_trunk::v2::INITIAL_WINDOW;

use crate::backlog::Lines;
use crate::config::Config;
use crate::counters::Counters;
use crate::handle::Handle;
use crate::input::Input;
use crate::link::{Key, Link};
use crate::options::{Active, Line, Mode};
use crate::origin::{ChannelBindings, Once, Origin, Protocol};
use crate::sink::Reason;

pub(crate) use arrival::Received;
pub use reading::Recv;
pub use writing::Send;

pub(crate) struct Connection<P> {
    pub(crate) key: Key,
    pub(crate) owner: P,
    linked: Linked,
    hold: Hold,
    incoming: Incoming,
    write_shut: bool,
    /// The room on the trunk that is kept for its next send.
    reserved: Option<Reserved>,
    mode: Mode,
    /// What mode `http` waits for.
    due: Line,
    active: Active,
    input: Input,
    reader: Option<Box<Reader<P>>>,
    output: Option<Box<Output<P>>>,
    #[allow(clippy::box_collection)] // None for almost all: 8 bytes instead of 24.
    watchers: Option<Box<Vec<(P, u64)>>>,
    send_timeout: u32,
    /// How much of its output the peer takes, in version 2.
    window: u32,
    /// Whether the writer has it among its turns, in version 2.
    in_turns: bool,
    /// Where it waits for room on the trunk, in version 2.
    lines: Lines,
    last_active: u32,
    /// Bytes that came and whose window was not returned.
    unreturned: usize,
    protocol: Protocol,
    origin: Option<Box<Origin>>,
    once: Option<Box<Once>>,
    received: Traffic,
    sent: Traffic,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Linked {
    Open,
    Closing,
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hold {
    Held,
    Released,
}

/// Whether more input can come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Incoming {
    Open,
    Finished,
    Broken(Reason),
}

/// A process in recv: it is woken when `need` bytes are there, or never will be.
struct Reader<P> {
    process: P,
    number: u64,
    need: usize,
}

/// What waits for the writer, in version 1 the bytes that found no room in the outbox; and who waits to
/// have more here.
struct Output<P> {
    queue: VecDeque<u8>,
    /// How often something was added since the last frame.
    writes: u32,
    writers: Vec<(P, u64)>,
}

impl<P> Default for Output<P> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            writes: 0,
            writers: Vec::new(),
        }
    }
}

/// Bytes and calls in one direction, as getstat answers them.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Pieces: frames received, sends made.
    pub count: u32,
    /// The largest piece, in bytes.
    pub largest: u32,
}

impl Traffic {
    fn count(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.count = self.count.saturating_add(1);
        self.largest = self.largest.max(u32::try_from(bytes).unwrap_or(u32::MAX));
    }
}

/// What getstat answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// What came from the peer.
    pub received: Traffic,
    /// What the owner sent.
    pub sent: Traffic,
    /// Bytes sent and not yet handed to the trunk's writer.
    pub pending: usize,
}

/// What a connection's methods need of its trunk.
pub(crate) struct Surroundings<'a, S> {
    pub(crate) handle: Handle,
    pub(crate) config: &'a Config,
    pub(crate) counters: &'a Counters,
    pub(crate) link: &'a Link,
    pub(crate) sink: &'a mut S,
    /// Seconds since the trunk's start.
    pub(crate) now: u32,
    /// Whether there is output that the writer has to be told of.
    pub(crate) wrote: bool,
}

impl<S> Surroundings<'_, S> {
    fn close(&mut self, key: &Key) {
        self.link.close(key, self.counters);
        self.wrote = true;
    }
}

impl<P: Copy + Eq> Connection<P> {
    pub(crate) fn new(key: Key, owner: P, config: &Config, now: u32) -> Self {
        Self {
            key,
            owner,
            linked: Linked::Open,
            hold: Hold::Held,
            incoming: Incoming::Open,
            write_shut: false,
            reserved: None,
            mode: Mode::Raw,
            due: Line::Start,
            active: Active::Passive,
            input: match key {
                Key::V1(_) => Input::Idle(config.content),
                Key::V2(_) => Input::Preface(Box::default()),
            },
            reader: None,
            output: None,
            watchers: None,
            send_timeout: config.send_timeout.unwrap_or(u32::MAX),
            window: INITIAL_WINDOW,
            in_turns: false,
            lines: Lines::default(),
            last_active: now,
            unreturned: 0,
            protocol: config.content.protocol(),
            origin: None,
            once: None,
            received: Traffic::default(),
            sent: Traffic::default(),
        }
    }

    pub(crate) fn set_send_timeout(&mut self, milliseconds: Option<u32>) {
        self.send_timeout = milliseconds.unwrap_or(u32::MAX);
    }

    pub(crate) fn send_timeout(&self) -> Option<u32> {
        (self.send_timeout != u32::MAX).then_some(self.send_timeout)
    }

    pub(crate) fn active(&self) -> Active {
        self.active
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Reads what [`Connection::receive`] needs first, of each of the cache lines.
    pub(crate) fn touch(&self) -> u32 {
        let key = match &self.key {
            Key::V1(id) => u32::from(id.as_bytes()[0]),
            Key::V2(_) => 0,
        };
        let input = u32::from(self.input.between_requests());
        key ^ input ^ self.last_active ^ self.received.count ^ self.linked as u32
    }

    pub(crate) fn is_open(&self) -> bool {
        self.hold == Hold::Held && self.incoming == Incoming::Open && self.linked == Linked::Open
    }

    pub(crate) fn is_released(&self) -> bool {
        self.hold == Hold::Released
    }

    pub(crate) fn between_requests(&self) -> bool {
        // The end of a stream goes behind its output by itself.
        let is_written = match (&self.output, &self.key) {
            (None, _) => true,
            (Some(output), Key::V2(_)) => output.writers.is_empty(),
            (Some(_), Key::V1(_)) => false,
        };
        is_written && self.input.between_requests()
    }

    pub(crate) fn in_flight(&self) -> bool {
        self.linked != Linked::Gone && (self.input.in_flight() || self.output.is_some())
    }

    pub(crate) fn buffered(&self) -> usize {
        self.input.buffered()
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.origin.as_deref()
    }

    pub(crate) fn take_bindings(&mut self) -> ChannelBindings {
        self.take_once(|once| std::mem::take(&mut once.bindings))
    }

    pub(crate) fn take_fields(&mut self) -> Option<Bytes> {
        self.take_once(|once| once.fields.take())
    }

    pub(crate) fn take_takeover(&mut self) -> Option<Bytes> {
        self.take_once(|once| once.takeover.take())
    }

    pub(crate) fn take_certificate(&mut self) -> Option<Bytes> {
        self.take_once(|once| once.certificate.take())
    }

    fn take_once<T: Default>(&mut self, take: impl FnOnce(&mut Once) -> T) -> T {
        let taken = self.once.as_deref_mut().map(take).unwrap_or_default();
        if self.once.as_deref() == Some(&Once::default()) {
            self.once = None;
        }
        taken
    }

    pub(crate) fn last_active(&self) -> u32 {
        self.last_active
    }

    /// Whether the owner is at work: neither in recv nor active, it won't see a close.
    pub(crate) fn is_busy(&self) -> bool {
        self.hold == Hold::Held && self.active == Active::Passive && self.reader.is_none()
    }

    pub(crate) fn statistics(&self, link: &Link) -> Statistics {
        Statistics {
            received: self.received,
            sent: self.sent,
            pending: self.queued() + link.queued(&self.key),
        }
    }
}
