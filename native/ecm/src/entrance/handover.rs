//! A client's connection on its way from one entrance to another.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
#[cfg(test)]
use bytes::BytesMut;
use megaphone_http::{RequestDecoder, RequestHead};
use megaphone_trunk::proxy::ChannelBindings;
use tokio::sync::watch;

use super::arrival::{Arrival, Introduction, tls_of};
use crate::config::{ClientCertificates, Service};
use crate::http::{Origins, Route, Unread, host_name};
use crate::peer::Socket;
use crate::peer::clients::Place;
use crate::settings::Settings;
use crate::shutdown::Phase;
use crate::trunk::{Content, Opening, Trunks};

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
    /// Its socket.
    pub stream: Socket,
    /// What it wants.
    pub service: Service,
    /// What a PROXY header said of it.
    pub introduction: Option<Box<Introduction>>,
    /// Its place among the clients.
    pub place: Place,
    /// What it is held to.
    pub settings: Arc<Settings>,
    /// The way to ejabberd.
    pub trunks: Arc<Trunks>,
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

impl Handover {
    /// Whose the request is: who connected, or whom a trusted proxy names.
    pub fn client(&self) -> SocketAddr {
        self.origins.client(&self.head)
    }

    /// What ejabberd is told of a connection for the request.
    pub fn opening(&self, content: Content) -> Opening {
        let client = self.client();
        let server = match &self.introduction {
            Some(introduction) => introduction.server,
            // It can't fail as long as the socket is there.
            None => self.stream.local_addr().unwrap_or(client),
        };
        Opening {
            client,
            server,
            host: self.head.header("Host").and_then(host_name),
            content,
            tls: tls_of(&self.stream, self.introduction.as_deref())
                .or_else(|| self.origins.scheme(&self.head).tls()),
            bindings: ChannelBindings::default(),
            fields: Some(self.origins.fields(&self.head, client)),
        }
    }

    /// A connection of `peer` whose head was read, with no proxy before it.
    #[cfg(test)]
    pub fn for_test(
        stream: Socket,
        peer: SocketAddr,
        place: Place,
        settings: Arc<Settings>,
        trunks: Arc<Trunks>,
        phase: watch::Receiver<Phase>,
        (decoder, input, head): (RequestDecoder, BytesMut, RequestHead),
    ) -> Self {
        Self {
            stream,
            service: Service::Http,
            introduction: None,
            place,
            settings,
            trunks,
            phase,
            origins: Origins::Peer(peer),
            decoder,
            input: input.into(),
            head,
        }
    }

    /// The connection as it arrived, and what was read of it.
    pub fn into_parts(self) -> (Arrival, Origins, RequestDecoder, Unread, RequestHead) {
        let arrival = Arrival {
            socket: self.stream,
            peer: self.origins.peer(),
            service: self.service,
            client_certificates: ClientCertificates::Off,
            introduction: self.introduction,
            input: Vec::new(),
            place: self.place,
            settings: self.settings,
            trunks: self.trunks,
            phase: self.phase,
        };
        (arrival, self.origins, self.decoder, self.input, self.head)
    }
}
