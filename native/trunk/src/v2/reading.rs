//! How far a frame was read, wherever the transport cut it.

use super::event::Tag;
use super::header::{HEADER_LEN, StreamId};

/// How far a frame was read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reading {
    /// The first `len` bytes of a header.
    Header { bytes: [u8; HEADER_LEN], len: usize },
    /// A header, and all but the last `left` bytes of the data after it, at least one.
    Data { body: Body, left: u32 },
}

impl Default for Reading {
    fn default() -> Self {
        Self::Header {
            bytes: [0; HEADER_LEN],
            len: 0,
        }
    }
}

impl Reading {
    /// The rest of a frame that is half read goes by the stream's new tag.
    pub(super) fn set_tag(&mut self, id: StreamId, tag: Tag) {
        if let Self::Data { body, .. } = self
            && body.id == id
        {
            body.tag = tag;
        }
    }
}

/// Whose data a frame has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body {
    pub(super) id: StreamId,
    pub(super) tag: Tag,
    pub(super) fate: Fate,
    pub(super) end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Deliver,
    Drop,
}

/// What follows a frame's last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    More,
    Finish,
}

impl Body {
    pub(super) const fn dropped(id: StreamId) -> Self {
        Self {
            id,
            tag: 0,
            fate: Fate::Drop,
            end: End::More,
        }
    }
}
