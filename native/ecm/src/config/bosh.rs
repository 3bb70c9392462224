//! `[bosh]`

use std::time::Duration;

use serde::Deserialize;

use super::values::{self, count, interval, size};
use super::{GIB, HOUR, KIB, MIB, SECOND};

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
