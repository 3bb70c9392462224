//! TLS trunks: who is let in, and by which certificates.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::authority::{Authority, Pair};
use common::v2::{Peer2, Transport, Trunk2, config};
use common::{Ecm, PATIENCE, get, ok, refuses_config};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion, crypto,
};

/// ejabberd's end, with a certificate for `name`: clients need one of this CA.
fn server(
    authority: &Authority,
    name: &str,
    version: &'static SupportedProtocolVersion,
) -> Arc<ServerConfig> {
    let pair = authority.sign(name);
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    let provider = Arc::new(crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let chain = tokio_rustls::rustls::pki_types::CertificateDer::pem_file_iter(&pair.cert)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&pair.key).unwrap())
        .unwrap();
    Arc::new(config)
}

struct TlsTransport(StreamOwned<ServerConnection, TcpStream>);

impl Read for TlsTransport {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for TlsTransport {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Transport for TlsTransport {
    fn set_patience(&self, patience: Duration) {
        self.0.sock.set_read_timeout(Some(patience)).unwrap();
    }
    fn close(&mut self) {
        let _ = self.0.sock.shutdown(std::net::Shutdown::Both);
    }
}

/// Takes a trunk and does the handshake; the client's certificate, or why there is no trunk.
fn accept(peer: &Peer2, server: &Arc<ServerConfig>) -> Result<(Trunk2, Vec<u8>), String> {
    let (mut stream, _) = peer.listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut connection = ServerConnection::new(Arc::clone(server)).unwrap();
    while connection.is_handshaking() {
        connection
            .complete_io(&mut stream)
            .map_err(|error| error.to_string())?;
    }
    let certificate = connection.peer_certificates().unwrap()[0].to_vec();
    let trunk = Trunk2::greeted(TlsTransport(StreamOwned::new(connection, stream)));
    Ok((trunk, certificate))
}

fn tls_config(peer: &Peer2, ca: &Path, pair: Option<&Pair>, more: &str) -> String {
    let identity = pair.map_or_else(String::new, |pair| {
        format!(
            "cert = \"{}\"\nkey = \"{}\"\n",
            pair.cert.display(),
            pair.key.display()
        )
    });
    let address = peer.address.to_string();
    let tls = format!("[trunk.tls]\nca = \"{}\"\n{identity}{more}", ca.display());
    config(&address, 1, &tls)
}

#[test]
fn mutual_tls_of_both_versions_carries_requests() {
    for version in [&TLS12, &TLS13] {
        let authority = Authority::new();
        let server = server(&authority, "127.0.0.1", version);
        let pair = authority.sign("ecm.example");
        let peer = Peer2::start();
        let config = tls_config(&peer, &authority.ca(), Some(&pair), "");
        let mut ecm = Ecm::start_with_config(&config);
        let (mut trunk, _) = accept(&peer, &server).unwrap();
        ecm.wait_for_log("is up");
        let mut client = ecm.client();
        client.send(&get("/secret"));
        let (id, _, request) = trunk.opened();
        assert!(request.starts_with("GET /secret "), "{request}");
        let body = "x".repeat(200_000);
        trunk.answer(id, &body);
        let reader = std::thread::spawn(move || {
            client.expect(&ok(&body));
        });
        while !reader.is_finished() {
            trunk.read(Duration::from_millis(5));
        }
        reader.join().unwrap();
    }
}

#[test]
fn what_the_certificate_is_called_can_be_configured() {
    let authority = Authority::new();
    let server = server(&authority, "ejabberd.example", &TLS13);
    let pair = authority.sign("ecm.example");
    let peer = Peer2::start();
    let name = "server_name = \"ejabberd.example\"\n";
    let config = tls_config(&peer, &authority.ca(), Some(&pair), name);
    let mut ecm = Ecm::start_with_config(&config);
    let (_trunk, _) = accept(&peer, &server).unwrap();
    ecm.wait_for_log("is up");
}

/// Each row: what is wrong, and a part of the reason that the log gives.
#[test]
fn wrong_certificates_make_no_trunk_and_are_named_in_the_log() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let right = authority.sign("ecm.example");
    let wrong = stranger.sign("ecm.example");
    let expired = authority.sign_until("ecm.example", 2001);
    for version in [&TLS12, &TLS13] {
        for (what, name, ca, pair, reason) in [
            (
                "the server is a stranger",
                "127.0.0.1",
                &stranger,
                Some(&right),
                "UnknownIssuer",
            ),
            (
                "the server is another one",
                "other.example",
                &authority,
                Some(&right),
                "not valid for name",
            ),
            (
                "the client is a stranger",
                "127.0.0.1",
                &authority,
                Some(&wrong),
                "received fatal alert",
            ),
            (
                "the client's has expired",
                "127.0.0.1",
                &authority,
                Some(&expired),
                "received fatal alert",
            ),
            (
                "the client has none",
                "127.0.0.1",
                &authority,
                None,
                "received fatal alert",
            ),
        ] {
            let server = server(&authority, name, version);
            let peer = Peer2::start();
            let mut ecm = Ecm::start_with_config(&tls_config(&peer, &ca.ca(), pair, ""));
            let refused = accept(&peer, &server);
            assert!(refused.is_err(), "{what}, {version:?}: there is a trunk");
            let line = ecm.wait_for_log("no trunk to");
            assert!(line.contains(reason), "{what}, {version:?}: {line}");
            assert_eq!(ecm.logged("is up"), 0, "{what}, {version:?}");
        }
    }
}

#[test]
fn sighup_rereads_certificates_for_the_next_trunk_and_drops_none() {
    let authority = Authority::new();
    let server = server(&authority, "127.0.0.1", &TLS13);
    let pair = authority.sign("ecm.example");
    let peer = Peer2::start();
    let config = tls_config(&peer, &authority.ca(), Some(&pair), "");
    let mut ecm = Ecm::start_with_config(&config);
    let (mut trunk, first) = accept(&peer, &server).unwrap();
    ecm.wait_for_log("is up");
    // Another certificate in the same files.
    let renewed = authority.sign("ecm.example");
    assert_eq!(renewed.cert, pair.cert);
    ecm.signal("HUP");
    ecm.wait_for_log("configuration reloaded from");
    let mut client = ecm.client();
    client.send(&get("/"));
    let (id, ..) = trunk.opened();
    trunk.answer(id, "still there");
    client.expect(&ok("still there"));
    drop(trunk);
    let (_trunk, second) = accept(&peer, &server).unwrap();
    assert_ne!(first, second);
    // Files that can't be used change nothing.
    std::fs::write(&pair.cert, "no PEM").unwrap();
    ecm.signal("HUP");
    let line = ecm.wait_for_log("the configuration is not reloaded");
    assert!(line.contains("trunk.tls.cert: no certificate in"), "{line}");
}

#[test]
fn a_file_without_trunk_tls_takes_it_from_no_trunk() {
    let authority = Authority::new();
    let server = server(&authority, "127.0.0.1", &TLS13);
    let pair = authority.sign("ecm.example");
    let peer = Peer2::start();
    let mut ecm = Ecm::start_with_config(&tls_config(&peer, &authority.ca(), Some(&pair), ""));
    let (trunk, _) = accept(&peer, &server).unwrap();
    ecm.wait_for_log("is up");
    let config = std::fs::read_to_string(&ecm.config).unwrap();
    let (without, _) = config.split_once("[trunk.tls]").unwrap();
    std::fs::write(&ecm.config, without).unwrap();
    ecm.signal("HUP");
    ecm.wait_for_log("in effect only after a restart: trunk.tls");
    drop(trunk);
    accept(&peer, &server).unwrap();
}

#[test]
fn files_that_cannot_be_used_are_named_at_the_start() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (one, other) = (
        authority.sign("one.example"),
        stranger.sign("other.example"),
    );
    let missing = authority.folder.join("missing.pem");
    let mixed = Pair {
        cert: one.cert.clone(),
        key: other.key.clone(),
    };
    let peer = Peer2::start();
    for (config, expected) in [
        (
            tls_config(&peer, &missing, None, ""),
            "trunk.tls.ca: can't read ",
        ),
        (
            tls_config(&peer, &one.key, None, ""),
            "trunk.tls.ca: no certificate in ",
        ),
        (
            tls_config(&peer, &authority.ca(), Some(&mixed), ""),
            "trunk.tls.cert and trunk.tls.key can't be used together",
        ),
        (
            tls_config(
                &peer,
                &authority.ca(),
                Some(&one),
                "server_name = \"a b\"\n",
            ),
            "trunk.tls.server_name: \"a b\" is neither a host name",
        ),
    ] {
        refuses_config(&config, expected);
    }
}
