//! TLS with clients: which certificate they are shown, what ejabberd hears of it, and what becomes of
//! handshakes that fail.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::authority::{Authority, Pair, TlsClient};
use common::v2::{Peer2, Seen, Trunk2, source};
use common::{Client, Ecm, get, ok, refuses_config};
use megaphone_trunk::proxy::Transport;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, HandshakeKind};

const HTTP: &[&str] = &["h2", "http/1.1"];
const HTTPS: &str = "kind = \"https\"\n";

/// A program with a listener of this kind alone, and certificates.
fn start(listener: &str, pairs: &[&Pair], more: &str) -> (Peer2, Ecm, Trunk2) {
    let peer = Peer2::start();
    let certificates: String = pairs.iter().map(|pair| pair.table()).collect();
    let config = format!(
        "[log]\nlevel = \"debug\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}[trunk]\n\
         address = \"{}\"\ntrunks = 1\n{certificates}{more}",
        peer.address
    );
    let mut ecm = Ecm::start_with_config(&config);
    let trunk = peer.accept();
    ecm.wait_for_log("is up");
    (peer, ecm, trunk)
}

fn connect(ecm: &Ecm, config: &Arc<ClientConfig>, name: &str) -> TlsClient {
    TlsClient::connect(ecm.address, config, name).unwrap()
}

#[test]
fn requests_of_both_versions_are_relayed_and_ejabberd_hears_of_the_tls() {
    let authority = Authority::new();
    let pair = authority.sign("a.example");
    let (_peer, ecm, mut trunk) = start(HTTPS, &[&pair], "");
    for (version, name) in [(&TLS12, "TLSv1.2"), (&TLS13, "TLSv1.3")] {
        let config = Arc::new(authority.client(version, HTTP));
        let mut client = connect(&ecm, &config, "a.example");
        assert_eq!(client.0.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        client.send(&get("/1"));
        let (id, header, request) = trunk.opened();
        assert!(request.starts_with("GET /1 "), "{request}");
        assert_eq!(source(&header), client.0.sock.local_addr().unwrap());
        assert_eq!(header.transport, Some(Transport::Tls));
        let tls = header.tls.unwrap();
        assert_eq!(tls.version.as_deref(), Some(name));
        let cipher = tls.cipher.unwrap();
        let expected = match name {
            "TLSv1.2" => "ECDHE-ECDSA-AES256-GCM-SHA384",
            _ => "TLS_AES_256_GCM_SHA384",
        };
        assert_eq!(cipher, expected);
        assert!(!tls.verified && tls.common_name.is_none());
        trunk.answer(id, "1");
        client.expect(&ok("1"));
        client.0.conn.send_close_notify();
        client.0.flush().unwrap();
        assert_eq!(trunk.next(), Seen::Finished(id));
        assert_eq!(client.rest(), "");
    }
}

#[test]
fn large_bodies_go_both_ways_through_full_sockets() {
    let authority = Authority::new();
    let pair = authority.sign("a.example");
    let (_peer, ecm, mut trunk) = start(HTTPS, &[&pair], "");
    let body = "0123456789abcdef".repeat(100_000);
    let config = Arc::new(authority.client(&TLS13, HTTP));
    let mut client = connect(&ecm, &config, "a.example");
    let length = body.len();
    let request = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
    let answer = ok(&body);
    let expected = answer.clone();
    let talker = std::thread::spawn(move || {
        client.send(&request);
        client.expect(&expected);
    });
    let (id, _, mut got) = trunk.opened();
    while !got.ends_with(&body) {
        got.push_str(&trunk.data().1);
    }
    let mut rest = answer.as_bytes();
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(rest.len().min(16 * 1024));
        while trunk
            .session
            .write(megaphone_trunk::v2::StreamId::new(id), piece)
            != Ok(megaphone_trunk::v2::Written::Taken)
        {
            trunk.read(Duration::from_millis(5));
        }
        trunk.flush();
        rest = more;
    }
    while !talker.is_finished() {
        trunk.read(Duration::from_millis(5));
    }
    talker.join().unwrap();
}

#[test]
fn each_client_is_shown_the_certificate_of_the_name_it_asks_for() {
    let authority = Authority::new();
    let names = ["first.example", "*.wild.example", "second.example"];
    let pairs = names.map(|name| authority.sign(name));
    let [first, wild, second] = &pairs;
    let (_peer, ecm, _trunk) = start(HTTPS, &[first, wild, second], "");
    let trusting = Arc::new(authority.client(&TLS13, HTTP));
    for name in [
        "first.example",
        "second.example",
        "any.wild.example",
        "SECOND.example",
    ] {
        // It checks the name by itself.
        connect(&ecm, &trusting, name);
    }
    for name in [
        "other.example",
        "a.b.wild.example",
        "wild.example",
        "127.0.0.1",
    ] {
        let refusal = TlsClient::connect(ecm.address, &trusting, name)
            .err()
            .unwrap();
        let shown = "certificate is only valid for DnsName(\"first.example\")";
        assert!(refusal.contains(shown), "{name}: {refusal}");
    }
}

