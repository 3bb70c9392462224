//! Messages between users picked at random, who may be in different processes. Each message says who is to get it and
//! which one it is, so all processes together can tell whether one was lost: what was sent, less what arrived.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::ledger::microseconds;
use crate::report::Times;

/// What the body of such a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letter {
    /// The number of its receiver among all users.
    pub to: usize,
    /// The process that sent it: the number of its first user.
    pub process: usize,
    /// Which of that process's messages, from 0.
    pub number: u64,
    /// When it was sent, in microseconds of a clock that all processes have.
    pub sent_at: u64,
}

impl Letter {
    /// As a message to that address.
    pub fn message(&self, address: &str) -> String {
        let Self {
            to,
            process,
            number,
            sent_at,
        } = self;
        format!(
            "<message to='{address}' type='chat'><body>{to} {process} {number} {sent_at}</body></message>"
        )
    }

    /// Reads it from a body.
    pub fn of(body: &str) -> Option<Self> {
        let mut words = body.split(' ');
        let mut next = || words.next()?.parse::<u64>().ok();
        let letter = Self {
            to: usize::try_from(next()?).ok()?,
            process: usize::try_from(next()?).ok()?,
            number: next()?,
            sent_at: next()?,
        };
        words.next().is_none().then_some(letter)
    }
}

/// Users by their numbers: `FIRST+COUNT`, several of them with commas between.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranges(Vec<(usize, usize)>);

impl Ranges {
    /// Those of several processes: the first user of each, and how many it has.
    pub fn new(ranges: impl IntoIterator<Item = (usize, usize)>) -> Self {
        Self(ranges.into_iter().collect())
    }

    /// How many users these are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// The user at a place, counted from 0.
    pub fn get(&self, mut place: usize) -> Option<usize> {
        for (first, count) in &self.0 {
            if place < *count {
                return Some(first + place);
            }
            place -= count;
        }
        None
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, count)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{first}+{count}")?;
        }
        Ok(())
    }
}

impl FromStr for Ranges {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let range = |one: &str| {
            let (first, count) = one.split_once('+')?;
            Some((first.parse().ok()?, count.parse().ok()?))
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        ranges.map(Self).ok_or(())
    }
}

/// What became of the messages of one process, and of those to its users.
#[derive(Debug)]
pub struct RandomTraffic {
    receivers: Mutex<Ranges>,
    next: AtomicU64,
    arrived: Mutex<HashSet<(usize, u64)>>,
    latencies: Mutex<Histogram<u64>>,
    doubled: AtomicU64,
    misrouted: AtomicU64,
    returned: AtomicU64,
}

impl Default for RandomTraffic {
    fn default() -> Self {
        Self {
            receivers: Mutex::default(),
            next: AtomicU64::new(0),
            arrived: Mutex::default(),
            latencies: Mutex::new(microseconds()),
            doubled: AtomicU64::new(0),
            misrouted: AtomicU64::new(0),
            returned: AtomicU64::new(0),
        }
    }
}

impl RandomTraffic {
    /// Who gets messages from now on; with nobody, users write to their partners.
    pub fn begin(&self, receivers: Ranges) {
        *self.receivers.lock() = receivers;
    }

    /// A message to one of the receivers, who is picked by `random`, a number below the one that it is given; `None`
    /// if there are none.
    pub fn next(&self, process: usize, random: impl FnOnce(usize) -> usize) -> Option<Letter> {
        let receivers = self.receivers.lock();
        let to = receivers.get(random(receivers.len()))?;
        Some(Letter {
            to,
            process,
            number: self.next.fetch_add(1, Relaxed),
            sent_at: now(),
        })
    }

    /// A message came to that user: whether it is one that it should get, for the first time.
    pub fn arrived(&self, user: usize, letter: Letter) -> bool {
        if letter.to != user {
            self.misrouted.fetch_add(1, Relaxed);
            return false;
        }
        if !self.arrived.lock().insert((letter.process, letter.number)) {
            self.doubled.fetch_add(1, Relaxed);
            return false;
        }
        let took = now().saturating_sub(letter.sent_at);
        self.latencies.lock().saturating_record(took);
        true
    }

