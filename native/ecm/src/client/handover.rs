//! A client's connection on its way from one kind of task to another.
//!
//! ```text
//!   relay ──a head for a path that ends here──> WebSocket, BOSH ...
//!     ^                                                      │
//!     └───────────a head for any other path──────────────────┘
//! ```
//!
//! Each kind is a task of its own, no larger than it needs to be: the one ends, another one begins.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
#[cfg(test)]
use bytes::BytesMut;
use megaphone_http::{BodyLength, RequestDecoder, RequestHead};
use megaphone_trunk::proxy::ChannelBindings;
use tokio::sync::watch;

use super::origin::Origins;
use super::replies::Reply;
use super::requests::Routed;
use super::requests::host_name;
use super::route::Route;
use super::unread::Unread;
use super::{Arrival, Client, Ending, Introduction, Moved, Socket, tls_of};
use crate::addresses::TooMany;
use crate::answer::{After, not_found};
use crate::bosh;
use crate::clients::Place;
use crate::config::Service;
use crate::host_meta::{Format, Scheme};
use crate::metrics::{REFUSALS, Reason};
use crate::settings::Settings;
use crate::shutdown::Phase;
use crate::trunk::{Content, Opening, Trunks};
use crate::websocket::{self, Handshake};

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
    pub(super) fn into_parts(self) -> (Arrival, Origins, RequestDecoder, Unread, RequestHead) {
        let arrival = Arrival {
            socket: self.stream,
            peer: self.origins.peer(),
            service: self.service,
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

impl Client {
    /// Takes the request that does not go to ejabberd, once the answers before it are complete: it is
    /// answered, or the connection is given away.
    pub(super) fn take_route(&mut self) -> Result<Moved, Ending> {
        let due = !self.answers.is_idle() || self.outgoing.is_some() || !self.output.is_empty();
        if due || self.ending.is_some() {
            return Ok(Moved::No);
        }
        let Some(routed) = self.routed.take() else {
            return Ok(Moved::No);
        };
        match routed.route {
            Route::WebSocket => self.take_websocket(routed),
            Route::Bosh => {
                self.routed = Some(routed);
                Err(Ending::HandOver)
            }
            Route::HostMeta(format) => {
                self.answer_host_meta(&routed.head, format);
                Ok(Moved::Yes)
            }
            Route::Nothing => {
                let after = self.after(&routed.head);
                self.answer(not_found(routed.head.kind(), after), after);
                Ok(Moved::Yes)
            }
        }
    }

    /// A handshake that is right is answered by the task that takes the connection.
    fn take_websocket(&mut self, routed: Box<Routed>) -> Result<Moved, Ending> {
        let head = &routed.head;
        let after = self.after(head);
        match websocket::read(head, &self.settings.websocket.origins) {
            Handshake::Accepted(answer) => {
                if let Err(too_many) = self.admit(&routed) {
                    REFUSALS.of(too_many.reason()).add(1);
                    let reply = Reply::TooManyOfAddress.to_bytes(Some(routed.head.kind()));
                    self.answer(reply, After::Close);
                    return Ok(Moved::Yes);
                }
                self.output = answer;
                self.routed = Some(routed);
                return Err(Ending::HandOver);
            }
            Handshake::Refused(refusal) => {
                REFUSALS.of(Reason::BadHandshake).add(1);
                let client = self.requests.client(head);
                tracing::debug!(peer = %client, "no WebSocket: {refusal}");
                self.answer(refusal.to_bytes(after), after);
            }
            Handshake::Page => self.answer(websocket::page(head, after), after),
            Handshake::Options => self.answer(websocket::options(after), after),
        }
        Ok(Moved::Yes)
    }

    /// A connection of a trusted proxy becomes its client's, who needs a place among those of its address.
    fn admit(&mut self, routed: &Routed) -> Result<(), TooMany> {
        let client = self.requests.client(&routed.head);
        if client.ip() != self.peer().ip() {
            self.place.hold(self.settings.connect(client.ip())?);
        }
        Ok(())
    }

    fn answer_host_meta(&mut self, head: &RequestHead, format: Format) {
        let after = self.after(head);
        let scheme = match self.tls() {
            Some(_) => Scheme::Tls,
            None => self.requests.scheme(head),
        };
        let answer = self.settings.host_meta.answer(head, format, scheme, after);
        self.answer(answer, after);
    }

    /// Whether the client's next request can be read after one that is answered here.
    fn after(&self, head: &RequestHead) -> After {
        let may_follow = head.keep_alive() && head.body() == BodyLength::None;
        match may_follow && self.phase == Phase::Serving {
            true => After::KeepAlive,
            false => After::Close,
        }
    }

    fn answer(&mut self, answer: Bytes, after: After) {
        self.output = answer;
        match after {
            After::KeepAlive => self.requests.skip_end(),
            After::Close => self.ending = Some(Ending::Close),
        }
    }

    /// Starts the task that goes on with the connection.
    pub(super) fn hand_over(self, phase: watch::Receiver<Phase>) {
        let Some(routed) = self.routed else {
            return;
        };
        let Routed { route, head } = *routed;
        let (origins, decoder, input) = self.requests.into_parts();
        let handover = Handover {
            stream: self.socket,
            service: self.service,
            introduction: self.introduction,
            place: self.place,
            settings: self.settings,
            trunks: self.trunks,
            phase,
            origins,
            decoder,
            input,
            head,
        };
        match route {
            Route::WebSocket => websocket::start(handover, &self.output),
            // It was answered.
            Route::HostMeta(_) | Route::Nothing => {}
            Route::Bosh => bosh::start(handover),
        }
    }
}
