//! `[bosh]`, `[websocket]`, `[xmpp]`, `[tls]` and `[host_meta]`: what is answered here and how.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::values::{
    self, DAY, GIB, HOUR, KIB, MIB, MS, SECOND, count, interval, optional_interval, size,
};

/// `[bosh]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BoshConfig {
    /// Whether BOSH ends here and goes on as sessions.
    pub enabled: bool,
    /// The paths where it does, without a slash at the end.
    #[serde(deserialize_with = "values::http_paths")]
    pub paths: Vec<String>,
    /// The origins of the pages that may connect, in lower case; none for all.
    #[serde(deserialize_with = "values::origins")]
    pub origins: Vec<String>,
    /// The longest that a request is held.
    #[serde(deserialize_with = "interval::<{ SECOND }, HOUR, _>")]
    pub max_wait: Duration,
    /// The most requests of a client that are held at once.
    #[serde(deserialize_with = "count::<1, 10, _>")]
    pub max_hold: u64,
    /// How long a client may have no request here.
    #[serde(deserialize_with = "interval::<{ SECOND }, HOUR, _>")]
    pub max_inactivity: Duration,
    /// How long it may announce to have none.
    #[serde(deserialize_with = "interval::<0, HOUR, _>")]
    pub max_pause: Duration,
    /// The shortest time between two empty requests of a client that polls.
    #[serde(deserialize_with = "interval::<0, HOUR, _>")]
    pub min_polling: Duration,
    /// The largest body of a request.
    #[serde(deserialize_with = "size::<{ KIB }, GIB, _>")]
    pub max_body: u64,
    /// The most sessions at once.
    #[serde(deserialize_with = "count::<1, 10_000_000, _>")]
    pub max_sessions: u64,
}

impl Default for BoshConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            paths: vec!["/bosh".to_owned(), "/http-bind".to_owned()],
            origins: Vec::new(),
            max_wait: Duration::from_secs(60),
            max_hold: 1,
            max_inactivity: Duration::from_secs(30),
            max_pause: Duration::from_secs(120),
            min_polling: Duration::from_secs(2),
            max_body: 2 * MIB,
            max_sessions: 1_000_000,
        }
    }
}

/// `[websocket]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebSocketConfig {
    /// Whether WebSocket ends here and goes on as sessions.
    pub enabled: bool,
    /// The paths where it does, without a slash at the end.
    #[serde(deserialize_with = "values::http_paths")]
    pub paths: Vec<String>,
    /// The origins of the pages that may connect, in lower case; none for all.
    #[serde(deserialize_with = "values::origins")]
    pub origins: Vec<String>,
    /// A client that is silent for so long gets a ping.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub ping_interval: Duration,
    /// A client that is silent for so long is gone.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub timeout: Duration,
}

impl Default for WebSocketConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            paths: vec!["/ws".to_owned(), "/websocket".to_owned()],
            origins: Vec::new(),
            ping_interval: Duration::from_secs(60),
            timeout: Duration::from_secs(300),
        }
    }
}

/// `[xmpp]`: XML streams.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct XmppConfig {
    /// A client that is logged in and sends nothing for so long, not even white space, is closed.
    #[serde(deserialize_with = "optional_interval::<{ 10 * MS }, DAY, _>")]
    pub idle_timeout: Option<Duration>,
    /// A client that is logged in and was sent nothing for so long gets white space.
    #[serde(deserialize_with = "optional_interval::<{ 10 * MS }, DAY, _>")]
    pub whitespace_interval: Option<Duration>,
    /// The certificates of those who may sign clients' certificates, in PEM form.
    #[serde(deserialize_with = "values::optional_path")]
    pub client_ca: Option<PathBuf>,
}

/// `[tls]`: TLS with clients, beside the certificates.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientTlsConfig {
    /// The keys of session tickets; without it they are this program's own.
    #[serde(deserialize_with = "values::optional_path")]
    pub ticket_keys: Option<PathBuf>,
}

/// `[host_meta]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostMetaConfig {
    /// Whether `/.well-known/host-meta` and `host-meta.json` are answered here.
    pub enabled: bool,
    /// The URL of BOSH as clients see it.
    #[serde(deserialize_with = "values::http_url")]
    pub bosh_url: Option<String>,
    /// The URL of WebSocket as clients see it.
    #[serde(deserialize_with = "values::websocket_url")]
    pub websocket_url: Option<String>,
}

impl Default for HostMetaConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            bosh_url: None,
            websocket_url: None,
        }
    }
}
