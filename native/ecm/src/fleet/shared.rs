//! What all connections to and from other ECMs share.

use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::backlog::Backlogs;
use crate::budget::Holder;
use crate::config::Config;
use crate::trunk::{Accept, Backoff, Multiplexer, OutputBudget};

/// What all connections to and from peers share.
#[derive(Debug)]
pub struct Shared {
    budget: Arc<OutputBudget>,
    backlogs: Arc<Backlogs>,
    connect_timeout: Duration,
    /// From the shortest to the longest wait.
    backoff: Range<Duration>,
    ping_interval: Duration,
    links: Mutex<Vec<Weak<Multiplexer>>>,
}

impl Shared {
    /// As configured. Connections to peers use the timeouts of trunks.
    pub fn new(config: &Config, budget: &Arc<OutputBudget>, backlogs: &Arc<Backlogs>) -> Self {
        let trunk = &config.trunk;
        Self {
            budget: Arc::clone(budget),
            backlogs: Arc::clone(backlogs),
            connect_timeout: trunk.connect_timeout,
            backoff: trunk.backoff_min..trunk.backoff_max,
            ping_interval: config.nodes.ping_interval,
            links: Mutex::default(),
        }
    }

    /// How long a peer may take to accept a connection, and then to answer.
    pub const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// How long to wait before a lost connection is tried again.
    pub const fn backoff(&self) -> Backoff {
        Backoff::new(self.backoff.start, self.backoff.end)
    }

    /// A connection that a peer has opened, whose streams go to `accept`.
    pub fn accept(&self, accept: Accept) -> Arc<Multiplexer> {
        let (budget, backlogs) = (Arc::clone(&self.budget), Arc::clone(&self.backlogs));
        let link = Multiplexer::from_peer(budget, backlogs, self.ping_interval, accept);
        self.watched(link)
    }

    /// A connection to a peer.
    pub fn to_peer(&self) -> Arc<Multiplexer> {
        let (budget, backlogs) = (Arc::clone(&self.budget), Arc::clone(&self.backlogs));
        self.watched(Multiplexer::to_peer(budget, backlogs, self.ping_interval))
    }

    fn watched(&self, link: Multiplexer) -> Arc<Multiplexer> {
        let link = Arc::new(link);
        let mut links = self.links.lock();
        links.retain(|link| link.strong_count() > 0);
        links.push(Arc::downgrade(&link));
        link
    }

    /// All connections to and from peers.
    pub fn links(&self) -> Vec<Arc<Multiplexer>> {
        self.links.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// The streams with output that waits to be taken.
    pub fn output_holders(&self) -> Vec<Box<dyn Holder>> {
        let mailboxes = self.links().into_iter().flat_map(|link| link.mailboxes());
        mailboxes
            .map(|it| -> Box<dyn Holder> { Box::new(it) })
            .collect()
    }

    /// The streams with input that waits for their windows.
    pub fn input_holders(&self) -> Vec<Box<dyn Holder>> {
        let queues = self.links().into_iter().flat_map(|link| link.queues());
        queues
            .map(|it| -> Box<dyn Holder> { Box::new(it) })
            .collect()
    }
}
