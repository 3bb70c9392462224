//! A frame's header: reading one, and saying what is wrong with it.

use super::error::{HeaderFault, LimitError};
use super::id::{ConnectionId, is_id_byte};
use super::layout::{
    CONNECTION_ID_LEN, HEADER_LEN, ID_BAR, ID_START, LENGTH_BAR, LENGTH_DIGITS, MAX_FRAME_LEN,
};

/// The longest frame that one side accepts or sends, header included.
///
/// Content is never collected by the decoder, so this bounds how long one connection may have the
/// trunk for itself, not memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MaxFrameSize(u64);

impl MaxFrameSize {
    /// 1 MiB.
    pub const DEFAULT: Self = Self(1024 * 1024);

    /// A limit in bytes, from 33 (a header and one byte of content) to [`MAX_FRAME_LEN`].
    ///
    /// # Errors
    /// [`LimitError`] for a number outside of that.
    pub const fn new(bytes: u64) -> Result<Self, LimitError> {
        if bytes > HEADER_LEN as u64 && bytes <= MAX_FRAME_LEN {
            Ok(Self(bytes))
        } else {
            Err(LimitError { found: bytes })
        }
    }

    /// The limit in bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// How much content a frame of this size has room for, in bytes; at least one.
    #[must_use]
    pub fn max_content(self) -> usize {
        usize::try_from(self.0 - HEADER_LEN as u64).unwrap_or(usize::MAX)
    }
}

impl Default for MaxFrameSize {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A header that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: ConnectionId,
    /// Bytes of content after the header; 0 closes the connection.
    pub(super) content_len: u64,
}

impl Header {
    /// Reads a whole header.
    pub(super) fn parse(bytes: &[u8; HEADER_LEN], max: MaxFrameSize) -> Result<Self, Fault> {
        let (length, digits_ok) = read_length(bytes);
        let mut id = [0; CONNECTION_ID_LEN];
        id.copy_from_slice(&bytes[ID_START..ID_BAR]);
        // No early exit: that lets the compiler check all bytes of the id at once.
        let id_ok = id.iter().fold(true, |ok, &byte| ok & is_id_byte(byte));
        let bars_ok = (bytes[LENGTH_BAR] == b'|') & (bytes[ID_BAR] == b'|');
        let length_ok = (length >= HEADER_LEN as u64) & (length <= max.get());
        if !(digits_ok & id_ok & bars_ok & length_ok) {
            check_prefix(bytes, max)?;
        }
        let content_len = length.saturating_sub(HEADER_LEN as u64);
        Ok(Self {
            id: ConnectionId::from_checked(id),
            content_len,
        })
    }
}

/// The first thing that is wrong in a header, and at which of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) fault: HeaderFault,
}

/// Checks what has come of a header so far, so that a peer which speaks something else hears of it
/// at its first wrong byte. The fault it finds does not depend on how many bytes follow.
pub(super) fn check_prefix(prefix: &[u8], max: MaxFrameSize) -> Result<(), Fault> {
    let fail = |at, fault| Err(Fault { at, fault });
    let mut length = 0;
    for (at, &found) in prefix.iter().take(HEADER_LEN).enumerate() {
        match at {
            0..LENGTH_BAR => {
                if !found.is_ascii_digit() {
                    return fail(at, HeaderFault::LengthByte { found });
                }
                length = length * 10 + u64::from(found - b'0');
                if at == LENGTH_BAR - 1 {
                    check_length(length, max).or_else(|fault| fail(0, fault))?;
                }
            }
            LENGTH_BAR if found != b'|' => {
                return fail(at, HeaderFault::MissingLengthBar { found });
            }
            ID_START..ID_BAR if !is_id_byte(found) => {
                return fail(at, HeaderFault::IdByte { found });
            }
            ID_BAR if found != b'|' => return fail(at, HeaderFault::MissingIdBar { found }),
            _ => {}
        }
    }
    Ok(())
}

fn check_length(found: u64, max: MaxFrameSize) -> Result<(), HeaderFault> {
    if found < HEADER_LEN as u64 {
        Err(HeaderFault::LengthBelowHeader { found })
    } else if found > max.get() {
        Err(HeaderFault::LengthAboveLimit {
            found,
            limit: max.get(),
        })
    } else {
        Ok(())
    }
}

