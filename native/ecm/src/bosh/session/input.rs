//! Requests of the client's.

use std::time::{Duration, Instant};

use megaphone_xmpp::bosh::{Condition, Request, Type};
use megaphone_xmpp::framing;

use super::state::{BoshSession, Features, Lifecycle, Taken, Termination, payload_size};
use crate::bosh::answer::Answer;
use crate::bosh::requests::{Contents, Reply, Wish};
use crate::session::MAX_BEFORE_LOGIN;

/// A client that doesn't acknowledge an answer this long after it was given has probably lost it.
const LATE_ACK: Duration = Duration::from_secs(1);

impl BoshSession {
    /// Takes a request, new or repeated. [`advance`](Self::advance) and [`settle`](Self::settle) have to
    /// follow.
    pub fn request(&mut self, request: &Request<'_>, now: Instant) -> Taken {
        let rid = request.rid;
        let taken = self.requests.taken();
        if let Some(entry) = self.requests.get_mut(rid) {
            if !entry.has_key(request.key.as_deref()) {
                return self.refuse(Condition::ItemNotFound, now);
            }
            entry.repeat(now);
            self.active = now;
            return Taken::Held;
        }
        // One more is allowed to a client that pauses or terminates.
        let last_words = request.pause.is_some() || request.kind == Some(Type::Terminate);
        let window = u64::from(self.parameters.requests).saturating_add(u64::from(last_words));
        if rid <= taken {
            // It may have been under way for so long that its answer is no longer kept. Its client has
            // gone on; if it has not, this answer tells it to give up.
            return self.not_found();
        }
        if rid > taken.saturating_add(window) {
            return self.refuse(Condition::ItemNotFound, now);
        }
        if !matches!(self.lifecycle, Lifecycle::Open) {
            return self.request_after_end(request, now);
        }
        if !self.is_logged_in() && payload_size(request) > MAX_BEFORE_LOGIN {
            return self.refuse(Condition::PolicyViolation, now);
        }
        self.active = now;
        self.pause = None;
        let contents = Contents::of(request, &self.to);
        self.requests.insert_early(rid, contents, now);
        Taken::Held
    }

    /// Takes the requests whose turn it is, as long as ejabberd has taken the payload of those before
    /// them. Whether there were any.
    pub fn advance(&mut self, now: Instant) -> bool {
        let mut advanced = false;
        while self.outgoing.is_empty()
            && matches!(self.lifecycle, Lifecycle::Open)
            && let Some((rid, contents)) = self.requests.take_next()
        {
            advanced = true;
            if let Err(condition) = self.take(rid, contents, now) {
                self.end(Termination::Violation(condition, rid), now);
            }
        }
        advanced
    }

    /// The next document for ejabberd.
    pub fn outgoing(&self) -> Option<&[u8]> {
        self.outgoing.first()
    }

    /// ejabberd took it.
    pub fn outgoing_taken(&mut self) {
        self.outgoing.pop();
    }

    /// Takes a request whose turn it is.
    pub(super) fn take(
        &mut self,
        rid: u64,
        contents: Contents,
        now: Instant,
    ) -> Result<(), Condition> {
        self.keys
            .accept(contents.key.as_deref(), contents.newkey.as_deref())
            .map_err(|_wrong| Condition::ItemNotFound)?;
        let unanswered = self.requests.held().count();
        self.pace
            .request(contents.is_empty(), unanswered, &self.parameters, now)
            .map_err(|_overactive| Condition::PolicyViolation)?;
        let missed = self.acknowledge(rid, contents.ack, now);
        self.outgoing.append(contents.documents);
        match contents.wish {
            Wish::Output => {
                if missed.is_some() {
                    self.requests.set_reply(Reply::AtOnce { missed });
                }
            }
            Wish::Restart => self.features = Features::Due,
            Wish::Pause(seconds) => {
                self.pause = Some(seconds.min(self.parameters.max_pause));
                self.requests.set_reply(Reply::Pause);
            }
            Wish::Terminate => {
                self.outgoing.push(framing::CLOSE.to_vec());
                self.requests.set_reply(Reply::Terminate);
                self.lifecycle = Lifecycle::Closing;
            }
        }
        Ok(())
    }

    /// Notes which answers the client has; the request whose answer it seems to miss.
    fn acknowledge(&mut self, rid: u64, ack: Option<u64>, now: Instant) -> Option<u64> {
        if !self.parameters.acks {
            return None;
        }
        // Without the attribute it has all up to this one's predecessor.
        let has = ack
            .unwrap_or(rid.saturating_sub(1))
            .min(rid.saturating_sub(1));
        self.requests.acknowledge(has);
        let missed = self.requests.unacknowledged(has, LATE_ACK, now)?;
        Some(missed.0)
    }

    /// Ends the session because of a request that belongs to none.
    fn refuse(&mut self, condition: Condition, now: Instant) -> Taken {
        if matches!(self.lifecycle, Lifecycle::Open) {
            self.end(Termination::Refused(condition), now);
        }
        Taken::Refused(Answer::terminate_for(condition, self.parameters.errors))
    }

    /// The answer to a request that the session doesn't know.
    pub(super) fn not_found(&self) -> Taken {
        Taken::Refused(Answer::terminate_for(
            Condition::ItemNotFound,
            self.parameters.errors,
        ))
    }
}
