//! What a client's socket is asked to do.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
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

/// Reads what is there and gives it to `feed`; 0 when the client has closed its side.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when nothing is there, or why the socket failed.
pub fn try_read(stream: &TcpStream, feed: impl FnOnce(&[u8])) -> io::Result<usize> {
    READ_BUFFER.with_borrow_mut(|buffer| {
        let length = stream.try_read(buffer)?;
        feed(&buffer[..length]);
        Ok(length)
    })
}

/// Closes a client's connection so that it gets all that was written: a socket that is closed while
/// bytes of the client lie unread in it, or come after, resets the connection, and the client's
/// system may then drop what the client has not read (RFC 9112, section 9.6).
pub async fn close_gently(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let drain = async {
        let mut drained = 0;
        while drained < LINGER_BYTES && stream.readable().await.is_ok() {
            match try_read(&stream, |_bytes| ()) {
                Ok(0) => break,
                Ok(length) => drained += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_gone) => break,
            }
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
