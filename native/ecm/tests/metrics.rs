//! What the program tells those who watch it.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::metrics::{METRICS, ask, scrape, wait_for};
use common::sessions::{Sessions, gone};
use common::v2::Peer2;
use common::{Client, get, ok, status};

const OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a'/>";
const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const FAILURE: &str = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: xmpp\r\n\r\n";

fn say(client: &mut Client, document: &str) {
    use std::io::Write as _;
    let length = u8::try_from(document.len()).unwrap();
    assert!(length < 126);
    let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], document.as_bytes()].concat();
    client.stream.write_all(&frame).unwrap();
}

#[test]
fn a_session_shows_in_the_numbers() {
    let peer = Peer2::start();
    let (mut ecm, mut trunks) = peer.start_ecm(1, METRICS);
    let mut sessions = Sessions::new(trunks.remove(0));
    let mut client = ecm.client();
    client.send(UPGRADE);
    client.until("\r\n\r\n");
    say(&mut client, OPEN);
    let (id, _, _) = sessions.opened();
    sessions.send(id, &[OPEN]);
    client.until("to='a'/>");
    say(&mut client, AUTH);
    sessions.document(id);
    sessions.send(id, &[FAILURE]);
    client.until("-sasl'/>");
    say(&mut client, AUTH);
    sessions.document(id);
    sessions.send(id, &[SUCCESS]);
    client.until("-sasl'/>");
    let samples = scrape(&mut ecm);
    let documents_in = (OPEN.len() + 2 * AUTH.len()) as f64;
    let documents_out = (OPEN.len() + FAILURE.len() + SUCCESS.len()) as f64;
    for (name, value) in [
        ("build_info{version=\"0.1.0\"}", 1.0),
        ("trunks_up", 1.0),
        ("clients{listener=\"http\"}", 1.0),
        ("clients{listener=\"xmpps\"}", 0.0),
        ("clients_total{listener=\"http\"}", 1.0),
        ("sessions{transport=\"websocket\"}", 1.0),
        ("sessions{transport=\"tcp\"}", 0.0),
        ("sessions_total{transport=\"websocket\"}", 1.0),
        ("logins_total{transport=\"websocket\"}", 1.0),
        ("login_failures_total{transport=\"websocket\"}", 1.0),
        ("login_seconds_count", 1.0),
        ("login_seconds_bucket{le=\"+Inf\"}", 1.0),
        ("documents_total{direction=\"in\"}", 3.0),
        ("documents_total{direction=\"out\"}", 3.0),
        ("document_bytes_total{direction=\"in\"}", documents_in),
        ("document_bytes_total{direction=\"out\"}", documents_out),
    ] {
        let name = format!("megaphone_ecm_{name}");
        assert_eq!(samples.get(&name), Some(&value), "{name} in {samples:#?}");
    }
    let came = UPGRADE.len() as f64 + documents_in + 3.0 * 6.0;
    let name = "megaphone_ecm_client_bytes_total{direction=\"in\"}";
    assert_eq!(samples.get(name), Some(&came));
    // Each write that carries a document is timed, once it is over, and that of the question whether sessions can
    // move.
    wait_for(&mut ecm, "megaphone_ecm_trunk_write_seconds_count", 4.0);
    // Pings of the trunk are among its bytes.
    let samples = scrape(&mut ecm);
    assert!(samples["megaphone_ecm_trunk_bytes_total{direction=\"in\"}"] > documents_in);
    assert!(samples["megaphone_ecm_trunk_bytes_total{direction=\"out\"}"] > documents_out);
    drop(client);
    assert_eq!(sessions.said_to_the_end(id), gone(&[]));
    wait_for(
        &mut ecm,
        "megaphone_ecm_sessions{transport=\"websocket\"}",
        0.0,
    );
    wait_for(&mut ecm, "megaphone_ecm_clients{listener=\"http\"}", 0.0);
    let samples = scrape(&mut ecm);
    let name = "megaphone_ecm_sessions_total{transport=\"websocket\"}";
    assert_eq!(samples[name], 1.0);
    // That the client is gone is no document.
    let name = "megaphone_ecm_documents_total{direction=\"in\"}";
    assert_eq!(samples[name], 3.0);
}

