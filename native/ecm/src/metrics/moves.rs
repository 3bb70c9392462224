//! What became of sessions that were to move to another trunk.

use super::labels::Label;

/// How a move ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveResult {
    /// The session goes on at another trunk.
    Moved,
    /// ejabberd let it stay.
    Stayed,
    /// No other trunk took it.
    NoPlace,
    /// The ejabberd that was to take it did not, or the trunk to it was lost.
    Refused,
    /// It took too long.
    TimedOut,
    /// The session was lost.
    Lost,
}

impl Label for MoveResult {
    const KEY: &'static str = "result";
    const ALL: &'static [Self] = &[
        Self::Moved,
        Self::Stayed,
        Self::NoPlace,
        Self::Refused,
        Self::TimedOut,
        Self::Lost,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Stayed => "stayed",
            Self::NoPlace => "no_place",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Lost => "lost",
        }
    }
}
