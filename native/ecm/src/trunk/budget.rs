//! How much output may wait for clients.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::budget::Budget;
use crate::config::LimitsConfig;

/// Output that came from ejabberd and that no client has taken yet, in bytes: how much it may be of one
/// client, and of all together.
#[derive(Debug)]
pub struct OutputBudget {
    total: Budget,
    max_client: AtomicU64,
}

impl OutputBudget {
    /// A budget with nothing held.
    pub fn new(limits: &LimitsConfig) -> Self {
        Self {
            total: Budget::new(limits.max_output_buffer),
            max_client: AtomicU64::new(limits.max_client_buffer),
        }
    }

    /// Takes other limits.
    pub fn set_limits(&self, limits: &LimitsConfig) {
        self.max_client.store(limits.max_client_buffer, Relaxed);
        self.total.set_max(limits.max_output_buffer);
    }

    /// The most that may wait for one client.
    pub fn max_client(&self) -> u64 {
        self.max_client.load(Relaxed)
    }

    /// What waits for all clients together.
    pub const fn total(&self) -> &Budget {
        &self.total
    }
}
