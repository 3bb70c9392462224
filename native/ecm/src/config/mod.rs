//! The configuration file: what each key means, its default and what it may be.

mod advice;
mod again;
mod conflicts;
mod document;
mod entrances;
mod error;
mod file;
mod fleet;
mod limits;
mod listener;
mod network;
mod nodes;
mod reading;
mod trunk;
mod values;

pub use again::Again;
pub use entrances::{BoshConfig, HostMetaConfig, WebSocketConfig, XmppConfig};
pub use error::ConfigError;
pub use file::{Config, LogConfig, LogFormat};
pub use fleet::FleetConfig;
pub use limits::LimitsConfig;
pub use listener::{
    Application, ClientCertificates, ListenerConfig, ListenerKind, Service, StartTls,
};
pub use network::TrustedProxies;
pub use nodes::{NameServer, NodeAddress, NodeConfig, NodesConfig};
pub use reading::Reading;
pub use trunk::{Identity, Protocol, TlsConfig, TrunkAddress, TrunkConfig};

/// Where a package installs the file.
pub const INSTALLED: &str = "/etc/megaphone/ecm.toml";

/// The file that `--print-defaults` shows: every key with its default and a comment.
pub const SAMPLE: &str = include_str!("../../ecm.toml");

#[cfg(test)]
mod tests;
