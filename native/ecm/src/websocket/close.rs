//! Close codes (RFC 6455, section 7.4).

use super::error::FrameError;
use super::frame::{MAX_CONTROL, Opcode, put_header};

/// Why a WebSocket connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseCode(u16);

impl CloseCode {
    /// All is done.
    pub const NORMAL: Self = Self(1000);
    /// The server goes down.
    pub const GOING_AWAY: Self = Self(1001);
    /// What came is not the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// What came is not what its kind says, as text that is no UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// What came is not allowed.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// What came is too big.
    pub const TOO_BIG: Self = Self(1009);
    /// Something is wrong here.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The server can't serve the client now (registered with IANA).
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// What a connection is closed with whose frames can't be read.
    pub const fn of_error(error: &FrameError) -> Self {
        match error {
            FrameError::ReservedBit
            | FrameError::Opcode(_)
            | FrameError::FragmentedControl
            | FrameError::LongControl
            | FrameError::Unmasked
            | FrameError::Length
            | FrameError::NoMessage
            | FrameError::InMessage
            | FrameError::ShortClose
            | FrameError::CloseCode(_) => Self::PROTOCOL_ERROR,
            FrameError::CloseReason | FrameError::Utf8 => Self::INVALID_PAYLOAD,
            FrameError::TooBig { .. } => Self::TOO_BIG,
        }
    }

    /// The number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// A code that may come in a frame: those of the RFC and of its registry, which are below 3000, are
    /// known; what libraries and applications may choose is not.
    const fn of(number: u16) -> Option<Self> {
        match number {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(number)),
            _ => None,
        }
    }
}

/// What a client's close frame says; `None` if it says nothing.
///
/// # Errors
/// [`FrameError`] if its code is none that may be sent, or its reason is no UTF-8.
pub fn read_close(payload: &[u8]) -> Result<Option<CloseCode>, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok(None),
            _ => Err(FrameError::ShortClose),
        };
    };
    let number = u16::from_be_bytes(*code);
    let code = CloseCode::of(number).ok_or(FrameError::CloseCode(number))?;
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(FrameError::CloseReason),
    }
}

/// Writes a close frame. A reason that is too long for it is cut.
pub fn put_close(out: &mut Vec<u8>, code: CloseCode, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(MAX_CONTROL - 2)];
    put_header(out, Opcode::Close, 2 + reason.len());
    out.extend_from_slice(&code.number().to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_may_come_and_codes_that_may_not() {
        for (number, allowed) in [
            (0, false),
            (999, false),
            (1000, true),
            (1003, true),
            (1004, false),
            (1005, false),
            (1006, false),
            (1007, true),
            (1014, true),
            (1015, false),
            (1016, false),
            (2999, false),
            (3000, true),
            (4999, true),
            (5000, false),
            (65_535, false),
        ] {
            let payload = [&u16::to_be_bytes(number)[..], b"bye"].concat();
            let expected = if allowed {
                Ok(Some(CloseCode(number)))
            } else {
                Err(FrameError::CloseCode(number))
            };
            assert_eq!(read_close(&payload), expected, "{number}");
        }
        assert_eq!(read_close(b""), Ok(None));
        assert_eq!(read_close(b"\x03"), Err(FrameError::ShortClose));
        assert_eq!(read_close(b"\x03\xe8\xff"), Err(FrameError::CloseReason));
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        put_close(&mut out, CloseCode::GOING_AWAY, &"é".repeat(100));
        assert_eq!(out[..4], [0x88, 124, 0x03, 0xe9]);
        assert_eq!(read_close(&out[2..]), Ok(Some(CloseCode::GOING_AWAY)));
    }
}
