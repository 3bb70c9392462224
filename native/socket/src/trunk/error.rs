//! Why a trunk has to end.

use megaphone_trunk::v1::FrameError;
use megaphone_trunk::v2::SessionError;

use crate::overdue::Overdue;

/// Why a trunk has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrunkError {
    /// The bytes are no frames of version 1.
    V1(FrameError),
    /// The session of version 2 failed, by what came or by what did not.
    V2(SessionError),
    /// A frame is due for too long.
    Overdue(Overdue),
    /// The peer of version 1 reads none of so many bytes of closes, and makes more of them due.
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

impl std::fmt::Display for TrunkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::V1(error) => error.fmt(f),
            Self::V2(error) => error.fmt(f),
            Self::Overdue(overdue) => overdue.fmt(f),
            Self::UnreadCloses(bytes) => write!(
                f,
                "its peer opens and closes connections and reads nothing, {bytes} bytes of answers wait"
            ),
        }
    }
}

impl std::error::Error for TrunkError {}

impl From<FrameError> for TrunkError {
    fn from(error: FrameError) -> Self {
        Self::V1(error)
    }
}

impl From<SessionError> for TrunkError {
    fn from(error: SessionError) -> Self {
        Self::V2(error)
    }
}

impl From<Overdue> for TrunkError {
    fn from(overdue: Overdue) -> Self {
        Self::Overdue(overdue)
    }
}
