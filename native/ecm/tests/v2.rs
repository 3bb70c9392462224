//! HTTP through trunks of version 2: streams, their headers, their windows and their ends.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::io::Write as _;
use std::net::Shutdown;

use common::v2::{FIRST, Peer2, Seen, source};
use common::{get, ok, status};
use megaphone_trunk::proxy::{Addresses, Transport};
use megaphone_trunk::v2::INITIAL_WINDOW;

fn start(more: &str) -> (Peer2, common::Ecm, common::v2::Trunk2) {
    let peer = Peer2::start();
    let (ecm, mut trunks) = peer.start_ecm(1, more);
    let trunk = trunks.remove(0);
    (peer, ecm, trunk)
}

#[test]
fn a_client_is_a_stream_that_says_who_it_is_and_then_its_requests() {
    let (_peer, ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send("POST /api HTTP/1.1\r\nHost: Example.org:80\r\nContent-Length: 4\r\n\r\nbody");
    let (id, header, request) = trunk.opened();
    assert_eq!(id, FIRST);
    assert_eq!(
        header.addresses,
        Addresses::Inet {
            source: client.stream.local_addr().unwrap(),
            destination: ecm.address,
        }
    );
    assert_eq!(header.alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(header.authority.as_deref(), Some("example.org"));
    assert_eq!(header.transport, Some(Transport::Tcp));
    assert_eq!(
        request,
        "POST /api HTTP/1.1\r\nHost: Example.org:80\r\nContent-Length: 4\r\n\
         X-Forwarded-For: 127.0.0.1\r\n\r\nbody"
    );
    trunk.answer(id, "yes");
    client.expect(&ok("yes"));
    client.send(&get("/2"));
    let (again, request) = trunk.data();
    assert_eq!(again, id, "the same client is the same stream");
    assert!(request.starts_with("GET /2 "), "{request}");
    trunk.answer(id, "2");
    client.expect(&ok("2"));
    let mut other = ecm.client();
    other.send(&get("/3"));
    let (third, header, _) = trunk.opened();
    assert_eq!(third, FIRST + 2);
    assert_eq!(source(&header), other.stream.local_addr().unwrap());
}

#[test]
fn an_idle_client_that_leaves_finishes_its_stream() {
    let (_peer, ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(&get("/"));
    let (id, ..) = trunk.opened();
    trunk.answer(id, "1");
    client.expect(&ok("1"));
    drop(client);
    assert_eq!(trunk.next(), Seen::Finished(id));
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_request_resets_its_stream() {
    let (_peer, ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nstart");
    let (id, ..) = trunk.opened();
    drop(client);
    let mut end = trunk.next();
    if end == Seen::Data(id, b"start".to_vec()) {
        end = trunk.next();
    }
    assert_eq!(end, Seen::Reset(id));
}

#[test]
fn a_client_that_resets_before_its_answer_resets_its_stream() {
    let (_peer, ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(&get("/"));
    let (id, ..) = trunk.opened();
    socket2::SockRef::from(&client.stream)
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
    drop(client);
    assert_eq!(trunk.next(), Seen::Reset(id));
}

#[test]
fn a_client_that_only_closed_its_side_gets_its_answer() {
    let (_peer, ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(&get("/"));
    let (id, ..) = trunk.opened();
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(trunk.next(), Seen::Finished(id));
    trunk.answer(id, "late");
    assert_eq!(client.rest(), ok("late"));
}

#[test]
fn ejabberds_fin_closes_the_client_after_all_that_came_before() {
    let (_peer, ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(&get("/"));
    let (id, ..) = trunk.opened();
    trunk.send(id, b"HTTP/1.1 200 OK\r\n\r\n");
    trunk.send(id, &[b'x'; 60_000]);
    trunk.finish(id);
    let answer = client.rest();
    assert_eq!(answer.len(), 60_000 + "HTTP/1.1 200 OK\r\n\r\n".len());
    assert_eq!(trunk.next(), Seen::Finished(id));
}

#[test]
fn a_reset_is_502_before_the_answer_and_a_reset_within_it() {
    let (_peer, ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(&get("/"));
    let (id, ..) = trunk.opened();
    trunk.reset(id);
    let answer = client.rest();
    assert_eq!(status(&answer), 502, "{answer}");

    let mut client = ecm.client();
    client.send(&get("/"));
    let (id, ..) = trunk.opened();
    trunk.send(id, b"HTTP/1.1 200 OK\r\n\r\nhalf of");
    client.expect("HTTP/1.1 200 OK\r\n\r\nhalf of");
    trunk.reset(id);
    let (more, end) = client.drain();
    assert_eq!(more, 0);
    assert!(end.is_err(), "expected a reset, got an orderly end");
}

#[test]
fn an_idle_client_survives_the_reset_of_its_stream() {
    let (_peer, mut ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(&get("/1"));
    let (id, ..) = trunk.opened();
    trunk.answer(id, "1");
    client.expect(&ok("1"));
    trunk.reset(id);
    ecm.wait_for_log("the connection to ejabberd is lost");
    client.send(&get("/2"));
    let (next, ..) = trunk.opened();
    assert_ne!(next, id);
    trunk.answer(next, "2");
    client.expect(&ok("2"));
}

#[test]
fn an_upgrade_makes_the_stream_raw_and_a_close_on_either_side_is_a_fin() {
    let (_peer, ecm, mut trunk) = start("");
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    for closer in ["client", "ejabberd"] {
        let mut client = ecm.client();
        client.send(upgrade);
        let (id, ..) = trunk.opened();
        trunk.send(id, switch.as_bytes());
        client.expect(switch);
        client.send("ping");
        assert_eq!(trunk.data(), (id, "ping".to_owned()));
        trunk.send(id, b"pong");
        client.expect("pong");
        if closer == "client" {
            client.stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(trunk.next(), Seen::Finished(id));
            trunk.send(id, b"bye");
            trunk.finish(id);
            assert_eq!(client.rest(), "bye");
        } else {
            trunk.finish(id);
            assert_eq!(client.rest(), "");
            assert_eq!(trunk.next(), Seen::Finished(id));
        }
    }
}

#[test]
fn a_client_that_reads_nothing_shuts_its_own_window_alone() {
    let (_peer, ecm, mut trunk) = start("");
    let mut slow = ecm.client();
    slow.send(&get("/slow"));
    let (slow_id, ..) = trunk.opened();
    let length = 40_000_000;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    trunk.send(slow_id, head.as_bytes());
    let body: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
    let stream = megaphone_trunk::v2::StreamId::new(slow_id);
    // All of it waits here for its window.
    assert_eq!(
        trunk.session.write(stream, &body).unwrap(),
        megaphone_trunk::v2::Written::Taken
    );
    let mut fast = ecm.client();
    let mut fast_id = None;
    for n in 0..200 {
        fast.send(&get("/fast"));
        let id = match trunk.next() {
            Seen::Opened(id, _) => {
                fast_id = Some(id);
                match trunk.next_on(id) {
                    Seen::Data(id, _) => id,
                    other => panic!("expected a request, got {other:?}"),
                }
            }
            Seen::Data(id, _) => id,
            other => panic!("expected a request, got {other:?}"),
        };
        assert_eq!(Some(id), fast_id);
        trunk.answer(id, &n.to_string());
        fast.expect(&ok(&n.to_string()));
    }
    // The kernel's buffers took some; the rest is still here, not in the ECM.
    let waiting = trunk.session.queued(stream);
    assert!(waiting > 20_000_000, "{waiting} bytes wait");
    let memory = ecm.resident_memory();
    assert!(memory < 40 << 20, "{memory} bytes");
    // It starts to read: all of it comes.
    let reader = std::thread::spawn(move || {
        slow.expect(&head);
        let mut got = vec![0; length];
        std::io::Read::read_exact(&mut slow.stream, &mut got).unwrap();
        got
    });
    while !reader.is_finished() {
        trunk.read(std::time::Duration::from_millis(20));
    }
    assert!(reader.join().unwrap() == body, "the bytes differ");
}

#[test]
fn a_client_that_uploads_is_read_as_fast_as_its_window_allows() {
    let (_peer, ecm, mut trunk) = start("");
    trunk.consumes = false;
    let body: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut client = ecm.client();
    let sender = {
        let mut writer = client.stream.try_clone().unwrap();
        let head = format!(
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), &body].concat();
        std::thread::spawn(move || writer.write_all(&request).unwrap())
    };
    let Seen::Opened(id, _) = trunk.next() else {
        panic!("a stream opens");
    };
    // The window's worth comes, and then nothing: nobody took it.
    let mut request = Vec::new();
    while let Some(seen) = trunk.next_within(std::time::Duration::from_millis(300)) {
        let Seen::Data(_, bytes) = seen else {
            panic!("expected data, got {seen:?}");
        };
        request.extend_from_slice(&bytes);
    }
    assert!(
        request.len() <= INITIAL_WINDOW as usize,
        "{} bytes came",
        request.len()
    );
    let memory = ecm.resident_memory();
    assert!(memory < 40 << 20, "{memory} bytes");
    // A neighbour is not held up.
    let mut other = ecm.client();
    other.send(&get("/other"));
    let (other_id, ..) = trunk.opened();
    trunk.answer(other_id, "quick");
    other.expect(&ok("quick"));
    // It is taken: the rest comes.
    let stream = megaphone_trunk::v2::StreamId::new(id);
    let header = INITIAL_WINDOW as usize - request.len();
    trunk
        .session
        .consumed(stream, request.len() + header)
        .unwrap();
    trunk.consumes = true;
    while !request.ends_with(&body[body.len() - 100..]) || request.len() < body.len() {
        match trunk.next() {
            Seen::Data(_, bytes) => request.extend_from_slice(&bytes),
            other => panic!("expected data, got {other:?}"),
        }
    }
    assert!(request.ends_with(&body), "the bytes differ");
    trunk.answer(id, "stored");
    client.expect(&ok("stored"));
    sender.join().unwrap();
}

#[test]
fn requests_of_several_clients_behind_a_proxy_have_each_their_address() {
    let (_peer, ecm, mut trunk) = {
        let peer = Peer2::start();
        let config = format!(
            "trusted_proxies = [\"127.0.0.0/8\"]\n{}",
            common::v2::config(&peer.address.to_string(), 1, "")
        );
        let mut ecm = common::Ecm::start_with_config(&config);
        let trunk = peer.accept();
        ecm.wait_for_log("is up");
        (peer, ecm, trunk)
    };
    let ask = |who: &str| format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {who}\r\n\r\n");
    let mut proxy = ecm.client();
    proxy.send(&ask("6.6.6.6, 192.0.2.7"));
    let (first, header, request) = trunk.opened();
    assert_eq!(source(&header), "192.0.2.7:0".parse().unwrap());
    assert!(
        request.ends_with("\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"),
        "{request}"
    );
    trunk.answer(first, "1");
    proxy.expect(&ok("1"));
    // The same one again, and two others at once: those wait for the answers before.
    proxy.send(&ask("192.0.2.7"));
    assert_eq!(trunk.data().0, first);
    proxy.send(&(ask("192.0.2.8") + &ask("2001:db8::9")));
    assert_eq!(
        trunk.next_within(std::time::Duration::from_millis(100)),
        None
    );
    trunk.answer(first, "2");
    assert_eq!(trunk.next_on(first), Seen::Finished(first));
    let (second, header, _) = trunk.opened();
    assert_eq!(source(&header), "192.0.2.8:0".parse().unwrap());
    trunk.answer(second, "3");
    assert_eq!(trunk.next_on(second), Seen::Finished(second));
    let (third, header, _) = trunk.opened();
    assert_eq!(source(&header), "[2001:db8::9]:0".parse().unwrap());
    trunk.answer(third, "4");
    proxy.expect(&(ok("2") + &ok("3") + &ok("4")));
}

#[test]
fn a_trusted_proxy_says_for_each_request_whether_its_client_came_by_tls() {
    let peer = Peer2::start();
    let config = common::v2::config(&peer.address.to_string(), 1, "");
    let config = format!("trusted_proxies = [\"127.0.0.1\"]\n{config}");
    let mut ecm = common::Ecm::start_with_config(&config);
    let mut trunk = peer.accept();
    ecm.wait_for_log("is up");
    let ask = |proto: &str| {
        format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n{proto}\r\n")
    };
    let mut proxy = ecm.client();
    let mut last = None;
    for (proto, is_tls) in [
        ("", false),
        ("X-Forwarded-Proto: https\r\n", true),
        ("X-Forwarded-Proto: http\r\n", false),
        ("X-Forwarded-Proto: HTTPS\r\n", true),
    ] {
        proxy.send(&ask(proto));
        if let Some(last) = last {
            assert_eq!(trunk.next_on(last), Seen::Finished(last), "{proto}");
        }
        let (id, header, _) = trunk.opened();
        assert_eq!(header.tls.is_some(), is_tls, "{proto}");
        trunk.answer(id, "a");
        proxy.expect(&ok("a"));
        last = Some(id);
    }
}

#[test]
fn nobody_elses_word_is_taken_for_tls() {
    let (_peer, ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n");
    let (_, header, _) = trunk.opened();
    assert_eq!(header.tls, None);
}

#[test]
fn what_is_not_the_protocol_ends_the_trunk_with_its_reason_on_both_sides() {
    let (_peer, mut ecm, mut trunk) = start("");
    while !trunk.was_asked() {
        trunk.read(common::PATIENCE);
    }
    trunk
        .transport
        .write_all(b"HTTP/1.1 400 Bad Request\r\n")
        .unwrap();
    let line = ecm.wait_for_log("no trunk to");
    assert!(line.contains("trunk byte 24: "), "{line}");
    let mut last = [0; 12];
    std::io::Read::read_exact(&mut trunk.transport, &mut last).unwrap();
    assert_eq!(last, [0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "a go-away");
}
