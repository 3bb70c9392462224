//! Version 2: a real client session at the other end of the trunk.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use megaphone_trunk::proxy::{self, Addresses, Header};
use megaphone_trunk::v2::{self, Event, Session, StreamId};

use super::{OWNER, READER, World, raw};
use crate::config::Config;
use crate::link::Link;
use crate::origin::{ChannelBindings, Protocol};
use crate::sink::Reason;
use crate::{Direction, Handle, Recv, Send};

/// The ECM's end: its session, and what it heard of each stream.
pub(super) struct Ecm {
    pub(super) session: Session,
    heard: BTreeMap<StreamId, Heard>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) bytes: Vec<u8>,
    pub(super) finished: bool,
    pub(super) reset: bool,
}

const CLIENT: &str = "192.0.2.7:4711";
const SERVER: &str = "198.51.100.1:443";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn bindings() -> ChannelBindings {
    ChannelBindings {
        exporter: Some([7; 32]),
        end_point: Some(Bytes::from_static(&[8; 48])),
        unique: Some([9; 12]),
    }
}

pub(super) fn preface(alpn: &'static str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = Header {
        bindings: bindings(),
        fields: Some(Bytes::from_static(b"Host: a\r\n")),
        takeover: Some(Bytes::from_static(b"token")),
        addresses: Addresses::Inet {
            source: CLIENT.parse().unwrap(),
            destination: SERVER.parse().unwrap(),
        },
        alpn: Some(alpn.as_bytes().into()),
        ..Header::default()
    };
    proxy::write(&header, &mut bytes);
    bytes
}

impl Ecm {
    pub(super) fn new() -> Self {
        Self {
            session: Session::client(v2::Config::default(), 0),
            heard: BTreeMap::new(),
        }
    }

    /// Carries bytes both ways until neither side has any; what opened, and why the trunk ended.
    pub(super) fn exchange(&mut self, world: &mut World) -> (Vec<Handle>, Option<String>) {
        let mut opened = Vec::new();
        loop {
            let mut out = Vec::new();
            self.session
                .take_output(1 << 20, &mut out, &mut |_: Event<'_>| {});
            let fed = world.feed(&out);
            opened.extend(fed.opened.into_iter().map(|(handle, _)| handle));
            if let Some(error) = fed.error {
                return (opened, Some(error.name().into()));
            }
            let back = world.take_bytes();
            let heard = &mut self.heard;
            let mut listen = |event: Event<'_>| match event {
                Event::Data { id, bytes, .. } => {
                    heard.entry(id).or_default().bytes.extend_from_slice(bytes);
                }
                Event::Finished { id, .. } => heard.entry(id).or_default().finished = true,
                Event::Reset { id, .. } => heard.entry(id).or_default().reset = true,
                _ => {}
            };
            self.session.receive(&back, &mut listen).unwrap();
            if out.is_empty() && back.is_empty() {
                return (opened, None);
            }
        }
    }

    pub(super) fn open(&mut self, world: &mut World, alpn: &'static str) -> (StreamId, Handle) {
        let id = self.session.open(0, &preface(alpn)).unwrap();
        let (opened, error) = self.exchange(world);
        assert_eq!(error, None);
        (id, opened[0])
    }

    pub(super) fn heard(&self, id: StreamId) -> Heard {
        self.heard.get(&id).cloned().unwrap_or_default()
    }
}

fn raw_stream() -> (World, Ecm, StreamId, Handle) {
    let mut world = World::new(raw());
    let mut ecm = Ecm::new();
    let (id, handle) = ecm.open(&mut world, "xmpp-client");
    world.own(handle, OWNER);
    (world, ecm, id, handle)
}

#[test]
fn a_stream_says_what_it_carries_and_where_it_comes_from() {
    let (world, _, _, handle) = raw_stream();
    assert_eq!(world.trunk.protocol(handle), Some(Protocol::XmppClient));
    let origin = world.trunk.origin(handle).unwrap();
    assert_eq!(origin.source.to_string(), CLIENT);
    assert_eq!(origin.destination.to_string(), SERVER);
}

