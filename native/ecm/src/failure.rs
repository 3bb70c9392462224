//! Why the program can't start, or can't go on with another configuration.

use crate::certificates::CertificateError;
use crate::config::ConfigError;
use crate::control::ControlError;
use crate::fleet::FleetError;
use crate::front::accept::BindError;
use crate::front::inherited::InheritError;
use crate::node::KeeperError;
use crate::trunk::TlsError;

/// Why the program can't run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration file can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener's address can't be used.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A socket that it was started with can't be used.
    #[error(transparent)]
    Inherit(#[from] InheritError),
    /// The nodes can't be set up.
    #[error(transparent)]
    Nodes(#[from] KeeperError),
    /// The socket for commands can't be used.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Signals can't be received.
    #[error("can't receive signals: {0}")]
    Signals(std::io::Error),
    /// The trunks' certificates can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The clients' certificates can't be used.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// The fleet's files can't be used.
    #[error(transparent)]
    Fleet(#[from] FleetError),
}
