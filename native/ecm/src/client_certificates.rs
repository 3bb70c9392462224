//! The certificates that clients show: which are asked for, and which are good.
//!
//! A client whose certificate is not good has TLS all the same, and logs in otherwise, as with ejabberd's own
//! listener. So what a handshake confirms is that the client has the key; whether its certificate is good is
//! asked when its session is opened.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use megaphone_trunk::proxy::MAX_CERTIFICATE;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    self, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};

use crate::pem::{self, PemError};

/// The CAs that may sign clients' certificates.
pub struct Authorities(Arc<dyn ClientCertVerifier>);

impl Authorities {
    /// Reads the file of `xmpp.client_ca`.
    ///
    /// # Errors
    /// [`AuthoritiesError`], which names the file.
    pub fn load(path: &Path, provider: &Arc<CryptoProvider>) -> Result<Self, AuthoritiesError> {
        let unusable = |source: &dyn fmt::Display| AuthoritiesError::Unusable {
            path: path.to_owned(),
            message: source.to_string(),
        };
        let mut roots = RootCertStore::empty();
        for certificate in pem::certificates(path)? {
            roots.add(certificate).map_err(|error| unusable(&error))?;
        }
        let provider = Arc::clone(provider);
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map(Self)
            .map_err(|error| unusable(&error))
    }

    /// What asks for certificates.
    pub fn asking(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Asking(Arc::clone(&self.0)))
    }

    /// A client's certificate, of those that it showed, if it is good now.
    pub fn good(&self, shown: &[CertificateDer<'_>]) -> Result<Bytes, BadCertificate> {
        let (certificate, between) = shown.split_first().ok_or(BadCertificate::None)?;
        if certificate.len() > MAX_CERTIFICATE {
            return Err(BadCertificate::TooLong(certificate.len()));
        }
        self.0
            .verify_client_cert(certificate, between, UnixTime::now())?;
        Ok(Bytes::copy_from_slice(certificate))
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authorities").finish_non_exhaustive()
    }
}

/// Why the CAs that may sign clients' certificates can't be read.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// The file can't be used.
    #[error("xmpp.client_ca: {0}")]
    File(#[from] PemError),
    /// What it says can't.
    #[error("xmpp.client_ca: {}: {message}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why not.
        message: String,
    },
}

/// Why a client's certificate counts for nothing.
#[derive(Debug, thiserror::Error)]
pub enum BadCertificate {
    /// It showed none.
    #[error("the client sent none")]
    None,
    /// It is too long for a PROXY header.
    #[error("it has {0} bytes; at most {MAX_CERTIFICATE} are allowed")]
    TooLong(usize),
    /// None of the authorities has signed it, or it was not meant for this, or not for now.
    #[error("{0}")]
    Invalid(#[from] rustls::Error),
}

/// Asks for a certificate, and takes any whose key the client has.
#[derive(Debug)]
struct Asking(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Asking {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
