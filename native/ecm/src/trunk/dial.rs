//! Connecting to ejabberd.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::config::{TrunkAddress, TrunkConfig};

/// The half of a trunk that is read.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// The half of a trunk that is written.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Version 1 has no ping, so a peer that went without a word shows only by TCP's own probes.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// And by what it does not acknowledge.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Opens a trunk.
pub async fn dial(config: &TrunkConfig) -> io::Result<(Reader, Writer)> {
    match timeout(config.connect_timeout, connect(&config.address)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!(
                "no answer within connect_timeout ({:?})",
                config.connect_timeout
            ),
        )),
    }
}

async fn connect(address: &TrunkAddress) -> io::Result<(Reader, Writer)> {
    match address {
        TrunkAddress::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let socket = SockRef::from(&stream);
            let keepalive = TcpKeepalive::new()
                .with_time(KEEPALIVE_AFTER)
                .with_interval(KEEPALIVE_EVERY);
            socket.set_tcp_keepalive(&keepalive)?;
            #[cfg(target_os = "linux")]
            socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
            let (reader, writer) = stream.into_split();
            Ok((Box::new(reader), Box::new(writer)))
        }
        TrunkAddress::Unix(path) => {
            let (reader, writer) = UnixStream::connect(path).await?.into_split();
            Ok((Box::new(reader), Box::new(writer)))
        }
    }
}
