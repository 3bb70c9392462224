//! Bytes that wait for their turn, of which some are taken from the front at a time.

use std::collections::VecDeque;

/// A queue with more room than this gives most of it back as it empties.
const KEPT_ROOM: usize = 4 << 10;

/// The first `len` bytes, or all if there are less; in two parts, where the queue's memory ends between them.
#[must_use]
pub fn front(queue: &VecDeque<u8>, len: usize) -> [&[u8]; 2] {
    let (first, second) = queue.as_slices();
    let from_first = len.min(first.len());
    let from_second = (len - from_first).min(second.len());
    [&first[..from_first], &second[..from_second]]
}

/// Drops the first `len` bytes, or all if there are less; what is empty has no memory.
pub fn drop_front(queue: &mut VecDeque<u8>, len: usize) {
    if len >= queue.len() {
        *queue = VecDeque::new();
        return;
    }
    queue.drain(..len);
    let room = queue.capacity();
    if room > KEPT_ROOM && queue.len() < room / 4 {
        queue.shrink_to(2 * queue.len());
    }
}
