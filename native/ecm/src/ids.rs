//! Ids for connections, none of which is ever used twice.

use std::sync::atomic::{AtomicU64, Ordering};

use megaphone_trunk::v1::ConnectionId;

/// The part that counts: 2^40 connections, a million a second for twelve days at the least, and past
/// that it carries into the random part.
const COUNTER_BITS: u32 = 40;

/// Gives a fresh id to each connection: 60 random bits that this run of the program has for itself,
/// so that a restart does not meet ids which ejabberd still knows, then a counter.
#[derive(Debug)]
pub struct IdSource {
    run: u128,
    next: AtomicU64,
}

impl IdSource {
    /// A source for one run of the program.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn new() -> Result<Self, getrandom::Error> {
        Ok(Self::starting_at(getrandom::u64()?, 0))
    }

    fn starting_at(run: u64, next: u64) -> Self {
        Self {
            run: u128::from(run) << COUNTER_BITS,
            next: AtomicU64::new(next),
        }
    }

    /// An id that was not given before.
    pub fn next(&self) -> ConnectionId {
        let number = self
            .run
            .wrapping_add(u128::from(self.next.fetch_add(1, Ordering::Relaxed)));
        ConnectionId::from_number(number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_differ_and_share_their_run() {
        let source = IdSource::starting_at(0x0123_4567_89ab_cdef, 0);
        let ids: HashSet<_> = (0..10_000).map(|_| source.next()).collect();
        assert_eq!(ids.len(), 10_000);
        let runs: HashSet<_> = ids.iter().map(|id| id.as_str()[..12].to_owned()).collect();
        assert_eq!(runs.len(), 1, "{runs:?}");
    }

    #[test]
    fn a_full_counter_carries_instead_of_starting_again() {
        let source = IdSource::starting_at(7, (1 << COUNTER_BITS) - 1);
        assert_eq!(source.next().as_str(), "000000000007vvvvvvvv");
        assert_eq!(source.next().as_str(), "00000000000800000000");
    }

    #[test]
    fn two_runs_share_nothing() {
        let (one, other) = (IdSource::new().unwrap(), IdSource::new().unwrap());
        assert_ne!(one.next().as_str()[..12], other.next().as_str()[..12]);
    }
}
