//! Keeps the nodes' trunks up, and looks after their health.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::one::Node;
use super::roster::{self, Roster};
use super::state::State;
use super::{Nodes, health};
use crate::backlog::Backlogs;
use crate::config::{Config, NodeConfig, NodesConfig};
use crate::ids::IdSource;
use crate::trunk::{
    Dialler, Order, OutputBudget, PoolConfig, TlsClients, TlsError, TrunkPool, Trunks,
};

/// How often the nodes' health is looked at. A ping is sent and missed by seconds.
const TICK: Duration = Duration::from_millis(250);

/// Why the nodes can't be had.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The system has no random numbers.
    #[error("no random numbers from the system: {0}")]
    Random(#[from] getrandom::Error),
    /// The trunks' certificates can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The frame size is none of the protocol's.
    #[error(transparent)]
    FrameSize(#[from] megaphone_trunk::v1::LimitError),
}

/// Starts and ends the trunks of each node.
#[derive(Debug)]
pub struct Keeper {
    nodes: Arc<Nodes>,
    kept: Mutex<Vec<Kept>>,
}

/// A node and the way to it.
#[derive(Debug)]
struct Kept {
    node: Arc<Node>,
    host: String,
    dialler: Arc<Dialler>,
    pool: Arc<TrunkPool>,
}

impl Keeper {
    /// Those of a configuration.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub fn new(
        config: &Config,
        tls: Option<&TlsClients>,
        budget: &Arc<OutputBudget>,
        backlogs: &Arc<Backlogs>,
    ) -> Result<Self, KeeperError> {
        let ids = Arc::new(IdSource::new()?);
        let pool_config = PoolConfig::new(&config.trunk, config.nodes.ping_interval)?;
        let keep = |entry: &NodeConfig| -> Result<Kept, KeeperError> {
            let trunks = Trunks::new(Arc::clone(&ids));
            let node = Arc::new(Node::new(
                entry.name().into_owned(),
                entry.weight,
                entry.max_sessions,
                config.limits.logins_at_once,
                trunks,
            ));
            let host = entry.address.host().to_owned();
            let tls = tls.map(|tls| tls.of_host(&host)).transpose()?;
            let timeout = config.trunk.connect_timeout;
            let dialler = Arc::new(Dialler::new(entry.address.clone(), timeout, tls));
            let pool = TrunkPool::new(
                pool_config.clone(),
                config.trunk_count(),
                entry.name().into_owned(),
                Arc::clone(&dialler),
                Arc::clone(budget),
                Arc::clone(backlogs),
                Arc::clone(node.trunks()),
            );
            Ok(Kept {
                node,
                host,
                dialler,
                pool: Arc::new(pool),
            })
        };
        let entries = config.all_nodes();
        let kept = entries.iter().map(keep).collect::<Result<Vec<_>, _>>()?;
        let nodes = kept.iter().map(|kept| Arc::clone(&kept.node)).collect();
        let roster = Roster::new(nodes, rules(&config.nodes));
        Ok(Self {
            nodes: Arc::new(Nodes::new(config.trunk.protocol, Arc::new(roster))),
            kept: Mutex::new(kept),
        })
    }

    /// The nodes.
    pub const fn nodes(&self) -> &Arc<Nodes> {
        &self.nodes
    }

    /// The next trunks are opened with other certificates; those that are up stay.
    ///
    /// # Errors
    /// [`TlsError`], and then nothing has changed.
    pub fn set_tls(&self, tls: Option<&TlsClients>) -> Result<(), TlsError> {
        let kept = self.kept.lock();
        let of_host = |kept: &Kept| tls.map(|tls| tls.of_host(&kept.host)).transpose();
        let clients = kept.iter().map(of_host).collect::<Result<Vec<_>, _>>()?;
        for (kept, client) in kept.iter().zip(clients) {
            kept.dialler.set_tls(client);
        }
        Ok(())
    }

    /// Goes on with other limits.
    pub fn set_limits(&self, config: &Config) {
        self.nodes.roster.set_rules(rules(&config.nodes));
        for node in self.nodes.all().iter() {
            node.set_at_once(config.limits.logins_at_once);
        }
        self.nodes.logins.go_on();
    }

    /// Keeps all trunks up until `finish` says so; then it returns once all that waited for the trunks is
    /// written.
    pub async fn run(self: Arc<Self>, finish: watch::Receiver<bool>) {
        let mut nodes = JoinSet::new();
        for kept in self.kept.lock().iter() {
            let (node, pool) = (Arc::clone(&kept.node), Arc::clone(&kept.pool));
            nodes.spawn(keep_up(node, pool, finish.clone()));
        }
        let slow = tokio::spawn(Arc::clone(&self.nodes.logins).pass_by_slow());
        let care = tokio::spawn(look_after(Arc::clone(&self.nodes)));
        while nodes.join_next().await.is_some() {}
        slow.abort();
        care.abort();
    }
}

/// Has a node's trunks as its state says.
async fn keep_up(node: Arc<Node>, pool: Arc<TrunkPool>, mut finish: watch::Receiver<bool>) {
    let mut state = node.state();
    loop {
        let (order, receiver) = watch::channel(Order::Serve);
        let obey = async {
            loop {
                let now = *state.borrow_and_update();
                order.send_replace(match (now, *finish.borrow_and_update()) {
                    (State::Maintenance, _) => Order::Close,
                    (State::Leaving, _) | (_, true) => Order::Finish,
                    (State::Ready | State::Drain, false) => Order::Serve,
                });
                tokio::select! {
                    Ok(()) = state.changed() => {}
                    Ok(()) = finish.changed() => {}
                    else => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            () = pool.run(receiver) => {}
            () = obey => {}
        }
        // It was told to end. If it was for maintenance, there is another time.
        let goes_on = async {
            let _ = state.wait_for(|state| *state != State::Maintenance).await;
        };
        tokio::select! {
            () = goes_on => {}
            _ = finish.wait_for(|finish| *finish) => return,
        }
        if *finish.borrow() || *state.borrow() == State::Leaving {
            return;
        }
    }
}

/// Looks at each node's health again and again.
async fn look_after(nodes: Arc<Nodes>) {
    let mut was_panic = false;
    loop {
        sleep(TICK).await;
        let (rules, now) = (nodes.roster.rules(), Instant::now());
        for node in nodes.all().iter() {
            node.look(now, &rules.health);
        }
        let is_panic = nodes.roster.is_panic();
        if is_panic != was_panic && nodes.trunk_count() > 0 {
            was_panic = is_panic;
            tell_panic(is_panic, rules.panic_threshold);
        }
        // Whatever has changed, those who wait may have a turn by it.
        nodes.logins.go_on();
    }
}

fn tell_panic(is_panic: bool, threshold: u64) {
    if is_panic {
        tracing::warn!(
            "fewer than {threshold} % of the nodes are well: all that are up are used, the ejected too"
        );
    } else {
        tracing::info!("enough nodes are well again: the ejected are left");
    }
}

fn rules(config: &NodesConfig) -> roster::Rules {
    roster::Rules {
        health: health::Rules {
            ping_timeout: config.ping_timeout,
            eject_after: config.eject_after,
            eject_min: config.eject_min,
            eject_max: config.eject_max,
        },
        panic_threshold: config.panic_threshold,
        slow_start: config.slow_start,
        login_timeout: config.login_timeout,
    }
}
