//! What comes before a client's first byte: a proxy's word on it, and TLS.

use std::sync::Arc;

use tokio::time::timeout;

use super::introduction::introduce;
use super::refusal::answer_and_close;
use crate::certificates::Purpose;
use crate::channel_binding::Handshake;
use crate::config::{Application, Service};
use crate::entrance::Arrival;
use crate::http::Reply;
use crate::metrics::{REFUSALS, Reason};
use crate::peer::addresses::TooMany;
use crate::peer::tls::{HandshakeError, TlsSocket};
use crate::peer::{Socket, socket};
use crate::shutdown::Phase;

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

/// Takes what comes before the client's first byte. `None` if there is no client after it.
pub async fn arrive(mut arrival: Arrival, preamble: Preamble) -> Option<Arrival> {
    if preamble.proxy_header {
        let proxy = arrival.peer;
        arrival = introduce(arrival).await?;
        // A proxy that speaks for itself, to ask for our health, is no client.
        if arrival.peer != proxy
            && let Err(too_many) = admit(&mut arrival)
        {
            refuse(arrival, preamble, too_many).await;
            return None;
        }
    }
    if preamble.tls {
        let purpose = match arrival.downstream.service.application() {
            Application::Http => Purpose::Http,
            Application::Xmpp => Purpose::Xmpp,
        };
        arrival = encrypt(arrival, purpose).await?;
    }
    Some(arrival)
}

/// Takes the place of a client that a proxy named among those of its address.
fn admit(arrival: &mut Arrival) -> Result<(), TooMany> {
    let downstream = &arrival.downstream;
    let connected = downstream
        .registries
        .connect(arrival.peer.ip(), &downstream.settings)?;
    arrival.downstream.place.hold(connected);
    Ok(())
}

async fn refuse(arrival: Arrival, preamble: Preamble, too_many: TooMany) {
    REFUSALS.of(too_many.reason()).add(1);
    tracing::debug!(peer = %arrival.peer, "refused: {too_many}");
    let reply =
        Reply::TooManyOfAddress.before_all(arrival.downstream.service.application(), preamble.tls);
    answer_and_close(arrival.downstream.socket, &reply).await;
}

/// Does the TLS handshake. `None` if there is no client after it.
pub async fn encrypt(mut arrival: Arrival, purpose: Purpose) -> Option<Arrival> {
    let Some(tls) = &arrival.downstream.settings.tls else {
        tracing::warn!(peer = %arrival.peer, "refused: there is no [[certificate]] for TLS");
        return None;
    };
    let Socket::Plain(stream) = arrival.downstream.socket else {
        return Some(arrival);
    };
    let config = Arc::clone(tls.config(purpose, arrival.downstream.client_certificates));
    let input = std::mem::take(&mut arrival.input);
    // The login of a stream can be bound to it. That by BOSH or WebSocket is bound to nothing, as with ejabberd's
    // own: a browser can't, a BOSH session has many connections, and to a client that binds elsewhere and says
    // that it would here too (RFC 5802, section 6) an offer would be an attack that it has missed.
    let listened =
        matches!(arrival.downstream.service, Service::Streams(_)).then(Handshake::default);
    let backlogs = &arrival.downstream.registries.backlogs;
    let handshake = TlsSocket::accept(stream, config, input, listened, backlogs);
    let limit = arrival.downstream.settings.limits.handshake_timeout;
    let peer = arrival.peer;
    let done = tokio::select! {
        done = timeout(limit, handshake) => done,
        // A client that has asked nothing is owed nothing.
        _ = arrival.phase.wait_for(|phase| *phase != Phase::Serving) => return None,
    };
    match done {
        Ok(Ok((socket, input))) => {
            arrival.downstream.socket = Socket::Tls(Box::new(socket));
            arrival.input = input;
            Some(arrival)
        }
        // A check whether the port is open.
        Ok(Err((HandshakeError::Left(0), _))) => None,
        Ok(Err((error, stream))) => {
            REFUSALS.of(Reason::TlsHandshake).add(1);
            tracing::debug!(%peer, "a TLS handshake failed: {error}");
            // So that it gets the alert.
            socket::close_gently(Socket::Plain(stream)).await;
            None
        }
        Err(_elapsed) => {
            REFUSALS.of(Reason::Timeout).add(1);
            tracing::debug!(%peer, "a TLS handshake failed: it took longer than handshake_timeout");
            None
        }
    }
}
