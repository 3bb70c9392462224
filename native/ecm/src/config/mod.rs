//! The configuration file: what each key means, its default and what it may be.

mod error;
mod network;
mod values;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

pub use error::ConfigError;
pub use network::Network;
pub use values::TrunkAddress;
use values::{count, interval, log_filter, size};

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
    /// The proxies in front of this program whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// The way to ejabberd.
    pub trunk: TrunkConfig,
    /// Where clients connect.
    #[serde(rename = "listener", deserialize_with = "values::at_least_one")]
    pub listeners: Vec<ListenerConfig>,
    /// What one client, and all of them, may cost.
    pub limits: LimitsConfig,
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
}

/// One `[[listener]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// The address and port that clients connect to.
    #[serde(deserialize_with = "values::socket_address")]
    pub address: SocketAddr,
    /// What clients speak there.
    #[serde(default)]
    pub kind: ListenerKind,
}

/// What clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerKind {
    /// HTTP/1.1 and WebSocket, without TLS.
    #[default]
    Http,
}

/// `[limits]`. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// How long the head of a request may take, from its first byte, and the first request's from
    /// the start of the connection.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub head_timeout: Duration,
    /// How long each 64 KiB of a body may take, or what is left of it.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub body_timeout: Duration,
    /// How long a client may stay connected between two requests.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, DAY, _>")]
    pub idle_timeout: Duration,
    /// How long a client may take none of an answer that waits for it.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub send_timeout: Duration,
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
    /// The most clients at once.
    #[serde(deserialize_with = "count::<1, 10_000_000, _>")]
    pub max_connections: u64,
    /// The most output that waits for one client.
    #[serde(deserialize_with = "size::<MIB, TIB, _>")]
    pub max_client_buffer: u64,
    /// The most output that waits for all clients together.
    #[serde(deserialize_with = "size::<MIB, TIB, _>")]
    pub max_output_buffer: u64,
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

    /// Reads the text of the file at `path`.
    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::wrong(path, text, &error))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            trunk: TrunkConfig::default(),
            listeners: vec![ListenerConfig {
                address: SocketAddr::from(([127, 0, 0, 1], 5280)),
                kind: ListenerKind::Http,
            }],
            limits: LimitsConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for TrunkConfig {
    fn default() -> Self {
        Self {
            address: TrunkAddress::Tcp("127.0.0.1:5290".to_owned()),
            protocol: Protocol::V1,
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
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(75),
            send_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(10),
            max_head: 64 * KIB,
            max_headers: 100,
            max_chunked_body: 20 * MIB,
            max_connections: 100_000,
            max_client_buffer: 64 * MIB,
            max_output_buffer: GIB,
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

/// `[trunk]` before its values were held against each other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTrunkConfig {
    address: TrunkAddress,
    #[serde(deserialize_with = "values::protocol")]
    protocol: Protocol,
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
            max_frame_size,
            connect_timeout,
            backoff_min,
            backoff_max,
        } = TrunkConfig::default();
        Self {
            address,
            protocol,
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
        let RawTrunkConfig {
            address,
            protocol,
            max_frame_size,
            connect_timeout,
            backoff_min,
            backoff_max,
        } = raw;
        Ok(Self {
            address,
            protocol,
            max_frame_size,
            connect_timeout,
            backoff_min,
            backoff_max,
        })
    }
}

#[cfg(test)]
mod tests;
