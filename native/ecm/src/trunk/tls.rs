//! TLS on a trunk: who ejabberd is to be, and who this program is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::config::{TlsConfig, TrunkAddress, TrunkConfig};

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
    /// A file can't be read, or is no PEM.
    #[error("trunk.tls.{key}: can't read {}: {source}", path.display())]
    Unreadable {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// A file has no certificate.
    #[error("trunk.tls.{key}: no certificate in {}", path.display())]
    NoCertificate {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
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
        "trunk.tls.server_name: {0:?} is no host name and no IP address; write the name that \
         ejabberd's certificate has"
    )]
    Name(String),
    /// The versions are not there.
    #[error("TLS can't be used: {0}")]
    Versions(#[source] rustls::Error),
}

/// Reads the files of a `[trunk.tls]`.
///
/// # Errors
/// [`TlsError`], which names the key and the file.
pub fn load(trunk: &TrunkConfig) -> Result<Option<TlsClient>, TlsError> {
    let Some(tls) = &trunk.tls else {
        return Ok(None);
    };
    let name = server_name(tls, &trunk.address)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Versions)?
        .with_root_certificates(roots(&tls.ca)?);
    let config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = certificates("cert", &identity.cert)?;
            let key = PrivateKeyDer::from_pem_file(&identity.key)
                .map_err(|source| unreadable("key", &identity.key, source))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(TlsError::Pair)?
        }
    };
    Ok(Some(TlsClient {
        config: Arc::new(config),
        name,
    }))
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca", path)? {
        roots.add(certificate).map_err(|source| TlsError::Ca {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(roots)
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| unreadable(key, path, source))?;
    if certificates.is_empty() {
        let path = path.to_owned();
        return Err(TlsError::NoCertificate { key, path });
    }
    Ok(certificates)
}

fn unreadable(key: &'static str, path: &Path, source: pem::Error) -> TlsError {
    TlsError::Unreadable {
        key,
        path: path.to_owned(),
        source,
    }
}

/// The name in the configuration, or the host of the trunk's address.
fn server_name(tls: &TlsConfig, address: &TrunkAddress) -> Result<ServerName<'static>, TlsError> {
    let name = match (&tls.server_name, address) {
        (Some(name), _) => name.clone(),
        (None, TrunkAddress::Tcp(address)) => address
            .rsplit_once(':')
            .map_or(address.as_str(), |(host, _)| host)
            .trim_matches(['[', ']'])
            .to_owned(),
        (None, TrunkAddress::Unix(_)) => String::new(),
    };
    ServerName::try_from(name.clone()).map_err(|_| TlsError::Name(name))
}
