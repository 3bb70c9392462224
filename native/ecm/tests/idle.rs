//! What clients that are online and idle cost in memory, everything included.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::io::Read as _;
use std::sync::Arc;

use common::authority::{Authority, TlsClient};
use common::sessions::Sessions;
use common::v2::Peer2;
use common::{Client, Ecm};
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::version::{TLS12, TLS13};

const HEADER: &str = "<stream:stream xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams' to='a.example' version='1.0'>";
const OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0'/>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";

/// What the program's memory grows by with each client, in bytes.
fn cost<C>(listener: &str, more: &str, online: impl Fn(&Ecm, &mut Sessions) -> C) -> u64 {
    /// Buffers that all clients share, and tables that grow in steps.
    const FIRST: usize = 100;
    const CLIENTS: usize = 300;
    common::allow_open_files();
    let peer = Peer2::start();
    let mut ecm = Ecm::start_with_config(&format!(
        "[log]\nlevel = \"info\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}[trunk]\n\
         address = \"{}\"\ntrunks = 1\n{more}",
        peer.address
    ));
    let mut sessions = Sessions::new(peer.accept());
    ecm.wait_for_log("is up");
    let first: Vec<_> = (0..FIRST).map(|_| online(&ecm, &mut sessions)).collect();
    let before = ecm.resident_memory();
    let clients: Vec<_> = (0..CLIENTS).map(|_| online(&ecm, &mut sessions)).collect();
    let after = ecm.resident_memory();
    drop((first, clients));
    (after - before) / CLIENTS as u64
}

/// Logs a client in as far as this program knows of it.
fn log_in(sessions: &mut Sessions) {
    let (id, ..) = sessions.opened();
    sessions.send(id, &[OPEN, SUCCESS]);
}

#[test]
fn an_xml_stream() {
    let listener = "kind = \"xmpp\"\nstarttls = \"off\"\n";
    let each = cost(listener, "", |ecm, sessions| {
        let mut client: Client = ecm.client();
        client.send(HEADER);
        log_in(sessions);
        let mut got = String::new();
        while !got.ends_with(SUCCESS) {
            let mut buffer = [0; 1024];
            let length = client.stream.read(&mut buffer).unwrap();
            got.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        client
    });
    println!("{each} bytes a client");
    assert!(each <= 2_048, "{each} bytes a client");
}

/// A client that sends this first, and gets what ends with that.
fn by_tls(ecm: &Ecm, config: &Arc<ClientConfig>, first: &str, end: &str) -> TlsClient {
    let mut client = TlsClient::connect(ecm.address, config, "a.example").unwrap();
    client.send(first);
    read_until(&mut client, end);
    client
}

fn read_until(client: &mut TlsClient, end: &str) {
    let mut got = Vec::new();
    while !got.ends_with(end.as_bytes()) {
        let mut buffer = [0; 1024];
        let length = client.0.read(&mut buffer).unwrap();
        assert!(length > 0, "it ended: {}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&buffer[..length]);
    }
}

#[test]
fn an_xml_stream_with_tls() {
    let authority = Authority::new();
    let pair = authority.sign("a.example");
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(authority.client(version, &["xmpp-client"]));
        let listener = "kind = \"xmpps\"\n";
        let each = cost(listener, &pair.table(), |ecm, sessions| {
            let mut client = TlsClient::connect(ecm.address, &config, "a.example").unwrap();
            client.send(HEADER);
            log_in(sessions);
            read_until(&mut client, SUCCESS);
            client
        });
        println!("{each} bytes a client, {:?}", version.version);
        assert!(each <= 6_144, "{each} bytes a client");
    }
}

#[test]
fn a_websocket_with_tls() {
    let authority = Authority::new();
    let pair = authority.sign("a.example");
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n";
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(authority.client(version, &["http/1.1"]));
        let listener = "kind = \"https\"\n";
        let each = cost(listener, &pair.table(), |ecm, sessions| {
            let mut client = by_tls(ecm, &config, upgrade, "\r\n\r\n");
            // A text frame with a mask of zeros.
            let length = u8::try_from(OPEN.len()).unwrap();
            let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0][..], OPEN.as_bytes()].concat();
            std::io::Write::write_all(&mut client.0, &frame).unwrap();
            log_in(sessions);
            read_until(&mut client, SUCCESS);
            client
        });
        println!("{each} bytes a client, {:?}", version.version);
        assert!(each <= 6_144, "{each} bytes a client");
    }
}
