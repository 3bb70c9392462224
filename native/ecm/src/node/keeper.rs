//! Keeps the nodes' trunks up, and checks their health.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::discovery::{self, Target};
use super::mover::Mover;
use super::one::{Node, Since};
use super::orders::give_orders;
use super::roster::{self, Roster};
use super::state::State;
use super::{Nodes, health};
use crate::backlog::Backlogs;
use crate::config::{Config, NameServer, NodeConfig, NodesConfig};
use crate::ids::IdSource;
use crate::panics::lasting;
use crate::trunk::{
    Dialler, Order, OutputBudget, PoolConfig, TlsClient, TlsClients, TlsError, TrunkPool, Trunks,
};

/// How often the nodes' health is checked. Pings take seconds, so that is often enough.
const TICK: Duration = Duration::from_millis(250);

/// Why the nodes can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The system has no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// The trunks' certificates can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The protocol has no such frame size.
    #[error(transparent)]
    FrameSize(#[from] megaphone_trunk::v1::LimitError),
}

/// Starts and ends the trunks of each node, as nodes come and go.
#[derive(Debug)]
pub struct Keeper {
    nodes: Arc<Nodes>,
    mover: Arc<Mover>,
    way: Way,
    name_servers: Vec<NameServer>,
    entries: watch::Sender<Arc<[NodeConfig]>>,
    kept: Mutex<Kept>,
}

/// What the connections to all nodes have in common.
#[derive(Debug)]
struct Way {
    ids: Arc<IdSource>,
    pool: PoolConfig,
    trunks: usize,
    budget: Arc<OutputBudget>,
    backlogs: Arc<Backlogs>,
}

#[derive(Debug)]
struct Kept {
    nodes: Vec<KeptNode>,
    tls: Option<TlsClients>,
    at_once: u64,
}

/// A node and the way to it.
#[derive(Debug, Clone)]
struct KeptNode {
    target: Target,
    node: Arc<Node>,
    dialler: Arc<Dialler>,
    pool: Arc<TrunkPool>,
}

