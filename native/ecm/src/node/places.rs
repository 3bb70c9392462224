//! How many sessions may be on their way to other trunks at once, from all trunks together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::trunk::{Goal, Leaving};

/// A place for each session that may be on its way.
#[derive(Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    size: Mutex<usize>,
    /// How many times sessions were told to leave, which tells their rounds apart.
    times: AtomicU8,
}

impl Places {
    /// This many places.
    pub fn new(at_once: u64) -> Self {
        let size = usize::try_from(at_once).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(size)),
            size: Mutex::new(size),
            times: AtomicU8::new(1),
        }
    }

    /// Changes how many places there are. If more sessions are on their way already, they may finish.
    pub fn set_at_once(&self, at_once: u64) {
        let at_once = usize::try_from(at_once).unwrap_or(Semaphore::MAX_PERMITS);
        let mut size = self.size.lock();
        if at_once > *size {
            self.free.add_permits(at_once - *size);
            *size = at_once;
        } else {
            *size -= self.free.forget_permits(*size - at_once);
        }
    }

    /// Lets `quota` sessions leave, using these places.
    pub fn leaving(&self, goal: Goal, quota: u64) -> Arc<Leaving> {
        // Sessions remember the last round in which they tried; 0 means none.
        let round = self.times.fetch_add(1, Relaxed).max(1);
        Arc::new(Leaving::new(&self.free, goal, quota, round))
    }
}
