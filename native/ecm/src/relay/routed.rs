//! Requests that do not go to ejabberd: they are answered here, or the connection is handed on.

use bytes::Bytes;
use megaphone_http::{BodyLength, RequestHead};
use tokio::sync::watch;

use super::Client;
use super::requests::Routed;
use crate::entrance::{Handover, Onward};
use crate::http::answer::{Persistence, not_found};
use crate::http::handshake::{self, Handshake};
use crate::http::host_meta::Format;
use crate::http::{Reply, Route, Scheme};
use crate::metrics::{REFUSALS, Reason};
use crate::peer::Moved;
use crate::peer::addresses::TooMany;
use crate::peer::task::Ending;
use crate::shutdown::Phase;

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
                let persistence = self.persistence(&routed.head);
                self.answer(not_found(routed.head.kind(), persistence), persistence);
                Ok(Moved::Yes)
            }
        }
    }

    /// A handshake that is right is answered by the task that takes the connection.
    fn take_websocket(&mut self, routed: Box<Routed>) -> Result<Moved, Ending> {
        let head = &routed.head;
        let persistence = self.persistence(head);
        match handshake::read(head, &self.downstream.settings.websocket.origins) {
            Handshake::Accepted(answer) => {
                if let Err(too_many) = self.admit(&routed) {
                    REFUSALS.of(too_many.reason()).add(1);
                    let reply = Reply::TooManyOfAddress.to_bytes(Some(routed.head.kind()));
                    self.answer(reply, Persistence::Closes);
                    return Ok(Moved::Yes);
                }
                self.output = answer;
                self.routed = Some(routed);
                return Err(Ending::HandOver);
            }
            Handshake::Refused(refusal) => {
                REFUSALS.of(Reason::BadHandshake).add(1);
                let client = self.requests.client(head);
                tracing::debug!(peer = %client, "a WebSocket handshake is refused: {refusal}");
                self.answer(refusal.to_bytes(persistence), persistence);
            }
            Handshake::Page => self.answer(handshake::page(head, persistence), persistence),
            Handshake::Options => self.answer(handshake::options(persistence), persistence),
        }
        Ok(Moved::Yes)
    }

    /// A connection of a trusted proxy becomes its client's, who needs a place among those of its address.
    fn admit(&mut self, routed: &Routed) -> Result<(), TooMany> {
        let client = self.requests.client(&routed.head);
        if client.ip() != self.peer().ip() {
            let downstream = &mut self.downstream;
            let registries = &downstream.registries;
            let connected = registries.connect(client.ip(), &downstream.settings)?;
            downstream.place.hold(connected);
        }
        Ok(())
    }

    fn answer_host_meta(&mut self, head: &RequestHead, format: Format) {
        let persistence = self.persistence(head);
        let scheme = match self.downstream.tls() {
            Some(_) => Scheme::Tls,
            None => self.requests.scheme(head),
        };
        let answer = self
            .downstream
            .settings
            .host_meta
            .answer(head, format, scheme, persistence);
        self.answer(answer, persistence);
    }

    /// What becomes of the connection after a request that is answered here.
    fn persistence(&self, head: &RequestHead) -> Persistence {
        let may_follow = head.keep_alive() && head.body() == BodyLength::None;
        Persistence::of(head.version(), may_follow && self.phase == Phase::Serving)
    }

    fn answer(&mut self, answer: Bytes, persistence: Persistence) {
        self.output = answer;
        match persistence {
            Persistence::GoesOn | Persistence::KeptAlive => self.requests.skip_end(),
            Persistence::Closes => self.ending = Some(Ending::Close),
        }
    }

    /// The connection, and where it goes on.
    pub(super) fn go_onward(self, phase: watch::Receiver<Phase>) -> Option<Box<Onward>> {
        let Routed { route, head } = *self.routed?;
        let (origins, decoder, input) = self.requests.into_parts();
        let handover = Handover {
            downstream: self.downstream,
            phase,
            origins,
            decoder,
            input,
            head,
        };
        match route {
            Route::WebSocket => Some(Box::new(Onward::WebSocket(handover, self.output))),
            Route::Bosh => Some(Box::new(Onward::Bosh(handover))),
            // It was answered.
            Route::HostMeta(_) | Route::Nothing => None,
        }
    }
}
