//! All BOSH sessions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use megaphone_xmpp::bosh::Condition;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep;

use super::secrets::Sid;
use super::shared::SharedSession;
use crate::fleet::{Fleet, Peer};
use crate::metrics::{REFUSALS, Reason};
use crate::session::Cause;
use crate::shutdown::{GROUPS, Phase};

/// Parts of the table, each behind a lock of its own, and let go on its own.
const PARTS: usize = GROUPS;

/// How often silent clients are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// A session whose client has a request here is looked at again after this, or earlier if its client
/// may be silent for less.
const LATER: Duration = Duration::from_secs(10);

/// The sessions by their identifiers.
#[derive(Debug)]
pub struct Sessions {
    parts: Vec<Mutex<HashMap<Sid, Arc<SharedSession>>>>,
    count: AtomicU64,
    /// When each of them has to be looked at, in seconds since the start. A session is in here once.
    due: Mutex<BTreeMap<u64, Vec<Arc<SharedSession>>>>,
    started: Instant,
    /// The phase of the connections that requests come by.
    connections: watch::Receiver<Phase>,
    /// The other ECMs, if there are some.
    fleet: Option<Arc<Fleet>>,
    /// The program that this one replaces, which has those that began there.
    predecessor: Option<Arc<Peer>>,
}

impl Sessions {
    /// None yet. As any connection may bring requests of any session, all connections have this phase.
    pub fn new(connections: watch::Receiver<Phase>) -> Self {
        Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            count: AtomicU64::new(0),
            due: Mutex::default(),
            started: Instant::now(),
            connections,
            fleet: None,
            predecessor: None,
        }
    }

    /// The same, with other ECMs that have some of those that clients ask for.
    pub fn with_fleet(self, fleet: Option<Arc<Fleet>>) -> Self {
        Self { fleet, ..self }
    }

    /// The same, with a program that this one replaces.
    pub fn with_predecessor(self, predecessor: Option<Arc<Peer>>) -> Self {
        Self {
            predecessor,
            ..self
        }
    }

    /// The program that this one replaces, as long as it is there.
    pub fn predecessor(&self) -> Option<&Arc<Peer>> {
        self.predecessor.as_ref().filter(|it| it.is_there())
    }

    /// The other ECMs, if there are some.
    pub const fn fleet(&self) -> Option<&Arc<Fleet>> {
        self.fleet.as_ref()
    }

    /// The phase of the connections that requests come by.
    pub fn connections(&self) -> watch::Receiver<Phase> {
        self.connections.clone()
    }

    /// Whether one more may be created, with `max` at most.
    pub fn has_room(&self, max: u64) -> bool {
        self.count() < max
    }

    /// Adds a session.
    pub fn insert(&self, session: Arc<SharedSession>, now: Instant) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if let Some(part) = self.part(session.sid()) {
            part.lock().insert(session.sid(), Arc::clone(&session));
        }
        self.look_at_later(session, now);
    }

    /// The session of this identifier.
    pub fn find(&self, sid: Sid) -> Option<Arc<SharedSession>> {
        self.part(sid)?.lock().get(&sid).cloned()
    }

    /// How many there are, those included that ended and whose clients may not know.
    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Removes the sessions of silent clients, and ends all once the program drains.
    pub async fn sweep(self: Arc<Self>) {
        let mut phase = self.connections();
        loop {
            tokio::select! {
                () = sleep(SWEEP) => self.remove_silent(Instant::now()),
                _ = phase.wait_for(|phase| *phase >= Phase::Draining) => {
                    (0..PARTS).for_each(|part| self.let_go(part));
                    return;
                }
            }
        }
    }

    /// Removes the sessions whose clients were silent for too long by now, and ends those whose clients should
    /// have logged in.
    pub fn remove_silent(&self, now: Instant) {
        let later = self.second(now) + 1;
        let due = {
            let mut all = self.due.lock();
            let rest = all.split_off(&later);
            std::mem::replace(&mut *all, rest)
        };
        for session in due.into_values().flatten() {
            if session.login_due(now).is_some_and(|due| due <= now) {
                let (reason, condition) = if session.waits_for_turn() {
                    (Reason::LoginWait, Condition::RemoteConnectionFailed)
                } else {
                    (Reason::Timeout, Condition::PolicyViolation)
                };
                REFUSALS.of(reason).add(1);
                tracing::debug!(sid = ?session.sid(), ?reason, "a BOSH client has not logged in in time");
                session.terminate(condition, Cause::Refused, now);
            }
            match session.inactive_at() {
                Some(at) if at <= now => self.remove(&session, now),
                Some(at) => self.look_at(session, at, now),
                None => self.look_at_later(session, now),
            }
        }
    }

    /// Ends the sessions of a part, from 0 to [`GROUPS`], since this program ends. Those whose clients have no
    /// request here learn it with their next one.
    pub fn let_go(&self, part: usize) {
        let sessions: Vec<_> = match self.parts.get(part) {
            Some(part) => part.lock().values().cloned().collect(),
            None => return,
        };
        for session in sessions {
            session.terminate(Condition::SystemShutdown, Cause::Shutdown, Instant::now());
        }
    }

    fn remove(&self, session: &SharedSession, now: Instant) {
        let removed = self
            .part(session.sid())
            .and_then(|part| part.lock().remove(&session.sid()));
        if removed.is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        tracing::debug!(sid = ?session.sid(), "a BOSH client was silent for too long");
        session.expire(now);
    }

    fn look_at_later(&self, session: Arc<SharedSession>, now: Instant) {
        let later = LATER.min(session.inactivity());
        self.look_at(session, now + later, now);
    }

    /// Looks at a session then, or when its client has to have logged in.
    fn look_at(&self, session: Arc<SharedSession>, at: Instant, now: Instant) {
        let at = session.login_due(now).map_or(at, |due| due.min(at));
        let second = self.second(at) + 1;
        self.due.lock().entry(second).or_default().push(session);
    }

    fn second(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_secs()
    }

    fn part(&self, sid: Sid) -> Option<&Mutex<HashMap<Sid, Arc<SharedSession>>>> {
        self.parts.get(sid.part(self.parts.len()))
    }
}
