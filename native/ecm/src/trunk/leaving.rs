//! Sessions that leave their trunk for another one: how many may be on their way at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The sessions of a trunk are to move to others.
#[derive(Debug)]
pub struct Leaving {
    /// Of all sessions that move, in whichever trunk.
    places: Arc<Semaphore>,
    /// Each session tries once per round. They begin with 1.
    round: AtomicU8,
    /// How many are to leave.
    quota: AtomicU64,
    moved: AtomicU64,
    failed: AtomicU64,
}

/// A session's leave to move. Dropping it makes room for another one.
#[derive(Debug)]
pub struct Passage {
    leaving: Arc<Leaving>,
    has_moved: bool,
    _place: OwnedSemaphorePermit,
}

impl Leaving {
    /// So many are to leave, and as many at once as there are places.
    pub fn new(places: &Arc<Semaphore>, quota: u64) -> Self {
        Self {
            places: Arc::clone(places),
            round: AtomicU8::new(1),
            quota: AtomicU64::new(quota),
            moved: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Leave for a session that tried last in the round `tried`, which is then this one; `None` if it is not its
    /// turn.
    pub fn begin(self: &Arc<Self>, tried: &mut u8) -> Option<Passage> {
        let round = self.round.load(Relaxed);
        if *tried == round {
            return None;
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let one_less = |quota: u64| quota.checked_sub(1);
        self.quota.fetch_update(Relaxed, Relaxed, one_less).ok()?;
        *tried = round;
        Some(Passage {
            leaving: Arc::clone(self),
            has_moved: false,
            _place: place,
        })
    }

    /// How many more may be on their way now.
    pub fn room(&self) -> usize {
        let quota = usize::try_from(self.quota.load(Relaxed)).unwrap_or(usize::MAX);
        self.places.available_permits().min(quota)
    }

    /// Those that could not move may try again.
    pub fn next_round(&self) {
        let next = |round: u8| Some(round.checked_add(1).unwrap_or(1));
        let _ = self.round.fetch_update(Relaxed, Relaxed, next);
    }

    /// How many have moved.
    pub fn moved(&self) -> u64 {
        self.moved.load(Relaxed)
    }

    /// How often one could not.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }
}

impl Passage {
    /// The session has moved.
    pub fn moved(mut self) {
        self.has_moved = true;
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if self.has_moved {
            self.leaving.moved.fetch_add(1, Relaxed);
        } else {
            self.leaving.failed.fetch_add(1, Relaxed);
            let one_more = |quota: u64| Some(quota.saturating_add(1));
            let _ = self.leaving.quota.fetch_update(Relaxed, Relaxed, one_more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_move_at_once_and_each_tries_once_per_round() {
        let leaving = Arc::new(Leaving::new(&Arc::new(Semaphore::new(2)), u64::MAX));
        let [mut one, mut two, mut three] = [0; 3];
        let first = leaving.begin(&mut one).unwrap();
        let second = leaving.begin(&mut two).unwrap();
        assert!(leaving.begin(&mut three).is_none() && leaving.room() == 0);
        first.moved();
        drop(second);
        assert_eq!((leaving.moved(), leaving.failed()), (1, 1));
        assert!(leaving.begin(&mut two).is_none());
        assert!(leaving.begin(&mut three).is_some());
        leaving.next_round();
        assert!(leaving.begin(&mut two).is_some());
    }

    #[test]
    fn no_more_leave_than_are_to() {
        let leaving = Arc::new(Leaving::new(&Arc::new(Semaphore::new(9)), 1));
        let first = leaving.begin(&mut 0).unwrap();
        assert!(leaving.begin(&mut 0).is_none() && leaving.room() == 0);
        // It stays, so another one may have to go.
        drop(first);
        leaving.begin(&mut 0).unwrap().moved();
        assert!(leaving.begin(&mut 0).is_none() && leaving.room() == 0);
    }

    #[test]
    fn rounds_begin_anew_and_are_never_that_of_one_that_did_not_try() {
        let leaving = Arc::new(Leaving::new(&Arc::new(Semaphore::new(1)), u64::MAX));
        for _ in 0..600 {
            leaving.next_round();
            assert!(leaving.begin(&mut 0).is_some());
        }
    }
}
