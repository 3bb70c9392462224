//! From the client to its session.

use megaphone_xmpp::stream::{Event, Reader, StreamError};
use megaphone_xmpp::{Condition, Document, Open, framing, namespace};

use super::features::TLS_IS_REQUIRED;
use super::{Client, Ending, Moved, Queued, Stage};
use crate::config::StartTls;
use crate::entrance::{Downstream, QueuedLogin, UNREACHABLE};
use crate::session::{Cause, Left, MAX_BEFORE_LOGIN, SendError, Sent, Session};

/// What the next of a client's bytes say.
pub(super) enum Heard {
    /// Nothing whole.
    Nothing,
    /// The header of its stream, as a document, with the host and whether it knows of features.
    Open {
        document: Vec<u8>,
        host: Option<String>,
        version: Version,
    },
    /// A document, which is on its way.
    Sent,
    /// A document that its session does not take now.
    Held(Box<[u8]>),
    /// A step of its login, which its session has taken unless it is here.
    Step(Option<Box<[u8]>>),
    /// It wants TLS.
    StartTls,
    /// A login before TLS, which has to wait for it, with its refusal.
    LoginTooEarly(&'static [u8]),
    /// Something else before TLS.
    TooEarly,
    /// The end of its stream.
    Close,
    /// What can't be read.
    Invalid(StreamError),
}

/// Which XMPP a client speaks (RFC 6120, section 4.7.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// 1.0, or another one of the same kind.
    One,
    /// One from before RFC 3920, or from the future.
    Other,
}

impl Client {
    /// Handles what was read, as far as ejabberd takes it.
    pub(super) fn next_input(&mut self) -> Moved {
        if let Some(document) = self.held.take() {
            self.send(document);
            if self.held.is_some() {
                return Moved::No;
            }
        }
        if self.input.is_empty() || !self.takes_input() || self.depends_on_answer(&self.input) {
            return Moved::No;
        }
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        while self.takes_input() && !self.depends_on_answer(rest) {
            let session = &mut self.session;
            let mut send = |document: &Document<'_>| pass_on(document, session.as_mut());
            let heard = hear(&mut self.reader, self.stage, &mut send, &mut rest);
            if let Heard::Nothing = heard {
                break;
            }
            self.documents += 1;
            self.handle(heard, rest);
        }
        if self.ending.is_none() {
            // It is empty, and takes no memory, but for a client that is held up.
            self.input = rest.to_vec();
        }
        Moved::Yes
    }

    /// Whether what the client says is looked at.
    pub(super) const fn takes_input(&self) -> bool {
        self.ending.is_none()
            && self.held.is_none()
            && !matches!(self.stage, Stage::Closing | Stage::Queued)
    }

    /// Whether this can't be read before ejabberd has answered: it may be of another stream, if it is not the
    /// end of this one.
    fn depends_on_answer(&self, input: &[u8]) -> bool {
        self.stage == Stage::Authenticating && !input.trim_ascii_start().starts_with(b"</")
    }

    /// Whether the client is read. While its turn or an answer has to come, that is how it is seen to leave.
    pub(super) fn wants_input(&self) -> bool {
        match self.stage {
            Stage::Queued | Stage::Authenticating => self.has_room_before_login(),
            _ if self.waits_for_turn() => self.has_room_before_login(),
            _ => self.takes_input() && self.input.is_empty(),
        }
    }

    /// Whether a step of the client's login waits for its turn.
    pub(super) fn waits_for_turn(&self) -> bool {
        self.session.as_ref().is_some_and(Session::waits_for_turn)
    }

    const fn has_room_before_login(&self) -> bool {
        self.ending.is_none() && self.input.len() < MAX_BEFORE_LOGIN
    }

    fn handle(&mut self, heard: Heard, rest: &[u8]) {
        match heard {
            Heard::Nothing | Heard::Sent => {}
            Heard::Open {
                document,
                host,
                version,
            } => self.open(document, host, version),
            Heard::Held(document) => self.held = Some(document),
            Heard::Step(held) => {
                self.held = held;
                self.stage = Stage::Authenticating;
            }
            Heard::StartTls => self.start_tls(rest),
            // A client that has not taken a refusal gets no second one.
            Heard::LoginTooEarly(refusal) if !self.outlet.has_unsent(&self.downstream.socket) => {
                self.say(refusal);
            }
            Heard::LoginTooEarly(_) | Heard::TooEarly => self.fail(
                Condition::PolicyViolation,
                "TLS is required here; send <starttls/> first",
            ),
            Heard::Close => self.closed(),
            Heard::Invalid(error) => self.fail(error.condition(), &error.to_string()),
        }
    }

    fn open(&mut self, document: Vec<u8>, host: Option<String>, version: Version) {
        match (self.stage, self.start_tls, version) {
            (Stage::Header, StartTls::Required, Version::One) => self.require_tls(host),
            (Stage::Header, StartTls::Required, Version::Other) => self.fail(
                Condition::UnsupportedVersion,
                "TLS is required here, which needs a stream with version='1.0'",
            ),
            (Stage::Header, ..) => self.begin_login(document, host),
            _ => self.send(document.into()),
        }
    }

    fn require_tls(&mut self, host: Option<String>) {
        let mut out = Vec::new();
        let open = Open {
            from: host.map(Into::into),
            ..Open::default()
        };
        self.write_header(&mut out, &open);
        self.outlet.append(&out);
        self.say(TLS_IS_REQUIRED);
        self.stage = Stage::BeforeTls;
    }

