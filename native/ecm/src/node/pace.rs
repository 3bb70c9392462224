//! How many logins a node has at once, adapted to how fast it answers them. It reads no clock.
//!
//! It measures how long ejabberd takes for a whole login, without the client's own time. While that is short, more
//! logins may run at once. If it is long, and more than twice as long as for a few at once, they wait for each other,
//! in ejabberd or in its database, and fewer may begin. So a storm of logins uses what the node can do and no more,
//! and nobody has to configure how much that is.
//!
//! ```text
//!   a window: at least 100 ms, and 8 logins
//!   mean > 0.5 s and > 2 × least   limit × 0.7, but not below 8
//!   else, if the limit was reached limit × 1.1
//!                                  × 2 until it was too high for the first time, while mean < 0.125 s or < 1.5 × least
//!   at 8                           least follows the mean, even upwards
//! ```
//!
//! Once the limit was raised, logins whose slowest step began before that say nothing of it, and do not count. After it
//! was cut all do: while ejabberd is overwhelmed, who is online suffers too, and each window cuts the limit again.

use std::time::Duration;

use tokio::time::Instant;

/// The limit never falls below this: so few logins don't slow each other down by their number.
const FLOOR: usize = 8;
/// The first limit.
const START: usize = 16;
const WINDOW: Duration = Duration::from_millis(100);
const WINDOW_LOGINS: u32 = 8;
/// How many times as long a login may take as when only a few run at once.
const TOLERANCE: f64 = 2.0;
/// A login that takes no longer than this (seconds) is never too slow: no client notices, and fewer at once would only
/// leave ejabberd idle while clients have to say something.
const PROMPT: f64 = 0.5;
const LESS: f64 = 0.7;
const MORE: f64 = 1.1;
const MORE_AT_FIRST: f64 = 2.0;
/// Twice as many may take four times as long, where they do not take as long as few.
const PROMPT_AT_FIRST: f64 = PROMPT / 4.0;
const TOLERANCE_AT_FIRST: f64 = 1.5;
/// How much a window at the floor counts against those before it.
const SMOOTHING: f64 = 0.3;

/// How many logins one node may have at once.
#[derive(Debug)]
pub struct Pace {
    most: usize,
    limit: f64,
    /// The limit was never too high yet.
    is_new: bool,
    /// How long a login takes when only a few run, in seconds.
    least: Option<f64>,
    /// When the limit was raised last.
    raised: Option<Instant>,
    window: Window,
}

#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    logins: u32,
    seconds: f64,
    all_used: bool,
}

impl Pace {
    /// Never more than `at_once`; 0 for any number, however long they take.
    pub fn new(at_once: u64) -> Self {
        let mut pace = Self {
            most: 0,
            limit: START as f64,
            is_new: true,
            least: None,
            raised: None,
            window: Window::default(),
        };
        pace.set_at_once(at_once);
        pace
    }

    /// From now on never more than `at_once`.
    pub fn set_at_once(&mut self, at_once: u64) {
        self.most = most(at_once);
        self.limit = self.limit.clamp(self.floor(), self.most as f64);
    }

    /// How many may run now.
    pub fn limit(&self) -> usize {
        match self.most {
            usize::MAX => usize::MAX,
            most => (self.limit as usize).min(most),
        }
    }

    /// The limit is reached, and holds others up.
    pub const fn is_used_up(&mut self) {
        self.window.all_used = true;
    }

    /// A login is done, or given up, and ejabberd took this long for it; it was asked for the slowest step `since` then.
    /// Returns whether the limit has changed.
    pub fn took(&mut self, time: Duration, since: Instant, now: Instant) -> bool {
        if self.raised.is_some_and(|raised| since < raised) {
            return false;
        }
        let window = &mut self.window;
        let began = *window.since.get_or_insert(now);
        window.logins += 1;
        window.seconds += time.as_secs_f64();
        let is_over =
            window.logins >= WINDOW_LOGINS && now.saturating_duration_since(began) >= WINDOW;
        if !is_over {
            return false;
        }
        let mean = window.seconds / f64::from(window.logins);
        let all_used = window.all_used;
        let before = self.limit();
        self.window = Window::default();
        self.adapt(mean, all_used);
        if self.limit() > before {
            self.raised = Some(now);
        }
        self.limit() != before
    }

    fn adapt(&mut self, mean: f64, all_used: bool) {
        let floor = self.floor();
        let at_floor = self.limit <= floor;
        let least = match self.least {
            Some(least) if at_floor => least + SMOOTHING * (mean - least),
            Some(least) => least.min(mean),
            None => mean,
        };
        self.least = Some(least);
        if mean > PROMPT.max(TOLERANCE * least) {
            self.limit = (self.limit * LESS).max(floor);
            self.is_new = false;
        } else if all_used {
            let is_quick = mean < PROMPT_AT_FIRST.max(TOLERANCE_AT_FIRST * least);
            let more = if self.is_new && is_quick {
                MORE_AT_FIRST
            } else {
                MORE
            };
            let limit = (self.limit * more).max(self.limit + 1.0);
            // A limit that is never reached does not grow on and on.
            self.limit = limit.min(self.most as f64);
        }
    }

    fn floor(&self) -> f64 {
        FLOOR.min(self.most) as f64
    }
}

