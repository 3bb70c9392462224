//! TLS with clients: the certificates that they are shown, and what else they agree on.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ProducesTickets, ResolvesServerCert,
    WebPkiClientVerifier,
};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::channel_binding::{self, Secrets};
use crate::client_certificates::{Authorities, AuthoritiesError};
use crate::config::{ClientCertificates, Config, Identity};
use crate::pem::{self, PemError};
use crate::tickets::{TicketKeys, TicketKeysError};

/// What a client's TLS is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// HTTP/1.1 and WebSocket, ALPN `http/1.1`.
    Http,
    /// An XML stream from the first byte on, ALPN `xmpp-client` (XEP-0368).
    Xmpp,
    /// An XML stream that went on after STARTTLS (RFC 6120, section 5), where nothing is left to agree
    /// on.
    StartTls,
}

/// Versions, certificates and keys for each [`Purpose`].
#[derive(Debug)]
pub struct TlsServer {
    http: Arc<ServerConfig>,
    xmpp: Arc<ServerConfig>,
    start_tls: Arc<ServerConfig>,
    asking: Option<Asking>,
    shows: Arc<ByName>,
    tickets: Tickets,
}

/// The keys of session tickets.
#[derive(Debug, Clone)]
enum Tickets {
    /// This process's own.
    Own(Arc<dyn ProducesTickets>),
    /// Those of a file.
    Shared(Arc<TicketKeys>),
}

/// The same where clients are asked for a certificate.
#[derive(Debug)]
struct Asking {
    xmpp: Arc<ServerConfig>,
    start_tls: Arc<ServerConfig>,
    authorities: Authorities,
}

/// Why clients can't have TLS.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file can't be used.
    #[error("certificate.{key}: {source}")]
    File {
        /// The key that names it.
        key: &'static str,
        /// Which file, and why not.
        source: PemError,
    },
    /// A certificate and its key don't fit.
    #[error(
        "certificate: {} and {} can't be used together: {source}",
        identity.cert.display(),
        identity.key.display()
    )]
    Pair {
        /// The two files.
        identity: Identity,
        /// Why not.
        source: rustls::Error,
    },
    /// Whoever signs clients' certificates can't be known.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// The keys of session tickets can't be known.
    #[error(transparent)]
    TicketKeys(#[from] TicketKeysError),
    /// The versions are not there, or no random numbers.
    #[error("TLS can't be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// Reads the files of the `[[certificate]]`s; `None` if there are none.
///
/// Tickets from before are good for as long as the certificates are the same: a client that comes back with one
/// is shown none, and takes the one that it was shown then for that of the connection.
///
/// # Errors
/// [`CertificateError`], which names the file.
pub fn load(
    config: &Config,
    before: Option<&TlsServer>,
) -> Result<Option<TlsServer>, CertificateError> {
    let provider = Arc::new(ring::default_provider());
    let authorities = match &config.xmpp.client_ca {
        Some(path) => Some(Authorities::load(path, &provider)?),
        None => None,
    };
    let identities = config.certificates.iter();
    let keys = identities
        .map(|identity| certified_key(identity, &provider))
        .collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Ok(None);
    }
    let shows = Arc::new(ByName(keys));
    let before = before.filter(|before| before.shows.is_same(&shows));
    let before = before.map(|before| &before.tickets);
    let tickets = Tickets::new(config.tls.ticket_keys.as_deref(), &shows, before)?;
    let configured = |verifier| -> Result<ServerConfig, CertificateError> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::<ByName>::clone(&shows));
        config.ticketer = tickets.producer();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    };
    let for_streams = |verifier| -> Result<_, CertificateError> {
        let mut config = configured(verifier)?;
        config.key_log = Arc::new(Secrets);
        let start_tls = Arc::new(config.clone());
        config.alpn_protocols = vec![b"xmpp-client".to_vec()];
        Ok((Arc::new(config), start_tls))
    };
    let nobody = WebPkiClientVerifier::no_client_auth;
    let mut http = configured(nobody())?;
    http.alpn_protocols = vec![b"http/1.1".to_vec()];
    let (xmpp, start_tls) = for_streams(nobody())?;
    let asking = match authorities {
        Some(authorities) => {
            let (xmpp, start_tls) = for_streams(authorities.asking())?;
            Some(Asking {
                xmpp,
                start_tls,
                authorities,
            })
        }
        None => None,
    };
    Ok(Some(TlsServer {
        http: Arc::new(http),
        xmpp,
        start_tls,
        asking,
        shows,
        tickets,
    }))
}

