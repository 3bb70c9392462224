//! A session's state, and what can be asked of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use megaphone_xmpp::Document;
use megaphone_xmpp::bosh::{Condition, Outcome, Request, Type};

use crate::bosh::answer::Answer;
use crate::bosh::parameters::{Pace, Parameters, Policy};
use crate::bosh::requests::{Entry, Requests, open};
use crate::bosh::secrets::{Keys, Sid};
use crate::session::{Cause, Documents, LoginProgress, MAX_BEFORE_LOGIN};

/// How long a client that polls waits for `<stream:features/>`, which ejabberd gives at once.
const FEATURES: Duration = Duration::from_secs(1);

/// A client's session.
#[derive(Debug)]
pub struct BoshSession {
    pub(super) sid: Sid,
    /// The identifier that the client is told, if other ECMs have to know whose the session is; until it is told.
    pub(super) identifier: Option<Box<str>>,
    pub(super) parameters: Parameters,
    /// The domain that the client wants.
    pub(super) to: Box<str>,
    pub(super) requests: Requests,
    pub(super) keys: Keys,
    pub(super) pace: Pace,
    /// Documents that ejabberd has not taken.
    pub(super) outgoing: Documents,
    /// Documents of ejabberd's that no answer has taken.
    pub(super) pending: Vec<Bytes>,
    /// Their bytes.
    pub(super) pending_bytes: usize,
    /// What ejabberd's last `<open/>` said and no answer has.
    pub(super) opened: Option<Box<Opened>>,
    pub(super) features: Features,
    pub(super) login: LoginProgress,
    /// By when its client has to have logged in, once ejabberd knows of it.
    login_due: Option<Instant>,
    /// Whether the client knows of the session.
    pub(super) is_known: bool,
    pub(super) lifecycle: Lifecycle,
    /// Why its stream is left, once it is over.
    pub(super) departure: Cause,
    /// When a request came, an answer was given or a connection broke for the last time.
    pub(super) active: Instant,
    /// The pause that the client asked for, in seconds.
    pub(super) pause: Option<u32>,
}

/// How far a session has come.
#[derive(Debug)]
pub(super) enum Lifecycle {
    Open,
    /// The client wants to end it, and ejabberd has not taken its last words.
    Closing,
    /// It is over, and the client knows or will not ask.
    Over,
    /// It is over, and the client learns it with its next request.
    Untold(Termination),
}

/// Why a session is terminated (XEP-0124, sections 13 and 17).
#[derive(Debug, Clone)]
pub(super) enum Termination {
    /// The client wants it.
    Client,
    /// A request of the client's, which has this id, broke a rule.
    Violation(Condition, u64),
    /// One that the session can't have, and that is answered elsewhere.
    Refused(Condition),
    /// ejabberd sent a stream error, which waits with what came before it.
    StreamError,
    /// ejabberd closed the stream.
    Closed,
    /// ejabberd sends the client elsewhere.
    SeeOther(Box<str>),
    /// Something here, which ends the stream as that.
    Here(Condition, Cause),
}

impl Termination {
    /// The same to ejabberd.
    pub(super) const fn departure(&self) -> Cause {
        match self {
            Self::Client | Self::StreamError | Self::Closed | Self::SeeOther(_) => Cause::Closed,
            Self::Violation(..) | Self::Refused(_) => Cause::Unreadable,
            Self::Here(_, cause) => *cause,
        }
    }

    /// Whether the requests count that came in order behind those that ejabberd has taken.
    pub(super) fn takes_all(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Here(_, cause) => *cause != Cause::Flooded,
            _ => false,
        }
    }

    pub(super) fn outcome(&self) -> Outcome<'_> {
        match self {
            Self::Client => Outcome::Terminate,
            Self::Violation(condition, _) | Self::Refused(condition) | Self::Here(condition, _) => {
                Outcome::TerminateWith(*condition)
            }
            Self::StreamError | Self::Closed => {
                Outcome::TerminateWith(Condition::RemoteStreamError)
            }
            Self::SeeOther(uri) => Outcome::SeeOtherUri(uri),
        }
    }

    /// What a request gets that is not the one which the end is about.
    pub(super) fn outcome_for_others(&self) -> Outcome<'_> {
        match self {
            Self::Client | Self::Violation(..) | Self::Refused(_) => {
                Outcome::TerminateWith(Condition::OtherRequest)
            }
            _ => self.outcome(),
        }
    }
}

/// What an `<open/>` of ejabberd's said, for the client.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) from: Option<Box<str>>,
    pub(super) id: Option<Box<str>>,
    pub(super) version: Option<Box<str>>,
    pub(super) lang: Option<Box<str>>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// [`BoshSession::fetch`] gives its answer, now or later.
    Held,
    /// This is its answer.
    Refused(Answer),
}

/// What became of a request whose connection broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abandoned {
    /// Others are waiting still.
    OthersWait,
    /// The client has no request here any more.
    Unattended,
}

/// Whether `<stream:features/>` are awaited, which come at once, if they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Features {
    Due,
    /// They won't come: the stream has no version, and `<open/>` is all that comes.
    Unversioned,
    Given,
}