fn most(at_once: u64) -> usize {
    match at_once {
        0 => usize::MAX,
        most => usize::try_from(most).unwrap_or(usize::MAX),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A server that does so many logins at once without delay, each in a time; more wait for each other.
    fn run(pace: &mut Pace, now: &mut Instant, at_once: f64, time: Duration, windows: usize) {
        for _ in 0..windows {
            let limit = pace.limit() as f64;
            let took = time.mul_f64((limit / at_once).max(1.0));
            let since = *now;
            *now += took;
            for _ in 0..WINDOW_LOGINS {
                pace.is_used_up();
                pace.took(took, since, *now);
                *now += WINDOW / (WINDOW_LOGINS - 2);
            }
        }
    }

    #[test]
    fn what_is_prompt_is_never_too_slow() {
        let (mut pace, mut now) = (Pace::new(200), Instant::now());
        run(&mut pace, &mut now, 2.0, Duration::from_millis(4), 30);
        assert_eq!(pace.limit(), 200);
    }

    #[test]
    fn it_finds_what_a_server_can_do_and_stays_near_it() {
        let (mut pace, mut now) = (Pace::new(1000), Instant::now());
        run(&mut pace, &mut now, 50.0, Duration::from_millis(400), 20);
        for _ in 0..50 {
            run(&mut pace, &mut now, 50.0, Duration::from_millis(400), 1);
            // Twice what it does without delay is where they take twice as long.
            assert!((50..=150).contains(&pace.limit()), "{}", pace.limit());
        }
    }

    #[test]
    fn a_server_that_does_all_at_once_gets_all() {
        let (mut pace, mut now) = (Pace::new(200), Instant::now());
        run(&mut pace, &mut now, 1e9, Duration::from_millis(300), 6);
        assert_eq!(pace.limit(), 200);
    }

    #[test]
    fn a_server_that_slows_down_gets_less_and_more_again_once_it_is_fast() {
        let (mut pace, mut now) = (Pace::new(200), Instant::now());
        run(&mut pace, &mut now, 1e9, Duration::from_millis(400), 10);
        assert_eq!(pace.limit(), 200);
        run(&mut pace, &mut now, 4.0, Duration::from_millis(400), 20);
        assert!(pace.limit() <= 24, "{}", pace.limit());
        run(&mut pace, &mut now, 1e9, Duration::from_millis(400), 60);
        assert_eq!(pace.limit(), 200);
    }

    #[test]
    fn one_that_is_slow_for_good_is_not_held_to_what_it_was() {
        let (mut pace, mut now) = (Pace::new(200), Instant::now());
        run(&mut pace, &mut now, 1e9, Duration::from_millis(5), 10);
        // Each takes long, however few there are.
        run(&mut pace, &mut now, 1e9, Duration::from_millis(500), 100);
        assert_eq!(pace.limit(), 200);
    }

    #[test]
    fn it_is_not_raised_again_before_it_is_known_what_that_does() {
        let (mut pace, mut now) = (Pace::new(200), Instant::now());
        let time = Duration::from_millis(400);
        let mut limits = Vec::new();
        // A steady stream of logins that began 400 ms ago, each 10 ms after the other.
        for _ in 0..120 {
            now += Duration::from_millis(10);
            pace.is_used_up();
            pace.took(time, now - time, now);
            limits.push(pace.limit());
        }
        // The first window is over after 110 ms. Those that began after that end 400 ms later, and fill one in 100 ms.
        let changes: Vec<usize> = (1..limits.len())
            .filter(|at| limits[*at] != limits[at - 1])
            .collect();
        assert_eq!(changes, [10, 60, 110]);
        assert_eq!(limits[119], 128);
    }

    #[test]
    fn an_overwhelmed_server_gets_less_with_each_window() {
        let (mut pace, mut now) = (Pace::new(200), Instant::now());
        run(&mut pace, &mut now, 1e9, Duration::from_millis(20), 10);
        assert_eq!(pace.limit(), 200);
        // They began before the first cut.
        let start = now;
        for _ in 0..150 {
            now += Duration::from_millis(10);
            pace.took(Duration::from_secs(2), start, now);
        }
        assert_eq!(pace.limit(), FLOOR);
    }

    #[test]
    fn what_takes_longer_the_more_there_are_is_found_step_by_step() {
        let (mut pace, mut now) = (Pace::new(200), Instant::now());
        let mut most = 0;
        // A database that does eight at once, and the less the more ask it.
        for _ in 0..60 {
            let asked = pace.limit() as f64;
            let time = 0.02 * (asked / 8.0).max(1.0) * (1.0 + 0.02 * (asked - 8.0));
            run(&mut pace, &mut now, 1e9, Duration::from_secs_f64(time), 1);
            most = most.max(pace.limit());
        }
        assert!(most < 100, "{most}");
    }

    #[test]
    fn without_a_limit_nothing_is_held_up() {
        let (mut pace, mut now) = (Pace::new(0), Instant::now());
        assert_eq!(pace.limit(), usize::MAX);
        for seconds in [1, 10, 100] {
            for _ in 0..20 {
                pace.took(Duration::from_secs(seconds), now, now);
                now += WINDOW;
            }
        }
        assert_eq!(pace.limit(), usize::MAX);
        pace.set_at_once(3);
        assert_eq!(pace.limit(), 3);
    }

    proptest! {
        #[test]
        fn it_is_never_under_the_floor_nor_over_the_most(
            most in 1_u64..500,
            steps in proptest::collection::vec((0_u64..10_000, 0_u64..200, any::<bool>()), 1..400),
        ) {
            let (mut pace, mut now) = (Pace::new(most), Instant::now());
            let most = usize::try_from(most).unwrap();
            for (took, passes, used_up) in steps {
                if used_up {
                    pace.is_used_up();
                }
                now += Duration::from_millis(passes);
                let took = Duration::from_millis(took);
                pace.took(took, now - took, now);
                prop_assert!((FLOOR.min(most)..=most).contains(&pace.limit()));
            }
        }
    }
}
