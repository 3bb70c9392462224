//! TLS between ECMs: both present their certificates, whichever of the two connects.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig, crypto};

use crate::config::{FleetConfig, Identity, TlsConfig, TrunkAddress};
use crate::pem::{self, PemError};
use crate::trunk::TlsClient;

/// Why there can be no TLS between ECMs.
#[derive(Debug, thiserror::Error)]
pub enum FleetTlsError {
    /// A file can't be used.
    #[error("fleet.tls.{key}: {source}")]
    File {
        /// The key that names it.
        key: &'static str,
        /// Which file, and why not.
        source: PemError,
    },
    /// What is in the files can't be used.
    #[error("fleet.tls: {0}")]
    Unusable(String),
    /// There is no name to verify a peer's certificate against.
    #[error(
        "fleet.peers.{0}: a certificate can't be verified for its host, which is neither a name nor an IP address; \
         write one, or set fleet.tls.server_name"
    )]
    Name(String),
}

/// The TLS configurations between ECMs.
#[derive(Debug, Clone)]
pub struct FleetTls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    /// The name that every peer's certificate has, if it is not its host.
    server_name: Option<String>,
}

impl FleetTls {
    /// Reads the files of a `[fleet.tls]`, if there is one.
    ///
    /// # Errors
    /// [`FleetTlsError`], which names the key and the file.
    pub fn load(config: &FleetConfig) -> Result<Option<Self>, FleetTlsError> {
        let Some(TlsConfig {
            ca,
            identity: Some(Identity { cert, key }),
            server_name,
        }) = &config.tls
        else {
            return Ok(None);
        };
        let roots = Arc::new(roots(ca)?);
        let chain = pem::certificates(cert).map_err(in_file("cert"))?;
        let key = || pem::private_key(key).map_err(in_file("key"));
        let provider = Arc::new(crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(unusable)?
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(chain.clone(), key()?)
            .map_err(unusable)?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(unusable)?
            .with_client_cert_verifier(verifier.map_err(unusable)?)
            .with_single_cert(chain, key()?)
            .map_err(unusable)?;
        // Connections last as long as both programs run, so there is nothing to resume.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Some(Self {
            client: Arc::new(client),
            server: Arc::new(server),
            server_name: server_name.clone(),
        }))
    }

    /// For connections from peers.
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// For connections to the peer of this name.
    ///
    /// # Errors
    /// [`FleetTlsError::Name`].
    pub fn client(&self, name: &str, address: &TrunkAddress) -> Result<TlsClient, FleetTlsError> {
        let host = match (&self.server_name, address) {
            (Some(name), _) => name.clone(),
            (None, TrunkAddress::Tcp(address)) => {
                let host = address.rsplit_once(':').map_or(&**address, |it| it.0);
                host.trim_matches(['[', ']']).to_owned()
            }
            (None, TrunkAddress::Unix(_)) => String::new(),
        };
        Ok(TlsClient {
            config: Arc::clone(&self.client),
            name: ServerName::try_from(host)
                .map_err(|_no_name| FleetTlsError::Name(name.to_owned()))?,
        })
    }
}

fn roots(path: &Path) -> Result<RootCertStore, FleetTlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(path).map_err(in_file("ca"))? {
        roots.add(certificate).map_err(|error: rustls::Error| {
            FleetTlsError::Unusable(format!(
                "a certificate in {} can't be used: {error}",
                path.display()
            ))
        })?;
    }
    Ok(roots)
}

fn in_file(key: &'static str) -> impl Fn(PemError) -> FleetTlsError {
    move |source| FleetTlsError::File { key, source }
}

fn unusable(error: impl std::fmt::Display) -> FleetTlsError {
    FleetTlsError::Unusable(error.to_string())
}
