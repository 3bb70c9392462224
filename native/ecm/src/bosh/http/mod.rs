//! BOSH over HTTP connections.
//!
//! A connection is one task. It reads requests, hands them to their sessions and writes the answers in the
//! order of the requests, as HTTP has it; it reads on while a request is held, since the next one may be
//! what the first is answered for. When a request for another path comes, the connection goes back to the
//! relay once all before it are answered.

mod coding;
mod connection;
mod reading;
mod requests;
mod response;
mod wait;

pub use self::connection::serve;
