//! The way to ejabberd: what a client needs of a trunk, whatever its protocol.
//!
//! ```text
//!   client ──Connection::try_send──> SendQueue ──writer──┐
//!                                                        ├── trunk
//!   client <──Delivery── Mailbox <────────────reader─────┘
//! ```
//!
//! The reader never waits for a client, nor for the writer: what a client does not take waits in its
//! mailbox, up to a limit. A client that sends faster than the trunk takes waits for room in the
//! queue, and so does not read its socket.

mod backoff;
mod budget;
mod dial;
mod mailbox;
mod pool;
mod queue;
mod v1;

pub use budget::OutputBudget;
pub use mailbox::{Delivery, End};
pub use pool::{TrunkPool, Trunks};
pub use queue::Room;
pub use v1::{Connection, SendResult};

/// The trunk was lost, with all its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the trunk was lost")]
pub struct TrunkLost;
