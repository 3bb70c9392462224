//! The two ends of a trunk.

use super::header::StreamId;

/// Which end of the trunk this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one that dialled: the ECM. Its streams have odd ids.
    Client,
    /// The one that was dialled: ejabberd. Its streams have even ids.
    Server,
}

impl Role {
    pub(super) const fn first_id(self) -> u32 {
        match self {
            Self::Client => 1,
            Self::Server => 2,
        }
    }

    pub(super) const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    /// Whether streams with this id are opened by this end.
    pub(super) const fn opens(self, id: StreamId) -> bool {
        id.is_client() == matches!(self, Self::Client)
    }
}
