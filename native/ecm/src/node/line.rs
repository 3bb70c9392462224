//! Logins that wait for their turn, by their numbers: the lowest is the first.
//!
//! A login that begins goes to whichever node has a turn. One that has begun waits for its own node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use super::one::Node;

/// Those that wait for one kind of turn.
pub type Line = BTreeMap<u64, Waiting>;

/// A login that waits.
#[derive(Debug)]
pub struct Waiting {
    /// Since when.
    pub since: Instant,
    /// The task that is woken when its turn comes.
    pub waker: Option<Waker>,
}

impl Waiting {
    /// It waits from now on.
    pub fn new() -> Self {
        Self {
            since: Instant::now(),
            waker: None,
        }
    }

    /// Its turn has not come; the task that polled last is woken when it does.
    pub fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => self.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

/// Logins that have begun, and wait for their nodes. A node that none waits for is not here.
#[derive(Debug, Default)]
pub struct Begun(Vec<(Arc<Node>, Line)>);

impl Begun {
    /// One more of this node.
    pub fn insert(&mut self, node: &Arc<Node>, number: u64, waiting: Waiting) {
        match self.line(node) {
            Some(line) => {
                line.insert(number, waiting);
            }
            None => {
                let line = Line::from([(number, waiting)]);
                self.0.push((Arc::clone(node), line));
            }
        }
    }

    /// One of this node.
    pub fn get_mut(&mut self, node: &Arc<Node>, number: u64) -> Option<&mut Waiting> {
        self.line(node)?.get_mut(&number)
    }

    /// It no longer waits.
    pub fn remove(&mut self, node: &Arc<Node>, number: u64) -> Option<Waiting> {
        let waiting = self.line(node)?.remove(&number);
        self.0.retain(|(_, line)| !line.is_empty());
        waiting
    }

    /// The first of those whose nodes have a turn, with its node.
    pub fn first_with_turn(&self) -> Option<(u64, Arc<Node>)> {
        let firsts = self.0.iter().filter(|(node, _)| node.has_turn());
        firsts
            .filter_map(|(node, line)| Some((*line.first_key_value()?.0, node)))
            .min_by_key(|(number, _)| *number)
            .map(|(number, node)| (number, Arc::clone(node)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|(_, line)| line.len()).sum()
    }

    fn line(&mut self, node: &Arc<Node>) -> Option<&mut Line> {
        let mut lines = self.0.iter_mut();
        let (_, line) = lines.find(|(its, _)| Arc::ptr_eq(its, node))?;
        Some(line)
    }
}
