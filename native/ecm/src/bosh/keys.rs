//! Key sequences (XEP-0124, section 15): each request's key is the hash of the one that comes next.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

const HASH: usize = 20;

/// The key that the next request has to have, if this session uses keys.
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
