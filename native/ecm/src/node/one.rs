//! One ejabberd node: its trunks, its health, and how many logins it has at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::choice::{Candidate, Facts};
use super::health::{Change, Health, Reason, Rules};
use super::pace::Pace;
use super::slow_start;
use super::state::State;
use super::status::{Condition, Status};
use crate::trunk::{Kind, Link, Trunks};

/// One ejabberd.
#[derive(Debug)]
pub struct Node {
    name: String,
    weight: AtomicU64,
    /// 0 for any number.
    max_sessions: AtomicU64,
    trunks: Arc<Trunks>,
    state: watch::Sender<State>,
    /// Logins whose turn came here and whose session is not open yet.
    admitted: AtomicU64,
    /// Logins that wait for its answer.
    running: AtomicUsize,
    ejections: AtomicU64,
    /// Sessions that are to move to other trunks.
    leaving: AtomicU64,
    care: Mutex<Care>,
}

#[derive(Debug)]
struct Care {
    health: Health,
    pace: Pace,
    came: Came,
    /// How often its first trunk has come up.
    arrivals: u64,
    /// When the program started, if the node was configured then.
    started: Option<Instant>,
}

/// When a node came up.
#[derive(Debug, Clone, Copy)]
enum Came {
    /// It came back, or was added, at that time, and starts slowly.
    Back(Instant),
    /// It came up as the program started.
    AtStart,
}

/// Since when a node has been configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Since the program started.
    Start,
    /// From now on, beside others that were there before.
    Now,
}

/// Nodes that are up this soon after the program's start have no slow start.
const START: Duration = Duration::from_secs(5);

