//! `[host_meta]`

use serde::Deserialize;

use super::values;

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
