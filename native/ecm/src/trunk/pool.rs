//! The trunks to one ejabberd, kept up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use megaphone_trunk::v1::MaxFrameSize;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::budget::OutputBudget;
use super::dial::Dialler;
use super::link::Link;
use super::lost::Lost;
use super::trunks::Trunks;
use super::version;
use crate::backlog::Backlogs;
use crate::config::{Protocol, TrunkConfig};
use crate::metrics::{TRUNK_FAILURES, TRUNK_LOSSES};
use crate::panics::lasting;

/// A trunk that was up for so long was a good one, whatever ended it. One that is up and lost again in less
/// counts as a failure to connect, or it would be dialled again and again without a pause.
const STABLE: Duration = Duration::from_secs(1);

/// Keeps the trunks to one ejabberd up.
#[derive(Debug)]
pub struct TrunkPool {
    config: PoolConfig,
    size: usize,
    shared: Arc<Shared>,
}

/// What a pool is made of.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// What its trunks speak.
    pub protocol: Protocol,
    /// The largest frame of version 1.
    pub max_frame_size: MaxFrameSize,
    /// How long ejabberd may take to say the first thing.
    pub connect_timeout: Duration,
    /// The longest wait before the first attempt to connect again.
    pub backoff_min: Duration,
    /// The longest wait before any attempt.
    pub backoff_max: Duration,
    /// A trunk of version 2 that was silent for so long is asked.
    pub ping_interval: Duration,
}

impl PoolConfig {
    /// That of a file.
    ///
    /// # Errors
    /// If a frame size is none of the protocol's.
    pub fn new(
        config: &TrunkConfig,
        ping_interval: Duration,
    ) -> Result<Self, megaphone_trunk::v1::LimitError> {
        Ok(Self {
            protocol: config.protocol,
            max_frame_size: MaxFrameSize::new(config.max_frame_size)?,
            connect_timeout: config.connect_timeout,
            backoff_min: config.backoff_min,
            backoff_max: config.backoff_max,
            ping_interval,
        })
    }
}

/// What a pool is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Keep its trunks up.
    Serve,
    /// End each trunk once no connection is left in it and all that waited is written. There is no way back.
    Finish,
    /// End them at once, with their connections.
    Close,
}

/// What its trunks share.
#[derive(Debug)]
struct Shared {
    config: PoolConfig,
    /// How the ejabberd is called in the log.
    name: String,
    dialler: Arc<Dialler>,
    budget: Arc<OutputBudget>,
    backlogs: Arc<Backlogs>,
    trunks: Arc<Trunks>,
    /// It was told that there is no trunk, and none came since.
    down_told: AtomicBool,
}

impl TrunkPool {
    /// A pool that fills `trunks` with `size` of them.
    pub fn new(
        config: PoolConfig,
        size: usize,
        name: String,
        dialler: Arc<Dialler>,
        budget: Arc<OutputBudget>,
        backlogs: Arc<Backlogs>,
        trunks: Arc<Trunks>,
    ) -> Self {
        let shared = Arc::new(Shared {
            config: config.clone(),
            name,
            dialler,
            budget,
            backlogs,
            trunks,
            down_told: AtomicBool::new(false),
        });
        Self {
            config,
            size,
            shared,
        }
    }

    /// Connects each trunk, and connects again whenever one is lost, until it has another order; then it
    /// returns once that is done.
    pub async fn run(&self, order: watch::Receiver<Order>) {
        let mut places = JoinSet::new();
        for _ in 0..self.size {
            let place = Place {
                shared: Arc::clone(&self.shared),
                backoff: Backoff::new(self.config.backoff_min, self.config.backoff_max),
                lost_told: false,
                draining: Vec::new(),
            };
            let own = (place, order.clone());
            places.spawn(lasting(own, |(place, order)| Box::pin(place.run(order))));
        }
        while places.join_next().await.is_some() {}
    }
}

/// One of the pool's trunks, and those that were there before it and still have connections.
struct Place {
    shared: Arc<Shared>,
    backoff: Backoff,
    /// It was told that this one is lost, and it did not come up since.
    lost_told: bool,
    draining: Vec<Draining>,
}

