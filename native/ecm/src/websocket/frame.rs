//! A frame's header (RFC 6455, section 5.2). Sans-IO.

use super::error::FrameError;

/// The longest header of a client's frame: two bytes, a length of eight, a mask of four.
pub const MAX_HEADER: usize = 14;

/// The longest payload of a control frame (RFC 6455, section 5.5).
pub const MAX_CONTROL: usize = 125;

/// What a frame is (RFC 6455, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// More of a message.
    Continuation,
    /// A text message, or its first part.
    Text,
    /// A binary message, or its first part.
    Binary,
    /// The end of the connection.
    Close,
    /// A question whether the other side is there.
    Ping,
    /// Its answer.
    Pong,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    /// Whether it may stand between the parts of a message.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Whether a frame is the last of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// More follows, in continuation frames.
    More,
    /// It ends with this frame.
    Last,
}

/// The header of a client's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What it is.
    pub opcode: Opcode,
    /// Whether its message ends with it.
    pub part: Part,
    /// Bytes of payload.
    pub length: u64,
    /// What the payload is masked with.
    pub mask: [u8; 4],
}

impl FrameHeader {
    /// Reads a header off the front of `bytes`, and how long it is; `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`] as soon as a byte is there that no header of a client may have.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(FrameError::ReservedBit);
        }
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(FrameError::Opcode(first & 0x0f))?;
        let part = match first & 0x80 {
            0 if opcode.is_control() => return Err(FrameError::FragmentedControl),
            0 => Part::More,
            _ => Part::Last,
        };
        let Some((second, rest)) = rest.split_first() else {
            return Ok(None);
        };
        if second & 0x80 == 0 {
            return Err(FrameError::Unmasked);
        }
        let short = second & 0x7f;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL {
            return Err(FrameError::LongControl);
        }
        let Some((length, rest)) = read_length(short, rest)? else {
            return Ok(None);
        };
        let Some((mask, rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        let header = Self {
            opcode,
            part,
            length,
            mask: *mask,
        };
        Ok(Some((header, bytes.len() - rest.len())))
    }
}

/// A length in its shortest form, as it has to be (RFC 6455, section 5.2).
fn read_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, FrameError> {
    let (length, least, rest) = match short {
        126 => {
            let Some((bytes, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (u64::from(u16::from_be_bytes(*bytes)), 126, rest)
        }
        127 => {
            let Some((bytes, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (u64::from_be_bytes(*bytes), 0x1_0000, rest)
        }
        short => (u64::from(short), 0, rest),
    };
    if length < least || length > u64::MAX / 2 {
        return Err(FrameError::Length);
    }
    Ok(Some((length, rest)))
}

/// Takes the mask off a piece of a payload that begins `offset` bytes into it (RFC 6455, section 5.3).
pub fn unmask(payload: &mut [u8], mask: [u8; 4], offset: u64) {
    let mut mask = mask;
    // At most 3.
    mask.rotate_left((offset % 4) as usize);
    let words = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ words).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Writes the header of a whole message, or of a control frame, of `length` bytes. A server's frames have
/// no mask.
pub fn put_header(out: &mut Vec<u8>, opcode: Opcode, length: usize) {
    out.push(0x80 | opcode.bits());
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Writes a whole frame.
pub fn put_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    put_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_that_are_read() {
        use Opcode::*;
        use Part::*;
        for (bytes, opcode, part, length) in [
            (&[0x81, 0x85][..], Text, Last, 5),
            (&[0x01, 0x80], Text, More, 0),
            (&[0x80, 0xfd], Continuation, Last, 125),
            (&[0x82, 0xfe, 0, 126], Binary, Last, 126),
            (&[0x02, 0xfe, 0xff, 0xff], Binary, More, 65_535),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0], Text, Last, 65_536),
            (
                &[0x81, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255],
                Text,
                Last,
                u64::MAX / 2,
            ),
            (&[0x88, 0x80], Close, Last, 0),
            (&[0x89, 0xfd], Ping, Last, 125),
            (&[0x8a, 0x81], Pong, Last, 1),
        ] {
            let whole = [bytes, &[1, 2, 3, 4]].concat();
            let header = FrameHeader {
                opcode,
                part,
                length,
                mask: [1, 2, 3, 4],
            };
            let more = [&whole[..], b"payload"].concat();
            assert_eq!(FrameHeader::read(&more), Ok(Some((header, whole.len()))));
            for length in 0..whole.len() {
                assert_eq!(FrameHeader::read(&whole[..length]), Ok(None), "{bytes:x?}");
            }
        }
    }

    #[test]
    fn headers_that_are_refused_at_the_first_byte_that_is_wrong() {
        for (bytes, error) in [
            (&[0xc1][..], FrameError::ReservedBit),
            (&[0xa1], FrameError::ReservedBit),
            (&[0x91], FrameError::ReservedBit),
            (&[0x83], FrameError::Opcode(3)),
            (&[0x87], FrameError::Opcode(7)),
            (&[0x8b], FrameError::Opcode(11)),
            (&[0x8f], FrameError::Opcode(15)),
            (&[0x08], FrameError::FragmentedControl),
            (&[0x09], FrameError::FragmentedControl),
            (&[0x0a], FrameError::FragmentedControl),
            (&[0x81, 0x05], FrameError::Unmasked),
            (&[0x89, 0xfe], FrameError::LongControl),
            (&[0x88, 0xff], FrameError::LongControl),
            (&[0x81, 0xfe, 0, 125], FrameError::Length),
            (
                &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
                FrameError::Length,
            ),
            (&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], FrameError::Length),
        ] {
            assert_eq!(FrameHeader::read(bytes), Err(error.clone()), "{bytes:x?}");
            assert_eq!(
                FrameHeader::read(&bytes[..bytes.len() - 1]),
                Ok(None),
                "{bytes:x?}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_payload_is_unmasked_in_any_pieces(
            payload in proptest::collection::vec(any::<u8>(), 0..100),
            mask in any::<[u8; 4]>(),
            cut in 0usize..100,
        ) {
            let expected: Vec<_> = payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b).collect();
            let mut unmasked = payload;
            let cut = cut.min(unmasked.len());
            let (first, second) = unmasked.split_at_mut(cut);
            unmask(first, mask, 0);
            unmask(second, mask, cut as u64);
            prop_assert_eq!(unmasked, expected);
        }

        #[test]
        fn what_is_written_has_the_shortest_length(length in prop_oneof![0usize..300, 65_000usize..66_000]) {
            let mut out = Vec::new();
            put_frame(&mut out, Opcode::Text, &vec![b'x'; length]);
            // A client's header is this one with the mask bit and a mask.
            let header = out.len() - length;
            out[1] |= 0x80;
            out.splice(header..header, [0; 4]);
            let (read, size) = FrameHeader::read(&out).unwrap().unwrap();
            prop_assert_eq!((read.opcode, read.part), (Opcode::Text, Part::Last));
            prop_assert_eq!((read.length, size), (length as u64, header + 4));
        }
    }
}
