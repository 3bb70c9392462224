//! The trunk's output: frames that the writer takes in batches.

use std::collections::VecDeque;

use megaphone_trunk::copy::append;
use megaphone_trunk::v1::{self, ConnectionId, HEADER_LEN};
use parking_lot::Mutex;

use crate::handle::Handle;

/// The longest frame that is sent, header included: connections take turns by frames.
pub(crate) const FRAME_LEN: usize = 16 << 10;
/// The most content in a frame.
pub(crate) const CONTENT_LEN: usize = FRAME_LEN - HEADER_LEN;
/// How much output is framed ahead of the writer; past it connections queue for themselves.
const AHEAD: usize = 256 << 10;

/// Frames that are ready, and the connections that have more to say, in turn.
///
/// A connection's small sends go straight to `framed`, one copy. Once that is full, or a
/// connection waits for its turn, the bytes stay with their connection and it stands in `queue`
/// for a turn of one frame: nobody who queues is overtaken for ever.
#[derive(Default)]
pub(crate) struct Outbox {
    frames: Mutex<Frames>,
}

#[derive(Default)]
struct Frames {
    framed: Vec<u8>,
    queue: VecDeque<Handle>,
}

impl Outbox {
    /// Frames as much of `content` as there is room for; says how many bytes were taken.
    pub(crate) fn frame(&self, id: &ConnectionId, content: &[u8]) -> Framed {
        let mut frames = self.frames.lock();
        let mut done = Framed::default();
        while done.bytes < content.len() && frames.framed.len() < AHEAD && frames.queue.is_empty() {
            let end = content.len().min(done.bytes + CONTENT_LEN);
            put_frame(&mut frames.framed, id, &content[done.bytes..end]);
            done.bytes = end;
            done.frames += 1;
        }
        done
    }

    /// Frames a close, room or not: it is 32 bytes and comes once.
    pub(crate) fn frame_close(&self, id: &ConnectionId) {
        put_frame(&mut self.frames.lock().framed, id, &[]);
    }

    /// Whether there is room for an answer that nobody waits for.
    pub(crate) fn has_room(&self) -> bool {
        self.frames.lock().framed.len() < AHEAD
    }

    /// Whether no frame is ready and no connection waits for its turn.
    pub(crate) fn is_empty(&self) -> bool {
        let frames = self.frames.lock();
        frames.framed.is_empty() && frames.queue.is_empty()
    }

    /// Gives a connection a turn after all others that wait.
    pub(crate) fn enqueue(&self, handle: Handle) {
        self.frames.lock().queue.push_back(handle);
    }

    pub(crate) fn next_turn(&self) -> Option<Handle> {
        self.frames.lock().queue.pop_front()
    }

    /// The connections that stand in the queue.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> Vec<Handle> {
        self.frames.lock().queue.iter().copied().collect()
    }

    /// Exchanges what is framed so far for an empty buffer.
    pub(crate) fn take_framed(&self, batch: &mut Vec<u8>) {
        std::mem::swap(&mut self.frames.lock().framed, batch);
    }
}

/// How much a call of [`Outbox::frame`] took.
#[derive(Default)]
pub(crate) struct Framed {
    pub(crate) bytes: usize,
    pub(crate) frames: u64,
}

/// Appends one frame of at most [`CONTENT_LEN`] bytes of content.
pub(crate) fn put_frame(out: &mut Vec<u8>, id: &ConnectionId, content: &[u8]) {
    debug_assert!(content.len() <= CONTENT_LEN);
    // The length has ten digits and a frame 16 KiB: this can't fail.
    if let Ok(header) = v1::encode_header(id, content.len()) {
        out.extend_from_slice(&header);
        append(out, content);
    }
}
