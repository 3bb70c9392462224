//! The whole file, its tables held against each other.

use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;

use super::entrances::{BoshConfig, ClientTlsConfig, HostMetaConfig, WebSocketConfig, XmppConfig};
use super::error::ConfigError;
use super::limits::LimitsConfig;
use super::listener::{self, Application, ListenerConfig, ListenerKind};
use super::network::Network;
use super::trunk::{self, Identity, Protocol, TrunkConfig};
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
        config
            .check()
            .map_err(|(value, message)| ConfigError::at(path, text, find(text, value), message))?;
        Ok(config)
    }

    /// Holds tables against each other: a value, and what is wrong with it.
    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let kinds = || self.listeners.iter().map(|listener| listener.kind);
        let xmpp = kinds().find(|kind| kind.application() == Application::Xmpp);
        if let Some(kind) = xmpp
            && self.trunk.protocol == Protocol::V1
        {
            return Err((
                kind.quoted(),
                "version 1 of the trunk's protocol carries HTTP alone; XMPP needs \
                 trunk.protocol = \"v2\"",
            ));
        }
        let needs =
            |listener: &ListenerConfig| Some((listener.kind, listener.needs_certificate()?));
        if self.certificates.is_empty()
            && let Some((kind, why)) = self.listeners.iter().find_map(needs)
        {
            return Err((kind.quoted(), why));
        }
        let needs = |listener: &ListenerConfig| Some((listener.kind, listener.needs_client_ca()?));
        if self.xmpp.client_ca.is_none()
            && let Some((kind, why)) = self.listeners.iter().find_map(needs)
        {
            return Err((kind.quoted(), why));
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: 0,
            trusted_proxies: Vec::new(),
            trunk: TrunkConfig::default(),
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
