//! Bytes that streams have to send and that found no room in the output.
//!
//! Hardly any stream has some at a time, so a stream knows the number of its queue alone; the queue
//! is made by the first byte and given back after the last.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use crate::{copy, queue};

/// The number of a stream's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueId(NonZeroU32);

impl QueueId {
    const fn place(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// The queues of all streams.
#[derive(Debug, Default)]
pub(super) struct Queues {
    queues: Vec<VecDeque<u8>>,
    free: Vec<QueueId>,
}

impl Queues {
    pub(super) fn len(&self, id: Option<QueueId>) -> usize {
        id.and_then(|id| self.queues.get(id.place()))
            .map_or(0, VecDeque::len)
    }

    /// Appends bytes, at least one; `id` is the queue's from then on.
    pub(super) fn append(&mut self, id: &mut Option<QueueId>, bytes: &[u8]) {
        let id = *id.get_or_insert_with(|| self.make());
        if let Some(queue) = self.queues.get_mut(id.place()) {
            copy::append(queue, bytes);
        }
    }

    /// Takes a queue over, which is not empty; its bytes follow those that there are.
    pub(super) fn adopt(&mut self, id: &mut Option<QueueId>, mut bytes: VecDeque<u8>) {
        let id = *id.get_or_insert_with(|| self.make());
        match self.queues.get_mut(id.place()) {
            Some(queue) if queue.is_empty() => *queue = bytes,
            Some(queue) => queue.append(&mut bytes),
            None => {}
        }
    }

    /// The first `len` bytes, or all if there are less.
    pub(super) fn front(&self, id: QueueId, len: usize) -> [&[u8]; 2] {
        let queue = self.queues.get(id.place());
        queue.map_or([&[], &[]], |queue| queue::front(queue, len))
    }

    /// Drops the first `len` bytes, or all if there are less; an empty queue is given back.
    pub(super) fn remove(&mut self, id: &mut Option<QueueId>, len: usize) {
        let Some(queue) = id.and_then(|id| self.queues.get_mut(id.place())) else {
            return;
        };
        if len >= queue.len() {
            self.give_back(id);
        } else {
            queue::drop_front(queue, len);
        }
    }

    /// Drops a queue with all that is in it.
    pub(super) fn give_back(&mut self, id: &mut Option<QueueId>) {
        let Some(id) = id.take() else { return };
        if let Some(queue) = self.queues.get_mut(id.place()) {
            *queue = VecDeque::new();
            self.free.push(id);
        }
        if self.free.len() == self.queues.len() {
            *self = Self::default();
        }
    }

    fn make(&mut self) -> QueueId {
        self.free.pop().unwrap_or_else(|| {
            self.queues.push(VecDeque::new());
            // There are less queues than streams, which are less than 2^28.
            QueueId(NonZeroU32::MIN.saturating_add(self.queues.len() as u32 - 1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(queues: &Queues, id: Option<QueueId>) -> Vec<u8> {
        id.map_or(Vec::new(), |id| queues.front(id, usize::MAX).concat())
    }

    #[test]
    fn queues_keep_their_bytes_apart_and_leave_nothing() {
        let mut queues = Queues::default();
        let (mut a, mut b) = (None, None);
        queues.append(&mut a, b"first");
        queues.append(&mut b, b"other");
        queues.append(&mut a, b" second");
        assert_eq!((queues.len(a), queues.len(b)), (12, 5));
        queues.remove(&mut a, 6);
        assert_eq!(content(&queues, a), b"second");
        assert_eq!(content(&queues, b), b"other");
        queues.remove(&mut b, 5);
        assert_eq!(b, None);
        let mut c = None;
        queues.append(&mut c, b"again");
        assert_eq!(queues.queues.len(), 2, "a place is used again");
        assert_eq!((queues.len(a), queues.len(b), queues.len(c)), (6, 0, 5));
        queues.give_back(&mut a);
        queues.give_back(&mut c);
        queues.give_back(&mut c);
        assert_eq!(queues.queues.capacity(), 0);
    }

    #[test]
    fn a_queue_that_empties_gives_room_back() {
        let mut queues = Queues::default();
        let mut id = None;
        queues.append(&mut id, &vec![b'x'; 10 << 20]);
        for _ in 0..10 << 6 {
            queues.remove(&mut id, 16 << 10);
        }
        assert_eq!(id, None);
        queues.append(&mut id, &vec![b'x'; 10 << 20]);
        queues.remove(&mut id, (10 << 20) - 1_000);
        assert!(queues.queues[0].capacity() < 4 << 10);
        assert_eq!(queues.len(id), 1_000);
    }
}
