//! The client's side of a connection, whichever entrance serves it.

use std::net::SocketAddr;
use std::sync::Arc;

use megaphone_http::RequestHead;
use megaphone_trunk::proxy::Tls;

#[cfg(test)]
use crate::backlog::Backlogs;
use crate::config::{ClientCertificates, Service};
use crate::http::{Origins, Scheme, host_name};
#[cfg(test)]
use crate::node::Nodes;
use crate::peer::Socket;
use crate::peer::clients::Place;
use crate::registries::Registries;
use crate::settings::Settings;
use crate::trunk::{Content, Opening};

/// A client's connection and what it is served with. An entrance is handed it, keeps it and hands it on.
#[derive(Debug)]
pub struct Downstream {
    /// The client's socket.
    pub socket: Socket,
    /// What the client wants.
    pub service: Service,
    /// Whether the client is asked for a certificate if it has TLS.
    pub client_certificates: ClientCertificates,
    /// What a PROXY header said of the client.
    pub introduction: Option<Box<Introduction>>,
    /// The client's place among all clients.
    pub place: Place,
    /// What the client is held to.
    pub settings: Arc<Settings>,
    /// What it shares with all clients.
    pub registries: Arc<Registries>,
}

/// What a proxy said of a client that it connected.
#[derive(Debug)]
pub struct Introduction {
    /// The address that the client connected to.
    pub server: SocketAddr,
    /// The client's TLS, which ends at the proxy.
    pub tls: Option<Tls>,
}

impl Downstream {
    /// The client's TLS with this program, or else with a proxy in front of it that says more than its scheme.
    pub fn tls(&self) -> Option<Tls> {
        let introduced = || self.introduction.as_ref().and_then(|it| it.tls.clone());
        self.socket.tls().or_else(introduced)
    }

    /// The client's TLS, of which a proxy may have said this scheme and no more.
    pub fn tls_or(&self, scheme: Scheme) -> Option<Tls> {
        self.tls().or_else(|| scheme.tls())
    }

    /// What ejabberd is told of a session that this request asks for.
    pub fn opening_for(&self, head: &RequestHead, origins: &Origins, content: Content) -> Opening {
        let host = head.header("Host").and_then(host_name);
        self.opening(origins.client(head), host, content, origins.scheme(head))
    }

    /// What ejabberd is told of a connection of this client, which a proxy may have connected.
    pub fn opening(
        &self,
        client: SocketAddr,
        host: Option<String>,
        content: Content,
        scheme: Scheme,
    ) -> Opening {
        let server = match &self.introduction {
            Some(introduction) => introduction.server,
            // It can't fail as long as the socket is there.
            None => self.socket.local_addr().unwrap_or(client),
        };
        Opening {
            host,
            ..Opening::new(client, server, content, self.tls_or(scheme))
        }
    }

    /// One that nothing was said of.
    #[cfg(test)]
    pub fn for_test(
        stream: tokio::net::TcpStream,
        place: Place,
        settings: Arc<Settings>,
        nodes: Arc<Nodes>,
    ) -> Self {
        Self {
            socket: Socket::Plain(stream),
            service: Service::Http,
            client_certificates: ClientCertificates::Off,
            introduction: None,
            place,
            registries: Arc::new(Registries::new(
                nodes,
                Arc::new(Backlogs::new(settings.limits.max_input_buffer)),
            )),
            settings,
        }
    }
}
