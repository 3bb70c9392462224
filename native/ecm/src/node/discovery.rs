//! Which nodes there are: those with an address, and those that names have.
//!
//! A name is asked for again when its TTL is over. An address that it does not have any more is no node any more, a
//! new one is. A name that can't be asked for, or has no address at all, keeps those that it had: more likely it is
//! the name server that is in trouble than all of them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::resolver::{Found, ResolveError, Resolver};
use crate::config::{NameServer, NodeAddress, NodeConfig, TrunkAddress};

/// How soon a name that could not be asked for is asked for again.
const RETRY: Duration = Duration::from_secs(5);

/// A node that there is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// How it is called.
    pub name: String,
    /// Where it is.
    pub address: TrunkAddress,
    /// The name that its certificate has to have.
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

/// What names were found to have, by the addresses in the configuration.
type Known = HashMap<String, Vec<SocketAddr>>;

/// The nodes of these entries, as far as they are known without asking anybody.
pub fn fixed(entries: &[NodeConfig]) -> Vec<Target> {
    targets(entries, &Known::new())
}

/// Says which nodes there are, again and again, as long as the program runs.
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

/// Asks for the addresses of one entry, again and again.
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
                    tracing::warn!("the nodes of {name} stay as they are: {error}; trying again");
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
        tracing::info!("{name} has the address {address}: a node");
    }
    for address in before.iter().filter(|address| !now.contains(address)) {
        tracing::info!(
            "{name} has the address {address} no longer: it gets nothing new, and ends once it is empty"
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
            // The hosts of an SRV name have the one name in the configuration.
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
