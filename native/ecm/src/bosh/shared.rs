//! A session as the connections that carry it share it.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use megaphone_xmpp::bosh::{Condition, Request};
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::answer::Answer;
use super::secrets::Sid;
use super::session::{Abandoned, BoshSession, Taken};
use super::upstream::Upstream;
use crate::backlog::{Backlog, Backlogs, Evicted};
use crate::session::Cause;

/// Past this a session that goes on without a request is not waited for: a request has taken it over.
const ALONE: Duration = Duration::from_secs(60);

/// A session, its way to ejabberd, and the connections that wait for answers.
///
/// It has no task of its own: a connection that holds one of its requests is woken by what comes from ejabberd
/// and hands out the answers, to others too. While none does, what comes waits in the trunk's mailbox, and a task
/// begins when the session is woken: it may have to move to another trunk, or have its turn to log in.
#[derive(Debug)]
pub struct SharedSession {
    sid: Sid,
    security: Security,
    /// This one, for those who wake it.
    this: Weak<Self>,
    shared: Mutex<Shared>,
}

/// Whether a connection is encrypted. A session that was created on one that is has no others
/// (XEP-0124, section 19.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// It has no TLS.
    Plain,
    /// It has TLS, or came by it to a proxy that says so.
    Encrypted,
}

#[derive(Debug)]
struct Shared {
    session: BoshSession,
    upstream: Upstream,
    backlog: Backlog,
    backlogs: Arc<Backlogs>,
    /// The connections that wait, and for the answer to which request.
    waiting: Vec<(u64, Waker)>,
}

/// Where the answer to a request is.
#[derive(Debug)]
pub enum Fetched {
    /// Here.
    Answer(Answer),
    /// It is due until this time, if nothing happens before.
    NotYet(Option<Instant>),
    /// Nowhere: the client has gone on without it.
    Gone,
}

impl SharedSession {
    /// A session that nobody waits for yet.
    pub fn new(
        session: BoshSession,
        upstream: Upstream,
        security: Security,
        backlogs: &Arc<Backlogs>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            sid: session.sid(),
            security,
            this: Weak::clone(this),
            shared: Mutex::new(Shared {
                session,
                upstream,
                backlog: Backlog::default(),
                backlogs: Arc::clone(backlogs),
                waiting: Vec::new(),
            }),
        })
    }

    /// The session's identifier.
    pub const fn sid(&self) -> Sid {
        self.sid
    }

    /// What its connections have to be.
    pub const fn security(&self) -> Security {
        self.security
    }

    /// The `Content-Type` of its answers, if it isn't XML's.
    pub fn content_type(&self) -> Option<Box<str>> {
        self.shared.lock().session.content_type().map(Box::from)
    }

    /// Takes a request; its answer is to be [fetched](Self::fetch) if it is held.
    pub fn request(&self, request: &Request<'_>, now: Instant) -> Taken {
        let mut shared = self.shared.lock();
        let taken = shared.session.request(request, now);
        shared.pump(now);
        let evicted = self.await_eviction(&shared);
        self.release(shared);
        if evicted.is_ready() {
            self.evict(now);
        }
        taken
    }

    /// The answer to a request that is held.
    pub fn fetch(&self, rid: u64, now: Instant) -> Fetched {
        let mut shared = self.shared.lock();
        if let Some(answer) = shared.session.fetch(rid) {
            return Fetched::Answer(answer);
        }
        if shared.session.is_waiting(rid) {
            Fetched::NotYet(shared.deadline(rid, now))
        } else {
            Fetched::Gone
        }
    }

    /// Whether it is worth while to [fetch](Self::fetch) the answer to a request; else the task is woken
    /// when it is.
    pub fn poll_answered(&self, rid: u64, context: &Context<'_>) -> Poll<()> {
        let mut shared = self.shared.lock();
        if !shared.session.is_waiting(rid) {
            // ejabberd wakes the connection that asked it last: that has to be one that still waits.
            return Poll::Ready(());
        }
        shared.await_answer(rid, context);
        let mut moved = false;
        while shared.upstream.poll_changed(context).is_ready() {
            shared.pump(Instant::now());
            moved = true;
        }
        let ready = !shared.session.is_waiting(rid);
        if ready {
            // Another connection may wait for the answer to the same request.
            let waker = context.waker();
            shared
                .waiting
                .retain(|(other, waiting)| *other != rid || !waiting.will_wake(waker));
        }
        if moved {
            self.release(shared);
        }
        if ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Whether its client has logged in.
    pub fn is_logged_in(&self) -> bool {
        self.shared.lock().session.is_logged_in()
    }

    /// Answers what is due by now.
    pub fn settle(&self, now: Instant) {
        let mut shared = self.shared.lock();
        shared.pump(now);
        let evicted = self.await_eviction(&shared);
        self.release(shared);
        if evicted.is_ready() {
            self.evict(now);
        }
    }

    /// The connection that holds a request broke.
    pub fn abandon(&self, rid: u64, now: Instant) {
        let mut shared = self.shared.lock();
        let abandoned = shared.session.abandon(rid, now);
        let is_queued = shared.upstream.queued_until().is_some();
        if abandoned == Abandoned::Unattended && is_queued && !shared.session.is_known() {
            // Its client does not know the session, and won't come back to it.
            shared.session.expire(now);
            shared.leave_upstream();
        }
        // The one that left may have been the one that is woken by ejabberd.
        self.release(shared);
    }

    /// Ends the session.
    pub fn terminate(&self, condition: Condition, cause: Cause, now: Instant) {
        let mut shared = self.shared.lock();
        shared.session.terminate(condition, cause, now);
        shared.pump(now);
        self.release(shared);
    }

    /// The session has to go if too much input of all clients waits and much of that is its client's.
    fn await_eviction(&self, shared: &Shared) -> Poll<()> {
        let eviction = || Waker::from(Arc::new(Eviction(Weak::clone(&self.this))));
        shared.backlog.wake_if_evicted(eviction)
    }

    fn evict(&self, now: Instant) {
        tracing::debug!(sid = ?self.sid, "ending a BOSH session: {Evicted}");
        self.terminate(Condition::InternalServerError, Cause::Flooded, now);
    }

    /// How long its client may have no request here.
    pub fn inactivity(&self) -> Duration {
        self.shared.lock().session.inactivity()
    }

    /// Frees it and wakes all that wait: each looks whether it has its answer, and one of them is the one that
    /// ejabberd wakes next. Without any that is the session itself.
    fn release(&self, mut shared: MutexGuard<'_, Shared>) {
        let waiting = std::mem::take(&mut shared.waiting);
        if !shared.is_attended() {
            self.rest(&mut shared);
        }
        drop(shared);
        for (_, waker) in waiting {
            waker.wake();
        }
    }

    /// Goes on as far as it can without waiting; then the session is woken when it can again.
    fn rest(&self, shared: &mut Shared) {
        if matches!(shared.upstream, Upstream::Closed) {
            return;
        }
        let waker = Waker::from(Arc::new(Resting(Weak::clone(&self.this))));
        shared.go_on(&Context::from_waker(&waker));
    }

    /// Goes on without a request, until nothing is left that can't wait for one.
    fn poll_alone(&self, context: &Context<'_>) -> Poll<()> {
        let mut shared = self.shared.lock();
        if !shared.is_attended() {
            shared.go_on(context);
            if shared.upstream.is_moving() {
                return Poll::Pending;
            }
        }
        self.release(shared);
        Poll::Ready(())
    }

    /// Whether a step of its client's login waits for its turn.
    pub fn waits_for_turn(&self) -> bool {
        self.shared.lock().upstream.waits_for_turn()
    }

    /// By when its client has to log in, if it has not.
    pub fn login_due(&self, now: Instant) -> Option<Instant> {
        let mut shared = self.shared.lock();
        // What shows that it has may just have come.
        let due = shared.session.login_due();
        if due.is_none_or(|due| due > now) {
            return due;
        }
        shared.pump(now);
        let due = shared.session.login_due();
        self.release(shared);
        due
    }

    /// When the client counts as gone, if it sends nothing until then; `None` while it has a request
    /// here.
    pub fn inactive_at(&self) -> Option<Instant> {
        self.shared.lock().session.inactive_at()
    }

    /// The client is gone.
    pub fn expire(&self, now: Instant) {
        let mut shared = self.shared.lock();
        // Its last words may have waited for room.
        shared.pump(now);
        shared.session.expire(now);
        shared.leave_upstream();
        self.release(shared);
    }
}

