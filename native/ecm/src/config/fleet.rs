//! `[fleet]`: other ECMs, which may have the BOSH sessions that clients ask this one for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de::Error as _};

use super::trunk::{TlsConfig, TrunkAddress};
use super::values;

/// The longest name of an ECM, as it is part of each session's identifier.
const MAX_NAME: usize = 32;

/// `[fleet]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetConfig {
    /// This ECM's name.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// The file with the keys that all ECMs share.
    #[serde(deserialize_with = "values::path")]
    pub key: PathBuf,
    /// Where other ECMs connect.
    #[serde(deserialize_with = "values::socket_address")]
    pub address: SocketAddr,
    /// The addresses of the ECMs by name. This one may be among them.
    #[serde(deserialize_with = "peers")]
    pub peers: BTreeMap<String, TrunkAddress>,
    /// Whether other machines may connect without TLS.
    #[serde(default)]
    pub allow_plain: bool,
    /// TLS between ECMs; both present their certificates.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
}

/// `[fleet]`, with its values checked against each other.
pub(super) fn checked<'de, D: Deserializer<'de>>(d: D) -> Result<Option<FleetConfig>, D::Error> {
    let fleet = FleetConfig::deserialize(d)?;
    fleet.check().map_err(D::Error::custom)?;
    Ok(Some(fleet))
}

impl FleetConfig {
    /// The peers without this ECM itself.
    pub fn others(&self) -> impl Iterator<Item = (&String, &TrunkAddress)> {
        self.peers.iter().filter(|(name, _)| **name != self.name)
    }

    fn check(&self) -> Result<(), String> {
        if let Some(tls) = &self.tls {
            return match tls.identity {
                Some(_) => Ok(()),
                None => Err(
                    "fleet.tls needs cert and key: each ECM presents its certificate to the others"
                        .to_owned(),
                ),
            };
        }
        if self.allow_plain {
            return Ok(());
        }
        let what_to_do = "which is not a loopback address and so needs TLS; write [fleet.tls] with ca, cert and \
                          key, or allow_plain = true if nobody else can reach that network";
        if !self.address.ip().is_loopback() {
            return Err(format!("fleet.address is {}, {what_to_do}", self.address));
        }
        match self.others().find(|(_, address)| !address.is_here()) {
            Some((name, address)) => Err(format!("fleet.peers.{name} is {address}, {what_to_do}")),
            None => Ok(()),
        }
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(allowed)
}

fn name<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let text = values::text(d, "a name as text")?;
    if is_name(&text) {
        Ok(text)
    } else {
        Err(D::Error::custom(not_a_name(&text)))
    }
}

fn not_a_name(text: &str) -> String {
    format!(
        "{text:?} is not a name for an ECM, write 1 to {MAX_NAME} letters, digits and underscores, such as \"ecm1\""
    )
}

fn peers<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, TrunkAddress>, D::Error> {
    let peers = BTreeMap::<String, TrunkAddress>::deserialize(d)?;
    for (name, address) in &peers {
        if !is_name(name) {
            return Err(D::Error::custom(not_a_name(name)));
        }
        if matches!(address, TrunkAddress::Unix(_)) {
            return Err(D::Error::custom(format_args!(
                "the address of {name:?} is a Unix socket, but ECMs listen only on TCP; write HOST:PORT"
            )));
        }
    }
    Ok(peers)
}
