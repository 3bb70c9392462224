//! One stream, as its client uses it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use megaphone_trunk::v2::{StreamId, Tag, Written};
use tokio::time::Instant;

use super::{Link, Stage};
use crate::trunk::mailbox::Mailbox;
use crate::trunk::usage::Kind;
use crate::trunk::{Sent, TrunkLost};

/// The window is returned by as much as this at once, so that small answers cost no lock.
const RETURNED_AT_ONCE: u32 = 32 * 1024;

/// A virtual connection in a trunk. Dropping it finishes it in order.
#[derive(Debug)]
pub struct Connection {
    link: Arc<Link>,
    mailbox: Arc<Mailbox>,
    stream: Stream,
    /// What the client took and the window was not given back for; less than a window.
    taken: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Stream {
    /// ejabberd does not know of it; these are its first bytes.
    Unopened(Vec<u8>),
    Open {
        id: StreamId,
        tag: Tag,
    },
    /// It was reset from here.
    Aborted,
}

impl Connection {
    pub(super) fn new(link: Arc<Link>, mailbox: Arc<Mailbox>, kind: Kind, header: Vec<u8>) -> Self {
        link.load.fetch_add(1, Relaxed);
        link.usage.add(kind);
        Self {
            link,
            mailbox,
            stream: Stream::Unopened(header),
            taken: 0,
            kind,
        }
    }

    /// The stream's id, for logs; 0 before its first content.
    pub const fn id(&self) -> u32 {
        match self.stream {
            Stream::Open { id, .. } => id.get(),
            Stream::Unopened(_) | Stream::Aborted => 0,
        }
    }

    /// Whether ejabberd knows of it.
    pub const fn is_open(&self) -> bool {
        matches!(self.stream, Stream::Open { .. })
    }

    /// Whether its trunk takes no more connections.
    pub fn is_retired(&self) -> bool {
        !self.link.is_accepting()
    }

    /// What comes for the client.
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Sends content, all of it or nothing.
    ///
    /// # Errors
    /// [`TrunkLost`] if the trunk takes no more streams or the stream is gone; of one that was open the
    /// mailbox says so too.
    pub fn try_send(&mut self, content: &[u8]) -> Result<Sent, TrunkLost> {
        let mut state = self.link.state.lock();
        if state.stage == Stage::Lost {
            return Err(TrunkLost);
        }
        let written = match &mut self.stream {
            Stream::Unopened(first) => {
                first.extend_from_slice(content);
                let tag = state.streams.insert(Arc::clone(&self.mailbox));
                let Ok(id) = state.session.open(tag, first) else {
                    state.streams.remove(tag);
                    self.link.stop_accepting(&state);
                    return Err(TrunkLost);
                };
                self.stream = Stream::Open { id, tag };
                if state.session.ids_left() < self.link.spare_ids {
                    self.link.wear_out();
                }
                Written::Taken
            }
            Stream::Open { id, .. } => {
                let written = state.session.write(*id, content);
                written.map_err(|_gone| TrunkLost)?
            }
            Stream::Aborted => return Err(TrunkLost),
        };
        if matches!(written, Written::Taken) {
            state.waiting_since.get_or_insert_with(Instant::now);
            // Nobody takes output while the trunk itself stands still.
            self.link.count_queued(&mut state);
        }
        drop(state);
        match written {
            Written::Taken => {
                self.link.output.notify_one();
                Ok(Sent::Sent)
            }
            Written::Refused => Ok(Sent::Refused),
        }
    }

    /// The client's socket took so much: ejabberd may send as much again.
    pub fn delivered(&mut self, bytes: usize) {
        let taken = u32::try_from(self.mailbox.delivered(bytes)).unwrap_or(u32::MAX);
        self.taken = self.taken.saturating_add(taken);
        if self.taken >= RETURNED_AT_ONCE
            && let Stream::Open { id, .. } = self.stream
        {
            let mut state = self.link.state.lock();
            // If the stream is gone, nobody waits for its window.
            let _ = state.session.consumed(id, self.taken as usize);
            let has_output = state.session.has_output();
            drop(state);
            self.taken = 0;
            if has_output {
                self.link.output.notify_one();
            }
        }
    }

    /// The client sends nothing more.
    pub fn finish(&mut self) {
        if let Stream::Open { id, .. } = self.stream {
            // If it is gone, the mailbox says so.
            let _ = self.link.state.lock().session.finish(id);
            self.link.output.notify_one();
        }
    }

    /// Ends it in the middle: ejabberd sees a reset.
    pub fn abort(mut self) {
        if let Stream::Open { id, tag } = self.stream {
            let mut state = self.link.state.lock();
            let _ = state.session.reset(id);
            state.streams.remove(tag);
            drop(state);
            self.link.output.notify_one();
            self.stream = Stream::Aborted;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.link.load.fetch_sub(1, Relaxed);
        self.link.usage.remove(self.kind);
        if let Stream::Open { id, tag } = self.stream {
            let mut state = self.link.state.lock();
            if state.stage != Stage::Lost {
                // If both sides had finished, nothing is left of it.
                let _ = state.session.release(id);
                state.streams.remove(tag);
            }
            drop(state);
            self.link.output.notify_one();
        }
    }
}