#[test]
fn health_is_whether_a_trunk_is_up() {
    let peer = Peer2::start();
    let mut ecm = peer.start_ecm_only(2, METRICS);
    let answer = ask(&mut ecm, &get("/health"));
    assert_eq!(status(&answer), 503, "{answer}");
    assert!(answer.ends_with("\r\n\r\nno trunk is up\n"), "{answer}");
    let one = peer.accept();
    ecm.wait_for_log("is up");
    let answer = ask(&mut ecm, &get("/health"));
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.ends_with("\r\n\r\n1 trunk is up\n"), "{answer}");
    let two = peer.accept();
    ecm.wait_for_log("is up");
    let answer = ask(&mut ecm, &get("/health"));
    assert!(answer.ends_with("\r\n\r\n2 trunks are up\n"), "{answer}");
    drop(peer);
    drop((one, two));
    ecm.wait_for_log("no trunk to");
    let answer = ask(&mut ecm, &get("/health"));
    assert_eq!(status(&answer), 503, "{answer}");
    let samples = scrape(&mut ecm);
    assert_eq!(samples["megaphone_ecm_trunks_up"], 0.0);
    assert_eq!(samples["megaphone_ecm_trunk_losses_total"], 2.0);
    wait_for_failures(&mut ecm);
}

/// Nobody listens any more, so each attempt fails.
fn wait_for_failures(ecm: &mut common::Ecm) {
    let failures = |ecm: &mut common::Ecm| scrape(ecm)["megaphone_ecm_trunk_failures_total"];
    let before = failures(ecm);
    // Some of these lines are of attempts that were counted before.
    while failures(ecm) <= before {
        ecm.wait_for_log("next attempt in");
    }
}

#[test]
fn while_the_program_ends_it_is_not_healthy() {
    let peer = Peer2::start();
    let (mut ecm, mut trunks) = peer.start_ecm(1, METRICS);
    let mut client = ecm.client();
    client.send(&get("/"));
    let (id, _, _) = trunks[0].opened();
    ecm.signal("TERM");
    ecm.wait_for_log("ending");
    // The phase changes right after that line.
    let mut answer = ask(&mut ecm, &get("/health"));
    while status(&answer) == 200 {
        answer = ask(&mut ecm, &get("/health"));
    }
    assert_eq!(status(&answer), 503, "{answer}");
    assert!(answer.ends_with("\r\n\r\nending\n"), "{answer}");
    trunks[0].answer(id, "whole");
    client.expect(&ok("whole"));
}

#[test]
fn refusals_are_counted_by_reason() {
    let peer = Peer2::start();
    let (mut ecm, trunks) = peer.start_ecm(1, METRICS);
    let mut client = ecm.client();
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(status(&client.rest()), 400);
    let mut client = ecm.client();
    client.send("PUT /ws HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(status(&client.until("\r\n\r\n")), 405);
    let mut client = ecm.client();
    client.send(UPGRADE);
    client.until("\r\n\r\n");
    say(&mut client, "<iq/>");
    client.until("</stream:error>");
    drop(peer);
    drop(trunks);
    ecm.wait_for_log("no trunk to");
    let mut client = ecm.client();
    client.send(&get("/"));
    assert_eq!(status(&client.rest()), 503);
    let samples = scrape(&mut ecm);
    for (reason, count) in [
        ("bad_request", 1.0),
        ("bad_handshake", 1.0),
        ("bad_stream", 1.0),
        ("no_trunk", 1.0),
        ("max_connections", 0.0),
    ] {
        let name = format!("megaphone_ecm_refusals_total{{reason=\"{reason}\"}}");
        assert_eq!(samples.get(&name), Some(&count), "{name} in {samples:#?}");
    }
}

#[test]
fn the_listener_is_a_strict_one_and_for_its_paths_alone() {
    let peer = Peer2::start();
    let (mut ecm, _trunks) = peer.start_ecm(1, METRICS);
    for (request, code) in [
        (get("/metrics?x=1"), 200),
        (get("/"), 404),
        (get("/metricsx"), 404),
        (
            "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".to_owned(),
            405,
        ),
        ("GET /metrics HTTP/1.1\r\n\r\n".to_owned(), 400),
        (
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(20_000)),
            431,
        ),
    ] {
        let answer = ask(&mut ecm, &request);
        assert_eq!(status(&answer), code, "{answer}");
    }
    let answer = ask(&mut ecm, "HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status(&answer), 200);
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn who_watches_needs_an_address_of_the_file() {
    let peer = Peer2::start();
    let (mut ecm, _trunks) = peer.start_ecm(1, "");
    assert_eq!(ecm.logged("metrics at"), 0);
}
