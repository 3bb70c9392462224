//! How a session ends, and who is told what.

use std::time::Instant;

use bytes::Bytes;
use megaphone_xmpp::bosh::{Condition, Outcome, Request};

use super::{Session, Taken};
use crate::bosh::answer::Answer;

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

impl Cause {
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
            let answer = match &cause {
                Cause::Client if rid == taken => self.last_answer(rid, &cause),
                Cause::Violation(_, culprit) if rid == *culprit => {
                    self.build(rid, cause.outcome(), &[], None)
                }
                Cause::Client | Cause::Violation(..) | Cause::Refused(_) => {
                    self.build(rid, cause.outcome_for_others(), &[], None)
                }
                // The client may not repeat what nobody waits for.
                _ if !attended => self.build(rid, Outcome::Continue, &[], None),
                _ if told => self.build(rid, cause.outcome_for_others(), &[], None),
                _ => {
                    told = true;
                    self.last_answer(rid, &cause)
                }
            };
            self.requests.answer(rid, answer, now);
        }
        self.active = now;
        self.pause = None;
        self.stage = match cause {
            Cause::Client | Cause::Violation(..) | Cause::Refused(_) => Stage::Over,
            _ if told => Stage::Over,
            cause => Stage::Untold(cause),
        };
        if matches!(self.stage, Stage::Over) {
            self.take_pending();
        }
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
        let answer = self.last_answer(request.rid, &cause);
        self.requests
            .insert_answered(request.rid, request.key.as_deref(), answer, now);
        self.active = now;
        Taken::Held
    }

    fn last_answer(&mut self, rid: u64, cause: &Cause) -> Answer {
        let documents: Vec<Bytes> = self.take_pending();
        self.build(rid, cause.outcome(), &documents, None)
    }
}
