//! A trunk that speaks version 2: a yamux session, and a stream for each connection.
//!
//! The session is behind one lock, which nobody holds while waiting. What comes for a stream goes to
//! its [`Mailbox`] at once; its window is returned as the client's socket takes the bytes, so what waits
//! for one client is never more than a window.

mod mux;
mod queue;
mod run;
mod stream;
mod streams;

pub use self::mux::Multiplexer;
pub use self::queue::Queue;
pub use self::stream::Stream;
pub use self::streams::Accept;

#[cfg(test)]
mod tests;