struct Draining {
    link: Link,
    running: JoinHandle<Lost>,
}

impl Place {
    async fn run(&mut self, order: &mut watch::Receiver<Order>) {
        while let Next::Dial { after } = self.one_trunk(order).await {
            self.forget_ended();
            tokio::select! {
                () = sleep(after) => {}
                () = told(order) => break,
            }
        }
        let draining = std::mem::take(&mut self.draining);
        for Draining { link, .. } in &draining {
            link.finish();
        }
        for Draining { link, mut running } in draining {
            self.end(&link, &mut running, order).await;
        }
    }

    /// Ends a trunk as it is ordered.
    async fn end(
        &self,
        link: &Link,
        running: &mut JoinHandle<Lost>,
        order: &mut watch::Receiver<Order>,
    ) {
        link.finish();
        tokio::select! {
            _ended = &mut *running => {}
            () = told_to_close(order) => {
                running.abort();
                link.lose();
            }
        }
        self.shared.trunks.remove(link);
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
    async fn one_trunk(&mut self, order: &mut watch::Receiver<Order>) -> Next {
        let dialled = tokio::select! {
            dialled = self.shared.dialler.dial() => dialled,
            () = told(order) => return Next::Finish,
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
            shared.config.protocol,
            shared.config.max_frame_size,
            Arc::clone(&shared.budget),
            Arc::clone(&shared.backlogs),
            Arc::clone(shared.trunks.usage()),
            shared.config.ping_interval,
        );
        link.greet(shared.trunks.ids());
        let mut running = tokio::spawn(link.clone().run(reader, writer));
        tokio::select! {
            biased;
            () = link.answered() => {}
            ended = &mut running => {
                TRUNK_FAILURES.add(1);
                return self.ended(ended);
            }
            () = sleep(shared.config.connect_timeout) => {
                TRUNK_FAILURES.add(1);
                running.abort();
                return self.lost("it was accepted and then not answered");
            }
            () = told(order) => {
                running.abort();
                return Next::Finish;
            }
        }
        let up = Instant::now();
        shared.trunks.add(link.clone());
        if shared.config.protocol == Protocol::V2 {
            tokio::spawn(version::ask(link.clone()));
        }
        self.end_replaced();
        tracing::info!("trunk to {} is up", shared.name);
        shared.down_told.store(false, Relaxed);
        self.lost_told = false;
        let ended = tokio::select! {
            ended = &mut running => Some(ended),
            () = link.retired() => None,
            () = told(order) => {
                self.end(&link, &mut running, order).await;
                return Next::Finish;
            }
        };
        match ended {
            Some(ended) => {
                TRUNK_LOSSES.add(1);
                shared.trunks.remove(&link);
                let in_order = matches!(ended, Ok(Lost::Finished));
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

    fn ended(&mut self, ended: Result<Lost, JoinError>) -> Next {
        match ended {
            Ok(Lost::Finished) => self.lost("ended in order"),
            Ok(lost) => self.lost(&lost.to_string()),
            // Its task panicked; the log says where.
            Err(error) => self.lost(&error.to_string()),
        }
    }

    /// Another trunk has to take the place of this one, whose connections go on. That is no failure: the
    /// other one is dialled with as little delay as after a first one.
    fn retired(&mut self, link: Link, running: JoinHandle<Lost>) -> Next {
        tracing::info!(
            connections = link.load(),
            "a trunk to {} takes no more connections and is replaced; those that are open \
             stay",
            self.shared.name
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
        let address = &self.shared.name;
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

/// Waits until the pool is to end.
async fn told(order: &mut watch::Receiver<Order>) {
    // An error says that nobody is left who could tell.
    let _ = order.wait_for(|order| *order >= Order::Finish).await;
}

async fn told_to_close(order: &mut watch::Receiver<Order>) {
    if order
        .wait_for(|order| *order == Order::Close)
        .await
        .is_err()
    {
        std::future::pending::<()>().await;
    }
}
