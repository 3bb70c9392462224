//! The results of sessions' moves to other trunks.

use super::labels::Label;

/// How a move ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveResult {
    /// The session goes on in another trunk.
    Moved,
    /// ejabberd decided that it stays.
    Stayed,
    /// No other trunk could take it.
    NoPlace,
    /// The ejabberd that should have taken it refused, or its trunk was lost.
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
