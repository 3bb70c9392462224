//! Sockets, with and without TLS.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::ready;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

thread_local! {
    /// A client that waits holds no buffer.
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 << 10].into());
}

/// What to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `HOST:PORT`, as its address.
    Tcp(SocketAddr),
    /// `unix:/PATH`
    Unix(PathBuf),
}

/// Why a text is no target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It has not the form.
    #[error("{0:?} is not an address; write HOST:PORT or unix:/PATH")]
    Form(String),
    /// The host is not known.
    #[error("{0}: {1}")]
    Unknown(String, io::Error),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let mut addresses = text.to_socket_addrs().map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => TargetError::Form(text.to_owned()),
            _ => TargetError::Unknown(text.to_owned(), error),
        })?;
        let first = addresses.next();
        first
            .map(Self::Tcp)
            .ok_or_else(|| TargetError::Form(text.to_owned()))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Makes sockets to one of several targets.
#[derive(Debug)]
pub struct Dialler {
    targets: Vec<Target>,
    /// The local addresses that the sockets take in turn: each has some 28,000 ports.
    sources: Vec<IpAddr>,
    turn: AtomicUsize,
}

impl Dialler {
    /// Sockets to each of `targets` in turn, from `sources`; from any address if there are none of these.
    pub const fn new(targets: Vec<Target>, sources: Vec<IpAddr>) -> Self {
        Self {
            targets,
            sources,
            turn: AtomicUsize::new(0),
        }
    }

    /// Connects, to the next target if one refuses.
    ///
    /// # Errors
    /// The system's, for the last of all targets.
    pub async fn dial(&self) -> io::Result<Socket> {
        let turn = self.turn.fetch_add(1, Relaxed);
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for attempt in 0..self.targets.len() {
            let target = &self.targets[(turn + attempt) % self.targets.len()];
            match self.dial_target(target, turn).await {
                Err(error) => last = error,
                connected => return connected,
            }
        }
        Err(last)
    }

    async fn dial_target(&self, target: &Target, turn: usize) -> io::Result<Socket> {
        let address = match target {
            Target::Unix(path) => return Ok(Socket::Unix(UnixStream::connect(path).await?)),
            Target::Tcp(address) => *address,
        };
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if !self.sources.is_empty() {
            let source = self.sources[turn % self.sources.len()];
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Socket::Plain(stream))
    }

    /// Connects and begins TLS.
    ///
    /// # Errors
    /// The system's, and TLS's.
    pub async fn dial_tls(&self, config: &Arc<ClientConfig>, name: &str) -> io::Result<Socket> {
        self.dial().await?.into_tls(config, name).await
    }
}

/// A client's socket.
pub enum Socket {
    /// TCP.
    Plain(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Socket {
    /// Begins TLS.
    ///
    /// # Errors
    /// The socket's, and TLS's.
    pub async fn into_tls(self, config: &Arc<ClientConfig>, name: &str) -> io::Result<Self> {
        let Self::Plain(stream) = self else {
            return Err(io::Error::other("TLS over what is no TCP connection"));
        };
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::clone(config));
        Ok(Self::Tls(Box::new(connector.connect(name, stream).await?)))
    }

    /// Waits for bytes and shows them to `take`; their number, 0 at the end. Nothing is lost if the
    /// call is dropped.
    ///
    /// # Errors
    /// The socket's.
    pub async fn read(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        poll_fn(|context| {
            READ_BUFFER.with_borrow_mut(|buffer| {
                let mut buffer = ReadBuf::new(buffer);
                ready!(Pin::new(&mut *self).poll_read(context, &mut buffer))?;
                take(buffer.filled());
                Ok(buffer.filled().len()).into()
            })
        })
        .await
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The socket's.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes).await?;
        self.flush().await
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(
        self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(
        self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// TLS that asks for no valid certificate: what is measured here are servers of one's own.
///
/// # Errors
/// If the TLS library has no protocol version that it could speak.
pub fn trusting_all() -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAll(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct TrustAll(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
