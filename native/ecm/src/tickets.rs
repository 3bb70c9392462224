//! The keys of TLS session tickets (RFC 8446, section 4.6.1; RFC 5077), with which clients come back without a
//! full handshake. No client costs memory for it.
//!
//! Without a file the keys are this process's own and change every six hours. With one, all programs that read
//! the same file open each other's tickets.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{Context, SHA256};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::ProducesTickets;

use crate::secrets::{MAX_SECRETS, SecretsError, SecretsFile};

/// How long a ticket is good, and so how long a key opens them that is no longer in the file.
const LIFETIME: Duration = Duration::from_hours(12);

/// The most keys that are kept of files before the last one.
const MAX_KEYS: usize = MAX_SECRETS;

/// The name of a key, which stands at the start of each ticket, and the key itself (bytes).
const NAME: usize = 16;
const KEY: usize = 32;

/// The longest ticket that is opened (bytes). It holds a client's certificates, if it showed some.
const MAX_TICKET: usize = 32 * 1024;

/// Why a file of ticket keys can't be used.
#[derive(Debug, thiserror::Error)]
#[error("tls.ticket_keys: {0}")]
pub struct TicketKeysError(#[from] SecretsError);

/// Seals and opens tickets with the keys of a file.
///
/// The keys are made of the file's secrets and the certificates that clients are shown: a client that comes back with
/// a ticket is shown none, and takes the one of then for that of the connection. So a ticket is good where the
/// certificates are the same, and nowhere else.
#[derive(Debug)]
pub struct TicketKeys {
    file: SecretsFile,
    /// What the certificates come to.
    certificates: [u8; 32],
    keys: RwLock<Keys>,
}

#[derive(Debug)]
struct Keys {
    /// Those of the file: the first seals, all open.
    current: Vec<Arc<Key>>,
    /// Those of files before, and until when they open.
    retired: VecDeque<(Arc<Key>, Instant)>,
}

struct Key {
    name: [u8; NAME],
    key: LessSafeKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

impl TicketKeys {
    /// Reads the file at `path` for a program that shows its clients these certificates.
    ///
    /// # Errors
    /// [`TicketKeysError`], which names the file.
    pub fn load<'a>(
        path: &Path,
        shown: impl Iterator<Item = &'a [CertificateDer<'static>]>,
    ) -> Result<Self, TicketKeysError> {
        let certificates = digest(shown);
        let (file, current) = SecretsFile::load(path, |secret| Key::of(secret, &certificates))?;
        let keys = Keys {
            current,
            retired: VecDeque::new(),
        };
        Ok(Self {
            file,
            certificates,
            keys: RwLock::new(keys),
        })
    }

    /// The file that the keys are of.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Reads the file again if it is another one by now, and says whether it was. Keys that are no longer in it open
    /// tickets as long as these are good.
    ///
    /// # Errors
    /// [`TicketKeysError`]; the keys stay as they were, and the same file is not read once more. One that can't be
    /// read at all is tried again.
    pub fn refresh(&self) -> Result<bool, TicketKeysError> {
        let key = |secret: &[u8]| Key::of(secret, &self.certificates);
        let Some(current) = self.file.refresh(key)? else {
            return Ok(false);
        };
        self.keys.write().replace(current, Instant::now());
        Ok(true)
    }
}

impl Keys {
    fn replace(&mut self, current: Vec<Arc<Key>>, now: Instant) {
        let before = std::mem::replace(&mut self.current, current);
        self.retired.retain(|(_, until)| *until > now);
        for key in before {
            if !self.current.iter().any(|it| it.name == key.name) {
                self.retired.push_front((key, now + LIFETIME));
            }
        }
        self.retired.truncate(MAX_KEYS);
    }

    fn named(&self, name: &[u8], now: Instant) -> Option<Arc<Key>> {
        let retired = self
            .retired
            .iter()
            .filter(|(_, until)| *until > now)
            .map(|(key, _)| key);
        self.current
            .iter()
            .chain(retired)
            .find(|key| key.name == name)
            .map(Arc::clone)
    }
}

