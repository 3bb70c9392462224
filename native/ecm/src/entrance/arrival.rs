//! A client on its way to the entrance that serves it.

use std::net::SocketAddr;

use tokio::sync::watch;

use super::downstream::Downstream;
use crate::shutdown::Phase;

/// A client that just connected.
#[derive(Debug)]
pub struct Arrival {
    /// Its connection.
    pub downstream: Downstream,
    /// Its address.
    pub peer: SocketAddr,
    /// Its first bytes, which came with what was before them.
    pub input: Vec<u8>,
    /// How far the program's end has come.
    pub phase: watch::Receiver<Phase>,
}
