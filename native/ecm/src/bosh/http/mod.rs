//! BOSH over HTTP connections.
//!
//! A connection is one task. It reads requests, hands them to their sessions and writes the answers in the
//! order of the requests, as HTTP has it; it reads on while a request is held, since the next one may be
//! what the first is answered for. When a request for another path comes, the connection goes back to the
//! [relay](crate::client) once all before it are answered.

mod coding;
mod connection;
mod requests;
mod response;
mod wait;

use crate::client::Handover;

/// Serves a connection whose next request is for BOSH, in a task of its own.
pub fn start(handover: Handover) {
    let phase = handover.phase.clone();
    tokio::spawn(connection::run(handover, phase));
}
