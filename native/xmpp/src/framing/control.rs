//! What the two ends of a session say to each other beside its documents, so that it can move to another node.
//!
//! It is a message whose length begins with two set bits, which no document's does and none that is given
//! back: six bits say what it is, and 24 how long its body is.
//!
//! ```text
//!  11kkkkkk  length (24 bits)  body
//! ```

use super::MessageError;

/// The two bits.
pub(super) const CONTROL: u32 = 0xc000_0000;
/// The longest body, in bytes.
pub const MAX_CONTROL: usize = 1024;

const KIND_SHIFT: u32 = 24;
const LENGTH: u32 = 0x00ff_ffff;

/// A control message. doc/protocol.md has what each asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control<'a> {
    /// To the old stream: nothing of the client follows until the answer.
    Mark,
    /// To the old stream: the session is to stay.
    Stay,
    /// To the new stream: the old one has ended with [`Moved`](Self::Moved).
    Go,
    /// From the old stream, to a mark: what the new stream's header has to say.
    Token(&'a [u8]),
    /// From the old stream: the session goes on there, and no token is good any more.
    Stays(&'a str),
    /// From the old stream, its last message: the session goes on at the new one.
    Moved,
    /// From the new stream, its only message: it has no session.
    Refused(&'a str),
    /// From a stream that asks whether sessions can move: between streams that say the same they can.
    Version(&'a str),
}

impl<'a> Control<'a> {
    /// The message of a kind with a body; `None` if there is no such one.
    fn of(kind: u8, body: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(body);
        match (kind, body.is_empty()) {
            (1, true) => Some(Self::Mark),
            (2, true) => Some(Self::Stay),
            (3, true) => Some(Self::Go),
            (4, false) => Some(Self::Token(body)),
            (5, _) => text.ok().map(Self::Stays),
            (6, true) => Some(Self::Moved),
            (7, _) => text.ok().map(Self::Refused),
            (8, _) => text.ok().map(Self::Version),
            _ => None,
        }
    }

    const fn parts(&self) -> (u32, &'a [u8]) {
        match self {
            Self::Mark => (1, b""),
            Self::Stay => (2, b""),
            Self::Go => (3, b""),
            Self::Token(token) => (4, token),
            Self::Stays(why) => (5, why.as_bytes()),
            Self::Moved => (6, b""),
            Self::Refused(why) => (7, why.as_bytes()),
            Self::Version(version) => (8, version.as_bytes()),
        }
    }
}

/// Writes a control message at the end of `out`.
pub fn put_control(out: &mut Vec<u8>, control: &Control<'_>) -> Result<(), MessageError> {
    let (kind, body) = control.parts();
    let too_long = MessageError::TooLong {
        length: body.len(),
        limit: MAX_CONTROL,
    };
    let length = u32::try_from(body.len()).ok();
    let length = length.filter(|_| body.len() <= MAX_CONTROL);
    let word = CONTROL | (kind << KIND_SHIFT) | length.ok_or(too_long)?;
    out.extend_from_slice(&word.to_be_bytes());
    out.extend_from_slice(body);
    Ok(())
}

/// The control message at the front of `bytes`, and how many bytes it takes; `None` as long as it is not
/// whole.
///
/// # Errors
/// [`MessageError::NoControl`] if it is none, and [`MessageError::TooLong`] if its body is.
pub fn read_control(bytes: &[u8]) -> Result<Option<(Control<'_>, usize)>, MessageError> {
    let Some((word, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let word = u32::from_be_bytes(*word);
    if !is_control(word) {
        return Err(MessageError::NoControl { word });
    }
    let length = body_length(word)?;
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    let control = with_body(word, body)?;
    Ok(Some((control, 4 + length)))
}

/// How long the body of a control message is that begins so.
pub(super) fn body_length(word: u32) -> Result<usize, MessageError> {
    match usize::try_from(word & LENGTH).unwrap_or(usize::MAX) {
        length if length <= MAX_CONTROL => Ok(length),
        length => Err(MessageError::TooLong {
            length,
            limit: MAX_CONTROL,
        }),
    }
}

/// The control message that begins so and has this body.
pub(super) fn with_body(word: u32, body: &[u8]) -> Result<Control<'_>, MessageError> {
    let [kind, ..] = word.to_be_bytes();
    Control::of(kind & 0x3f, body).ok_or(MessageError::NoControl { word })
}

/// Whether the first four bytes of a message are those of a control message.
pub const fn is_control(word: u32) -> bool {
    word & CONTROL == CONTROL
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Control<'_>; 8] = [
        Control::Mark,
        Control::Stay,
        Control::Go,
        Control::Token(&[0, 0xff]),
        Control::Stays("wait"),
        Control::Moved,
        Control::Refused("versions differ"),
        Control::Version("ejabberd 23.01"),
    ];

    #[test]
    fn what_is_written_is_read_and_no_part_of_it_is() {
        for control in ALL {
            let mut bytes = Vec::new();
            put_control(&mut bytes, &control).unwrap();
            for part in 0..bytes.len() {
                assert_eq!(read_control(&bytes[..part]), Ok(None));
            }
            let length = bytes.len();
            bytes.push(0);
            assert_eq!(read_control(&bytes), Ok(Some((control, length))));
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for bytes in [
            [0, 0, 0, 4],
            [0x80, 0, 0, 0],
            [0xc0, 0, 0, 0],
            [0xc4, 0, 0, 0],
            [0xc9, 0, 0, 0],
        ] {
            let word = u32::from_be_bytes(bytes);
            assert_eq!(read_control(&bytes), Err(MessageError::NoControl { word }));
        }
        let with_body = [0xc1, 0, 0, 1, b'x'];
        assert!(read_control(&with_body).is_err());
        let not_text = [0xc5, 0, 0, 1, 0xff];
        assert!(read_control(&not_text).is_err());
        let too_long = MessageError::TooLong {
            length: MAX_CONTROL + 1,
            limit: MAX_CONTROL,
        };
        assert_eq!(read_control(&[0xc4, 0, 4, 1]), Err(too_long));
        let body = [0; MAX_CONTROL + 1];
        let written = put_control(&mut Vec::new(), &Control::Token(&body));
        assert_eq!(written, Err(too_long));
    }
}
