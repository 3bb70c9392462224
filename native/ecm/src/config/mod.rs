//! The configuration file: what each key means, its default and what it may be.

mod again;
mod bosh;
mod error;
mod host_meta;
mod listener;
mod metrics;
mod network;
mod values;
mod websocket;
mod xmpp;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use megaphone_xmpp::Limits;
use serde::Deserialize;

pub use again::Again;
pub use bosh::BoshConfig;
pub use error::ConfigError;
pub use host_meta::HostMetaConfig;
pub use listener::{
    Application, ClientCertificates, ListenerConfig, ListenerKind, Service, StartTls,
};
pub use metrics::MetricsConfig;
pub use network::{Network, TrustedProxies};
pub use values::TrunkAddress;
use values::{count, interval, log_filter, size};
pub use websocket::WebSocketConfig;
pub use xmpp::XmppConfig;

/// The file that `--print-config` shows: every key with its default and a comment.
pub const SAMPLE: &str = include_str!("../../ecm.toml");

const MS: u64 = 1;
const SECOND: u64 = 1_000 * MS;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;

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
    pub trunk: TrunkConfig,
    /// Where clients connect.
    #[serde(rename = "listener", deserialize_with = "values::at_least_one")]
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

/// `[trunk]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, try_from = "RawTrunkConfig")]
pub struct TrunkConfig {
    /// ejabberd's listener.
    pub address: TrunkAddress,
    /// The trunk's protocol.
    pub protocol: Protocol,
    /// How many trunks there are; 0 is one for each thread, four at most.
    pub trunks: u64,
    /// Its encryption.
    pub tls: Option<TlsConfig>,
    /// The largest frame in bytes, header included, in either direction.
    pub max_frame_size: u64,
    /// How long ejabberd may take to accept the trunk.
    pub connect_timeout: Duration,
    /// The longest wait before the first attempt to connect again.
    pub backoff_min: Duration,
    /// The longest wait before any attempt.
    pub backoff_max: Duration,
}

/// A trunk's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Version 1.
    V1,
    /// Version 2.
    V2,
}

/// `[trunk.tls]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, try_from = "RawTlsConfig")]
pub struct TlsConfig {
    /// The certificates of those who may sign ejabberd's, in PEM form.
    pub ca: PathBuf,
    /// Who this program is to ejabberd.
    pub identity: Option<Identity>,
    /// The name that ejabberd's certificate has to have, if not the host of the address.
    pub server_name: Option<String>,
}

/// A certificate and its key, in PEM form: `[[certificate]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The certificate, with those between it and its CA.
    #[serde(deserialize_with = "values::path")]
    pub cert: PathBuf,
    /// Its key.
    #[serde(deserialize_with = "values::path")]
    pub key: PathBuf,
}

/// `[limits]`. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// How long a TLS handshake may take.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub handshake_timeout: Duration,
    /// How long the head of a request may take, from its first byte, and the first request's from
    /// the start of the connection.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub head_timeout: Duration,
    /// How long a body, a stanza or a message may take, beside what [`min_body_rate`](Self::min_body_rate)
    /// gives it: see [`body_time`](Self::body_time).
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub body_timeout: Duration,
    /// How many bytes of it give it a second more.
    #[serde(deserialize_with = "size::<1, GIB, _>")]
    pub min_body_rate: u64,
    /// How long a client may stay connected between two requests.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, DAY, _>")]
    pub idle_timeout: Duration,
    /// How long a client may take none of an answer that waits for it.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub send_timeout: Duration,
    /// How long an XMPP client may take to log in, from the start of its session's connection.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub auth_timeout: Duration,
    /// How long answers in flight may take when the program is told to end.
    #[serde(deserialize_with = "interval::<0, HOUR, _>")]
    pub shutdown_timeout: Duration,
    /// The largest head of a request.
    #[serde(deserialize_with = "size::<256, MIB, _>")]
    pub max_head: u64,
    /// The most header fields in a head.
    #[serde(deserialize_with = "count::<1, 10_000, _>")]
    pub max_headers: u64,
    /// The largest body that comes in chunks.
    #[serde(deserialize_with = "size::<0, TIB, _>")]
    pub max_chunked_body: u64,
    /// The largest stanza of an XMPP client.
    #[serde(deserialize_with = "size::<{ 10_000 }, { GIB }, _>")]
    pub max_stanza_size: u64,
    /// How many elements inside one another an XMPP client's stanza may have.
    #[serde(deserialize_with = "count::<16, { Limits::MOST_DEPTH as u64 }, _>")]
    pub max_depth: u64,
    /// How many attributes an element of it may have, and how many namespace prefixes may be in scope.
    #[serde(deserialize_with = "count::<16, { Limits::MOST_ATTRIBUTES as u64 }, _>")]
    pub max_attributes: u64,
    /// The largest stanza of ejabberd.
    #[serde(deserialize_with = "size::<{ 10_000 }, { GIB }, _>")]
    pub max_stanza_from_ejabberd: u64,
    /// The most clients at once.
    #[serde(deserialize_with = "count::<1, 10_000_000, _>")]
    pub max_connections: u64,
    /// The most connections of one address at once; 0 for any number.
    #[serde(deserialize_with = "count::<0, 10_000_000, _>")]
    pub max_connections_per_address: u64,
    /// How many connections an address may open a second, and ten times as many at once; 0 for any number.
    #[serde(deserialize_with = "count::<0, 1_000_000, _>")]
    pub connections_per_second_per_address: u64,
    /// How many logins an address may begin a second, and ten times as many at once; 0 for any number.
    #[serde(deserialize_with = "count::<0, 1_000_000, _>")]
    pub logins_per_second_per_address: u64,
    /// How many logins ejabberd may have to answer when one more begins; 0 for any number.
    #[serde(deserialize_with = "count::<0, 1_000_000, _>")]
    pub logins_at_once: u64,
    /// How long a client may wait for its turn to log in.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub login_wait: Duration,
    /// The most output that waits for one client.
    #[serde(deserialize_with = "size::<MIB, TIB, _>")]
    pub max_client_buffer: u64,
    /// The most output that waits for all clients together.
    #[serde(deserialize_with = "size::<MIB, TIB, _>")]
    pub max_output_buffer: u64,
    /// The most input of all clients together that waits.
    #[serde(deserialize_with = "size::<MIB, TIB, _>")]
    pub max_input_buffer: u64,
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
    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
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
            xmpp: XmppConfig::default(),
            bosh: BoshConfig::default(),
            limits: LimitsConfig::default(),
            metrics: MetricsConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for TrunkConfig {
    fn default() -> Self {
        Self {
            address: TrunkAddress::Tcp("127.0.0.1:5290".to_owned()),
            protocol: Protocol::V2,
            trunks: 0,
            tls: None,
            max_frame_size: MIB,
            connect_timeout: Duration::from_secs(5),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(15),
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            min_body_rate: KIB,
            idle_timeout: Duration::from_secs(75),
            send_timeout: Duration::from_secs(60),
            auth_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(10),
            max_head: 64 * KIB,
            max_headers: 100,
            max_chunked_body: 20 * MIB,
            max_stanza_size: MIB,
            max_depth: 512,
            max_attributes: 1024,
            max_stanza_from_ejabberd: 16 * MIB,
            max_connections: 100_000,
            max_connections_per_address: 0,
            connections_per_second_per_address: 0,
            logins_per_second_per_address: 0,
            logins_at_once: 200,
            login_wait: Duration::from_secs(30),
            max_client_buffer: 64 * MIB,
            max_output_buffer: GIB,
            max_input_buffer: 512 * MIB,
        }
    }
}

