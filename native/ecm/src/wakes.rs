//! A waker that counts, for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Wake, Waker};

/// How often a waker was used.
#[derive(Debug, Default)]
pub struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

impl Wakes {
    /// A waker, and what counts how often it is used.
    pub fn waker() -> (Waker, Arc<Self>) {
        let wakes = Arc::<Self>::default();
        (Waker::from(Arc::clone(&wakes)), wakes)
    }

    /// How often it was used so far.
    pub fn count(&self) -> u32 {
        self.0.load(Relaxed)
    }
}
