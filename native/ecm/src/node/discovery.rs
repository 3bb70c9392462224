//! Which nodes there are: those configured by address, and those found by name.
//!
//! A name is looked up again when its TTL has passed. Each new address is a new node, and the node of an address that
//! is gone ends. While a look-up fails or finds no address, the nodes stay: the name server is more likely to be in
//! trouble than all nodes at once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::resolver::{Found, ResolveError, Resolver};
use crate::config::{NameServer, NodeAddress, NodeConfig, TrunkAddress};

/// How soon a look-up that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// A node that should exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name in the log, metrics and commands.
    pub name: String,
    /// Where it is.
    pub address: TrunkAddress,
    /// The name that its certificate must have.
    pub host: String,
    /// Its weight.
    pub weight: u64,
    /// The most sessions that it takes.
    pub max_sessions: u64,
}

impl Target {
    /// Whether it is the same node, whatever its limits.
    pub fn is(&self, other: &Self) -> bool {
        self.name == other.name && self.address == other.address
    }
}

/// The addresses that look-ups found, by the name of the `[[node]]`.
type Known = HashMap<String, Vec<SocketAddr>>;

/// The nodes of these entries that are known without a look-up.
pub fn fixed(entries: &[NodeConfig]) -> Vec<Target> {
    targets(entries, &Known::new())
}

/// Publishes which nodes there are, whenever that changes, as long as the program runs.
pub async fn run(
    servers: Vec<NameServer>,
    mut entries: watch::Receiver<Arc<[NodeConfig]>>,
    nodes: watch::Sender<Vec<Target>>,
) {
    let mut known = Known::new();
    loop {
        let now = Arc::clone(&entries.borrow_and_update());
        let (found, mut results) = mpsc::channel(1);
        let mut asking = JoinSet::new();
        for entry in now.iter().filter(|entry| is_name(&entry.address)) {
            asking.spawn(ask(servers.clone(), entry.clone(), found.clone()));
        }
        known.retain(|name, _| now.iter().any(|entry| entry.name() == *name));
        nodes.send_replace(targets(&now, &known));
        loop {
            tokio::select! {
                Some((name, addresses)) = results.recv() => {
                    known.insert(name, addresses);
                    nodes.send_replace(targets(&now, &known));
                }
                changed = entries.changed() => match changed {
                    Ok(()) => break,
                    Err(_nobody_changes_them) => std::future::pending().await,
                },
            }
        }
    }
}

const fn is_name(address: &NodeAddress) -> bool {
    !matches!(address, NodeAddress::Fixed(_))
}

/// Looks up the addresses of one entry, again and again.
async fn ask(
    servers: Vec<NameServer>,
    entry: NodeConfig,
    found: mpsc::Sender<(String, Vec<SocketAddr>)>,
) {
    let name = entry.name().into_owned();
    let mut before = Vec::new();
    let mut told = String::new();
    let mut resolver = None;
    loop {
        match resolve(&mut resolver, &servers, &entry.address).await {
            Ok(Found { addresses, again }) => {
                told.clear();
                tell(&name, &before, &addresses);
                if addresses != before {
                    before.clone_from(&addresses);
                    if found.send((name.clone(), addresses)).await.is_err() {
                        return;
                    }
                }
                sleep(again).await;
            }
            Err(error) => {
                let error = error.to_string();
                if error != told {
                    tracing::warn!(
                        "can't look up {name}: {error}; its nodes stay as they are; trying again"
                    );
                    told = error;
                }
                sleep(RETRY).await;
            }
        }
    }
}

async fn resolve(
    resolver: &mut Option<Resolver>,
    servers: &[NameServer],
    address: &NodeAddress,
) -> Result<Found, ResolveError> {
    let resolver = match resolver {
        Some(resolver) => resolver,
        None => resolver.insert(Resolver::new(servers)?),
    };
    resolver.resolve(address).await
}

fn tell(name: &str, before: &[SocketAddr], now: &[SocketAddr]) {
    for address in now.iter().filter(|address| !before.contains(address)) {
        tracing::info!("new node: {name} now has the address {address}");
    }
    for address in before.iter().filter(|address| !now.contains(address)) {
        tracing::info!(
            "{name} no longer has the address {address}: that node gets nothing new, and ends once it is empty"
        );
    }
}

fn targets(entries: &[NodeConfig], known: &Known) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for entry in entries {
        let name = entry.name();
        let target = |name: String, address, host: &str| Target {
            name,
            address,
            host: host.to_owned(),
            weight: entry.weight,
            max_sessions: entry.max_sessions,
        };
        match &entry.address {
            NodeAddress::Fixed(address) => {
                targets.push(target(name.into_owned(), address.clone(), address.host()));
            }
            // All hosts of an SRV name share the name in the configuration.
            NodeAddress::Name { .. } | NodeAddress::Srv(_) => {
                let host = match &entry.address {
                    NodeAddress::Name { host, .. } => host,
                    _ => "",
                };
                for address in known.get(name.as_ref()).into_iter().flatten() {
                    let name = format!("{name}/{address}");
                    targets.push(target(name, TrunkAddress::Tcp(address.to_string()), host));
                }
            }
        }
    }
    // Two names may have one address.
    let mut seen = Vec::new();
    targets.retain(|target| {
        let is_new = !seen.contains(&target.address);
        seen.push(target.address.clone());
        is_new
    });
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(address: NodeAddress, name: Option<&str>) -> NodeConfig {
        NodeConfig {
            address,
            name: name.map(str::to_owned),
            weight: 3,
            max_sessions: 7,
        }
    }

    fn named(host: &str) -> NodeAddress {
        NodeAddress::Name {
            host: host.to_owned(),
            port: 5290,
        }
    }

    #[test]
    fn each_address_of_a_name_is_a_node_and_each_is_one_once() {
        let fixed = TrunkAddress::Tcp("10.0.0.1:5290".to_owned());
        let entries = [
            entry(NodeAddress::Fixed(fixed), Some("a")),
            entry(named("b.example"), None),
            entry(NodeAddress::Srv("_m._tcp.example".to_owned()), Some("c")),
        ];
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let known = Known::from([
            (
                "b.example".to_owned(),
                vec![address("10.0.0.1:5290"), address("10.0.0.2:5290")],
            ),
            ("c".to_owned(), vec![address("[::1]:1")]),
        ]);
        let targets = targets(&entries, &known);
        let of = |target: &Target| (target.name.clone(), target.host.clone());
        let all: Vec<_> = targets.iter().map(of).collect();
        let expected = [
            ("a", "10.0.0.1"),
            ("b.example/10.0.0.2:5290", "b.example"),
            ("c/[::1]:1", ""),
        ];
        assert_eq!(
            all,
            expected.map(|(name, host)| (name.to_owned(), host.to_owned()))
        );
        assert!(
            targets
                .iter()
                .all(|it| (it.weight, it.max_sessions) == (3, 7))
        );
        assert_eq!(super::fixed(&entries).len(), 1);
    }
}
