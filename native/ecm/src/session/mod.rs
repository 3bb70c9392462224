//! A session: one client's XMPP stream, document by document, on a connection of its own in a trunk.
//!
//! ```text
//!   client <── XML stream, WebSocket messages, BOSH bodies ──> Session <── messages ──> ejabberd
//! ```
//!
//! Whatever a client speaks, its session carries the documents of RFC 7395, each after its length, with
//! `<open/>` and `<close/>` for the stream's own tags. A session stays on its trunk for life. An idle one
//! holds no buffer.

mod counted;
mod departure;
mod documents;
mod incoming;
mod live;
mod login;
pub mod outlet;

pub use self::departure::{Cause, Left};
pub use self::documents::Documents;
pub use self::live::{Received, SendError, Session};
pub use self::login::{LoginProgress, MAX_BEFORE_LOGIN, document_limits};
pub use crate::trunk::Sent;

#[cfg(test)]
mod tests;
