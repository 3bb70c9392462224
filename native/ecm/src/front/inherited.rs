//! Listening sockets that another program has opened: systemd (`sd_listen_fds(3)`), or the one that this program
//! replaces (`pidfd_getfd(2)`).
//!
//! With them no client ever finds a port closed: a socket, and the connections in its queue, outlast the program that
//! opened it.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::{fs, io};

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// Those that no listener has taken yet.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Those that were passed, and so are meant to be used.
    passed: Vec<(SocketAddr, TcpListener)>,
    /// Those of the program that is replaced.
    replaced: Vec<(SocketAddr, TcpListener)>,
}

/// A socket that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// It is not one for TCP connections.
    #[error("socket {number} of LISTEN_FDS is not a TCP socket that is listened on: {source}")]
    NotTcp {
        /// Which one, from 1.
        number: usize,
        /// Why not.
        source: io::Error,
    },
    /// Nobody wants it.
    #[error(
        "LISTEN_FDS has a socket at {0}, and no [[listener]] has this address; write one, or remove the socket's \
         ListenStream"
    )]
    Unwanted(SocketAddr),
}

impl Inherited {
    /// Those that the environment names.
    ///
    /// # Errors
    /// [`InheritError::NotTcp`].
    pub fn from_environment() -> Result<Self, InheritError> {
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..passed.len() {
            let number = index + 1;
            let not_tcp = |source| InheritError::NotTcp { number, source };
            if let Some(socket) = passed.take_tcp_listener(index).map_err(not_tcp)? {
                sockets.push((socket.local_addr().map_err(not_tcp)?, socket));
            }
        }
        Ok(Self {
            passed: sockets,
            replaced: Vec::new(),
        })
    }

    /// Adds those of a program that runs, which goes on accepting from them until it is told to leave.
    ///
    /// # Errors
    /// The system does not allow it, or there is no such process.
    pub fn add_those_of(&mut self, process: Pid) -> io::Result<()> {
        let handle = pidfd_open(process, PidfdFlags::empty())?;
        for entry in fs::read_dir(format!("/proc/{}/fd", process.as_raw_nonzero()))? {
            let entry = entry?;
            let is_socket = fs::read_link(entry.path())
                .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
            let number = entry.file_name().to_string_lossy().parse();
            let (true, Ok(number)) = (is_socket, number) else {
                continue;
            };
            let socket = pidfd_getfd(&handle, number, PidfdGetfdFlags::empty())?;
            if socket_acceptconn(&socket).unwrap_or(false) {
                let socket = TcpListener::from(socket);
                // A Unix socket has none.
                if let Ok(address) = socket.local_addr() {
                    self.replaced.push((address, socket));
                }
            }
        }
        Ok(())
    }

    /// The one for an address, if there is one. All addresses of the machine are the same in IPv4 and IPv6, as a
    /// socket of systemd has both.
    pub fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let take = |sockets: &mut Vec<(SocketAddr, TcpListener)>| {
            let index = sockets
                .iter()
                .position(|(local, _)| fits(*local, address))?;
            Some(sockets.swap_remove(index).1)
        };
        take(&mut self.passed).or_else(|| take(&mut self.replaced))
    }

    /// Confirms that all that were passed were taken.
    ///
    /// # Errors
    /// [`InheritError::Unwanted`].
    pub fn all_taken(&self) -> Result<(), InheritError> {
        match self.passed.first() {
            Some((address, _)) => Err(InheritError::Unwanted(*address)),
            None => Ok(()),
        }
    }
}

fn fits(inherited: SocketAddr, wanted: SocketAddr) -> bool {
    let is_any = |address: SocketAddr| address.ip().is_unspecified();
    let is_wider = inherited.is_ipv6() && is_any(inherited) && is_any(wanted);
    inherited.port() == wanted.port() && (same(inherited.ip(), wanted.ip()) || is_wider)
}

fn same(one: IpAddr, other: IpAddr) -> bool {
    one.to_canonical() == other.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_fits_the_address_that_it_serves() {
        for (inherited, wanted, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("[::]:80", "0.0.0.0:80", true),
            ("[::]:80", "[::]:80", true),
            ("0.0.0.0:80", "0.0.0.0:80", true),
            ("0.0.0.0:80", "[::]:80", false),
            ("[::]:80", "127.0.0.1:80", false),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true),
        ] {
            let [inherited, wanted] = [inherited, wanted].map(|text| text.parse().unwrap());
            assert_eq!(
                fits(inherited, wanted),
                expected,
                "{inherited} for {wanted}"
            );
        }
    }
}
