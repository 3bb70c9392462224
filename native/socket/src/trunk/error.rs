//! Why a trunk has to end.

use megaphone_trunk::v1::FrameError;
use megaphone_trunk::v2::SessionError;

use crate::overdue::Overdue;

/// Why a trunk has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrunkError {
    /// The bytes are no frames of version 1.
    #[error(transparent)]
    V1(#[from] FrameError),
    /// The session of version 2 failed, by what came or by what did not.
    #[error(transparent)]
    V2(#[from] SessionError),
    /// A frame is due for too long.
    #[error(transparent)]
    Overdue(#[from] Overdue),
    /// The peer of version 1 reads none of so many bytes of closes, and makes more of them due.
    #[error(
        "its peer opens and closes connections but reads nothing; {0} bytes of answers are waiting"
    )]
    UnreadCloses(usize),
}

impl TrunkError {
    /// The error's name in counters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::V1(error) => error.fault.name(),
            Self::V2(error) => error.fault.name(),
            Self::Overdue(overdue) => overdue.name(),
            Self::UnreadCloses(_) => "unread_closes",
        }
    }
}