/// A ticket is the key's name, a random nonce, and the sealed state of the session with its tag.
impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = Arc::clone(self.keys.read().current.first()?);
        let mut nonce = [0; NONCE_LEN];
        // Random, as a counter would tell how many tickets there are, and the programs share the key.
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(NAME + NONCE_LEN + plain.len() + KEY);
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(&nonce);
        let mut sealed = plain.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.key
            .seal_in_place_append_tag(nonce, Aad::from(key.name), &mut sealed)
            .ok()?;
        ticket.append(&mut sealed);
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > MAX_TICKET {
            return None;
        }
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = self.keys.read().named(name, Instant::now())?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key
            .key
            .open_in_place(nonce, Aad::from(name), &mut sealed)
            .ok()?
            .len();
        sealed.truncate(length);
        Some(sealed)
    }
}

/// One for all certificates in their order, each with its length, so that no two lists come to the same.
fn digest<'a>(shown: impl Iterator<Item = &'a [CertificateDer<'static>]>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let mut add = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    for chain in shown {
        add(&(chain.len() as u64).to_be_bytes());
        chain.iter().for_each(|certificate| add(certificate));
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

impl Key {
    /// The key that a secret of the file and the certificates make (HKDF, RFC 5869).
    fn of(secret: &[u8], certificates: &[u8]) -> Option<Arc<Self>> {
        struct Length;
        impl KeyType for Length {
            fn len(&self) -> usize {
                NAME + KEY
            }
        }
        let mut made = [0; NAME + KEY];
        Salt::new(HKDF_SHA256, b"megaphone TLS session tickets")
            .extract(secret)
            .expand(&[certificates], Length)
            .and_then(|made_of| made_of.fill(&mut made))
            .ok()?;
        let (name, key) = made.split_first_chunk()?;
        Some(Arc::new(Self {
            name: *name,
            key: LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).ok()?),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;

    use super::*;
    use crate::secrets::MIN_SECRET;

    /// A file that is gone with the test.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str, lines: &[&str]) -> Self {
            let name = format!("megaphone-tickets-{}-{name}", std::process::id());
            let file = Self(std::env::temp_dir().join(name));
            file.write(lines);
            file
        }

        fn write(&self, lines: &[&str]) {
            fs::write(&self.0, lines.join("\n")).unwrap();
        }

        fn load(&self) -> Result<TicketKeys, TicketKeysError> {
            self.load_for(b"a certificate")
        }

        fn load_for(&self, certificate: &'static [u8]) -> Result<TicketKeys, TicketKeysError> {
            let chain = [CertificateDer::from(certificate)];
            TicketKeys::load(&self.0, std::iter::once(&chain[..]))
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    const FIRST: &str = "Zmlyc3QgZmlyc3QgZmlyc3QgZmlyc3QgZmlyc3QgZmlyc3Q=";
    const SECOND: &str = "c2Vjb25kIHNlY29uZCBzZWNvbmQgc2Vjb25kIHNlY29uZCE=";

    #[test]
    fn programs_with_the_same_file_open_each_others_tickets() {
        let file = Temporary::new("same", &["# ours", "", FIRST]);
        let (one, other) = (file.load().unwrap(), file.load().unwrap());
        let ticket = one.encrypt(b"state").unwrap();
        assert_eq!(other.decrypt(&ticket), Some(b"state".to_vec()));
        // Each is sealed anew.
        assert_ne!(one.encrypt(b"state").unwrap(), ticket);
    }

    #[test]
    fn what_was_not_sealed_with_the_key_is_not_opened() {
        let file = Temporary::new("wrong", &[FIRST]);
        let keys = file.load().unwrap();
        let ticket = keys.encrypt(b"state").unwrap();
        for at in 0..ticket.len() {
            let mut wrong = ticket.clone();
            wrong[at] ^= 1;
            assert_eq!(keys.decrypt(&wrong), None, "byte {at}");
            assert_eq!(keys.decrypt(&ticket[..at]), None, "cut at {at}");
        }
        assert_eq!(keys.decrypt(&vec![0; MAX_TICKET + 1]), None);
    }

    #[test]
    fn a_ticket_is_good_for_the_certificates_it_was_given_with() {
        let file = Temporary::new("certificates", &[FIRST]);
        let ticket = file.load().unwrap().encrypt(b"state").unwrap();
        let renewed = file.load_for(b"another certificate").unwrap();
        assert_eq!(renewed.decrypt(&ticket), None);
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let file = Temporary::new("all", &[FIRST, SECOND]);
        let both = file.load().unwrap();
        file.write(&[SECOND]);
        let second = file.load().unwrap();
        assert!(both.decrypt(&second.encrypt(b"state").unwrap()).is_some());
        assert_eq!(second.decrypt(&both.encrypt(b"state").unwrap()), None);
    }

    #[test]
    fn a_key_that_is_replaced_opens_as_long_as_its_tickets_are_good() {
        let file = Temporary::new("replaced", &[FIRST]);
        let keys = file.load().unwrap();
        let ticket = keys.encrypt(b"state").unwrap();
        assert!(!keys.refresh().unwrap());
        file.write(&[SECOND]);
        keys.file.touch();
        assert!(keys.refresh().unwrap());
        assert_eq!(keys.decrypt(&ticket), Some(b"state".to_vec()));
        let second = file.load().unwrap();
        assert!(second.decrypt(&keys.encrypt(b"state").unwrap()).is_some());
        let late = Instant::now() + LIFETIME;
        assert!(keys.keys.read().named(&ticket[..NAME], late).is_none());
        // A key that comes back opens, and seals again.
        file.write(&[FIRST]);
        keys.file.touch();
        assert!(keys.refresh().unwrap());
        let first = file.load().unwrap();
        assert!(first.decrypt(&keys.encrypt(b"state").unwrap()).is_some());
    }

    #[test]
    fn those_that_are_kept_are_not_too_many() {
        let file = Temporary::new("many", &[FIRST]);
        let keys = file.load().unwrap();
        for number in 0..2 * MAX_KEYS {
            file.write(&[&BASE64.encode([u8::try_from(number).unwrap(); MIN_SECRET])]);
            keys.file.touch();
            assert!(keys.refresh().unwrap());
        }
        assert_eq!(keys.keys.read().retired.len(), MAX_KEYS);
    }

    #[test]
    fn a_file_that_is_wrong_is_named_and_changes_nothing() {
        let file = Temporary::new("good", &[FIRST]);
        let keys = file.load().unwrap();
        let ticket = keys.encrypt(b"state").unwrap();
        let short = BASE64.encode([0; MIN_SECRET - 1]);
        let too_many = [FIRST; MAX_KEYS + 1];
        for (lines, error) in [
            (&[][..], "has 0 keys; 1 to 16 are allowed"),
            (&["# none"], "has 0 keys"),
            (&too_many, "has 17 keys"),
            (&[FIRST, "no base64!"], "line 2 of"),
            (
                &["", short.as_str()],
                "is not a key: at least 32 random bytes in base64",
            ),
        ] {
            file.write(lines);
            keys.file.touch();
            let message = keys.refresh().unwrap_err().to_string();
            assert!(message.contains(error), "{message}");
            assert!(message.contains("megaphone-tickets-"), "{message}");
            assert!(keys.decrypt(&ticket).is_some());
            // It is told once.
            assert!(!keys.refresh().unwrap());
        }
        let _ = fs::remove_file(&file.0);
        let message = keys.refresh().unwrap_err().to_string();
        assert!(message.contains("can't read"), "{message}");
        assert!(keys.decrypt(&ticket).is_some());
    }
}
