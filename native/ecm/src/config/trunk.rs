//! `[trunk]`: the way to ejabberd.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::values::{self, HOUR, MIB, MS, count, interval, size, text};

/// `[trunk]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrunkConfig {
    /// ejabberd's listener.
    pub address: TrunkAddress,
    /// The trunk's protocol.
    #[serde(deserialize_with = "protocol")]
    pub protocol: Protocol,
    /// How many trunks there are; 0 is one for each thread, four at most.
    #[serde(deserialize_with = "count::<0, 256, _>")]
    pub trunks: u64,
    /// Its encryption.
    pub tls: Option<TlsConfig>,
    /// The largest frame in bytes, header included, in either direction.
    #[serde(deserialize_with = "size::<33, 9_999_999_999, _>")]
    pub max_frame_size: u64,
    /// How long ejabberd may take to accept the trunk.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub connect_timeout: Duration,
    /// The longest wait before the first attempt to connect again.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub backoff_min: Duration,
    /// The longest wait before any attempt.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
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

/// Where ejabberd listens for trunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrunkAddress {
    /// `HOST:PORT`
    Tcp(String),
    /// `unix:/PATH`
    Unix(PathBuf),
}

impl TrunkAddress {
    /// The host's name or address; nothing of a Unix socket.
    #[must_use]
    pub fn host(&self) -> &str {
        match self {
            Self::Tcp(address) => address
                .rsplit_once(':')
                .map_or(address.as_str(), |(host, _)| host)
                .trim_matches(['[', ']']),
            Self::Unix(_) => "",
        }
    }

    /// Whether it is this machine for sure.
    #[must_use]
    pub fn is_here(&self) -> bool {
        let host = self.host();
        let is_loopback = || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        matches!(self, Self::Unix(_)) || host == "localhost" || is_loopback()
    }
}

impl fmt::Display for TrunkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for TrunkAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text(deserializer, "an address as text, HOST:PORT or unix:/PATH")?;
        if let Some(path) = text.strip_prefix("unix:") {
            if path.starts_with('/') {
                return Ok(Self::Unix(path.into()));
            }
        } else if let Some((host, port)) = text.rsplit_once(':')
            && !host.is_empty()
            && port.parse::<u16>().is_ok_and(|port| port > 0)
        {
            return Ok(Self::Tcp(text));
        }
        Err(D::Error::custom(format_args!(
            "{text:?} is not an address, write HOST:PORT, such as \"127.0.0.1:5290\", or unix:/PATH"
        )))
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

/// `[trunk]`, once its values are held against each other.
pub(super) fn checked<'de, D: Deserializer<'de>>(d: D) -> Result<TrunkConfig, D::Error> {
    let trunk = TrunkConfig::deserialize(d)?;
    trunk.check().map_err(D::Error::custom)?;
    Ok(trunk)
}

impl TrunkConfig {
    fn check(&self) -> Result<(), &'static str> {
        if self.backoff_min > self.backoff_max {
            return Err("backoff_min is more than backoff_max; it must not be");
        }
        let has_name = |tls: &TlsConfig| tls.server_name.is_some();
        if matches!(self.address, TrunkAddress::Unix(_)) && !self.tls.as_ref().is_none_or(has_name)
        {
            return Err(
                "TLS over a Unix socket needs tls.server_name, as the address has no host name",
            );
        }
        Ok(())
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

fn protocol<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Protocol, D::Error> {
    match text(deserializer, "a protocol as text")?.as_str() {
        "v1" => Ok(Protocol::V1),
        "v2" => Ok(Protocol::V2),
        other => Err(D::Error::custom(format_args!(
            "{other:?} is not a protocol, write \"v2\" or \"v1\""
        ))),
    }
}