impl BoshSession {
    /// The same, that the client knows by this identifier.
    pub fn known_as(self, identifier: Option<String>) -> Self {
        let identifier = identifier.map(Box::from);
        Self { identifier, ..self }
    }

    /// The session that a request creates, which is then held; its first document is in
    /// [`outgoing`](Self::outgoing).
    ///
    /// # Errors
    /// The answer to the request, if it can't create one.
    pub fn create(
        sid: Sid,
        request: &Request<'_>,
        policy: &Policy,
        now: Instant,
    ) -> Result<Self, Answer> {
        let to = request.to.as_deref().unwrap_or_default();
        if to.is_empty() {
            return Err(Answer::terminate(Condition::ImproperAddressing));
        }
        if request.kind == Some(Type::Terminate) {
            return Err(Answer::terminate(Condition::BadRequest));
        }
        if payload_size(request) > MAX_BEFORE_LOGIN {
            return Err(Answer::terminate(Condition::PolicyViolation));
        }
        let Ok(keys) = Keys::new(request.newkey.as_deref()) else {
            return Err(Answer::terminate(Condition::BadRequest));
        };
        let mut outgoing = Documents::with_capacity(1 + request.payload.len());
        outgoing.push(open(request, to));
        for document in &request.payload {
            outgoing.push(document.to_vec());
        }
        Ok(Self {
            sid,
            identifier: None,
            parameters: Parameters::agree(request, policy),
            to: to.into(),
            requests: Requests::new(request.rid, now),
            keys,
            pace: Pace::default(),
            outgoing,
            pending: Vec::new(),
            pending_bytes: 0,
            opened: None,
            features: match request.xmpp_version {
                Some(_) => Features::Due,
                None => Features::Unversioned,
            },
            login: LoginProgress::default(),
            login_due: None,
            is_known: false,
            lifecycle: Lifecycle::Open,
            departure: Cause::Left,
            active: now,
            pause: None,
        })
    }

    /// Its identifier.
    pub const fn sid(&self) -> Sid {
        self.sid
    }

    /// Whether the client knows of it.
    pub const fn is_known(&self) -> bool {
        self.is_known
    }

    /// Whether the client has logged in.
    pub fn is_logged_in(&self) -> bool {
        self.login.is_logged_in()
    }

    /// ejabberd knows of the session: its client has to log in by then.
    pub fn login_begins(&mut self, until: Instant) {
        self.login_due = Some(until);
    }

    /// By when its client has to log in.
    pub fn login_due(&self) -> Option<Instant> {
        let is_due = self.login.is_timed() && matches!(self.lifecycle, Lifecycle::Open);
        self.login_due.filter(|_| is_due)
    }

    /// Bytes of memory that its client's requests take which ejabberd has not taken.
    pub fn waiting_input(&self) -> usize {
        self.outgoing.bytes() + self.requests.early_bytes()
    }

    /// The `Content-Type` of its answers, if it isn't `text/xml; charset=utf-8`.
    pub fn content_type(&self) -> Option<&str> {
        self.parameters.content.as_deref()
    }

    /// Fetches the answer to a request for a connection that waits for it.
    pub fn fetch(&mut self, rid: u64) -> Option<Answer> {
        let answer = self.requests.fetch(rid);
        self.trim();
        answer
    }

    /// Whether a request has no answer yet.
    pub fn is_waiting(&self, rid: u64) -> bool {
        self.requests.get(rid).is_some_and(Entry::is_unanswered)
    }

    /// A connection that waits for an answer broke, or wants it no longer.
    pub fn abandon(&mut self, rid: u64, now: Instant) -> Abandoned {
        self.requests.abandon(rid);
        self.trim();
        if self.is_attended() {
            return Abandoned::OthersWait;
        }
        self.active = now;
        Abandoned::Unattended
    }

    /// When [`settle`](Self::settle) has to be called for a request, if nothing happens before.
    pub fn deadline(&self, rid: u64, now: Instant) -> Option<Instant> {
        let entry = self.requests.get(rid)?;
        let deadline = self.held_until(entry);
        (entry.reply().is_some() && deadline > now).then_some(deadline)
    }

    /// When the client counts as gone, if it sends nothing until then; `None` while it has a request
    /// here. It can be later at a second look.
    pub fn inactive_at(&self) -> Option<Instant> {
        if self.is_attended() {
            return None;
        }
        Some(self.active + self.inactivity())
    }

    /// How long the client may have no request here.
    pub fn inactivity(&self) -> Duration {
        let seconds = self.pause.unwrap_or(self.parameters.inactivity);
        Duration::from_secs(u64::from(seconds))
    }

    /// Whether a request whose turn has come waits for its answer.
    pub(super) fn is_attended(&self) -> bool {
        self.requests.held().any(Entry::is_attended)
    }

    /// Until when a request is held.
    pub(super) fn held_until(&self, entry: &Entry) -> Instant {
        let wait = self.parameters.wait();
        entry.since
            + match self.features {
                Features::Given => wait,
                Features::Due | Features::Unversioned => wait.max(FEATURES),
            }
    }
}

pub(super) fn payload_size(request: &Request<'_>) -> usize {
    request.payload.iter().map(Document::len).sum()
}
