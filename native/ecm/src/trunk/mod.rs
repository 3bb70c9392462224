//! The way to ejabberd: what a client needs of a trunk, whatever its protocol.
//!
//! ```text
//!   client ──Connection::try_send──> SendQueue (v1) ──writer──┐
//!                                    yamux session (v2)       ├── trunk
//!   client <──Delivery── Mailbox <─────────────────reader─────┘
//! ```
//!
//! The reader never waits for a client, nor for the writer: what a client does not take waits in its
//! mailbox, in version 1 up to a limit, in version 2 no more than a window. A client that sends faster
//! than its connection takes waits, and so does not read its socket.

mod backoff;
mod budget;
mod capabilities;
mod connection;
mod dial;
mod leaving;
mod link;
mod lost;
mod mailbox;
mod opening;
mod pool;
mod queue;
#[cfg(test)]
pub mod testing;
mod tls;
mod trunks;
mod usage;
mod v1;
mod v2;
mod version;

pub use backoff::Backoff;
pub use budget::OutputBudget;
pub use capabilities::Capabilities;
pub use connection::{Connection, Sent};
pub use dial::{Dialler, Reader, Writer, prepare};
pub use leaving::{Goal, Leaving, MoveTimes, OnTheirWay, Passage};
pub use link::Link;
pub use lost::Lost;
pub use mailbox::{Delivery, End, Unread};
pub use opening::{Binding, Content, Opening, canonical};
pub use pool::{Order, PoolConfig, TrunkPool};
pub use tls::{TlsClient, TlsClients, TlsError, load as load_tls};
pub use trunks::Trunks;
pub use usage::Kind;
pub use v2::{Accept, Multiplexer, Stream};

/// The trunk was lost, with all its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the trunk was lost")]
pub struct TrunkLost;