/// The number in the first ten bytes, and whether all of them are digits. Ten times the largest
/// byte stays far below what a u64 holds, so a wrong byte can't overflow it either.
fn read_length(bytes: &[u8; HEADER_LEN]) -> (u64, bool) {
    bytes[..LENGTH_DIGITS]
        .iter()
        .fold((0, true), |(length, ok), &byte| {
            let digit = byte.wrapping_sub(b'0');
            (length * 10 + u64::from(digit), ok & (digit <= 9))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Header, Fault> {
        let bytes: &[u8; HEADER_LEN] = text.as_bytes().try_into().expect("a row of 32 bytes");
        Header::parse(bytes, MaxFrameSize::new(1_000).unwrap())
    }

    #[test]
    fn accepted_headers() {
        for (text, content_len) in [
            ("0000000032|abcdefghijklmnopqrst|", 0),
            ("0000000033|abcdefghijklmnopqrst|", 1),
            ("0000001000|abcdefghijklmnopqrst|", 968),
            // Bars and every other visible byte are allowed inside the id.
            ("0000000040||||||||||||||||||||||", 8),
            ("0000000040|!~|\"#$%&'()*+,-./:;<|", 8),
            ("0000000040|00000000000000000000|", 8),
        ] {
            let header = parse(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
            assert_eq!(header.content_len, content_len, "{text}");
            assert_eq!(header.id.as_str(), &text[11..31]);
        }
    }

    #[test]
    fn refused_headers() {
        use HeaderFault::{
            IdByte, LengthAboveLimit, LengthBelowHeader, LengthByte, MissingIdBar, MissingLengthBar,
        };
        for (text, at, fault) in [
            (
                "00000000a0|abcdefghijklmnopqrst|",
                8,
                LengthByte { found: b'a' },
            ),
            (
                "GET / HTTP/1.1\r\nHost: a.example\r",
                0,
                LengthByte { found: b'G' },
            ),
            (
                "+000000040|abcdefghijklmnopqrst|",
                0,
                LengthByte { found: b'+' },
            ),
            (
                "-000000040|abcdefghijklmnopqrst|",
                0,
                LengthByte { found: b'-' },
            ),
            (
                "        40|abcdefghijklmnopqrst|",
                0,
                LengthByte { found: b' ' },
            ),
            (
                "40        |abcdefghijklmnopqrst|",
                2,
                LengthByte { found: b' ' },
            ),
            (
                "000000040||abcdefghijklmnopqrst|",
                9,
                LengthByte { found: b'|' },
            ),
            (
                "00000000:0|abcdefghijklmnopqrst|",
                8,
                LengthByte { found: b':' },
            ),
            (
                "00000000/0|abcdefghijklmnopqrst|",
                8,
                LengthByte { found: b'/' },
            ),
            (
                "0000000000|abcdefghijklmnopqrst|",
                0,
                LengthBelowHeader { found: 0 },
            ),
            (
                "0000000031|abcdefghijklmnopqrst|",
                0,
                LengthBelowHeader { found: 31 },
            ),
            (
                "0000001001|abcdefghijklmnopqrst|",
                0,
                LengthAboveLimit {
                    found: 1_001,
                    limit: 1_000,
                },
            ),
            (
                "9999999999|abcdefghijklmnopqrst|",
                0,
                LengthAboveLimit {
                    found: 9_999_999_999,
                    limit: 1_000,
                },
            ),
            (
                "00000000400abcdefghijklmnopqrst|",
                10,
                MissingLengthBar { found: b'0' },
            ),
            (
                "0000000040:abcdefghijklmnopqrst|",
                10,
                MissingLengthBar { found: b':' },
            ),
            (
                "0000000040|abcdefghij lmnopqrst|",
                21,
                IdByte { found: b' ' },
            ),
            (
                "0000000040|abcdefghijklmnopqrs\n|",
                30,
                IdByte { found: b'\n' },
            ),
            ("0000000040|\0bcdefghijklmnopqrst|", 11, IdByte { found: 0 }),
            (
                "0000000040|abcdefghijklmnopqrs\x7f|",
                30,
                IdByte { found: 0x7f },
            ),
            (
                "0000000040|abcdefghijklmnopqr\u{e9}|",
                29,
                IdByte { found: 0xc3 },
            ),
            (
                "0000000040|abcdefghijklmnopqrstu",
                31,
                MissingIdBar { found: b'u' },
            ),
        ] {
            assert_eq!(parse(text), Err(Fault { at, fault }), "{text:?}");
        }
    }

    #[test]
    fn a_limit_leaves_room_for_content() {
        assert_eq!(MaxFrameSize::new(32), Err(LimitError { found: 32 }));
        assert_eq!(MaxFrameSize::new(33).map(MaxFrameSize::max_content), Ok(1));
        assert!(MaxFrameSize::new(MAX_FRAME_LEN).is_ok());
        assert_eq!(
            MaxFrameSize::new(MAX_FRAME_LEN + 1),
            Err(LimitError {
                found: MAX_FRAME_LEN + 1
            })
        );
    }
}
