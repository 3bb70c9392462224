//! `[[node]]` and `[nodes]`: the ejabberd nodes, and how they are chosen.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::trunk::TrunkAddress;
use super::values::{self, HOUR, MS, count, interval, text};

/// `[[node]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The address of its listener, or of several nodes' listeners.
    pub address: NodeAddress,
    /// Its name; without one, that is its address.
    #[serde(default, deserialize_with = "name")]
    pub name: Option<String>,
    /// Its share of all sessions, relative to the others' weights.
    #[serde(default = "one", deserialize_with = "count::<1, 256, _>")]
    pub weight: u64,
    /// The most sessions at once; 0 for any number.
    #[serde(default, deserialize_with = "count::<0, 100_000_000, _>")]
    pub max_sessions: u64,
}

impl NodeConfig {
    /// The only node, at this address.
    #[must_use]
    pub const fn only(address: TrunkAddress) -> Self {
        Self {
            address: NodeAddress::Fixed(address),
            name: None,
            weight: 1,
            max_sessions: 0,
        }
    }

    /// The name that its certificate must have, if the address has one.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match &self.address {
            NodeAddress::Fixed(address) => Some(address.host()),
            NodeAddress::Name { host, .. } => Some(host),
            NodeAddress::Srv(_) => None,
        }
    }

    /// Its name, or its address if it has none.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        match &self.name {
            Some(name) => Cow::Borrowed(name),
            None => self.address.name(),
        }
    }
}

/// Where a node is, or several are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeAddress {
    /// At this address.
    Fixed(TrunkAddress),
    /// At each address of a name.
    Name {
        /// The name.
        host: String,
        /// The port at each.
        port: u16,
    },
    /// At each address of each host that an SRV name has.
    Srv(String),
}

impl NodeAddress {
    fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Fixed(address) => Cow::Owned(address.to_string()),
            Self::Name { host, .. } => Cow::Borrowed(host),
            Self::Srv(name) => Cow::Borrowed(name),
        }
    }
}

impl<'de> Deserialize<'de> for NodeAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text(
            deserializer,
            "an address as text, HOST:PORT, unix:/PATH or srv:NAME",
        )?;
        let wrong = || {
            D::Error::custom(format_args!(
                "{text:?} is not the address of a node, write HOST:PORT, unix:/PATH or srv:NAME, such as \
                 \"10.0.0.1:5290\" or \"srv:_megaphone._tcp.example.org\""
            ))
        };
        if let Some(name) = text.strip_prefix("srv:") {
            return if is_host_name(name) {
                Ok(Self::Srv(name.to_owned()))
            } else {
                Err(wrong())
            };
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Self::Fixed(TrunkAddress::Unix(path.into())))
            } else {
                Err(wrong())
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(wrong)?;
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => {
                let address = SocketAddr::new(ip, port).to_string();
                Ok(Self::Fixed(TrunkAddress::Tcp(address)))
            }
            Err(_) if is_host_name(host) => Ok(Self::Name {
                host: host.to_owned(),
                port,
            }),
            Err(_) => Err(wrong()),
        }
    }
}

fn is_host_name(text: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    !text.is_empty() && text.len() <= 253 && text.bytes().all(allowed)
}

/// A name server, for the names of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameServer(pub SocketAddr);

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for NameServer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const PORT: u16 = 53;
        let text = text(deserializer, "a name server as text, IP or IP:PORT")?;
        let address = text.parse().ok();
        let address = address.or_else(|| Some(SocketAddr::new(text.parse().ok()?, PORT)));
        address.map(Self).ok_or_else(|| {
            D::Error::custom(format_args!(
                "{text:?} is not a name server, write IP or IP:PORT, such as \"10.0.0.53\""
            ))
        })
    }
}

/// `[nodes]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodesConfig {
    /// The name servers for the names of nodes; without any, those of the system.
    #[serde(deserialize_with = "values::list")]
    pub name_servers: Vec<NameServer>,
    /// Over how long the share of a node that came back grows.
    #[serde(deserialize_with = "interval::<0, HOUR, _>")]
    pub slow_start: Duration,
    /// If fewer than this percentage are well, all that are up are used.
    #[serde(deserialize_with = "count::<0, 100, _>")]
    pub panic_threshold: u64,
    /// A trunk that was silent for this long gets a ping.
    #[serde(deserialize_with = "interval::<{ 1000 * MS }, HOUR, _>")]
    pub ping_interval: Duration,
    /// How long the answer to a ping may take.
    #[serde(deserialize_with = "interval::<{ 1000 * MS }, HOUR, _>")]
    pub ping_timeout: Duration,
    /// How long a login may wait for ejabberd's answer.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub login_timeout: Duration,
    /// How many sessions move to other trunks at once.
    #[serde(deserialize_with = "count::<1, 100_000, _>")]
    pub moves_at_once: u64,
    /// Whether they move by themselves to nodes that have fewer than their share.
    pub rebalance: bool,
    /// How long those of a node in maintenance may take, until its trunks end.
    #[serde(deserialize_with = "interval::<0, HOUR, _>")]
    pub maintenance_timeout: Duration,
    /// How many logins in a row may go unanswered; 0 for any number.
    #[serde(deserialize_with = "count::<0, 1_000_000, _>")]
    pub eject_after: u64,
    /// The longest that a first ejection lasts.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub eject_min: Duration,
    /// The longest that any lasts.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub eject_max: Duration,
}

impl Default for NodesConfig {
    fn default() -> Self {
        Self {
            name_servers: Vec::new(),
            slow_start: Duration::from_secs(60),
            panic_threshold: 50,
            ping_interval: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(5),
            login_timeout: Duration::from_secs(5),
            moves_at_once: 200,
            rebalance: true,
            maintenance_timeout: Duration::from_secs(60),
            eject_after: 10,
            eject_min: Duration::from_secs(10),
            eject_max: Duration::from_secs(300),
        }
    }
}

/// `[nodes]`, with its values checked against each other.
pub(super) fn checked<'de, D: Deserializer<'de>>(d: D) -> Result<NodesConfig, D::Error> {
    let nodes = NodesConfig::deserialize(d)?;
    if nodes.eject_min > nodes.eject_max {
        return Err(D::Error::custom(
            "eject_min is more than eject_max; it must not be",
        ));
    }
    Ok(nodes)
}

const fn one() -> u64 {
    1
}

fn name<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let name = text(d, "a name as text")?;
    let allowed = |c: u8| c.is_ascii_graphic() && !b"\"\\".contains(&c);
    if name.len() <= 64 && name.bytes().all(allowed) {
        Ok(Some(name))
    } else {
        Err(D::Error::custom(format_args!(
            "{name:?} is not a valid name of a node, write up to 64 letters, digits and other visible ASCII \
             characters except \" and \\, such as \"a\" or \"ejabberd@a.example.org\""
        )))
    }
}
