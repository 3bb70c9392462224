//! What stands in front of the program: proxies that speak the PROXY protocol, and XMPP clients.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use common::v2::{FIRST, Peer2, Seen, Trunk2, source};
use common::{Client, Ecm, get, ok};
use megaphone_trunk::proxy::{Addresses, Header, Transport};
use megaphone_trunk::v2::{StreamId, Written};
use ppp::v2::{Builder, Command, Protocol, Type, Version};
use socket2::SockRef;

/// A program with a listener of this kind alone.
fn start(top: &str, listener: &str, more: &str) -> (Peer2, Ecm, Trunk2) {
    let peer = Peer2::start();
    let config = format!(
        "{top}[log]\nlevel = \"debug\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}[trunk]\n\
         address = \"{}\"\ntrunks = 1\n{more}",
        peer.address
    );
    let mut ecm = Ecm::start_with_config(&config);
    let trunk = peer.accept();
    ecm.wait_for_log("is up");
    (peer, ecm, trunk)
}

const RELAY: &str = "kind = \"xmpp\"\nrelay = true\n";
const PROXIED: &str = "proxy_protocol = true\n";

fn destination(header: &Header) -> SocketAddr {
    match &header.addresses {
        Addresses::Inet { destination, .. } => *destination,
        other => panic!("no addresses: {other:?}"),
    }
}

#[test]
fn a_version_1_header_says_who_the_client_is() {
    let (_peer, ecm, mut trunk) = start("", PROXIED, "");
    for (line, client_address, server_address) in [
        (
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n",
            "192.0.2.7:4711",
            "198.51.100.1:80",
        ),
        (
            "PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n",
            "[2001:db8::7]:4711",
            "[2001:db8::1]:443",
        ),
    ] {
        // In one piece with the request, and cut in the middle.
        for cut in [0, 20] {
            let mut client = ecm.client();
            client.send(&line[..cut]);
            client.send(&(line[cut..].to_owned() + &get("/")));
            let (id, header, request) = trunk.opened();
            assert_eq!(source(&header), client_address.parse().unwrap());
            assert_eq!(destination(&header), server_address.parse().unwrap());
            assert!(request.starts_with("GET / "), "{request}");
            let ip = client_address.parse::<SocketAddr>().unwrap().ip();
            assert!(
                request.contains(&format!("\r\nX-Forwarded-For: {ip}\r\n")),
                "{request}"
            );
            trunk.answer(id, "1");
            client.expect(&ok("1"));
            client.send(&get("/2"));
            assert!(trunk.data().1.starts_with("GET /2 "));
            trunk.answer(id, "2");
            client.expect(&ok("2"));
            drop(client);
            assert_eq!(trunk.next(), Seen::Finished(id));
            trunk.finish(id);
        }
    }
}

#[test]
fn a_version_2_header_of_another_implementation_is_read() {
    let (_peer, ecm, mut trunk) = start("", PROXIED, "");
    let addresses: (SocketAddr, SocketAddr) = (
        "192.0.2.7:4711".parse().unwrap(),
        "198.51.100.1:443".parse().unwrap(),
    );
    // The client came by TLS 1.3 and showed no certificate.
    let tls = [&[1, 0, 0, 0, 0, 0x21, 0, 7][..], b"TLSv1.3"].concat();
    let header =
        Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, addresses)
            .write_tlv(Type::SSL, &tls)
            .unwrap()
            .write_tlv(Type::NoOp, &[0; 300])
            .unwrap()
            .build()
            .unwrap();
    let mut client = ecm.client();
    std::io::Write::write_all(&mut client.stream, &header).unwrap();
    client.send(&get("/"));
    let (id, header, _) = trunk.opened();
    assert_eq!(source(&header), addresses.0);
    assert_eq!(destination(&header), addresses.1);
    assert_eq!(header.transport, Some(Transport::Tls));
    assert_eq!(
        header.tls.and_then(|tls| tls.version).as_deref(),
        Some("TLSv1.3")
    );
    trunk.answer(id, "yes");
    client.expect(&ok("yes"));
    // The proxy's own question whether there is anybody.
    let local = Builder::new(Version::Two | Command::Local, 0)
        .build()
        .unwrap();
    let mut proxy = ecm.client();
    std::io::Write::write_all(&mut proxy.stream, &local).unwrap();
    proxy.send(&get("/health"));
    let (_, header, _) = trunk.opened();
    assert_eq!(source(&header), proxy.stream.local_addr().unwrap());
}

#[test]
fn behind_a_header_forwarded_for_is_believed_of_trusted_proxies_alone() {
    let top = "trusted_proxies = [\"10.0.0.0/8\"]\n";
    let (_peer, ecm, mut trunk) = start(top, PROXIED, "");
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n\r\n";
    // They stay until all is seen, or their leaving would be seen between.
    let mut clients = [ecm.client(), ecm.client()];
    let cases = [("10.0.0.9", "192.0.2.7:0"), ("192.0.2.9", "192.0.2.9:1")];
    for (client, (from, expected)) in clients.iter_mut().zip(cases) {
        client.send(&format!("PROXY TCP4 {from} 10.0.0.1 1 80\r\n{request}"));
        let (_, header, _) = trunk.opened();
        assert_eq!(source(&header), expected.parse().unwrap());
    }
}

