//! How long things take.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counts times by how long they are: up to each of `N` bounds, and above.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    /// In microseconds, from the smallest.
    bounds: [u64; N],
    within: [AtomicU64; N],
    above: AtomicU64,
    /// In microseconds.
    sum: AtomicU64,
}

/// What a histogram has counted.
#[derive(Debug, PartialEq, Eq)]
pub struct Times {
    /// The bounds in microseconds, each with how many times were no longer.
    pub up_to: Vec<(u64, u64)>,
    /// How many there were.
    pub count: u64,
    /// All of them together, in microseconds.
    pub sum: u64,
}

impl<const N: usize> Histogram<N> {
    /// One with these bounds, in microseconds, from the smallest.
    pub const fn new(bounds: [u64; N]) -> Self {
        Self {
            bounds,
            within: [const { AtomicU64::new(0) }; N],
            above: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts a time.
    pub fn observe(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.bounds.iter().position(|bound| micros <= *bound);
        let bucket = bucket.map_or(&self.above, |at| &self.within[at]);
        bucket.fetch_add(1, Relaxed);
        self.sum.fetch_add(micros, Relaxed);
    }

    /// What was counted.
    pub fn times(&self) -> Times {
        let mut count = 0;
        let counted = self.bounds.iter().zip(&self.within);
        let up_to = counted
            .map(|(bound, within)| {
                count += within.load(Relaxed);
                (*bound, count)
            })
            .collect();
        Times {
            up_to,
            count: count + self.above.load(Relaxed),
            sum: self.sum.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_for_each_bound_that_it_is_within() {
        let histogram = Histogram::new([10, 100]);
        for micros in [0, 10, 11, 100, 101, 7_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let expected = Times {
            up_to: vec![(10, 2), (100, 4)],
            count: 6,
            sum: 7_000_222,
        };
        assert_eq!(histogram.times(), expected);
    }
}
