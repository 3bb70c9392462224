//! The logins whose turn it is, and since when. Most wait for a node's answer.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::one::Node;
use crate::trunk::Unread;

/// Logins that have a turn. Each is counted at its node for as long as it is here.
#[derive(Debug, Default)]
pub struct Owed {
    logins: HashMap<u64, Debt>,
    /// The same, the longest wait first.
    by_time: BTreeSet<(Instant, u64)>,
}

/// A login that a node has to answer, or will have to.
#[derive(Debug)]
pub struct Debt {
    /// The node.
    pub node: Arc<Node>,
    /// Since when it was asked, or since when it could have been.
    since: Instant,
    /// Whether it was asked.
    asked: bool,
    /// Where the answer comes. There is none while nothing was asked, or so much that it may take its time.
    answer: Option<Unread>,
}

/// A login's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It has one, and has asked nothing yet.
    Unused,
    /// It has one, and waits for an answer.
    Used,
}

impl Debt {
    /// Whether the node has been asked and has said nothing, so it is not the client who keeps it waiting.
    pub fn is_nodes_fault(&self) -> bool {
        self.answer.as_ref().is_some_and(Unread::is_empty)
    }
}

impl Owed {
    /// It is a login's turn to ask a node.
    pub fn add(&mut self, login: u64, node: Arc<Node>, now: Instant) {
        let debt = Debt {
            node,
            since: now,
            asked: false,
            answer: None,
        };
        self.insert(login, debt);
    }

    /// A login has asked a node, and waits for its answer from now on. If it waits already, it goes on waiting since
    /// then.
    pub fn ask(&mut self, login: u64, node: Arc<Node>, answer: Option<Unread>, now: Instant) {
        if self.turn(login) == Some(Turn::Used) {
            return;
        }
        self.remove(login);
        let debt = Debt {
            node,
            since: now,
            asked: true,
            answer,
        };
        self.insert(login, debt);
    }

    /// Whether a login has a turn.
    pub fn turn(&self, login: u64) -> Option<Turn> {
        let debt = self.logins.get(&login)?;
        Some(if debt.asked { Turn::Used } else { Turn::Unused })
    }

    fn insert(&mut self, login: u64, debt: Debt) {
        debt.node.asked();
        self.by_time.insert((debt.since, login));
        self.logins.insert(login, debt);
    }

    /// A login has no turn any more. Returns since when it had one.
    pub fn remove(&mut self, login: u64) -> Option<Instant> {
        let debt = self.logins.remove(&login)?;
        debt.node.answered();
        self.by_time.remove(&(debt.since, login));
        Some(debt.since)
    }

    /// When the longest turn began.
    pub fn longest(&self) -> Option<Instant> {
        self.by_time.first().map(|(since, _)| *since)
    }

    /// Removes the one that has had its turn for the longest time, if it has since then.
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

    /// How many there are.
    pub fn len(&self) -> usize {
        self.logins.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.logins.is_empty()
    }
}