#[test]
fn a_certificate_counts_if_it_was_verified() {
    for verified in [true, false] {
        let mut bytes = Vec::new();
        let certificate = Some(Bytes::from_static(&[7; 8192]));
        let header = Header {
            alpn: Some("xmpp-framing".into()),
            tls: Some(proxy::Tls {
                verified,
                certificate: certificate.clone(),
                ..proxy::Tls::default()
            }),
            ..Header::default()
        };
        proxy::write(&header, &mut bytes);
        let mut world = World::new(raw());
        let mut ecm = Ecm::new();
        ecm.session.open(0, &bytes).unwrap();
        let (opened, error) = ecm.exchange(&mut world);
        assert_eq!(error, None);
        let told = world.trunk.take_certificate(opened[0]);
        assert_eq!(told, certificate.filter(|_| verified));
        assert_eq!(world.trunk.take_certificate(opened[0]), None);
    }
}

#[test]
fn a_requests_fields_and_a_sessions_token_are_told_once() {
    let (world, _, _, handle) = raw_stream();
    let fields = world.trunk.take_fields(handle);
    assert_eq!(fields.as_deref(), Some(&b"Host: a\r\n"[..]));
    assert_eq!(world.trunk.take_fields(handle), None);
    let token = world.trunk.take_takeover(handle);
    assert_eq!(token.as_deref(), Some(&b"token"[..]));
    assert_eq!(world.trunk.take_takeover(handle), None);
    assert_eq!(world.trunk.take_bindings(handle), bindings());
}

#[test]
fn a_session_may_idle_and_a_raw_stream_may_not() {
    let mut world = World::new(Config {
        idle_timeout: Some(Duration::from_secs(60)),
        ..raw()
    });
    let mut ecm = Ecm::new();
    let (_, session) = ecm.open(&mut world, "xmpp-framing");
    let (_, stream) = ecm.open(&mut world, "xmpp-client");
    world.own(session, OWNER);
    world.own(stream, OWNER + 1);
    assert_eq!(world.trunk.owners(Protocol::XmppFraming), [OWNER]);
    world.pass(60);
    assert!(world.trunk.is_open(session));
    assert!(!world.trunk.is_open(stream));
    assert!(world.trunk.is_serving());
    world.close(session);
    assert_eq!(world.trunk.owners(Protocol::XmppFraming), []);
    world.close(stream);
    assert!(!world.trunk.is_serving());
}

/// What is half a document to its reader is left to it too. Of a request nobody is left to hear the answer.
#[test]
fn a_trunk_that_is_lost_takes_nothing_along_that_came_on_a_stream() {
    let mut world = World::new(raw());
    let mut ecm = Ecm::new();
    let handles = ["xmpp-framing", "xmpp-client"].map(|protocol| {
        let (id, handle) = ecm.open(&mut world, protocol);
        world.own(handle, OWNER);
        let _ = ecm.session.write(id, b"two and a half").unwrap();
        ecm.exchange(&mut world);
        assert_eq!(world.recv(handle, OWNER, 3), Recv::Taken(b"two".to_vec()));
        handle
    });
    let (id, request) = ecm.open(&mut world, "http/1.1");
    world.own(request, OWNER);
    let _ = ecm.session.write(id, GET).unwrap();
    ecm.exchange(&mut world);
    world.trunk.lose(&mut world.sink);
    world.trunk.audit();
    for handle in handles {
        assert_eq!(world.recv(handle, OWNER, 4), Recv::Taken(b" and".to_vec()));
        for end in [Reason::ConnectionReset, Reason::Closed] {
            assert_eq!(world.recv(handle, OWNER, 100), Recv::Failed(end));
        }
        world.close(handle);
    }
    let end = Recv::Failed(Reason::ConnectionReset);
    assert_eq!(world.recv(request, OWNER, 0), end);
    world.close(request);
    world.assert_empty();
}

#[test]
fn bytes_go_both_ways_and_a_close_is_a_fin() {
    let (mut world, mut ecm, id, handle) = raw_stream();
    let _ = ecm.session.write(id, b"hello").unwrap();
    ecm.exchange(&mut world);
    assert_eq!(world.recv(handle, OWNER, 5), Recv::Taken(b"hello".to_vec()));
    assert_eq!(world.send(handle, OWNER, b"world"), Send::Done);
    world.close(handle);
    ecm.exchange(&mut world);
    assert_eq!(
        ecm.heard(id),
        Heard {
            bytes: b"world".to_vec(),
            finished: true,
            reset: false
        }
    );
}

