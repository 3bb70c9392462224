//! A frame's header: twelve bytes, all numbers big-endian.
//!
//! ```text
//!  byte  0         1      2       4           8
//!        version   type   flags   stream id   length        then, in a data frame, `length` bytes
//! ```

use std::fmt;

/// The length of a frame's header in bytes.
pub const HEADER_LEN: usize = 12;

/// The window that each side of a new stream starts with, in bytes (yamux, "Flow Control").
pub const INITIAL_WINDOW: u32 = 256 * 1024;

const VERSION: u8 = 0;
const KNOWN_FLAGS: u16 = 0xf;

/// The number of a stream in its session: odd for the client's, even for the server's.
///
/// 0 stands for the session itself and is never a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u32);

impl StreamId {
    /// The id of pings and go-aways.
    pub const SESSION: Self = Self(0);

    /// The id with this number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether a client opens streams with this number.
    #[must_use]
    pub const fn is_client(self) -> bool {
        self.0 % 2 == 1
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameType {
    /// Bytes of a stream.
    Data = 0,
    /// Room for more bytes of a stream.
    WindowUpdate = 1,
    /// A question whether the peer is there, or the answer.
    Ping = 2,
    /// No more streams.
    GoAway = 3,
}

/// The flags of a header. Which of them go together is not checked here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u16);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// Opens a stream; asks in a ping.
    pub const SYN: Self = Self(1);
    /// Accepts a stream; answers a ping.
    pub const ACK: Self = Self(2);
    /// The sender sends no more.
    pub const FIN: Self = Self(4);
    /// The stream is gone at once.
    pub const RST: Self = Self(8);

    /// The flags as they are written.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether all of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A header whose version, type and flags are known ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: FrameType,
    /// Its flags.
    pub flags: Flags,
    /// Whose it is.
    pub stream: StreamId,
    /// Bytes of data that follow, bytes of window, the ping's number or the go-away's code.
    pub length: u32,
}

/// Why twelve bytes are no header of yamux version 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// The first byte is not 0.
    #[error("version {found}, only {VERSION} is known")]
    Version {
        /// The byte that was found.
        found: u8,
    },
    /// The second byte is more than 3.
    #[error("frame type {found}, known are 0 (data) to 3 (go-away)")]
    Type {
        /// The byte that was found.
        found: u8,
    },
    /// A flag is set that yamux does not have.
    #[error("flags {found:#06x}, known are {KNOWN_FLAGS:#06x}")]
    Flags {
        /// All flags that were found.
        found: u16,
    },
}

impl Header {
    /// A data frame's header.
    #[must_use]
    pub const fn data(stream: StreamId, flags: Flags, length: u32) -> Self {
        Self {
            kind: FrameType::Data,
            flags,
            stream,
            length,
        }
    }

    /// A window update that returns `length` bytes.
    #[must_use]
    pub const fn window_update(stream: StreamId, flags: Flags, length: u32) -> Self {
        Self {
            kind: FrameType::WindowUpdate,
            flags,
            stream,
            length,
        }
    }

    /// A ping, or its answer.
    #[must_use]
    pub const fn ping(flags: Flags, number: u32) -> Self {
        Self {
            kind: FrameType::Ping,
            flags,
            stream: StreamId::SESSION,
            length: number,
        }
    }

    /// A go-away.
    #[must_use]
    pub const fn go_away(code: u32) -> Self {
        Self {
            kind: FrameType::GoAway,
            flags: Flags::NONE,
            stream: StreamId::SESSION,
            length: code,
        }
    }

    /// Reads a whole header.
    ///
    /// # Errors
    /// A [`HeaderFault`] for a version, a type or a flag that version 0 does not have.
    #[inline]
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, HeaderFault> {
        let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = *bytes;
        if version != VERSION {
            return Err(HeaderFault::Version { found: version });
        }
        let kind = match kind {
            0 => FrameType::Data,
            1 => FrameType::WindowUpdate,
            2 => FrameType::Ping,
            3 => FrameType::GoAway,
            found => return Err(HeaderFault::Type { found }),
        };
        let flags = u16::from_be_bytes([f0, f1]);
        if flags & !KNOWN_FLAGS != 0 {
            return Err(HeaderFault::Flags { found: flags });
        }
        Ok(Self {
            kind,
            flags: Flags(flags),
            stream: StreamId(u32::from_be_bytes([s0, s1, s2, s3])),
            length: u32::from_be_bytes([l0, l1, l2, l3]),
        })
    }

    /// The twelve bytes.
    #[must_use]
    #[inline]
    pub const fn encode(self) -> [u8; HEADER_LEN] {
        let [f0, f1] = self.flags.0.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.0.to_be_bytes();
        let [l0, l1, l2, l3] = self.length.to_be_bytes();
        [
            VERSION,
            self.kind as u8,
            f0,
            f1,
            s0,
            s1,
            s2,
            s3,
            l0,
            l1,
            l2,
            l3,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_as_they_lie_in_a_frame() {
        for (header, bytes) in [
            (
                Header::data(StreamId::new(1), Flags::SYN, 28),
                [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 28],
            ),
            (
                Header::window_update(
                    StreamId::new(0x0102_0304),
                    Flags::ACK.with(Flags::FIN),
                    256 * 1024,
                ),
                [0, 1, 0, 6, 1, 2, 3, 4, 0, 4, 0, 0],
            ),
            (
                Header::ping(Flags::ACK, u32::MAX),
                [0, 2, 0, 2, 0, 0, 0, 0, 255, 255, 255, 255],
            ),
            (Header::go_away(2), [0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]),
        ] {
            assert_eq!(header.encode(), bytes, "{header:?}");
            assert_eq!(Header::decode(&bytes), Ok(header));
        }
    }

    #[test]
    fn refused_headers() {
        for (bytes, fault) in [
            ([1, 0, 0, 0], HeaderFault::Version { found: 1 }),
            ([b'0', 0, 0, 0], HeaderFault::Version { found: b'0' }),
            ([0, 4, 0, 0], HeaderFault::Type { found: 4 }),
            ([0, 255, 0, 0], HeaderFault::Type { found: 255 }),
            ([0, 0, 0, 16], HeaderFault::Flags { found: 16 }),
            ([0, 2, 1, 1], HeaderFault::Flags { found: 257 }),
            ([0, 3, 0x80, 0], HeaderFault::Flags { found: 0x8000 }),
        ] {
            let mut header = [0; HEADER_LEN];
            header[..4].copy_from_slice(&bytes);
            assert_eq!(Header::decode(&header), Err(fault), "{bytes:?}");
        }
    }
}
