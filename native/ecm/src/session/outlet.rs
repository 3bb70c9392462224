//! What a client is to get, until its socket has taken it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use tokio::time::Instant;

use crate::peer::Socket;
use crate::peer::socket::Written;

/// What is kept of the buffer that output is put together in; it is the thread's.
const KEPT: usize = 64 * 1024;

/// The most that is kept for a client that takes nothing more and whose end has not come, without the last batch
/// (bytes); what comes after it waits in the session. A window holds as much for a slow client.
const MOST_KEPT: usize = 256 * 1024;

thread_local! {
    static BATCH: RefCell<Batch> = RefCell::default();
}

/// Bytes for a client that are put together for one write, and the documents among them.
#[derive(Debug, Default)]
pub struct Batch {
    /// The bytes.
    pub bytes: Vec<u8>,
    documents: Vec<Placed>,
}

/// A document whose last byte stands before `end`.
#[derive(Debug)]
struct Placed {
    end: usize,
    document: Bytes,
}

impl Batch {
    /// Says which document of ejabberd's the bytes end with.
    pub fn ends(&mut self, document: Bytes) {
        let end = self.bytes.len();
        self.documents.push(Placed { end, document });
    }
}

/// Gives the thread's batch, empty.
pub fn with_batch<R>(fill: impl FnOnce(&mut Batch) -> R) -> R {
    BATCH.with_borrow_mut(|batch| {
        let result = fill(batch);
        batch.bytes.clear();
        batch.bytes.shrink_to(KEPT);
        batch.documents.clear();
        result
    })
}

/// What a client's socket did not take. A client that takes all has nothing here.
#[derive(Debug, Default)]
pub struct Outlet(Option<Box<State>>);

#[derive(Debug)]
enum State {
    Stuck(Stuck),
    Shut(Shut),
}

#[derive(Debug)]
struct Stuck {
    bytes: Vec<u8>,
    written: usize,
    /// Those that are not written to their end.
    documents: VecDeque<Placed>,
    since: Instant,
}

/// The socket takes nothing more, and never will.
#[derive(Debug, Default)]
struct Shut {
    undelivered: Vec<Bytes>,
    bytes: usize,
}

impl Outlet {
    /// Whether nothing waits that could be written.
    pub fn is_empty(&self) -> bool {
        !matches!(self.0.as_deref(), Some(State::Stuck(_)))
    }

    /// Whether the client takes nothing more. What it has sent can still be read, to its end.
    pub fn is_shut(&self) -> bool {
        matches!(self.0.as_deref(), Some(State::Shut(_)))
    }

    /// Whether no more documents are to be taken from the session before the client's end comes: enough are kept
    /// for one that takes nothing more.
    pub fn is_full(&self) -> bool {
        matches!(self.0.as_deref(), Some(State::Shut(shut)) if shut.bytes >= MOST_KEPT)
    }

    /// Whether something waits, here or in the socket, for [`flush`](Self::flush).
    pub fn has_unsent(&self, socket: &Socket) -> bool {
        !self.is_empty() || (!self.is_shut() && socket.has_unsent())
    }

    /// Since when the client takes nothing of what waits here.
    pub fn stuck_since(&self) -> Option<Instant> {
        match self.0.as_deref() {
            Some(State::Stuck(stuck)) => Some(stuck.since),
            Some(State::Shut(_)) | None => None,
        }
    }

    /// Writes a batch, once all before it is written: what the socket does not take waits.
    pub fn write(&mut self, socket: &mut Socket, batch: &mut Batch) -> Written {
        debug_assert!(self.is_empty(), "a batch overtakes what waits");
        let documents = batch.documents.drain(..);
        if let Some(State::Shut(shut)) = self.0.as_deref_mut() {
            documents.for_each(|placed| shut.keep(placed.document));
            return Written::Nothing;
        }
        if batch.bytes.is_empty() {
            return Written::Nothing;
        }
        let (written, failure) = match socket.try_write(&batch.bytes) {
            Ok(written) => (written, None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, None),
            Err(error) => (0, Some(error)),
        };
        if written < batch.bytes.len() {
            // Not the pieces of what the trunk was read in, which are larger.
            let copied = |placed: Placed| Placed {
                end: placed.end - written,
                document: Bytes::copy_from_slice(&placed.document),
            };
            self.wait(Stuck {
                bytes: batch.bytes[written..].to_vec(),
                written: 0,
                documents: documents
                    .filter(|placed| placed.end > written)
                    .map(copied)
                    .collect(),
                since: Instant::now(),
            });
        }
        match failure {
            Some(error) => self.failed(&error),
            None if written == 0 => Written::Stuck,
            None => Written::Some(written),
        }
    }

    /// Puts bytes that are no document of ejabberd's behind what waits.
    pub fn append(&mut self, bytes: &[u8]) {
        match self.0.as_deref_mut() {
            _ if bytes.is_empty() => {}
            Some(State::Shut(_)) => {}
            Some(State::Stuck(stuck)) => stuck.bytes.extend_from_slice(bytes),
            None => self.wait(Stuck {
                bytes: bytes.to_vec(),
                written: 0,
                documents: VecDeque::new(),
                since: Instant::now(),
            }),
        }
    }

    /// Writes what waits, here or in the socket, as far as there is room.
    pub fn flush(&mut self, socket: &mut Socket) -> Written {
        let stuck = match self.0.as_deref_mut() {
            Some(State::Shut(_)) => return Written::Nothing,
            Some(State::Stuck(stuck)) => stuck,
            None => {
                return match socket.flush() {
                    Err(error) => self.failed(&error),
                    Ok(()) if socket.has_unsent() => Written::Stuck,
                    Ok(()) => Written::Nothing,
                };
            }
        };
        match socket.try_write(&stuck.bytes[stuck.written..]) {
            Ok(written) => {
                stuck.written += written;
                stuck.since = Instant::now();
                while let Some(first) = stuck.documents.front()
                    && first.end <= stuck.written
                {
                    stuck.documents.pop_front();
                }
                if stuck.written == stuck.bytes.len() {
                    self.0 = None;
                }
                Written::Some(written)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Written::Stuck,
            Err(error) => self.failed(&error),
        }
    }

    /// The client takes nothing more.
    pub fn shut(&mut self) {
        let mut shut = Shut::default();
        match self.0.take().map(|state| *state) {
            Some(State::Stuck(stuck)) => {
                let documents = stuck.documents.into_iter();
                documents.for_each(|placed| shut.keep(placed.document));
            }
            Some(State::Shut(before)) => shut = before,
            None => {}
        }
        self.0 = Some(Box::new(State::Shut(shut)));
    }

    /// The documents that the client did not get to their end, and won't: nothing more is written.
    pub fn take_undelivered(&mut self) -> Vec<Bytes> {
        if self.0.is_none() {
            return Vec::new();
        }
        self.shut();
        match self.0.as_deref_mut() {
            Some(State::Shut(shut)) => std::mem::take(&mut shut.undelivered),
            Some(State::Stuck(_)) | None => Vec::new(),
        }
    }

    fn failed(&mut self, error: &io::Error) -> Written {
        tracing::debug!("can't write to a client any more: {error}");
        self.shut();
        Written::Nothing
    }

    fn wait(&mut self, stuck: Stuck) {
        self.0 = Some(Box::new(State::Stuck(stuck)));
    }
}

impl Shut {
    fn keep(&mut self, document: Bytes) {
        self.bytes = self.bytes.saturating_add(document.len());
        self.undelivered.push(document);
    }
}
