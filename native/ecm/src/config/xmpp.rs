//! `[xmpp]`

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::values::{self, optional_interval};
use super::{DAY, MS};

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
