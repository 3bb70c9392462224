//! Sessions that leave their trunk for another one: which may move now, and where they may go.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Sessions are to move to other trunks.
#[derive(Debug)]
pub struct Leaving {
    goal: Goal,
    /// A permit for each session that may be on its way, in all trunks together.
    places: Arc<Semaphore>,
    times: Arc<MoveTimes>,
    state: Mutex<State>,
}

/// How long moves took that have ended.
#[derive(Debug, Default)]
pub struct MoveTimes(Mutex<(u32, Duration)>);

impl MoveTimes {
    fn add(&self, time: Duration) {
        let mut times = self.0.lock();
        times.0 = times.0.saturating_add(1);
        times.1 = times.1.saturating_add(time);
    }

    /// How many moves have ended since this was last asked, and the time that they took in all.
    pub fn take(&self) -> (u32, Duration) {
        std::mem::take(&mut self.0.lock())
    }
}

/// Where sessions that leave may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// To any trunk that takes them.
    Anywhere,
    /// To a node that has fewer than its share.
    Balance,
}

#[derive(Debug)]
struct State {
    /// Each session tries once per round.
    round: u8,
    /// How many are to leave.
    quota: u64,
    on_their_way: OnTheirWay,
    moved: u64,
    failed: u64,
    failed_in_a_row: u64,
}

/// The sessions that have begun to move.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OnTheirWay {
    /// All of them; each is still counted at its old trunk until it has moved.
    pub all: u64,
    /// Those that already have a connection in another trunk.
    pub arrived: u64,
}

/// A session's permission to move. Dropping it makes room for another one.
#[derive(Debug)]
pub struct Passage {
    leaving: Arc<Leaving>,
    began: Instant,
    has_arrived: bool,
    has_moved: bool,
    _place: OwnedSemaphorePermit,
}

impl Leaving {
    /// `quota` sessions are to leave, as many at once as there are places. `round` is not 0, and differs from that of the
    /// last time, which sessions remember.
    pub fn new(
        places: &Arc<Semaphore>,
        times: Arc<MoveTimes>,
        goal: Goal,
        quota: u64,
        round: u8,
    ) -> Self {
        Self {
            goal,
            places: Arc::clone(places),
            times,
            state: Mutex::new(State {
                round,
                quota,
                on_their_way: OnTheirWay::default(),
                moved: 0,
                failed: 0,
                failed_in_a_row: 0,
            }),
        }
    }

    /// Permission for a session that last tried in the round `tried`, which becomes the current one; `None` if it is
    /// not its turn.
    pub fn begin(self: &Arc<Self>, tried: &mut u8) -> Option<Passage> {
        let mut state = self.state.lock();
        if *tried == state.round || state.quota == 0 {
            return None;
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        state.quota -= 1;
        state.on_their_way.all += 1;
        *tried = state.round;
        Some(Passage {
            leaving: Arc::clone(self),
            began: Instant::now(),
            has_arrived: false,
            has_moved: false,
            _place: place,
        })
    }

    /// How many more may be on their way now.
    pub fn room(&self) -> usize {
        let quota = usize::try_from(self.state.lock().quota).unwrap_or(usize::MAX);
        self.places.available_permits().min(quota)
    }

    /// None begins to leave until the [quota](Self::set_quota) is known anew. Gives those that have begun.
    pub fn pause(&self) -> OnTheirWay {
        let mut state = self.state.lock();
        state.quota = 0;
        state.on_their_way
    }

    /// From now on so many more are to leave.
    pub fn set_quota(&self, quota: u64) {
        self.state.lock().quota = quota;
    }

    /// How many are to leave, or have begun to.
    pub fn left(&self) -> u64 {
        let state = self.state.lock();
        state.quota.saturating_add(state.on_their_way.all)
    }

    /// Sessions that could not move may try again.
    pub fn next_round(&self) {
        let mut state = self.state.lock();
        state.round = state.round.checked_add(1).unwrap_or(1);
    }

    /// How many have moved.
    pub fn moved(&self) -> u64 {
        self.state.lock().moved
    }

    /// How many attempts to move have failed.
    pub fn failed(&self) -> u64 {
        self.state.lock().failed
    }

    /// How many could not since one has moved.
    pub fn failed_in_a_row(&self) -> u64 {
        self.state.lock().failed_in_a_row
    }
}

impl Passage {
    /// Where it may go.
    pub fn goal(&self) -> Goal {
        self.leaving.goal
    }

    /// The round that it is now. A session that takes long may have begun to move in an earlier one.
    pub fn round(&self) -> u8 {
        self.leaving.state.lock().round
    }

    /// The session has a connection in another trunk.
    pub fn arrived(&mut self) {
        if !std::mem::replace(&mut self.has_arrived, true) {
            self.leaving.state.lock().on_their_way.arrived += 1;
        }
    }

    /// The session has moved.
    pub fn moved(mut self) {
        self.has_moved = true;
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        let mut state = self.leaving.state.lock();
        state.on_their_way.all -= 1;
        state.on_their_way.arrived -= u64::from(self.has_arrived);
        if self.has_moved {
            self.leaving.times.add(self.began.elapsed());
            state.moved += 1;
            state.failed_in_a_row = 0;
        } else {
            state.failed += 1;
            state.failed_in_a_row += 1;
            state.quota = state.quota.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaving(places: usize, quota: u64) -> Arc<Leaving> {
        let places = Arc::new(Semaphore::new(places));
        Arc::new(Leaving::new(
            &places,
            Arc::default(),
            Goal::Anywhere,
            quota,
            1,
        ))
    }

    #[test]
    fn so_many_move_at_once_and_each_tries_once_per_round() {
        let leaving = leaving(2, u64::MAX);
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
        let leaving = leaving(9, 1);
        let first = leaving.begin(&mut 0).unwrap();
        assert!(leaving.begin(&mut 0).is_none() && leaving.room() == 0);
        // It stays, so another one may have to go.
        drop(first);
        leaving.begin(&mut 0).unwrap().moved();
        assert!(leaving.begin(&mut 0).is_none() && leaving.room() == 0);
    }

    #[test]
    fn those_on_their_way_are_counted_until_it_is_decided() {
        let leaving = leaving(9, 5);
        let on_their_way = |all, arrived| OnTheirWay { all, arrived };
        let (mut one, two) = (
            leaving.begin(&mut 0).unwrap(),
            leaving.begin(&mut 0).unwrap(),
        );
        one.arrived();
        one.arrived();
        assert_eq!(leaving.left(), 5);
        assert_eq!(leaving.pause(), on_their_way(2, 1));
        assert!(leaving.begin(&mut 0).is_none());
        one.moved();
        drop(two);
        assert_eq!(leaving.pause(), on_their_way(0, 0));
        assert_eq!(leaving.failed_in_a_row(), 1);
        leaving.set_quota(1);
        leaving.begin(&mut 0).unwrap().moved();
        assert_eq!((leaving.left(), leaving.failed_in_a_row()), (0, 0));
    }

    #[test]
    fn rounds_begin_anew_and_are_never_that_of_one_that_did_not_try() {
        let leaving = leaving(1, u64::MAX);
        for _ in 0..600 {
            leaving.next_round();
            assert!(leaving.begin(&mut 0).is_some());
        }
    }
}
