//! A client's socket, plain or with TLS.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use megaphone_trunk::proxy;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::handed::HandedSocket;
use super::progress::Moved;
use super::tls::{Layer, TlsSocket};
use crate::metrics::{CLIENT_BYTES, Direction};

/// How much is read at once. The buffer is the thread's, so a client that is idle has none.
const READ_SIZE: usize = 64 * 1024;

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_SIZE]);
}

/// How long a client may take to close its side, and how much it may still send until then.
pub const LINGER: Duration = Duration::from_secs(2);
/// As above.
pub const LINGER_BYTES: usize = 1024 * 1024;

/// A client that is gone without a word (no power, no network) is noticed after about this.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(120);

/// Sets up the socket of a client that just connected.
///
/// # Errors
/// If the system refuses an option, which it does for a socket whose client has left.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_AFTER))
}

/// A client's socket. All else than a plain one is in a box, so that a plain client pays nothing for it.
#[derive(Debug)]
pub enum Socket {
    /// Bytes as they are.
    Plain(TcpStream),
    /// Bytes that are encrypted.
    Tls(Box<TlsSocket>),
    /// The client is another ECM's, which hands its request on.
    Handed(Box<HandedSocket>),
}

/// What became of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// This many bytes were taken.
    Some(usize),
    /// There was none.
    Nothing,
    /// There is no room for it now: see [`Writer::poll_writable`].
    Stuck,
}

impl Written {
    /// Whether that changed anything.
    pub const fn moved(self) -> Moved {
        match self {
            Self::Some(_) => Moved::Yes,
            Self::Nothing | Self::Stuck => Moved::No,
        }
    }
}

