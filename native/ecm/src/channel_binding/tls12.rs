//! What TLS 1.2 exports, and the first `Finished` of its handshake.

use tokio_rustls::rustls::Tls12CipherSuite;

/// No handshake is longer (bytes).
const MAX_MESSAGES: usize = 256 * 1024;

/// How long what a `Finished` says is (RFC 5246, section 7.4.9).
const VERIFY_DATA: usize = 12;

const RECORD_FIXED: usize = 5;
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const EXTENDED_MASTER_SECRET: u16 = 23;

/// Which side sends a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

/// The messages of a handshake up to its first `Finished`, which is the first that is encrypted.
#[derive(Debug, Default)]
pub struct Transcript {
    messages: Vec<u8>,
    /// The parts of records that have come.
    client: Vec<u8>,
    server: Vec<u8>,
    /// Whose `Finished` is the first. From then on nothing is looked at.
    first: Option<Side>,
}

/// What both sides know.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// `tls-unique` (RFC 5929, section 3).
    pub unique: [u8; VERIFY_DATA],
    /// RFC 5705, section 4, with an empty context.
    pub exported: [u8; 32],
}

impl Transcript {
    /// Takes bytes of the connection, in any pieces, as long as the sides take turns.
    pub fn take(&mut self, side: Side, bytes: &[u8]) {
        if self.first.is_some() {
            return;
        }
        let Self {
            messages,
            client,
            server,
            first,
        } = self;
        let pending = match side {
            Side::Client => client,
            Side::Server => server,
        };
        pending.extend_from_slice(bytes);
        let mut used = 0;
        while let Some((kind, contents)) = pending.get(used..).and_then(record) {
            match kind {
                HANDSHAKE if messages.len() + contents.len() <= MAX_MESSAGES => {
                    messages.extend_from_slice(contents);
                }
                CHANGE_CIPHER_SPEC => {
                    *first = Some(side);
                    break;
                }
                // There is no such handshake.
                _ => {
                    *self = Self {
                        first: Some(side),
                        ..Self::default()
                    };
                    return;
                }
            }
            used += RECORD_FIXED + contents.len();
        }
        pending.drain(..used);
    }

    /// What both sides know once the handshake is done. `None` without an extended master secret (RFC 7627):
    /// without it somebody between them can bring it about that it is the same on two connections.
    pub fn known(
        &self,
        suite: &Tls12CipherSuite,
        master_secret: &[u8],
        export_label: &[u8],
    ) -> Option<Known> {
        let (kind, client_hello, rest) = message(&self.messages)?;
        let (next, server_hello, _) = message(rest)?;
        if (kind, next) != (CLIENT_HELLO, SERVER_HELLO) || !has_extended_master_secret(server_hello)
        {
            return None;
        }
        // And the length of the context, of which there is nothing: in TLS 1.2 that is not the same as none.
        let seed = [&random(client_hello)?[..], &random(server_hello)?, &[0, 0]].concat();
        let label: &[u8] = match self.first? {
            Side::Client => b"client finished",
            Side::Server => b"server finished",
        };
        let hash = suite.common.hash_provider.hash(&self.messages);
        let mut known = Known {
            unique: [0; VERIFY_DATA],
            exported: [0; 32],
        };
        let prf = suite.prf_provider;
        prf.for_secret(&mut known.unique, master_secret, label, hash.as_ref());
        prf.for_secret(&mut known.exported, master_secret, export_label, &seed);
        Some(known)
    }
}

/// A record's type and contents, once they are there.
fn record(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let [kind, _, _, high, low] = *bytes.first_chunk::<RECORD_FIXED>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let contents = bytes.get(RECORD_FIXED..RECORD_FIXED + length)?;
    Some((kind, contents))
}

/// A message's type and contents, and what follows it (RFC 5246, section 7.4).
fn message(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let ([kind, length @ ..], rest) = bytes.split_first_chunk::<4>()?;
    let [high, middle, low] = length.map(usize::from);
    let (contents, rest) = rest.split_at_checked((high << 16) | (middle << 8) | low)?;
    Some((*kind, contents, rest))
}

/// The random bytes of either hello, after the version.
fn random(hello: &[u8]) -> Option<[u8; 32]> {
    hello.get(2..)?.first_chunk().copied()
}

fn has_extended_master_secret(server_hello: &[u8]) -> bool {
    extensions(server_hello).is_some_and(|mut rest| {
        while let Some(([a, b, c, d], more)) = rest.split_first_chunk() {
            if u16::from_be_bytes([*a, *b]) == EXTENDED_MASTER_SECRET {
                return true;
            }
            let length = usize::from(u16::from_be_bytes([*c, *d]));
            rest = more.get(length..).unwrap_or_default();
        }
        false
    })
}

/// After the version, the random bytes, the session's id, the suite and the compression.
fn extensions(server_hello: &[u8]) -> Option<&[u8]> {
    let (id_length, rest) = server_hello.get(34..)?.split_first()?;
    rest.get(usize::from(*id_length) + 3 + 2..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record_of(kind: u8, contents: &[u8]) -> Vec<u8> {
        let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
        [&[kind, 3, 3, length[0], length[1]][..], contents].concat()
    }

    #[test]
    fn the_messages_end_before_the_first_finished() {
        use Side::{Client, Server};
        let steps = [
            (Client, record_of(HANDSHAKE, b"hello")),
            (
                Server,
                [
                    record_of(HANDSHAKE, b"he"),
                    record_of(HANDSHAKE, b"llo, done"),
                ]
                .concat(),
            ),
            (
                Client,
                [
                    record_of(HANDSHAKE, b"key"),
                    record_of(CHANGE_CIPHER_SPEC, &[1]),
                    record_of(HANDSHAKE, b"encrypted"),
                ]
                .concat(),
            ),
            (Server, record_of(HANDSHAKE, b"ticket")),
        ];
        for piece in [1, 2, 7, usize::MAX] {
            let mut transcript = Transcript::default();
            for (side, bytes) in &steps {
                for bytes in bytes.chunks(piece) {
                    transcript.take(*side, bytes);
                }
            }
            assert_eq!(transcript.messages, b"hellohello, donekey");
            assert_eq!(transcript.first, Some(Client));
        }
    }

    #[test]
    fn what_is_no_handshake_takes_no_memory() {
        let mut transcript = Transcript::default();
        transcript.take(Side::Client, &record_of(HANDSHAKE, b"hello"));
        transcript.take(Side::Client, &record_of(23, b"data"));
        transcript.take(Side::Client, &record_of(HANDSHAKE, &[0; 100]));
        assert!(transcript.messages.is_empty() && transcript.client.is_empty());
        let mut endless = Transcript::default();
        for _ in 0..100 {
            endless.take(Side::Client, &record_of(HANDSHAKE, &[0; 16 * 1024]));
            assert!(endless.messages.len() <= MAX_MESSAGES);
        }
        assert!(endless.messages.is_empty());
    }
}
