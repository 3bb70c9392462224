//! The whole file.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::entrances::{BoshConfig, ClientTlsConfig, HostMetaConfig, WebSocketConfig, XmppConfig};
use super::fleet::{self, FleetConfig};
use super::limits::LimitsConfig;
use super::listener::{self, ListenerConfig, ListenerKind};
use super::network::Network;
use super::nodes::{self, NodeConfig, NodesConfig};
use super::trunk::{self, Identity, TrunkConfig};
use super::values::{self, count, log_filter};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How many threads serve clients; 0 is half as many as there are cores.
    #[serde(deserialize_with = "count::<0, 1024, _>")]
    pub threads: u64,
    /// The proxies in front of this program whose `X-Forwarded-For` is believed.
    #[serde(deserialize_with = "values::list")]
    pub trusted_proxies: Vec<Network>,
    /// The way to ejabberd.
    #[serde(deserialize_with = "trunk::checked")]
    pub trunk: TrunkConfig,
    /// The ejabberd nodes that the file names; if it names none, there is one at the trunk's address.
    #[serde(rename = "node", deserialize_with = "values::list")]
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
    #[serde(rename = "certificate", deserialize_with = "values::list")]
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
    /// What a line looks like.
    pub format: LogFormat,
}

/// What a line of the log looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object.
    Json,
}

impl Config {
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

    /// The nodes.
    #[must_use]
    pub fn all_nodes(&self) -> Cow<'_, [NodeConfig]> {
        if self.named_nodes.is_empty() {
            Cow::Owned(vec![NodeConfig::only(self.trunk.address.clone())])
        } else {
            Cow::Borrowed(&self.named_nodes)
        }
    }

    /// The certificates that identify this program, each with the table that names it, such as `certificate.0`.
    #[must_use]
    pub fn identities(&self) -> Vec<(String, &Identity)> {
        let of_clients = self.certificates.iter().enumerate();
        let of_clients = of_clients.map(|(place, it)| (format!("certificate.{place}"), it));
        let of_fleet = self.fleet.as_ref().and_then(|fleet| fleet.tls.as_ref());
        let of_tls = [
            ("trunk.tls", self.trunk.tls.as_ref()),
            ("fleet.tls", of_fleet),
        ];
        let of_tls = of_tls.into_iter().filter_map(|(table, tls)| {
            let identity = tls?.identity.as_ref()?;
            Some((table.to_owned(), identity))
        });
        of_clients.chain(of_tls).collect()
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
            format: LogFormat::Text,
        }
    }
}
