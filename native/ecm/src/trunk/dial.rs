//! Connecting to ejabberd.

use std::io;
use std::time::Duration;

use parking_lot::RwLock;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::tls::TlsClient;
use crate::config::TrunkAddress;

/// The half of a trunk that is read.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// The half of a trunk that is written.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A peer that went without a word shows by TCP's own probes: version 1 has no ping, and the one of
/// version 2 comes later.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// And by what it does not acknowledge.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Opens trunks.
#[derive(Debug)]
pub struct Dialler {
    address: TrunkAddress,
    connect_timeout: Duration,
    tls: RwLock<Option<TlsClient>>,
}

impl Dialler {
    /// Opens trunks to an address, with these certificates.
    pub fn new(address: TrunkAddress, connect_timeout: Duration, tls: Option<TlsClient>) -> Self {
        Self {
            address,
            connect_timeout,
            tls: RwLock::new(tls),
        }
    }

    /// Where they lead.
    pub const fn address(&self) -> &TrunkAddress {
        &self.address
    }

    /// The next trunks are opened with other certificates; those that are up stay.
    pub fn set_tls(&self, tls: Option<TlsClient>) {
        *self.tls.write() = tls;
    }

    /// Opens a trunk.
    ///
    /// # Errors
    /// Why there is none: connecting, or the TLS handshake, failed or took too long.
    pub async fn dial(&self) -> io::Result<(Reader, Writer)> {
        match timeout(self.connect_timeout, self.connect()).await {
            Ok(result) => result,
            Err(_elapsed) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "no answer within connect_timeout ({:?})",
                    self.connect_timeout
                ),
            )),
        }
    }

    async fn connect(&self) -> io::Result<(Reader, Writer)> {
        match &self.address {
            TrunkAddress::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                prepare(&stream)?;
                match self.tls() {
                    Some(tls) => encrypt(stream, tls).await,
                    None => {
                        let (reader, writer) = stream.into_split();
                        Ok((Box::new(reader), Box::new(writer)))
                    }
                }
            }
            TrunkAddress::Unix(path) => {
                let stream = UnixStream::connect(path).await?;
                match self.tls() {
                    Some(tls) => encrypt(stream, tls).await,
                    None => {
                        let (reader, writer) = stream.into_split();
                        Ok((Box::new(reader), Box::new(writer)))
                    }
                }
            }
        }
    }

    fn tls(&self) -> Option<TlsClient> {
        self.tls.read().clone()
    }
}

/// Sets up the socket of a connection that many share.
///
/// # Errors
/// If the system refuses an option, which it does for a socket whose other side has left.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(())
}

async fn encrypt<S>(stream: S, tls: TlsClient) -> io::Result<(Reader, Writer)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connector = TlsConnector::from(tls.config);
    let stream = connector.connect(tls.name, stream).await.map_err(|error| {
        io::Error::new(error.kind(), format!("the TLS handshake failed: {error}"))
    })?;
    let (reader, writer) = tokio::io::split(stream);
    Ok((Box::new(reader), Box::new(writer)))
}
