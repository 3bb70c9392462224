//! How a session ends, and who is told what.

use std::time::Instant;

use bytes::Bytes;
use megaphone_xmpp::bosh::{Condition, Outcome, Request};

use super::{Session, Taken};
use crate::session::{self, Left};

/// How far a session has come.
#[derive(Debug)]
pub(super) enum Stage {
    Open,
    /// The client wants to end it, and ejabberd has not taken its last words.
    Closing,
    /// It is over, and the client knows or will not ask.
    Over,
    /// It is over, and the client learns it with its next request.
    Untold(Cause),
}

/// Why a session ends.
#[derive(Debug, Clone)]
pub(super) enum Cause {
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
    Here(Condition, session::Cause),
}

impl Cause {
    /// The same to ejabberd.
    const fn departure(&self) -> session::Cause {
        match self {
            Self::Client | Self::StreamError | Self::Closed | Self::SeeOther(_) => {
                session::Cause::Closed
            }
            Self::Violation(..) | Self::Refused(_) => session::Cause::Unreadable,
            Self::Here(_, cause) => *cause,
        }
    }

    /// Whether the requests count that came in order behind those that ejabberd has taken.
    fn takes_all(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Here(_, cause) => *cause != session::Cause::Flooded,
            _ => false,
        }
    }

    fn outcome(&self) -> Outcome<'_> {
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
    fn outcome_for_others(&self) -> Outcome<'_> {
        match self {
            Self::Client | Self::Violation(..) | Self::Refused(_) => {
                Outcome::TerminateWith(Condition::OtherRequest)
            }
            _ => self.outcome(),
        }
    }
}

impl Session {
    /// Ends it for a reason that is neither the client's nor ejabberd's: this program ends, say.
    pub fn terminate(&mut self, condition: Condition, cause: session::Cause, now: Instant) {
        match self.stage {
            Stage::Open => self.end(Cause::Here(condition, cause), now),
            // Its last words go with the rest of what ejabberd has not taken.
            Stage::Closing => self.end(Cause::Client, now),
            Stage::Over | Stage::Untold(_) => {}
        }
    }

    /// The way to ejabberd is lost, or it has ended there.
    pub fn lose(&mut self, now: Instant) {
        if let Stage::Open = self.stage {
            let condition = Condition::RemoteConnectionFailed;
            self.end(Cause::Here(condition, session::Cause::Left), now);
        }
        // Nobody is left to take it.
        self.outgoing.clear();
    }

    /// Whether nothing more comes from ejabberd. What [`take_unsent`](Self::take_unsent) gives still goes
    /// there.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over | Stage::Untold(_))
    }

    /// Ends it: every request that waits is answered, in order. The first of them takes what has come
    /// from ejabberd, unless the client broke a rule.
    pub(super) fn end(&mut self, cause: Cause, now: Instant) {
        if matches!(self.stage, Stage::Over | Stage::Untold(_)) {
            return;
        }
        let cause = match cause.takes_all() {
            true => self.take_all(cause, now),
            false => cause,
        };
        self.departure = cause.departure();
        let waiting: Vec<u64> = self
            .requests
            .iter()
            .filter(|entry| entry.is_unanswered())
            .map(|entry| entry.rid)
            .collect();
        let taken = self.requests.taken();
        let mut told = false;
        for rid in waiting {
            let attended = self
                .requests
                .get(rid)
                .is_some_and(|entry| entry.is_attended());
            let (outcome, documents) = match &cause {
                Cause::Client if rid == taken => (cause.outcome(), self.take_pending()),
                Cause::Violation(_, culprit) if rid == *culprit => (cause.outcome(), Vec::new()),
                Cause::Client | Cause::Violation(..) | Cause::Refused(_) => {
                    (cause.outcome_for_others(), Vec::new())
                }
                // The client may not repeat what nobody waits for.
                _ if !attended => (Outcome::Continue, Vec::new()),
                _ if told => (cause.outcome_for_others(), Vec::new()),
                _ => {
                    told = true;
                    (cause.outcome(), self.take_pending())
                }
            };
            let answer = self.build(rid, outcome, &documents, None);
            self.requests.answer(rid, answer, documents, now);
        }
        self.active = now;
        self.pause = None;
        self.stage = match cause {
            Cause::Client | Cause::Violation(..) | Cause::Refused(_) => Stage::Over,
            _ if told => Stage::Over,
            cause => Stage::Untold(cause),
        };
    }

    /// Takes the requests whose turn it is, though ejabberd has not taken what came before them: they were
    /// sent, and no predecessor of theirs is missing. The last of them may end the session in order.
    fn take_all(&mut self, cause: Cause, now: Instant) -> Cause {
        while let Some((rid, contents)) = self.requests.take_next() {
            if self.take(rid, contents, now).is_err() {
                break;
            }
            if let Stage::Closing = self.stage {
                return Cause::Client;
            }
        }
        cause
    }

    /// Ends it because the client is gone, and won't ask.
    pub fn expire(&mut self, now: Instant) {
        self.terminate(Condition::ItemNotFound, session::Cause::Silent, now);
        self.stage = Stage::Over;
    }

    /// Of a session that is over: why it ended, and what is left of it, in order.
    pub fn take_left(&mut self) -> (session::Cause, Left) {
        let left = Left {
            unsent: std::mem::take(&mut self.outgoing),
            undelivered: self.take_undelivered(),
        };
        (self.departure, left)
    }

    /// The documents that the client never got and never will.
    fn take_undelivered(&mut self) -> Vec<Bytes> {
        // It may ask for the others, but not for long if this program ends.
        let is_gone = matches!(self.stage, Stage::Over);
        if !is_gone && self.departure != session::Cause::Shutdown {
            return Vec::new();
        }
        let mut documents = self.requests.take_unfetched();
        documents.append(&mut self.take_pending());
        documents
    }

    /// A new request in a session that is over.
    pub(super) fn request_after_end(&mut self, request: &Request<'_>, now: Instant) -> Taken {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let cause = match stage {
            Stage::Untold(cause) => cause,
            other => {
                self.stage = other;
                return self.not_found();
            }
        };
        let wrong_key = self
            .keys
            .accept(request.key.as_deref(), request.newkey.as_deref())
            .is_err();
        if wrong_key {
            self.stage = Stage::Untold(cause);
            return self.not_found();
        }
        let documents = self.take_pending();
        let answer = self.build(request.rid, cause.outcome(), &documents, None);
        self.requests
            .insert_answered(request.rid, request.key.as_deref(), answer, now);
        self.active = now;
        Taken::Held
    }
}
