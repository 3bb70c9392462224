//! TLS on a trunk: how ejabberd is verified, and how this program identifies itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::config::TlsConfig;
use crate::pem::{self, PemError};

/// What a TLS trunk is dialled with.
#[derive(Debug, Clone)]
pub struct TlsClient {
    /// Versions, certificates and keys.
    pub config: Arc<ClientConfig>,
    /// The name that ejabberd's certificate has to have.
    pub name: ServerName<'static>,
}

/// Why a trunk can't be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be used.
    #[error("trunk.tls.{key}: {source}")]
    File {
        /// The key that names it.
        key: &'static str,
        /// Which file, and why not.
        source: PemError,
    },
    /// A CA's certificate can't be used.
    #[error("trunk.tls.ca: a certificate in {} can't be used: {source}", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// The certificate and the key don't fit.
    #[error("trunk.tls.cert and trunk.tls.key can't be used together: {0}")]
    Pair(#[source] rustls::Error),
    /// No name to hold ejabberd's certificate against.
    #[error(
        "trunk.tls.server_name: {0:?} is neither a host name nor an IP address; write the name that \
         ejabberd's certificate has"
    )]
    Name(String),
    /// The versions are not there.
    #[error("TLS can't be used: {0}")]
    Versions(#[source] rustls::Error),
}

/// What the trunks to all nodes are dialled with.
#[derive(Debug, Clone)]
pub struct TlsClients {
    config: Arc<ClientConfig>,
    /// The name that all certificates have to have, if it is not the host of each address.
    name: Option<ServerName<'static>>,
}

impl TlsClients {
    /// What the trunks to an ejabberd with this host name are dialled with.
    ///
    /// # Errors
    /// [`TlsError::Name`] if there is no name to hold its certificate against.
    pub fn of_host(&self, host: &str) -> Result<TlsClient, TlsError> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => server_name(host)?,
        };
        Ok(TlsClient {
            config: Arc::clone(&self.config),
            name,
        })
    }
}

/// Reads the files of a `[trunk.tls]`.
///
/// # Errors
/// [`TlsError`], which names the key and the file.
pub fn load(tls: Option<&TlsConfig>) -> Result<Option<TlsClients>, TlsError> {
    let Some(tls) = tls else {
        return Ok(None);
    };
    let name = tls.server_name.as_deref().map(server_name).transpose()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Versions)?
        .with_root_certificates(roots(&tls.ca)?);
    let config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = pem::certificates(&identity.cert).map_err(in_file("cert"))?;
            let key = pem::private_key(&identity.key).map_err(in_file("key"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(TlsError::Pair)?
        }
    };
    Ok(Some(TlsClients {
        config: Arc::new(config),
        name,
    }))
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(path).map_err(in_file("ca"))? {
        roots.add(certificate).map_err(|source| TlsError::Ca {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(roots)
}

fn in_file(key: &'static str) -> impl Fn(PemError) -> TlsError {
    move |source| TlsError::File { key, source }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))
}
