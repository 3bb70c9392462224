//! HTTP between peer and owner: one request at a time.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn http() -> World {
    World::new(Config::default())
}

#[test]
fn a_pipelined_request_waits_for_the_answer_to_the_one_before() {
    let mut world = http();
    let second = b"GET /second HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let handle = world.open(1, OWNER, &[GET, second].concat());
    assert_eq!(world.read_all(handle, OWNER), (GET.to_vec(), None));
    assert_eq!(world.trunk.in_flight(), [OWNER]);
    let number = wait(world.recv(handle, OWNER, 0));
    world.send(handle, OWNER, &OK[..20]);
    assert_eq!(world.wakes(), []);
    world.send(handle, OWNER, &OK[20..]);
    assert_eq!(world.wakes(), [(OWNER, number)]);
    assert_eq!(world.read_all(handle, OWNER), (second.to_vec(), None));
    world.send(handle, OWNER, OK);
    assert_eq!(world.trunk.in_flight(), [] as [u32; 0]);
}

#[test]
fn a_head_and_its_body_are_never_one_piece() {
    let mut world = http();
    let head = b"POST /bosh HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    let handle = world.open(1, OWNER, &[&head[..], b"hello"].concat());
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Taken(head.to_vec()));
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Taken(b"hello".to_vec()));
}

#[test]
fn a_chunked_body_comes_with_its_length() {
    let mut world = http();
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let handle = world.open(1, OWNER, head);
    let number = wait(world.recv(handle, OWNER, 0));
    world.say(1, b"5\r\nhello\r\n6\r\n world\r\n");
    assert_eq!(world.wakes(), [], "not before its end");
    world.say(1, b"0\r\n\r\n");
    assert_eq!(world.wakes(), [(OWNER, number)]);
    let (request, _) = world.read_all(handle, OWNER);
    let request = String::from_utf8(request).unwrap();
    assert!(request.contains("Content-Length: 11\r\n"), "{request}");
    assert!(!request.contains("chunked"), "{request}");
    assert!(request.ends_with("\r\n\r\nhello world"), "{request}");
}

#[test]
fn a_large_body_is_given_as_it_comes() {
    let mut world = http();
    let handle = world.open(
        1,
        OWNER,
        b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nfirst",
    );
    let (head, end) = world.read_all(handle, OWNER);
    assert!(head.ends_with(b"first") && end.is_none());
    world.say(1, b"second");
    assert_eq!(
        world.recv(handle, OWNER, 0),
        Recv::Taken(b"second".to_vec())
    );
    assert_eq!(world.trunk.status().buffered, 0);
}

#[test]
fn after_an_upgrade_bytes_pass_both_ways() {
    let mut world = http();
    let upgrade = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n";
    let handle = world.open(1, OWNER, upgrade);
    world.read_all(handle, OWNER);
    world.say(1, b"early");
    wait(world.recv(handle, OWNER, 0));
    let switch =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    world.send(handle, OWNER, switch);
    assert_eq!(world.wakes().len(), 1);
    world.say(1, b" frames");
    assert_eq!(
        world.read_all(handle, OWNER),
        (b"early frames".to_vec(), None)
    );
    world.take_all();
    for n in 0..3u8 {
        world.send(handle, OWNER, &[n]);
        world.say(1, &[n]);
        assert_eq!(world.take_all(), [Heard::Data(1, vec![n])]);
        assert_eq!(world.read_all(handle, OWNER), (vec![n], None));
    }
    world.trunk.drain(&mut world.sink);
    assert!(world.trunk.is_open(handle), "it is not between requests");
}

#[test]
fn a_refused_request_gets_its_answer_and_the_connection_ends() {
    let mut world = http();
    let twice = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab";
    let handle = world.open(1, OWNER, twice);
    let heard = world.take_all();
    let [Heard::Data(1, answer), Heard::Close(1)] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert!(answer.starts_with(b"HTTP/1.1 400 "));
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Failed(Reason::Closed));
    assert_eq!(world.send(handle, OWNER, OK), Send::Failed(Reason::Closed));
    let status = world.trunk.status();
    assert_eq!(status.errors.len(), 1, "{:?}", status.errors);
    assert_eq!(status.errors[0].1, 1);
    world.die(OWNER);
    world.assert_empty();
}

#[test]
fn a_refusal_ends_the_wait_of_the_reader() {
    let mut world = http();
    let handle = world.open(1, OWNER, b"GET / HTTP/1.1\r\n");
    let number = wait(world.recv(handle, OWNER, 0));
    world.say(1, b"Host : a\r\n\r\n");
    assert_eq!(world.wakes(), [(OWNER, number)]);
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Failed(Reason::Closed));
    assert_eq!(world.trunk.status().waiters, 0);
}

#[test]
fn a_refusal_behind_a_request_waits_for_its_answer() {
    let mut world = http();
    let handle = world.open(1, OWNER, &[GET, b"nonsense\r\n\r\n"].concat());
    assert_eq!(world.read_all(handle, OWNER), (GET.to_vec(), None));
    assert_eq!(world.take_all(), []);
    world.send(handle, OWNER, OK);
    let heard = world.take_all();
    assert!(
        matches!(&heard[..], [Heard::Data(1, ok), Heard::Data(1, refusal), Heard::Close(1)]
            if ok == OK && refusal.starts_with(b"HTTP/1.1 400 ")),
        "{heard:?}"
    );
}

