//! What a connection's requests ask, and who answers them.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use megaphone_http::{BodyLength, Event, RequestHead};
use megaphone_xmpp::bosh::{Addressee, Condition, Request};

use super::connection::{Due, Held, HttpConnection, PIPELINED, Reads};
use super::elsewhere::Place;
use super::reading::{Reading, Sender, is_coded};
use super::response::{AllowOrigin, Plain, ResponseHead, Shows};
use crate::bosh::answer::Answer;
use crate::bosh::parameters::Policy;
use crate::bosh::secrets::Sid;
use crate::bosh::session::{BoshSession, Taken};
use crate::bosh::shared::{Security, SharedSession};
use crate::bosh::upstream::{Beginning, Upstream};
use crate::entrance::QueuedLogin;
use crate::http::answer::Persistence;
use crate::http::{Route, Unread};
use crate::metrics::{REFUSALS, Reason};
use crate::peer::Moved;
use crate::shutdown::Phase;
use crate::trunk::{Binding, Content};

/// In so many bytes the first tag of a body has to end that is larger than somebody may send who is unknown.
const MAX_FIRST_TAG: usize = 4 * 1024;

impl HttpConnection {
    /// Whether more requests may be read now.
    pub(super) fn takes_requests(&self) -> bool {
        self.reads == Reads::On
            && !self.is_ending()
            && self.foreign.is_none()
            && self.later.len() < PIPELINED
            && (self.phase == Phase::Serving || self.reading.is_some())
    }

    /// Reads on, up to the end of a request at the most.
    pub(super) fn next_request(&mut self, now: Instant) -> Moved {
        if !self.takes_requests() {
            return Moved::No;
        }
        match self.decoder.decode(self.input.bytes()) {
            Ok(None) => {
                // An idle connection keeps no buffer.
                self.input.shrink();
                return Moved::No;
            }
            Ok(Some(Event::Head(head))) => self.start(head),
            Ok(Some(Event::Body(piece))) => self.body(piece),
            Ok(Some(Event::End)) => {
                // An upgrade is declined.
                self.decoder.resume_http();
                if let Some(reading) = self.reading.take() {
                    self.handle(&reading, now);
                }
            }
            // It never speaks another protocol.
            Ok(Some(Event::Raw(_))) => self.reads = Reads::NoMore,
            Err(error) => {
                REFUSALS.of(Reason::BadRequest).add(1);
                let reason = error.name();
                tracing::debug!(peer = %self.origins.peer(), reason, "refused: {error}");
                self.refuse(error.response());
            }
        }
        Moved::Yes
    }

    /// Takes a request whose head was read, unless another entrance has it.
    fn start(&mut self, mut head: RequestHead) {
        match self.downstream.settings.routes.find(head.target()) {
            Some(Route::Bosh) => self.begin(head),
            route => {
                // It may have to wait.
                head.detach();
                self.foreign = Some(Box::new((head, route)));
            }
        }
    }

