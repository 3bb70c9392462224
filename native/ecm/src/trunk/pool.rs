//! The trunks that are in use, kept up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use megaphone_trunk::v1::MaxFrameSize;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::budget::OutputBudget;
use super::capabilities::Capabilities;
use super::connection::Connection;
use super::dial::Dialler;
use super::link::{Ended, Link};
use super::opening::Opening;
use crate::backlog::Backlogs;
use crate::budget::Holder;
use crate::config::{Protocol, TrunkConfig};
use crate::ids::IdSource;
use crate::metrics::{TRUNK_FAILURES, TRUNK_LOSSES};

/// A trunk that was up for so long was a good one, whatever ended it. One that is up and lost again in less
/// counts as a failure to connect, or it would be dialled again and again without a pause.
const STABLE: Duration = Duration::from_secs(1);

/// What clients see: the trunks that are up.
#[derive(Debug)]
pub struct Trunks {
    protocol: Protocol,
    ids: IdSource,
    up: RwLock<Vec<Link>>,
    /// Those that take no more connections, as long as they have some.
    replaced: RwLock<Vec<Link>>,
}

impl Trunks {
    /// No trunk yet.
    pub fn new(protocol: Protocol, ids: IdSource) -> Self {
        Self {
            protocol,
            ids,
            up: RwLock::new(Vec::new()),
            replaced: RwLock::new(Vec::new()),
        }
    }

    /// What all of them can say.
    pub const fn capabilities(&self) -> Capabilities {
        Capabilities::of(self.protocol)
    }

    /// Opens a connection in the trunk with the fewest; `None` while there is no trunk.
    pub fn open(&self, opening: &Opening) -> Option<Connection> {
        let up = self.up.read();
        let accepting = up.iter().filter(|link| link.is_accepting());
        let link = accepting.min_by_key(|link| link.load())?;
        link.open(&self.ids, opening).ok()
    }

    pub(super) fn add(&self, link: Link) {
        self.up.write().push(link);
    }

    fn remove(&self, link: &Link) {
        self.up.write().retain(|other| !other.is(link));
        self.replaced.write().retain(|other| !other.is(link));
    }

    /// Opens no more connections in a trunk, whose connections go on.
    fn replace(&self, link: &Link) {
        self.remove(link);
        self.replaced.write().push(link.clone());
    }

    /// Wakes whoever waits for a connection, for a reason that has nothing to do with it: the program
    /// ends. Waiting for that as well would cost each of them more than its connection does.
    pub fn wake_all(&self) {
        for link in self.up.read().iter().chain(self.replaced.read().iter()) {
            link.wake_all();
        }
    }

    /// Who has output that waits for clients.
    pub fn output_holders(&self) -> Vec<Box<dyn Holder>> {
        self.holders(|link| link.mailboxes())
    }

    /// Who has input that waits for ejabberd's windows.
    pub fn input_holders(&self) -> Vec<Box<dyn Holder>> {
        self.holders(|link| link.queues())
    }

    fn holders<H: Holder + 'static>(&self, of: impl Fn(&Link) -> Vec<H>) -> Vec<Box<dyn Holder>> {
        let boxed = |holder| -> Box<dyn Holder> { Box::new(holder) };
        let (up, replaced) = (self.up.read(), self.replaced.read());
        let links = up.iter().chain(replaced.iter());
        links.flat_map(of).map(boxed).collect()
    }

    /// How many take connections.
    pub fn count(&self) -> usize {
        let up = self.up.read();
        up.iter().filter(|link| link.is_accepting()).count()
    }
}

/// Keeps trunks up.
#[derive(Debug)]
pub struct TrunkPool {
    config: TrunkConfig,
    size: usize,
    shared: Arc<Shared>,
}

/// What its trunks share.
#[derive(Debug)]
struct Shared {
    protocol: Protocol,
    address: String,
    max_frame_size: MaxFrameSize,
    dialler: Arc<Dialler>,
    budget: Arc<OutputBudget>,
    backlogs: Arc<Backlogs>,
    trunks: Arc<Trunks>,
    /// It was told that there is no trunk, and none came since.
    down_told: AtomicBool,
}

impl TrunkPool {
    /// A pool that fills `trunks` with `size` of them.
    ///
    /// # Errors
    /// If a frame size is none of the protocol's.
    pub fn new(
        config: TrunkConfig,
        size: usize,
        dialler: Arc<Dialler>,
        budget: Arc<OutputBudget>,
        backlogs: Arc<Backlogs>,
        trunks: Arc<Trunks>,
    ) -> Result<Self, megaphone_trunk::v1::LimitError> {
        let shared = Arc::new(Shared {
            protocol: config.protocol,
            address: config.address.to_string(),
            max_frame_size: MaxFrameSize::new(config.max_frame_size)?,
            dialler,
            budget,
            backlogs,
            trunks,
            down_told: AtomicBool::new(false),
        });
        Ok(Self {
            config,
            size,
            shared,
        })
    }

    /// Connects each trunk, and connects again whenever one is lost, until `finish` says so; then it
    /// returns once all that waited for the trunks is written.
    pub async fn run(self, finish: watch::Receiver<bool>) {
        let mut places = JoinSet::new();
        for _ in 0..self.size {
            let place = Place {
                shared: Arc::clone(&self.shared),
                backoff: Backoff::new(self.config.backoff_min, self.config.backoff_max),
                answer_timeout: self.config.connect_timeout,
                lost_told: false,
                draining: Vec::new(),
            };
            places.spawn(place.run(finish.clone()));
        }
        while places.join_next().await.is_some() {}
    }
}