#[test]
fn the_peers_fin_ends_recv_after_the_last_byte_and_send_goes_on() {
    let (mut world, mut ecm, id, handle) = raw_stream();
    let _ = ecm.session.write(id, b"last").unwrap();
    ecm.session.finish(id).unwrap();
    ecm.exchange(&mut world);
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Taken(b"last".to_vec()));
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Failed(Reason::Closed));
    assert_eq!(world.send(handle, OWNER, b"answer"), Send::Done);
    ecm.exchange(&mut world);
    assert_eq!(ecm.heard(id).bytes, b"answer");
}

#[test]
fn a_shutdown_is_a_fin_and_recv_goes_on() {
    let (mut world, mut ecm, id, handle) = raw_stream();
    assert!(
        world
            .trunk
            .shutdown(handle, Direction::Write, &mut world.sink)
    );
    ecm.exchange(&mut world);
    assert!(ecm.heard(id).finished);
    let _ = ecm.session.write(id, b"still").unwrap();
    ecm.exchange(&mut world);
    assert_eq!(world.recv(handle, OWNER, 5), Recv::Taken(b"still".to_vec()));
    assert_eq!(
        world.send(handle, OWNER, b"x"),
        Send::Failed(Reason::Closed)
    );
}

#[test]
fn the_peers_reset_is_econnreset_once_and_closed_for_ever() {
    let (mut world, mut ecm, id, handle) = raw_stream();
    ecm.session.reset(id).unwrap();
    ecm.exchange(&mut world);
    let reset = Recv::Failed(Reason::ConnectionReset);
    assert_eq!(world.recv(handle, OWNER, 0), reset);
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Failed(Reason::Closed));
    assert_eq!(world.errors("reset_by_peer"), 1);
}

#[test]
fn the_window_returns_as_the_owner_reads_not_as_bytes_arrive() {
    let (mut world, mut ecm, id, handle) = raw_stream();
    let piece = vec![7; 1 << 20];
    let _ = ecm.session.write(id, &piece).unwrap();
    ecm.exchange(&mut world);
    let first = world.trunk.status().buffered;
    assert!(first <= 256 << 10, "{first} bytes came past the window");
    let mut read = 0;
    while read < piece.len() {
        match world.recv(handle, OWNER, 0) {
            Recv::Taken(bytes) => read += bytes.len(),
            Recv::Wait(number) => {
                ecm.exchange(&mut world);
                world.trunk.cancel(handle, OWNER, number);
            }
            Recv::Failed(reason) => panic!("{reason:?} after {read} bytes"),
        }
    }
}

#[test]
fn a_reader_of_more_than_a_window_gets_it_all() {
    let (mut world, mut ecm, id, handle) = raw_stream();
    let piece = vec![7; 1 << 20];
    let _ = ecm.session.write(id, &piece).unwrap();
    assert!(matches!(
        world.recv(handle, OWNER, piece.len()),
        Recv::Wait(_)
    ));
    ecm.exchange(&mut world);
    assert_eq!(world.recv(handle, OWNER, piece.len()), Recv::Taken(piece));
}

#[test]
fn a_send_waits_while_the_window_is_shut() {
    let (mut world, mut ecm, id, handle) = raw_stream();
    let mut sent = 0;
    let wait = loop {
        match world.send(handle, OWNER, &[7; 65536]) {
            Send::Done => sent += 65536,
            Send::Wait(number) => break number,
            Send::Failed(reason) => panic!("{reason:?}"),
        }
        ecm.exchange(&mut world);
    };
    assert!(
        sent >= 256 << 10,
        "the window was open for more than {sent}"
    );
    assert_eq!(ecm.heard(id).bytes.len(), 256 << 10);
    ecm.session.consumed(id, 256 << 10).unwrap();
    ecm.exchange(&mut world);
    assert!(world.wakes().contains(&(OWNER, wait)));
    assert_eq!(world.send(handle, OWNER, b"on"), Send::Done);
}

#[test]
fn a_trunk_that_is_lost_holds_nothing() {
    let (mut world, mut ecm, _, handle) = raw_stream();
    let others: Vec<_> = (0..100)
        .map(|_| ecm.open(&mut world, "xmpp-client").1)
        .collect();
    world.send(handle, OWNER, &vec![7; 1 << 20]);
    world.close(handle);
    assert!(world.trunk.status().unsent >= 1 << 20);
    world.trunk.lose(&mut world.sink);
    world.trunk.audit();
    assert_eq!(world.trunk.status().unsent, 0);
    let Some(Link::V2(v2)) = world.trunk.link.get() else {
        panic!("a trunk of version 2");
    };
    let allocated = v2.with(|session| session.allocated());
    assert!(allocated < 64 << 10, "{allocated} bytes");
    for other in others {
        world.close(other);
    }
    assert_eq!(world.trunk.audit().connections, 0);
    assert!(world.take_bytes().is_empty());
}

