//! The ejabberd nodes: which there are, how they are, and which one gets the next session or request.
//!
//! ```text
//!   entrances ──a login, a request──> Nodes ──choice──> Node ──> Trunks ──> ejabberd
//!                                       ^                 ^
//!                                     logins: turns     keeper: trunks kept up, health, slow start
//! ```
//!
//! A session stays at its node until the node or the trunk is to be left. A login goes to a node that has a turn for
//! it. A client's JID is unknown until it has logged in, so nothing is hashed: the better of two nodes drawn at random
//! gets it.

mod balance;
mod balancer;
mod choice;
mod departure;
mod discovery;
mod health;
mod keeper;
mod line;
mod logins;
mod mover;
mod one;
mod orders;
mod owed;
mod pace;
mod places;
mod resolver;
mod rooms;
mod roster;
mod shares;
mod slow_start;
mod state;
mod status;
mod sweep;
mod tempo;
#[cfg(test)]
pub mod testing;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

pub use self::keeper::{Keeper, KeeperError};
use self::logins::Logins;
pub use self::logins::{Count, Login, Turn};
pub use self::one::Node;
use self::rooms::Rooms;
use self::roster::{Choice, Roster};
pub use self::shares::Share;
pub use self::state::State;
pub use self::status::{Condition, Status};
use crate::budget::Holder;
use crate::config::Protocol;
use crate::trunk::{Capabilities, Connection, Goal, Kind, Link, Opening, Passage};

/// All nodes, as the entrances see them.
#[derive(Debug)]
pub struct Nodes {
    protocol: Protocol,
    roster: Arc<Roster>,
    logins: Arc<Logins>,
    rooms: Arc<Rooms>,
}

/// Why a node can't be given a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateError {
    /// No node has that name; these are the names that exist.
    Unknown(Vec<String>),
    /// It is no longer configured.
    Leaving,
}

impl Nodes {
    fn new(protocol: Protocol, roster: Arc<Roster>) -> Self {
        Self {
            protocol,
            logins: Arc::new(Logins::new(Arc::clone(&roster))),
            roster,
            rooms: Arc::default(),
        }
    }

    /// What the trunks' protocol can carry.
    pub const fn capabilities(&self) -> Capabilities {
        Capabilities::of(self.protocol)
    }

    /// Opens a connection that needs no turn to log in: HTTP, or an XML stream that is relayed as it is. `None` while
    /// no node has a trunk.
    pub fn open(&self, opening: &Opening) -> Option<Connection> {
        let kind = Kind::of(opening.content);
        // A node may lose its last trunk between the two steps.
        for _ in 0..=self.all().len() {
            let Choice::Node(node) = self.roster.choose(kind, |_| true) else {
                return None;
            };
            if let Some(connection) = node.trunks().open(opening) {
                return Some(connection);
            }
        }
        None
    }

    /// Opens a connection for a session that has to leave this one, and has this token, in another trunk of its node
    /// if only that trunk is to be left, or else in another node; in one that has fewer than its share if that is
    /// why it leaves. `None` if there is none that can take it.
    pub fn open_elsewhere(
        &self,
        passage: &mut Passage,
        from: &Connection,
        opening: &Opening,
        token: &Bytes,
    ) -> Option<Connection> {
        let version = from.version()?;
        let header = opening.to_takeover(token);
        let is_left = |link: &Link| link.carries(from);
        let nodes = self.all();
        let home = nodes
            .iter()
            .find(|node| node.trunks().links().iter().any(is_left));
        if let Some(home) = home
            && from.is_retired()
            && home.state_now() == State::Ready
            && let Some(connection) = home.trunks().open_takeover(from, &header)
        {
            return Some(connection);
        }
        let is_home = |node: &Node| home.is_some_and(|home| std::ptr::eq(&raw const **home, node));
        if passage.goal() == Goal::Balance {
            return self.rooms.take(|node| {
                if is_home(node) {
                    return None;
                }
                let connection = node.trunks().open_takeover(from, &header)?;
                // It is counted at once: nobody looks while it takes its place.
                passage.arrived();
                Some(connection)
            });
        }
        let takes = |node: &Node| !is_home(node) && node.takes_moved(version, is_left);
        match self.roster.choose(Kind::Session, takes) {
            Choice::Node(node) => node.trunks().open_takeover(from, &header),
            Choice::Busy | Choice::None => None,
        }
    }

    /// Begins a login, for [`Login::open`] when its turn comes.
    pub fn begin_login(&self) -> Login {
        self.logins.begin()
    }

    /// How many logins there are.
    pub fn logins(&self) -> Count {
        self.logins.count()
    }

    /// All nodes.
    pub fn all(&self) -> Arc<[Arc<Node>]> {
        self.roster.nodes()
    }

    /// Gives a node another state. Returns how many sessions it has.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn set_state(&self, name: &str, state: State) -> Result<u64, StateError> {
        let nodes = self.all();
        let Some(node) = nodes.iter().find(|node| node.name() == name) else {
            let names = nodes.iter().map(|node| node.name().to_owned());
            return Err(StateError::Unknown(names.collect()));
        };
        if node.state_now() == State::Leaving {
            return Err(StateError::Leaving);
        }
        let sessions = node.trunks().usage().count(Kind::Session);
        node.set_state(state);
        self.logins.go_on();
        Ok(sessions)
    }

    /// How the nodes are.
    pub fn status(&self) -> Vec<Status> {
        let (slow_start, now) = (self.roster.rules().slow_start, Instant::now());
        let nodes = self.all();
        nodes
            .iter()
            .map(|node| node.status(slow_start, now))
            .collect()
    }

    /// How many sessions each node has, and should have by its weight.
    pub fn shares(&self) -> Vec<Share> {
        shares::of(self.status())
    }

    /// How long sessions of a node in maintenance may take to leave it.
    pub fn maintenance_timeout(&self) -> Duration {
        self.roster.rules().maintenance_timeout
    }

    /// Has sessions move from nodes that have more than their share to others, until all have theirs.
    pub fn rebalance(&self) {
        self.rooms.ask();
    }

    /// Wakes every task that waits for its connection, because the program ends. If each waited for that as well, that
    /// would cost more memory than its connection does.
    pub fn wake_all(&self) {
        for node in self.all().iter() {
            node.trunks().wake_all();
        }
    }

    /// The connections that have output waiting for clients.
    pub fn output_holders(&self) -> Vec<Box<dyn Holder>> {
        let nodes = self.all();
        let holders = nodes.iter().map(|node| node.trunks().output_holders());
        holders.flatten().collect()
    }

    /// The connections that have input waiting for ejabberd's windows.
    pub fn input_holders(&self) -> Vec<Box<dyn Holder>> {
        let nodes = self.all();
        let holders = nodes.iter().map(|node| node.trunks().input_holders());
        holders.flatten().collect()
    }

    /// Whether any node takes sessions.
    pub fn take_sessions(&self) -> bool {
        !matches!(self.roster.choose(Kind::Session, |_| true), Choice::None)
    }

    /// How many trunks take connections.
    pub fn trunk_count(&self) -> usize {
        let nodes = self.all();
        nodes.iter().map(|node| node.trunks().count()).sum()
    }
}
