//! What an operator lets a node do.

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It takes new sessions.
    Ready,
    /// It takes none, and those that it has leave it if they can.
    Drain,
    /// The same, and then it has no trunks.
    Maintenance,
    /// It is none of the configuration's nodes any more: it ends once it has no session.
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
