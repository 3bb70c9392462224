//! Documents of ejabberd's, and the answers that take them.

use std::time::Instant;

use bytes::Bytes;
use megaphone_xmpp::bosh::{Outcome, Response};
use megaphone_xmpp::framing::Kind;

use super::state::{BoshSession, Features, Lifecycle, Opened, Termination};
use crate::bosh::answer::Answer;
use crate::bosh::requests::{Entry, Reply};

/// No more documents are taken from ejabberd while this many bytes of them wait for an answer.
const MAX_PENDING: usize = 256 * 1024;

impl BoshSession {
    /// Whether a document from ejabberd would find an answer to go out with. Otherwise documents had better stay in the
    /// trunk, where they slow ejabberd down.
    pub fn wants_document(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Open | Lifecycle::Closing)
            && self.pending_bytes < MAX_PENDING
            && self
                .requests
                .held()
                .any(|entry| entry.is_attended() && !matches!(entry.reply(), Some(Reply::Pause)))
    }

    /// Takes a document of ejabberd's. [`settle`](Self::settle) has to follow once there are no more.
    pub fn document(&mut self, document: Bytes, now: Instant) {
        let kind = Kind::of(&document);
        if matches!(self.lifecycle, Lifecycle::Closing)
            && matches!(kind, Some(Kind::Close { .. } | Kind::Error))
        {
            // The client ends it too, and that is what it is told.
            return;
        }
        self.login.server_sent(&document);
        match kind {
            Some(Kind::Open(open)) => {
                let owned =
                    |text: Option<std::borrow::Cow<'_, str>>| text.as_deref().map(Box::from);
                self.opened = Some(Box::new(Opened {
                    from: owned(open.from),
                    id: owned(open.id),
                    version: owned(open.version),
                    lang: owned(open.lang),
                }));
            }
            Some(Kind::Close { see_other_uri }) => {
                let uri = see_other_uri.as_deref().map(Box::from);
                self.end(uri.map_or(Termination::Closed, Termination::SeeOther), now);
            }
            Some(Kind::Error) => {
                self.pend(document);
                self.end(Termination::StreamError, now);
            }
            Some(Kind::Features) => {
                self.features = Features::Given;
                self.pend(document);
            }
            _ => self.pend(document),
        }
    }

    /// Answers all requests whose time it is. Whether there were any.
    pub fn settle(&mut self, now: Instant) -> bool {
        let mut answered = false;
        while let Some((rid, reply, takes_payload)) = self.next_due(now) {
            answered = true;
            match reply {
                Reply::Terminate => {
                    self.end(Termination::Client, now);
                    break;
                }
                Reply::WithOutput | Reply::AtOnce { .. } | Reply::Pause => {
                    self.answer(rid, reply, takes_payload, now);
                }
            }
        }
        self.trim();
        answered
    }

    /// Builds the answer to a request with documents that are its payload.
    pub(super) fn build(
        &mut self,
        rid: u64,
        outcome: Outcome<'_>,
        documents: &[Bytes],
        report: Option<(u64, u64)>,
    ) -> Answer {
        let first = !self.is_known;
        let identifier = self.identifier.take();
        let sid = match (first, &identifier) {
            (true, Some(identifier)) => identifier.to_string(),
            _ => self.sid.to_string(),
        };
        self.is_known = true;
        // What the last <open/> said goes with what came after it.
        let takes_opened = first || !documents.is_empty();
        let opened = takes_opened.then(|| self.opened.take()).flatten();
        let opened = opened.as_deref();
        let mut response = if first {
            self.parameters.response(&sid)
        } else {
            Response::default()
        };
        response.outcome = outcome;
        if let Some(opened) = opened {
            response.authid = opened.id.as_deref();
            response.xmpp_version = opened.version.as_deref();
            response.lang = opened.lang.as_deref();
            response.from = opened.from.as_deref();
        }
        if first {
            response.from = response.from.or(Some(&self.to));
        }
        let highest = self.requests.taken();
        if self.parameters.acks && (first || highest > rid) {
            response.ack = Some(highest);
        }
        if let Some((missed, age)) = report {
            response.report = Some(missed);
            response.time = Some(age);
        }
        Answer::new(&response, documents, self.parameters.errors)
    }

    /// Drops the answers that nobody can ask for any more.
    pub(super) fn trim(&mut self) {
        let kept = if self.parameters.acks {
            usize::MAX
        } else {
            usize::try_from(self.parameters.requests).unwrap_or(usize::MAX)
        };
        self.requests.keep(kept);
    }

    fn pend(&mut self, document: Bytes) {
        self.pending_bytes = self.pending_bytes.saturating_add(document.len());
        self.pending.push(document);
    }

    /// Takes all documents that wait for an answer.
    pub(super) fn take_pending(&mut self) -> Vec<Bytes> {
        self.pending_bytes = 0;
        std::mem::take(&mut self.pending)
    }

    /// The first request, if it has to be answered now.
    fn next_due(&self, now: Instant) -> Option<(u64, Reply, bool)> {
        if !matches!(self.lifecycle, Lifecycle::Open | Lifecycle::Closing) {
            return None;
        }
        let mut held = self.requests.held();
        let first = held.next()?;
        let reply = first.reply()?;
        // An answer says that the payload of its request is on its way. The first one does not: the session
        // may have to wait for its turn.
        if first.rid == self.requests.taken() && !self.outgoing.is_empty() && self.is_known() {
            return None;
        }
        let takes_payload = first.is_attended() && reply != Reply::Pause;
        let is_due = reply != Reply::WithOutput
            || self.is_displaced()
            || held.any(|later| later.reply() != Some(Reply::WithOutput))
            // Nobody may ask again for one that nobody waits for: what there is goes to the next one.
            || self.has_output()
                && (first.is_attended() || self.requests.held().skip(1).any(Entry::is_attended))
            || self
                .requests
                .held()
                .any(|entry| entry.is_attended() && self.held_until(entry) <= now);
        is_due.then_some((first.rid, reply, takes_payload))
    }

    /// Whether more requests are held than may be.
    fn is_displaced(&self) -> bool {
        let allowed = match self.features {
            Features::Given => self.parameters.hold,
            // A client that polls would have to ask again for what comes in a moment.
            Features::Due | Features::Unversioned => self.parameters.hold.max(1),
        };
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
        self.requests.held().count() > allowed
    }

    /// Whether a request has been held for as long as it may be.
    fn is_overdue(&self, rid: u64, now: Instant) -> bool {
        self.requests
            .get(rid)
            .is_some_and(|entry| self.held_until(entry) <= now)
    }

    fn has_output(&self) -> bool {
        let open_is_all = self.features == Features::Unversioned && self.opened.is_some();
        !self.pending.is_empty() || open_is_all
    }

    fn answer(&mut self, rid: u64, reply: Reply, takes_payload: bool, now: Instant) {
        let documents = if takes_payload {
            self.take_pending()
        } else {
            Vec::new()
        };
        if self.features == Features::Due && documents.is_empty() && self.is_overdue(rid, now) {
            // ejabberd saw no reason to open a stream.
            self.features = Features::Given;
        }
        if self.features == Features::Unversioned && self.opened.is_some() {
            self.features = Features::Given;
        }
        let report = match reply {
            Reply::AtOnce { missed } => missed.and_then(|missed| {
                let given = self.requests.get(missed)?.since;
                let age = now.saturating_duration_since(given).as_millis();
                Some((missed, u64::try_from(age).unwrap_or(u64::MAX)))
            }),
            _ => None,
        };
        let answer = self.build(rid, Outcome::Continue, &documents, report);
        if !documents.is_empty() {
            self.pace.answered_with_payload(&self.parameters);
        }
        self.requests.answer(rid, answer, documents, now);
        self.active = now;
    }
}
