//! Accepting clients.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use crate::client::{self, Arrival, Preamble, Reply, Socket};
use crate::clients::{Clients, Place};
use crate::config::{ListenerConfig, ListenerKind, Service};
use crate::metrics::{REFUSALS, Reason};
use crate::settings::{CurrentSettings, Settings};
use crate::shutdown::Phase;
use crate::trunk::Trunks;

/// How many connections may wait to be accepted. A storm of logins comes faster than they are; the
/// system cuts it to its own limit (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;

/// How long to wait after a failure that the next attempt would meet again: no file descriptors, no
/// memory.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// How many clients that came in vain are told so at once; the others are closed without a word.
const REFUSED_AT_ONCE: usize = 256;

/// A socket that clients connect to.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    kind: ListenerKind,
    service: Service,
    preamble: Preamble,
    context: Arc<Context>,
}

/// What a listener needs for its clients.
#[derive(Debug)]
pub struct Context {
    /// The way to ejabberd.
    pub trunks: Arc<Trunks>,
    /// What clients are held to.
    pub settings: Arc<CurrentSettings>,
    /// Who is connected.
    pub clients: Arc<Clients>,
    /// How far the program's end has come.
    pub phase: watch::Receiver<Phase>,
}

/// A listener's address can't be used.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: {source}")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

impl Listener {
    /// Binds a listener's address and says so.
    ///
    /// # Errors
    /// [`BindError`], which names the address: it is in use, or not one of this machine.
    pub fn bind(config: &ListenerConfig, context: Arc<Context>) -> Result<Self, BindError> {
        let (local, socket) = bind(config.address)?;
        let behind = match config.proxy_protocol {
            true => ", PROXY protocol",
            false => "",
        };
        tracing::info!("listening on {local} ({}{behind})", config.kind.name());
        Ok(Self {
            socket,
            kind: config.kind,
            service: config.service,
            preamble: Preamble {
                proxy_header: config.proxy_protocol,
                tls: config.kind.is_tls(),
            },
            context,
        })
    }

    /// Accepts clients until the program's end begins.
    pub async fn run(self) {
        let mut phase = self.context.phase.clone();
        let refusals = Arc::new(Semaphore::new(REFUSED_AT_ONCE));
        let mut failing = Failing::No;
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    failing = Failing::No;
                    self.start(stream, peer, &refusals);
                }
                // The client left before it was accepted.
                Err(error) if is_about_one_client(&error) => {}
                Err(error) => {
                    if failing == Failing::No {
                        tracing::error!("can't accept clients, trying again: {error}");
                    }
                    failing = Failing::Told;
                    sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    fn start(&self, stream: TcpStream, peer: SocketAddr, refusals: &Arc<Semaphore>) {
        let settings = self.context.settings.get();
        if client::prepare(&stream).is_err() {
            return;
        }
        match self.place(peer, &settings) {
            Ok(place) => {
                let arrival = Arrival {
                    socket: Socket::Plain(stream),
                    peer,
                    service: self.service,
                    introduction: None,
                    input: Vec::new(),
                    place,
                    settings,
                    trunks: Arc::clone(&self.context.trunks),
                    phase: self.context.phase.clone(),
                };
                match self.preamble {
                    Preamble::NONE => client::start(arrival),
                    preamble => {
                        tokio::spawn(client::arrive(arrival, preamble));
                    }
                }
            }
            Err((reason, reply)) => {
                REFUSALS.of(reason).add(1);
                if let Ok(permit) = Arc::clone(refusals).try_acquire_owned() {
                    let kind = self.kind;
                    tokio::spawn(async move {
                        client::refuse(stream, kind, reply).await;
                        drop(permit);
                    });
                }
            }
        }
    }
}

impl Listener {
    /// A client's place among all and, unless a PROXY header has to say it first, among those of its
    /// address.
    fn place(&self, peer: SocketAddr, settings: &Settings) -> Result<Place, (Reason, Reply)> {
        let max = settings.limits.max_connections;
        let place = self.context.clients.place(max);
        let mut place = place.ok_or((Reason::MaxConnections, Reply::TooManyClients))?;
        if !self.preamble.proxy_header {
            let connected = settings.connect(peer.ip().to_canonical());
            place.hold(connected.map_err(|too_many| (too_many.reason(), Reply::TooManyOfAddress))?);
        }
        Ok(place.counted(self.kind))
    }
}

/// Whether the same failure was met by the attempt before, and told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failing {
    No,
    Told,
}

/// Binds an address, and says which it came to be.
///
/// # Errors
/// [`BindError`].
pub fn bind(address: SocketAddr) -> Result<(SocketAddr, TcpListener), BindError> {
    let bound = listen(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
    bound.map_err(|source| BindError { address, source })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Without it a restart would have to wait for the old connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn is_about_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied};
    // PermissionDenied: a firewall rule of this machine.
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | PermissionDenied
    )
}
