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
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("ecm.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_sample_says_the_defaults() {
        assert_eq!(parse(SAMPLE), Ok(Config::default()));
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(parse(""), Ok(Config::default()));
    }

    #[test]
    fn the_sample_has_every_key_with_a_comment_above_it() {
        let lines: Vec<_> = SAMPLE.lines().collect();
        let mut keys = 0;
        for (n, line) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.contains(" = "))
        {
            if !line.starts_with('#') {
                keys += 1;
                assert!(
                    n > 0 && lines[n - 1].starts_with("# "),
                    "no comment above: {line}"
                );
            }
        }
        // trusted_proxies, 6 of the trunk, 2 of a listener, 11 limits, the log level.
        assert_eq!(keys, 21);
    }

    #[test]
    fn what_can_be_written() {
        let config = parse(
            "trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n\
             [trunk]\naddress = \"unix:/run/ejabberd/trunk.sock\"\n\
             [[listener]]\naddress = \"[::]:80\"\n\
             [[listener]]\naddress = \"127.0.0.1:81\"\nkind = \"http\"\n\
             [limits]\nmax_head = \"16 KiB\"\nidle_timeout = \"500ms\"\nmax_connections = 7\n\
             [log]\nlevel = \"warn,megaphone_ecm::trunk=debug\"\n",
        )
        .unwrap();
        assert_eq!(config.trusted_proxies.len(), 2);
        assert_eq!(
            config.trunk.address,
            TrunkAddress::Unix("/run/ejabberd/trunk.sock".into())
        );
        assert_eq!(config.listeners.len(), 2);
        assert_eq!(config.limits.max_head, 16 * KIB);
        assert_eq!(config.limits.idle_timeout, Duration::from_millis(500));
        assert_eq!(config.limits.max_connections, 7);
    }

    /// Each row: a file, and the error's text in full.
    #[test]
    fn each_error_names_its_place_its_key_and_what_is_allowed() {
        for (text, expected) in [
            (
                "[limits]\nmax_heads = \"1 KiB\"\n",
                "ecm.toml:2:1: limits.max_heads: unknown field `max_heads`, expected one of \
                 `head_timeout`, `body_timeout`, `idle_timeout`, `send_timeout`, \
                 `shutdown_timeout`, `max_head`, `max_headers`, `max_chunked_body`, \
                 `max_connections`, `max_client_buffer`, `max_output_buffer`",
            ),
            (
                "trunks = 4\n",
                "ecm.toml:1:1: trunks: unknown field `trunks`, expected one of \
                 `trusted_proxies`, `trunk`, `listener`, `limits`, `log`",
            ),
            (
                "\n[limits]\n  max_head = 4096\n",
                "ecm.toml:3:14: limits.max_head: invalid type: integer `4096`, expected a size \
                 as text, such as \"64 KiB\" (units: B, KiB, MiB, GiB)",
            ),
            (
                "[limits]\nmax_head = \"4 kB\"\n",
                "ecm.toml:2:12: limits.max_head: \"4 kB\" is not a size, write one such as \
                 \"64 KiB\" (units: B, KiB, MiB, GiB)",
            ),
            (
                "[limits]\nmax_head = \"10 B\"\n",
                "ecm.toml:2:12: limits.max_head: \"10 B\" is out of bounds, allowed are 256 B to \
                 1 MiB",
            ),
            (
                "[limits]\nhead_timeout = \"ten seconds\"\n",
                "ecm.toml:2:16: limits.head_timeout: \"ten seconds\" is not a length of time, \
                 write one such as \"30s\" (units: ms, s, m, h)",
            ),
            (
                "[limits]\nhead_timeout = \"2h\"\n",
                "ecm.toml:2:16: limits.head_timeout: \"2h\" is out of bounds, allowed are 10ms to \
                 1h",
            ),
            (
                "[limits]\nmax_connections = 0\n",
                "ecm.toml:2:19: limits.max_connections: 0 is out of bounds, allowed are 1 to \
                 10000000",
            ),
            (
                "[trunk]\nprotocol = \"v2\"\n",
                "ecm.toml:2:12: trunk.protocol: \"v2\" is not supported yet, the only protocol \
                 is \"v1\"",
            ),
            (
                "[trunk]\naddress = \"localhost\"\n",
                "ecm.toml:2:11: trunk.address: \"localhost\" is not an address, write HOST:PORT, \
                 such as \"127.0.0.1:5290\", or unix:/PATH",
            ),
            (
                "[trunk]\nbackoff_min = \"20s\"\n",
                "ecm.toml:1:1: trunk: backoff_min is more than backoff_max; it may be as much or \
                 less",
            ),
            (
                "[[listener]]\nkind = \"http\"\n",
                "ecm.toml:1:1: listener: missing field `address`",
            ),
            (
                "[[listener]]\naddress = \"localhost:80\"\n",
                "ecm.toml:2:11: listener.address: \"localhost:80\" is not an address to listen \
                 on, write IP:PORT, such as \"0.0.0.0:5280\" or \"[::]:5280\"",
            ),
            (
                "[[listener]]\naddress = \"127.0.0.1:80\"\nkind = \"gopher\"\n",
                "ecm.toml:3:8: listener.kind: unknown variant `gopher`, expected `http`",
            ),
            (
                "trusted_proxies = [\n  \"10.0.0.0/8\",\n  \"10.0.0.0/33\"\n]\n",
                "ecm.toml:1:19: trusted_proxies: \"10.0.0.0/33\" is not a network, write an IP or \
                 IP/BITS, such as \"10.0.0.0/8\" or \"::1\"",
            ),
            (
                "listener = []\n",
                "ecm.toml:1:12: listener: nothing to listen on, write at least one [[listener]]",
            ),
            (
                "[log]\nlevel = \"loud\"\n",
                "ecm.toml:2:9: log.level: \"loud\" is not a level, write error, warn, info, \
                 debug, trace, or a filter such as \"info,megaphone_ecm::trunk=debug\"",
            ),
        ] {
            assert_eq!(parse(text), Err(expected.to_owned()), "for:\n{text}");
        }
    }

    #[test]
    fn a_file_that_is_no_toml_is_named_with_its_place() {
        let error = parse("[limits]\nmax_head = \n").unwrap_err();
        assert!(error.starts_with("ecm.toml:2:"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Config::read(Path::new("/nonexistent/ecm.toml")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("can't read /nonexistent/ecm.toml: "),
            "{error}"
        );
    }
}
