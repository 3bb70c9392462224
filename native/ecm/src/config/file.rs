//! The whole file, its tables held against each other.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::entrances::{BoshConfig, ClientTlsConfig, HostMetaConfig, WebSocketConfig, XmppConfig};
use super::error::ConfigError;
use super::fleet::{self, FleetConfig};
use super::limits::LimitsConfig;
use super::listener::{self, Application, ListenerConfig, ListenerKind};
use super::network::Network;
use super::nodes::{self, NodeAddress, NodeConfig, NodesConfig};
use super::trunk::{self, Identity, Protocol, TrunkAddress, TrunkConfig};
use super::values::{self, count, log_filter};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How many threads serve clients; 0 is half as many as there are cores.
    #[serde(deserialize_with = "count::<0, 1024, _>")]
    pub threads: u64,
    /// The proxies in front of this program whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// The way to ejabberd.
    #[serde(deserialize_with = "trunk::checked")]
    pub trunk: TrunkConfig,
    /// The ejabberd nodes that the file names; if it names none, there is one at the trunk's address.
    #[serde(rename = "node")]
    pub named_nodes: Vec<NodeConfig>,
    /// How nodes are chosen.
    #[serde(deserialize_with = "nodes::checked")]
    pub nodes: NodesConfig,
    /// The other ECMs, if there are some.
    #[serde(deserialize_with = "fleet::checked")]
    pub fleet: Option<FleetConfig>,
    /// Where clients connect.
    #[serde(rename = "listener", deserialize_with = "listener::at_least_one")]
    pub listeners: Vec<ListenerConfig>,
    /// Whether the file names them, and they are not the default.
    #[serde(skip)]
    pub names_listeners: bool,
    /// WebSocket (RFC 7395).
    pub websocket: WebSocketConfig,
    /// Where a host's BOSH and WebSocket are (XEP-0156).
    pub host_meta: HostMetaConfig,
    /// What clients with TLS are shown; the first one, unless another fits the name that they want.
    #[serde(rename = "certificate")]
    pub certificates: Vec<Identity>,
    /// TLS with clients.
    pub tls: ClientTlsConfig,
    /// XML streams.
    pub xmpp: XmppConfig,
    /// BOSH (XEP-0124).
    pub bosh: BoshConfig,
    /// What one client, and all of them, may cost.
    pub limits: LimitsConfig,
    /// Where the program is watched.
    pub metrics: MetricsConfig,
    /// Where commands come.
    pub control: ControlConfig,
    /// What is logged.
    pub log: LogConfig,
}

/// `[metrics]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Where `/metrics` and `/health` are; nowhere, if there is none.
    #[serde(deserialize_with = "values::optional_socket_address")]
    pub address: Option<SocketAddr>,
}

