//! A client's documents that ejabberd has not taken.

use std::collections::VecDeque;

/// What a document costs beside its bytes: its place here, and what the allocator keeps of it. The smallest
/// documents are no larger than that.
const EACH: usize = size_of::<Vec<u8>>() + 16;

/// Documents in the order in which they came.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Documents {
    queue: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Documents {
    /// None, with room for this many.
    pub fn with_capacity(count: usize) -> Self {
        Self {
            queue: VecDeque::with_capacity(count),
            bytes: 0,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Adds one at the end.
    pub fn push(&mut self, document: Vec<u8>) {
        self.bytes += EACH + document.len();
        self.queue.push_back(document);
    }

    /// Adds others at the end.
    pub fn append(&mut self, mut other: Self) {
        if self.queue.is_empty() {
            *self = other;
        } else {
            self.bytes += other.bytes;
            self.queue.append(&mut other.queue);
        }
    }

    /// The first one.
    pub fn first(&self) -> Option<&[u8]> {
        self.queue.front().map(Vec::as_slice)
    }

    /// Drops the first one. When there is none any more no memory is kept.
    pub fn pop(&mut self) {
        if let Some(document) = self.queue.pop_front() {
            self.bytes -= EACH + document.len();
        }
        if self.queue.is_empty() {
            *self = Self::default();
        }
    }

    /// Drops all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes of memory.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_counted_with_what_each_costs() {
        let mut documents = Documents::with_capacity(4);
        assert_eq!(documents.bytes(), 0);
        documents.push(b"<a/>".to_vec());
        let mut more = Documents::default();
        more.push(b"<bc/>".to_vec());
        documents.append(more);
        assert_eq!(documents.bytes(), 9 + 2 * EACH);
        assert_eq!(documents.first(), Some(&b"<a/>"[..]));
        documents.pop();
        assert_eq!(documents.first(), Some(&b"<bc/>"[..]));
        documents.pop();
        documents.pop();
        assert!(documents.is_empty() && documents.queue.capacity() == 0);
        assert_eq!(documents.bytes(), 0);
    }
}
