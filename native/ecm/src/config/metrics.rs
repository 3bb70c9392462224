//! `[metrics]`

use std::net::SocketAddr;

use serde::Deserialize;

use super::values;

/// `[metrics]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Where `/metrics` and `/health` are; nowhere, if there is none.
    #[serde(deserialize_with = "values::optional_socket_address")]
    pub address: Option<SocketAddr>,
}
