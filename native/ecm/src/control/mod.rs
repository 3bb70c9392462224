//! Commands for the program that runs, on a Unix socket: `megaphone-ecm ctl`.
//!
//! ```text
//!   ctl: client ──a line of JSON, a command──> serve ──> Nodes, or the server for a reload
//!               <──a line of JSON, an answer──
//! ```
//!
//! Whoever can open the socket may give all commands, so only the program's user can.

pub mod client;
mod listen;
mod protocol;
mod serve;
mod table;

pub use self::listen::{ControlError, Listener};
pub use self::serve::{Reloaded, Serve};
