//! `[websocket]`

use std::time::Duration;

use serde::Deserialize;

use super::values::{self, interval};
use super::{HOUR, MS};

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
