//! What happened: who is online, which messages arrived, how long it took.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use crate::stanza::Note;

/// Different errors that are kept by their text.
const MAX_ERRORS: usize = 20;

/// All that is counted in one process. A message that is lost or doubled is an error, so each one is
/// counted by its number.
#[derive(Debug)]
pub struct Ledger {
    started: Instant,
    messages: Box<[Messages]>,
    online: AtomicU64,
    logins: AtomicU64,
    failed_logins: AtomicU64,
    broken: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    doubled: AtomicU64,
    reordered: AtomicU64,
    resumed: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
    login_times: Mutex<Histogram<u64>>,
    latencies: Mutex<Histogram<u64>>,
}

/// The messages of one user to its partner.
#[derive(Debug, Default)]
struct Messages {
    /// How many were sent: the number of the next one.
    sent: AtomicU32,
    /// Those that arrived, if they came in order: the number that is due.
    due: AtomicU32,
    /// Those that were passed over by a later one, and did not come since.
    missing: Mutex<Vec<u32>>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Users online.
    pub online: u64,
    /// Logins that succeeded.
    pub logins: u64,
    /// Logins that did not.
    pub failed_logins: u64,
    /// Connections that were lost after the login.
    pub broken: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages that arrived, each counted once.
    pub received: u64,
    /// Messages that arrived again.
    pub doubled: u64,
    /// Messages that arrived after a later one.
    pub reordered: u64,
    /// Streams that were resumed (XEP-0198), each a login too.
    pub resumed: u64,
}

impl Ledger {
    /// Of so many users, to whom nothing has happened.
    pub fn new(users: usize) -> Self {
        Self {
            started: Instant::now(),
            messages: (0..users).map(|_| Messages::default()).collect(),
            online: AtomicU64::new(0),
            logins: AtomicU64::new(0),
            failed_logins: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            doubled: AtomicU64::new(0),
            reordered: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            errors: Mutex::default(),
            login_times: Mutex::new(microseconds()),
            latencies: Mutex::new(microseconds()),
        }
    }

    /// A login succeeded.
    pub fn logged_in(&self, took: Duration) {
        self.logins.fetch_add(1, Relaxed);
        self.online.fetch_add(1, Relaxed);
        self.login_times.lock().saturating_record(micros(took));
    }

    /// The login of a user is to resume its stream.
    pub fn resumed(&self) {
        self.resumed.fetch_add(1, Relaxed);
    }

    /// A login failed.
    pub fn login_failed(&self, reason: &str) {
        self.failed_logins.fetch_add(1, Relaxed);
        self.count_error(reason);
    }

    /// A user who was online left in order.
    pub fn left(&self) {
        self.online.fetch_sub(1, Relaxed);
    }

    /// The connection of a user who was online was lost.
    pub fn broke(&self, reason: &str) {
        self.online.fetch_sub(1, Relaxed);
        self.broken.fetch_add(1, Relaxed);
        self.count_error(reason);
    }

    fn count_error(&self, reason: &str) {
        let mut errors = self.errors.lock();
        let key = if errors.contains_key(reason) || errors.len() < MAX_ERRORS {
            reason
        } else {
            "others"
        };
        *errors.entry(key.to_owned()).or_default() += 1;
    }

    /// The note of the next message of a user, which counts as sent.
    pub fn next_note(&self, from: usize) -> Note {
        self.sent.fetch_add(1, Relaxed);
        Note {
            number: self.messages[from].sent.fetch_add(1, Relaxed),
            sent_at: self.now(),
        }
    }

    /// A message of `from` arrived. Only its partner calls this.
    pub fn arrived(&self, from: usize, note: Note) {
        let messages = &self.messages[from];
        let due = messages.due.load(Relaxed);
        if note.number < due {
            let mut missing = messages.missing.lock();
            match missing.iter().position(|number| *number == note.number) {
                Some(at) => {
                    missing.swap_remove(at);
                    self.reordered.fetch_add(1, Relaxed);
                }
                None => {
                    self.doubled.fetch_add(1, Relaxed);
                    return;
                }
            }
        } else {
            if note.number > due {
                messages.missing.lock().extend(due..note.number);
            }
            messages.due.store(note.number + 1, Relaxed);
        }
        self.received.fetch_add(1, Relaxed);
        let took = self.now().saturating_sub(note.sent_at);
        self.latencies.lock().saturating_record(took);
    }

    fn now(&self) -> u64 {
        micros(self.started.elapsed())
    }

    /// The counters now.
    pub fn counts(&self) -> Counts {
        Counts {
            online: self.online.load(Relaxed),
            logins: self.logins.load(Relaxed),
            failed_logins: self.failed_logins.load(Relaxed),
            broken: self.broken.load(Relaxed),
            sent: self.sent.load(Relaxed),
            received: self.received.load(Relaxed),
            doubled: self.doubled.load(Relaxed),
            reordered: self.reordered.load(Relaxed),
            resumed: self.resumed.load(Relaxed),
        }
    }

    /// The errors by their text.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().clone()
    }

    /// How long the logins took, in microseconds.
    pub fn login_times(&self) -> Histogram<u64> {
        self.login_times.lock().clone()
    }

    /// How long messages took since the last call, in microseconds.
    pub fn take_latencies(&self) -> Histogram<u64> {
        std::mem::replace(&mut *self.latencies.lock(), microseconds())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// From a microsecond to an hour, to a thousandth.
///
/// # Panics
/// Never: the library takes any highest value of 2 or more and up to five digits.
#[allow(clippy::expect_used)]
pub fn microseconds() -> Histogram<u64> {
    Histogram::new_with_max(3_600_000_000, 3).expect("an hour and three digits are a histogram")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(number: u32) -> Note {
        Note { number, sent_at: 0 }
    }

    #[test]
    fn each_message_counts_once_in_whatever_order() {
        let ledger = Ledger::new(2);
        for expected in 0..5 {
            assert_eq!(ledger.next_note(0).number, expected);
        }
        for number in [0, 2, 2, 1, 1, 4, 0] {
            ledger.arrived(0, note(number));
        }
        let counts = ledger.counts();
        assert_eq!((counts.sent, counts.received, counts.doubled), (5, 4, 3));
        assert_eq!(counts.reordered, 1);
        assert_eq!(ledger.take_latencies().len(), 4);
        assert_eq!(ledger.take_latencies().len(), 0);
    }

    #[test]
    fn errors_are_counted_by_their_text_and_not_without_end() {
        let ledger = Ledger::new(0);
        for number in 0..100 {
            ledger.login_failed(&format!("reason {number}"));
            ledger.login_failed("the same");
        }
        let errors = ledger.errors();
        assert!(errors.len() <= MAX_ERRORS + 1);
        assert_eq!(errors.values().sum::<u64>(), 200);
        assert_eq!(ledger.counts().failed_logins, 200);
    }
}
