//! What an entrance (relay, BOSH, WebSocket, XML streams) is handed, and hands on.
//!
//! ```text
//!   listener ──Arrival──> relay, streams          WebSocket, BOSH <──Handover──> relay
//! ```
//!
//! Each entrance is a task of its own kind, no larger than it needs to be. None knows another: one that has a
//! connection which is another's ends with an [`Onward`], and [`front`](crate::front) starts the next.

mod arrival;
mod downstream;
mod handover;
mod login;
mod serve;

pub use self::arrival::Arrival;
pub use self::downstream::{Downstream, Introduction};
pub use self::handover::{Handover, Onward};
pub use self::login::{LOGIN_TOO_LONG, QueuedLogin, TOO_MANY_LOGINS, UNREACHABLE};
pub use self::serve::{Entrance, serve};
