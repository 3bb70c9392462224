//! What a client has sent and its stream's window has no room for.

use std::sync::Arc;

use megaphone_trunk::v2::StreamId;

use super::Link;
use crate::budget::Holder;
use crate::trunk::mailbox::Mailbox;

/// A stream's queue. Its client may be gone.
#[derive(Debug)]
pub struct Queue {
    pub(super) link: Arc<Link>,
    pub(super) id: StreamId,
    /// How its client hears of it.
    pub(super) mailbox: Option<Arc<Mailbox>>,
    pub(super) bytes: usize,
}

impl Holder for Queue {
    fn held(&self) -> usize {
        self.bytes
    }

    /// The stream is reset, and its client's connection ends.
    fn evict(&self) {
        let mut state = self.link.state.lock();
        // If it is gone, so is what was queued.
        let _ = state.session.reset(self.id);
        self.link.count_queued(&mut state);
        drop(state);
        if let Some(mailbox) = &self.mailbox {
            mailbox.evict();
        }
        self.link.output.notify_one();
    }
}
