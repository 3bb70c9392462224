//! A BOSH session.
//!
//! ```text
//!            Early ──all before it taken──> Held ──────────answered──────────> Answered ──> dropped
//!              ^                             ^  \                                 |
//!   request ───┴─────the next one in order───┘   `-repeated: one more waits       `-repeated: the same
//! ```
//!
//! A payload goes to ejabberd when its request is taken, once, and ejabberd's documents go into the
//! answer of the first request that is held, once. An answer is kept for a client that did not get it;
//! a request whose connection broke gets no payload, since nobody might ask for it again.

mod end;
mod input;
mod output;

use std::time::{Duration, Instant};

use bytes::Bytes;
use megaphone_xmpp::Document;
use megaphone_xmpp::bosh::{Condition, Request, Type};

use self::end::Stage;
use self::output::Opened;
use super::activity::Activity;
use super::answer::Answer;
use super::contents::open;
use super::keys::Keys;
use super::requests::{Entry, Requests};
use super::sid::Sid;
use super::terms::{Policy, Terms};
use crate::session::{Cause, Documents, MAX_BEFORE_LOGIN};

/// How long a client that polls waits for `<stream:features/>`, which ejabberd gives at once.
const FEATURES: Duration = Duration::from_secs(1);

/// A client's session.
#[derive(Debug)]
pub struct Session {
    sid: Sid,
    terms: Terms,
    /// The domain that the client wants.
    to: Box<str>,
    requests: Requests,
    keys: Keys,
    activity: Activity,
    /// Documents that ejabberd has not taken.
    outgoing: Documents,
    /// Documents of ejabberd's that no answer has taken.
    pending: Vec<Bytes>,
    /// Their bytes.
    pending_bytes: usize,
    /// What ejabberd's last `<open/>` said and no answer has.
    opened: Option<Box<Opened>>,
    features: Features,
    login: Login,
    /// Whether the client knows of the session.
    told: Told,
    stage: Stage,
    /// Why its stream is left, once it is over.
    departure: Cause,
    /// When a request came, an answer was given or a connection broke for the last time.
    active: Instant,
    /// The pause that the client asked for, in seconds.
    pause: Option<u32>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// [`Session::fetch`] gives its answer, now or later.
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
enum Features {
    Due,
    /// They won't come: the stream has no version, and `<open/>` is all that comes.
    Unversioned,
    Given,
}

/// Whether the client has logged in, as far as ejabberd's documents show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Login {
    /// By when it has to, once ejabberd knows of it.
    Pending(Option<Instant>),
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    No,
    Yes,
}

impl Session {
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
            terms: Terms::agree(request, policy),
            to: to.into(),
            requests: Requests::new(request.rid, now),
            keys,
            activity: Activity::default(),
            outgoing,
            pending: Vec::new(),
            pending_bytes: 0,
            opened: None,
            features: match request.xmpp_version {
                Some(_) => Features::Due,
                None => Features::Unversioned,
            },
            login: Login::Pending(None),
            told: Told::No,
            stage: Stage::Open,
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
    pub fn is_known(&self) -> bool {
        self.told == Told::Yes
    }

    /// Whether the client has logged in.
    pub fn is_logged_in(&self) -> bool {
        self.login == Login::Done
    }

    /// ejabberd knows of the session: its client has to log in by then.
    pub fn login_begins(&mut self, until: Instant) {
        if let Login::Pending(due) = &mut self.login {
            *due = Some(until);
        }
    }

    /// By when its client has to log in.
    pub fn login_due(&self) -> Option<Instant> {
        match self.login {
            Login::Pending(due) if matches!(self.stage, Stage::Open) => due,
            Login::Pending(_) | Login::Done => None,
        }
    }

    /// Bytes of memory that its client's requests take which ejabberd has not taken.
    pub fn waiting_input(&self) -> usize {
        self.outgoing.bytes() + self.requests.early_bytes()
    }

    /// The `Content-Type` of its answers, if it isn't `text/xml; charset=utf-8`.
    pub fn content_type(&self) -> Option<&str> {
        self.terms.content.as_deref()
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
        let seconds = self.pause.unwrap_or(self.terms.inactivity);
        Duration::from_secs(u64::from(seconds))
    }

    /// Whether a request whose turn has come waits for its answer.
    fn is_attended(&self) -> bool {
        self.requests.held().any(Entry::is_attended)
    }

    /// Until when a request is held.
    fn held_until(&self, entry: &Entry) -> Instant {
        let wait = self.terms.wait();
        entry.since
            + match self.features {
                Features::Given => wait,
                Features::Due | Features::Unversioned => wait.max(FEATURES),
            }
    }
}

fn payload_size(request: &Request<'_>) -> usize {
    request.payload.iter().map(Document::len).sum()
}