/// What a socket is read by.
pub enum Reader<'a> {
    /// Bytes as they are.
    Plain(ReadHalf<'a>),
    /// Bytes that are encrypted.
    Tls(ReadHalf<'a>, &'a mut Layer),
    /// A stream of another ECM.
    Handed(&'a HandedSocket),
}

/// What a socket is written by.
pub enum Writer<'a> {
    /// A socket of the system.
    Socket(WriteHalf<'a>),
    /// A stream of another ECM.
    Handed(&'a HandedSocket),
}

impl Socket {
    /// The address that the client connected to.
    ///
    /// # Errors
    /// If the system doesn't know, which it does as long as the socket is there; or if only another ECM can know.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream()
            .ok_or(io::ErrorKind::Unsupported)?
            .local_addr()
    }

    /// The address that the client connected from.
    ///
    /// # Errors
    /// If the system doesn't know, which it does as long as the client is there; or if only another ECM can know.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream().ok_or(io::ErrorKind::Unsupported)?.peer_addr()
    }

    /// The client's TLS, as ejabberd is told of it.
    #[must_use]
    pub fn tls(&self) -> Option<proxy::Tls> {
        match self {
            Self::Plain(_) | Self::Handed(_) => None,
            Self::Tls(socket) => Some(socket.describe()),
        }
    }

    /// The certificates that the client showed this program: its own, and those between it and its CA.
    pub fn shown_by_client(&self) -> &[CertificateDer<'static>] {
        match self {
            Self::Plain(_) | Self::Handed(_) => &[],
            Self::Tls(socket) => socket.shown_by_client(),
        }
    }

    /// The channel bindings of the client's TLS with this program, for the first call.
    pub fn take_bindings(&mut self) -> proxy::ChannelBindings {
        match self {
            Self::Plain(_) | Self::Handed(_) => proxy::ChannelBindings::default(),
            Self::Tls(socket) => socket.take_bindings(),
        }
    }

    /// Gives bytes to the system, or takes them to be encrypted; how many.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room now: see [`Writer::poll_writable`]. Else why the socket failed.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self {
            Self::Plain(stream) => stream.try_write(bytes),
            Self::Tls(socket) => socket.try_write(bytes),
            // It counts where the client is.
            Self::Handed(socket) => return socket.try_write(bytes),
        }?;
        CLIENT_BYTES.of(Direction::Out).add(written as u64);
        Ok(written)
    }

    /// Gives the socket what is due, or what waits in it. Output that is written keeps no memory.
    ///
    /// # Errors
    /// Why the socket failed.
    pub fn write_due(&mut self, output: &mut Bytes) -> io::Result<Written> {
        if output.is_empty() {
            self.flush()?;
            return Ok(if self.has_unsent() {
                Written::Stuck
            } else {
                Written::Nothing
            });
        }
        match self.try_write(output) {
            Ok(written) => {
                output.advance(written);
                if output.is_empty() {
                    *output = Bytes::new();
                }
                Ok(Written::Some(written))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Written::Stuck),
            Err(error) => Err(error),
        }
    }

    /// Whether bytes that were taken still wait for room in the system: then
    /// [`flush`](Self::flush) has to be called once there is.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Handed(_) => false,
            Self::Tls(socket) => socket.has_unsent(),
        }
    }

    /// How many bytes were read that are a part of a TLS record.
    #[must_use]
    pub const fn unread(&self) -> usize {
        match self {
            Self::Plain(_) | Self::Handed(_) => 0,
            Self::Tls(socket) => socket.unread(),
        }
    }

    /// Gives the system what waits, as far as there is room.
    ///
    /// # Errors
    /// Why the socket failed.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) | Self::Handed(_) => Ok(()),
            Self::Tls(socket) => socket.flush(),
        }
    }

    /// Reads into `buffer`; 0 when the client has closed its side.
    ///
    /// # Errors
    /// Why the socket failed, or what the client did against TLS.
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = match self {
            Self::Plain(stream) => {
                let mut buffer = ReadBuf::new(buffer);
                ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
                buffer.filled().len()
            }
            Self::Tls(socket) => ready!(socket.poll_read(context, buffer))?,
            Self::Handed(socket) => {
                let bytes = ready!(socket.poll_take(context, buffer.len()))?;
                buffer[..bytes.len()].copy_from_slice(&bytes);
                return Poll::Ready(Ok(bytes.len()));
            }
        };
        CLIENT_BYTES.of(Direction::In).add(read as u64);
        Poll::Ready(Ok(read))
    }

    /// Whether the socket may take bytes.
    ///
    /// # Errors
    /// Why the socket failed.
    pub fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => stream.poll_write_ready(context),
            Self::Tls(socket) => socket.stream().poll_write_ready(context),
            Self::Handed(socket) => socket.poll_writable(context),
        }
    }

    /// Both directions, to wait for them at once.
    pub fn split(&mut self) -> (Reader<'_>, Writer<'_>) {
        match self {
            Self::Plain(stream) => {
                let (reader, writer) = stream.split();
                (Reader::Plain(reader), Writer::Socket(writer))
            }
            Self::Tls(socket) => {
                let (stream, layer) = socket.split();
                let (reader, writer) = stream.split();
                (Reader::Tls(reader, layer), Writer::Socket(writer))
            }
            Self::Handed(socket) => (Reader::Handed(socket), Writer::Handed(socket)),
        }
    }

    const fn stream(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(socket) => Some(socket.stream()),
            Self::Handed(_) => None,
        }
    }
}

