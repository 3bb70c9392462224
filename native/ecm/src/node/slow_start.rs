//! The share of a node that came back grows over time, as its caches are cold at first.

use std::time::Duration;

/// Its share at the start.
const FIRST: f64 = 0.05;

/// The part of its weight that a node has, `since` after it came up.
pub fn share(since: Duration, slow_start: Duration) -> f64 {
    if since >= slow_start {
        return 1.0;
    }
    (since.as_secs_f64() / slow_start.as_secs_f64()).clamp(FIRST, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_share_grows_to_the_whole() {
        let over = Duration::from_secs(60);
        for (seconds, expected) in [
            (0, 0.05),
            (3, 0.05),
            (15, 0.25),
            (30, 0.5),
            (60, 1.0),
            (99, 1.0),
        ] {
            assert!((share(Duration::from_secs(seconds), over) - expected).abs() < 1e-9);
        }
        assert!((share(Duration::ZERO, Duration::ZERO) - 1.0).abs() < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn it_never_falls(one in 0_u64..100_000, more in 0_u64..100_000, over in 0_u64..100_000) {
            let of = |millis| share(Duration::from_millis(millis), Duration::from_millis(over));
            prop_assert!(of(one) <= of(one + more));
            prop_assert!((FIRST..=1.0).contains(&of(one)));
        }
    }
}
