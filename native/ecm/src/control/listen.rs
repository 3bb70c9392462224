//! The socket of the commands: there for the program's user alone, and for one program.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use tokio::net::{UnixListener, UnixStream};

/// The socket can't be had.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It can't be made.
    #[error("control.socket: can't listen on {}: {source}", path.display())]
    Bind {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another program listens there.
    #[error(
        "control.socket: another program takes commands on {}; give each its own, or start this one with \
         --replaces", path.display()
    )]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("control.socket: {} is there and is no socket; remove it, or name another path", path.display())]
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
    /// Listens at a path. What a program left there that has ended is removed, and if this one takes its place, what
    /// belongs to one that runs.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn bind(path: &Path, replaces: bool) -> Result<Self, ControlError> {
        let failed = |source| ControlError::Bind {
            path: path.to_owned(),
            source,
        };
        remove_old(path, replaces)?;
        // Not the mode of the file afterwards: in between anybody could open it.
        let before = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
        let bound = UnixListener::bind(path);
        rustix::process::umask(before);
        let listener = bound.map_err(failed)?;
        let inode = std::fs::metadata(path).map_err(failed)?.ino();
        tracing::info!("commands at {}", path.display());
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
