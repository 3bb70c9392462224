//! The processes in ejabberd: what they are told, and what each connection should be.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use megaphone_socket::options::{Active, Mode};
use megaphone_socket::sink::{Delivery, Piece, Sink, WRITER};
use megaphone_socket::{Handle, Monitor};

use crate::pattern;

/// The process that feeds the trunk.
pub const READER: u32 = 1;
/// The process that takes its output.
pub const WRITER_PROCESS: u32 = 2;
/// A process that owns nothing.
pub const GUEST: u32 = 3;
/// The first of the processes that own connections.
const OWNER: u32 = 10;

/// One connection as it should be.
#[derive(Debug)]
pub struct Line {
    pub handle: Handle,
    pub owner: u32,
    /// Where in the pattern its peer's bytes begin.
    pub start: usize,
    /// Bytes of its peer's that have arrived.
    pub arrived: usize,
    /// Bytes of these that its owner has had.
    pub taken: usize,
    /// Bytes that its owner sent.
    pub sent: usize,
    /// Bytes of these that its peer has heard.
    pub heard: usize,
    /// Its peer sends no more.
    pub ended: bool,
    /// Its owner closed it, or died.
    pub released: bool,
    /// Its owner said that it sends no more.
    pub shut: bool,
    /// Its owner said that it reads no more.
    pub deaf: bool,
}

impl Line {
    /// Bytes that came and its owner has not had; unknown where arrivals are not followed.
    pub fn ready(&self) -> usize {
        self.arrived.saturating_sub(self.taken)
    }

    fn take(&mut self, bytes: &[u8]) {
        let right = pattern(self.start + self.taken, bytes.len());
        assert!(
            bytes == right,
            "the owner of {:?} got other bytes",
            self.handle
        );
        self.taken += bytes.len();
    }

    /// The bytes that its owner sends next.
    pub fn next_sent(&self, number: usize, length: usize) -> &'static [u8] {
        pattern(number * 29 + self.sent, length)
    }

    /// Its peer hears bytes of its owner's.
    pub fn hear(&mut self, number: usize, bytes: &[u8]) {
        let right = pattern(number * 29 + self.heard, bytes.len());
        assert!(
            bytes == right,
            "the peer of {:?} heard other bytes",
            self.handle
        );
        self.heard += bytes.len();
        assert!(self.heard <= self.sent, "more bytes than were sent");
    }
}

/// All that wait, and what all were told.
#[derive(Default)]
pub struct Owners {
    pub lines: Vec<Line>,
    by_handle: HashMap<Handle, usize>,
    /// Who waits, by the number of the wait, and for which connection.
    pub waits: BTreeMap<u64, (u32, usize)>,
    wakes: Vec<(u32, u64)>,
    monitored: BTreeSet<u32>,
    dead: BTreeSet<u32>,
    others: u32,
    /// Connections that were closed under their owners.
    pub closed: Vec<usize>,
    /// Whether bytes are the pattern's.
    pub is_pattern: bool,
}

impl Owners {
    /// A connection opened; its number.
    pub fn add(&mut self, handle: Handle, start: usize) -> usize {
        let number = self.lines.len();
        self.by_handle.insert(handle, number);
        self.lines.push(Line {
            handle,
            owner: OWNER + number as u32,
            start,
            arrived: 0,
            taken: 0,
            sent: 0,
            heard: 0,
            ended: false,
            released: false,
            shut: false,
            deaf: false,
        });
        number
    }

    /// A process that was not there before.
    pub fn fresh(&mut self) -> u32 {
        self.others += 1;
        // Above all that a connection began with.
        (1 << 20) + self.others
    }

    /// Fails if somebody was woken who does not wait.
    pub fn settle(&mut self) {
        for (process, number) in self.wakes.drain(..) {
            if number == WRITER {
                assert_eq!(process, WRITER_PROCESS);
                continue;
            }
            let waited = self.waits.remove(&number);
            let waiter = waited.map(|(process, _)| process);
            assert_eq!(
                waiter,
                Some(process),
                "{process} was woken, and does not wait"
            );
        }
    }

    /// A process died; whether the trunk is to hear of it.
    pub fn die(&mut self, process: u32) -> bool {
        self.dead.insert(process);
        self.monitored.remove(&process)
    }

    /// A process that is dead waits for nothing.
    pub fn forget(&mut self, process: u32) {
        self.waits.retain(|_, (waiter, _)| *waiter != process);
    }
}

impl Sink<u32> for Owners {
    fn wake(&mut self, process: u32, number: u64) {
        self.wakes.push((process, number));
    }

    fn deliver(&mut self, owner: u32, handle: Handle, delivery: Delivery<'_>) {
        let Some(number) = self.by_handle.get(&handle).copied() else {
            panic!("{handle:?} is active, and nobody asked for it");
        };
        assert_eq!(owner, self.lines[number].owner);
        match delivery {
            Delivery::Data(Piece::Bytes(bytes)) if self.is_pattern => {
                self.lines[number].take(bytes)
            }
            Delivery::Closed => self.closed.push(number),
            Delivery::Data(_) | Delivery::Passive | Delivery::Error(_) => {}
        }
    }
}

impl Monitor<u32> for Owners {
    fn monitor(&mut self, process: u32) -> bool {
        assert!(
            self.monitored.insert(process),
            "{process} is monitored twice"
        );
        !self.dead.contains(&process)
    }
}

/// Whether a recv of `length` bytes is one that is refused.
pub fn is_refused(active: Active, mode: Mode, length: usize) -> bool {
    active != Active::Passive || (length > 0 && mode != Mode::Raw)
}
