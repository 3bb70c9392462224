//! WebSocket through the program: by which way a client comes, and what happens when something else does.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::io::{Read, Write as _};
use std::sync::Arc;

use common::authority::{Authority, TlsClient};
use common::v2::{Peer2, Seen, Trunk2, source};
use common::{Client, get, ok, status};
use megaphone_trunk::proxy::{ChannelBindings, Transport};
use tokio_rustls::rustls::version::TLS13;

const OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a'/>";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    Sec-WebSocket-Protocol: xmpp\r\n\r\n";

fn upgrade(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: Example.org:80\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: xmpp\r\n{more}\r\n"
    )
}

/// A client's text message; its mask is 0.
fn message(document: &str) -> Vec<u8> {
    let length = u8::try_from(document.len()).unwrap();
    assert!(length < 126);
    [&[0x81, 0x80 | length, 0, 0, 0, 0], document.as_bytes()].concat()
}

/// A message on a trunk.
fn framed(document: &str) -> Vec<u8> {
    let mut out = Vec::new();
    megaphone_xmpp::framing::put_message(&mut out, document.as_bytes()).unwrap();
    out
}

/// The next frame that a client gets: its first byte and its payload, which is short.
#[track_caller]
fn frame(client: &mut Client) -> (u8, String) {
    read_frame(&mut client.stream)
}

#[track_caller]
fn read_frame(stream: &mut impl Read) -> (u8, String) {
    let mut header = [0; 2];
    stream.read_exact(&mut header).unwrap();
    let length = match header[1] {
        126 => {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            usize::from(u16::from_be_bytes(length))
        }
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).unwrap();
    (header[0], String::from_utf8_lossy(&payload).into_owned())
}

/// A session that the client opened: its stream.
#[track_caller]
fn opened(client: &mut Client, trunk: &mut Trunk2) -> u32 {
    client.stream.write_all(&message(OPEN)).unwrap();
    let (id, _, first) = trunk.opened();
    assert_eq!(first.as_bytes(), framed(OPEN));
    id
}

fn start(more: &str) -> (Peer2, common::Ecm, Trunk2) {
    let peer = Peer2::start();
    let (ecm, mut trunks) = peer.start_ecm(1, more);
    let trunk = trunks.remove(0);
    (peer, ecm, trunk)
}

