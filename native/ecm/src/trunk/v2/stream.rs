//! One stream, as its client uses it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use megaphone_trunk::v2::{StreamId, Tag, Written};
use tokio::time::Instant;

use super::mux::{Multiplexer, MuxStage};
use super::streams::Opened;
use crate::trunk::leaving::Passage;
use crate::trunk::mailbox::{Mailbox, Unread};
use crate::trunk::usage::Kind;
use crate::trunk::{Sent, TrunkLost};

/// The window is returned by as much as this at once, so that small answers cost no lock.
const RETURNED_AT_ONCE: u32 = 32 * 1024;

/// A virtual connection in a trunk. Dropping it finishes it in order.
#[derive(Debug)]
pub struct Stream {
    mux: Arc<Multiplexer>,
    mailbox: Arc<Mailbox>,
    stream: StreamStage,
    /// What the client took and the window was not given back for; less than a window.
    taken: u32,
    /// None of this program's own.
    kind: Option<Kind>,
}

#[derive(Debug)]
enum StreamStage {
    /// ejabberd does not know of it; these are its first bytes.
    Unopened(Vec<u8>),
    Open {
        id: StreamId,
        tag: Tag,
    },
    /// It was reset from here.
    Aborted,
}

impl Multiplexer {
    /// A connection; ejabberd hears of it with its first content, after `header`.
    ///
    /// # Errors
    /// [`TrunkLost`] if the trunk takes no more.
    pub fn open(self: &Arc<Self>, kind: Kind, header: Vec<u8>) -> Result<Stream, TrunkLost> {
        self.open_as(Some(kind), header)
    }

    /// The same for a question of this program's own, which counts among nothing.
    ///
    /// # Errors
    /// [`TrunkLost`] likewise.
    pub fn ask(self: &Arc<Self>, header: Vec<u8>) -> Result<Stream, TrunkLost> {
        self.open_as(None, header)
    }

    fn open_as(self: &Arc<Self>, kind: Option<Kind>, header: Vec<u8>) -> Result<Stream, TrunkLost> {
        if !self.is_accepting() {
            return Err(TrunkLost);
        }
        let mailbox = Arc::new(Mailbox::new(Arc::clone(&self.budget)));
        Ok(Stream::new(Arc::clone(self), mailbox, kind, header))
    }

    /// A stream that the other side has opened.
    pub fn accept(self: &Arc<Self>, opened: Opened) -> Stream {
        let Opened { id, tag, mailbox } = opened;
        let mut stream = Stream::new(Arc::clone(self), mailbox, Some(Kind::Request), Vec::new());
        stream.stream = StreamStage::Open { id, tag };
        stream
    }
}

impl Stream {
    pub(super) fn new(
        mux: Arc<Multiplexer>,
        mailbox: Arc<Mailbox>,
        kind: Option<Kind>,
        header: Vec<u8>,
    ) -> Self {
        if let Some(kind) = kind {
            mux.load.fetch_add(1, Relaxed);
            mux.usage.add(kind);
        }
        Self {
            mux,
            mailbox,
            stream: StreamStage::Unopened(header),
            taken: 0,
            kind,
        }
    }

    /// The stream's id, for logs; 0 before its first content.
    pub const fn id(&self) -> u32 {
        match self.stream {
            StreamStage::Open { id, .. } => id.get(),
            StreamStage::Unopened(_) | StreamStage::Aborted => 0,
        }
    }

    /// Whether ejabberd knows of it.
    pub const fn is_open(&self) -> bool {
        matches!(self.stream, StreamStage::Open { .. })
    }

    /// Whether its trunk takes no more connections.
    pub fn is_retired(&self) -> bool {
        !self.mux.is_accepting()
    }

    /// Which sessions can move to its trunk.
    pub fn version(&self) -> Option<&str> {
        self.mux.version()
    }

    /// Leave for its session to move to another trunk.
    pub fn passage(&self, tried: &mut u8) -> Option<Passage> {
        self.mux.passage(tried)
    }

    /// Whether it is in this trunk.
    pub fn is_in(&self, mux: &Arc<Multiplexer>) -> bool {
        Arc::ptr_eq(&self.mux, mux)
    }

    /// What of that its client has not taken, whatever becomes of the stream.
    pub fn unread(&self) -> Unread {
        Unread::of(&self.mailbox)
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
        let mut state = self.mux.state.lock();
        if state.stage == MuxStage::Lost {
            return Err(TrunkLost);
        }
        let written = match &mut self.stream {
            StreamStage::Unopened(first) => {
                first.extend_from_slice(content);
                let tag = state.streams.insert(Arc::clone(&self.mailbox));
                let Ok(id) = state.session.open(tag, first) else {
                    state.streams.remove(tag);
                    self.mux.stop_accepting(&state);
                    return Err(TrunkLost);
                };
                self.stream = StreamStage::Open { id, tag };
                if state.session.ids_left() < self.mux.spare_ids {
                    self.mux.wear_out();
                }
                Written::Taken
            }
            StreamStage::Open { id, .. } => {
                let written = state.session.write(*id, content);
                written.map_err(|_gone| TrunkLost)?
            }
            StreamStage::Aborted => return Err(TrunkLost),
        };
        if matches!(written, Written::Taken) {
            state.waiting_since.get_or_insert_with(Instant::now);
            // Nobody takes output while the trunk itself stands still.
            self.mux.count_queued(&mut state);
        }
        drop(state);
        match written {
            Written::Taken => {
                self.mux.output.notify_one();
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
            && let StreamStage::Open { id, .. } = self.stream
        {
            let mut state = self.mux.state.lock();
            // If the stream is gone, nobody waits for its window.
            let _ = state.session.consumed(id, self.taken as usize);
            let has_output = state.session.has_output();
            drop(state);
            self.taken = 0;
            if has_output {
                self.mux.output.notify_one();
            }
        }
    }

    /// The client sends nothing more.
    pub fn finish(&mut self) {
        if let StreamStage::Open { id, .. } = self.stream {
            // If it is gone, the mailbox says so.
            let _ = self.mux.state.lock().session.finish(id);
            self.mux.output.notify_one();
        }
    }

    /// Ends it in the middle: ejabberd sees a reset.
    pub fn abort(mut self) {
        if let StreamStage::Open { id, tag } = self.stream {
            let mut state = self.mux.state.lock();
            let _ = state.session.reset(id);
            state.streams.remove(tag);
            drop(state);
            self.mux.output.notify_one();
            self.stream = StreamStage::Aborted;
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(kind) = self.kind {
            self.mux.load.fetch_sub(1, Relaxed);
            self.mux.usage.remove(kind);
        }
        if let StreamStage::Open { id, tag } = self.stream {
            let mut state = self.mux.state.lock();
            if state.stage != MuxStage::Lost {
                // If both sides had finished, nothing is left of it.
                let _ = state.session.release(id);
                state.streams.remove(tag);
            }
            drop(state);
            self.mux.output.notify_one();
        }
    }
}
