//! Wakes sessions that are to leave, as many at a time as may be on their way; each then sees that its turn has come.

use std::time::Duration;

use tokio::time::Instant;

use crate::trunk::{Leaving, Link};

/// Sessions that could not move try again after the first of these, then after twice as long each time, up to the
/// second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Passes over the connections of some trunks, one after the other.
#[derive(Debug)]
pub struct Sweep {
    /// The trunk, and the place in it, of the next connections to wake; none between two passes.
    next: Option<(usize, usize)>,
    next_pass: Instant,
    next_round: Instant,
    retry: Duration,
    /// How many had moved at the end of the last pass.
    moved: u64,
    idle_passes: u32,
}

impl Sweep {
    /// Begins now.
    pub fn new(now: Instant) -> Self {
        Self {
            next: None,
            next_pass: now,
            next_round: now + RETRY.0,
            retry: RETRY.0,
            moved: 0,
            idle_passes: 0,
        }
    }

    /// Wakes the next ones in these trunks.
    pub fn go_on(&mut self, links: &[Link], leaving: &Leaving, now: Instant) {
        if now >= self.next_round {
            leaving.next_round();
            self.next_round = now + self.retry;
            self.retry = (2 * self.retry).min(RETRY.1);
        }
        if self.next.is_none() && now >= self.next_pass {
            self.next = Some((0, 0));
        }
        let room = leaving.room();
        let Some((trunk, place)) = self.next else {
            return;
        };
        if room == 0 {
            return;
        }
        let in_it = links.get(trunk).and_then(|it| it.wake_some(place, room));
        self.next = match in_it {
            Some(place) => Some((trunk, place)),
            None => (trunk + 1 < links.len()).then_some((trunk + 1, 0)),
        };
        if self.next.is_none() {
            self.pass_ends(leaving.moved(), now);
        }
    }

    /// How many passes in a row have ended without a session that moved.
    pub const fn idle_passes(&self) -> u32 {
        self.idle_passes
    }

    fn pass_ends(&mut self, moved: u64, now: Instant) {
        // The next pass follows at once only while sessions do move.
        if moved > self.moved {
            self.idle_passes = 0;
            self.next_pass = now;
        } else {
            self.idle_passes = self.idle_passes.saturating_add(1);
            self.next_pass = now + RETRY.0;
        }
        self.moved = moved;
    }
}