#[test]
fn http_comes_one_request_at_a_time() {
    let mut world = World::new(Config::default());
    let mut ecm = Ecm::new();
    let (id, handle) = ecm.open(&mut world, "http/1.1");
    world.own(handle, OWNER);
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let _ = ecm.session.write(id, &request.repeat(2)).unwrap();
    ecm.exchange(&mut world);
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Taken(request.to_vec()));
    assert!(matches!(world.recv(handle, OWNER, 0), Recv::Wait(_)));
    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
    assert_eq!(world.send(handle, OWNER, answer), Send::Done);
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Taken(request.to_vec()));
}

#[test]
fn a_chunked_body_larger_than_the_window_is_collected() {
    let mut world = World::new(Config::default());
    let mut ecm = Ecm::new();
    let (id, handle) = ecm.open(&mut world, "http/1.1");
    world.own(handle, OWNER);
    let mut request = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    request.extend_from_slice(b"100000\r\n");
    request.extend_from_slice(&vec![b'x'; 1 << 20]);
    request.extend_from_slice(b"\r\n0\r\n\r\n");
    let _ = ecm.session.write(id, &request).unwrap();
    ecm.exchange(&mut world);
    let Recv::Taken(head) = world.recv(handle, OWNER, 0) else {
        panic!("expected the head");
    };
    let head = String::from_utf8(head).unwrap();
    assert!(head.contains("Content-Length: 1048576\r\n"), "{head}");
}

#[test]
fn a_bad_header_resets_its_stream_alone() {
    let mut world = World::new(raw());
    let mut ecm = Ecm::new();
    let bad = ecm.session.open(0, b"GET / HTTP/1.1\r\n").unwrap();
    let nameless = ecm.session.open(0, &preface("h3")).unwrap();
    let good = ecm.session.open(0, &preface("xmpp-client")).unwrap();
    let (opened, error) = ecm.exchange(&mut world);
    assert_eq!((opened.len(), error), (1, None));
    assert!(ecm.heard(bad).reset && ecm.heard(nameless).reset);
    assert!(!ecm.heard(good).reset);
    assert_eq!(world.errors("proxy_signature"), 1);
    assert_eq!(world.errors("proxy_alpn"), 1);
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let mut world = World::new(raw());
    let mut ecm = Ecm::new();
    let preface = preface("xmpp-client");
    let id = ecm.session.open(0, &preface[..1]).unwrap();
    let mut opened = Vec::new();
    for byte in &preface[1..] {
        opened.extend(ecm.exchange(&mut world).0);
        assert!(opened.is_empty());
        let _ = ecm.session.write(id, &[*byte]).unwrap();
    }
    opened.extend(ecm.exchange(&mut world).0);
    assert_eq!(opened.len(), 1);
}

#[test]
fn a_first_frame_may_be_cut_anywhere() {
    let first = [preface("xmpp-client"), b"<stream>".to_vec()].concat();
    let mut trunk = Vec::new();
    let mut ecm = Ecm::new();
    ecm.session.open(0, &first).unwrap();
    ecm.session
        .take_output(1 << 20, &mut trunk, &mut |_: Event<'_>| {});
    for cut in 0..trunk.len() {
        let mut world = World::new(raw());
        let (before, after) = trunk.split_at(cut);
        let mut opened = world.feed(before).opened;
        opened.extend(world.feed(after).opened);
        let [(handle, Protocol::XmppClient)] = opened[..] else {
            panic!("{opened:?}");
        };
        world.own(handle, OWNER);
        let received = world.recv(handle, OWNER, 0);
        assert_eq!(received, Recv::Taken(b"<stream>".to_vec()), "cut at {cut}");
    }
}

#[test]
fn an_even_id_ends_the_trunk_with_its_name() {
    let mut world = World::new(raw());
    let syn = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0];
    let fed = world.feed(&syn);
    assert_eq!(fed.error.map(|error| error.name()), Some("wrong_parity"));
    assert_eq!(world.errors("wrong_parity"), 1);
}

