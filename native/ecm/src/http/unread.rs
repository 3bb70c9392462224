//! What was read of a client's requests and not decoded.

use bytes::BytesMut;

/// Bytes that were read and wait for those that make them whole.
///
/// What is decoded is split off and shares their memory, so a few bytes that are left could keep all of a large
/// read from being freed.
#[derive(Debug, Default)]
pub struct Unread {
    bytes: BytesMut,
    /// The size of the memory that they are a part of.
    allocated: usize,
}

impl Unread {
    /// Adds what was read.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.allocated = self.allocated.max(self.bytes.capacity());
    }

    /// For the decoder, which takes off the front what it has decoded.
    pub const fn bytes(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// Takes all of it.
    pub fn take(&mut self) -> BytesMut {
        self.allocated = 0;
        std::mem::take(&mut self.bytes)
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Gives back the memory that it does not need. At least three times what is copied was decoded since, so
    /// all copies together cost no more than reading did.
    pub fn shrink(&mut self) {
        const SMALL_PART: usize = 4;
        if self.bytes.is_empty() {
            *self = Self::default();
        } else if self.bytes.len() < self.allocated / SMALL_PART {
            self.bytes = BytesMut::from(&self.bytes[..]);
            self.allocated = self.bytes.capacity();
        }
    }

    /// How much memory it takes.
    pub const fn allocated(&self) -> usize {
        self.allocated
    }
}

/// What somebody else has read.
impl From<BytesMut> for Unread {
    fn from(bytes: BytesMut) -> Self {
        let allocated = bytes.capacity();
        Self { bytes, allocated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_large_read_takes_no_more_than_it_needs() {
        let mut unread = Unread::default();
        assert_eq!(unread.allocated(), 0);
        unread.feed(&[b'x'; 64 * 1024]);
        let decoded = unread.bytes().split_to(64 * 1024 - 10).freeze();
        assert!(unread.allocated() >= 64 * 1024);
        unread.shrink();
        assert!(unread.allocated() < 100, "{}", unread.allocated());
        assert_eq!((unread.len(), decoded.len()), (10, 64 * 1024 - 10));
        // What is mostly there stays where it is.
        unread.feed(&[b'x'; 1000]);
        let _decoded = unread.bytes().split_to(500);
        let allocated = unread.allocated();
        unread.shrink();
        assert_eq!(unread.allocated(), allocated);
        let _decoded = unread.bytes().split_to(510);
        unread.shrink();
        assert_eq!((unread.allocated(), unread.bytes().capacity()), (0, 0));
    }
}
