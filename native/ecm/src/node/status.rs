//! How the nodes are, for commands and metrics.

use super::health::Reason;
use super::state::State;

/// One node as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Its state, which the operator sets.
    pub state: State,
    /// How it is.
    pub condition: Condition,
    /// Its trunks that take connections.
    pub trunks: usize,
    /// Its sessions.
    pub sessions: u64,
    /// Those of them that are to move to other trunks.
    pub leaving: u64,
    /// The most that it takes; 0 for any number.
    pub max_sessions: u64,
    /// Its HTTP connections.
    pub requests: u64,
    /// Its weight.
    pub weight: u64,
    /// The part of its weight that it has, from 0 to 1.
    pub share: f64,
    /// The logins that wait for its answer.
    pub logins: usize,
    /// How many may wait; `usize::MAX` for any number.
    pub login_limit: usize,
    /// How often it was ejected.
    pub ejections: u64,
}

/// How a node is, whatever its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It has no trunk.
    Down,
    /// It gets nothing new, for this reason.
    Ejected(Reason),
    /// Its share is still growing.
    Starting,
    /// All is well.
    Well,
}

impl Condition {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Ejected(Reason::Silent) => "ejected (silent)",
            Self::Ejected(Reason::Logins) => "ejected (logins)",
            Self::Starting => "starting",
            Self::Well => "well",
        }
    }
}

impl Status {
    /// Whether new sessions may come to it.
    pub fn is_usable(&self) -> bool {
        self.state == State::Ready
            && matches!(self.condition, Condition::Starting | Condition::Well)
    }
}
