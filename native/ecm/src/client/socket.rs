//! What a client's socket is asked to do.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::timeout;

/// How much is read at once. The buffer is the thread's, so a client that is idle has none.
const READ_SIZE: usize = 64 * 1024;

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_SIZE]);
}

/// How long a client may take to close its side, and how much it may still send until then.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

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

/// Waits for bytes and gives them to `feed`; 0 when the client has closed its side.
///
/// Unlike a wait for readiness and a read that follows, this needs no second read to learn that there
/// is no more.
///
/// # Errors
/// Why the socket failed.
pub async fn read(stream: &mut ReadHalf<'_>, mut feed: impl FnMut(&[u8])) -> io::Result<usize> {
    poll_fn(|context| {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
            feed(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    })
    .await
}

/// Reads into `buffer`; 0 when the client has closed its side.
///
/// # Errors
/// Why the socket failed.
pub fn poll_read(
    stream: &mut TcpStream,
    context: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(buffer);
    ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

/// The thread's buffer for what is read.
pub fn with_read_buffer<R>(read: impl FnOnce(&mut [u8]) -> R) -> R {
    READ_BUFFER.with_borrow_mut(|buffer| read(buffer))
}

/// Waits until the socket may take bytes.
///
/// # Errors
/// Why the socket failed.
pub async fn writable(stream: &WriteHalf<'_>) -> io::Result<()> {
    poll_fn(|context| stream.as_ref().poll_write_ready(context)).await
}

/// Closes a client's connection so that it gets all that was written: a socket that is closed while
/// bytes of the client lie unread in it, or come after, resets the connection, and the client's
/// system may then drop what the client has not read (RFC 9112, section 9.6).
pub async fn close_gently(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let (mut reader, _writer) = stream.split();
    let drain = async {
        let mut left = LINGER_BYTES;
        while let Ok(length @ 1..) = read(&mut reader, |_bytes| ()).await
            && length < left
        {
            left -= length;
        }
    };
    // A client that takes longer than this gets a reset, or nothing.
    let _ = timeout(LINGER, drain).await;
}

/// Makes the connection's end a reset, so that no client takes a cut answer for a whole one.
pub fn reset(stream: &TcpStream) {
    // If this fails, the client is gone already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
