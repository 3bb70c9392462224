//! What a proxy in front says of a client before its first byte: the PROXY protocol, versions 1 and 2.

use std::io;
use std::net::SocketAddr;

use megaphone_trunk::proxy::{self, Addresses, Command, Header, ProxyError};
use tokio::time::timeout;

use crate::backlog::{Backlog, Evicted};
use crate::entrance::{Arrival, Introduction};
use crate::metrics::{REFUSALS, Reason};
use crate::peer::task;
use crate::shutdown::Phase;
use crate::trunk::canonical;

/// Reads the PROXY header that has to come first, and puts what it says into the arrival. `None` if
/// the connection has to be closed without a word: the specification wants no answer.
pub async fn introduce(arrival: Arrival) -> Option<Arrival> {
    let peer = arrival.peer;
    if !may_introduce(&arrival) {
        REFUSALS.of(Reason::ProxyHeader).add(1);
        tracing::warn!(%peer, "refused: not one of the trusted_proxies, and with proxy_protocol nobody else may connect");
        return None;
    }
    introduce_by_trusted(arrival).await
}

/// The same for a peer that is known to be trusted.
pub async fn introduce_by_trusted(mut arrival: Arrival) -> Option<Arrival> {
    let peer = arrival.peer;
    let limit = arrival.downstream.settings.limits.head_timeout;
    let mut phase = arrival.phase.clone();
    let mut backlog = Backlog::default();
    let result = tokio::select! {
        result = timeout(limit, read(&mut arrival, &mut backlog)) => match result {
            Ok(result) => result,
            Err(_elapsed) => Err(Refusal::TooLate),
        },
        // A client that has asked nothing is owed nothing.
        _ = phase.wait_for(|phase| *phase != Phase::Serving) => return None,
    };
    match result {
        Ok(()) => Some(arrival),
        // A check whether the port is open.
        Err(Refusal::Closed(0)) => None,
        Err(refusal) => {
            REFUSALS.of(Reason::ProxyHeader).add(1);
            tracing::warn!(%peer, "closing a connection without a valid PROXY header: {refusal}");
            None
        }
    }
}

/// Whose word is taken for where a client comes from.
fn may_introduce(arrival: &Arrival) -> bool {
    let ip = arrival.peer.ip().to_canonical();
    ip.is_loopback() || arrival.downstream.settings.is_trusted_proxy(ip)
}

/// Why a connection is closed.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Invalid(#[from] ProxyError),
    #[error("closed after {0} bytes of the header")]
    Closed(usize),
    #[error("the header did not arrive within head_timeout")]
    TooLate,
    #[error("{0}")]
    Evicted(#[from] Evicted),
    #[error("{0}")]
    Socket(#[from] io::Error),
}

async fn read(arrival: &mut Arrival, backlog: &mut Backlog) -> Result<(), Refusal> {
    loop {
        let input = &mut arrival.input;
        backlog.count(input.capacity(), &arrival.downstream.registries.backlogs)?;
        let (mut reader, _writer) = arrival.downstream.socket.split();
        let length = tokio::select! {
            length = reader.read(|bytes| input.extend_from_slice(bytes)) => length?,
            evicted = task::evicted(backlog) => return Err(evicted.into()),
        };
        if length == 0 {
            return Err(Refusal::Closed(input.len()));
        }
        let Some((header, length)) = proxy::read_any(input)? else {
            continue;
        };
        let (tls, addresses) = said(header);
        // A proxy that asks for our health speaks for itself.
        let server = match addresses {
            Some((client, server)) => {
                arrival.peer = canonical(client);
                server
            }
            None => arrival.downstream.socket.local_addr()?,
        };
        arrival.input.drain(..length);
        arrival.downstream.introduction = Some(Box::new(Introduction {
            server: canonical(server),
            tls,
        }));
        return Ok(());
    }
}

/// The client's TLS, and its address with the one that it connected to.
fn said(header: Header) -> (Option<proxy::Tls>, Option<(SocketAddr, SocketAddr)>) {
    let addresses = match header.addresses {
        Addresses::Inet {
            source,
            destination,
        } => Some((source, destination)),
        _ => None,
    };
    match header.command {
        // A certificate counts for nothing that was not seen here: it would be a login, and whoever may connect
        // could say it.
        Command::Proxy => (
            header.tls.map(|tls| proxy::Tls {
                certificate: None,
                ..tls
            }),
            addresses,
        ),
        Command::Local => (None, None),
    }
}