impl Keeper {
    /// The nodes of a configuration.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub fn new(
        config: &Config,
        tls: Option<TlsClients>,
        budget: &Arc<OutputBudget>,
        backlogs: &Arc<Backlogs>,
    ) -> Result<Self, KeeperError> {
        let way = Way {
            ids: Arc::new(IdSource::new()?),
            pool: PoolConfig::new(&config.trunk, config.nodes.ping_interval)?,
            trunks: config.trunk_count(),
            budget: Arc::clone(budget),
            backlogs: Arc::clone(backlogs),
        };
        let entries: Arc<[NodeConfig]> = config.all_nodes().into();
        let mut kept = Kept {
            nodes: Vec::new(),
            tls,
            at_once: config.limits.logins_at_once,
        };
        for target in discovery::fixed(&entries) {
            let node = way.to(target, &kept, Since::Start)?;
            kept.nodes.push(node);
        }
        let roster = Arc::new(Roster::new(kept.roster(), rules(&config.nodes)));
        let nodes = Nodes::new(config.trunk.protocol, Arc::clone(&roster));
        let mover = Mover::new(roster, Arc::clone(&nodes.rooms), config.nodes.moves_at_once);
        Ok(Self {
            mover: Arc::new(mover),
            nodes: Arc::new(nodes),
            way,
            name_servers: config.nodes.name_servers.clone(),
            entries: watch::Sender::new(entries),
            kept: Mutex::new(kept),
        })
    }

    /// The nodes.
    pub const fn nodes(&self) -> &Arc<Nodes> {
        &self.nodes
    }

    /// Opens further trunks with these certificates; those that are up stay.
    ///
    /// # Errors
    /// [`TlsError`], and then nothing has changed.
    pub fn set_tls(&self, tls: Option<TlsClients>) -> Result<(), TlsError> {
        let mut kept = self.kept.lock();
        let of_host = |kept: &KeptNode| client(tls.as_ref(), &kept.target.host);
        let clients = kept.nodes.iter().map(of_host);
        let clients = clients.collect::<Result<Vec<_>, _>>()?;
        for (kept, client) in kept.nodes.iter().zip(clients) {
            kept.dialler.set_tls(client);
        }
        kept.tls = tls;
        Ok(())
    }

    /// Takes over the nodes and limits of a new configuration.
    pub fn set_config(&self, config: &Config) {
        self.nodes.roster.set_rules(rules(&config.nodes));
        let mut kept = self.kept.lock();
        kept.at_once = config.limits.logins_at_once;
        for kept in &kept.nodes {
            kept.node.set_at_once(config.limits.logins_at_once);
        }
        drop(kept);
        self.entries.send_replace(config.all_nodes().into());
        self.nodes.logins.go_on();
        self.mover.set_at_once(config.nodes.moves_at_once);
    }

    /// Keeps all trunks up until `finish` is true; then it returns once all output that waited is written.
    pub async fn run(self: Arc<Self>, finish: watch::Receiver<bool>) {
        let (sender, mut targets) = watch::channel(Vec::new());
        let entries = self.entries.subscribe();
        let mut helpers = JoinSet::new();
        helpers.spawn(discovery::run(self.name_servers.clone(), entries, sender));
        helpers.spawn(lasting(Arc::clone(&self.nodes.logins), |it| {
            Box::pin(Arc::clone(it).pass_by_slow())
        }));
        helpers.spawn(lasting(Arc::clone(&self.nodes), |it| {
            Box::pin(look_after(Arc::clone(it)))
        }));
        helpers.spawn(lasting(Arc::clone(&self.mover), |it| {
            Box::pin(Arc::clone(it).run())
        }));
        let mut finishing = finish.clone();
        let mut running = JoinSet::new();
        let keep_up = |kept| keep_up(kept, Arc::clone(&self.nodes.roster), finish.clone());
        for kept in &self.kept.lock().nodes {
            running.spawn(keep_up(kept.clone()));
        }
        loop {
            tokio::select! {
                Ok(()) = targets.changed() => {
                    let targets = targets.borrow_and_update().clone();
                    for kept in self.change(targets) {
                        running.spawn(keep_up(kept));
                    }
                }
                Some(Ok(node)) = running.join_next() => {
                    if let Some(back) = self.left(&node) {
                        running.spawn(keep_up(back));
                    }
                }
                _ = finishing.wait_for(|finish| *finish) => break,
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// Keeps these nodes and no others. Returns those that are new.
    fn change(&self, targets: Vec<Target>) -> Vec<KeptNode> {
        let mut kept = self.kept.lock();
        for node in &kept.nodes {
            if !targets.iter().any(|target| target.is(&node.target)) {
                node.node.set_state(State::Leaving);
            }
        }
        let mut new = Vec::new();
        for target in targets {
            let mut there = kept.nodes.iter();
            if let Some(there) = there.find(|there| there.target.is(&target)) {
                there.node.set_limits(target.weight, target.max_sessions);
                if there.node.state_now() == State::Leaving {
                    there.node.set_state(State::Ready);
                }
                continue;
            }
            let name = target.name.clone();
            match self.way.to(target, &kept, Since::Now) {
                Ok(node) => {
                    new.push(node.clone());
                    kept.nodes.push(node);
                }
                Err(error) => tracing::error!("node {name} can't be used: {error}"),
            }
        }
        self.nodes.roster.set_nodes(kept.roster());
        new
    }

    /// A node that was no longer configured has ended. Returns it if it is configured again by now.
    fn left(&self, node: &Arc<Node>) -> Option<KeptNode> {
        let mut kept = self.kept.lock();
        let place = kept
            .nodes
            .iter()
            .position(|kept| Arc::ptr_eq(&kept.node, node))?;
        if node.state_now() != State::Leaving {
            return Some(kept.nodes[place].clone());
        }
        kept.nodes.remove(place);
        self.nodes.roster.set_nodes(kept.roster());
        tracing::info!(
            "node {} has ended: it is no longer configured, and is empty",
            node.name()
        );
        None
    }
}

impl Kept {
    fn roster(&self) -> Vec<Arc<Node>> {
        self.nodes
            .iter()
            .map(|kept| Arc::clone(&kept.node))
            .collect()
    }
}

impl Way {
    fn to(&self, target: Target, kept: &Kept, since: Since) -> Result<KeptNode, TlsError> {
        let tls = client(kept.tls.as_ref(), &target.host)?;
        let node = Arc::new(Node::new(
            target.name.clone(),
            target.weight,
            target.max_sessions,
            kept.at_once,
            Trunks::new(Arc::clone(&self.ids)),
            since,
        ));
        let timeout = self.pool.connect_timeout;
        let dialler = Arc::new(Dialler::new(target.address.clone(), timeout, tls));
        let pool = TrunkPool::new(
            self.pool.clone(),
            self.trunks,
            target.name.clone(),
            Arc::clone(&dialler),
            Arc::clone(&self.budget),
            Arc::clone(&self.backlogs),
            Arc::clone(node.trunks()),
        );
        Ok(KeptNode {
            target,
            node,
            dialler,
            pool: Arc::new(pool),
        })
    }
}

fn client(tls: Option<&TlsClients>, host: &str) -> Result<Option<TlsClient>, TlsError> {
    tls.map(|tls| tls.of_host(host)).transpose()
}

/// Keeps a node's trunks as its state says, until it is gone or the program ends.
async fn keep_up(kept: KeptNode, roster: Arc<Roster>, finish: watch::Receiver<bool>) -> Arc<Node> {
    let node = Arc::clone(&kept.node);
    lasting((kept, roster, finish), |(kept, roster, finish)| {
        Box::pin(keep_trunks_up(kept, roster, finish))
    })
    .await;
    node
}

async fn keep_trunks_up(kept: &KeptNode, roster: &Roster, finish: &mut watch::Receiver<bool>) {
    let KeptNode { node, pool, .. } = kept;
    let mut state = node.state();
    loop {
        let (order, receiver) = watch::channel(Order::Serve);
        tokio::select! {
            () = pool.run(receiver) => {}
            () = give_orders(node, roster, &mut state, finish, &order) => {}
        }
        // Its trunks were told to end. After maintenance they come up again.
        tokio::select! {
            _ = state.wait_for(|state| *state != State::Maintenance) => {}
            _ = finish.wait_for(|finish| *finish) => return,
        }
        if *finish.borrow() || *state.borrow() == State::Leaving {
            return;
        }
    }
}

/// Checks each node's health again and again.
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
        // Whatever has changed, it may give waiting logins their turn.
        nodes.logins.go_on();
    }
}

fn tell_panic(is_panic: bool, threshold: u64) {
    if is_panic {
        tracing::warn!(
            "fewer than {threshold}% of the nodes are well: all that are up are used, even if ejected"
        );
    } else {
        tracing::info!("enough nodes are well again: ejected nodes get nothing new");
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
        rebalance: config.rebalance,
        maintenance_timeout: config.maintenance_timeout,
    }
}
