//! What happened: who is online, which messages arrived, how long it took.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use crate::messages::{Arrival, Break, Messages, Outcome};
use crate::stanza::Note;

/// Different errors that are kept by their text.
const MAX_ERRORS: usize = 20;

/// All that is counted in one process. A message that is lost or doubled is an error, so each one is
/// counted by its number.
#[derive(Debug)]
pub struct Ledger {
    started: Instant,
    messages: Messages,
    online: AtomicU64,
    logins: AtomicU64,
    failed_logins: AtomicU64,
    broken: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    resumed: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
    login_times: Mutex<Histogram<u64>>,
    latencies: Mutex<Histogram<u64>>,
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
    /// Streams that were resumed (XEP-0198), each a login too.
    pub resumed: u64,
}

impl Ledger {
    /// Of so many users, to whom nothing has happened.
    pub fn new(users: usize) -> Self {
        Self {
            started: Instant::now(),
            messages: Messages::new(users),
            online: AtomicU64::new(0),
            logins: AtomicU64::new(0),
            failed_logins: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            errors: Mutex::default(),
            login_times: Mutex::new(microseconds()),
            latencies: Mutex::new(microseconds()),
        }
    }

    /// The login of a user succeeded, or it has resumed its stream.
    pub fn logged_in(&self, user: usize, took: Duration, is_resumed: bool) {
        self.messages.be_back(user, is_resumed, self.now());
        self.logins.fetch_add(1, Relaxed);
        self.resumed.fetch_add(u64::from(is_resumed), Relaxed);
        self.online.fetch_add(1, Relaxed);
        self.login_times.lock().saturating_record(micros(took));
    }

    /// A login failed.
    pub fn login_failed(&self, reason: &str) {
        self.failed_logins.fetch_add(1, Relaxed);
        self.count_error(reason);
    }

    /// The server can't resume a stream; its user goes on with a new one.
    pub fn not_resumed(&self, reason: &str) {
        self.count_error(reason);
    }

    /// A user who was online left in order.
    pub fn left(&self) {
        self.online.fetch_sub(1, Relaxed);
    }

    /// The connection of a user who was online was lost.
    pub fn broke(&self, user: usize, reason: &str) {
        self.messages.leave(user, self.now());
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
        let sent_at = self.now();
        Note {
            number: self.messages.send(from, sent_at),
            sent_at,
        }
    }

    /// A message to a user picked at random was sent; it is counted elsewhere which one.
    pub fn sent_at_random(&self) {
        self.sent.fetch_add(1, Relaxed);
    }

    /// A message to a user picked at random arrived, for the first time.
    pub fn arrived_at_random(&self) {
        self.received.fetch_add(1, Relaxed);
    }

    /// A message of `from` arrived. Only its partner calls this.
    pub fn arrived(&self, from: usize, note: Note) {
        if self.messages.arrive(from, note.number) == Arrival::Again {
            return;
        }
        self.received.fetch_add(1, Relaxed);
        let took = self.now().saturating_sub(note.sent_at);
        self.latencies.lock().saturating_record(took);
    }

    /// A message came back to its sender as an error.
    pub fn came_back(&self, from: usize, note: Note) {
        self.messages.come_back(from, note.number);
    }

    /// The last time that a user was away and came back.
    pub fn last_break(&self, user: usize) -> Option<Break> {
        self.messages.last_break(user)
    }

    /// What was wrong with messages since this was asked last.
    pub fn take_outcome(&self, partner: impl Fn(usize) -> usize) -> Outcome {
        self.messages.take_outcome(partner)
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

    #[test]
    fn a_message_that_comes_again_has_no_latency() {
        let ledger = Ledger::new(2);
        let note = ledger.next_note(0);
        ledger.arrived(0, note);
        ledger.arrived(0, note);
        let counts = ledger.counts();
        assert_eq!((counts.sent, counts.received), (1, 1));
        assert_eq!(ledger.take_latencies().len(), 1);
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