    fn begin_login(&mut self, header: Vec<u8>, host: Option<String>) {
        let opening = self.opening(host);
        let Downstream {
            registries,
            settings,
            ..
        } = &self.downstream;
        match QueuedLogin::begin(registries, settings, opening) {
            Ok(login) => {
                self.queued = Some(Box::new(Queued { login, header }));
                self.stage = Stage::Queued;
            }
            Err(too_many) => self.fail_for(
                Some(too_many.reason()),
                Cause::Refused,
                Condition::PolicyViolation,
                &too_many.to_string(),
            ),
        }
    }

    /// Opens the session of a client whose turn has come.
    pub(super) fn open_session(&mut self) -> Moved {
        let Some(queued) = self.queued.take_if(|queued| queued.login.has_turn()) else {
            return Moved::No;
        };
        let Queued { login, header } = *queued;
        match login.open(&header) {
            Ok(session) => {
                self.session = Some(session);
                self.stage = Stage::Negotiating;
            }
            Err(reason) => self.fail_for(
                Some(reason),
                Cause::Refused,
                Condition::RemoteConnectionFailed,
                UNREACHABLE,
            ),
        }
        Moved::Yes
    }

    /// Sends a document, or keeps it until it can be sent.
    fn send(&mut self, document: Box<[u8]>) {
        match self
            .session
            .as_mut()
            .map(|session| session.try_send(&document))
        {
            Some(Ok(Sent::Refused)) => self.held = Some(document),
            // The session's end says what becomes of the client.
            Some(Ok(Sent::Sent) | Err(_)) | None => {}
        }
    }

    /// STARTTLS (RFC 6120, section 5.4.2): what was sent in clear counts for nothing any more.
    fn start_tls(&mut self, rest: &[u8]) {
        let is_offered = match self.stage {
            Stage::BeforeTls => true,
            Stage::Negotiating => self.start_tls == StartTls::Optional,
            Stage::Header
            | Stage::Queued
            | Stage::Authenticating
            | Stage::Established
            | Stage::Closing => false,
        };
        if !is_offered {
            tracing::debug!(peer = %self.peer, "the client asks for STARTTLS, which was not offered");
            self.say(b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
            self.end(Cause::Refused);
        } else if !rest.trim_ascii().is_empty() {
            // What came in clear is never to be read as if it had come by TLS.
            self.fail(
                Condition::PolicyViolation,
                "something follows <starttls/>; wait for <proceed/>",
            );
        } else {
            self.say(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
            if let Some(session) = self.session.take() {
                session.leave(
                    Cause::Closed,
                    Left::default(),
                    &self.downstream.registries.backlogs,
                );
                let registries = &self.downstream.registries;
                registries.forget_login(self.peer.ip(), &self.downstream.settings);
            }
            self.ending = Some(Ending::HandOver);
        }
    }

    /// The client has closed its stream (RFC 6120, section 4.4): ejabberd answers, if it knows of it.
    fn closed(&mut self) {
        if self.session.is_some() {
            self.send(framing::CLOSE.into());
            self.stage = Stage::Closing;
        } else {
            self.end(Cause::Closed);
        }
    }
}

/// Reads on, and sends a document if there is nothing to be done with it here.
pub(super) fn hear(
    reader: &mut Reader,
    stage: Stage,
    send: &mut impl FnMut(&Document<'_>) -> Heard,
    input: &mut &[u8],
) -> Heard {
    match reader.read(input) {
        Err(error) => Heard::Invalid(error),
        Ok(None) => Heard::Nothing,
        Ok(Some(Event::Close)) => Heard::Close,
        Ok(Some(Event::Open(open))) => heard_open(&open),
        Ok(Some(Event::Document(document))) if document.is("starttls", namespace::TLS) => {
            Heard::StartTls
        }
        Ok(Some(Event::Document(document))) if stage == Stage::BeforeTls => {
            refusal_before_tls(&document).map_or(Heard::TooEarly, Heard::LoginTooEarly)
        }
        Ok(Some(Event::Document(document))) => match send(&document) {
            Heard::Sent if stage == Stage::Negotiating && is_step(&document) => Heard::Step(None),
            Heard::Held(held) if stage == Stage::Negotiating && is_step(&document) => {
                Heard::Step(Some(held))
            }
            heard => heard,
        },
    }
}

/// What a login is told that has to wait for TLS (RFC 6120, section 6.5.4; XEP-0388).
fn refusal_before_tls(document: &Document<'_>) -> Option<&'static [u8]> {
    if document.is("auth", namespace::SASL) {
        Some(b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><encryption-required/></failure>")
    } else if document.is("authenticate", namespace::SASL2) {
        Some(
            b"<failure xmlns='urn:xmpp:sasl:2'>\
            <encryption-required xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>",
        )
    } else {
        None
    }
}

/// Whether it is a step of a login by SASL (RFC 6120, section 6). ejabberd answers each.
fn is_step(document: &Document<'_>) -> bool {
    ["auth", "response", "abort"]
        .iter()
        .any(|name| document.is(name, namespace::SASL))
}

fn heard_open(open: &Open<'_>) -> Heard {
    let mut document = Vec::new();
    open.write_document(&mut document);
    let major = open
        .version
        .as_deref()
        .and_then(|text| text.split('.').next());
    Heard::Open {
        document,
        host: open.to.as_deref().map(str::to_owned),
        version: match major {
            Some("1") => Version::One,
            _ => Version::Other,
        },
    }
}

pub(super) fn pass_on(document: &Document<'_>, session: Option<&mut Session>) -> Heard {
    match session.map(|session| session.try_send_checked(document)) {
        Some(Ok(Sent::Sent)) => Heard::Sent,
        Some(Ok(Sent::Refused)) => Heard::Held(document.to_vec().into()),
        // The session's end says what becomes of the client, or it was just told.
        Some(Err(SendError::TrunkLost(_) | SendError::Message(_))) | None => Heard::Sent,
    }
}