#[test]
fn who_expects_to_be_told_to_continue_is_told() {
    let mut world = http();
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
        Transfer-Encoding: chunked\r\n\r\n";
    world.open(1, OWNER, head);
    let expected = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
    assert_eq!(world.take_all(), [Heard::Data(1, expected)]);
}

#[test]
fn the_last_answer_ends_the_connection() {
    let mut world = http();
    let handle = world.open(
        1,
        OWNER,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    world.read_all(handle, OWNER);
    world.send(handle, OWNER, OK);
    assert_eq!(
        world.take_all(),
        [Heard::Data(1, OK.to_vec()), Heard::Close(1)]
    );
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Failed(Reason::Closed));
}

#[test]
fn an_answer_to_nothing_ends_the_connection() {
    // The client would take it for the answer to its next request.
    for asked in [&b""[..], GET] {
        let mut world = http();
        let handle = world.open(1, OWNER, if asked.is_empty() { b"\r\n" } else { asked });
        if !asked.is_empty() {
            world.read_all(handle, OWNER);
            world.send(handle, OWNER, OK);
            world.take_all();
        }
        world.send(handle, OWNER, OK);
        assert_eq!(
            world.take_all(),
            [Heard::Data(1, OK.to_vec()), Heard::Close(1)],
            "after {asked:?}"
        );
    }
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    let mut world = http();
    let handle = world.open(1, OWNER, GET);
    world.read_all(handle, OWNER);
    assert_eq!(world.trunk.status().buffered, 0);
    world.send(handle, OWNER, OK);
    world.take_all();
    world.trunk.drain(&mut world.sink);
    assert!(!world.trunk.is_open(handle), "it was between requests");
}

#[test]
fn a_peer_that_leaves_in_the_middle_of_an_answer_is_no_leak() {
    let mut world = http();
    let handle = world.open(1, OWNER, &[GET, GET].concat());
    world.read_all(handle, OWNER);
    world.send(handle, OWNER, &OK[..10]);
    let fed = world.say(1, b"");
    assert_eq!(fed.busy, [OWNER]);
    assert_eq!(
        world.send(handle, OWNER, &OK[10..]),
        Send::Failed(Reason::Closed)
    );
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Failed(Reason::Closed));
    world.die(OWNER);
    world.assert_empty();
}

fn request(n: usize, body: usize) -> Vec<u8> {
    let head = format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: {body}\r\n\r\n");
    [head.as_bytes(), &vec![b'0' + (n % 10) as u8; body]].concat()
}

fn answer(n: usize, body: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nX-Number: {n}\r\nContent-Length: {body}\r\n\r\n");
    [head.as_bytes(), &vec![b'a' + (n % 26) as u8; body]].concat()
}

proptest! {
    /// However the requests are cut into frames and the answers into sends, the owner gets each
    /// request alone and whole, and the peer all answers in order.
    #[test]
    fn pipelined_requests_are_answered_one_by_one(
        bodies in vec((0..3000usize, 0..3000usize), 1..6),
        cuts in vec(any::<Index>(), 0..12),
        pieces in 1..4000usize,
    ) {
        let mut world = http();
        let requests: Vec<u8> = bodies
            .iter()
            .enumerate()
            .flat_map(|(n, (body, _))| request(n, *body))
            .collect();
        let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(requests.len())).collect();
        places.extend([0, requests.len()]);
        places.sort_unstable();
        places.dedup();
        let mut trunk = Vec::new();
        for ends in places.windows(2) {
            trunk.extend(frame(1, &requests[ends[0]..ends[1]]));
        }
        let mut handle = None;
        let mut received = Vec::new();
        let mut next = 0;
        let mut heard = Vec::new();
        for fed in trunk.chunks(700) {
            handle = world.feed(fed).opened.first().map(|(handle, _)| *handle).or(handle);
            let Some(handle) = handle else { continue };
            loop {
                let (bytes, end) = world.read_all(handle, READER);
                prop_assert_eq!(end, None);
                received.extend(bytes);
                let Some((body, reply)) = bodies.get(next).copied() else { break };
                let expected = request(next, body);
                prop_assert!(expected.starts_with(&received), "a part of request {}", next);
                if received.len() < expected.len() {
                    break;
                }
                received.clear();
                for piece in answer(next, reply).chunks(pieces) {
                    prop_assert_eq!(world.send(handle, READER, piece), Send::Done);
                    heard.extend(world.take_all());
                }
                next += 1;
            }
        }
        prop_assert_eq!(next, bodies.len(), "all requests are answered");
        let heard: Vec<u8> = heard
            .into_iter()
            .flat_map(super::lifecycle::data_of(1))
            .collect();
        let answers: Vec<u8> = bodies
            .iter()
            .enumerate()
            .flat_map(|(n, (_, reply))| answer(n, *reply))
            .collect();
        prop_assert_eq!(heard, answers);
        prop_assert_eq!(world.trunk.status().buffered, 0);
    }
}
