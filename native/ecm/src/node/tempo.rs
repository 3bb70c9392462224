//! How many sessions move at once, by how long their moves take. Sans-clock.
//!
//! What a client sends waits while its session moves. More moves at once than the nodes can do make all of them take
//! longer, and none of them end sooner. So fewer begin while a move takes longer than a client should notice, and more
//! while it does not and the limit is used up.

use std::time::Duration;

use tokio::time::Instant;

/// It begins with this many.
const START: usize = 32;
/// This many may always move.
const FLOOR: usize = 4;
/// A move should take no longer than this on average (seconds), so that hardly one takes a whole second.
const LONG: f64 = 0.25;
/// The mean is of at least so many moves, and over at least so long.
const WINDOW_MOVES: u32 = 16;
const WINDOW: Duration = Duration::from_millis(100);
const LESS: f64 = 0.7;
const MORE: f64 = 1.25;

/// The limit for the moves of all nodes.
#[derive(Debug)]
pub struct Tempo {
    most: usize,
    limit: f64,
    window: Window,
}

#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    moves: u32,
    seconds: f64,
    is_used_up: bool,
}

impl Tempo {
    /// Never more than this.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            limit: START.min(most) as f64,
            window: Window::default(),
        }
    }

    /// Changes how many there may be at most.
    pub fn set_most(&mut self, most: usize) {
        self.most = most;
        self.limit = self.limit.clamp(self.floor(), most as f64);
    }

    /// How many there may be now.
    pub fn limit(&self) -> usize {
        (self.limit as usize).min(self.most)
    }

    /// As many move as may.
    pub const fn is_used_up(&mut self) {
        self.window.is_used_up = true;
    }

    /// This many sessions have moved, which took this time in all.
    pub fn took(&mut self, moves: u32, time: Duration, now: Instant) {
        let window = &mut self.window;
        window.moves += moves;
        window.seconds += time.as_secs_f64();
        let since = *window.since.get_or_insert(now);
        let is_over =
            window.moves >= WINDOW_MOVES && now.saturating_duration_since(since) >= WINDOW;
        if !is_over {
            return;
        }
        let mean = window.seconds / f64::from(window.moves);
        let is_used_up = window.is_used_up;
        *window = Window::default();
        if mean > LONG {
            self.limit = (self.limit * LESS).max(self.floor());
        } else if is_used_up {
            self.limit = (self.limit * MORE + 1.0).min(self.most as f64);
        }
    }

    fn floor(&self) -> f64 {
        FLOOR.min(self.most) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes that do so many moves per second, however many are under way; and how many are after a while.
    fn settles_at(tempo: &mut Tempo, per_second: f64) -> usize {
        let mut now = Instant::now();
        for _ in 0..200 {
            let at_once = tempo.limit() as f64;
            // Each takes as long as all that are under way.
            let each = Duration::from_secs_f64(at_once / per_second);
            now += WINDOW;
            tempo.is_used_up();
            tempo.took(WINDOW_MOVES, each * WINDOW_MOVES, now);
            now += WINDOW;
            tempo.took(0, Duration::ZERO, now);
        }
        tempo.limit()
    }

    #[test]
    fn a_move_takes_no_longer_than_it_should_whatever_the_nodes_can_do() {
        for per_second in [100.0, 600.0] {
            let mut tempo = Tempo::new(10_000);
            let limit = settles_at(&mut tempo, per_second);
            let bound = LONG * per_second;
            assert!(
                (0.6 * bound..=1.4 * bound).contains(&(limit as f64)),
                "{limit}"
            );
        }
    }

    #[test]
    fn fast_nodes_get_all_that_may_be_and_more_again_once_they_are_fast() {
        let mut tempo = Tempo::new(200);
        assert_eq!(tempo.limit(), START);
        assert_eq!(settles_at(&mut tempo, 100_000.0), 200);
        assert!(settles_at(&mut tempo, 1.0) <= FLOOR);
        assert_eq!(settles_at(&mut tempo, 100_000.0), 200);
        tempo.set_most(2);
        assert_eq!(tempo.limit(), 2);
    }

    #[test]
    fn it_stays_where_fewer_move_than_may() {
        let (mut tempo, mut now) = (Tempo::new(200), Instant::now());
        for _ in 0..100 {
            now += WINDOW;
            tempo.took(WINDOW_MOVES, Duration::ZERO, now);
        }
        assert_eq!(tempo.limit(), START);
    }
}