#[test]
fn a_client_is_a_session_that_says_who_it_is() {
    let (_peer, ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(&upgrade("/ws", ""));
    client.expect(SWITCHED);
    client.stream.write_all(&message(OPEN)).unwrap();
    let (id, header, first) = trunk.opened();
    assert_eq!(source(&header), client.stream.local_addr().unwrap());
    assert_eq!(header.alpn.as_deref(), Some(&b"xmpp-framing"[..]));
    assert_eq!(header.authority.as_deref(), Some("example.org"));
    assert_eq!(header.transport, Some(Transport::WebSocket));
    assert_eq!(first.as_bytes(), framed(OPEN));
    trunk.send(id, &framed(OPEN));
    assert_eq!(frame(&mut client), (0x81, OPEN.to_owned()));
    // Two documents in one write, one of them in two frames.
    trunk.send(id, &[framed("<a/>"), framed("<b/>")].concat());
    assert_eq!(frame(&mut client), (0x81, "<a/>".to_owned()));
    assert_eq!(frame(&mut client), (0x81, "<b/>".to_owned()));
    drop(client);
    // It is gone, which says the first bit of a length, and may come back.
    assert_eq!(trunk.next(), Seen::Data(id, vec![0x80, 0, 0, 0]));
    trunk.finish(id);
    assert_eq!(trunk.next(), Seen::Finished(id));
}

#[test]
fn requests_before_it_go_to_ejabberd_and_are_answered_first() {
    let (_peer, ecm, mut trunk) = start("");
    let mut client = ecm.client();
    // All at once, and a frame behind them.
    client.send(&(get("/1") + &get("/2") + &upgrade("/websocket/?x=y", "")));
    client.stream.write_all(&message(OPEN)).unwrap();
    let (relayed, _, request) = trunk.opened();
    assert!(request.starts_with("GET /1 "), "{request}");
    trunk.answer(relayed, "one");
    client.expect(&ok("one"));
    if !request.contains("GET /2 ") {
        let (_, request) = trunk.data();
        assert!(request.starts_with("GET /2 "), "{request}");
    }
    trunk.answer(relayed, "two");
    client.expect(&(ok("two") + SWITCHED));
    assert_eq!(trunk.next(), Seen::Finished(relayed));
    let (id, header, first) = trunk.opened();
    assert_eq!(header.transport, Some(Transport::WebSocket));
    assert_eq!(first.as_bytes(), framed(OPEN));
    trunk.send(id, &framed("<a/>"));
    assert_eq!(frame(&mut client), (0x81, "<a/>".to_owned()));
}

#[test]
fn what_is_no_handshake_is_answered_here() {
    let (_peer, ecm, mut trunk) =
        start("[websocket]\npaths = [\"/chat\"]\norigins = [\"https://a.example\"]\n");
    for (request, expected) in [
        (get("/chat"), 200),
        (get("/chat").replace("GET", "HEAD"), 200),
        (get("/chat").replace("GET", "OPTIONS"), 200),
        (
            upgrade("/chat", "").replace("Connection: Upgrade", "A: b"),
            426,
        ),
        (upgrade("/chat", "").replace(": 13", ": 12"), 426),
        (upgrade("/chat", "").replace("GET", "PUT"), 405),
        (upgrade("/chat", "").replace(": xmpp", ": mqtt"), 400),
        (upgrade("/chat", "Origin: https://b.example\r\n"), 403),
        (upgrade("/chat", "Origin: https://a.example\r\n"), 101),
        (upgrade("/chat", ""), 101),
        (upgrade("/chat", "").replace(": xmpp", ": XMPP"), 101),
        (
            upgrade("/chat", "").replace("Sec-WebSocket-Protocol", "A"),
            101,
        ),
        (upgrade("/chat/room", "Origin: https://b.example\r\n"), 403),
        (upgrade("/chat/room", ""), 101),
        (upgrade("//chat", "Origin: https://b.example\r\n"), 403),
        (upgrade("/%63hat", "Origin: https://b.example\r\n"), 403),
        (upgrade("/./chat", "Origin: https://b.example\r\n"), 403),
        (upgrade("/a/../chat", "Origin: https://b.example\r\n"), 403),
        (
            upgrade("/a/%2e%2E/chat", "Origin: https://b.example\r\n"),
            403,
        ),
        (
            upgrade("/a%2F..%2fchat", "Origin: https://b.example\r\n"),
            403,
        ),
        (
            upgrade("http://example.org//chat", "Origin: https://b.example\r\n"),
            403,
        ),
        (upgrade("/.well-known/host-meta/more", ""), 404),
    ] {
        let mut client = ecm.client();
        client.send(&request);
        let mut answer = [0; 12];
        client.stream.read_exact(&mut answer).unwrap();
        assert_eq!(
            status(&String::from_utf8_lossy(&answer)),
            expected,
            "{request}"
        );
    }
    // The connection goes on, as far as it can.
    let mut client = ecm.client();
    let wrong = upgrade("/chat", "").replace(": 13", ": 12");
    client.send(&(wrong.clone() + &wrong + &get("/1")));
    let (id, _, request) = trunk.opened();
    assert!(request.starts_with("GET /1 "), "{request}");
    trunk.answer(id, "one");
    let refusal = client.until("must be 13\n");
    assert_eq!(status(&refusal), 426, "{refusal}");
    assert!(!refusal.contains("close"), "{refusal}");
    client.expect(&refusal);
    client.expect(&ok("one"));
    // A client of HTTP/1.0 is told whether it does.
    let mut client = ecm.client();
    for (field, expected) in [("Connection: keep-alive\r\n", "keep-alive"), ("", "close")] {
        client.send(&format!("HEAD /chat HTTP/1.0\r\nHost: a\r\n{field}\r\n"));
        let head = client.until("\r\n\r\n");
        let expected = format!("\r\nConnection: {expected}\r\n");
        assert!(head.contains(&expected), "{head}");
    }
    assert_eq!(client.rest(), "");
    // The default paths are ejabberd's now.
    let mut client = ecm.client();
    client.send(&upgrade("/ws", ""));
    let (_, header, request) = trunk.opened();
    assert_eq!(header.alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert!(request.starts_with("GET /ws "), "{request}");
}

#[test]
fn switched_off_it_is_relayed() {
    let (_peer, ecm, mut trunk) = start("[websocket]\nenabled = false\n");
    let mut client = ecm.client();
    client.send(&upgrade("/ws", ""));
    let (id, header, _) = trunk.opened();
    assert_eq!(header.alpn.as_deref(), Some(&b"http/1.1"[..]));
    trunk.send(
        id,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    );
    client.expect("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
}

#[test]
fn a_trusted_proxys_word_is_taken_for_where_a_client_comes_from() {
    let peer = Peer2::start();
    let config = common::v2::config(&peer.address.to_string(), 1, "");
    let config = format!("trusted_proxies = [\"127.0.0.0/8\"]\n{config}");
    let mut ecm = common::Ecm::start_with_config(&config);
    let mut trunk = peer.accept();
    ecm.wait_for_log("is up");
    let mut client = ecm.client();
    let from = "X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\nX-Forwarded-Proto: https\r\nCookie: a=b\r\n";
    client.send(&upgrade("/ws", from));
    client.expect(SWITCHED);
    client.stream.write_all(&message(OPEN)).unwrap();
    let (_, header, _) = trunk.opened();
    assert_eq!(source(&header), "192.0.2.7:0".parse().unwrap());
    assert_ne!(header.tls, None);
    let fields = header.fields.expect("the request's fields");
    let fields = std::str::from_utf8(&fields).unwrap();
    let names: Vec<_> = fields
        .lines()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert!(fields.contains("Cookie: a=b\r\n"), "{fields}");
    assert!(
        fields.ends_with("X-Forwarded-For: 192.0.2.7\r\n"),
        "{fields}"
    );
    assert!(
        !names.contains(&"Upgrade") && !names.contains(&"Connection"),
        "{fields}"
    );
}

/// What a client hears as the program ends, and its part of it.
#[track_caller]
fn expect_shutdown(client: &mut Client) {
    let (_, error) = frame(client);
    assert!(error.contains("<system-shutdown "), "{error}");
    let (_, close) = frame(client);
    assert!(close.starts_with("<close "), "{close}");
    let (opcode, reason) = frame(client);
    assert_eq!((opcode, &reason.as_bytes()[..1]), (0x88, &[3][..]));
    client
        .stream
        .write_all(&[0x88, 0x82, 0, 0, 0, 0, 3, 0xe9])
        .unwrap();
    assert_eq!(client.rest(), "");
}

/// So many clients with sessions, in the order in which they connected.
fn connected(ecm: &common::Ecm, trunk: &mut Trunk2, count: usize) -> Vec<(Client, u32)> {
    let connect = |_| {
        let mut client = ecm.client();
        client.send(&upgrade("/ws", ""));
        client.expect(SWITCHED);
        let id = opened(&mut client, trunk);
        trunk.send(id, &framed(OPEN));
        assert_eq!(frame(&mut client), (0x81, OPEN.to_owned()));
        (client, id)
    };
    (0..count).map(connect).collect()
}

#[test]
fn clients_are_let_go_one_group_after_the_other() {
    let (_peer, mut ecm, mut trunk) = start("[limits]\nclose_spread = \"1h\"\n");
    let mut clients = connected(&ecm, &mut trunk, 10);
    ecm.signal("USR1");
    ecm.wait_for_log("leaving: clients are disconnected over the next 3600s");
    // The first group's turn is now, the next one's in a minute.
    let (mut first, _) = clients.remove(0);
    expect_shutdown(&mut first);
    for (client, id) in &mut clients {
        client.stream.write_all(&message("<a/>")).unwrap();
        assert_eq!(
            trunk.next_on(*id),
            Seen::Data(*id, framed("<a xmlns='jabber:client'/>"))
        );
        trunk.send(*id, &framed("<b/>"));
        assert_eq!(frame(client), (0x81, "<b/>".to_owned()));
    }
    assert!(std::net::TcpStream::connect(ecm.address).is_err());
    // That is too long for somebody.
    ecm.signal("TERM");
    clients.iter_mut().for_each(|(it, _)| expect_shutdown(it));
    drop(trunk);
    assert!(ecm.wait_for_exit().success());
}

#[test]
fn when_all_were_let_go_the_program_ends() {
    let (_peer, mut ecm, mut trunk) = start("[limits]\nclose_spread = \"640ms\"\n");
    let mut clients = connected(&ecm, &mut trunk, 130);
    ecm.signal("USR1");
    clients.iter_mut().for_each(|(it, _)| expect_shutdown(it));
    drop(trunk);
    assert!(ecm.wait_for_exit().success());
}

#[test]
fn the_end_of_the_program_is_told_to_each_client() {
    let (peer, mut ecm, mut trunk) = start("");
    let mut clients: Vec<_> = (0..10).map(|_| ecm.client()).collect();
    // Their trunks: another one takes the place of the first, whose sessions go on.
    let mut trunks = Vec::new();
    for (n, client) in clients.iter_mut().enumerate() {
        if n == 5 {
            trunk.go_away();
            let next = peer.accept();
            ecm.wait_for_log("is up");
            trunks.push(std::mem::replace(&mut trunk, next));
        }
        client.send(&upgrade("/ws", ""));
        client.expect(SWITCHED);
        let id = opened(client, &mut trunk);
        trunk.send(id, &framed(OPEN));
        assert_eq!(frame(client), (0x81, OPEN.to_owned()));
    }
    trunks.push(trunk);
    ecm.signal("TERM");
    clients.iter_mut().for_each(expect_shutdown);
    drop(trunks);
    assert!(ecm.wait_for_exit().success());
}

#[test]
fn a_lost_trunk_ends_its_sessions_at_once_and_the_next_one_has_new_ones() {
    let (peer, mut ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(&upgrade("/ws", ""));
    client.expect(SWITCHED);
    opened(&mut client, &mut trunk);
    drop(trunk);
    assert!(frame(&mut client).1.starts_with("<open "));
    assert!(frame(&mut client).1.contains("<remote-connection-failed "));
    let mut trunk = peer.accept();
    ecm.wait_for_log("is up");
    let mut client = ecm.client();
    client.send(&upgrade("/ws", ""));
    client.expect(SWITCHED);
    opened(&mut client, &mut trunk);
}

#[test]
fn host_meta_is_answered_between_requests_for_ejabberd() {
    let (_peer, ecm, mut trunk) = start("");
    let mut client = ecm.client();
    let host_meta = "GET /.well-known/host-meta.json HTTP/1.1\r\nHost: a.example\r\n\
        Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n";
    client.send(&(get("/1") + host_meta + &get("/2")));
    let (id, ..) = trunk.opened();
    trunk.answer(id, "one");
    client.expect(&ok("one"));
    let (again, request) = trunk.data();
    assert_eq!(again, id);
    assert!(request.starts_with("GET /2 "), "{request}");
    trunk.answer(id, "two");
    let answer = client.until("\"href\":\"ws://a.example/ws\"}]}\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"));
    client.expect(&ok("two"));
}

/// The documents of a login, as far as the program has to see them.
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";

/// What the program's memory grows by with each client that `connect` brings online, in bytes.
fn memory<C>(ecm: &common::Ecm, count: usize, mut connect: impl FnMut() -> C) -> u64 {
    // Buffers that all clients share, and tables that grow in steps.
    let before_measuring: Vec<_> = (0..count / 10).map(|_| connect()).collect();
    let before = ecm.resident_memory();
    let clients: Vec<_> = (0..count).map(|_| connect()).collect();
    let each = (ecm.resident_memory() - before) / count as u64;
    drop((before_measuring, clients));
    println!("{each} bytes a client");
    each
}

#[test]
fn an_idle_client_costs_little_memory() {
    common::allow_open_files();
    let (_peer, ecm, mut trunk) = start("[limits]\nauth_timeout = \"1h\"\nlogins_at_once = 0\n");
    let each = memory(&ecm, 2000, || {
        let mut client = ecm.client();
        client.send(&upgrade("/ws", ""));
        client.expect(SWITCHED);
        let id = opened(&mut client, &mut trunk);
        trunk.send(id, &[framed(OPEN), framed(SUCCESS)].concat());
        assert_eq!(frame(&mut client).1, OPEN);
        assert_eq!(frame(&mut client).1, SUCCESS);
        client
    });
    assert!(each <= 2_560, "{each} bytes a client");
}

#[test]
fn by_tls_it_is_a_session_too_and_an_idle_client_costs_little_memory() {
    common::allow_open_files();
    let authority = Authority::new();
    let peer = Peer2::start();
    let mut ecm = common::Ecm::start_with_config(&format!(
        "[log]\nlevel = \"info\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nkind = \"https\"\n\
         [limits]\nlogins_at_once = 0\n[trunk]\naddress = \"{}\"\ntrunks = 1\n{}",
        peer.address,
        authority.sign("a.example").table()
    ));
    let mut trunk = peer.accept();
    ecm.wait_for_log("is up");
    let config = Arc::new(authority.client(&TLS13, &["http/1.1"]));
    let each = memory(&ecm, 500, || {
        let mut client = TlsClient::connect(ecm.address, &config, "a.example").unwrap();
        client.send(&upgrade("/ws", ""));
        client.expect(SWITCHED);
        client.0.write_all(&message(OPEN)).unwrap();
        client.0.flush().unwrap();
        let (id, header, first) = trunk.opened();
        assert_eq!(header.transport, Some(Transport::WebSocket));
        assert!(header.tls.is_some());
        assert_eq!(header.bindings, ChannelBindings::default());
        assert_eq!(first.as_bytes(), framed(OPEN));
        trunk.send(id, &[framed(OPEN), framed(SUCCESS)].concat());
        assert_eq!(read_frame(&mut client.0).1, OPEN);
        assert_eq!(read_frame(&mut client.0).1, SUCCESS);
        client
    });
    assert!(each <= 10_240, "{each} bytes a client");
}
