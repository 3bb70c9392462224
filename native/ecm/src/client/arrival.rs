//! What comes before a client's first byte: a proxy's word on it, and TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use megaphone_trunk::proxy::Tls;
use tokio::sync::watch;
use tokio::time::timeout;

use super::answer_and_close;
use super::introduction::introduce;
use super::replies::Reply;
use super::socket::{self, Socket};
use super::tls::{HandshakeError, TlsSocket};
use crate::addresses::TooMany;
use crate::certificates::Purpose;
use crate::channel_binding::Handshake;
use crate::clients::Place;
use crate::config::{Application, Service};
use crate::metrics::{REFUSALS, Reason};
use crate::settings::Settings;
use crate::shutdown::Phase;
use crate::stream;
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

/// What a connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preamble {
    /// A PROXY header.
    pub proxy_header: bool,
    /// A TLS handshake, after it.
    pub tls: bool,
}

impl Preamble {
    /// The client's own bytes come first.
    pub const NONE: Self = Self {
        proxy_header: false,
        tls: false,
    };
}

/// Takes what comes before the client's first byte, and then serves the client in a task of its own:
/// in this one it would keep the room that a handshake takes.
pub async fn arrive(mut arrival: Arrival, preamble: Preamble) {
    if preamble.proxy_header {
        let proxy = arrival.peer;
        match introduce(arrival).await {
            Some(introduced) => arrival = introduced,
            None => return,
        }
        // A proxy that speaks for itself, to ask for our health, is no client.
        if arrival.peer != proxy
            && let Err(too_many) = admit(&mut arrival)
        {
            refuse(arrival, preamble, too_many).await;
            return;
        }
    }
    if preamble.tls {
        let purpose = match arrival.service.application() {
            Application::Http => Purpose::Http,
            Application::Xmpp => Purpose::Xmpp,
        };
        match encrypt(arrival, purpose).await {
            Some(encrypted) => arrival = encrypted,
            None => return,
        }
    }
    start(arrival);
}

/// Takes the place of a client that a proxy named among those of its address.
fn admit(arrival: &mut Arrival) -> Result<(), TooMany> {
    let connected = arrival.settings.connect(arrival.peer.ip())?;
    arrival.place.hold(connected);
    Ok(())
}

async fn refuse(arrival: Arrival, preamble: Preamble, too_many: TooMany) {
    REFUSALS.of(too_many.reason()).add(1);
    tracing::debug!(peer = %arrival.peer, "refused: {too_many}");
    let reply = Reply::TooManyOfAddress.before_all(arrival.service.application(), preamble.tls);
    answer_and_close(arrival.socket, &reply).await;
}

/// Does the handshake of a client that was told to go on with it, after STARTTLS.
pub async fn go_on_with_tls(arrival: Arrival) {
    if let Some(arrival) = encrypt(arrival, Purpose::StartTls).await {
        start(arrival);
    }
}

/// Serves a client in a task of its own.
pub fn start(arrival: Arrival) {
    match arrival.service {
        Service::Http | Service::StreamRelay => tokio::spawn(super::serve(arrival)),
        Service::Streams(start_tls) => tokio::spawn(stream::serve(arrival, start_tls)),
    };
}

/// Does the TLS handshake. `None` if there is no client after it.
async fn encrypt(mut arrival: Arrival, purpose: Purpose) -> Option<Arrival> {
    let Some(tls) = &arrival.settings.tls else {
        tracing::warn!(peer = %arrival.peer, "refused: there is no [[certificate]] for TLS");
        return None;
    };
    let Socket::Plain(stream) = arrival.socket else {
        return Some(arrival);
    };
    let config = Arc::clone(tls.config(purpose));
    let input = std::mem::take(&mut arrival.input);
    // The login of a stream can be bound to it. That by BOSH or WebSocket is bound to nothing, as with ejabberd's
    // own: a browser can't, a BOSH session has many connections, and to a client that binds elsewhere and says
    // that it would here too (RFC 5802, section 6) an offer would be an attack that it has missed.
    let listened = matches!(arrival.service, Service::Streams(_)).then(Handshake::default);
    let backlogs = &arrival.settings.backlogs;
    let handshake = TlsSocket::accept(stream, config, input, listened, backlogs);
    let limit = arrival.settings.limits.handshake_timeout;
    let peer = arrival.peer;
    let done = tokio::select! {
        done = timeout(limit, handshake) => done,
        // Nothing is due to who asked nothing.
        _ = arrival.phase.wait_for(|phase| *phase != Phase::Serving) => return None,
    };
    match done {
        Ok(Ok((socket, input))) => {
            arrival.socket = Socket::Tls(Box::new(socket));
            arrival.input = input;
            Some(arrival)
        }
        // A check whether the port is open.
        Ok(Err((HandshakeError::Left(0), _))) => None,
        Ok(Err((error, stream))) => {
            REFUSALS.of(Reason::TlsHandshake).add(1);
            tracing::debug!(%peer, "no TLS with a client: {error}");
            // So that it gets the alert.
            socket::close_gently(Socket::Plain(stream)).await;
            None
        }
        Err(_elapsed) => {
            REFUSALS.of(Reason::Timeout).add(1);
            tracing::debug!(%peer, "no TLS with a client: it did not come within handshake_timeout");
            None
        }
    }
}
