//! What happens when there is no trunk, when it goes, and when clients are slower than it.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use common::{Client, Ecm, Peer, Trunk, get, ok, status};

fn start(more: &str) -> (Peer, Ecm, Trunk) {
    let peer = Peer::start();
    let mut ecm = Ecm::start(&peer, more);
    let trunk = peer.accept();
    ecm.wait_for_log("is up");
    (peer, ecm, trunk)
}

/// Has a client ask until ejabberd's side sees it: the trunk is up for the program.
fn ask_until_up(ecm: &mut Ecm) -> Client {
    ecm.wait_for_log("is up");
    let mut client = ecm.client();
    client.send(&get("/"));
    client
}

#[test]
fn without_a_trunk_each_request_gets_503_and_retry_after() {
    let mut peer = Peer::start();
    peer.stop();
    let mut ecm = Ecm::start(&peer, "");
    ecm.wait_for_log("no trunk to");
    let mut client = ecm.client();
    client.send(&get("/"));
    let answer = client.rest();
    assert_eq!(status(&answer), 503, "{answer}");
    assert!(answer.contains("\r\nRetry-After: "), "{answer}");
    let mut client = ecm.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.rest().ends_with("\r\n\r\n"), "HEAD gets no body");
}

#[test]
fn it_redials_until_there_is_a_trunk_and_tells_each_state_once() {
    let mut peer = Peer::start();
    peer.stop();
    let mut ecm = Ecm::start(&peer, "");
    // Told at the debug level for each further attempt.
    for _ in 0..5 {
        ecm.wait_for_log("next attempt in");
    }
    peer.start_again();
    let mut trunk = peer.accept();
    let mut client = ask_until_up(&mut ecm);
    let (id, _) = trunk.request();
    trunk.answer(&id, "hello");
    client.expect(&ok("hello"));
    assert_eq!(
        (ecm.logged("WARN no trunk"), ecm.logged("INFO trunk")),
        (1, 1)
    );
}