#[test]
fn what_is_let_pass_is_counted_too() {
    let (mut world, mut ecm, id, _) = raw_stream();
    ecm.session.reset(id).unwrap();
    ecm.exchange(&mut world);
    let data = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    assert_eq!(world.feed(&data).error, None);
    world.trunk.drain(&mut world.sink);
    let syn = [0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0];
    assert_eq!(world.feed(&syn).error, None);
    assert_eq!(world.errors("stray_frames"), 1);
    assert_eq!(world.errors("refused_streams"), 1);
}

#[test]
fn a_drain_says_go_away_and_refuses_new_streams() {
    let (mut world, mut ecm, id, handle) = raw_stream();
    world.trunk.drain(&mut world.sink);
    ecm.exchange(&mut world);
    assert!(ecm.session.has_gone_away());
    assert_eq!(world.send(handle, OWNER, b"bye"), Send::Done);
    world.close(handle);
    ecm.exchange(&mut world);
    assert_eq!(ecm.heard(id).bytes, b"bye");
}

#[test]
fn a_trunk_that_drains_before_its_first_byte_takes_no_stream() {
    let mut world = World::new(raw());
    world.trunk.drain(&mut world.sink);
    let mut ecm = Ecm::new();
    let id = ecm.session.open(0, &preface("xmpp-client")).unwrap();
    let (opened, error) = ecm.exchange(&mut world);
    assert_eq!((opened.len(), error), (0, None));
    assert!(ecm.heard(id).reset && ecm.session.has_gone_away());
}

#[test]
fn an_answer_that_waits_for_its_window_is_output_until_it_is_out() {
    let mut world = World::new(Config::default());
    let mut ecm = Ecm::new();
    let (id, handle) = ecm.open(&mut world, "http/1.1");
    world.own(handle, OWNER);
    let _ = ecm.session.write(id, GET).unwrap();
    ecm.exchange(&mut world);
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Taken(GET.to_vec()));
    world.trunk.drain(&mut world.sink);
    ecm.exchange(&mut world);
    assert!(!world.trunk.has_output());
    let window = 256 << 10;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {window}\r\n\r\n").into_bytes();
    let answer = [head, vec![b'x'; window]].concat();
    assert_eq!(world.send(handle, OWNER, &answer), Send::Done);
    world.close(handle);
    ecm.exchange(&mut world);
    assert_eq!(ecm.heard(id).bytes.len(), window);
    // Its connection and its owner are gone, its last bytes are not.
    assert_eq!(world.trunk.in_flight(), [] as [u32; 0]);
    assert!(world.trunk.has_output());
    ecm.session.consumed(id, window).unwrap();
    ecm.exchange(&mut world);
    assert!(ecm.heard(id).bytes == answer && ecm.heard(id).finished);
    assert!(!world.trunk.has_output());
}

#[test]
fn a_feed_names_the_owners_at_work_whose_peer_finished_or_reset() {
    let mut world = World::new(Config::default());
    let mut ecm = Ecm::new();
    let streams = [0; 4].map(|_| ecm.open(&mut world, "http/1.1"));
    for ((id, handle), owner) in streams.into_iter().zip(OWNER..) {
        world.own(handle, owner);
        let _ = ecm.session.write(id, GET).unwrap();
        ecm.exchange(&mut world);
        assert_eq!(world.recv(handle, owner, 0), Recv::Taken(GET.to_vec()));
    }
    let [finished, reset, reader, _at_work] = streams;
    assert!(matches!(world.recv(reader.1, OWNER + 2, 0), Recv::Wait(_)));
    ecm.session.finish(finished.0).unwrap();
    ecm.session.reset(reset.0).unwrap();
    ecm.session.finish(reader.0).unwrap();
    let mut out = Vec::new();
    ecm.session
        .take_output(1 << 20, &mut out, &mut |_: Event<'_>| {});
    let fed = world.feed(&out);
    assert_eq!((fed.half_closed, fed.busy), (vec![OWNER], vec![OWNER + 1]));
}

#[test]
fn the_reader_owns_a_stream_until_it_is_given_away() {
    let mut world = World::new(raw());
    let mut ecm = Ecm::new();
    let (_, handle) = ecm.open(&mut world, "http/1.1");
    assert_eq!(world.trunk.owner(handle), Some(READER));
}
