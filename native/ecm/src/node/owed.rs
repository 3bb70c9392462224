//! The logins that nodes have to answer, and since when.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::one::Node;

/// Each is counted at its node for as long as it is here.
#[derive(Debug, Default)]
pub struct Owed {
    logins: HashMap<u64, (Arc<Node>, Instant)>,
    /// The same, those that wait for the longest time first.
    by_time: BTreeSet<(Instant, u64)>,
}

impl Owed {
    /// A node has to answer a login. It counts once, from the first time on.
    pub fn add(&mut self, login: u64, node: Arc<Node>, now: Instant) {
        if self.logins.contains_key(&login) {
            return;
        }
        node.asked();
        self.logins.insert(login, (node, now));
        self.by_time.insert((now, login));
    }

    /// It has not to any more. Gives since when it had.
    pub fn remove(&mut self, login: u64) -> Option<Instant> {
        let (node, since) = self.logins.remove(&login)?;
        node.answered();
        self.by_time.remove(&(since, login));
        Some(since)
    }

    /// Since when the one waits that waits for the longest time.
    pub fn longest(&self) -> Option<Instant> {
        self.by_time.first().map(|(since, _)| *since)
    }

    /// Removes the one that waits for the longest time, if it has since then. Gives its node.
    pub fn take_since(&mut self, then: Instant) -> Option<Arc<Node>> {
        let (since, login) = *self.by_time.first()?;
        if since > then {
            return None;
        }
        self.by_time.pop_first();
        let (node, _) = self.logins.remove(&login)?;
        node.answered();
        Some(node)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.logins.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.logins.is_empty()
    }
}
