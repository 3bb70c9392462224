//! How much output may wait for clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::mailbox::Mailbox;
use crate::config::LimitsConfig;

/// Output that came from ejabberd and that no client has taken yet, in bytes: of all clients
/// together, and how much it may be.
#[derive(Debug)]
pub struct OutputBudget {
    held: AtomicU64,
    max_client: AtomicU64,
    max_total: AtomicU64,
}

impl OutputBudget {
    /// A budget with nothing held.
    pub fn new(limits: &LimitsConfig) -> Self {
        Self {
            held: AtomicU64::new(0),
            max_client: AtomicU64::new(limits.max_client_buffer),
            max_total: AtomicU64::new(limits.max_output_buffer),
        }
    }

    /// Takes other limits.
    pub fn set_limits(&self, limits: &LimitsConfig) {
        self.max_client.store(limits.max_client_buffer, Relaxed);
        self.max_total.store(limits.max_output_buffer, Relaxed);
    }

    /// The most that may wait for one client.
    pub fn max_client(&self) -> u64 {
        self.max_client.load(Relaxed)
    }

    /// Whether more waits than may.
    pub fn is_exceeded(&self) -> bool {
        self.held.load(Relaxed) > self.max_total.load(Relaxed)
    }

    /// How much has to go once the budget is exceeded: down to a sixteenth below it, so that a busy
    /// trunk does not have to look for the greediest client at each frame.
    pub fn to_free(&self) -> u64 {
        let total = self.max_total.load(Relaxed);
        self.held.load(Relaxed).saturating_sub(total - total / 16)
    }

    pub(super) fn add(&self, bytes: usize) {
        self.held.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn subtract(&self, bytes: usize) {
        self.held.fetch_sub(bytes as u64, Relaxed);
    }
}

/// Takes their output from those with the most, until the budget has some room again.
pub fn evict_greediest(budget: &OutputBudget, mailboxes: impl IntoIterator<Item = Arc<Mailbox>>) {
    let all = mailboxes
        .into_iter()
        .map(|mailbox| (mailbox.held(), mailbox));
    let mut holders: Vec<_> = all.filter(|(held, _)| *held > 0).collect();
    holders.sort_unstable_by_key(|(held, _)| std::cmp::Reverse(*held));
    let mut evicted = 0;
    for (_, mailbox) in holders {
        if budget.to_free() == 0 {
            break;
        }
        mailbox.evict();
        evicted += 1;
    }
    tracing::warn!(
        connections = evicted,
        "max_output_buffer is reached: closing the connections with the most output waiting"
    );
}
