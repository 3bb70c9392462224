//! A session as the connections that carry it share it.

use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use megaphone_xmpp::bosh::{Condition, Request};
use parking_lot::{Mutex, MutexGuard};

use super::answer::Answer;
use super::pump::{Coming, Sending, Stream, pump};
use super::queued::{Next, Queued};
use super::session::{Abandoned, Session, Taken};
use super::sid::Sid;
use crate::backlog::{Backlog, Backlogs, Evicted};
use crate::session::{self, Cause};

/// A session, its stream in a trunk, and who waits for answers.
///
/// It has no task of its own: whoever holds one of its requests is woken by what comes from ejabberd and
/// hands out the answers, to others too. While nobody does, what comes waits in the trunk's mailbox.
#[derive(Debug)]
pub struct Cell {
    sid: Sid,
    security: Security,
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
    session: Session,
    stream: Way,
    backlog: Backlog,
    backlogs: Arc<Backlogs>,
    /// The connections that wait, and for the answer to which request.
    waiting: Vec<(u64, Waker)>,
}

/// A session's way to ejabberd.
#[derive(Debug)]
enum Way {
    /// Its turn has to come.
    Queued(Box<Queued>),
    Open(session::Session),
    /// The session is over.
    Closed,
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

impl Cell {
    /// A session whose stream has its first document.
    pub fn new(
        session: Session,
        stream: session::Session,
        security: Security,
        backlogs: &Arc<Backlogs>,
    ) -> Self {
        Self::with(session, Way::Open(stream), security, backlogs)
    }

    /// A session whose client waits for its turn to log in.
    pub fn queued(
        session: Session,
        queued: Box<Queued>,
        security: Security,
        backlogs: &Arc<Backlogs>,
    ) -> Self {
        Self::with(session, Way::Queued(queued), security, backlogs)
    }