#[test]
fn what_has_no_valid_header_is_closed_without_a_word_and_logged() {
    let (_peer, mut ecm, mut trunk) = start("", PROXIED, "[limits]\nhead_timeout = \"200ms\"\n");
    for (bytes, reason) in [
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "byte 0 is 0x47, which is in no PROXY header",
        ),
        (
            "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            "must have one space and a word at byte 28",
        ),
        ("PROXY TCP4 1.2", "did not arrive within head_timeout"),
        ("", "did not arrive within head_timeout"),
    ] {
        let mut client = ecm.client();
        client.send(bytes);
        let (got, _) = client.drain();
        assert_eq!(got, 0, "{bytes:?}");
        let line = ecm.wait_for_log("without a valid PROXY header");
        assert!(line.contains(reason), "{bytes:?}: {line}");
    }
    let mut long = ecm.client();
    long.send(&format!("PROXY UNKNOWN {}", "x".repeat(200)));
    assert_eq!(long.drain().0, 0);
    ecm.wait_for_log("no CRLF within its first 107 bytes");
    // None of them was anything to ejabberd.
    let mut client = ecm.client();
    client.send(&format!("PROXY UNKNOWN\r\n{}", get("/")));
    assert_eq!(trunk.opened().0, FIRST);
}

#[test]
fn an_xmpp_client_is_a_raw_stream_both_ways() {
    let (_peer, ecm, mut trunk) = start("", RELAY, "");
    let mut client = ecm.client();
    client.send("<?xml version='1.0'?><stream:stream to='localhost'>");
    let (id, header, first) = trunk.opened();
    assert_eq!(source(&header), client.stream.local_addr().unwrap());
    assert_eq!(header.alpn.as_deref(), Some(&b"xmpp-client"[..]));
    assert_eq!(header.authority, None);
    assert_eq!(header.transport, Some(Transport::Tcp));
    assert_eq!(first, "<?xml version='1.0'?><stream:stream to='localhost'>");
    trunk.send(id, b"<stream:features/>");
    client.expect("<stream:features/>");
    // What looks like HTTP is none, and bytes are bytes, as in TLS.
    let bytes: Vec<u8> = b"GET / HTTP/1.1\r\n\r\n"
        .iter()
        .copied()
        .chain(0..=255)
        .collect();
    std::io::Write::write_all(&mut client.stream, &bytes).unwrap();
    let mut got = Vec::new();
    while got.len() < bytes.len() {
        match trunk.next() {
            Seen::Data(_, piece) => got.extend_from_slice(&piece),
            other => panic!("expected data, got {other:?}"),
        }
    }
    assert_eq!(got, bytes);
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(trunk.next(), Seen::Finished(id));
    trunk.send(id, b"</stream:stream>");
    trunk.finish(id);
    assert_eq!(client.rest(), "</stream:stream>");
}

#[test]
fn an_xmpp_client_that_says_nothing_is_nothing_to_ejabberd_and_is_closed() {
    let (_peer, ecm, mut trunk) = start("", RELAY, "[limits]\nhead_timeout = \"100ms\"\n");
    let mut silent = ecm.client();
    assert_eq!(silent.rest(), "");
    let mut client = ecm.client();
    client.send("<");
    assert_eq!(trunk.opened().0, FIRST);
}

#[test]
fn an_xmpp_client_behind_haproxy_has_its_own_address() {
    let (_peer, ecm, mut trunk) = start(
        "",
        "kind = \"xmpp\"\nrelay = true\nproxy_protocol = true\n",
        "",
    );
    let mut client = ecm.client();
    client.send("PROXY TCP4 192.0.2.7 198.51.100.1 4711 5222\r\n<stream>");
    let (_, header, first) = trunk.opened();
    assert_eq!(source(&header), "192.0.2.7:4711".parse().unwrap());
    assert_eq!(first, "<stream>");
}

#[test]
fn without_a_trunk_an_xmpp_client_gets_a_stream_error() {
    let config = "[log]\nlevel = \"debug\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nkind = \"xmpp\"\n\
                  relay = true\n[trunk]\naddress = \"127.0.0.1:1\"\n";
    let mut ecm = Ecm::start_with_config(config);
    ecm.wait_for_log("no trunk to");
    let mut client = Client::connect(ecm.address);
    client.send("<stream:stream>");
    let answer = client.rest();
    assert!(
        answer.contains("<remote-connection-failed ") && answer.ends_with("</stream:stream>"),
        "{answer}"
    );
}

#[test]
fn a_lost_trunk_closes_xmpp_clients() {
    let (_peer, ecm, mut trunk) = start("", RELAY, "");
    let mut client = ecm.client();
    client.send("<stream>");
    trunk.opened();
    drop(trunk);
    assert_eq!(client.rest(), "");
}

/// What a client has not read makes its end a reset, which it may be as well by itself.
#[test]
fn what_an_xmpp_client_sent_counts_though_its_connection_is_reset() {
    let (_peer, ecm, mut trunk) = start("", RELAY, "");
    for unread in [false, true] {
        let mut client = ecm.client();
        client.send("<stream>");
        let (id, ..) = trunk.opened();
        if unread {
            // More than the kernel takes, so that the program notices as it writes.
            let more = vec![b'x'; 8 << 20];
            for piece in more.chunks(64 << 10) {
                while trunk.session.write(StreamId::new(id), piece) == Ok(Written::Refused) {
                    trunk.read(Duration::from_millis(20));
                    if trunk.session.queued(StreamId::new(id)) >= 64 << 10 {
                        break;
                    }
                }
                trunk.flush();
            }
        }
        client.send("<tail/>");
        // It is there: the peer's kernel keeps what it has, ours nothing.
        assert_eq!(trunk.next_on(id), Seen::Data(id, b"<tail/>".to_vec()));
        client.send("<last/>");
        SockRef::from(&client.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(client);
        assert_eq!(trunk.next_on(id), Seen::Data(id, b"<last/>".to_vec()));
        assert_eq!(trunk.next_on(id), Seen::Finished(id));
        let _ = trunk.session.finish(StreamId::new(id));
        trunk.flush();
    }
}