/// Asks for something, as tickets come with the first bytes, and says how the handshake went.
fn visit(ecm: &Ecm, trunk: &mut Trunk2, config: &Arc<ClientConfig>) -> Option<HandshakeKind> {
    let mut client = connect(ecm, config, "a.example");
    let kind = client.0.conn.handshake_kind();
    client.send(&get("/"));
    let (id, ..) = trunk.opened();
    trunk.answer(id, "");
    client.expect(&ok(""));
    drop(client);
    assert_eq!(trunk.next(), Seen::Finished(id));
    kind
}

#[test]
fn clients_come_back_with_tickets() {
    let authority = Authority::new();
    let pair = authority.sign("a.example");
    let (_peer, mut ecm, mut trunk) = start(HTTPS, &[&pair], "");
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(authority.client(version, HTTP));
        let mut kinds = Vec::new();
        for reload in [false, false, true] {
            if reload {
                ecm.signal("HUP");
                ecm.wait_for_log("configuration reloaded from");
            }
            kinds.push(visit(&ecm, &mut trunk, &config));
        }
        let full = Some(HandshakeKind::Full);
        let resumed = Some(HandshakeKind::Resumed);
        assert_eq!(kinds, [full, resumed, resumed], "{version:?}");
    }
}

/// As an admin replaces it: never half written.
fn replace_keys(path: &Path, keys: &[&str]) {
    let written = path.with_extension("new");
    std::fs::write(&written, keys.join("\n")).unwrap();
    std::fs::rename(written, path).unwrap();
}

const KEYS: [&str; 2] = [
    "Zmlyc3QgZmlyc3QgZmlyc3QgZmlyc3QgZmlyc3QgZmlyc3Q=",
    "c2Vjb25kIHNlY29uZCBzZWNvbmQgc2Vjb25kIHNlY29uZCE=",
];

#[test]
fn programs_with_the_same_ticket_keys_take_each_others_tickets() {
    let authority = Authority::new();
    let pair = authority.sign("a.example");
    let file = authority.folder.join("ticket.keys");
    replace_keys(&file, &KEYS[..1]);
    let tls = format!("[tls]\nticket_keys = \"{}\"\n", file.display());
    let (_peer, one, mut trunk) = start(HTTPS, &[&pair], &tls);
    let (_peer, mut other, mut other_trunk) = start(HTTPS, &[&pair], &tls);
    let (_peer, alone, mut alone_trunk) = start(HTTPS, &[&pair], "");
    let full = Some(HandshakeKind::Full);
    let resumed = Some(HandshakeKind::Resumed);
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(authority.client(version, HTTP));
        assert_eq!(visit(&one, &mut trunk, &config), full, "{version:?}");
        assert_eq!(
            visit(&other, &mut other_trunk, &config),
            resumed,
            "{version:?}"
        );
        assert_eq!(visit(&one, &mut trunk, &config), resumed, "{version:?}");
        assert_eq!(
            visit(&alone, &mut alone_trunk, &config),
            full,
            "{version:?}"
        );
    }
    // The key is replaced while one of them runs; the file is looked at every 10 seconds.
    let old = Arc::new(authority.client(&TLS13, HTTP));
    assert_eq!(visit(&one, &mut trunk, &old), full);
    replace_keys(&file, &[KEYS[1], KEYS[0]]);
    other.wait_for_log("new ticket keys from");
    assert_eq!(visit(&other, &mut other_trunk, &old), resumed);
    let (_peer, late, mut late_trunk) = start(HTTPS, &[&pair], &tls);
    assert_eq!(visit(&late, &mut late_trunk, &old), resumed);
    // A file that is wrong is told of, and changes nothing.
    replace_keys(&file, &["no key"]);
    other.signal("HUP");
    other.wait_for_log("the configuration is not reloaded: tls.ticket_keys: line 1 of");
    assert_eq!(visit(&other, &mut other_trunk, &old), resumed);
    let table = pair.table();
    refuses_config(
        &format!("{table}{tls}"),
        "ticket.keys is not a key: at least 32 random bytes in base64 are needed, such as \
         `openssl rand -base64 48` prints",
    );
}

