//! One trunk, whatever its protocol.

use std::sync::Arc;
use std::time::Duration;

use megaphone_trunk::v1::MaxFrameSize;

use super::budget::OutputBudget;
use super::connection::Connection;
use super::dial::{Reader, Writer};
use super::leaving::Leaving;
use super::lost::Lost;
use super::mailbox::Mailbox;
use super::opening::{Content, Opening};
use super::usage::{Kind, Usage};
use super::{TrunkLost, v1, v2};
use crate::backlog::Backlogs;
use crate::config::Protocol;
use crate::ids::IdSource;

/// One trunk and its connections.
#[derive(Debug, Clone)]
pub enum Link {
    /// Version 1.
    V1(Arc<v1::Framer>),
    /// Version 2.
    V2(Arc<v2::Multiplexer>),
}

impl Link {
    /// A trunk without connections.
    pub fn new(
        protocol: Protocol,
        max_frame_size: MaxFrameSize,
        budget: Arc<OutputBudget>,
        backlogs: Arc<Backlogs>,
        usage: Arc<Usage>,
        ping_interval: Duration,
    ) -> Self {
        match protocol {
            Protocol::V1 => Self::V1(Arc::new(v1::Framer::new(max_frame_size, budget, usage))),
            Protocol::V2 => Self::V2(Arc::new(v2::Multiplexer::new(
                budget,
                backlogs,
                usage,
                ping_interval,
            ))),
        }
    }

    /// The output of its connections that waits for their clients.
    pub fn mailboxes(&self) -> Vec<Arc<Mailbox>> {
        match self {
            Self::V1(link) => link.mailboxes(),
            Self::V2(link) => link.mailboxes(),
        }
    }

    /// What clients have sent and ejabberd's windows have no room for. Of version 1, which has no windows, it
    /// is what one trunk has room for at the most.
    pub fn queues(&self) -> Vec<v2::Queue> {
        match self {
            Self::V1(_) => Vec::new(),
            Self::V2(link) => link.queues(),
        }
    }

    /// Whether new connections may come here.
    pub fn is_accepting(&self) -> bool {
        match self {
            Self::V1(link) => link.is_accepting(),
            Self::V2(link) => link.is_accepting(),
        }
    }

    /// How many connections are pinned to it.
    pub fn load(&self) -> usize {
        match self {
            Self::V1(link) => link.load(),
            Self::V2(link) => link.load(),
        }
    }

    /// For how long ejabberd has not answered a ping; version 1 has none.
    pub fn silence(&self) -> Duration {
        match self {
            Self::V1(_) => Duration::ZERO,
            Self::V2(link) => link.silence(),
        }
    }

    /// Opens a connection; ejabberd hears of it with its first content.
    ///
    /// # Errors
    /// [`TrunkLost`] if the trunk is lost by now, or takes no more.
    pub fn open(&self, ids: &IdSource, opening: &Opening) -> Result<Connection, TrunkLost> {
        match self {
            Self::V1(link) => match opening.content {
                Content::Http => link.open(ids).map(Connection::V1),
                // It carries HTTP alone.
                Content::XmppClient | Content::XmppFraming(_) => Err(TrunkLost),
            },
            Self::V2(link) => {
                let kind = Kind::of(opening.content);
                link.open(kind, opening.to_header()).map(Connection::V2)
            }
        }
    }

    /// Opens a connection that ejabberd knows by this header, for a session that comes from elsewhere.
    ///
    /// # Errors
    /// [`TrunkLost`] as for [`open`](Self::open).
    pub fn open_takeover(&self, header: Vec<u8>) -> Result<Connection, TrunkLost> {
        match self {
            Self::V1(_) => Err(TrunkLost),
            Self::V2(link) => link.open(Kind::Session, header).map(Connection::V2),
        }
    }

    /// Opens a connection for a question of this program's own.
    ///
    /// # Errors
    /// [`TrunkLost`] as for [`open`](Self::open).
    pub(super) fn ask(&self, header: Vec<u8>) -> Result<Connection, TrunkLost> {
        match self {
            Self::V1(_) => Err(TrunkLost),
            Self::V2(link) => link.ask(header).map(Connection::V2),
        }
    }

    /// Which sessions can come here: those that are where the same is said. `None` while that is unknown, and if
    /// none can.
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::V1(_) => None,
            Self::V2(link) => link.version(),
        }
    }

    /// ejabberd has said which.
    pub(super) fn set_version(&self, version: String) {
        if let Self::V2(link) = self {
            link.set_version(version);
        }
    }

    /// Whether it carries this connection.
    pub fn carries(&self, connection: &Connection) -> bool {
        match (self, connection) {
            (Self::V2(link), Connection::V2(connection)) => connection.is_in(link),
            _ => false,
        }
    }

    /// Its sessions are to leave, or may stay.
    pub fn set_leaving(&self, leaving: Option<&Arc<Leaving>>) {
        if let Self::V2(link) = self {
            link.set_leaving(leaving);
        }
    }

    /// Wakes the tasks that wait for the next `count` connections, from a place on. Returns the next place; `None`
    /// after the last one.
    pub fn wake_some(&self, from: usize, count: usize) -> Option<usize> {
        match self {
            Self::V1(_) => None,
            Self::V2(link) => link.wake_some(from, count),
        }
    }

    /// Says the first frame, which ejabberd waits for. The session of version 2 begins with a ping by
    /// itself.
    pub fn greet(&self, ids: &IdSource) {
        match self {
            Self::V1(link) => link.greet(ids),
            Self::V2(_) => {}
        }
    }

    /// Reads and writes the trunk until it ends, and its connections with it.
    pub async fn run(self, reader: Reader, writer: Writer) -> Lost {
        match self {
            Self::V1(link) => link.run(reader, writer).await,
            Self::V2(link) => link.run(reader, writer).await,
        }
    }

    /// Waits until ejabberd has answered. It says nothing in version 1 before it is asked something.
    pub async fn answered(&self) {
        match self {
            Self::V1(_) => {}
            Self::V2(link) => link.answered().await,
        }
    }

    /// Waits until the trunk is up and another one should take its place. Version 1 has no such state.
    pub async fn retired(&self) {
        match self {
            Self::V1(_) => std::future::pending().await,
            Self::V2(link) => link.retired().await,
        }
    }

    /// Ends the trunk once all that waits is written.
    pub fn finish(&self) {
        match self {
            Self::V1(link) => link.finish(),
            Self::V2(link) => link.finish(),
        }
    }

    /// Ends the trunk, and its connections with it.
    pub fn lose(&self) {
        match self {
            Self::V1(link) => link.lose(),
            Self::V2(link) => link.lose(),
        }
    }

    /// Wakes all tasks that wait for its connections. In version 1 nothing else is waited for.
    pub fn wake_all(&self) {
        match self {
            Self::V1(_) => {}
            Self::V2(link) => link.wake_all(),
        }
    }

    /// Whether it is the same one.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::V1(one), Self::V1(other)) => Arc::ptr_eq(one, other),
            (Self::V2(one), Self::V2(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}