    /// A message came back to its sender as an error.
    pub fn came_back(&self) {
        self.returned.fetch_add(1, Relaxed);
    }

    /// What arrived since this was asked last.
    pub fn take_arrivals(&self) -> Arrivals {
        let take = |counter: &AtomicU64| counter.swap(0, Relaxed);
        let latencies = std::mem::replace(&mut *self.latencies.lock(), microseconds());
        Arrivals {
            doubled: take(&self.doubled),
            misrouted: take(&self.misrouted),
            returned: take(&self.returned),
            latency: Times::of(&latencies),
        }
    }
}

/// How messages arrived that were sent to users picked at random.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Arrivals {
    /// Messages that arrived again.
    pub doubled: u64,
    /// Messages that came to a user who is not their receiver.
    pub misrouted: u64,
    /// Messages that came back to their senders as errors.
    pub returned: u64,
    /// From send to receipt.
    pub latency: Times,
}

impl Arrivals {
    /// Those of several processes.
    pub fn merged(all: &[Self]) -> Self {
        Self {
            doubled: all.iter().map(|one| one.doubled).sum(),
            misrouted: all.iter().map(|one| one.misrouted).sum(),
            returned: all.iter().map(|one| one.returned).sum(),
            latency: Times::merged(all.iter().map(|one| &one.latency)),
        }
    }
}

/// What came of messages between users picked at random.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Random {
    /// For so long messages were sent.
    pub seconds: f64,
    /// Messages sent.
    pub sent: u64,
    /// Messages that arrived, each counted once.
    pub received: u64,
    /// Messages that did not arrive.
    pub lost: u64,
    /// How the others arrived.
    #[serde(flatten)]
    pub arrivals: Arrivals,
}

/// Microseconds of the machine's clock, which is the same for all processes.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let micros = time.tv_sec * 1_000_000 + time.tv_nsec / 1000;
    u64::try_from(micros).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_read_as_it_was_written() {
        let letter = Letter {
            to: 5,
            process: 4,
            number: 3,
            sent_at: 2,
        };
        let message = letter.message("user5@localhost");
        let body = message
            .split_once("<body>")
            .unwrap()
            .1
            .split_once('<')
            .unwrap()
            .0;
        assert_eq!(Letter::of(body), Some(letter));
        for other in ["", "1 2", "1 2 3", "1 2 3 4 5", "1 2 3 x"] {
            assert_eq!(Letter::of(other), None, "{other}");
        }
    }

    #[test]
    fn ranges_have_a_user_at_each_place() {
        let ranges: Ranges = "10+2,40+1".parse().unwrap();
        assert_eq!(ranges.to_string(), "10+2,40+1");
        let users: Vec<_> = (0..4).map(|place| ranges.get(place)).collect();
        assert_eq!(users, [Some(10), Some(11), Some(40), None]);
        assert_eq!((ranges.len(), Ranges::default().get(0)), (3, None));
        for text in ["", "1", "1+", "1+2,", "1-2"] {
            assert!(text.parse::<Ranges>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_message_counts_once_and_at_its_receiver_alone() {
        let (sender, receiver) = (RandomTraffic::default(), RandomTraffic::default());
        assert_eq!(sender.next(7, |_| 0), None);
        sender.begin("100+2".parse().unwrap());
        let letter = sender.next(7, |users| users - 1).unwrap();
        assert_eq!((letter.to, letter.number), (101, 0));
        assert!(!receiver.arrived(100, letter));
        assert!(receiver.arrived(101, letter));
        assert!(!receiver.arrived(101, letter));
        assert!(receiver.arrived(
            101,
            Letter {
                process: 8,
                ..letter
            }
        ));
        receiver.came_back();
        let arrivals = receiver.take_arrivals();
        let counts = (arrivals.doubled, arrivals.misrouted, arrivals.returned);
        assert_eq!((counts, arrivals.latency.count), ((1, 1, 1), 2));
        assert_eq!(receiver.take_arrivals().latency.count, 0);
    }
}
