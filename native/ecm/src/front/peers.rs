//! Where other ECMs connect, which hand on requests of their clients.
//!
//! Each stream of such a connection is one client's: it begins with a PROXY header, and from there on it is a client
//! as any other.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::accept::{Acceptor, BindError, Descriptor};
use super::dispatch;
use super::inherited::Inherited;
use super::introduction::introduce_by_trusted;
use super::listener::Context;
use crate::config::{ClientCertificates, Service};
use crate::entrance::{Arrival, Downstream};
use crate::fleet::{Fleet, Opener};
use crate::metrics::FLEET_RECEIVED;
use crate::peer::Socket;
use crate::peer::handed::HandedSocket;
use crate::trunk::{Reader, Stream, Writer, prepare};

/// A socket that other ECMs connect to.
#[derive(Debug)]
pub struct PeerListener {
    acceptor: Acceptor,
    fleet: Arc<Fleet>,
    context: Arc<Context>,
}

impl PeerListener {
    /// Binds the address and says so.
    ///
    /// # Errors
    /// [`BindError`], which names the address.
    pub fn bind(
        fleet: Arc<Fleet>,
        inherited: &mut Inherited,
        context: Arc<Context>,
    ) -> Result<Self, BindError> {
        let (local, acceptor) = Acceptor::bind(fleet.address(), inherited)?;
        let encryption = match fleet.tls() {
            Some(_) => ", TLS",
            None => "",
        };
        tracing::info!("other ECMs connect at {local} (fleet{encryption})");
        Ok(Self {
            acceptor,
            fleet,
            context,
        })
    }

    /// Accepts other ECMs until the program's end begins.
    pub async fn run(&mut self) {
        let mut admission = self.context.phases.admission();
        while let Some(accepted) = self.acceptor.next_while_open(&mut admission).await {
            // It tries again in a while.
            if accepted.descriptor == Descriptor::Kept || prepare(&accepted.stream).is_err() {
                continue;
            }
            let (fleet, context) = (Arc::clone(&self.fleet), Arc::clone(&self.context));
            tokio::spawn(async move {
                if let Some((reader, writer)) =
                    encrypt(accepted.stream, accepted.peer, &fleet, &context).await
                {
                    serve(reader, writer, accepted.peer, Opener::Peer, &context).await;
                }
            });
        }
    }
}

async fn encrypt(
    stream: TcpStream,
    peer: SocketAddr,
    fleet: &Fleet,
    context: &Context,
) -> Option<(Reader, Writer)> {
    let Some(tls) = fleet.tls() else {
        let (reader, writer) = stream.into_split();
        return Some((Box::new(reader), Box::new(writer)));
    };
    let limit = context.settings.get().limits.handshake_timeout;
    let why = match timeout(limit, TlsAcceptor::from(tls).accept(stream)).await {
        Ok(Ok(stream)) => {
            let (reader, writer) = tokio::io::split(stream);
            return Some((Box::new(reader), Box::new(writer)));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => "it did not come within handshake_timeout".to_owned(),
    };
    tracing::warn!(
        %peer,
        "no TLS with another ECM: {why}; its fleet.tls.cert has to be signed by a CA in this one's fleet.tls.ca"
    );
    None
}

/// Takes the streams of a connection until it ends.
pub(super) async fn serve(
    reader: Reader,
    writer: Writer,
    peer: SocketAddr,
    opener: Opener,
    context: &Arc<Context>,
) {
    let (accept, mut opened) = unbounded_channel();
    let link = context.of_peers.accept(opener, accept);
    tracing::debug!(%peer, "another ECM has connected");
    let mut running = tokio::spawn(Arc::clone(&link).run(reader, writer));
    loop {
        tokio::select! {
            Some(opened) = opened.recv() => start(link.accept(opened), peer, context),
            ended = &mut running => {
                if let Ok(lost) = ended {
                    tracing::debug!(%peer, "the connection of another ECM has ended: {}", lost.of_peer());
                }
                return;
            }
        }
    }
}

fn start(stream: Stream, peer: SocketAddr, context: &Context) {
    FLEET_RECEIVED.add(1);
    let arrival = Arrival {
        downstream: Downstream {
            socket: Socket::Handed(Box::new(HandedSocket::new(stream))),
            service: Service::Http,
            client_certificates: ClientCertificates::Off,
            introduction: None,
            // It has one there, and was held to the limits of its address.
            place: context.clients.guest(),
            settings: context.settings.get(),
            registries: Arc::clone(&context.registries),
        },
        peer,
        input: Vec::new(),
        phase: context.sessions.connections(),
    };
    dispatch::start_after(introduce_by_trusted(arrival), &context.sessions);
}
