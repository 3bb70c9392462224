//! The yamux session of a trunk, and the mailboxes of its streams.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use megaphone_trunk::v2::{Config, GoAwayCode, Session};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::streams::{Accept, Streams};
use crate::backlog::Backlogs;
use crate::trunk::budget::OutputBudget;
use crate::trunk::leaving::{Leaving, Passage};
use crate::trunk::mailbox::{End, Mailbox};
use crate::trunk::usage::Usage;

/// A trunk with fewer ids left than this is replaced: at 50,000 streams a second it lasts for as long
/// as it takes to dial another one, and then some.
pub(super) const SPARE_IDS: u32 = 1 << 22;

/// A write is refused while this much of its stream waits for its window or its turn: enough that a
/// stream is never idle between two writes.
const AHEAD_OF_WINDOW: usize = 16 * 1024;

/// A trunk on which nothing has arrived for this long (milliseconds) is lost ...
const LOST_AFTER: u64 = 45_000;
/// ... unless it has had less than this long to answer a ping.
const LEAST_TO_ANSWER: u64 = 15_000;

pub(super) const NEVER_ASKED: u64 = 0;

/// One trunk and its connections.
#[derive(Debug)]
pub struct Multiplexer {
    pub(super) state: Mutex<State>,
    /// There may be something to write.
    pub(super) output: Notify,
    /// Whether new connections may come here.
    pub(super) accepting: AtomicBool,
    /// Whether its ids run out.
    pub(super) worn: AtomicBool,
    pub(super) retired: Notify,
    /// Whether ejabberd said anything but a go-away.
    pub(super) answered: AtomicBool,
    pub(super) answer: Notify,
    /// Since when ejabberd owes an answer to a ping, in milliseconds of [`Multiplexer::now`].
    pub(super) asked: AtomicU64,
    /// How many connections are pinned to it.
    pub(super) load: AtomicUsize,
    /// The same in all trunks to this ejabberd.
    pub(super) usage: Arc<Usage>,
    /// After this much silence (milliseconds) the session sends a ping.
    pub(super) ping_interval: u64,
    pub(super) spare_ids: u32,
    /// Which sessions can come here, once ejabberd has said it.
    version: OnceLock<String>,
    /// Whether its sessions are to leave: a look at this costs each of them nothing.
    leaves: AtomicBool,
    leaving: Mutex<Option<Arc<Leaving>>>,
    pub(super) budget: Arc<OutputBudget>,
    pub(super) backlogs: Arc<Backlogs>,
    pub(super) started: Instant,
    /// Where streams go that the other side opens, if it may open some.
    pub(super) accept: Option<Accept>,
    /// What is at the other end.
    pub(super) far: Far,
}

/// What is at the other end of a trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Far {
    Ejabberd,
    /// Another ECM.
    Peer,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) session: Session,
    pub(super) streams: Streams,
    pub(super) stage: MuxStage,
    /// Since when the content waits that is to be written next.
    pub(super) waiting_since: Option<Instant>,
    /// How many bytes waited for the windows of their streams when they were counted last.
    pub(super) queued: usize,
}

/// How far a trunk's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MuxStage {
    Serving,
    /// It ends as soon as no stream is left.
    Finishing,
    Lost,
}

impl Multiplexer {
    /// A trunk without connections.
    pub fn new(
        budget: Arc<OutputBudget>,
        backlogs: Arc<Backlogs>,
        usage: Arc<Usage>,
        ping_interval: Duration,
    ) -> Self {
        Self::with_spare_ids(budget, backlogs, usage, ping_interval, SPARE_IDS)
    }

    /// The same to another ECM.
    pub fn to_peer(
        budget: Arc<OutputBudget>,
        backlogs: Arc<Backlogs>,
        ping_interval: Duration,
    ) -> Self {
        Self {
            far: Far::Peer,
            ..Self::new(budget, backlogs, Arc::default(), ping_interval)
        }
    }

    /// One that another ECM has opened; the streams that it opens go to `accept`.
    pub fn from_peer(
        budget: Arc<OutputBudget>,
        backlogs: Arc<Backlogs>,
        ping_interval: Duration,
        accept: Accept,
    ) -> Self {
        let mux = Self::to_peer(budget, backlogs, ping_interval);
        mux.state.lock().session = Session::server(Self::config(mux.ping_interval), 0);
        Self {
            accept: Some(accept),
            ..mux
        }
    }

    fn config(ping_interval: u64) -> Config {
        Config {
            keepalive_interval: ping_interval,
            keepalive_timeout: LOST_AFTER
                .saturating_sub(ping_interval)
                .max(LEAST_TO_ANSWER),
            // The limit of clients is max_connections.
            max_streams: usize::MAX,
            high_watermark: AHEAD_OF_WINDOW,
            low_watermark: AHEAD_OF_WINDOW / 2,
            ..Config::default()
        }
    }

    pub(super) fn with_spare_ids(
        budget: Arc<OutputBudget>,
        backlogs: Arc<Backlogs>,
        usage: Arc<Usage>,
        ping_interval: Duration,
        spare_ids: u32,
    ) -> Self {
        let ping_interval = u64::try_from(ping_interval.as_millis()).unwrap_or(u64::MAX);
        Self {
            state: Mutex::new(State {
                session: Session::client(Self::config(ping_interval), 0),
                streams: Streams::default(),
                stage: MuxStage::Serving,
                waiting_since: None,
                queued: 0,
            }),
            output: Notify::new(),
            accepting: AtomicBool::new(true),
            worn: AtomicBool::new(false),
            retired: Notify::new(),
            answered: AtomicBool::new(false),
            answer: Notify::new(),
            asked: AtomicU64::new(NEVER_ASKED),
            load: AtomicUsize::new(0),
            usage,
            ping_interval,
            spare_ids,
            version: OnceLock::new(),
            leaves: AtomicBool::new(false),
            leaving: Mutex::new(None),
            budget,
            backlogs,
            started: Instant::now(),
            accept: None,
            far: Far::Ejabberd,
        }
    }

