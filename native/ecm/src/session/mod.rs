//! A session: one client's XMPP stream, document by document, on a connection of its own in a trunk.
//!
//! ```text
//!   client <── XML stream, WebSocket messages, BOSH bodies ──> Session <── messages ──> ejabberd
//! ```
//!
//! Whatever a client speaks, its session carries the documents of RFC 7395, each after its length, with
//! `<open/>` and `<close/>` for the stream's own tags. It stays on its trunk, unless it [moves](moving) to another
//! one. An idle one holds no buffer.

mod channel;
mod counted;
mod departure;
mod documents;
mod incoming;
mod live;
mod login;
mod moving;
mod origin;
pub mod outlet;

pub use self::departure::{Cause, Left};
pub use self::documents::Documents;
pub use self::live::{Received, SendError, Session};
pub use self::login::{LoginProgress, MAX_BEFORE_LOGIN, document_limits};
pub use self::origin::Origin;
pub use crate::trunk::Sent;

#[cfg(test)]
mod move_tests;
#[cfg(test)]
mod tests;
