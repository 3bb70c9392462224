//! What can be wrong with a frame, with an id, or with what one asks to be sent.

use std::fmt;

use super::layout::{CONNECTION_ID_LEN, HEADER_LEN, MAX_FRAME_LEN};

/// Why a trunk had to end: the first byte that no frame of version 1 can have there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("trunk byte {offset}: {fault}")]
pub struct FrameError {
    /// Where, counted in bytes from the start of the trunk. For a length that is out of bounds it is
    /// the first of its ten digits.
    pub offset: u64,
    /// What was found there.
    pub fault: HeaderFault,
}

/// What is wrong with a frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// One of the first ten bytes is a letter, a sign, a space or anything else but a digit.
    #[error("{} in the frame's length, which is exactly ten digits", Byte(*.found))]
    LengthByte {
        /// The byte that was found.
        found: u8,
    },
    /// The length is less than the header it includes.
    #[error("frame length {found}; it must be at least {HEADER_LEN}, as it includes the header")]
    LengthBelowHeader {
        /// The length that was found, in bytes.
        found: u64,
    },
    /// The length is more than this decoder accepts.
    #[error("frame length {found}; at most {limit} is allowed")]
    LengthAboveLimit {
        /// The length that was found, in bytes.
        found: u64,
        /// The decoder's limit, in bytes.
        limit: u64,
    },
    /// Byte 10 of the header is not a bar.
    #[error("{} after the frame's length, where '|' must be", Byte(*.found))]
    MissingLengthBar {
        /// The byte that was found.
        found: u8,
    },
    /// One of the bytes 11 to 30 can't be in a connection id.
    #[error("{} in the connection id, which is {CONNECTION_ID_LEN} bytes of 0x21 to 0x7e", Byte(*.found))]
    IdByte {
        /// The byte that was found.
        found: u8,
    },
    /// Byte 31 of the header is not a bar.
    #[error("{} after the connection id, where '|' must be", Byte(*.found))]
    MissingIdBar {
        /// The byte that was found.
        found: u8,
    },
}

impl HeaderFault {
    /// The fault's name in counters: `frame_length_byte`, `frame_too_long` ...
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::LengthByte { .. } => "frame_length_byte",
            Self::LengthBelowHeader { .. } => "frame_too_short",
            Self::LengthAboveLimit { .. } => "frame_too_long",
            Self::MissingLengthBar { .. } => "frame_length_bar",
            Self::IdByte { .. } => "frame_id_byte",
            Self::MissingIdBar { .. } => "frame_id_bar",
        }
    }
}

/// Why some bytes are not a [`ConnectionId`](super::ConnectionId).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Too few or too many bytes.
    #[error("a connection id of {found} bytes; it must have {CONNECTION_ID_LEN}")]
    Length {
        /// How many bytes there were.
        found: usize,
    },
    /// A byte outside 0x21 to 0x7e.
    #[error("{} at byte {index} of a connection id; allowed are 0x21 to 0x7e", Byte(*.found))]
    Byte {
        /// Which byte, from 0.
        index: usize,
        /// The byte that was found.
        found: u8,
    },
}

/// Why a number is no [`MaxFrameSize`](super::MaxFrameSize).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame size limit of {found} bytes; allowed are {} to {MAX_FRAME_LEN}", HEADER_LEN + 1)]
pub struct LimitError {
    /// The number that was given.
    pub found: u64,
}

/// Why a frame can't be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Ten digits can't say the frame's length.
    #[error("{content_len} bytes of content; a frame has room for {}", MAX_FRAME_LEN - HEADER_LEN as u64)]
    TooLong {
        /// The content's length in bytes.
        content_len: usize,
    },
    /// A frame without content closes its connection, so it is never written for an empty piece.
    #[error("no content: such a frame would close the connection")]
    Empty,
}

/// A byte that others sent, safe in a log: `'x' (0x78)`.
struct Byte(u8);

impl fmt::Display for Byte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0x21..=0x7e => write!(f, "'{}' (0x{:02x})", char::from(self.0), self.0),
            byte => write!(f, "0x{byte:02x}"),
        }
    }
}
