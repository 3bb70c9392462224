//! The trunk that is in use, kept up.

use std::sync::Arc;
use std::time::Duration;

use megaphone_trunk::v1::MaxFrameSize;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::budget::OutputBudget;
use super::dial::dial;
use super::v1::{Connection, Link, Lost, Traffic};
use crate::config::{Protocol, TrunkConfig};
use crate::ids::IdSource;

/// A trunk that lived this long was a good one, whatever ended it.
const STABLE: Duration = Duration::from_secs(10);

/// What clients see: the trunk that is up, if there is one.
#[derive(Debug)]
pub struct Trunks {
    ids: IdSource,
    up: RwLock<Option<Arc<Link>>>,
}

impl Trunks {
    /// No trunk yet.
    pub fn new(ids: IdSource) -> Self {
        Self {
            ids,
            up: RwLock::new(None),
        }
    }

    /// Opens a connection; `None` while there is no trunk.
    pub fn open(&self) -> Option<Connection> {
        let link = self.up.read().clone()?;
        link.open(&self.ids).ok()
    }
}

/// Keeps the trunk up.
#[derive(Debug)]
pub struct TrunkPool {
    config: TrunkConfig,
    max_frame_size: MaxFrameSize,
    budget: Arc<OutputBudget>,
    trunks: Arc<Trunks>,
    backoff: Backoff,
}

impl TrunkPool {
    /// A pool that fills `trunks`.
    ///
    /// # Errors
    /// If a frame size is none of the protocol's.
    pub fn new(
        config: TrunkConfig,
        budget: Arc<OutputBudget>,
        trunks: Arc<Trunks>,
    ) -> Result<Self, megaphone_trunk::v1::LimitError> {
        let max_frame_size = MaxFrameSize::new(config.max_frame_size)?;
        let backoff = Backoff::new(config.backoff_min, config.backoff_max);
        Ok(Self {
            config,
            max_frame_size,
            budget,
            trunks,
            backoff,
        })
    }

    /// Connects, and connects again whenever the trunk is lost, until `finish` says so; then it
    /// returns once all that waited for the trunk is written.
    pub async fn run(mut self, mut finish: watch::Receiver<bool>) {
        let Protocol::V1 = self.config.protocol;
        // A state is told once, at its start, however many attempts it lasts.
        let mut down_told = false;
        loop {
            let Ended::Lost(reason) = self.one_trunk(&mut finish, &mut down_told).await else {
                return;
            };
            let wait = self.backoff.next_wait();
            let address = &self.config.address;
            if down_told {
                tracing::debug!("no trunk to {address}: {reason}; next attempt in {wait:?}");
            } else {
                tracing::warn!("no trunk to {address}: {reason}; trying again until there is one");
                down_told = true;
            }
            tokio::select! {
                () = sleep(wait) => {}
                () = told(&mut finish) => return,
            }
        }
    }

    async fn one_trunk(
        &mut self,
        finish: &mut watch::Receiver<bool>,
        down_told: &mut bool,
    ) -> Ended {
        let dialled = tokio::select! {
            dialled = dial(&self.config) => dialled,
            () = told(finish) => return Ended::Finished,
        };
        let (reader, writer) = match dialled {
            Ok(halves) => halves,
            Err(error) => return Ended::Lost(error.to_string()),
        };
        let started = Instant::now();
        let link = Arc::new(Link::new(self.max_frame_size, Arc::clone(&self.budget)));
        *self.trunks.up.write() = Some(Arc::clone(&link));
        tracing::info!("trunk to {} is up", self.config.address);
        *down_told = false;
        let running = Arc::clone(&link).run(reader, writer);
        tokio::pin!(running);
        let (traffic, lost) = tokio::select! {
            ended = &mut running => ended,
            () = told(finish) => {
                link.finish();
                running.await
            }
        };
        *self.trunks.up.write() = None;
        if traffic == Traffic::Frames || started.elapsed() >= STABLE {
            self.backoff.reset();
        }
        match lost {
            Lost::Finished => Ended::Finished,
            lost => Ended::Lost(lost.to_string()),
        }
    }
}

enum Ended {
    Finished,
    Lost(String),
}

/// Waits until the pool is to finish.
async fn told(finish: &mut watch::Receiver<bool>) {
    // An error says that nobody is left who could tell.
    let _ = finish.wait_for(|finish| *finish).await;
}
