//! Clients that are too slow. Each test waits for the socket's end, which comes because a deadline
//! passed: nothing else would end it.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::v2::{self, Peer2, Seen};
use common::{Ecm, PATIENCE, Peer, Trunk, get, ok, status};

fn start(limits: &str) -> (Ecm, Trunk) {
    let peer = Peer::start();
    let mut ecm = Ecm::start(&peer, &format!("[limits]\n{limits}\n"));
    let trunk = peer.accept();
    ecm.wait_for_log("is up");
    (ecm, trunk)
}

#[test]
fn a_client_that_asks_nothing_is_closed() {
    let (ecm, _trunk) = start("head_timeout = \"100ms\"");
    assert_eq!(ecm.client().rest(), "");
}

#[test]
fn a_slow_head_gets_408_however_steadily_it_drips() {
    let (ecm, _trunk) = start("head_timeout = \"200ms\"");
    let mut client = ecm.client();
    let started = Instant::now();
    let mut writer = client.stream.try_clone().unwrap();
    std::thread::spawn(move || {
        let drip = b"GET / HTTP/1.1\r\nHost: a\r\n"
            .iter()
            .chain(std::iter::repeat(&b'x'));
        for byte in drip {
            if std::io::Write::write_all(&mut writer, &[*byte]).is_err() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    });
    let answer = client.rest();
    assert_eq!(status(&answer), 408, "{answer}");
    assert!(started.elapsed().as_millis() >= 200);
}

#[test]
fn a_slow_body_gets_408_and_its_connection_is_closed() {
    for length in [10, 100_000] {
        let (ecm, mut trunk) = start("body_timeout = \"100ms\"");
        let mut client = ecm.client();
        client.send(&format!(
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\nsome"
        ));
        let answer = client.rest();
        assert_eq!(status(&answer), 408, "{answer}");
        if length == 100_000 {
            // A large one had begun to go out, in one frame or two.
            let (id, mut text) = trunk.request();
            if !text.ends_with("some") {
                text += &trunk.request().1;
            }
            assert!(text.ends_with("\r\n\r\nsome"), "{text}");
            assert_eq!(trunk.closed(), id);
        }
    }
}

/// Each piece comes in time, the whole does not.
#[test]
fn a_body_that_drips_gets_408_however_much_has_come() {
    let limits = "body_timeout = \"200ms\"\nmin_body_rate = \"100 MiB\"";
    for path in ["/", "/bosh"] {
        let peer = Peer2::start();
        let config = v2::config(
            &peer.address.to_string(),
            1,
            &format!("[limits]\n{limits}\n"),
        );
        let mut ecm = Ecm::start_with_config(&config);
        let trunk = peer.accept();
        ecm.wait_for_log("is up");
        // ejabberd takes all that comes.
        std::thread::spawn(move || {
            let mut trunk = trunk;
            while trunk
                .next_within(PATIENCE)
                .is_some_and(|seen| seen != Seen::End)
            {}
        });
        let mut client = ecm.client();
        let length = if path == "/" { 100_000_000 } else { 60_000 };
        client.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
        ));
        let mut writer = client.stream.try_clone().unwrap();
        std::thread::spawn(move || {
            let piece = vec![b' '; length / 1_000];
            while std::io::Write::write_all(&mut writer, &piece).is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let answer = client.rest();
        assert_eq!(status(&answer), 408, "{answer}");
    }
}

#[test]
fn an_idle_client_is_closed_and_so_is_its_connection() {
    let (ecm, mut trunk) = start("idle_timeout = \"100ms\"");
    let mut client = ecm.client();
    client.send(&get("/"));
    let (id, _) = trunk.request();
    trunk.answer(&id, "hello");
    assert_eq!(client.rest(), ok("hello"));
    assert_eq!(trunk.closed(), id);
}

#[test]
fn a_client_that_waits_for_its_answer_is_not_idle() {
    let (ecm, mut trunk) = start("head_timeout = \"50ms\"\nidle_timeout = \"50ms\"");
    let mut waiting = ecm.client();
    waiting.send(&get("/long-poll"));
    let (id, _) = trunk.request();
    let mut websocket = ecm.client();
    websocket
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let (websocket_id, _) = trunk.request();
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    trunk.send(&websocket_id, switch.as_bytes());
    websocket.expect(switch);
    // Two others come and are closed for their idleness, one after the other, meanwhile.
    for _ in 0..2 {
        assert_eq!(ecm.client().rest(), "");
    }
    trunk.answer(&id, "at last");
    waiting.expect(&ok("at last"));
    trunk.send(&websocket_id, b"still there");
    websocket.expect("still there");
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_reset() {
    let (ecm, mut trunk) = start("send_timeout = \"100ms\"");
    let mut client = ecm.client();
    client.send(&get("/"));
    let (id, _) = trunk.request();
    trunk.send(&id, b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n");
    trunk.send(&id, &vec![b'x'; 20_000_000]);
    assert_eq!(trunk.closed(), id);
    let (_, end) = client.drain();
    assert!(end.is_err(), "a cut answer has to end with a reset");
}