    /// Begins with a request for BOSH.
    pub(super) fn begin(&mut self, head: RequestHead) {
        self.requests = self.requests.saturating_add(1);
        let limit = self.downstream.settings.bosh.max_body;
        if matches!(head.body(), BodyLength::Length(length) if length > limit) {
            self.refuse_plain(&head, Plain::TooLarge);
            return;
        }
        // Before the answers that are due nothing else can be said, and the client sends its body after
        // a while even so.
        if head.expects_continue() && self.is_idle() {
            self.output = Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.reading = Some(Box::new(Reading::new(head)));
    }

    /// Says that a request did not come in time.
    pub(super) fn request_timeout(&mut self) {
        REFUSALS.of(Reason::Timeout).add(1);
        let response = ResponseHead {
            persistence: Persistence::Closes,
            allow_origin: self.any_origin(),
            shows: Shows::Body,
        };
        self.refuse(response.plain(Plain::Timeout));
    }

    fn body(&mut self, piece: Bytes) {
        let Some(mut reading) = self.reading.take() else {
            return;
        };
        reading.push(piece);
        if self.may_go_on(&mut reading) {
            self.reading = Some(reading);
        } else {
            self.refuse_plain(&reading.head, Plain::TooLarge);
        }
    }

    /// Whether more of a body may come. One that is larger than anybody may send has to say first that it is
    /// of a client that has logged in.
    fn may_go_on(&self, reading: &mut Reading) -> bool {
        if reading.sender == Sender::Unknown && reading.is_large() {
            let limits = self.downstream.settings.limits.of_document(usize::MAX);
            match Addressee::read(reading.body(), &limits) {
                Addressee::Unclear => return reading.body_bytes() < MAX_FIRST_TAG,
                Addressee::Session(sid) if self.is_logged_in(&sid) => reading.sender = Sender::User,
                Addressee::Session(_) | Addressee::Nobody => return false,
            }
        }
        reading.body_bytes() as u64 <= self.downstream.settings.bosh.max_body
    }

    fn is_logged_in(&self, sid: &str) -> bool {
        match self.place_of(sid) {
            Place::Here(session) => session.is_logged_in(),
            // Its ECM knows, and holds it to that.
            Place::There(_) => true,
            Place::Nowhere => false,
        }
    }

    fn refuse_plain(&mut self, head: &RequestHead, plain: Plain) {
        let response = ResponseHead {
            persistence: Persistence::Closes,
            ..self.response_head(head, self.any_origin())
        };
        self.refuse(response.plain(plain));
    }

    /// Answers the request that is being read, as the last one.
    fn refuse(&mut self, response: Bytes) {
        self.reading = None;
        self.input = Unread::default();
        self.reads = Reads::NoMore;
        self.push(Due::Whole(response, Persistence::Closes));
    }

    /// Answers a request, or has it answered.
    fn handle(&mut self, reading: &Reading, now: Instant) {
        let head = &reading.head;
        let Some(allow_origin) = self.allow_origin(head) else {
            let response = self.response_head(head, AllowOrigin::Unsaid);
            self.push(Due::Whole(
                response.plain(Plain::Origin),
                response.persistence,
            ));
            return;
        };
        let response = self.response_head(head, allow_origin);
        let body = reading.body();
        let plain = match head.method() {
            "POST" if body.is_empty() => Plain::Empty,
            "POST" if is_coded(head, body) => Plain::Coding,
            "POST" => {
                let due = self.ask(head, body, response, now);
                self.push(due);
                return;
            }
            "GET" | "HEAD" => Plain::Page,
            "OPTIONS" => Plain::Options,
            _ => Plain::Method,
        };
        self.push(Due::Whole(response.plain(plain), response.persistence));
    }

    /// Gives a request to its session.
    fn ask(&self, head: &RequestHead, body: &[u8], response: ResponseHead, now: Instant) -> Due {
        let whole = |response: &ResponseHead, answer: &Answer| {
            Due::Whole(response.answer(answer, None), response.persistence)
        };
        let limits = self.downstream.settings.limits.of_document(usize::MAX);
        let request = match Request::read(body, &limits) {
            Ok(request) => request,
            Err(error) => {
                REFUSALS.of(Reason::BadStream).add(1);
                tracing::debug!(peer = %self.origins.peer(), "a BOSH body is refused: {error}");
                return whole(&response, &Answer::terminate(error.condition()));
            }
        };
        let rid = request.rid;
        let Some(sid) = &request.sid else {
            return match self.create(head, &request, now) {
                Ok(session) => Due::Held(Held {
                    session,
                    rid,
                    response,
                }),
                Err(answer) => whole(&response, &answer),
            };
        };
        let session = match self.place_of(sid) {
            Place::Here(session) => session,
            Place::There(peer) => return self.hand_on(&peer, head, body, response),
            Place::Nowhere => {
                return whole(&response, &Answer::terminate(Condition::ItemNotFound));
            }
        };
        if session.security() == Security::Encrypted && self.security(head) == Security::Plain {
            // To end the session would serve who overheard its identifier (XEP-0124, 19.1).
            tracing::debug!(peer = %self.origins.peer(), "a request without TLS for a session that was created with TLS");
            return Due::Whole(Bytes::new(), Persistence::Closes);
        }
        match session.request(&request, now) {
            Taken::Held => Due::Held(Held {
                session,
                rid,
                response,
            }),
            Taken::Refused(answer) => {
                let content_type = session.content_type();
                let bytes = response.answer(&answer, content_type.as_deref());
                Due::Whole(bytes, response.persistence)
            }
        }
    }

    fn create(
        &self,
        head: &RequestHead,
        request: &Request<'_>,
        now: Instant,
    ) -> Result<Arc<SharedSession>, Answer> {
        let settings = &self.downstream.settings;
        if self.phase != Phase::Serving {
            return Err(Answer::terminate(Condition::SystemShutdown));
        }
        if !self.sessions.has_room(settings.bosh.max_sessions) {
            REFUSALS.of(Reason::MaxSessions).add(1);
            let peer = self.origins.peer();
            tracing::warn!(%peer, "a BOSH session is refused: max_sessions is reached");
            return Err(Answer::terminate(Condition::InternalServerError));
        }
        let sid = Sid::random().map_err(|error| {
            tracing::error!(
                "a BOSH session is refused: the system gives no random numbers: {error}"
            );
            Answer::terminate(Condition::InternalServerError)
        })?;
        let fleet = self.sessions.fleet();
        let identifier = fleet.map(|fleet| fleet.identifier(&sid.to_string()));
        let mut session = BoshSession::create(sid, request, &Policy::of(&settings.bosh), now)?
            .known_as(identifier);
        let content = Content::XmppFraming(Binding::Bosh);
        let opening = self.downstream.opening_for(head, &self.origins, content);
        let registries = &self.downstream.registries;
        let client = opening.client;
        let login = QueuedLogin::begin(registries, settings, opening).map_err(|too_many| {
            REFUSALS.of(too_many.reason()).add(1);
            tracing::debug!(peer = %client, "a BOSH session is refused: {too_many}");
            Answer::terminate(Condition::PolicyViolation)
        })?;
        let beginning = Beginning {
            login,
            nodes: Arc::clone(&registries.nodes),
            until: now + settings.limits.login_wait,
            auth_timeout: settings.limits.auth_timeout,
        };
        let mut upstream = Upstream::Queued(Box::new(beginning));
        upstream.take_turn(&mut session, now);
        if matches!(upstream, Upstream::Closed) {
            return Err(Answer::terminate(Condition::RemoteConnectionFailed));
        }
        let security = self.security(head);
        let session = SharedSession::new(session, upstream, security, &registries.backlogs);
        session.settle(now);
        self.sessions.insert(Arc::clone(&session), now);
        Ok(session)
    }

    fn security(&self, head: &RequestHead) -> Security {
        match self.downstream.tls_or(self.origins.scheme(head)) {
            Some(_) => Security::Encrypted,
            None => Security::Plain,
        }
    }

    fn response_head(&self, head: &RequestHead, allow_origin: AllowOrigin) -> ResponseHead {
        ResponseHead {
            persistence: Persistence::of(head.version(), head.keep_alive()),
            allow_origin,
            shows: match head.method() {
                "HEAD" => Shows::Head,
                _ => Shows::Body,
            },
        }
    }

    /// What scripts of a request's origin may read; `None` if they may not even ask.
    fn allow_origin(&self, head: &RequestHead) -> Option<AllowOrigin> {
        let allowed = &self.downstream.settings.bosh.origins;
        if allowed.is_empty() {
            return Some(AllowOrigin::Any);
        }
        let Some(origin) = head.header("Origin") else {
            return Some(AllowOrigin::Unsaid);
        };
        let origin = std::str::from_utf8(origin).ok()?;
        let is_allowed = allowed
            .iter()
            .any(|other| other.eq_ignore_ascii_case(origin));
        is_allowed.then(|| AllowOrigin::This(origin.into()))
    }

    fn any_origin(&self) -> AllowOrigin {
        if self.downstream.settings.bosh.origins.is_empty() {
            AllowOrigin::Any
        } else {
            AllowOrigin::Unsaid
        }
    }
}
