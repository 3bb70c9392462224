//! `[[node]]` and `[nodes]`: the ejabberd nodes, and how they are chosen.

use std::borrow::Cow;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::trunk::TrunkAddress;
use super::values::{HOUR, MS, count, interval, text};

/// `[[node]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Its listener.
    pub address: TrunkAddress,
    /// How it is called; by its address, if there is none.
    #[serde(default, deserialize_with = "name")]
    pub name: Option<String>,
    /// How much of all it gets, beside the others' weights.
    #[serde(default = "one", deserialize_with = "count::<1, 256, _>")]
    pub weight: u64,
    /// The most sessions at once; 0 for any number.
    #[serde(default, deserialize_with = "count::<0, 100_000_000, _>")]
    pub max_sessions: u64,
}

impl NodeConfig {
    /// The only one, at this address.
    #[must_use]
    pub const fn only(address: TrunkAddress) -> Self {
        Self {
            address,
            name: None,
            weight: 1,
            max_sessions: 0,
        }
    }

    /// How it is called.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        match &self.name {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(self.address.to_string()),
        }
    }
}

/// `[nodes]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodesConfig {
    /// How long a node that came back has less than its share.
    #[serde(deserialize_with = "interval::<0, HOUR, _>")]
    pub slow_start: Duration,
    /// If fewer are well, in percent, all that are up are used.
    #[serde(deserialize_with = "count::<0, 100, _>")]
    pub panic_threshold: u64,
    /// A trunk that was silent for so long is asked.
    #[serde(deserialize_with = "interval::<{ 1000 * MS }, HOUR, _>")]
    pub ping_interval: Duration,
    /// How long its answer may take.
    #[serde(deserialize_with = "interval::<{ 1000 * MS }, HOUR, _>")]
    pub ping_timeout: Duration,
    /// How long a login may wait for ejabberd's answer.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub login_timeout: Duration,
    /// How many logins in a row may go unanswered; 0 for any number.
    #[serde(deserialize_with = "count::<0, 1_000_000, _>")]
    pub eject_after: u64,
    /// The longest time of a first ejection.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub eject_min: Duration,
    /// The longest time of any.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub eject_max: Duration,
}

impl Default for NodesConfig {
    fn default() -> Self {
        Self {
            slow_start: Duration::from_secs(60),
            panic_threshold: 50,
            ping_interval: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(5),
            login_timeout: Duration::from_secs(5),
            eject_after: 10,
            eject_min: Duration::from_secs(10),
            eject_max: Duration::from_secs(300),
        }
    }
}

/// `[nodes]`, once its values are held against each other.
pub(super) fn checked<'de, D: Deserializer<'de>>(d: D) -> Result<NodesConfig, D::Error> {
    let nodes = NodesConfig::deserialize(d)?;
    if nodes.eject_min > nodes.eject_max {
        return Err(D::Error::custom(
            "eject_min is more than eject_max; it may be as much or less",
        ));
    }
    Ok(nodes)
}

const fn one() -> u64 {
    1
}

fn name<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let name = text(d, "a name as text")?;
    let allowed = |c: u8| c.is_ascii_graphic() && !b"\"\\".contains(&c);
    if name.len() <= 64 && name.bytes().all(allowed) {
        Ok(Some(name))
    } else {
        Err(D::Error::custom(format_args!(
            "{name:?} is not the name of a node, write up to 64 letters, digits and signs without spaces, such \
         as \"a\" or \"ejabberd@a.example.org\""
        )))
    }
}