/// Reads the files of one `[[certificate]]`.
///
/// # Errors
/// [`CertificateError`], which names the file.
pub fn check(identity: &Identity) -> Result<(), CertificateError> {
    certified_key(identity, &ring::default_provider()).map(drop)
}

impl TlsServer {
    /// What a client is served with.
    #[must_use]
    pub const fn config(
        &self,
        purpose: Purpose,
        client_certificates: ClientCertificates,
    ) -> &Arc<ServerConfig> {
        match (purpose, client_certificates, &self.asking) {
            (Purpose::Http, ..) => &self.http,
            (Purpose::Xmpp, ClientCertificates::Request, Some(asking)) => &asking.xmpp,
            (Purpose::StartTls, ClientCertificates::Request, Some(asking)) => &asking.start_tls,
            (Purpose::Xmpp, ..) => &self.xmpp,
            (Purpose::StartTls, ..) => &self.start_tls,
        }
    }

    /// The keys of session tickets, if they are those of a file.
    #[must_use]
    pub const fn ticket_keys(&self) -> Option<&Arc<TicketKeys>> {
        match &self.tickets {
            Tickets::Own(_) => None,
            Tickets::Shared(keys) => Some(keys),
        }
    }

    /// Who may sign clients' certificates, if they are asked for one.
    #[must_use]
    pub fn authorities(&self) -> Option<&Authorities> {
        self.asking.as_ref().map(|asking| &asking.authorities)
    }
}

impl Tickets {
    /// As `before` if these are for the same certificates and the same file.
    fn new(
        file: Option<&Path>,
        shows: &ByName,
        before: Option<&Self>,
    ) -> Result<Self, CertificateError> {
        match (file, before) {
            (None, Some(before @ Self::Own(_))) => Ok(before.clone()),
            (None, _) => Ok(Self::Own(ring::Ticketer::new()?)),
            (Some(file), Some(Self::Shared(before))) if before.path() == file => {
                before.refresh()?;
                Ok(Self::Shared(Arc::clone(before)))
            }
            (Some(file), _) => Ok(Self::Shared(Arc::new(TicketKeys::load(
                file,
                shows.chains(),
            )?))),
        }
    }

    fn producer(&self) -> Arc<dyn ProducesTickets> {
        match self {
            Self::Own(tickets) => Arc::clone(tickets),
            Self::Shared(keys) => Arc::<TicketKeys>::clone(keys),
        }
    }
}

fn certified_key(
    identity: &Identity,
    provider: &CryptoProvider,
) -> Result<Shown, CertificateError> {
    let chain = pem::certificates(&identity.cert).map_err(in_file("cert"))?;
    let key = pem::private_key(&identity.key).map_err(in_file("key"))?;
    let unusable = |source| CertificateError::Pair {
        identity: identity.clone(),
        source,
    };
    // A certificate that can't be read would be found out by each client for itself.
    if let Some(first) = chain.first() {
        ParsedCertificate::try_from(first).map_err(unusable)?;
    }
    let end_point = chain
        .first()
        .and_then(|first| channel_binding::end_point(first));
    let key = CertifiedKey::from_der(chain, key, provider).map_err(unusable)?;
    Ok(Shown {
        key: Arc::new(key),
        end_point,
    })
}

fn in_file(key: &'static str) -> impl Fn(PemError) -> CertificateError {
    move |source| CertificateError::File { key, source }
}

/// A certificate that clients are shown.
#[derive(Debug)]
struct Shown {
    key: Arc<CertifiedKey>,
    /// What a login can be bound to of it.
    end_point: Option<Bytes>,
}

/// Shows the first certificate that is valid for the name that a client asks for, as the client itself
/// checks it, wildcards included; and if none is, or it asks for none, the first of all.
#[derive(Debug)]
struct ByName(Vec<Shown>);

impl ByName {
    /// Whether the same certificates are shown to the same clients.
    fn is_same(&self, other: &Self) -> bool {
        self.chains().eq(other.chains())
    }

    fn chains(&self) -> impl Iterator<Item = &[CertificateDer<'static>]> {
        self.0.iter().map(|shown| shown.key.cert.as_slice())
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello
            .server_name()
            .and_then(|name| ServerName::try_from(name).ok());
        let fitting =
            name.and_then(|name| self.0.iter().find(|shown| is_valid_for(&shown.key, &name)));
        let shown = fitting.or_else(|| self.0.first())?;
        channel_binding::shown(shown.end_point.as_ref());
        Some(Arc::clone(&shown.key))
    }
}

fn is_valid_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    key.cert
        .first()
        .and_then(|certificate| ParsedCertificate::try_from(certificate).ok())
        .is_some_and(|certificate| verify_server_name(&certificate, name).is_ok())
}
