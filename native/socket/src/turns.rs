//! Which connections have something for the writer, in version 2.
//!
//! ```text
//!   a send, a window that opens --channel--> ring --turn--> frame
//!                                             ^              |
//!                                             `--- more -----'
//! ```
//!
//! Whoever sends hands its connection over without a lock that others take. The ring is the writer's, and a
//! connection is in one of the two at most.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::{Mutex, MutexGuard};

use crate::handle::Handle;

/// A ring that was longer than this gives its memory back when it is empty.
const KEPT: usize = 1024;

pub(crate) struct Turns {
    hand_over: Sender<Handle>,
    handed_over: Receiver<Handle>,
    ring: Mutex<VecDeque<Handle>>,
}

impl Turns {
    pub(crate) fn new() -> Self {
        let (hand_over, handed_over) = unbounded();
        Self {
            hand_over,
            handed_over,
            ring: Mutex::default(),
        }
    }

    /// A connection has something for the writer, which is to be told after that.
    pub(crate) fn hand_over(&self, handle: Handle) {
        // It fails where nobody receives, and the receiver is here.
        let _ = self.hand_over.send(handle);
    }

    /// The writer's ring, with all that were handed over.
    pub(crate) fn take(&self) -> MutexGuard<'_, VecDeque<Handle>> {
        let mut ring = self.ring.lock();
        if ring.is_empty() && ring.capacity() > KEPT {
            *ring = VecDeque::new();
        }
        ring.extend(self.handed_over.try_iter());
        ring
    }

    /// Nobody has anything any more.
    pub(crate) fn clear(&self) {
        *self.take() = VecDeque::new();
    }
}
