//! Limits a source address.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::io::{Read as _, Write as _};
use std::time::Instant;

use common::metrics::{METRICS, scrape};
use common::v2::{Peer2, Trunk2};
use common::{Client, Ecm, PATIENCE, get, ok, status};

const OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a'/>";
const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams' to='a' version='1.0'>";

/// A program with a listener of this kind alone.
fn start(top: &str, listener: &str, limits: &str) -> (Peer2, Ecm, Trunk2) {
    let peer = Peer2::start();
    let config = format!(
        "{top}[log]\nlevel = \"debug\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}[trunk]\n\
         address = \"{}\"\ntrunks = 1\n{METRICS}[limits]\n{limits}",
        peer.address
    );
    let mut ecm = Ecm::start_with_config(&config);
    let trunk = peer.accept();
    ecm.wait_for_log("is up");
    (peer, ecm, trunk)
}

fn upgrade(more: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: xmpp\r\n{more}\r\n"
    )
}

#[track_caller]
fn refusals(ecm: &mut Ecm, reason: &str) -> f64 {
    scrape(ecm)[&format!("megaphone_ecm_refusals_total{{reason=\"{reason}\"}}")]
}

/// A client whose request is answered by ejabberd.
#[track_caller]
fn served(ecm: &Ecm, trunk: &mut Trunk2, proxy_header: &str) -> Client {
    let mut client = ecm.client();
    client.send(&(proxy_header.to_owned() + &get("/")));
    let (id, _, _) = trunk.opened();
    trunk.answer(id, "hello");
    client.expect(&ok("hello"));
    client
}

#[track_caller]
fn is_429(answer: &str) {
    assert_eq!(status(answer), 429, "{answer}");
    assert!(answer.contains("\r\nRetry-After: 10\r\n"), "{answer}");
    assert!(answer.contains("from this address"), "{answer}");
}

#[test]
fn connections_past_the_most_get_429_until_one_is_closed() {
    let (_peer, mut ecm, mut trunk) = start("", "", "max_connections_per_address = 2\n");
    let one = served(&ecm, &mut trunk, "");
    let _two = served(&ecm, &mut trunk, "");
    is_429(&ecm.client().rest());
    assert_eq!(refusals(&mut ecm, "address_connections"), 1.0);
    assert_eq!(scrape(&mut ecm)["megaphone_ecm_limited_addresses"], 1.0);
    drop(one);
    let until = Instant::now() + PATIENCE;
    loop {
        let mut client = ecm.client();
        client.send("GET / HTTP/1.1\r\n\r\n");
        // 400 once it is read at all.
        match status(&client.rest()) {
            429 => assert!(Instant::now() < until, "no place comes free"),
            code => return assert_eq!(code, 400),
        }
    }
}

#[test]
fn behind_the_proxy_protocol_it_is_the_client_that_is_limited() {
    let limits = "max_connections_per_address = 1\n";
    let (_peer, mut ecm, mut trunk) = start("", "proxy_protocol = true\n", limits);
    let header = |address| format!("PROXY TCP6 {address} 2001:db8:1::1 4711 80\r\n");
    let _one = served(&ecm, &mut trunk, &header("2001:db8:0:1::1"));
    let _other = served(&ecm, &mut trunk, &header("2001:db8:0:2::1"));
    let mut same_network = ecm.client();
    same_network.send(&header("2001:db8:0:1::2"));
    is_429(&same_network.rest());
    assert_eq!(refusals(&mut ecm, "address_connections"), 1.0);
}

#[test]
fn a_trusted_proxy_has_no_limit_but_its_websocket_clients_do() {
    let limits = "max_connections_per_address = 1\n";
    let (_peer, mut ecm, mut trunk) = start("trusted_proxies = [\"127.0.0.1\"]\n", "", limits);
    let _clients = [(); 3].map(|()| served(&ecm, &mut trunk, ""));
    let ask = |address| {
        let mut client = ecm.client();
        client.send(&upgrade(&format!("X-Forwarded-For: {address}\r\n")));
        client
    };
    let mut one = ask("192.0.2.1");
    assert_eq!(status(&one.until("\r\n\r\n")), 101);
    let mut other = ask("192.0.2.2");
    assert_eq!(status(&other.until("\r\n\r\n")), 101);
    is_429(&ask("192.0.2.1").rest());
    assert_eq!(refusals(&mut ecm, "address_connections"), 1.0);
}

