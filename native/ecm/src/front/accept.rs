//! Accepting connections, also while there is no file descriptor for them.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use super::inherited::Inherited;
use crate::shutdown::Admission;

/// How many connections may wait to be accepted. A storm of logins comes faster than they are; the
/// system cuts it to its own limit (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;

/// How long to wait after a failure that the next attempt would meet again.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// A socket that is listened on, and a descriptor that is kept.
///
/// Where the system has none left for a connection, it would stay in the queue, and the socket ready to be
/// accepted from. With the one that is kept it can be taken, told so, and closed.
#[derive(Debug)]
pub struct Acceptor {
    socket: TcpListener,
    kept: Option<File>,
    failing: Failing,
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// Its socket.
    pub stream: TcpStream,
    /// The address that connected.
    pub peer: SocketAddr,
    /// What it was accepted with.
    pub descriptor: Descriptor,
}

/// What a connection was accepted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descriptor {
    /// One like others.
    Own,
    /// The one that is kept: it has to be closed before the next connection is accepted.
    Kept,
}

/// A listener's address can't be used.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: {source}")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

/// Whether the same failure was met by the attempt before, and told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failing {
    No,
    Told,
}

impl Acceptor {
    /// Binds an address, unless the socket for it was inherited, and says which it came to be.
    ///
    /// # Errors
    /// [`BindError`], which names the address: it is in use, or not one of this machine.
    pub fn bind(
        address: SocketAddr,
        inherited: &mut Inherited,
    ) -> Result<(SocketAddr, Self), BindError> {
        let socket = match inherited.take(address) {
            Some(socket) => adopt(socket),
            None => listen(address),
        };
        let bound = socket.and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (local, socket) = bound.map_err(|source| BindError { address, source })?;
        let acceptor = Self {
            socket,
            kept: keep(),
            failing: Failing::No,
        };
        Ok((local, acceptor))
    }

    /// The next connection; none once the program's end begins.
    pub async fn next_while_open(
        &mut self,
        admission: &mut watch::Receiver<Admission>,
    ) -> Option<Accepted> {
        tokio::select! {
            accepted = self.next() => Some(accepted),
            _ = admission.wait_for(|it| *it != Admission::Open) => None,
        }
    }

    /// The next connection.
    pub async fn next(&mut self) -> Accepted {
        loop {
            if self.kept.is_none() {
                self.kept = keep();
            }
            let error = match self.socket.accept().await {
                Ok((stream, peer)) => {
                    self.failing = Failing::No;
                    return Accepted {
                        stream,
                        peer,
                        descriptor: Descriptor::Own,
                    };
                }
                // The client left before it was accepted.
                Err(error) if is_about_one_client(&error) => continue,
                Err(error) => error,
            };
            if self.failing == Failing::No {
                tracing::error!("can't accept connections: {error}; trying again");
            }
            self.failing = Failing::Told;
            if is_about_descriptors(&error)
                && self.kept.take().is_some()
                && let Ok((stream, peer)) = self.socket.accept().await
            {
                return Accepted {
                    stream,
                    peer,
                    descriptor: Descriptor::Kept,
                };
            }
            sleep(AFTER_FAILURE).await;
        }
    }
}

/// A descriptor that costs nothing.
fn keep() -> Option<File> {
    File::open("/dev/null").ok()
}

fn adopt(socket: std::net::TcpListener) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Without it a restart would have to wait for the old connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn is_about_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied};
    // PermissionDenied: a firewall rule of this machine.
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | PermissionDenied
    )
}

/// Whether this process, or the system, has none left.
fn is_about_descriptors(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}