impl LimitsConfig {
    /// How long something may take from its first byte on, of which so many bytes have come. A client that
    /// sends steadily has the more time the more there is; one that trickles has not.
    #[must_use]
    pub fn body_time(&self, bytes: u64) -> Duration {
        let millis = bytes.saturating_mul(1_000) / self.min_body_rate.max(1);
        self.body_timeout
            .saturating_add(Duration::from_millis(millis))
    }

    /// What a client's document may cost that has at most so many bytes, and no more than any.
    #[must_use]
    pub fn of_document(&self, bytes: usize) -> Limits {
        let number = |limit| usize::try_from(limit).unwrap_or(usize::MAX);
        Limits {
            max_document: number(self.max_stanza_size).min(bytes),
            max_depth: number(self.max_depth),
            max_attributes: number(self.max_attributes),
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

/// `[trunk]` before its values were held against each other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTrunkConfig {
    address: TrunkAddress,
    #[serde(deserialize_with = "values::protocol")]
    protocol: Protocol,
    #[serde(deserialize_with = "count::<0, 256, _>")]
    trunks: u64,
    tls: Option<TlsConfig>,
    #[serde(deserialize_with = "size::<33, 9_999_999_999, _>")]
    max_frame_size: u64,
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    connect_timeout: Duration,
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    backoff_min: Duration,
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    backoff_max: Duration,
}

impl Default for RawTrunkConfig {
    fn default() -> Self {
        let TrunkConfig {
            address,
            protocol,
            trunks,
            tls,
            max_frame_size,
            connect_timeout,
            backoff_min,
            backoff_max,
        } = TrunkConfig::default();
        Self {
            address,
            protocol,
            trunks,
            tls,
            max_frame_size,
            connect_timeout,
            backoff_min,
            backoff_max,
        }
    }
}

impl TryFrom<RawTrunkConfig> for TrunkConfig {
    type Error = &'static str;

    fn try_from(raw: RawTrunkConfig) -> Result<Self, Self::Error> {
        if raw.backoff_min > raw.backoff_max {
            return Err("backoff_min is more than backoff_max; it may be as much or less");
        }
        if let (
            TrunkAddress::Unix(_),
            Some(TlsConfig {
                server_name: None, ..
            }),
        ) = (&raw.address, &raw.tls)
        {
            return Err("TLS over a Unix socket needs tls.server_name, there is no host name");
        }
        let RawTrunkConfig {
            address,
            protocol,
            trunks,
            tls,
            max_frame_size,
            connect_timeout,
            backoff_min,
            backoff_max,
        } = raw;
        Ok(Self {
            address,
            protocol,
            trunks,
            tls,
            max_frame_size,
            connect_timeout,
            backoff_min,
            backoff_max,
        })
    }
}

/// `[trunk.tls]` before its values were held against each other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTlsConfig {
    #[serde(deserialize_with = "values::path")]
    ca: PathBuf,
    #[serde(default, deserialize_with = "values::optional_path")]
    cert: Option<PathBuf>,
    #[serde(default, deserialize_with = "values::optional_path")]
    key: Option<PathBuf>,
    server_name: Option<String>,
}

impl TryFrom<RawTlsConfig> for TlsConfig {
    type Error = &'static str;

    fn try_from(raw: RawTlsConfig) -> Result<Self, Self::Error> {
        let identity = match (raw.cert, raw.key) {
            (Some(cert), Some(key)) => Some(Identity { cert, key }),
            (None, None) => None,
            (Some(_), None) => return Err("cert needs key, the file of its private key"),
            (None, Some(_)) => return Err("key needs cert, the file of its certificate"),
        };
        Ok(Self {
            ca: raw.ca,
            identity,
            server_name: raw.server_name,
        })
    }
}

#[cfg(test)]
mod tests;
