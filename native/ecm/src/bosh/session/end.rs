//! How a session ends, and what the client and ejabberd are told.

use std::time::Instant;

use bytes::Bytes;
use megaphone_xmpp::bosh::{Condition, Outcome, Request};

use super::state::{BoshSession, Lifecycle, Taken, Termination};
use crate::session::{Cause, Left};

impl BoshSession {
    /// Ends it for a reason that is neither the client's nor ejabberd's: this program ends, say.
    pub fn terminate(&mut self, condition: Condition, cause: Cause, now: Instant) {
        match self.lifecycle {
            Lifecycle::Open => self.end(Termination::Here(condition, cause), now),
            // Its last words go with the rest of what ejabberd has not taken.
            Lifecycle::Closing => self.end(Termination::Client, now),
            Lifecycle::Over | Lifecycle::Untold(_) => {}
        }
    }

    /// The way to ejabberd is lost, or it has ended there.
    pub fn lose(&mut self, now: Instant) {
        if let Lifecycle::Open = self.lifecycle {
            let condition = Condition::RemoteConnectionFailed;
            self.end(Termination::Here(condition, Cause::Left), now);
        }
        // Nobody is left to take it.
        self.outgoing.clear();
    }

    /// Whether neither side has ended it.
    pub const fn is_open(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Open)
    }

    /// Whether nothing more comes from ejabberd. What [`take_unsent`](Self::take_unsent) gives still goes
    /// there.
    pub fn is_over(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Over | Lifecycle::Untold(_))
    }

    /// Ends it: every request that waits is answered, in order. The first of them takes what has come
    /// from ejabberd, unless the client broke a rule.
    pub(super) fn end(&mut self, cause: Termination, now: Instant) {
        if matches!(self.lifecycle, Lifecycle::Over | Lifecycle::Untold(_)) {
            return;
        }
        let cause = if cause.takes_all() {
            self.take_all(cause, now)
        } else {
            cause
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
                Termination::Client if rid == taken => (cause.outcome(), self.take_pending()),
                Termination::Violation(_, culprit) if rid == *culprit => {
                    (cause.outcome(), Vec::new())
                }
                Termination::Client | Termination::Violation(..) | Termination::Refused(_) => {
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
        self.lifecycle = match cause {
            Termination::Client | Termination::Violation(..) | Termination::Refused(_) => {
                Lifecycle::Over
            }
            _ if told => Lifecycle::Over,
            cause => Lifecycle::Untold(cause),
        };
    }

    /// Takes the requests whose turn it is, though ejabberd has not taken what came before them: they were
    /// sent, and no predecessor of theirs is missing. The last of them may end the session in order.
    fn take_all(&mut self, cause: Termination, now: Instant) -> Termination {
        while let Some((rid, contents)) = self.requests.take_next() {
            if self.take(rid, contents, now).is_err() {
                break;
            }
            if let Lifecycle::Closing = self.lifecycle {
                return Termination::Client;
            }
        }
        cause
    }

    /// Ends it because the client is gone, and won't ask.
    pub fn expire(&mut self, now: Instant) {
        self.terminate(Condition::ItemNotFound, Cause::Silent, now);
        self.lifecycle = Lifecycle::Over;
    }

    /// Of a session that is over: why it ended, and what is left of it, in order.
    pub fn take_left(&mut self) -> (Cause, Left) {
        let left = Left {
            unsent: std::mem::take(&mut self.outgoing),
            undelivered: self.take_undelivered(),
        };
        (self.departure, left)
    }

    /// The documents that the client never got and never will.
    fn take_undelivered(&mut self) -> Vec<Bytes> {
        // It may ask for the others, but not for long if this program ends.
        let is_gone = matches!(self.lifecycle, Lifecycle::Over);
        if !is_gone && self.departure != Cause::Shutdown {
            return Vec::new();
        }
        let mut documents = self.requests.take_unfetched();
        documents.append(&mut self.take_pending());
        documents
    }

    /// A new request in a session that is over.
    pub(super) fn request_after_end(&mut self, request: &Request<'_>, now: Instant) -> Taken {
        let stage = std::mem::replace(&mut self.lifecycle, Lifecycle::Over);
        let cause = match stage {
            Lifecycle::Untold(cause) => cause,
            other => {
                self.lifecycle = other;
                return self.not_found();
            }
        };
        let wrong_key = self
            .keys
            .accept(request.key.as_deref(), request.newkey.as_deref())
            .is_err();
        if wrong_key {
            self.lifecycle = Lifecycle::Untold(cause);
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