impl Shared {
    /// Whether its client has a request here.
    fn is_attended(&self) -> bool {
        self.session.inactive_at().is_none()
    }

    /// Does what can be done now; then what can be done later wakes the task.
    fn go_on(&mut self, context: &Context<'_>) {
        while self.upstream.poll_changed(context).is_ready() {
            self.pump(Instant::now());
        }
    }

    fn pump(&mut self, now: Instant) {
        self.upstream.pump(&mut self.session, now);
        if self.session.is_over() {
            self.leave_upstream();
        }
        // If it has to go, whoever looks after that is told.
        let _ = self
            .backlog
            .count(self.session.waiting_input(), &self.backlogs);
    }

    fn leave_upstream(&mut self) {
        self.upstream.leave(&mut self.session, &self.backlogs);
    }

    /// When there is something to be done for a request, if nothing happens before.
    fn deadline(&self, rid: u64, now: Instant) -> Option<Instant> {
        let answer = self.session.deadline(rid, now);
        answer.into_iter().chain(self.upstream.queued_until()).min()
    }

    fn await_answer(&mut self, rid: u64, context: &Context<'_>) {
        let waker = context.waker();
        let same = |(other, waiting): &&mut (u64, Waker)| *other == rid && waiting.will_wake(waker);
        if self.waiting.iter_mut().find(same).is_none() {
            self.waiting.reserve_exact(1);
            self.waiting.push((rid, waker.clone()));
        }
    }
}

/// Ends a session that has to go, which has no task that could be woken for it.
struct Eviction(Weak<SharedSession>);

impl Wake for Eviction {
    fn wake(self: Arc<Self>) {
        if let Some(session) = self.0.upgrade() {
            session.evict(Instant::now());
        }
    }
}

/// Has a session go on whose client has no request here.
struct Resting(Weak<SharedSession>);

impl Wake for Resting {
    fn wake(self: Arc<Self>) {
        // Whoever wakes it may hold the session's lock, or its trunk's: it goes on elsewhere.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if let Some(session) = self.0.upgrade() {
                    let alone = poll_fn(|context| session.poll_alone(context));
                    let _ = timeout(ALONE, alone).await;
                }
            });
        }
    }
}