/// `[control]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlConfig {
    /// The Unix socket; nowhere, if there is none.
    #[serde(deserialize_with = "values::optional_path")]
    pub socket: Option<PathBuf>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// A level, or a filter as in the variable `RUST_LOG`, which is stronger.
    #[serde(deserialize_with = "log_filter")]
    pub level: String,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`], which names the file, the place in it, the key and what it may be.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// How many threads serve clients: as configured, or half as many as there are cores.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        match usize::try_from(self.threads) {
            Ok(0) | Err(_) => {
                std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
            }
            Ok(threads) => threads,
        }
    }

    /// How many trunks are kept up: as configured, or one for each thread, four at most.
    #[must_use]
    pub fn trunk_count(&self) -> usize {
        match usize::try_from(self.trunk.trunks) {
            Ok(0) | Err(_) => self.thread_count().min(4),
            Ok(trunks) => trunks,
        }
    }

    /// Reads the text of the file at `path`.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let wrong = |error| ConfigError::wrong(path, text, &error);
        let mut config: Self = toml::from_str(text).map_err(wrong)?;
        let tables: toml::Table = toml::from_str(text).map_err(wrong)?;
        config.names_listeners = tables.contains_key("listener");
        let trunk = tables.get("trunk").and_then(toml::Value::as_table);
        let names_address = trunk.is_some_and(|trunk| trunk.contains_key("address"));
        config
            .check_nodes(names_address)
            .and_then(|()| config.check())
            .map_err(|Wrong { value, message }| {
                ConfigError::at(path, text, find(text, &value), &message)
            })?;
        Ok(config)
    }

    /// The nodes.
    #[must_use]
    pub fn all_nodes(&self) -> Cow<'_, [NodeConfig]> {
        if self.named_nodes.is_empty() {
            Cow::Owned(vec![NodeConfig::only(self.trunk.address.clone())])
        } else {
            Cow::Borrowed(&self.named_nodes)
        }
    }

    fn check_nodes(&self, names_address: bool) -> Result<(), Wrong> {
        if names_address && !self.named_nodes.is_empty() {
            return Err(Wrong::new(
                "[[node]]",
                "trunk.address is the short form for one [[node]]; write either",
            ));
        }
        let all = &self.named_nodes;
        for (place, node) in all.iter().enumerate() {
            let name = node.name();
            if all[..place].iter().any(|other| other.name() == name) {
                return Err(Wrong::new(
                    format!("\"{name}\""),
                    format!("there are two nodes with the name {name:?}; give each another name"),
                ));
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
            if let Some(tls) = &self.trunk.tls
                && tls.server_name.is_none()
            {
                return Err(Wrong::new("[trunk.tls]", why));
            }
        }
        Ok(())
    }

    /// Holds tables against each other.
    fn check(&self) -> Result<(), Wrong> {
        let kinds = || self.listeners.iter().map(|listener| listener.kind);
        let xmpp = kinds().find(|kind| kind.application() == Application::Xmpp);
        if let Some(kind) = xmpp
            && self.trunk.protocol == Protocol::V1
        {
            return Err(Wrong::new(
                kind.quoted(),
                "version 1 of the trunk's protocol carries only HTTP; XMPP needs \
                 trunk.protocol = \"v2\"",
            ));
        }
        let needs =
            |listener: &ListenerConfig| Some((listener.kind, listener.needs_certificate()?));
        if self.certificates.is_empty()
            && let Some((kind, why)) = self.listeners.iter().find_map(needs)
        {
            return Err(Wrong::new(kind.quoted(), why));
        }
        let needs = |listener: &ListenerConfig| Some((listener.kind, listener.needs_client_ca()?));
        if self.xmpp.client_ca.is_none()
            && let Some((kind, why)) = self.listeners.iter().find_map(needs)
        {
            return Err(Wrong::new(kind.quoted(), why));
        }
        Ok(())
    }
}

/// A value of the file that does not go with another one, and why.
struct Wrong {
    value: Cow<'static, str>,
    message: Cow<'static, str>,
}

impl Wrong {
    fn new(value: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            value: value.into(),
            message: message.into(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: 0,
            trusted_proxies: Vec::new(),
            trunk: TrunkConfig::default(),
            named_nodes: Vec::new(),
            nodes: NodesConfig::default(),
            fleet: None,
            listeners: vec![ListenerConfig::new(
                SocketAddr::from(([127, 0, 0, 1], 5280)),
                ListenerKind::Http,
            )],
            names_listeners: false,
            websocket: WebSocketConfig::default(),
            host_meta: HostMetaConfig::default(),
            certificates: Vec::new(),
            tls: ClientTlsConfig::default(),
            xmpp: XmppConfig::default(),
            bosh: BoshConfig::default(),
            limits: LimitsConfig::default(),
            metrics: MetricsConfig::default(),
            control: ControlConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
        }
    }
}

/// Where a value stands: the first line that gives it to a key.
fn find(text: &str, value: &str) -> usize {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let code = line.split('#').next().unwrap_or(line);
        if let Some(at) = code.find(value) {
            return start + at;
        }
        start += line.len();
    }
    0
}
