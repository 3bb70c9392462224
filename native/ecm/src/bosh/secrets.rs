//! What a client alone knows, and so shows that a request is its own: the session's identifier, and keys
//! (XEP-0124, sections 15 and 19.3).

use std::fmt;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

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

/// Anybody who knows the identifier can speak in the client's name, so logs get only half of it.
impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}..", self.0 >> 64)
    }
}

const HASH: usize = 20;

/// The key that the next request has to have, if this session uses keys: each request's key is the hash of the
/// one that comes next.
#[derive(Debug, Default)]
pub struct Keys {
    /// The hash of it.
    expected: Option<Box<[u8; HASH]>>,
}

/// A key that isn't the next one of its sequence, or that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongKey;

impl Keys {
    /// The keys of a session that was asked for with this `newkey`.
    pub fn new(newkey: Option<&str>) -> Result<Self, WrongKey> {
        Ok(Self {
            expected: newkey.map(read).transpose()?,
        })
    }

    /// Takes the keys of the next request.
    pub fn accept(&mut self, key: Option<&str>, newkey: Option<&str>) -> Result<(), WrongKey> {
        if let Some(expected) = &mut self.expected {
            let key = key.ok_or(WrongKey)?;
            if digest(&SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes()).as_ref() != expected.as_slice() {
                return Err(WrongKey);
            }
            *expected = read(newkey.unwrap_or(key))?;
        } else if let Some(newkey) = newkey {
            self.expected = Some(read(newkey)?);
        }
        Ok(())
    }
}

/// A key is a hash in hexadecimal digits.
fn read(key: &str) -> Result<Box<[u8; HASH]>, WrongKey> {
    let mut hash = [0; HASH];
    let (pairs, rest) = key.as_bytes().as_chunks::<2>();
    if pairs.len() != HASH || !rest.is_empty() {
        return Err(WrongKey);
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Ok(Box::new(hash))
}

fn nibble(digit: u8) -> Result<u8, WrongKey> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(WrongKey),
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

    /// K(1) to K(n) of a seed.
    fn sequence(seed: &str, n: usize) -> Vec<String> {
        let mut keys = vec![seed.to_owned()];
        for _ in 0..n {
            let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, keys[keys.len() - 1].as_bytes());
            keys.push(
                hash.as_ref()
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect(),
            );
        }
        keys.split_off(1)
    }

    #[test]
    fn the_hash_is_that_of_rfc_3174() {
        assert_eq!(
            sequence("abc", 1),
            ["a9993e364706816aba3e25717850c26c9cd0d89d"]
        );
    }

    #[test]
    fn keys_are_taken_in_their_order_and_no_other() {
        let keys = sequence("seed", 4);
        let mut session = Keys::new(Some(&keys[3])).unwrap();
        assert_eq!(session.accept(None, None), Err(WrongKey));
        assert_eq!(session.accept(Some(&keys[3]), None), Err(WrongKey));
        assert_eq!(session.accept(Some(&keys[1]), None), Err(WrongKey));
        assert_eq!(session.accept(Some(&keys[2]), None), Ok(()));
        assert_eq!(session.accept(Some(&keys[2]), None), Err(WrongKey));
        assert_eq!(session.accept(Some(&keys[1]), None), Ok(()));
    }

    #[test]
    fn a_new_sequence_starts_with_the_last_key_of_the_old_one() {
        let (old, new) = (sequence("one", 2), sequence("two", 3));
        let mut session = Keys::new(Some(&old[1])).unwrap();
        assert_eq!(session.accept(Some(&old[0]), Some(&new[2])), Ok(()));
        assert_eq!(session.accept(Some(&new[1]), None), Ok(()));
        assert_eq!(
            session.accept(Some(&new[0]), Some("no hash")),
            Err(WrongKey)
        );
    }

    #[test]
    fn a_session_without_keys_needs_none() {
        let mut session = Keys::new(None).unwrap();
        assert_eq!(session.accept(None, None), Ok(()));
        assert_eq!(session.accept(Some("anything"), None), Ok(()));
        assert!(Keys::new(Some("no hash")).is_err());
        assert_eq!(size_of::<Keys>(), 8);
    }
}
