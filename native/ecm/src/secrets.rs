//! Files with secrets that several programs share. A line is a secret in base64; lines that begin with # and empty
//! lines are skipped. The first secret is for what is new, all of them are for what there is.

use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use parking_lot::Mutex;

/// The shortest secret (bytes), as long as the keys that are made of it.
pub const MIN_SECRET: usize = 32;

/// The most secrets of a file.
pub const MAX_SECRETS: usize = 16;

/// Why a file of secrets can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// It can't be read.
    #[error("can't read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line is no key.
    #[error(
        "line {line} of {} is not a key: at least {MIN_SECRET} random bytes in base64 are needed, such as \
         `openssl rand -base64 48` prints",
        path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// There are no keys, or too many.
    #[error("{} has {count} keys; 1 to {MAX_SECRETS} are allowed", path.display())]
    Count {
        /// The file.
        path: PathBuf,
        /// How many it has.
        count: usize,
    },
}

/// A file of secrets that may be replaced.
#[derive(Debug)]
pub struct SecretsFile {
    path: PathBuf,
    /// When the file was written that was read last, as far as the system says.
    written: Mutex<Option<SystemTime>>,
}

impl SecretsFile {
    /// The file, and what it makes of each of its secrets.
    ///
    /// # Errors
    /// [`SecretsError`], which names the file.
    pub fn load<K>(
        path: &Path,
        key: impl Fn(&[u8]) -> Option<K>,
    ) -> Result<(Self, Vec<K>), SecretsError> {
        let file = Self {
            path: path.to_owned(),
            written: Mutex::new(written(path)),
        };
        let keys = read(path, key)?;
        Ok((file, keys))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again if it is another one by now.
    ///
    /// # Errors
    /// [`SecretsError`]. The same file is not read once more; one that can't be read at all is tried again.
    pub fn refresh<K>(
        &self,
        key: impl Fn(&[u8]) -> Option<K>,
    ) -> Result<Option<Vec<K>>, SecretsError> {
        let now = written(&self.path);
        let before = std::mem::replace(&mut *self.written.lock(), now);
        if now.is_some() && before == now {
            return Ok(None);
        }
        read(&self.path, key).map(Some)
    }

    /// The file counts as another one, for tests: its time may be the same.
    #[cfg(test)]
    pub fn touch(&self) {
        *self.written.lock() = None;
    }
}

fn written(path: &Path) -> Option<SystemTime> {
    fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .ok()
}

fn read<K>(path: &Path, key: impl Fn(&[u8]) -> Option<K>) -> Result<Vec<K>, SecretsError> {
    let path = || path.to_owned();
    let text = fs::read_to_string(path()).map_err(|source| SecretsError::Unreadable {
        path: path(),
        source,
    })?;
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let made = BASE64
            .decode(line)
            .ok()
            .filter(|secret| secret.len() >= MIN_SECRET)
            .and_then(|secret| key(&secret))
            .ok_or_else(|| SecretsError::NoKey {
                path: path(),
                line: number + 1,
            })?;
        keys.push(made);
    }
    match keys.len() {
        1..=MAX_SECRETS => Ok(keys),
        count => Err(SecretsError::Count {
            path: path(),
            count,
        }),
    }
}
