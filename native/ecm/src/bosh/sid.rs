//! Session identifiers.

use std::fmt;

/// A session's identifier: 128 random bits, as 32 hexadecimal digits (XEP-0124, sections 7.2 and 19.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sid(u128);

impl Sid {
    /// One that nobody can guess.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(u128::from_be_bytes(bytes)))
    }

    /// The identifier that a client sent; `None` if it is none of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_ours = text.len() == 32 && text.bytes().all(digits);
        let number = is_ours.then(|| u128::from_str_radix(text, 16))?;
        number.ok().map(Self)
    }

    /// One of `count` parts of equal size that all identifiers fall into.
    #[must_use]
    pub fn part(self, count: usize) -> usize {
        let low = u32::try_from(self.0 & u128::from(u32::MAX)).unwrap_or_default();
        usize::try_from(low)
            .unwrap_or_default()
            .checked_rem(count)
            .unwrap_or_default()
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Who knows it can speak in the client's name, so logs get the half of it.
impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}..", self.0 >> 64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let sid = Sid::random().unwrap();
        let text = sid.to_string();
        assert_eq!((text.len(), Sid::parse(&text)), (32, Some(sid)));
        assert_ne!(Sid::random().unwrap(), sid);
        for other in [
            "",
            "0",
            &text[1..],
            &format!("{text}0"),
            &format!("+{}", &text[1..]),
        ] {
            assert_eq!(Sid::parse(other), None, "{other}");
        }
        assert_eq!(Sid::parse(&"A".repeat(32)), None);
    }

    #[test]
    fn a_log_does_not_give_it_away() {
        let sid = Sid(0xabcd_ef01_2345_6789_0000_0000_0000_0001);
        assert_eq!(format!("{sid:?}"), "abcdef0123456789..");
    }
}
