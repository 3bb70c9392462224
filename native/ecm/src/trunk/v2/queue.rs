//! What a client has sent and its stream's window has no room for.

use std::sync::Arc;

use megaphone_trunk::v2::{QueuedStream, StreamId};

use super::mux::Multiplexer;
use crate::budget::Holder;
use crate::trunk::mailbox::Mailbox;

/// A stream's queue. Its client may be gone.
#[derive(Debug)]
pub struct Queue {
    mux: Arc<Multiplexer>,
    id: StreamId,
    /// How its client hears of it.
    mailbox: Option<Arc<Mailbox>>,
    bytes: usize,
}

impl Multiplexer {
    /// What clients have sent and ejabberd's windows have no room for.
    pub fn queues(self: &Arc<Self>) -> Vec<Queue> {
        let state = self.state.lock();
        let queue = |stream: QueuedStream| Queue {
            mux: Arc::clone(self),
            id: stream.id,
            mailbox: stream.tag.and_then(|tag| state.streams.find(tag)),
            bytes: stream.bytes,
        };
        state.session.queued_streams().map(queue).collect()
    }
}

impl Holder for Queue {
    fn held(&self) -> usize {
        self.bytes
    }

    /// The stream is reset, and its client's connection ends.
    fn evict(&self) {
        let mut state = self.mux.state.lock();
        // If it is gone, so is what was queued.
        let _ = state.session.reset(self.id);
        self.mux.count_queued(&mut state);
        drop(state);
        if let Some(mailbox) = &self.mailbox {
            mailbox.evict();
        }
        self.mux.output.notify_one();
    }
}