    /// Whether it was lost or has ended, with all that waited for it written or gone.
    pub fn is_over(&self) -> bool {
        self.state.lock().stage == MuxStage::Lost
    }

    /// Whether new connections may come here.
    pub fn is_accepting(&self) -> bool {
        self.accepting.load(Relaxed)
    }

    /// How many connections are pinned to it.
    pub fn load(&self) -> usize {
        self.load.load(Relaxed)
    }

    /// Waits until the trunk is up and another one should take its place: ejabberd said go-away, or the
    /// ids run out. In the latter case it still takes connections until [`finish`](Self::finish).
    pub async fn retired(&self) {
        loop {
            let retired = self.retired.notified();
            let is_retired = self.worn.load(Relaxed) || !self.is_accepting();
            if is_retired && self.state.lock().stage != MuxStage::Lost {
                return;
            }
            retired.await;
        }
    }

    /// Waits until ejabberd has said anything.
    pub async fn answered(&self) {
        loop {
            let answer = self.answer.notified();
            if self.answered.load(Relaxed) {
                return;
            }
            answer.await;
        }
    }

    /// Takes no more connections, and ends the trunk once no stream is left and all is written.
    pub fn finish(&self) {
        let mut state = self.state.lock();
        if state.stage == MuxStage::Serving {
            state.stage = MuxStage::Finishing;
        }
        self.stop_accepting(&state);
    }

    /// Tells the other side, which opens the streams, to open no more; those that are open go on.
    pub fn go_away(&self) {
        self.state.lock().session.go_away(GoAwayCode::Normal);
        self.output.notify_one();
    }

    /// The output of its connections that waits for their clients.
    pub fn mailboxes(&self) -> Vec<Arc<Mailbox>> {
        self.state.lock().streams.iter().cloned().collect()
    }

    /// Counts what waits for the windows of streams among all that clients have sent and nobody has taken.
    pub(super) fn count_queued(&self, state: &mut State) {
        let now = state.session.total_queued();
        let before = std::mem::replace(&mut state.queued, now);
        if now > before {
            self.backlogs.budget().add(now - before);
        } else if now < before {
            self.backlogs.budget().subtract(before - now);
        }
    }

    /// Which sessions can come here.
    pub fn version(&self) -> Option<&str> {
        self.version.get().map(String::as_str)
    }

    /// ejabberd has said which.
    pub fn set_version(&self, version: String) {
        let _ = self.version.set(version);
    }

    /// Its sessions are to leave, or may stay.
    pub fn set_leaving(&self, leaving: Option<&Arc<Leaving>>) {
        let mut current = self.leaving.lock();
        *current = leaving.cloned();
        self.leaves.store(current.is_some(), Relaxed);
    }

    pub(super) fn passage(&self, tried: &mut u8) -> Option<Passage> {
        if !self.leaves.load(Relaxed) {
            return None;
        }
        let leaving = self.leaving.lock().clone()?;
        leaving.begin(tried)
    }

    /// Wakes the tasks that wait for the connections at some places.
    pub fn wake_some(&self, from: usize, count: usize) -> Option<usize> {
        let (some, next) = self.state.lock().streams.some(from, count);
        some.iter().for_each(|mailbox| mailbox.wake());
        next
    }

    /// Wakes all tasks that wait for its connections.
    pub fn wake_all(&self) {
        // They go on in their own time, and some of them at once, on this lock.
        self.mailboxes().iter().for_each(|mailbox| mailbox.wake());
    }

    /// Those that are between two requests leave.
    pub(super) fn stop_accepting(&self, state: &State) {
        self.accepting.store(false, Relaxed);
        state.streams.iter().for_each(|mailbox| mailbox.wake());
        self.retired.notify_waiters();
        self.output.notify_one();
    }

    /// Ends it with all its connections, as [`run`](Self::run) does when its socket fails.
    pub fn lose(&self) {
        let streams = {
            let mut state = self.state.lock();
            state.stage = MuxStage::Lost;
            state.session.lose();
            self.count_queued(&mut state);
            self.accepting.store(false, Relaxed);
            std::mem::take(&mut state.streams)
        };
        for mailbox in streams.iter() {
            mailbox.end(End::TrunkLost);
        }
    }

    /// For how long ejabberd has not answered a ping. It takes no lock: it is asked for each connection that opens.
    pub fn silence(&self) -> Duration {
        match self.asked.load(Relaxed) {
            NEVER_ASKED => Duration::ZERO,
            asked => Duration::from_millis(self.now().saturating_sub(asked)),
        }
    }

    /// How many streams are open, for tests.
    #[cfg(test)]
    pub fn stream_count(&self) -> usize {
        let state = self.state.lock();
        match state.stage {
            MuxStage::Lost => state.streams.iter().count(),
            MuxStage::Serving | MuxStage::Finishing => state.session.stream_count(),
        }
    }

    pub(super) fn wear_out(&self) {
        self.worn.store(true, Relaxed);
        self.retired.notify_waiters();
    }

    /// The clock starts with the time after which the session asks, so the first thing that it does is to ask: a
    /// trunk is up once there was an answer.
    pub(super) fn now(&self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_millis());
        elapsed
            .unwrap_or(u64::MAX)
            .saturating_add(self.ping_interval)
    }
}
