//! A trunk that speaks version 2: a yamux session, and a stream for each connection.
//!
//! The session is behind one lock, which nobody holds while waiting. What comes for a stream goes to
//! its [`Mailbox`] at once; its window is returned as the client's socket takes the bytes, so what waits
//! for one client is never more than a window.

mod connection;
mod queue;
mod run;
mod streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use megaphone_trunk::v2::{Config, QueuedStream, Session};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use self::connection::Connection;
pub use self::queue::Queue;
pub use self::run::Lost;
use self::streams::Streams;
use super::TrunkLost;
use super::budget::OutputBudget;
use super::mailbox::{End, Mailbox};
use super::usage::{Kind, Usage};
use crate::backlog::Backlogs;

/// A trunk with fewer ids left than this is replaced: at 50,000 streams a second it lasts for as long
/// as it takes to dial another one, and then some.
const SPARE_IDS: u32 = 1 << 22;

/// A write is refused while this much of its stream waits for its window or its turn: enough that a
/// stream is never idle between two writes.
const AHEAD_OF_WINDOW: usize = 16 * 1024;

/// A trunk on which nothing came for so many milliseconds is lost ...
const LOST_AFTER: u64 = 45_000;
/// ... unless it was asked only a while ago.
const LEAST_TO_ANSWER: u64 = 15_000;

const NEVER_ASKED: u64 = 0;

/// One trunk and its connections.
#[derive(Debug)]
pub struct Link {
    state: Mutex<State>,
    /// There may be something to write.
    output: Notify,
    /// Whether new connections may come here.
    accepting: AtomicBool,
    /// Whether its ids run out.
    worn: AtomicBool,
    retired: Notify,
    /// Whether ejabberd said anything but a go-away.
    answered: AtomicBool,
    answer: Notify,
    /// Since when ejabberd owes an answer to a ping, in milliseconds of [`Link::now`].
    asked: AtomicU64,
    /// How many connections are pinned to it.
    load: AtomicUsize,
    /// The same in all trunks to this ejabberd.
    usage: Arc<Usage>,
    /// Silence for so many milliseconds makes the session ask whether ejabberd is there.
    ping_interval: u64,
    spare_ids: u32,
    budget: Arc<OutputBudget>,
    backlogs: Arc<Backlogs>,
    started: Instant,
}

#[derive(Debug)]
struct State {
    session: Session,
    streams: Streams,
    stage: Stage,
    /// Since when the content waits that is to be written next.
    waiting_since: Option<Instant>,
    /// How many bytes waited for the windows of their streams when they were counted last.
    queued: usize,
}

/// How far a trunk's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    /// It ends as soon as no stream is left.
    Finishing,
    Lost,
}

impl Link {
    /// A trunk without connections.
    pub fn new(
        budget: Arc<OutputBudget>,
        backlogs: Arc<Backlogs>,
        usage: Arc<Usage>,
        ping_interval: Duration,
    ) -> Self {
        Self::with_spare_ids(budget, backlogs, usage, ping_interval, SPARE_IDS)
    }

