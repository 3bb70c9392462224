//! Where clients connect.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::accept::{Accepted, Acceptor, BindError, Descriptor};
use super::arrive::{Preamble, arrive};
use super::inherited::Inherited;
use super::{dispatch, refusal};
use crate::bosh::Sessions;
use crate::config::{ClientCertificates, ListenerConfig, ListenerKind, Service};
use crate::entrance::{Arrival, Downstream};
use crate::fleet::Shared;
use crate::http::Reply;
use crate::metrics::{REFUSALS, Reason};
use crate::peer::clients::{Clients, Place};
use crate::peer::{self, Socket};
use crate::registries::Registries;
use crate::settings::{CurrentSettings, Settings};
use crate::shutdown::Phases;

/// A socket that clients connect to.
#[derive(Debug)]
pub struct Listener {
    acceptor: Acceptor,
    kind: ListenerKind,
    service: Service,
    client_certificates: ClientCertificates,
    preamble: Preamble,
    context: Arc<Context>,
}

/// What a listener needs for its clients.
#[derive(Debug)]
pub struct Context {
    /// What all clients share.
    pub registries: Arc<Registries>,
    /// What clients are held to.
    pub settings: Arc<CurrentSettings>,
    /// Who is connected.
    pub clients: Arc<Clients>,
    /// The BOSH sessions.
    pub sessions: Arc<Sessions>,
    /// As many clients that came in vain are told so at leisure.
    pub refused: Arc<Semaphore>,
    /// What connections of other ECMs share.
    pub of_peers: Arc<Shared>,
    /// Whether clients are accepted, and how far the program's end has come for each.
    pub phases: Arc<Phases>,
}

impl Listener {
    /// Binds a listener's address and says so.
    ///
    /// # Errors
    /// [`BindError`], which names the address: it is in use, or not one of this machine.
    pub fn bind(
        config: &ListenerConfig,
        inherited: &mut Inherited,
        context: Arc<Context>,
    ) -> Result<Self, BindError> {
        let (local, acceptor) = Acceptor::bind(config.address, inherited)?;
        let behind = if config.proxy_protocol {
            ", PROXY protocol"
        } else {
            ""
        };
        tracing::info!("listening on {local} ({}{behind})", config.kind.name());
        Ok(Self {
            acceptor,
            kind: config.kind,
            service: config.service,
            client_certificates: config.client_certificates,
            preamble: Preamble {
                proxy_header: config.proxy_protocol,
                tls: config.kind.is_tls(),
            },
            context,
        })
    }

    /// Accepts clients until the program's end begins.
    pub async fn run(&mut self) {
        let mut admission = self.context.phases.admission();
        while let Some(accepted) = self.acceptor.next_while_open(&mut admission).await {
            self.take(accepted);
        }
    }

    fn take(&self, accepted: Accepted) {
        let Accepted {
            stream,
            peer,
            descriptor,
        } = accepted;
        if peer::prepare(&stream).is_err() {
            return;
        }
        if descriptor == Descriptor::Kept {
            REFUSALS.of(Reason::MaxConnections).add(1);
            refusal::refuse_at_once(&stream, self.kind, Reply::TooManyClients);
            return;
        }
        let settings = self.context.settings.get();
        match self.place(peer, &settings) {
            Ok(place) => self.start(Arrival {
                downstream: Downstream {
                    socket: Socket::Plain(stream),
                    service: self.service,
                    client_certificates: self.client_certificates,
                    introduction: None,
                    place,
                    settings,
                    registries: Arc::clone(&self.context.registries),
                },
                peer,
                input: Vec::new(),
                phase: self.context.phases.client(),
            }),
            Err((reason, reply)) => {
                REFUSALS.of(reason).add(1);
                self.refuse(stream, reply);
            }
        }
    }

    fn start(&self, arrival: Arrival) {
        let preamble = self.preamble;
        if preamble == Preamble::NONE {
            dispatch::start(arrival, &self.context.sessions);
            return;
        }
        dispatch::start_after(arrive(arrival, preamble), &self.context.sessions);
    }

    /// Tells a client that it came in vain: so that it hears it for sure, unless so many others do already.
    fn refuse(&self, stream: TcpStream, reply: Reply) {
        let kind = self.kind;
        match Arc::clone(&self.context.refused).try_acquire_owned() {
            Ok(permit) => {
                tokio::spawn(async move {
                    refusal::refuse(stream, kind, reply).await;
                    drop(permit);
                });
            }
            Err(_) => refusal::refuse_at_once(&stream, kind, reply),
        }
    }

    /// A client's place among all and, unless a PROXY header has to say it first, among those of its
    /// address.
    fn place(&self, peer: SocketAddr, settings: &Settings) -> Result<Place, (Reason, Reply)> {
        let max = settings.limits.max_connections;
        let place = self.context.clients.place(max);
        let mut place = place.ok_or((Reason::MaxConnections, Reply::TooManyClients))?;
        if !self.preamble.proxy_header {
            let address = peer.ip().to_canonical();
            let connected = self.context.registries.connect(address, settings);
            place.hold(connected.map_err(|too_many| (too_many.reason(), Reply::TooManyOfAddress))?);
        }
        Ok(place.counted(self.kind))
    }
}
