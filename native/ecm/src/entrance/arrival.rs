//! A client on its way to the entrance that serves it.

use std::net::SocketAddr;
use std::sync::Arc;

use megaphone_trunk::proxy::Tls;
use tokio::sync::watch;

use crate::config::{ClientCertificates, Service};
use crate::peer::Socket;
use crate::peer::clients::Place;
use crate::settings::Settings;
use crate::shutdown::Phase;
use crate::trunk::Trunks;

/// A client that just connected, and what it is served with.
#[derive(Debug)]
pub struct Arrival {
    /// Its socket.
    pub socket: Socket,
    /// Its address.
    pub peer: SocketAddr,
    /// What it wants.
    pub service: Service,
    /// Whether it is asked for a certificate if it has TLS.
    pub client_certificates: ClientCertificates,
    /// What a PROXY header said of it.
    pub introduction: Option<Box<Introduction>>,
    /// Its first bytes, which came with what was before them.
    pub input: Vec<u8>,
    /// Its place among the clients.
    pub place: Place,
    /// What it is held to.
    pub settings: Arc<Settings>,
    /// The way to ejabberd.
    pub trunks: Arc<Trunks>,
    /// How far the program's end has come.
    pub phase: watch::Receiver<Phase>,
}

/// What a proxy said of a client that it connected.
#[derive(Debug)]
pub struct Introduction {
    /// The address that the client connected to.
    pub server: SocketAddr,
    /// The client's TLS, which ends at the proxy.
    pub tls: Option<Tls>,
}

/// The client's TLS with this program, or else with a proxy in front of it.
pub fn tls_of(socket: &Socket, introduction: Option<&Introduction>) -> Option<Tls> {
    let introduced = || introduction.and_then(|it| it.tls.clone());
    socket.tls().or_else(introduced)
}
