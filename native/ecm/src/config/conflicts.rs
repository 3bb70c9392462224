//! Values in different tables that contradict each other.

use std::net::SocketAddr;

use super::file::Config;
use super::listener::{Application, ListenerConfig};
use super::nodes::NodeAddress;
use super::trunk::{Protocol, TrunkAddress};

/// A part of the file that contradicts another one.
#[derive(Debug)]
pub(super) struct Conflict {
    /// The part, such as `listener.0.kind`.
    pub(super) part: String,
    /// Why not, and what to do.
    pub(super) message: String,
    /// The keys of the file that it is about.
    pub(super) tables: &'static [&'static str],
}

impl Config {
    /// The parts of it that contradict each other. `names_address`: whether the file has a `trunk.address`.
    pub(super) fn conflicts(&self, names_address: bool) -> Vec<Conflict> {
        let mut conflicts = self.conflicts_of_nodes(names_address);
        conflicts.extend(self.conflicts_of_listeners());
        conflicts
    }

    fn conflicts_of_nodes(&self, names_address: bool) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        let mut add = |part: String, message: &str| {
            conflicts.push(Conflict {
                part,
                message: message.to_owned(),
                tables: &["trunk", "node"],
            });
        };
        if names_address && !self.named_nodes.is_empty() {
            add(
                "node.0".to_owned(),
                "trunk.address is the short form for one [[node]]; write either",
            );
        }
        let all = &self.named_nodes;
        let mut tls_needs_name = None;
        for (place, node) in all.iter().enumerate() {
            let name = node.name();
            if all[..place].iter().any(|other| other.name() == name) {
                let key = node.name.as_ref().map_or("address", |_| "name");
                add(
                    format!("node.{place}.{key}"),
                    &format!("there are two nodes with the name {name:?}; give each another name"),
                );
            }
            let why = match &node.address {
                NodeAddress::Fixed(TrunkAddress::Unix(_)) => {
                    "TLS over a Unix socket needs tls.server_name, as the address has no host name"
                }
                NodeAddress::Srv(_) => {
                    "TLS to the hosts of an SRV name needs tls.server_name: who answers for the name could name \
                     any host"
                }
                NodeAddress::Fixed(TrunkAddress::Tcp(_)) | NodeAddress::Name { .. } => continue,
            };
            tls_needs_name.get_or_insert(why);
        }
        if let Some(why) = tls_needs_name
            && let Some(tls) = &self.trunk.tls
            && tls.server_name.is_none()
        {
            add("trunk.tls".to_owned(), why);
        }
        conflicts
    }

    fn conflicts_of_listeners(&self) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        let mut add = |place: usize, key: &str, message: &str, tables| {
            conflicts.push(Conflict {
                part: format!("listener.{place}.{key}"),
                message: message.to_owned(),
                tables,
            });
        };
        for (place, listener) in self.listeners.iter().enumerate() {
            if self.is_taken(place, listener.address) {
                add(
                    place,
                    "address",
                    "another [[listener]] has this address; give each its own",
                    &["listener"],
                );
            }
            if listener.kind.application() == Application::Xmpp
                && self.trunk.protocol == Protocol::V1
            {
                let why = "version 1 of the trunk's protocol carries only HTTP; XMPP needs trunk.protocol = \"v2\"";
                add(place, "kind", why, &["listener", "trunk"]);
            } else if self.certificates.is_empty()
                && let Some(why) = ListenerConfig::needs_certificate(listener)
            {
                add(place, "kind", why, &["listener", "certificate"]);
            }
            if self.xmpp.client_ca.is_none()
                && let Some(why) = listener.needs_client_ca()
            {
                add(place, "client_certificates", why, &["listener", "xmpp"]);
            }
        }
        conflicts
    }

    /// Whether an earlier listener has this one's address. Port 0 is a new port each time.
    fn is_taken(&self, place: usize, address: SocketAddr) -> bool {
        let mut before = self.listeners.iter().take(place);
        address.port() != 0 && before.any(|other| other.address == address)
    }
}