impl Reader<'_> {
    /// Waits for bytes and gives them to `feed`, in one piece or several; 0 when the client has closed
    /// its side.
    ///
    /// # Errors
    /// Why the socket failed, or what the client did against TLS.
    pub fn read(&mut self, mut feed: impl FnMut(&[u8])) -> impl Future<Output = io::Result<usize>> {
        // Not an async function, whose future would hold this twice.
        poll_fn(move |context| self.poll_read(context, &mut feed))
    }

    /// The same, as far as there are bytes now.
    ///
    /// Unlike a wait for readiness and a read that follows, this needs no second read to learn that
    /// there is no more.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        feed: &mut impl FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        let read = match self {
            Self::Tls(half, layer) => ready!(layer.poll_read(half, context, usize::MAX, feed))?,
            Self::Plain(half) => ready!(with_read_buffer(|buffer| {
                let mut buffer = ReadBuf::new(buffer);
                ready!(Pin::new(half).poll_read(context, &mut buffer))?;
                feed(buffer.filled());
                Poll::Ready(io::Result::Ok(buffer.filled().len()))
            }))?,
            Self::Handed(socket) => {
                let bytes = ready!(socket.poll_take(context, usize::MAX))?;
                feed(&bytes);
                return Poll::Ready(Ok(bytes.len()));
            }
        };
        CLIENT_BYTES.of(Direction::In).add(read as u64);
        Poll::Ready(Ok(read))
    }
}

impl Writer<'_> {
    /// Whether the socket may take bytes.
    ///
    /// # Errors
    /// Why the socket failed.
    pub fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Socket(half) => half.as_ref().poll_write_ready(context),
            Self::Handed(socket) => socket.poll_writable(context),
        }
    }
}

/// The thread's buffer for what is read.
pub fn with_read_buffer<R>(read: impl FnOnce(&mut [u8]) -> R) -> R {
    READ_BUFFER.with_borrow_mut(|buffer| read(buffer))
}

/// Gives a client whose connection is closed next, and which just connected, a few last bytes. It asks the
/// system itself, since the runtime knows nothing of so young a socket.
pub fn send_and_forget(stream: &TcpStream, bytes: &[u8]) {
    let socket = SockRef::from(stream);
    // If one of these fails, the client is gone.
    let _ = socket.send(bytes);
    // What the client has sent would reset the connection if it were left unread.
    with_read_buffer(|buffer| {
        let _ = (&*socket).read(buffer);
    });
}

/// Closes a client's connection so that it gets all that was written: a socket that is closed while
/// bytes of the client lie unread in it, or come after, resets the connection, and the client's
/// system may then drop what the client has not read (RFC 9112, section 9.6).
pub async fn close_gently(mut socket: Socket) {
    let close = async {
        if send_end(&mut socket).await.is_err() {
            return;
        }
        // Nobody decrypts what is for nobody.
        let (reader, _writer) = socket.split();
        let mut reader = match reader {
            Reader::Tls(half, _layer) => Reader::Plain(half),
            reader => reader,
        };
        let mut left = LINGER_BYTES;
        while let Ok(length @ 1..) = reader.read(|_bytes| ()).await
            && length < left
        {
            left -= length;
        }
    };
    // A client that takes longer than this gets a reset, or nothing.
    let _ = timeout(LINGER, close).await;
}

/// Sends what waits and then the end; the client may go on sending.
///
/// # Errors
/// Why the socket failed.
pub async fn send_end(socket: &mut Socket) -> io::Result<()> {
    let stream = match socket {
        Socket::Plain(stream) => stream,
        Socket::Tls(socket) => {
            socket.close_notify()?;
            while socket.has_unsent() {
                socket.stream().writable().await?;
                socket.flush()?;
            }
            socket.split().0
        }
        Socket::Handed(socket) => {
            socket.finish();
            return Ok(());
        }
    };
    stream.shutdown().await
}

/// Says goodbye to a client that has closed its side, if the protocol has a word for it and there is
/// room.
pub fn say_goodbye(socket: &mut Socket) {
    if let Socket::Tls(socket) = socket {
        // If this fails, the client is gone already.
        let _ = socket.close_notify();
    }
}

/// Makes the connection's end a reset, so that no client takes a cut answer for a whole one.
pub fn reset(socket: &Socket) {
    match socket {
        Socket::Handed(socket) => socket.reset(),
        Socket::Plain(_) | Socket::Tls(_) => {
            let socket = socket.stream().map(SockRef::from);
            // If this fails, the client is gone already.
            let _ = socket.map(|socket| socket.set_linger(Some(Duration::ZERO)));
        }
    }
}
