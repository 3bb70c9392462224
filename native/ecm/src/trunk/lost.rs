//! Why a trunk, or the connection to another ECM, has ended.

use std::io;

use megaphone_trunk::v1::FrameError;
use megaphone_trunk::v2::SessionError;
use tokio::task::JoinError;

use crate::panics::Panicked;

/// Why a trunk ended.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// ejabberd closed it.
    #[error("closed by ejabberd")]
    Closed,
    /// ejabberd closed it inside a frame.
    #[error("closed by ejabberd inside a frame, at trunk byte {offset}")]
    ClosedInFrame {
        /// How many bytes came.
        offset: u64,
    },
    /// It can't be read.
    #[error("reading failed: {0}")]
    Read(#[source] io::Error),
    /// It can't be written.
    #[error("writing failed: {0}")]
    Write(#[source] io::Error),
    /// What came is not version 1 of the protocol.
    #[error("not version 1 of the protocol: {0}")]
    Frame(#[from] FrameError),
    /// What came is not version 2 of the protocol, or nothing came.
    #[error("version 2 of the protocol: {0}")]
    Session(#[from] SessionError),
    /// This side ended it in order, after all was written.
    #[error("ended here")]
    Finished,
    /// What reads or writes it panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl Lost {
    /// What a task of a trunk ended with: without a reason it panicked.
    pub fn of_task(ended: Option<Result<Self, JoinError>>) -> Self {
        match ended {
            Some(Ok(lost)) => lost,
            Some(Err(_)) | None => Self::Panicked(Panicked),
        }
    }

    /// Why a connection ended that leads to another ECM.
    pub fn of_peer(&self) -> String {
        match self {
            Self::Closed | Self::ClosedInFrame { .. } => "closed by the other ECM".to_owned(),
            other => other.to_string(),
        }
    }
}
