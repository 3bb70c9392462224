//! The end of the program, step by step.
//!
//! On SIGTERM it drains: all clients are told at once, and have `shutdown_timeout` for what is due to them. On SIGUSR1,
//! when another program has its place, it leaves: it accepts nobody any more, and its clients are let go group by
//! group over `close_spread`, so that they don't all come back at once. Then what is left of it drains.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// In how many groups clients are let go.
pub const GROUPS: usize = 64;

/// Whether new clients are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// They are.
    Open,
    /// Another program accepts them.
    HandedOver,
    /// They aren't: the program ends.
    Closed,
}

/// How far the end of the program has come for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It is served.
    Serving,
    /// Answers that are due are finished; nothing new is taken.
    Draining,
    /// Time is up: everything is closed at once.
    Ended,
}

/// Whether clients are accepted, and the phases of those that were.
#[derive(Debug)]
pub struct Phases {
    admission: watch::Sender<Admission>,
    groups: Vec<watch::Sender<Phase>>,
    last: watch::Sender<Phase>,
    next: AtomicUsize,
}

impl Default for Phases {
    fn default() -> Self {
        let sender = || watch::Sender::new(Phase::Serving);
        Self {
            admission: watch::Sender::new(Admission::Open),
            groups: (0..GROUPS).map(|_| sender()).collect(),
            last: sender(),
            next: AtomicUsize::new(0),
        }
    }
}

impl Phases {
    /// Whether clients are accepted.
    #[must_use]
    pub fn admission(&self) -> watch::Receiver<Admission> {
        self.admission.subscribe()
    }

    /// The phase of the next client, in the group whose turn it is.
    #[must_use]
    pub fn client(&self) -> watch::Receiver<Phase> {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % GROUPS;
        self.groups.get(next).unwrap_or(&self.last).subscribe()
    }

    /// The phase of what ends with the last group: connections that are not one client's alone.
    #[must_use]
    pub fn last(&self) -> watch::Receiver<Phase> {
        self.last.subscribe()
    }

    /// Another program accepts clients from now on.
    pub fn hand_over(&self) {
        self.admission.send_replace(Admission::HandedOver);
    }

    /// Lets the clients of a group go, from 0 to [`GROUPS`].
    pub fn let_go(&self, group: usize) {
        if let Some(group) = self.groups.get(group) {
            group.send_replace(Phase::Draining);
        }
    }

    /// No client is accepted any more, and all have this phase.
    pub fn end(&self, phase: Phase) {
        self.admission.send_replace(Admission::Closed);
        for sender in self.groups.iter().chain([&self.last]) {
            sender.send_replace(phase);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_go_group_by_group_and_then_all() {
        let phases = Phases::default();
        let clients: Vec<_> = (0..3 * GROUPS).map(|_| phases.client()).collect();
        let gone = || {
            let gone = clients.iter();
            gone.filter(|it| *it.borrow() == Phase::Draining).count()
        };
        let (admission, last) = (phases.admission(), phases.last());
        phases.hand_over();
        assert_eq!(*admission.borrow(), Admission::HandedOver);
        for group in 0..GROUPS {
            assert_eq!(gone(), 3 * group);
            phases.let_go(group);
        }
        assert_eq!(gone(), clients.len());
        assert_eq!(*last.borrow(), Phase::Serving);
        phases.end(Phase::Ended);
        assert_eq!(*admission.borrow(), Admission::Closed);
        let mut all = clients.iter().chain([&last]);
        assert!(all.all(|it| *it.borrow() == Phase::Ended));
    }
}