impl Node {
    /// A node with this name, whose trunks will be added to `trunks`.
    pub fn new(
        name: String,
        weight: u64,
        max_sessions: u64,
        at_once: u64,
        trunks: Trunks,
        since: Since,
    ) -> Self {
        Self {
            name,
            weight: AtomicU64::new(weight),
            max_sessions: AtomicU64::new(max_sessions),
            trunks: Arc::new(trunks),
            state: watch::Sender::new(State::Ready),
            admitted: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            ejections: AtomicU64::new(0),
            leaving: AtomicU64::new(0),
            care: Mutex::new(Care {
                health: Health::default(),
                pace: Pace::new(at_once),
                came: Came::AtStart,
                arrivals: 0,
                started: (since == Since::Start).then(Instant::now),
            }),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its trunks.
    pub const fn trunks(&self) -> &Arc<Trunks> {
        &self.trunks
    }

    /// Its state, and its changes.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Its state now.
    pub fn state_now(&self) -> State {
        *self.state.borrow()
    }

    /// Changes its state.
    pub fn set_state(&self, state: State) {
        let changed = self.state.send_if_modified(|before| {
            let changes = *before != state;
            *before = state;
            changes
        });
        if changed && state == State::Ready {
            self.care.lock().came = Came::Back(Instant::now());
        }
    }

    /// Changes its weight and the most sessions that it takes.
    pub fn set_limits(&self, weight: u64, max_sessions: u64) {
        self.weight.store(weight, Relaxed);
        self.max_sessions.store(max_sessions, Relaxed);
    }

    /// Whether its trunks have no connections.
    pub fn is_empty(&self) -> bool {
        let usage = self.trunks.usage();
        usage.count(Kind::Session) + usage.count(Kind::Request) == 0
    }

    /// Its weight.
    pub fn weight(&self) -> u64 {
        self.weight.load(Relaxed)
    }

    /// The most sessions that it takes; 0 for any number.
    pub fn max_sessions(&self) -> u64 {
        self.max_sessions.load(Relaxed)
    }

    /// How many logins wait for its answer.
    pub fn running(&self) -> usize {
        self.running.load(Relaxed)
    }

    /// So many of its sessions are to move to other trunks.
    pub fn set_leaving(&self, sessions: u64) {
        self.leaving.store(sessions, Relaxed);
    }

    /// Why it is ejected, if it is.
    pub fn ejected(&self) -> Option<Reason> {
        self.care.lock().health.ejected()
    }

    /// How it is.
    pub fn status(&self, slow_start: Duration, now: Instant) -> Status {
        let (trunks, share) = (self.trunks.count(), self.share(slow_start, now));
        let usage = self.trunks.usage();
        let condition = match self.ejected() {
            _ if trunks == 0 => Condition::Down,
            Some(reason) => Condition::Ejected(reason),
            None if share < 1.0 => Condition::Starting,
            None => Condition::Well,
        };
        Status {
            name: self.name.clone(),
            state: self.state_now(),
            condition,
            trunks,
            sessions: usage.count(Kind::Session),
            leaving: self.leaving.load(Relaxed).min(usage.count(Kind::Session)),
            max_sessions: self.max_sessions(),
            requests: usage.count(Kind::Request),
            weight: self.weight(),
            share,
            logins: self.running(),
            login_limit: self.care.lock().pace.limit(),
            ejections: self.ejections.load(Relaxed),
        }
    }

    /// The part of its weight that it has now.
    pub fn share(&self, slow_start: Duration, now: Instant) -> f64 {
        self.see_arrival(now);
        match self.care.lock().came {
            Came::AtStart => 1.0,
            Came::Back(then) => slow_start::share(now.saturating_duration_since(then), slow_start),
        }
    }

    /// Whether it may be chosen.
    pub fn facts(&self) -> Facts {
        Facts {
            ready: self.state_now() == State::Ready,
            up: self.trunks.count() > 0,
            well: self.ejected().is_none(),
        }
    }

    /// Whether it takes one more of a kind.
    pub fn has_room(&self, kind: Kind) -> bool {
        match (kind, self.max_sessions()) {
            (Kind::Request, _) | (Kind::Session, 0) => true,
            (Kind::Session, most) => self.load(kind) < most,
        }
    }

    /// Whether sessions can move to it from a trunk whose ejabberd has this version. To an ejected node none do, even if
    /// few nodes are well: where they are they can stay.
    pub fn takes_moved(&self, version: &str, is_left: impl Fn(&Link) -> bool) -> bool {
        self.ejected().is_none() && self.trunks.takes_from(version, is_left).is_some()
    }

    /// Its load and weight, for a choice.
    pub fn candidate(&self, kind: Kind, slow_start: Duration, now: Instant) -> Candidate {
        Candidate {
            load: self.load(kind),
            weight: self.weight() as f64 * self.share(slow_start, now),
        }
    }

    /// How many it has of a kind, those included that are about to come.
    pub fn load(&self, kind: Kind) -> u64 {
        let there = self.trunks.usage().count(kind);
        match kind {
            Kind::Session => there + self.admitted.load(Relaxed),
            Kind::Request => there,
        }
    }
}

/// Logins.
impl Node {
    /// Whether one more login may begin. If not, its limit is used up.
    pub fn has_turn(&self) -> bool {
        let mut care = self.care.lock();
        let has_turn = self.running() < care.pace.limit();
        if !has_turn {
            care.pace.is_used_up();
        }
        has_turn
    }

    /// A login begins whose session will open here.
    pub fn admit(&self) {
        self.admitted.fetch_add(1, Relaxed);
    }

    /// The session of an admitted login is open, or will not come.
    pub fn admitted_came(&self) {
        self.admitted.fetch_sub(1, Relaxed);
    }

    /// A login waits for its answer.
    pub fn asked(&self) {
        self.running.fetch_add(1, Relaxed);
    }

    /// A login no longer waits for its answer.
    pub fn answered(&self) {
        self.running.fetch_sub(1, Relaxed);
    }

    /// A login has succeeded or failed.
    pub fn login_decided(&self) {
        self.care.lock().health.login_answered();
    }

    /// A login is done. `time` is how long the node took to answer, and its slowest step was asked for `since` then.
    pub fn login_took(&self, time: Duration, since: Instant, now: Instant) {
        let mut care = self.care.lock();
        care.health.login_answered();
        if care.pace.took(time, since, now) {
            let limit = care.pace.limit();
            drop(care);
            tracing::debug!(node = self.name, limit, "logins at once");
        }
    }

    /// A login went unanswered for this long.
    pub fn login_unanswered(&self, time: Duration, now: Instant, rules: &Rules) {
        let mut care = self.care.lock();
        care.pace.took(time, now - time, now);
        let change = care.health.login_unanswered(now, rules, random());
        drop(care);
        self.tell(change, now);
    }

    /// Changes the most logins that it may have at once.
    pub fn set_at_once(&self, at_once: u64) {
        self.care.lock().pace.set_at_once(at_once);
    }
}

/// Health.
impl Node {
    /// Checks its health.
    pub fn look(&self, now: Instant, rules: &Rules) {
        self.see_arrival(now);
        if self.trunks.count() == 0 {
            return;
        }
        let silence = self.trunks.silence();
        let mut care = self.care.lock();
        let change = care.health.look(silence, now, rules, random());
        drop(care);
        self.tell(change, now);
    }

    fn see_arrival(&self, now: Instant) {
        let mut care = self.care.lock();
        let arrivals = self.trunks.arrivals();
        if arrivals != care.arrivals {
            care.arrivals = arrivals;
            let is_soon = |start| now.saturating_duration_since(start) < START;
            let is_start = arrivals == 1 && care.started.is_some_and(is_soon);
            if !is_start {
                care.came = Came::Back(now);
            }
        }
    }

    fn tell(&self, change: Option<Change>, now: Instant) {
        let node = &self.name;
        match change {
            None => {}
            Some(Change::Ejected(reason, time)) => {
                self.ejections.fetch_add(1, Relaxed);
                let why = match reason {
                    Reason::Silent => "it does not answer pings",
                    Reason::Logins => "it does not answer logins",
                };
                tracing::warn!("node {node} is ejected for {time:.1?}: {why}; its sessions stay");
            }
            Some(Change::Returned) => {
                self.care.lock().came = Came::Back(now);
                tracing::info!("node {node} is used again; its share grows over slow_start");
            }
        }
    }
}

/// From 0 to 1. If the system has no random numbers, nothing is spread.
fn random() -> f64 {
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}
