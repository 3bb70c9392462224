//! The socket for commands: only the program's user can open it, and only one program listens on it.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use tokio::net::{UnixListener, UnixStream};

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It can't be created.
    #[error("control.socket: can't listen on {}: {source}", path.display())]
    Bind {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another program listens there.
    #[error(
        "control.socket: another program already takes commands on {}; give each its own socket, or start this one \
         with --replaces", path.display()
    )]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("control.socket: {} exists and is not a socket; remove it, or choose another path", path.display())]
    NoSocket {
        /// Where.
        path: PathBuf,
    },
}

/// The socket. Dropping it removes its file.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Listener {
    /// Listens at a path. A socket that an ended program left there is removed; with `replaces` one of a running program
    /// is, too.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn bind(path: &Path, replaces: bool) -> Result<Self, ControlError> {
        let failed = |source| ControlError::Bind {
            path: path.to_owned(),
            source,
        };
        remove_old(path, replaces)?;
        // Changing the file's mode afterwards would leave a moment in which anybody could open it.
        let before = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
        let bound = UnixListener::bind(path);
        rustix::process::umask(before);
        let listener = bound.map_err(failed)?;
        let inode = std::fs::metadata(path).map_err(failed)?.ino();
        tracing::info!("taking commands on {}", path.display());
        Ok(Self {
            listener,
            path: path.to_owned(),
            inode,
        })
    }

    /// The next client.
    pub async fn next(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.listener.accept().await?;
        Ok(stream)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Another program may have it by now.
        let is_own = std::fs::metadata(&self.path).is_ok_and(|file| file.ino() == self.inode);
        if is_own {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn remove_old(path: &Path, replaces: bool) -> Result<(), ControlError> {
    let path = path.to_owned();
    let file = match std::fs::symlink_metadata(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ControlError::Bind { path, source }),
    };
    if !file.file_type().is_socket() {
        return Err(ControlError::NoSocket { path });
    }
    if !replaces && std::os::unix::net::UnixStream::connect(&path).is_ok() {
        return Err(ControlError::InUse { path });
    }
    std::fs::remove_file(&path).map_err(|source| ControlError::Bind { path, source })
}