    fn with(session: Session, stream: Way, security: Security, backlogs: &Arc<Backlogs>) -> Self {
        Self {
            sid: session.sid(),
            security,
            shared: Mutex::new(Shared {
                session,
                stream,
                backlog: Backlog::default(),
                backlogs: Arc::clone(backlogs),
                waiting: Vec::new(),
            }),
        }
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
    pub fn request(self: &Arc<Self>, request: &Request<'_>, now: Instant) -> Taken {
        let mut shared = self.shared.lock();
        let taken = shared.session.request(request, now);
        shared.pump(now);
        let evicted = self.await_eviction(&shared);
        wake(shared);
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
        match shared.session.is_waiting(rid) {
            true => Fetched::NotYet(shared.deadline(rid, now)),
            false => Fetched::Gone,
        }
    }

    /// Whether it is worth while to [fetch](Self::fetch) the answer to a request; else the task is woken
    /// when it is.
    pub fn poll_answered(&self, rid: u64, context: &Context<'_>) -> Poll<()> {
        let mut shared = self.shared.lock();
        if !shared.session.is_waiting(rid) {
            // ejabberd wakes who asked it last: that has to be one that still waits.
            return Poll::Ready(());
        }
        shared.await_answer(rid, context);
        let mut moved = false;
        while shared.poll_stream(context).is_ready() {
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
            wake(shared);
        }
        match ready {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Whether its client has logged in.
    pub fn is_logged_in(&self) -> bool {
        self.shared.lock().session.is_logged_in()
    }

    /// Answers what is due by now.
    pub fn settle(self: &Arc<Self>, now: Instant) {
        let mut shared = self.shared.lock();
        shared.pump(now);
        let evicted = self.await_eviction(&shared);
        wake(shared);
        if evicted.is_ready() {
            self.evict(now);
        }
    }

    /// The connection that holds a request broke.
    pub fn abandon(&self, rid: u64, now: Instant) {
        let mut shared = self.shared.lock();
        match (shared.session.abandon(rid, now), &shared.stream) {
            // The one that left may have been the one that is woken by ejabberd.
            (Abandoned::OthersWait, _) => wake(shared),
            // It does not know the session, and won't come back to it.
            (Abandoned::Unattended, Way::Queued(_)) if !shared.session.is_known() => {
                shared.session.expire(now);
                shared.leave_stream();
            }
            (Abandoned::Unattended, _) => {}
        }
    }

    /// Ends the session.
    pub fn terminate(&self, condition: Condition, cause: Cause, now: Instant) {
        let mut shared = self.shared.lock();
        shared.session.terminate(condition, cause, now);
        shared.pump(now);
        wake(shared);
    }

    /// The session has to go if too much input of all clients waits and much of that is its client's.
    fn await_eviction(self: &Arc<Self>, shared: &Shared) -> Poll<()> {
        let eviction = || Waker::from(Arc::new(Eviction(Arc::downgrade(self))));
        shared.backlog.wake_if_evicted(eviction)
    }

    fn evict(&self, now: Instant) {
        tracing::debug!(sid = ?self.sid, "ending a session: {Evicted}");
        self.terminate(Condition::InternalServerError, Cause::Flooded, now);
    }

    /// How long its client may have no request here.
    pub fn inactivity(&self) -> Duration {
        self.shared.lock().session.inactivity()
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
        wake(shared);
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
        shared.leave_stream();
        wake(shared);
    }
}

impl Shared {
    fn pump(&mut self, now: Instant) {
        if matches!(self.stream, Way::Queued(_)) {
            self.leave_queue(now);
        }
        match &mut self.stream {
            Way::Queued(_) => pump(&mut self.session, &mut NotYet, now),
            Way::Open(stream) => pump(&mut self.session, stream, now),
            Way::Closed => pump(&mut self.session, &mut Nowhere, now),
        }
        if self.session.is_over() {
            self.leave_stream();
        }
        // If it has to go, whoever looks after that is told.
        let _ = self
            .backlog
            .count(self.session.waiting_input(), &self.backlogs);
    }

    /// Leaves the stream of a session that is over, with what is left. Whose turn had not come has sent
    /// nothing that counts.
    fn leave_stream(&mut self) {
        let way = std::mem::replace(&mut self.stream, Way::Closed);
        if let Way::Closed = way {
            return;
        }
        let (cause, left) = self.session.take_left();
        if let Way::Open(stream) = way {
            stream.leave(cause, left, &self.backlogs);
        }
    }

    /// Opens the stream, if its turn has come.
    fn leave_queue(&mut self, now: Instant) {
        if let Way::Queued(queued) = std::mem::replace(&mut self.stream, Way::Closed) {
            self.stream = match queued.go_on(&mut self.session, now) {
                Next::Wait(queued) => Way::Queued(queued),
                Next::Open(stream) => Way::Open(stream),
                Next::Over => Way::Closed,
            };
        }
    }

    /// When there is something to be done for a request, if nothing happens before.
    fn deadline(&self, rid: u64, now: Instant) -> Option<Instant> {
        let answer = self.session.deadline(rid, now);
        match &self.stream {
            Way::Queued(queued) => Some(answer.map_or(queued.until, |at| at.min(queued.until))),
            Way::Open(_) | Way::Closed => answer,
        }
    }

    fn poll_stream(&self, context: &Context<'_>) -> Poll<()> {
        match &self.stream {
            Way::Queued(queued) => queued.poll_turn(context),
            Way::Open(stream) => stream.poll_changed(context),
            Way::Closed => Poll::Pending,
        }
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
struct Eviction(Weak<Cell>);

impl Wake for Eviction {
    fn wake(self: Arc<Self>) {
        if let Some(cell) = self.0.upgrade() {
            cell.evict(Instant::now());
        }
    }
}

/// Wakes all that wait, after the lock is free: each looks whether it has its answer, and one of them is
/// the one that ejabberd wakes next.
fn wake(mut shared: MutexGuard<'_, Shared>) {
    let waiting = std::mem::take(&mut shared.waiting);
    drop(shared);
    for (_, waker) in waiting {
        waker.wake();
    }
}

/// Where the stream of a session leads whose turn has to come.
struct NotYet;

impl Stream for NotYet {
    fn send(&mut self, _document: &[u8]) -> Sending {
        Sending::Refused
    }

    fn next(&mut self) -> Coming {
        Coming::Nothing
    }
}

/// Where the stream of a session leads that is over.
struct Nowhere;

impl Stream for Nowhere {
    fn send(&mut self, _document: &[u8]) -> Sending {
        Sending::Lost
    }

    fn next(&mut self) -> Coming {
        Coming::Ended
    }
}

impl Stream for session::Session {
    fn send(&mut self, document: &[u8]) -> Sending {
        match self.try_send(document) {
            Ok(session::Sent::Sent) => Sending::Sent,
            Ok(session::Sent::Refused) => Sending::Refused,
            Err(error) => {
                tracing::debug!(id = %self, "a document can't be sent: {error}");
                Sending::Lost
            }
        }
    }

    fn next(&mut self) -> Coming {
        match Self::next(self) {
            session::Received::Document(document) => Coming::Document(document),
            session::Received::Nothing => Coming::Nothing,
            session::Received::End(_) => Coming::Ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use megaphone_trunk::proxy::ChannelBindings;
    use megaphone_xmpp::Limits;

    use super::*;
    use crate::bosh::terms::Policy;
    use crate::logins::Logins;
    use crate::trunk::testing::Ejabberd;
    use crate::trunk::{Binding, Content, Opening};

    const POLICY: Policy = Policy {
        max_wait: 60,
        max_hold: 2,
        max_inactivity: 30,
        max_pause: 120,
        min_polling: 2,
    };

    /// A connection that waits.
    #[derive(Default)]
    struct Waiting(AtomicBool);

    impl Wake for Waiting {
        fn wake(self: Arc<Self>) {
            self.0.store(true, SeqCst);
        }
    }

    impl Waiting {
        fn new() -> (Arc<Self>, Waker) {
            let waiting = Arc::new(Self::default());
            let waker = Waker::from(Arc::clone(&waiting));
            (waiting, waker)
        }

        fn was_woken(&self) -> bool {
            self.0.swap(false, SeqCst)
        }
    }

    /// A session whose requests 100 and 101 are held, with both connections.
    fn two_are_held(hold: u32) -> (Arc<Cell>, Ejabberd, u32) {
        let (trunks, mut ejabberd) = Ejabberd::start();
        let now = Instant::now();
        let sid = Sid::random().unwrap();
        let body = format!(
            "<body xmlns='http://jabber.org/protocol/httpbind' rid='100' to='a' ver='1.6' \
             hold='{hold}' xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0'/>"
        );
        let request = Request::read(body.as_bytes(), &Limits::default()).unwrap();
        let mut session = Session::create(sid, &request, &POLICY, now).unwrap();
        let opening = Opening {
            client: "192.0.2.7:4711".parse().unwrap(),
            server: "192.0.2.1:80".parse().unwrap(),
            host: None,
            content: Content::XmppFraming(Binding::Bosh),
            tls: None,
            bindings: ChannelBindings::default(),
            fields: None,
        };
        let first = session.outgoing().unwrap();
        let login = Arc::new(Logins::new(0)).begin();
        let stream = session::Session::open(&trunks, &opening, first, 1 << 20, login).unwrap();
        session.outgoing_taken();
        let backlogs = Arc::new(Backlogs::new(1 << 20));
        let cell = Arc::new(Cell::new(session, stream, Security::Plain, &backlogs));
        let (id, _) = ejabberd.opened();
        ask(&cell, 101);
        (cell, ejabberd, id)
    }

    fn ask(cell: &Arc<Cell>, rid: u64) {
        let sid = cell.sid();
        let body =
            format!("<body xmlns='http://jabber.org/protocol/httpbind' rid='{rid}' sid='{sid}'/>");
        let request = Request::read(body.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(cell.request(&request, Instant::now()), Taken::Held);
    }

    fn polls(cell: &Cell, rid: u64, waker: &Waker) -> bool {
        cell.poll_answered(rid, &Context::from_waker(waker))
            .is_ready()
    }

    #[test]
    fn ejabberd_wakes_a_connection_that_still_waits() {
        let (cell, mut ejabberd, id) = two_are_held(1);
        let ((_, first), (second, waker)) = (Waiting::new(), Waiting::new());
        assert!(!polls(&cell, 101, &waker));
        // The one that has its answer looks last.
        assert!(polls(&cell, 100, &first));
        ejabberd.send_document(id, "<a/>");
        assert!(second.was_woken());
        assert!(polls(&cell, 101, &waker));
    }

    #[test]
    fn who_takes_what_ejabberd_sent_hands_on_to_the_others() {
        let (cell, mut ejabberd, id) = two_are_held(2);
        let ((first, first_waker), (second, second_waker)) = (Waiting::new(), Waiting::new());
        assert!(!polls(&cell, 100, &first_waker) && !polls(&cell, 101, &second_waker));
        ejabberd.send_document(id, "<a/>");
        // ejabberd woke the second; the answer is the first one's.
        assert!(second.was_woken() && !polls(&cell, 101, &second_waker));
        assert!(first.was_woken() && polls(&cell, 100, &first_waker));
        assert!(matches!(
            cell.fetch(100, Instant::now()),
            Fetched::Answer(_)
        ));
        // Woken by that, it looks again, as a task does.
        assert!(second.was_woken() && !polls(&cell, 101, &second_waker));
        ejabberd.send_document(id, "<b/>");
        assert!(second.was_woken() && polls(&cell, 101, &second_waker));
    }

    #[test]
    fn the_answer_to_a_request_that_was_sent_twice_wakes_both_connections() {
        let (cell, mut ejabberd, id) = two_are_held(1);
        ask(&cell, 101);
        let ((first, first_waker), (second, second_waker)) = (Waiting::new(), Waiting::new());
        assert!(!polls(&cell, 101, &first_waker) && !polls(&cell, 101, &second_waker));
        ejabberd.send_document(id, "<a/>");
        assert!(second.was_woken() && polls(&cell, 101, &second_waker));
        assert!(first.was_woken() && polls(&cell, 101, &first_waker));
        for _ in 0..2 {
            let fetched = cell.fetch(101, Instant::now());
            assert!(matches!(fetched, Fetched::Answer(_)), "{fetched:?}");
        }
    }

    #[test]
    fn when_the_connection_breaks_that_ejabberd_wakes_another_one_takes_its_place() {
        let (cell, mut ejabberd, id) = two_are_held(2);
        let ((first, first_waker), (_, second_waker)) = (Waiting::new(), Waiting::new());
        assert!(!polls(&cell, 100, &first_waker) && !polls(&cell, 101, &second_waker));
        cell.abandon(101, Instant::now());
        assert!(first.was_woken() && !polls(&cell, 100, &first_waker));
        ejabberd.send_document(id, "<a/>");
        assert!(first.was_woken() && polls(&cell, 100, &first_waker));
    }
}
