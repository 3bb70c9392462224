//! All nodes, and the choice among them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::time::Instant;

use super::choice::{self, Candidate};
use super::health;
use super::one::Node;
use crate::trunk::Kind;

/// How nodes are chosen, and when they are ejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// When they are ejected.
    pub health: health::Rules,
    /// If fewer than this percentage are well, all that are up are used.
    pub panic_threshold: u64,
    /// Over how long the share of a node that came back grows.
    pub slow_start: Duration,
    /// How long a login may wait for ejabberd's answer.
    pub login_timeout: Duration,
    /// Whether sessions move by themselves to nodes that have fewer than their share.
    pub rebalance: bool,
    /// How long sessions of a node in maintenance may take to leave it.
    pub maintenance_timeout: Duration,
}

/// The nodes. Each choice looks at all of them, as they are few.
#[derive(Debug)]
pub struct Roster {
    nodes: RwLock<Arc<[Arc<Node>]>>,
    rules: RwLock<Arc<Rules>>,
}

/// The result of a choice.
#[derive(Debug)]
pub enum Choice {
    /// This node.
    Node(Arc<Node>),
    /// Some nodes are usable, but none has a turn now.
    Busy,
    /// No node is usable, or all that are usable are full.
    None,
}

impl Roster {
    /// A roster of these nodes.
    pub fn new(nodes: Vec<Arc<Node>>, rules: Rules) -> Self {
        Self {
            nodes: RwLock::new(nodes.into()),
            rules: RwLock::new(Arc::new(rules)),
        }
    }

    /// The nodes.
    pub fn nodes(&self) -> Arc<[Arc<Node>]> {
        Arc::clone(&self.nodes.read())
    }

    /// Replaces the nodes.
    pub fn set_nodes(&self, nodes: Vec<Arc<Node>>) {
        *self.nodes.write() = nodes.into();
    }

    /// How they are chosen.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read())
    }

    /// Changes how they are chosen.
    pub fn set_rules(&self, rules: Rules) {
        *self.rules.write() = Arc::new(rules);
    }

    /// Chooses among the nodes that take one more connection of this kind and have a turn.
    pub fn choose(&self, kind: Kind, has_turn: impl Fn(&Node) -> bool) -> Choice {
        let nodes = self.nodes();
        let usable = self.usable(&nodes, kind);
        match (usable.is_empty(), self.best(&usable, kind, has_turn)) {
            (_, Some(node)) => Choice::Node(node),
            (true, None) => Choice::None,
            (false, None) => Choice::Busy,
        }
    }

    /// Whether a usable node that has room for a session is among these.
    pub fn takes_sessions(&self, of: impl Fn(&Node) -> bool) -> bool {
        let nodes = self.nodes();
        let usable = self.usable(&nodes, Kind::Session);
        usable.into_iter().any(|node| of(node))
    }

    /// Whether so few are well that ejected ones are used too.
    pub fn is_panic(&self) -> bool {
        let (nodes, rules) = (self.nodes(), self.rules());
        choice::is_panic(nodes.iter().map(|node| node.facts()), rules.panic_threshold)
    }

    fn usable<'n>(&self, nodes: &'n [Arc<Node>], kind: Kind) -> Vec<&'n Arc<Node>> {
        let rules = self.rules();
        let facts: Vec<_> = nodes.iter().map(|node| node.facts()).collect();
        let panic = choice::is_panic(facts.iter().copied(), rules.panic_threshold);
        let usable = nodes.iter().zip(facts);
        usable
            .filter(|(node, facts)| facts.is_usable(panic) && node.has_room(kind))
            .map(|(node, _)| node)
            .collect()
    }

    fn best(
        &self,
        usable: &[&Arc<Node>],
        kind: Kind,
        has_turn: impl Fn(&Node) -> bool,
    ) -> Option<Arc<Node>> {
        let (rules, now) = (self.rules(), Instant::now());
        let with_turn: Vec<_> = usable.iter().filter(|node| has_turn(node)).collect();
        let candidates: Vec<Candidate> = with_turn
            .iter()
            .map(|node| node.candidate(kind, rules.slow_start, now))
            .collect();
        let chosen = choice::better_of_two(&candidates, random())?;
        Some(Arc::clone(with_turn[chosen]))
    }
}

/// Two numbers from 0 to 1. If the system has no random numbers, the first nodes are compared.
fn random() -> [f64; 2] {
    let random = getrandom::u64().unwrap_or_default().to_ne_bytes();
    let [a, b, c, d, e, f, g, h] = random;
    [[a, b, c, d], [e, f, g, h]]
        .map(|bytes| f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX))
}
