//! The state of a node, which the operator sets.

/// What a node may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It takes new sessions.
    Ready,
    /// It takes none, and those that it has leave it if they can.
    Drain,
    /// The same, and then it has no trunks.
    Maintenance,
    /// It is no longer configured, and ends once it has no session.
    Leaving,
}

impl State {
    /// Its name in tables, labels and log lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
            Self::Leaving => "leaving",
        }
    }
}
