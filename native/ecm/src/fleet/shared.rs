//! What all connections to and from other ECMs share.

use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use crate::backlog::Backlogs;
use crate::budget::Holder;
use crate::config::Config;
use crate::trunk::{Accept, Backoff, Multiplexer, OutputBudget};

/// How often the last answers are looked for as the program ends.
const LAST_ANSWERS: Duration = Duration::from_millis(10);

/// What all connections to and from peers share.
#[derive(Debug)]
pub struct Shared {
    budget: Arc<OutputBudget>,
    backlogs: Arc<Backlogs>,
    connect_timeout: Duration,
    /// From the shortest to the longest wait.
    backoff: Range<Duration>,
    ping_interval: Duration,
    links: Mutex<Vec<Watched>>,
}

#[derive(Debug)]
struct Watched {
    link: Weak<Multiplexer>,
    opener: Opener,
}

/// Who has opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opener {
    /// This ECM.
    Here,
    /// Another one.
    Peer,
    /// The program that replaces this one.
    Successor,
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

    /// A connection that another program has opened, whose streams go to `accept`.
    pub fn accept(&self, opener: Opener, accept: Accept) -> Arc<Multiplexer> {
        let (budget, backlogs) = (Arc::clone(&self.budget), Arc::clone(&self.backlogs));
        let link = Multiplexer::from_peer(budget, backlogs, self.ping_interval, accept);
        self.watched(link, opener)
    }

    /// Peers hand nothing more on by the connections that they have opened, and connect again: where they do, another
    /// program may be now.
    pub fn hand_over(&self) {
        let links = self.links.lock();
        let of_peers = links.iter().filter(|it| it.opener == Opener::Peer);
        let of_peers: Vec<_> = of_peers.filter_map(|it| it.link.upgrade()).collect();
        drop(links);
        of_peers.iter().for_each(|link| link.go_away());
    }

    /// Ends all connections once their streams have ended and all is written.
    pub async fn finish(&self, within: Duration) {
        let links = self.links();
        for link in &links {
            link.finish();
        }
        let all_written = async {
            while links.iter().any(|link| !link.is_over()) {
                sleep(LAST_ANSWERS).await;
            }
        };
        // Peers see a connection that is lost.
        let _ = timeout(within, all_written).await;
    }

    /// A connection to a peer.
    pub fn to_peer(&self) -> Arc<Multiplexer> {
        let (budget, backlogs) = (Arc::clone(&self.budget), Arc::clone(&self.backlogs));
        let link = Multiplexer::to_peer(budget, backlogs, self.ping_interval);
        self.watched(link, Opener::Here)
    }

    fn watched(&self, link: Multiplexer, opener: Opener) -> Arc<Multiplexer> {
        let link = Arc::new(link);
        let mut links = self.links.lock();
        links.retain(|watched| watched.link.strong_count() > 0);
        links.push(Watched {
            link: Arc::downgrade(&link),
            opener,
        });
        link
    }

    /// All connections to and from peers.
    pub fn links(&self) -> Vec<Arc<Multiplexer>> {
        let links = self.links.lock();
        links.iter().filter_map(|it| it.link.upgrade()).collect()
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
