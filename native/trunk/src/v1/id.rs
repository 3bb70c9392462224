//! The id of a connection.

use std::fmt;

use super::error::IdError;
use super::layout::CONNECTION_ID_LEN;

/// The id of a virtual connection, unique in its trunk: 20 bytes of 0x21 to 0x7e.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId([u8; CONNECTION_ID_LEN]);

impl ConnectionId {
    /// The id that stands for a number: the lowest 100 bits of it as 20 digits of base 32 (0-9, a-v).
    #[must_use]
    pub const fn from_number(number: u128) -> Self {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
        let mut bytes = [0; CONNECTION_ID_LEN];
        let mut left = number;
        let mut place = CONNECTION_ID_LEN;
        while place > 0 {
            place -= 1;
            bytes[place] = DIGITS[(left & 31) as usize];
            left >>= 5;
        }
        Self(bytes)
    }

    /// The id's bytes as they are on the trunk.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; CONNECTION_ID_LEN] {
        &self.0
    }

    /// The id as text; it is ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Takes bytes that the caller has checked with [`is_id_byte`].
    pub(super) const fn from_checked(bytes: [u8; CONNECTION_ID_LEN]) -> Self {
        Self(bytes)
    }
}

/// Whether a connection id may have this byte.
pub(super) const fn is_id_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e)
}

impl TryFrom<[u8; CONNECTION_ID_LEN]> for ConnectionId {
    type Error = IdError;

    fn try_from(bytes: [u8; CONNECTION_ID_LEN]) -> Result<Self, IdError> {
        match bytes.iter().position(|&byte| !is_id_byte(byte)) {
            None => Ok(Self(bytes)),
            Some(index) => Err(IdError::Byte {
                index,
                found: bytes[index],
            }),
        }
    }
}

impl TryFrom<&[u8; CONNECTION_ID_LEN]> for ConnectionId {
    type Error = IdError;

    fn try_from(bytes: &[u8; CONNECTION_ID_LEN]) -> Result<Self, IdError> {
        Self::try_from(*bytes)
    }
}

impl TryFrom<&[u8]> for ConnectionId {
    type Error = IdError;

    fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
        let bytes: [u8; CONNECTION_ID_LEN] = bytes
            .try_into()
            .map_err(|_| IdError::Length { found: bytes.len() })?;
        Self::try_from(bytes)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionId({})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_visible_ascii_byte_is_allowed_and_no_other() {
        for byte in 0..=u8::MAX {
            let mut bytes = [b'a'; CONNECTION_ID_LEN];
            bytes[19] = byte;
            let expected = if (0x21..=0x7e).contains(&byte) {
                Ok(ConnectionId(bytes))
            } else {
                Err(IdError::Byte {
                    index: 19,
                    found: byte,
                })
            };
            assert_eq!(ConnectionId::try_from(bytes), expected, "byte 0x{byte:02x}");
        }
    }

    #[test]
    fn other_lengths_are_refused() {
        for length in [0, 19, 21] {
            let bytes = vec![b'a'; length];
            let found = ConnectionId::try_from(bytes.as_slice());
            assert_eq!(found, Err(IdError::Length { found: length }));
        }
    }

    #[test]
    fn numbers_have_ids() {
        for (number, text) in [
            (0, "00000000000000000000"),
            (31, "0000000000000000000v"),
            (32, "00000000000000000010"),
            (u128::MAX, "vvvvvvvvvvvvvvvvvvvv"),
        ] {
            let id = ConnectionId::from_number(number);
            assert_eq!(id.as_str(), text);
            assert_eq!(ConnectionId::try_from(*id.as_bytes()), Ok(id));
        }
    }

    #[test]
    fn it_shows_as_its_text() {
        let id = ConnectionId::try_from(b"abcdefghijklmnopqrst").unwrap();
        assert_eq!(id.to_string(), "abcdefghijklmnopqrst");
        assert_eq!(format!("{id:?}"), "ConnectionId(abcdefghijklmnopqrst)");
    }
}