/// OpenSSL's client brings its session from one program to another.
#[test]
fn openssl_comes_back_to_another_program() {
    let authority = Authority::new();
    let pair = authority.sign("a.example");
    let file = authority.folder.join("ticket.keys");
    replace_keys(&file, &KEYS[..1]);
    let tls = format!("[tls]\nticket_keys = \"{}\"\n", file.display());
    let (_peer, one, _trunk) = start(HTTPS, &[&pair], &tls);
    let (_peer, other, _other_trunk) = start(HTTPS, &[&pair], &tls);
    for version in ["-tls1_2", "-tls1_3"] {
        let mut reused = 0;
        for client in 0..20 {
            let session = authority.folder.join(format!("{version}-{client}.session"));
            let session = session.to_str().unwrap();
            assert!(openssl(&one, &[version, "-sess_out", session]).contains("New, "));
            let again = openssl(&other, &[version, "-sess_in", session]);
            reused += usize::from(again.contains("Reused, "));
        }
        assert_eq!(reused, 20, "{version}");
    }
}

/// Connects with `openssl s_client`, which asks for a resource and goes.
fn openssl(ecm: &Ecm, options: &[&str]) -> String {
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", &ecm.address.to_string()])
        .args(["-servername", "a.example", "-ign_eof"])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // What can't be read gets an answer from the program itself, and an end.
    client
        .stdin
        .take()
        .unwrap()
        .write_all(b"GET\r\n\r\n")
        .unwrap();
    let output = client.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn sighup_rereads_certificates_and_touches_no_open_connection() {
    let authority = Authority::new();
    let pair = authority.sign("a.example");
    let (_peer, mut ecm, mut trunk) = start(HTTPS, &[&pair], "");
    let config = || Arc::new(authority.client(&TLS13, HTTP));
    let mut old = connect(&ecm, &config(), "a.example");
    // Another certificate in the same files.
    let renewed = authority.sign("a.example");
    assert_eq!(renewed.cert, pair.cert);
    ecm.signal("HUP");
    ecm.wait_for_log("configuration reloaded from");
    let new = connect(&ecm, &config(), "a.example");
    assert_ne!(old.certificate(), new.certificate());
    old.send(&get("/"));
    let (id, ..) = trunk.opened();
    trunk.answer(id, "still there");
    old.expect(&ok("still there"));
    // Files that can't be used change nothing.
    std::fs::write(&pair.key, "no PEM").unwrap();
    ecm.signal("HUP");
    let line = ecm.wait_for_log("the configuration is not reloaded");
    assert!(line.contains("certificate.key: can't read "), "{line}");
    let same = connect(&ecm, &config(), "a.example");
    assert_eq!(same.certificate(), new.certificate());
}

#[test]
fn failed_handshakes_are_named_in_the_log_and_cost_nobody_else_anything() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let pair = authority.sign("a.example");
    let limits = "[limits]\nhandshake_timeout = \"300ms\"\nmax_connections = 3\n";
    let (_peer, mut ecm, mut trunk) = start(HTTPS, &[&pair], limits);
    let hello = first_bytes(&authority);
    // Garbage gets an alert, of the level fatal.
    let mut garbage = ecm.client();
    garbage.send("GET / HTTP/1.1\r\n\r\n");
    let mut alert = Vec::new();
    garbage.stream.read_to_end(&mut alert).unwrap();
    let line = ecm.wait_for_log("a TLS handshake failed");
    assert!(line.contains("received corrupt message"), "{line}");
    assert_eq!(alert, [21, 3, 3, 0, 2, 2, 50], "{line}");
    // Half a hello, and the client leaves.
    let mut leaving = ecm.client();
    leaving.stream.write_all(&hello[..hello.len() / 2]).unwrap();
    leaving.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(leaving.drain().0, 0);
    let line = ecm.wait_for_log("a TLS handshake failed: the client left after");
    assert!(
        line.contains(&format!("after {} bytes", hello.len() / 2)),
        "{line}"
    );
    // Half a hello, byte by byte, and the client stays.
    let mut slow = ecm.client();
    for byte in &hello[..20] {
        slow.stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(slow.drain().0, 0);
    ecm.wait_for_log("a TLS handshake failed: it took longer than handshake_timeout");
    // Who trusts another CA, and who speaks something else.
    let config = Arc::new(stranger.client(&TLS13, HTTP));
    assert!(TlsClient::connect(ecm.address, &config, "a.example").is_err());
    ecm.wait_for_log("a TLS handshake failed: received fatal alert");
    let config = Arc::new(authority.client(&TLS13, &["h2"]));
    let refusal = TlsClient::connect(ecm.address, &config, "a.example")
        .err()
        .unwrap();
    assert!(refusal.contains("NoApplicationProtocol"), "{refusal}");
    ecm.wait_for_log("a TLS handshake failed: ");
    // A look whether the port is open is no line in the log.
    let lines = ecm.logged("a TLS handshake failed");
    drop(ecm.client());
    // All places are free again.
    let config = Arc::new(authority.client(&TLS13, HTTP));
    let mut clients: Vec<_> = (0..3).map(|_| connect_when_free(&ecm, &config)).collect();
    clients[2].send(&get("/"));
    let (id, ..) = trunk.opened();
    trunk.answer(id, "fine");
    clients[2].expect(&ok("fine"));
    assert_eq!(ecm.logged("a TLS handshake failed"), lines);
}

/// A place is free once the program has seen that its client left.
fn connect_when_free(ecm: &Ecm, config: &Arc<ClientConfig>) -> TlsClient {
    let until = std::time::Instant::now() + common::PATIENCE;
    loop {
        match TlsClient::connect(ecm.address, config, "a.example") {
            Ok(client) => return client,
            Err(error) if std::time::Instant::now() > until => panic!("{error}"),
            Err(_no_place) => std::thread::yield_now(),
        }
    }
}

/// A client's hello.
fn first_bytes(authority: &Authority) -> Vec<u8> {
    use tokio_rustls::rustls::ClientConnection;
    let config = Arc::new(authority.client(&TLS13, HTTP));
    let mut connection = ClientConnection::new(config, "a.example".try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn a_proxy_header_may_come_before_tls() {
    let authority = Authority::new();
    let pair = authority.sign("a.example");
    let listener = "kind = \"https\"\nproxy_protocol = true\n";
    let (_peer, ecm, mut trunk) = start(listener, &[&pair], "");
    let config = Arc::new(authority.client(&TLS13, HTTP));
    let mut plain = Client::connect(ecm.address);
    plain.send("PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n");
    let mut client = TlsClient::over(plain.stream, &config, "a.example").unwrap();
    client.send(&get("/"));
    let (id, header, _) = trunk.opened();
    assert_eq!(source(&header), "192.0.2.7:4711".parse().unwrap());
    assert_eq!(header.tls.unwrap().version.as_deref(), Some("TLSv1.3"));
    trunk.answer(id, "yes");
    client.expect(&ok("yes"));
    // In one piece with the hello.
    let mut plain = Client::connect(ecm.address);
    let hello = first_bytes(&authority);
    let line = b"PROXY TCP4 192.0.2.8 198.51.100.1 4711 443\r\n";
    plain
        .stream
        .write_all(&[line, &hello[..]].concat())
        .unwrap();
    let mut first = [0; 1];
    plain.stream.read_exact(&mut first).unwrap();
    assert_eq!(first, [22], "a server's hello is a handshake record");
}

#[test]
fn a_client_that_reads_nothing_is_closed() {
    let authority = Authority::new();
    let pair = authority.sign("a.example");
    let limits = "[limits]\nsend_timeout = \"300ms\"\n";
    let (_peer, mut ecm, mut trunk) = start(HTTPS, &[&pair], limits);
    let config = Arc::new(authority.client(&TLS13, HTTP));
    let mut client = connect(&ecm, &config, "a.example");
    client.send(&get("/"));
    let (id, ..) = trunk.opened();
    let length = 100_000_000;
    trunk.send(
        id,
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes(),
    );
    let piece = vec![b'x'; 16 * 1024];
    loop {
        match trunk
            .session
            .write(megaphone_trunk::v2::StreamId::new(id), &piece)
        {
            Ok(megaphone_trunk::v2::Written::Taken) => trunk.flush(),
            Ok(megaphone_trunk::v2::Written::Refused) => {
                if let Some(Seen::Reset(_) | Seen::Finished(_)) =
                    trunk.next_within(Duration::from_millis(5))
                {
                    break;
                }
            }
            Err(_reset) => break,
        }
    }
    ecm.wait_for_log("a deadline passed: Output");
    let mut buffer = vec![0; 1 << 20];
    let end = loop {
        match client.0.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(_) => {}
            Err(error) => break Err(error.kind()),
        }
    };
    assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset));
}

#[test]
fn files_that_cannot_be_used_are_named_at_the_start() {
    let authority = Authority::new();
    let (one, other) = (
        authority.sign("one.example"),
        authority.sign("other.example"),
    );
    let missing = Pair {
        cert: authority.folder.join("missing.pem"),
        key: one.key.clone(),
    };
    let swapped = Pair {
        cert: one.key.clone(),
        key: one.cert.clone(),
    };
    let mixed = Pair {
        cert: one.cert.clone(),
        key: other.key.clone(),
    };
    for (pair, expected) in [
        (&missing, "certificate.cert: can't read "),
        (&swapped, "certificate.cert: no certificate in "),
        (
            &mixed,
            "can't be used together: keys may not be consistent: KeyMismatch",
        ),
    ] {
        let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\nkind = \"https\"\n";
        let config = format!("{listener}{}{}", other.table(), pair.table());
        refuses_config(&config, expected);
    }
}
