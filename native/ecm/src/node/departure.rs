//! How all sessions of one trunk leave it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::one::Node;
use super::places::Places;
use super::state::State;
use super::sweep::Sweep;
use crate::trunk::{Goal, Leaving, Link};

/// How long a node that told a trunk to go away has to come back with another one: that is the best place for its
/// sessions.
const COMES_BACK: Duration = Duration::from_millis(500);

/// How often the log reports progress.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Why sessions leave their trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The trunk takes no more connections: ejabberd has sent go-away, or another trunk replaces it.
    TrunkRetired,
    /// The node's state lets it keep none.
    Node(State),
}

/// A trunk whose sessions are to leave it.
#[derive(Debug)]
pub struct Departure {
    node: Arc<Node>,
    link: Link,
    why: Why,
    leaving: Arc<Leaving>,
    since: Instant,
    /// How many connections it had at first.
    connections: usize,
    sweep: Sweep,
    /// Whether it was told that they move, or that they stay.
    told: Option<bool>,
    told_at: Instant,
    /// How many had moved then.
    told_moved: u64,
}

impl Why {
    /// Why the sessions of a trunk are to leave it, if they are.
    pub fn of(node: &Node, link: &Link) -> Option<Self> {
        match node.state_now() {
            State::Ready => (!link.is_accepting()).then_some(Self::TrunkRetired),
            state => Some(Self::Node(state)),
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::TrunkRetired => "a trunk to it takes no more connections",
            Self::Node(State::Maintenance) => "it is in maintenance",
            Self::Node(State::Leaving) => "it is no longer configured",
            Self::Node(_) => "it drains",
        }
    }
}

impl Departure {
    /// The sessions of a trunk begin to leave it.
    pub fn new(node: &Arc<Node>, link: Link, why: Why, places: &Places, now: Instant) -> Self {
        Self {
            node: Arc::clone(node),
            connections: link.load(),
            link,
            why,
            leaving: places.leaving(Goal::Anywhere, u64::MAX),
            since: now,
            sweep: Sweep::new(now),
            told: None,
            told_at: now,
            told_moved: 0,
        }
    }

    /// The trunk's node.
    pub const fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The trunk.
    pub const fn link(&self) -> &Link {
        &self.link
    }

    /// Whether it is about this trunk.
    pub fn is_of(&self, link: &Link) -> bool {
        self.link.is(link)
    }

    /// Whether the sessions may go to another trunk of the same node.
    pub fn may_stay_at_node(&self) -> bool {
        self.why == Why::TrunkRetired
    }

    /// Whether the sessions may go to another node.
    pub fn may_leave_node(&self, now: Instant) -> bool {
        self.why != Why::TrunkRetired || now.saturating_duration_since(self.since) >= COMES_BACK
    }

    /// Wakes the sessions whose turn has come, if there is a place for them.
    pub fn go_on(&mut self, has_place: bool, now: Instant) {
        self.tell(has_place, now);
        if !has_place {
            self.link.set_leaving(None);
            return;
        }
        self.link.set_leaving(Some(&self.leaving));
        let links = std::slice::from_ref(&self.link);
        self.sweep.go_on(links, &self.leaving, now);
    }

    /// How many are to move, and have a place for it.
    pub fn left(&self) -> u64 {
        match self.told {
            Some(true) => self.link.load() as u64,
            Some(false) | None => 0,
        }
    }

    /// Whether no sessions are left, or they may stay after all.
    pub fn is_over(&self, now: Instant) -> bool {
        let is_empty = self.link.load() == 0;
        if !is_empty && Why::of(&self.node, &self.link) == Some(self.why) {
            return false;
        }
        self.link.set_leaving(None);
        if self.told.is_some() || self.leaving.moved() > 0 {
            tracing::info!(
                moved = self.leaving.moved(),
                failed = self.leaving.failed(),
                left = self.link.load(),
                "node {}: sessions have finished leaving a trunk, after {:.1?}",
                self.node.name(),
                now.saturating_duration_since(self.since)
            );
        }
        true
    }

    fn tell(&mut self, has_place: bool, now: Instant) {
        let (node, why) = (self.node.name(), self.why.text());
        let is_new = self.told != Some(has_place);
        match (is_new, has_place) {
            (true, true) => {
                tracing::info!(
                    connections = self.connections,
                    "node {node}: {why}; its sessions move to other trunks"
                );
            }
            (true, false) if self.may_leave_node(now) => {
                tracing::info!(
                    connections = self.link.load(),
                    "node {node}: {why}; its sessions stay for now, as no other trunk can take them"
                );
            }
            (false, true)
                if now.saturating_duration_since(self.told_at) >= BETWEEN_LINES
                    && self.leaving.moved() > self.told_moved =>
            {
                tracing::info!(
                    moved = self.leaving.moved(),
                    failed = self.leaving.failed(),
                    left = self.link.load(),
                    "node {node}: its sessions are still moving to other trunks"
                );
            }
            _ => return,
        }
        self.told = Some(has_place);
        self.told_at = now;
        self.told_moved = self.leaving.moved();
    }
}