    fn with_spare_ids(
        budget: Arc<OutputBudget>,
        backlogs: Arc<Backlogs>,
        usage: Arc<Usage>,
        ping_interval: Duration,
        spare_ids: u32,
    ) -> Self {
        let ping_interval = u64::try_from(ping_interval.as_millis()).unwrap_or(u64::MAX);
        let config = Config {
            keepalive_interval: ping_interval,
            keepalive_timeout: LOST_AFTER
                .saturating_sub(ping_interval)
                .max(LEAST_TO_ANSWER),
            // The limit of clients is max_connections.
            max_streams: usize::MAX,
            high_watermark: AHEAD_OF_WINDOW,
            low_watermark: AHEAD_OF_WINDOW / 2,
            ..Config::default()
        };
        Self {
            state: Mutex::new(State {
                session: Session::client(config, 0),
                streams: Streams::default(),
                stage: Stage::Serving,
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
            budget,
            backlogs,
            started: Instant::now(),
        }
    }

    /// Whether new connections may come here.
    pub fn is_accepting(&self) -> bool {
        self.accepting.load(Relaxed)
    }

    /// How many connections are pinned to it.
    pub fn load(&self) -> usize {
        self.load.load(Relaxed)
    }

    /// A connection; ejabberd hears of it with its first content, after `header`.
    ///
    /// # Errors
    /// [`TrunkLost`] if the trunk takes no more.
    pub fn open(self: &Arc<Self>, kind: Kind, header: Vec<u8>) -> Result<Connection, TrunkLost> {
        if !self.is_accepting() {
            return Err(TrunkLost);
        }
        let mailbox = Arc::new(Mailbox::new(Arc::clone(&self.budget)));
        Ok(Connection::new(Arc::clone(self), mailbox, kind, header))
    }

    /// Waits until the trunk is up and another one should take its place: ejabberd said go-away, or the
    /// ids run out. In the latter case it still takes connections until [`finish`](Self::finish).
    pub async fn retired(&self) {
        loop {
            let retired = self.retired.notified();
            let is_retired = self.worn.load(Relaxed) || !self.is_accepting();
            if is_retired && self.state.lock().stage != Stage::Lost {
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
        if state.stage == Stage::Serving {
            state.stage = Stage::Finishing;
        }
        self.stop_accepting(&state);
    }

    /// The output of its connections that waits for their clients.
    pub fn mailboxes(&self) -> Vec<Arc<Mailbox>> {
        self.state.lock().streams.iter().cloned().collect()
    }

    /// What clients have sent and ejabberd's windows have no room for.
    pub fn queues(self: &Arc<Self>) -> Vec<Queue> {
        let state = self.state.lock();
        let queue = |stream: QueuedStream| Queue {
            link: Arc::clone(self),
            id: stream.id,
            mailbox: stream.tag.and_then(|tag| state.streams.find(tag)),
            bytes: stream.bytes,
        };
        state.session.queued_streams().map(queue).collect()
    }

    /// Counts what waits for the windows of streams among all that clients have sent and nobody has taken.
    fn count_queued(&self, state: &mut State) {
        let now = state.session.total_queued();
        let before = std::mem::replace(&mut state.queued, now);
        if now > before {
            self.backlogs.budget().add(now - before);
        } else if now < before {
            self.backlogs.budget().subtract(before - now);
        }
    }

    /// Wakes all who wait for its connections.
    pub fn wake_all(&self) {
        // They go on in their own time, and some of them at once, on this lock.
        self.mailboxes().iter().for_each(|mailbox| mailbox.wake());
    }

    /// Those that are between two requests leave.
    fn stop_accepting(&self, state: &State) {
        self.accepting.store(false, Relaxed);
        state.streams.iter().for_each(|mailbox| mailbox.wake());
        self.retired.notify_waiters();
        self.output.notify_one();
    }

    /// Ends it with all its connections, as [`run`](Self::run) does when its socket fails.
    pub fn lose(&self) {
        let streams = {
            let mut state = self.state.lock();
            state.stage = Stage::Lost;
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
            Stage::Lost => state.streams.iter().count(),
            Stage::Serving | Stage::Finishing => state.session.stream_count(),
        }
    }

    fn wear_out(&self) {
        self.worn.store(true, Relaxed);
        self.retired.notify_waiters();
    }

    /// The clock starts with the time after which the session asks, so the first thing that it does is to ask: a
    /// trunk is up once there was an answer.
    fn now(&self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_millis());
        elapsed
            .unwrap_or(u64::MAX)
            .saturating_add(self.ping_interval)
    }
}

#[cfg(test)]
mod tests {
    use megaphone_trunk::v2::{Event, INITIAL_WINDOW};

    use super::*;
    use crate::budget::Holder as _;
    use crate::config::LimitsConfig;
    use crate::trunk::Sent;

    fn new_link(spare_ids: u32, backlogs: &Arc<Backlogs>) -> Arc<Link> {
        let ping_interval = Duration::from_secs(5);
        Arc::new(Link::with_spare_ids(
            budget(),
            Arc::clone(backlogs),
            Arc::default(),
            ping_interval,
            spare_ids,
        ))
    }

    fn budget() -> Arc<OutputBudget> {
        Arc::new(OutputBudget::new(&LimitsConfig::default()))
    }

    fn backlogs() -> Arc<Backlogs> {
        Arc::new(Backlogs::new(1 << 30))
    }

    #[test]
    fn a_trunk_that_runs_out_of_ids_takes_no_more_and_ends_after_the_last() {
        let all = Session::client(Config::default(), 0).ids_left();
        let link = new_link(all - 1, &backlogs());
        let mut first = link.open(Kind::Session, b"header ".to_vec()).unwrap();
        let mut second = link.open(Kind::Session, Vec::new()).unwrap();
        assert_eq!(link.load(), 2);
        assert_eq!(first.try_send(b"first"), Ok(Sent::Sent));
        assert!(link.is_accepting());
        assert_eq!(second.try_send(b"second"), Ok(Sent::Sent));
        // It has some left for as long as there is no other one.
        assert!(link.worn.load(Relaxed) && link.is_accepting());
        link.finish();
        assert!(!link.is_accepting() && first.is_retired());
        assert_eq!(link.open(Kind::Session, Vec::new()).err(), Some(TrunkLost));
        assert_eq!(first.try_send(b" more"), Ok(Sent::Sent));
        first.abort();
        second.abort();
        assert_eq!(link.load(), 0);
        let mut ejabberd = Session::server(Config::default(), 0);
        let mut told = Vec::new();
        let mut batch = Vec::new();
        while matches!(link.take_output(&mut batch), run::Batch::Bytes { .. }) {
            let mut tell = |event: Event<'_>| {
                told.push(match event {
                    Event::Data { id, bytes, .. } => {
                        format!("{} {}", id.get(), String::from_utf8_lossy(bytes))
                    }
                    Event::Reset { id, .. } => format!("{} reset", id.get()),
                    Event::GoAway => "go-away".to_owned(),
                    _ => return,
                });
            };
            ejabberd.receive(&batch, &mut tell).unwrap();
            batch.clear();
        }
        assert_eq!(
            told,
            [
                "1 header first",
                "3 second",
                "1  more",
                "1 reset",
                "3 reset",
                "go-away"
            ]
        );
        assert!(matches!(link.take_output(&mut batch), run::Batch::Finished));
    }

    #[test]
    fn what_waits_for_a_window_counts_until_it_is_gone() {
        let backlogs = backlogs();
        let counted = || backlogs.budget().held();
        let link = new_link(SPARE_IDS, &backlogs);
        let open = |queued: usize| {
            let mut connection = link.open(Kind::Session, Vec::new()).unwrap();
            let content = vec![b'x'; INITIAL_WINDOW as usize + queued];
            assert_eq!(connection.try_send(&content), Ok(Sent::Sent));
            connection
        };
        let connections = [open(1_000), open(2_000), open(3_000)];
        let write = || {
            let mut batch = Vec::new();
            while matches!(link.take_output(&mut batch), run::Batch::Bytes { .. }) {
                batch.clear();
            }
        };
        // While the trunk stands still, all of it waits.
        let all = 3 * u64::from(INITIAL_WINDOW);
        assert!(counted() > all / 2, "{}", counted());
        write();
        assert_eq!(counted(), 6_000);
        // One whose client has left goes on, and counts.
        let [kept, left, evicted] = connections;
        drop(left);
        write();
        let mut queues = link.queues();
        queues.sort_by_key(|queue| queue.held());
        let held: Vec<_> = queues.iter().map(|queue| queue.held()).collect();
        assert_eq!((counted(), held), (6_000, vec![1_000, 2_000, 3_000]));
        let end = |connection: &Connection| connection.mailbox().take();
        queues.remove(1).evict();
        queues.remove(1).evict();
        assert_eq!(counted(), 1_000);
        let ended = crate::trunk::Delivery::End(End::Overflowed);
        assert_eq!(end(&evicted), ended);
        assert_eq!(end(&kept), crate::trunk::Delivery::Nothing);
        link.lose();
        assert_eq!(counted(), 0);
    }

    #[test]
    fn the_window_comes_back_as_the_client_takes_its_output() {
        let link = new_link(SPARE_IDS, &backlogs());
        let mut connection = link.open(Kind::Session, Vec::new()).unwrap();
        assert_eq!(connection.try_send(b"request"), Ok(Sent::Sent));
        let mut ejabberd = Session::server(Config::default(), 0);
        let mut stream = None;
        let mut exchange = |ejabberd: &mut Session| {
            let mut bytes = Vec::new();
            link.take_output(&mut bytes);
            let mut opened = |event: Event<'_>| {
                if let Event::Opened { id } = event {
                    stream = Some(id);
                }
            };
            ejabberd.receive(&bytes, &mut opened).unwrap();
            bytes.clear();
            ejabberd.take_output(usize::MAX, &mut bytes, &mut |_: Event<'_>| {});
            link.receive(&bytes).unwrap();
            stream.unwrap()
        };
        let id = exchange(&mut ejabberd);
        let window = INITIAL_WINDOW as usize;
        let answer = vec![b'x'; 2 * window];
        let _ = ejabberd.write(id, &answer).unwrap();
        exchange(&mut ejabberd);
        assert_eq!(connection.mailbox().held(), window);
        let mut taken = 0;
        while let crate::trunk::Delivery::Content(piece) = connection.mailbox().take() {
            // A few bytes at a time, as a slow socket takes them.
            for part in piece.chunks(1000) {
                connection.delivered(part.len());
                taken += part.len();
                exchange(&mut ejabberd);
                assert!(connection.mailbox().held() <= window);
            }
        }
        assert_eq!(taken, answer.len());
        assert_eq!(ejabberd.queued(id), 0);
    }
}
