//! Numbers that all threads count at once.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Over so many places a number is spread, so that threads that count don't wait for one another.
const SHARDS: usize = 16;

/// A number that goes up and down. To count costs some nanoseconds, to read it takes the sum.
#[derive(Debug)]
pub struct Counter([Shard; SHARDS]);

/// On a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Shard(AtomicU64);

impl Counter {
    /// Zero.
    pub const fn new() -> Self {
        Self([const { Shard(AtomicU64::new(0)) }; SHARDS])
    }

    /// Counts so many more.
    pub fn add(&self, count: u64) {
        self.0[shard()].0.fetch_add(count, Relaxed);
    }

    /// Counts one less. It may be done by another thread than the one that counted it, so a place alone
    /// means nothing.
    pub fn subtract_one(&self) {
        self.0[shard()].0.fetch_sub(1, Relaxed);
    }

    /// How many there are. While threads count it may be short of what is to be, but never below 0.
    pub fn get(&self) -> u64 {
        let places = self.0.iter().map(|shard| shard.0.load(Relaxed));
        let sum = places.fold(0, u64::wrapping_add);
        // Between two reads, one that was seen to go may have come unseen.
        match i64::try_from(sum) {
            Ok(_) => sum,
            Err(_) => 0,
        }
    }
}

/// This thread's place.
fn shard() -> usize {
    thread_local! {
        static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let mut shard = SHARD.get();
    if shard == usize::MAX {
        shard = NEXT.fetch_add(1, Relaxed) % SHARDS;
        SHARD.set(shard);
    }
    shard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_count_the_same_number() {
        let counter = Counter::new();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| (0..1000).for_each(|_| counter.add(3)));
            }
        });
        assert_eq!(counter.get(), 2 * SHARDS as u64 * 3000);
    }

    #[test]
    fn what_one_thread_counts_another_one_may_take_away() {
        let counter = Counter::new();
        counter.add(2);
        std::thread::scope(|scope| {
            scope.spawn(|| counter.subtract_one());
        });
        assert_eq!(counter.get(), 1);
        counter.subtract_one();
        counter.subtract_one();
        assert_eq!(counter.get(), 0);
    }
}
