//! Virtual connections with a socket's semantics: what gen_tcp and inet answer, for connections
//! that are frames in a trunk. Sans-IO: bytes of the trunk go in and come out, processes are
//! values, and messages to them go through a [`Sink`].
//!
//! ```text
//!  trunk's reader                       Trunk                       owner (ejabberd_http ...)
//!  --------------                 +---------------+                 -------------------------
//!  bytes --feed--> v1::Decoder -> | names -> slab | <--recv, send--
//!                                 |  Connection   | --wake, deliver-> (Sink)
//!  trunk's writer                 |    Input      |
//!  bytes <-take_output-- turns <--|    Output     |
//!                                 +---------------+
//! ```
//!
//! A connection that is idle holds no buffer. All methods take `&self`: the reader, the writer
//! and the owners are different processes on different schedulers.
#![forbid(unsafe_code)]

mod backlog;
pub mod config;
mod connection;
mod counters;
mod handle;
mod id_table;
mod input;
mod link;
mod names;
pub mod options;
pub mod origin;
mod outbox;
mod overdue;
pub mod sink;
mod slab;
#[cfg(test)]
mod tests;
mod trunk;
mod turns;
mod watch;

pub use connection::{Recv, Send, Statistics, Traffic};
pub use counters::{Sessions, Status};
pub use handle::Handle;
pub use overdue::Overdue;
pub use sink::Sink;
pub use trunk::{Change, Direction, Fed, Monitor, Options, Trunk, TrunkError};
