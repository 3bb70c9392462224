//! Session identifiers that name the ECM that has the session, and that only an ECM of the fleet can make.
//!
//! ```text
//!   32 digits of the session - name of its ECM - MAC over both, in base64url
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use parking_lot::RwLock;
use ring::hmac;

use crate::config::FleetConfig;
use crate::secrets::{SecretsError, SecretsFile};

/// Keeps these MACs apart from any other use of the same keys.
const CONTEXT: &[u8] = b"megaphone BOSH session\0";

/// Why the keys can't be used.
#[derive(Debug, thiserror::Error)]
#[error("fleet.key: {0}")]
pub struct KeysError(#[from] SecretsError);

/// The keys that all ECMs share: the first signs, all verify.
#[derive(Debug)]
pub struct Keys {
    file: SecretsFile,
    keys: RwLock<Vec<hmac::Key>>,
}

/// An identifier that was made with one of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'t> {
    /// The session, as its ECM knows it.
    pub session: &'t str,
    /// The name of that ECM.
    pub name: &'t str,
}

impl Keys {
    /// Reads the file.
    ///
    /// # Errors
    /// [`KeysError`], which names it.
    pub fn load(config: &FleetConfig) -> Result<Self, KeysError> {
        let (file, keys) = SecretsFile::load(&config.key, key)?;
        Ok(Self {
            file,
            keys: RwLock::new(keys),
        })
    }

    /// Reads the file again if it has changed, and returns whether it had.
    ///
    /// # Errors
    /// [`KeysError`]; the keys stay as they were.
    pub fn refresh(&self) -> Result<bool, KeysError> {
        let Some(keys) = self.file.refresh(key)? else {
            return Ok(false);
        };
        *self.keys.write() = keys;
        Ok(true)
    }

    /// The identifier of a session of the ECM of this name.
    pub fn sign(&self, session: &str, name: &str) -> String {
        let text = format!("{session}-{name}");
        let keys = self.keys.read();
        // There is always at least one.
        let tag = keys.first().map(|key| hmac::sign(key, &content(&text)));
        let mac = BASE64URL.encode(tag.as_ref().map_or(&[][..], |tag| tag.as_ref()));
        format!("{text}-{mac}")
    }

    /// What an identifier says, if its MAC is right. The time it takes does not depend on where a MAC is wrong.
    pub fn verify<'t>(&self, identifier: &'t str) -> Option<Signed<'t>> {
        let (session, rest) = identifier.split_once('-')?;
        let (name, mac) = rest.split_once('-')?;
        let text = identifier.get(..session.len() + 1 + name.len())?;
        let mac = BASE64URL.decode(mac).ok()?;
        let content = content(text);
        let keys = self.keys.read();
        let is_good = |key: &hmac::Key| hmac::verify(key, &content, &mac).is_ok();
        keys.iter().any(is_good).then_some(Signed { session, name })
    }
}

fn key(secret: &[u8]) -> Option<hmac::Key> {
    Some(hmac::Key::new(hmac::HMAC_SHA256, secret))
}

fn content(text: &str) -> Vec<u8> {
    [CONTEXT, text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    const FIRST: &str = "Zmlyc3QgZmlyc3QgZmlyc3QgZmlyc3QgZmlyc3QgZmlyc3Q=";
    const SECOND: &str = "c2Vjb25kIHNlY29uZCBzZWNvbmQgc2Vjb25kIHNlY29uZCE=";
    const SESSION: &str = "0123456789abcdef0123456789abcdef";

    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str, lines: &[&str]) -> Self {
            let name = format!("megaphone-fleet-{}-{name}", std::process::id());
            let file = Self(std::env::temp_dir().join(name));
            file.write(lines);
            file
        }

        fn write(&self, lines: &[&str]) {
            fs::write(&self.0, lines.join("\n")).unwrap();
        }

        fn load(&self) -> Result<Keys, KeysError> {
            let (file, keys) = SecretsFile::load(&self.0, key)?;
            let keys = RwLock::new(keys);
            Ok(Keys { file, keys })
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn ecms_with_the_same_key_know_whose_a_session_is() {
        let file = Temporary::new("same", &[FIRST]);
        let (one, two) = (file.load().unwrap(), file.load().unwrap());
        let identifier = one.sign(SESSION, "one");
        assert!(identifier.starts_with(&format!("{SESSION}-one-")));
        let signed = Signed {
            session: SESSION,
            name: "one",
        };
        assert_eq!(two.verify(&identifier), Some(signed));
    }

    #[test]
    fn what_was_not_signed_says_nothing() {
        let file = Temporary::new("forged", &[FIRST]);
        let keys = file.load().unwrap();
        let identifier = keys.sign(SESSION, "one");
        for at in 0..identifier.len() {
            let mut forged = identifier.clone().into_bytes();
            forged[at] = match forged[at] {
                b'x' => b'y',
                _ => b'x',
            };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(keys.verify(&forged), None, "byte {at}");
            assert_eq!(keys.verify(&identifier[..at]), None, "cut at {at}");
        }
        for text in [
            "",
            "-",
            "--",
            SESSION,
            "a-b",
            "a-b-",
            "\u{e4}-\u{e4}-x",
            "a-b-c-d",
        ] {
            assert_eq!(keys.verify(text), None, "{text}");
        }
        assert_eq!(keys.verify(&format!("{identifier}-")), None);
        let other = Temporary::new("other", &[SECOND]);
        assert_eq!(other.load().unwrap().verify(&identifier), None);
    }

    #[test]
    fn the_first_key_signs_and_all_verify() {
        let file = Temporary::new("rotated", &[FIRST]);
        let keys = file.load().unwrap();
        let old = keys.sign(SESSION, "one");
        file.write(&[SECOND, FIRST]);
        keys.file.touch();
        assert!(keys.refresh().unwrap());
        let new = keys.sign(SESSION, "one");
        assert_ne!(old, new);
        assert!(keys.verify(&old).is_some() && keys.verify(&new).is_some());
        file.write(&[SECOND]);
        keys.file.touch();
        assert!(keys.refresh().unwrap());
        assert!(keys.verify(&old).is_none() && keys.verify(&new).is_some());
        file.write(&["no key"]);
        keys.file.touch();
        let error = keys.refresh().unwrap_err().to_string();
        assert!(error.starts_with("fleet.key: line 1 of "), "{error}");
        assert!(keys.verify(&new).is_some());
    }
}
