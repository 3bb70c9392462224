//! Certificates and keys in PEM files.

use std::path::{Path, PathBuf};

use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It can't be read, or is no PEM.
    #[error("can't read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// There is no certificate in it.
    #[error("no certificate in {}", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
}

/// All certificates in a file, in its order; at least one.
///
/// # Errors
/// [`PemError`], which names the file.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| unreadable(path, source))?;
    if certificates.is_empty() {
        let path = path.to_owned();
        return Err(PemError::NoCertificate { path });
    }
    Ok(certificates)
}

/// The first private key in a file.
///
/// # Errors
/// [`PemError`], which names the file.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: pem::Error) -> PemError {
    PemError::Unreadable {
        path: path.to_owned(),
        source,
    }
}
