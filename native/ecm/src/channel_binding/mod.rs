//! What a client can bind its login to: `tls-exporter`, `tls-server-end-point` and `tls-unique` of its TLS
//! connection.
//!
//! rustls neither exports keys of a connection that is used without its own buffers, nor says which certificate
//! was shown, nor what a `Finished` says. But while it does a handshake it tells the secrets to the [`KeyLog`] of
//! the configuration, and asks for a certificate, on the thread that does it; all that is needed else is what
//! passes in clear.

mod certificate;
mod tls12;
mod tls13;

use std::cell::RefCell;

use bytes::Bytes;
use megaphone_trunk::proxy::ChannelBindings;
use tokio_rustls::rustls::{KeyLog, SupportedCipherSuite};

pub use self::certificate::end_point;
use self::tls12::{Side, Transcript};

/// RFC 9266, section 2: with an empty context.
const LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// As in the files that debuggers read: the secret from which TLS 1.3 exports, and the one of TLS 1.2.
const EXPORTER_SECRET: &str = "EXPORTER_SECRET";
/// As above.
const MASTER_SECRET: &str = "CLIENT_RANDOM";

thread_local! {
    /// There is none while nobody listens.
    static HEARD: RefCell<Option<Heard>> = RefCell::default();
}

/// What rustls says during a part of a handshake.
#[derive(Default)]
struct Heard {
    exporter: Option<[u8; 32]>,
    master_secret: Option<Vec<u8>>,
    end_point: Option<Bytes>,
}

/// A handshake that is listened to.
#[derive(Default)]
pub struct Handshake {
    heard: Heard,
    transcript: Transcript,
}

impl Handshake {
    /// Bytes came from the client, and are handled next.
    pub fn received(&mut self, bytes: &[u8]) {
        self.transcript.take(Side::Client, bytes);
    }

    /// Bytes were made for the client.
    pub fn sent(&mut self, bytes: &[u8]) {
        self.transcript.take(Side::Server, bytes);
    }

    /// Does a part of it.
    pub fn listen<R>(&mut self, part: impl FnOnce() -> R) -> R {
        HEARD.set(Some(Heard::default()));
        let result = part();
        let heard = HEARD.take().unwrap_or_default();
        let before = &mut self.heard;
        before.exporter = heard.exporter.or(before.exporter);
        before.master_secret = heard.master_secret.or(before.master_secret.take());
        before.end_point = heard.end_point.or(before.end_point.take());
        result
    }

    /// What the client of a handshake that is done can bind its login to.
    ///
    /// Nothing, if it has TLS 1.2 without an extended master secret: there clients would take `tls-unique` that
    /// is not safe, whatever else they are offered.
    pub fn bindings(self, suite: SupportedCipherSuite) -> ChannelBindings {
        let Heard {
            exporter,
            master_secret,
            end_point,
        } = self.heard;
        match suite {
            SupportedCipherSuite::Tls13(_) => ChannelBindings {
                exporter,
                end_point,
                unique: None,
            },
            SupportedCipherSuite::Tls12(suite) => {
                let known = |secret: Vec<u8>| self.transcript.known(suite, &secret, LABEL);
                match master_secret.and_then(known) {
                    Some(known) => ChannelBindings {
                        exporter: Some(known.exported),
                        end_point,
                        unique: Some(known.unique),
                    },
                    None => ChannelBindings::default(),
                }
            }
        }
    }
}

/// Says that the client is shown the certificate with this hash, or one that can't be bound to.
pub fn shown(end_point: Option<&Bytes>) {
    hear(|heard| heard.end_point = end_point.cloned());
}

fn hear(hear: impl FnOnce(&mut Heard)) {
    HEARD.with_borrow_mut(|heard| heard.as_mut().map(hear));
}

/// Hears the secrets of the handshakes that are [listened](Handshake::listen) to.
#[derive(Debug)]
pub struct Secrets;

impl KeyLog for Secrets {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        hear(|heard| match label {
            EXPORTER_SECRET => heard.exporter = tls13::export(secret, LABEL),
            MASTER_SECRET => heard.master_secret = Some(secret.to_vec()),
            _ => {}
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, EXPORTER_SECRET | MASTER_SECRET)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{CertificateParams, KeyPair};
    use tokio_rustls::rustls::crypto::ring as provider;
    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
    use tokio_rustls::rustls::version::{TLS12, TLS13};
    use tokio_rustls::rustls::{
        self, ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    };

    use super::*;

    fn configs(suite: SupportedCipherSuite) -> (ClientConfig, ServerConfig) {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::CryptoProvider {
            cipher_suites: vec![suite],
            ..provider::default_provider()
        });
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS12, &TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        server.key_log = Arc::new(Secrets);
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS12, &TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (client, server)
    }

    /// Both sides of a handshake, of which one listens and the other exports.
    fn shake_hands(
        client: &Arc<ClientConfig>,
        server: &Arc<ServerConfig>,
    ) -> ([u8; 32], ChannelBindings) {
        let name = ServerName::try_from("a.example").unwrap();
        let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
        let mut handshake = Handshake::default();
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            handshake.received(&bytes);
            handshake.listen(|| {
                server.read_tls(&mut bytes.as_slice()).unwrap();
                server.process_new_packets().unwrap();
            });
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            handshake.sent(&bytes);
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets().unwrap();
        }
        let exported = client.export_keying_material([0; 32], LABEL, Some(b""));
        let exported = exported.unwrap();
        let suite = server.negotiated_cipher_suite().unwrap();
        (exported, handshake.bindings(suite))
    }

    #[test]
    fn what_is_heard_is_what_the_client_exports() {
        for suite in provider::ALL_CIPHER_SUITES {
            // A key for these can't be made here; they differ in nothing else.
            if format!("{suite:?}").contains("_RSA_") {
                continue;
            }
            let (client, server) = configs(*suite);
            let (client, server) = (Arc::new(client), Arc::new(server));
            // The second time by what was kept of the first.
            for _ in 0..2 {
                let (exported, bindings) = shake_hands(&client, &server);
                assert_eq!(bindings.exporter, Some(exported), "{suite:?}");
                assert_eq!(bindings.unique.is_some(), suite.tls13().is_none());
            }
        }
    }

    #[test]
    fn what_a_part_does_not_say_is_kept_from_the_parts_before() {
        let mut handshake = Handshake::default();
        let hash = Bytes::from_static(&[7; 32]);
        handshake.listen(|| shown(Some(&hash)));
        handshake.listen(|| ());
        assert_eq!(handshake.heard.end_point.as_ref(), Some(&hash));
        // Nor does anything come from a handshake that went on meanwhile.
        shown(Some(&Bytes::from_static(&[8; 32])));
        handshake.listen(|| ());
        assert_eq!(handshake.heard.end_point, Some(hash));
    }
}
