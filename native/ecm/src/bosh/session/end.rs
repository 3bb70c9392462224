//! How a session ends, and who is told what.

use std::time::Instant;

use bytes::Bytes;
use megaphone_xmpp::bosh::{Condition, Outcome, Request};

use super::{Session, Taken};

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
    /// Something here.
    Here(Condition),
}

/// How the session's stream is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    /// One of its two sides has closed it.
    InOrder,
    /// It breaks off, and ejabberd may have another place for what is on its way.
    Abrupt,
}

impl Cause {
    const fn parting(&self) -> Parting {
        match self {
            Self::Client | Self::StreamError | Self::Closed | Self::SeeOther(_) => Parting::InOrder,
            Self::Violation(..) | Self::Refused(_) | Self::Here(_) => Parting::Abrupt,
        }
    }

    fn outcome(&self) -> Outcome<'_> {
        match self {
            Self::Client => Outcome::Terminate,
            Self::Violation(condition, _) | Self::Refused(condition) | Self::Here(condition) => {
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
    /// Ends it for a reason that is neither the client's nor ejabberd's: the way to ejabberd is lost, or
    /// this program ends.
    pub fn terminate(&mut self, condition: Condition, now: Instant) {
        match self.stage {
            Stage::Open => self.end(Cause::Here(condition), now),
            // Nobody is left to take the client's last words.
            Stage::Closing => self.outgoing.clear(),
            Stage::Over | Stage::Untold(_) => {}
        }
    }

    /// Whether nothing more goes to ejabberd, nor comes from there.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over | Stage::Untold(_)) && self.outgoing.is_empty()
    }

    /// Ends it: every request that waits is answered, in order. The first of them takes what has come
    /// from ejabberd, unless the client broke a rule.
    pub(super) fn end(&mut self, cause: Cause, now: Instant) {
        if matches!(self.stage, Stage::Over | Stage::Untold(_)) {
            return;
        }
        if !matches!(cause, Cause::Client) {
            // What ejabberd has not taken by now it won't, or must not.
            self.outgoing.clear();
        }
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
        self.parting = cause.parting();
        self.stage = match cause {
            Cause::Client | Cause::Violation(..) | Cause::Refused(_) => Stage::Over,
            _ if told => Stage::Over,
            cause => Stage::Untold(cause),
        };
    }

    /// Ends it because the client is gone, and won't ask.
    pub fn expire(&mut self, now: Instant) {
        self.terminate(Condition::ItemNotFound, now);
        self.stage = Stage::Over;
    }

    /// Of a session that is over: the documents that the client never got and never will, in order, unless
    /// its stream was closed, and nobody is left to take them.
    pub fn take_undelivered(&mut self) -> Option<Vec<Bytes>> {
        if self.parting == Parting::InOrder {
            return None;
        }
        // It may ask for the others.
        let mut documents = Vec::new();
        if matches!(self.stage, Stage::Over) {
            documents = self.requests.take_unfetched();
            documents.append(&mut self.take_pending());
        }
        Some(documents)
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
