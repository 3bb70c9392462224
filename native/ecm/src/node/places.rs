//! How many sessions may be on their way to other trunks at once, from all trunks together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::tempo::Tempo;
use crate::trunk::{Goal, Leaving, MoveTimes};

/// A place for each session that may be on its way.
#[derive(Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    /// How many there are, free or not.
    size: Mutex<usize>,
    tempo: Mutex<Tempo>,
    times: Arc<MoveTimes>,
    /// How many times sessions were told to leave, which tells their rounds apart.
    rounds: AtomicU8,
}

impl Places {
    /// At most this many places.
    pub fn new(at_once: u64) -> Self {
        let tempo = Tempo::new(to_places(at_once));
        let size = tempo.limit();
        Self {
            free: Arc::new(Semaphore::new(size)),
            size: Mutex::new(size),
            tempo: Mutex::new(tempo),
            times: Arc::default(),
            rounds: AtomicU8::new(1),
        }
    }

    /// Changes how many places there are at most. If more sessions are on their way already, they may finish.
    pub fn set_at_once(&self, at_once: u64) {
        let mut tempo = self.tempo.lock();
        tempo.set_most(to_places(at_once));
        self.resize(tempo.limit());
    }

    /// Has as many places as the moves that have ended since then allow.
    pub fn look(&self, now: Instant) {
        let mut tempo = self.tempo.lock();
        if self.free.available_permits() == 0 {
            tempo.is_used_up();
        }
        let (moves, time) = self.times.take();
        tempo.took(moves, time, now);
        self.resize(tempo.limit());
    }

    /// Lets `quota` sessions leave, using these places.
    pub fn leaving(&self, goal: Goal, quota: u64) -> Arc<Leaving> {
        // Sessions remember the last round in which they tried; 0 means none.
        let round = self.rounds.fetch_add(1, Relaxed).max(1);
        let times = Arc::clone(&self.times);
        Arc::new(Leaving::new(&self.free, times, goal, quota, round))
    }

    fn resize(&self, places: usize) {
        let mut size = self.size.lock();
        if places > *size {
            self.free.add_permits(places - *size);
            *size = places;
        } else {
            // Those that are taken go later.
            *size -= self.free.forget_permits(*size - places);
        }
    }
}

fn to_places(at_once: u64) -> usize {
    usize::try_from(at_once).map_or(Semaphore::MAX_PERMITS, |it| it.min(Semaphore::MAX_PERMITS))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn moves_that_take_long_leave_fewer_places() {
        let places = Places::new(200);
        let leaving = places.leaving(Goal::Anywhere, u64::MAX);
        let begin = || {
            let moves = std::iter::repeat_with(|| leaving.begin(&mut 0));
            moves.map_while(|it| it).collect::<Vec<_>>()
        };
        places.look(Instant::now());
        let mut counts = Vec::new();
        for seconds in [0.01, 0.01, 2.0, 2.0] {
            let moves = begin();
            counts.push(moves.len());
            places.look(Instant::now());
            advance(Duration::from_secs_f64(seconds)).await;
            moves.into_iter().for_each(|it| it.moved());
            places.look(Instant::now());
            advance(Duration::from_secs(1)).await;
            places.look(Instant::now());
        }
        assert_eq!(counts[0], 32);
        assert!(counts[1] > counts[0] && counts[3] < counts[2], "{counts:?}");
    }
}
