//! Whether a node is well enough for new sessions, judged by what it answers in time. It reads no clock.
//!
//! ```text
//!   well ──a trunk's ping unanswered, logins unanswered──> ejected
//!     ^                                                      │ for a random time, longer each time,
//!     └────────────────────── it answers ────────────────────┘ and until its pings are answered
//! ```

use std::time::Duration;

use tokio::time::Instant;

/// When a node is ejected, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How long a ping may go unanswered.
    pub ping_timeout: Duration,
    /// How many logins in a row may go unanswered; 0 for any number.
    pub eject_after: u64,
    /// The longest that a first ejection lasts.
    pub eject_min: Duration,
    /// The longest that any lasts.
    pub eject_max: Duration,
}

/// Why a node is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its trunks are silent.
    Silent,
    /// Its logins are not answered.
    Logins,
}

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It gets nothing new for at least this long.
    Ejected(Reason, Duration),
    /// It is used again.
    Returned,
}

/// The health of one node.
#[derive(Debug, Default)]
pub struct Health {
    ejected: Option<Ejected>,
    /// Logins in a row that were not answered in time.
    unanswered: u64,
    /// Ejections that followed one another.
    ejections: u32,
    returned: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Ejected {
    reason: Reason,
    until: Instant,
}

impl Health {
    /// Why it is ejected, if it is.
    pub fn ejected(&self) -> Option<Reason> {
        self.ejected.map(|ejected| ejected.reason)
    }

    /// A login succeeded or failed: ejabberd answers.
    pub const fn login_answered(&mut self) {
        self.unanswered = 0;
    }

    /// A login was not answered in time. `random` is from 0 to 1.
    pub fn login_unanswered(&mut self, now: Instant, rules: &Rules, random: f64) -> Option<Change> {
        self.unanswered = self.unanswered.saturating_add(1);
        let too_many = rules.eject_after > 0 && self.unanswered >= rules.eject_after;
        if self.ejected.is_some() || !too_many {
            return None;
        }
        Some(self.eject(Reason::Logins, now, rules, random))
    }

    /// Checks whether anything is due. `silence` is how long a ping has gone unanswered on its trunks.
    pub fn look(
        &mut self,
        silence: Duration,
        now: Instant,
        rules: &Rules,
        random: f64,
    ) -> Option<Change> {
        let is_silent = silence >= rules.ping_timeout;
        match self.ejected {
            None if is_silent => Some(self.eject(Reason::Silent, now, rules, random)),
            Some(ejected) if !is_silent && now >= ejected.until => {
                self.ejected = None;
                self.unanswered = 0;
                self.returned = Some(now);
                Some(Change::Returned)
            }
            _ => None,
        }
    }

    fn eject(&mut self, reason: Reason, now: Instant, rules: &Rules, random: f64) -> Change {
        let well_for = self
            .returned
            .map(|returned| now.saturating_duration_since(returned));
        if well_for.is_none_or(|well_for| well_for > rules.eject_max) {
            self.ejections = 0;
        }
        let doubled = 2_u32
            .checked_pow(self.ejections)
            .and_then(|factor| rules.eject_min.checked_mul(factor));
        let bound = doubled.map_or(rules.eject_max, |bound| bound.min(rules.eject_max));
        // At least half, or it would be back at once; and at random, so that not all ECMs return at the same moment.
        let time = bound.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        self.ejections = self.ejections.saturating_add(1);
        self.ejected = Some(Ejected {
            reason,
            until: now + time,
        });
        Change::Ejected(reason, time)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rules() -> Rules {
        Rules {
            ping_timeout: 5 * SECOND,
            eject_after: 3,
            eject_min: 10 * SECOND,
            eject_max: 60 * SECOND,
        }
    }

    #[test]
    fn a_silent_node_is_ejected_and_returns_once_it_answers_and_its_time_is_over() {
        let (mut health, rules, start) = (Health::default(), rules(), Instant::now());
        assert_eq!(health.look(4 * SECOND, start, &rules, 1.0), None);
        let ejected = health.look(5 * SECOND, start, &rules, 1.0);
        assert_eq!(ejected, Some(Change::Ejected(Reason::Silent, 10 * SECOND)));
        assert_eq!(health.ejected(), Some(Reason::Silent));
        // It answers, but too early; then it does not.
        assert_eq!(
            health.look(Duration::ZERO, start + 9 * SECOND, &rules, 1.0),
            None
        );
        assert_eq!(
            health.look(5 * SECOND, start + 11 * SECOND, &rules, 1.0),
            None
        );
        let returned = health.look(Duration::ZERO, start + 12 * SECOND, &rules, 1.0);
        assert_eq!((returned, health.ejected()), (Some(Change::Returned), None));
    }

    #[test]
    fn logins_count_in_a_row() {
        let (mut health, rules, now) = (Health::default(), rules(), Instant::now());
        for _ in 0..2 {
            assert_eq!(health.login_unanswered(now, &rules, 0.0), None);
        }
        health.login_answered();
        for _ in 0..2 {
            assert_eq!(health.login_unanswered(now, &rules, 0.0), None);
        }
        let ejected = Some(Change::Ejected(Reason::Logins, 5 * SECOND));
        assert_eq!(health.login_unanswered(now, &rules, 0.0), ejected);
        // Those that had begun before tell nothing new.
        assert_eq!(health.login_unanswered(now, &rules, 0.0), None);
        let none = Rules {
            eject_after: 0,
            ..rules
        };
        let mut health = Health::default();
        assert!((0..100).all(|_| health.login_unanswered(now, &none, 0.0).is_none()));
    }

    #[test]
    fn each_ejection_after_another_is_longer_until_it_was_well_for_long() {
        let (mut health, rules, mut now) = (Health::default(), rules(), Instant::now());
        for seconds in [10, 20, 40, 60, 60] {
            let ejected = health.look(5 * SECOND, now, &rules, 1.0);
            assert_eq!(
                ejected,
                Some(Change::Ejected(Reason::Silent, seconds * SECOND))
            );
            now += seconds * SECOND;
            assert_eq!(
                health.look(Duration::ZERO, now, &rules, 1.0),
                Some(Change::Returned)
            );
            now += SECOND;
        }
        now += rules.eject_max;
        let ejected = health.look(5 * SECOND, now, &rules, 1.0);
        assert_eq!(ejected, Some(Change::Ejected(Reason::Silent, 10 * SECOND)));
    }

    proptest! {
        /// Whatever happens: ejections and returns take turns, and each lasts from half its bound to all of it.
        #[test]
        fn ejections_are_within_their_bounds(
            steps in proptest::collection::vec((0_u8..3, 0_u64..30, 0.0..=1.0), 1..200),
        ) {
            let (mut health, rules, mut now) = (Health::default(), rules(), Instant::now());
            let mut left: Option<Instant> = None;
            for (what, seconds, random) in steps {
                now += Duration::from_secs(seconds);
                let change = match what {
                    0 => health.login_unanswered(now, &rules, random),
                    1 => health.look(5 * SECOND, now, &rules, random),
                    _ => health.look(Duration::ZERO, now, &rules, random),
                };
                match change {
                    Some(Change::Ejected(_, time)) => {
                        prop_assert!(left.is_none());
                        prop_assert!((5 * SECOND..=60 * SECOND).contains(&time));
                        left = Some(now + time);
                    }
                    Some(Change::Returned) => prop_assert!(left.take().is_some_and(|until| until <= now)),
                    None => {}
                }
                prop_assert_eq!(left.is_some(), health.ejected().is_some());
            }
        }
    }
}