const STREAMS: &str = "kind = \"xmpp\"\nstarttls = \"off\"\n";

/// Tries until it is refused, and says how often it was not. Each try ends with a stream error.
#[track_caller]
fn until_refused(mut one: impl FnMut() -> String) -> usize {
    for taken in 0..1000 {
        let answer = one();
        if answer.contains("<policy-violation ") {
            return taken;
        }
        assert!(answer.contains("<not-well-formed "), "{answer}");
    }
    panic!("nobody is refused");
}

#[test]
fn connections_that_come_too_fast_are_refused() {
    let limits = "connections_per_second_per_address = 1\n";
    let (_peer, mut ecm, _trunk) = start("", STREAMS, limits);
    let taken = until_refused(|| {
        let mut client = ecm.client();
        client.send("</a>");
        client.rest()
    });
    assert!(taken >= 10, "{taken}");
    assert_eq!(refusals(&mut ecm, "address_connection_rate"), 1.0);
    assert_eq!(refusals(&mut ecm, "bad_stream"), taken as f64);
}

#[test]
fn logins_on_xml_streams_that_come_too_fast_are_refused() {
    let limits = "logins_per_second_per_address = 1\n";
    let (_peer, mut ecm, _trunk) = start("", STREAMS, limits);
    let taken = until_refused(|| {
        let mut client = ecm.client();
        client.send(HEADER);
        client.send("</a>");
        client.rest()
    });
    assert!(taken >= 10, "{taken}");
    assert_eq!(refusals(&mut ecm, "address_login_rate"), 1.0);
    let opened = scrape(&mut ecm)["megaphone_ecm_sessions_total{transport=\"tcp\"}"];
    assert_eq!(opened, taken as f64);
}

#[test]
fn logins_by_websocket_that_come_too_fast_are_refused() {
    let limits = "logins_per_second_per_address = 1\n";
    let (_peer, mut ecm, _trunk) = start("", "", limits);
    let mut last = ecm.client();
    let taken = until_refused(|| {
        last = ecm.client();
        last.send(&upgrade(""));
        last.until("\r\n\r\n");
        for document in [OPEN, "</a>"] {
            let length = u8::try_from(document.len()).unwrap();
            let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], document.as_bytes()].concat();
            last.stream.write_all(&frame).unwrap();
        }
        last.until("</stream:error>")
    });
    assert!(taken >= 10, "{taken}");
    // The close frame's code is 1008.
    let mut rest = Vec::new();
    while !rest.ends_with(&1008_u16.to_be_bytes()) {
        let mut byte = [0];
        last.stream.read_exact(&mut byte).unwrap();
        rest.push(byte[0]);
    }
    assert_eq!(refusals(&mut ecm, "address_login_rate"), 1.0);
    let opened = scrape(&mut ecm)["megaphone_ecm_sessions_total{transport=\"websocket\"}"];
    assert_eq!(opened, taken as f64);
}

#[test]
fn logins_by_bosh_that_come_too_fast_are_refused() {
    let limits = "logins_per_second_per_address = 1\n";
    let (_peer, mut ecm, _trunk) = start("", "", limits);
    let body = "<body xmlns='http://jabber.org/protocol/httpbind' rid='1' to='a' wait='60' hold='1' \
        ver='1.11' xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'/>";
    let request = format!(
        "POST /bosh HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // Who is taken gets no answer before ejabberd's.
    let mut taken = Vec::new();
    let mut refused = loop {
        let mut client = ecm.client();
        client.send(&request);
        let until = Instant::now() + PATIENCE;
        let counted = loop {
            let samples = scrape(&mut ecm);
            let opened = samples["megaphone_ecm_sessions_total{transport=\"bosh\"}"];
            let refused = samples["megaphone_ecm_refusals_total{reason=\"address_login_rate\"}"];
            if opened + refused > taken.len() as f64 {
                break refused;
            }
            assert!(Instant::now() < until, "a request is not counted");
        };
        if counted > 0.0 {
            break client;
        }
        taken.push(client);
        assert!(taken.len() < 1000, "nobody is refused");
    };
    assert!(taken.len() >= 10, "{}", taken.len());
    let answer = refused.until("'policy-violation'/>");
    assert!(answer.contains(" type='terminate' "), "{answer}");
}
