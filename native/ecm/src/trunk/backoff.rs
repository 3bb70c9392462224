//! How long to wait before connecting again.

use std::time::Duration;

/// Exponential backoff with full jitter: each wait is random between nothing and a bound, so that
/// many programs which lost the same ejabberd don't come back at the same moment, and the bound
/// doubles with each failure.
#[derive(Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// A backoff whose bound goes from `min` to `max`.
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            failures: 0,
        }
    }

    /// It worked: the next failure is the first again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// It failed: how long to wait.
    pub fn next_wait(&mut self) -> Duration {
        let bound = self.bound();
        self.failures = self.failures.saturating_add(1);
        // Without random numbers the waits are just not spread.
        getrandom::u32().map_or(bound, |random| {
            bound.mul_f64(f64::from(random) / f64::from(u32::MAX))
        })
    }

    fn bound(&self) -> Duration {
        let doubled = 2_u32
            .checked_pow(self.failures)
            .and_then(|factor| self.min.checked_mul(factor));
        doubled.map_or(self.max, |bound| bound.min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_most_and_starts_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for bound in [100, 200, 400, 800, 1_000, 1_000] {
            assert_eq!(backoff.bound(), Duration::from_millis(bound));
            assert!(backoff.next_wait() <= Duration::from_millis(bound));
        }
        for _ in 0..1_000 {
            assert!(backoff.next_wait() <= Duration::from_secs(1));
        }
        backoff.reset();
        assert_eq!(backoff.bound(), Duration::from_millis(100));
    }

    #[test]
    fn waits_are_spread_over_the_whole_bound() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, second);
        let waits: Vec<_> = (0..1_000).map(|_| backoff.next_wait()).collect();
        let early = waits.iter().filter(|wait| **wait < second / 2).count();
        // 500 are expected; one in 10^20 runs is outside of this.
        assert!(
            (350..650).contains(&early),
            "{early} of 1000 waits are in the first half"
        );
    }
}