/// One of the pool's trunks, and those that were there before it and still have connections.
struct Place {
    shared: Arc<Shared>,
    backoff: Backoff,
    /// How long ejabberd may take to say the first thing.
    answer_timeout: Duration,
    /// It was told that this one is lost, and it did not come up since.
    lost_told: bool,
    draining: Vec<Draining>,
}

struct Draining {
    link: Link,
    running: JoinHandle<Ended>,
}

impl Place {
    async fn run(mut self, mut finish: watch::Receiver<bool>) {
        while let Next::Dial { after } = self.one_trunk(&mut finish).await {
            self.forget_ended();
            tokio::select! {
                () = sleep(after) => {}
                () = told(&mut finish) => break,
            }
        }
        for draining in &self.draining {
            draining.link.finish();
        }
        for draining in self.draining {
            let _ = draining.running.await;
        }
    }

    fn forget_ended(&mut self) {
        let trunks = &self.shared.trunks;
        self.draining.retain(|draining| {
            let ended = draining.running.is_finished();
            if ended {
                trunks.remove(&draining.link);
            }
            !ended
        });
    }

    /// Connects and stays until the trunk is lost or takes no more connections.
    async fn one_trunk(&mut self, finish: &mut watch::Receiver<bool>) -> Next {
        let dialled = tokio::select! {
            dialled = self.shared.dialler.dial() => dialled,
            () = told(finish) => return Next::Finish,
        };
        let (reader, writer) = match dialled {
            Ok(halves) => halves,
            Err(error) => {
                TRUNK_FAILURES.add(1);
                return self.lost(&error.to_string());
            }
        };
        let shared = Arc::clone(&self.shared);
        let link = Link::new(
            shared.protocol,
            shared.max_frame_size,
            Arc::clone(&shared.budget),
            Arc::clone(&shared.backlogs),
        );
        link.greet(&shared.trunks.ids);
        let mut running = tokio::spawn(link.clone().run(reader, writer));
        tokio::select! {
            biased;
            () = link.answered() => {}
            ended = &mut running => {
                TRUNK_FAILURES.add(1);
                return self.ended(ended);
            }
            () = sleep(self.answer_timeout) => {
                TRUNK_FAILURES.add(1);
                running.abort();
                return self.lost("it was accepted and then not answered");
            }
            () = told(finish) => {
                running.abort();
                return Next::Finish;
            }
        }
        let up = Instant::now();
        shared.trunks.add(link.clone());
        self.end_replaced();
        tracing::info!("trunk to {} is up", shared.address);
        shared.down_told.store(false, Relaxed);
        self.lost_told = false;
        let ended = tokio::select! {
            ended = &mut running => Some(ended),
            () = link.retired() => None,
            () = told(finish) => {
                link.finish();
                let _ = running.await;
                return Next::Finish;
            }
        };
        match ended {
            Some(ended) => {
                TRUNK_LOSSES.add(1);
                shared.trunks.remove(&link);
                let in_order = matches!(ended, Ok(Ended::Finished));
                if in_order || up.elapsed() >= STABLE {
                    self.backoff.reset();
                }
                self.ended(ended)
            }
            None => self.retired(link, running),
        }
    }

    /// Another trunk is up: those that it takes the place of get no more connections.
    fn end_replaced(&self) {
        for Draining { link, .. } in &self.draining {
            self.shared.trunks.replace(link);
            link.finish();
        }
    }

    fn ended(&mut self, ended: Result<Ended, JoinError>) -> Next {
        match ended {
            Ok(Ended::Finished) => self.lost("ended in order"),
            Ok(Ended::Lost(reason)) => self.lost(&reason),
            // Its task panicked; the runtime has said where.
            Err(error) => self.lost(&error.to_string()),
        }
    }

    /// Another trunk has to take the place of this one, whose connections go on. That is no failure: the
    /// other one is dialled with as little delay as after a first one.
    fn retired(&mut self, link: Link, running: JoinHandle<Ended>) -> Next {
        tracing::info!(
            connections = link.load(),
            "a trunk to {} takes no more connections, another one is dialled; those that are open \
             go on",
            self.shared.address
        );
        self.backoff.reset();
        self.draining.push(Draining { link, running });
        Next::Dial {
            after: self.backoff.next_wait(),
        }
    }

    /// Tells of a failure, but a state only once, at its start, however many attempts it lasts.
    fn lost(&mut self, reason: &str) -> Next {
        let after = self.backoff.next_wait();
        let address = &self.shared.address;
        let left = self.shared.trunks.count();
        let was_told = std::mem::replace(&mut self.lost_told, true);
        if left == 0 && !self.shared.down_told.swap(true, Relaxed) {
            tracing::warn!("no trunk to {address}: {reason}; trying again until there is one");
        } else if left > 0 && !was_told {
            tracing::warn!("a trunk to {address} is lost, {left} left: {reason}; trying again");
        } else {
            tracing::debug!("no trunk to {address}: {reason}; next attempt in {after:?}");
        }
        Next::Dial { after }
    }
}

enum Next {
    Dial { after: Duration },
    Finish,
}

/// Waits until the pool is to finish.
async fn told(finish: &mut watch::Receiver<bool>) {
    // An error says that nobody is left who could tell.
    let _ = finish.wait_for(|finish| *finish).await;
}