#[test]
fn a_lost_trunk_is_502_where_no_answer_began() {
    let (peer, mut ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(&get("/"));
    trunk.request();
    drop(trunk);
    let answer = client.rest();
    assert_eq!(status(&answer), 502, "{answer}");
    assert!(answer.contains("\r\nRetry-After: "), "{answer}");
    let mut trunk = peer.accept();
    let _client = ask_until_up(&mut ecm);
    assert!(trunk.request().1.starts_with("GET / "));
}

#[test]
fn a_lost_trunk_never_makes_a_cut_answer_look_whole() {
    let (_peer, ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(&get("/"));
    let (id, _) = trunk.request();
    // Only its end would say that it is complete.
    trunk.send(&id, b"HTTP/1.1 200 OK\r\n\r\nhalf of");
    client.expect("HTTP/1.1 200 OK\r\n\r\nhalf of");
    drop(trunk);
    let (more, end) = client.drain();
    assert_eq!(more, 0);
    assert!(end.is_err(), "expected a reset, got an orderly end");
}

#[test]
fn a_body_that_went_on_after_its_answer_does_not_go_on_in_another_trunk() {
    let (peer, mut ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nstart");
    let (id, _) = trunk.request();
    trunk.answer(&id, "no need");
    client.expect(&ok("no need"));
    drop(trunk);
    let mut trunk = peer.accept();
    assert_eq!(client.drain().0, 0);
    let _other = ask_until_up(&mut ecm);
    assert!(trunk.request().1.starts_with("GET / "));
}

#[test]
fn a_lost_trunk_closes_a_websocket() {
    let (_peer, ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let (id, _) = trunk.request();
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    trunk.send(&id, switch.as_bytes());
    client.expect(switch);
    drop(trunk);
    assert_eq!(client.rest(), "");
}

#[test]
fn an_idle_client_survives_the_trunk() {
    let (peer, mut ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(&get("/1"));
    let (id, _) = trunk.request();
    trunk.answer(&id, "1");
    client.expect(&ok("1"));
    drop(trunk);
    let mut trunk = peer.accept();
    ecm.wait_for_log("is up");
    client.send(&get("/2"));
    let (next, _) = trunk.request();
    assert_ne!(id, next);
    trunk.answer(&next, "2");
    client.expect(&ok("2"));
}

#[test]
fn a_peer_that_does_not_speak_the_protocol_is_left_with_the_reason_in_the_log() {
    let (peer, mut ecm, mut trunk) = start("");
    trunk
        .stream
        .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .unwrap();
    let line = ecm.wait_for_log("no trunk to");
    assert!(
        line.contains("trunk byte 0: 'H' (0x48) in the frame's length"),
        "{line}"
    );
    let mut trunk = peer.accept();
    let _client = ask_until_up(&mut ecm);
    assert!(trunk.request().1.starts_with("GET / "));
}

#[test]
fn a_frame_above_the_limit_ends_the_trunk() {
    let (_peer, mut ecm, mut trunk) = start("");
    trunk
        .stream
        .write_all(b"0001048577|00000000000000000000|")
        .unwrap();
    let line = ecm.wait_for_log("no trunk to");
    assert!(
        line.contains("frame length 1048577; at most 1048576 is allowed"),
        "{line}"
    );
}

#[test]
fn a_client_that_reads_nothing_stalls_no_other_and_is_closed_at_its_limit() {
    let (_peer, mut ecm, mut trunk) = start("[limits]\nmax_client_buffer = \"4 MiB\"\n");
    let mut slow = ecm.client();
    slow.send(&get("/slow"));
    let (slow_id, _) = trunk.request();
    let mut fast = ecm.client();
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
    trunk.send(&slow_id, head);
    let piece = vec![b'x'; 1_000_000];
    // The kernel's buffers hold some; the client's limit is passed long before the answer's end.
    for n in 0..30 {
        trunk.send(&slow_id, &piece);
        fast.send(&get("/fast"));
        let (mut id, mut text) = next_request(&mut trunk);
        while !text.starts_with("GET /fast ") {
            (id, text) = next_request(&mut trunk);
        }
        trunk.answer(&id, &n.to_string());
        fast.expect(&ok(&n.to_string()));
    }
    ecm.wait_for_log("reads more slowly than ejabberd writes");
    let (got, end) = slow.drain();
    assert!(got < 30_000_000 && end.is_err(), "{got} bytes, {end:?}");
}

/// The next frame with content; closes are passed over.
fn next_request(trunk: &mut Trunk) -> (megaphone_trunk::v1::ConnectionId, String) {
    loop {
        if let common::Frame::Content(id, bytes) = trunk.next().unwrap() {
            return (id, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}

#[test]
fn past_the_total_limit_the_greediest_goes_and_the_others_stay() {
    let (_peer, mut ecm, mut trunk) =
        start("[limits]\nmax_client_buffer = \"1 GiB\"\nmax_output_buffer = \"16 MiB\"\n");
    let mut ids = Vec::new();
    let mut clients = Vec::new();
    for n in 0..2 {
        let mut client = ecm.client();
        client.send(&get(&format!("/{n}")));
        let (id, _) = trunk.request();
        trunk.send(
            &id,
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n",
        );
        ids.push(id);
        clients.push(client);
    }
    // More than a socket's buffers hold, so that some of it waits.
    trunk.send(&ids[0], &vec![b'a'; 8_000_000]);
    for _ in 0..40 {
        trunk.send(&ids[1], &vec![b'b'; 1_000_000]);
    }
    ecm.wait_for_log("more output waited for clients than max_output_buffer");
    let (_, end) = clients[1].drain();
    assert!(end.is_err(), "the greedy client is reset");
    clients[0].expect("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    clients[0].expect(&"a".repeat(8_000_000));
}

#[test]
fn a_trunk_that_is_not_read_slows_the_clients_and_loses_nothing() {
    let (_peer, ecm, mut trunk) = start("");
    let body: String = (0..20_000_000_u32)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect();
    let mut client = ecm.client();
    let sender = {
        let mut writer = client.stream.try_clone().unwrap();
        let head = format!(
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let request = format!("{head}{body}");
        std::thread::spawn(move || writer.write_all(request.as_bytes()).unwrap())
    };
    let (id, mut request) = trunk.request();
    // The program has nowhere to put 20 MB but its bounded queue: its memory shows it.
    while !sender.is_finished() && request.len() < body.len() {
        request += &trunk.request().1;
        assert!(
            ecm.resident_memory() < 64 << 20,
            "{} bytes",
            ecm.resident_memory()
        );
    }
    while request.len() < body.len() {
        request += &trunk.request().1;
    }
    assert!(request.ends_with(&body));
    trunk.answer(&id, "stored");
    client.expect(&ok("stored"));
    sender.join().unwrap();
}

#[test]
fn the_first_frame_comes_before_any_client_and_closes_what_never_was() {
    let peer = Peer::start();
    let mut ecm = Ecm::start(&peer, "");
    let (mut trunk, greeting) = peer.accept_greeted();
    ecm.wait_for_log("is up");
    let mut client = ecm.client();
    client.send(&get("/"));
    let (id, _) = trunk.request();
    assert_ne!(id, greeting);
    trunk.answer(&id, "hello");
    client.expect(&ok("hello"));
}

#[test]
fn a_trunk_can_be_a_unix_socket() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("trunk-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let mut ecm = Ecm::start_with_trunk(&format!("unix:{}", path.display()), "");
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    ecm.wait_for_log("is up");
    let mut client = ecm.client();
    client.send(&get("/unix"));
    let mut start = [0; 32 + 42];
    std::io::Read::read_exact(&mut stream, &mut start).unwrap();
    assert!(
        start.ends_with(b"|GET /unix "),
        "{}",
        String::from_utf8_lossy(&start)
    );
    std::fs::remove_file(&path).unwrap();
}
