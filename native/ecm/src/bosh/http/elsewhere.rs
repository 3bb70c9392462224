//! Requests for sessions of other ECMs.

use std::sync::Arc;

use megaphone_http::RequestHead;
use megaphone_xmpp::bosh::Condition;

use super::connection::{Due, HttpConnection};
use super::response::ResponseHead;
use crate::bosh::answer::Answer;
use crate::bosh::secrets::Sid;
use crate::bosh::shared::SharedSession;
use crate::fleet::{Cut, Handed, Next, Owner, Peer, Unreachable};
use crate::http::answer::Persistence;
use crate::metrics::{FLEET_FAILURES, FleetFailure};
use crate::peer::task::Ending;
use crate::peer::{Moved, Socket};
use crate::shutdown::Phase;
use crate::trunk::Content;

/// The fields of a request that its session's ECM has to know. What the client said of the connection is about another
/// one, and whose the request is comes before it.
const FIELDS: [&str; 3] = ["Host", "Origin", "Content-Type"];

/// Where a request's session is.
pub(super) enum Place {
    Here(Arc<SharedSession>),
    There(Arc<Peer>),
    Nowhere,
}

impl HttpConnection {
    /// Where the session of this identifier is.
    pub(super) fn place_of(&self, identifier: &str) -> Place {
        let here = |text: &str| {
            let Some(sid) = Sid::parse(text) else {
                return Place::Nowhere;
            };
            match (self.sessions.find(sid), self.sessions.predecessor()) {
                (Some(session), _) => Place::Here(session),
                (None, Some(predecessor)) => Place::There(Arc::clone(predecessor)),
                (None, None) => Place::Nowhere,
            }
        };
        let Some(fleet) = self.sessions.fleet() else {
            return here(identifier);
        };
        match fleet.owner(identifier) {
            Some(Owner::Here(text)) => here(text),
            // A request is handed on once: where it comes to, the session has to be.
            Some(Owner::There(_)) if matches!(self.downstream.socket, Socket::Handed(_)) => {
                Place::Nowhere
            }
            Some(Owner::There(peer)) => Place::There(peer),
            None => Place::Nowhere,
        }
    }

    /// Hands a request on to the ECM that has its session.
    pub(super) fn hand_on(
        &self,
        peer: &Peer,
        head: &RequestHead,
        body: &[u8],
        response: ResponseHead,
    ) -> Due {
        let opening = self
            .downstream
            .opening_for(head, &self.origins, Content::Http);
        match Handed::hand_on(peer, &opening, &written(head, body), response.persistence) {
            Ok(handed) => Due::Handed(Box::new((handed, response))),
            Err(Unreachable::Connecting) => try_again(response),
            Err(Unreachable::Gone) => {
                FLEET_FAILURES.of(FleetFailure::Gone).add(1);
                let answer = Answer::terminate(Condition::ItemNotFound);
                Due::Whole(response.answer(&answer, None), response.persistence)
            }
        }
    }

    /// Takes what comes next of an answer that another ECM gives.
    pub(super) fn next_of_handed(
        &mut self,
        mut of: Box<(Handed, ResponseHead)>,
    ) -> Result<Moved, Ending> {
        let (handed, response) = &mut *of;
        if self.phase != Phase::Serving {
            handed.close_after();
        }
        let cut = match handed.next() {
            Next::Piece(bytes) => {
                self.output = bytes;
                self.due = Some(Due::Handed(of));
                return Ok(Moved::Yes);
            }
            Next::Last(bytes) => {
                let persistence = handed.persistence();
                self.take_answer(bytes, persistence);
                return Ok(Moved::Yes);
            }
            // The client can ask another ECM, and its session goes on.
            Next::NotYet if self.phase != Phase::Serving && handed.is_unanswered() => Cut::Lost,
            Next::NotYet => {
                self.due = Some(Due::Handed(of));
                return Ok(Moved::No);
            }
            Next::Cut(cut) => cut,
        };
        match cut {
            Cut::Lost => {
                let again = try_again(response.clone());
                let (handed, _) = *of;
                handed.abort();
                self.due = Some(again);
                Ok(Moved::Yes)
            }
            Cut::Closed => Err(Ending::Close),
            Cut::Within => Err(Ending::Reset),
        }
    }
}

/// The client may ask again, on another connection.
fn try_again(response: ResponseHead) -> Due {
    FLEET_FAILURES.of(FleetFailure::Lost).add(1);
    let response = ResponseHead {
        persistence: Persistence::Closes,
        ..response
    };
    Due::Whole(
        response.answer(&Answer::try_again(), None),
        response.persistence,
    )
}

/// The request as the other ECM gets it.
fn written(head: &RequestHead, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + body.len());
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    put(&[b"POST ", head.target().as_bytes(), b" HTTP/1.1\r\n"]);
    for name in FIELDS {
        match head.header(name) {
            Some(value) => put(&[name.as_bytes(), b": ", value, b"\r\n"]),
            // There has to be one.
            None if name == "Host" => put(&[b"Host:\r\n"]),
            None => {}
        }
    }
    let length = body.len().to_string();
    put(&[b"Content-Length: ", length.as_bytes(), b"\r\n\r\n", body]);
    out
}
