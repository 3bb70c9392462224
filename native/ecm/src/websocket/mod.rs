//! XMPP over WebSocket (RFC 7395, RFC 6455).
//!
//! ```text
//!   client ──bytes──> MessageReader ──message──> framing::check ──document──> Session
//!   client <──frames──────────────────────────────document─────────────────── Session
//! ```
//!
//! [`frame`], [`close`] and [`reader`] are RFC 6455 without a socket, [`stream`] is what RFC 7395 says of the
//! documents that pass; [`client`] is the task that has them all. An idle client holds no buffer. Its
//! handshake is [`http`](crate::http::handshake)'s.

mod client;
mod close;
mod error;
mod frame;
mod reader;
mod stream;

pub use self::client::serve;
