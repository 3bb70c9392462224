//! A client's connection on its way from one entrance to another.

use bytes::Bytes;
use megaphone_http::{RequestDecoder, RequestHead};
use tokio::sync::watch;

use super::arrival::Arrival;
use super::downstream::Downstream;
use crate::http::{Origins, Route, Unread};
use crate::shutdown::Phase;

/// Where a connection goes on, when its entrance is done with it.
#[derive(Debug)]
pub enum Onward {
    /// It is an XML stream that goes on with TLS.
    Tls(Arrival),
    /// Its next request is for BOSH.
    Bosh(Handover),
    /// Its last request was a WebSocket handshake, with the answer that it is due.
    WebSocket(Handover, Bytes),
    /// Its next request is not for BOSH; the route is its own, if it has one.
    Relay(Handover, Option<Route>),
}

/// An HTTP connection with no answer due but that to the head that was read last.
#[derive(Debug)]
pub struct Handover {
    /// The connection.
    pub downstream: Downstream,
    /// How far the program's end has come.
    pub phase: watch::Receiver<Phase>,
    /// Whose its requests are.
    pub origins: Origins,
    /// The decoder, behind the head.
    pub decoder: RequestDecoder,
    /// What was read and not decoded.
    pub input: Unread,
    /// The head.
    pub head: RequestHead,
}
