//! The bytes that an exchange holds: allocated when the first arrives, given back when none is left.

use bytes::BytesMut;

use crate::chunk::ChunkDecoder;
use crate::chunk::ChunkStep;
use crate::edit::{HeadEdit, HeadFields};
use crate::error::RequestError;
use crate::head::HeadScan;

/// What arrived and wasn't read yet.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// Bytes from the client that no request was made of yet.
    pub pending: BytesMut,
    /// The size of the allocation that `pending` is a part of.
    allocated: usize,
    /// How far the search for a head's end in `pending` has come.
    pub scan: HeadScan,
    /// Bytes that the reader may have.
    pub readable: BytesMut,
    /// How many bytes at the front of `readable` belong to the request's head.
    pub head_left: usize,
    /// The chunked body that is being collected.
    pub chunked: Option<Box<ChunkedRequest>>,
}

impl Inbox {
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.readable.is_empty() && self.chunked.is_none()
    }

    /// Bytes held, whatever they are.
    pub fn len(&self) -> usize {
        let chunked = self.chunked.as_ref().map_or(0, |request| request.len());
        self.pending.len() + self.readable.len() + chunked
    }

    /// Takes bytes from the client that no phase has claimed.
    pub fn append(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        self.allocated = self.allocated.max(self.pending.capacity());
    }

    /// The first `len` pending bytes, of which `head` are a head, are the reader's from now on.
    pub fn hand_over(&mut self, head: usize, len: usize) {
        self.readable = if len == self.pending.len() {
            std::mem::take(&mut self.pending)
        } else {
            self.pending.split_to(len)
        };
        self.head_left = head;
        self.scan = HeadScan::default();
        self.shrink();
    }

    /// Moves what is pending to an allocation of its size once it's a small part of a large one. At
    /// least three times what is copied was taken since, so all copies together cost linear time.
    fn shrink(&mut self) {
        const SMALL_PART: usize = 4;
        if self.pending.len() < self.allocated / SMALL_PART {
            self.pending = BytesMut::from(&self.pending[..]);
            self.allocated = self.pending.capacity();
        }
    }

    #[cfg(test)]
    pub fn allocated(&self) -> usize {
        self.allocated
    }

    /// Takes `count` bytes off the reader's.
    pub fn consume(&mut self, count: usize) {
        let count = count.min(self.readable.len());
        let _read = self.readable.split_to(count);
        self.head_left = self.head_left.saturating_sub(count);
        if self.readable.is_empty() {
            self.readable = BytesMut::new();
        }
    }
}

/// A request whose chunked body is on its way in, to be handed over with a `Content-Length`.
#[derive(Debug)]
pub(crate) struct ChunkedRequest {
    decoder: ChunkDecoder,
    /// The head without its `Content-Length` and its empty line.
    head: BytesMut,
    /// `gap` unused bytes where the head will go, and the body so far.
    body: BytesMut,
    gap: usize,
}

/// The head's end: `Content-Length: ` with a u64, and two line ends.
const LENGTH_FIELD: usize = "Content-Length: 18446744073709551615\r\n\r\n".len();

impl ChunkedRequest {
    /// A request with this head, its chunked framing taken out by `edit`.
    pub fn new(head: &impl HeadFields, edit: &HeadEdit, limit: u64) -> Self {
        let mut edited = BytesMut::new();
        edit.write(head, &mut edited);
        edited.truncate(edited.len().saturating_sub("\r\n".len()));
        let gap = edited.len() + LENGTH_FIELD;
        Self {
            decoder: ChunkDecoder::new(limit),
            head: edited,
            body: BytesMut::zeroed(gap),
            gap,
        }
    }

    /// Takes what `input` has of the body. Whether that was all of it.
    pub fn feed(&mut self, input: &mut BytesMut) -> Result<bool, RequestError> {
        loop {
            match self.decoder.step(input)? {
                ChunkStep::More => {
                    *input = BytesMut::new();
                    return Ok(false);
                }
                ChunkStep::Data { skip, len } => {
                    self.body.extend_from_slice(&input[skip..skip + len]);
                    let _taken = input.split_to(skip + len);
                }
                ChunkStep::End { skip } => {
                    let _framing = input.split_to(skip);
                    return Ok(true);
                }
            }
        }
    }

    /// The whole request, and how much of it is head. The head goes into the gap before the body, so
    /// the body stays where it was collected.
    pub fn finish(mut self) -> (usize, BytesMut) {
        let length = self.body.len().saturating_sub(self.gap);
        self.head
            .extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
        let start = self.gap.saturating_sub(self.head.len());
        self.body[start..self.gap].copy_from_slice(&self.head);
        let _unused = self.body.split_to(start);
        (self.head.len(), self.body)
    }

    fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}
