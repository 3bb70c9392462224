//! The logins that wait for a node's answer, and since when.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::one::Node;
use crate::trunk::Unread;

/// Logins that wait. Each is counted at its node for as long as it is here.
#[derive(Debug, Default)]
pub struct Owed {
    logins: HashMap<u64, Debt>,
    /// The same, the longest wait first.
    by_time: BTreeSet<(Instant, u64)>,
}

/// A login that a node has to answer.
#[derive(Debug)]
pub struct Debt {
    /// The node.
    pub node: Arc<Node>,
    since: Instant,
    /// Where the answer comes. There is none while nothing was asked, or so much that it may take its time.
    answer: Option<Unread>,
}

impl Debt {
    /// Whether the node has been asked and has said nothing, so it is not the client who keeps it waiting.
    pub fn is_nodes_fault(&self) -> bool {
        self.answer.as_ref().is_some_and(Unread::is_empty)
    }
}

impl Owed {
    /// A login waits for a node's answer. A login that waits already goes on waiting since then.
    pub fn add(&mut self, login: u64, node: Arc<Node>, answer: Option<Unread>, now: Instant) {
        if self.logins.contains_key(&login) {
            return;
        }
        node.asked();
        let debt = Debt {
            node,
            since: now,
            answer,
        };
        self.logins.insert(login, debt);
        self.by_time.insert((now, login));
    }

    /// A login no longer waits. Returns since when it did.
    pub fn remove(&mut self, login: u64) -> Option<Instant> {
        let debt = self.logins.remove(&login)?;
        debt.node.answered();
        self.by_time.remove(&(debt.since, login));
        Some(debt.since)
    }

    /// When the longest wait began.
    pub fn longest(&self) -> Option<Instant> {
        self.by_time.first().map(|(since, _)| *since)
    }

    /// Removes the one that waits for the longest time, if it has since then.
    pub fn take_since(&mut self, then: Instant) -> Option<Debt> {
        let (since, login) = *self.by_time.first()?;
        if since > then {
            return None;
        }
        self.by_time.pop_first();
        let debt = self.logins.remove(&login)?;
        debt.node.answered();
        Some(debt)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.logins.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.logins.is_empty()
    }
}
