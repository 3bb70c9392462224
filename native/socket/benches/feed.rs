//! What a frame of 32 bytes of content costs the reader, and what recv and send cost the owner, over
//! 1, 1,000 and 1,000,000 connections taken at random, in both versions of the trunk.

#![forbid(unsafe_code)]
#![allow(missing_docs, clippy::expect_used)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use megaphone_socket::config::Config;
use megaphone_socket::origin::Content;
use megaphone_socket::sink::{Delivery, Piece};
use megaphone_socket::{Handle, Monitor, Recv, Send, Sink, Trunk};
use megaphone_trunk::proxy;
use megaphone_trunk::v1::{ConnectionId, put_frame};
use megaphone_trunk::v2::{Flags, Header, StreamId};

const COUNTS: [u64; 3] = [1, 1_000, 1_000_000];
const CONTENT: [u8; 32] = [b'x'; 32];
/// Frames in a feed: 64 KB.
const FRAMES: usize = 1_000;
/// Different feeds: together they reach more memory than a cache has.
const FEEDS: usize = 100;
const OWNER: u32 = 1;

/// Nobody waits here, so nobody is told.
struct Nobody;

impl Sink<u32> for Nobody {
    fn wake(&mut self, process: u32, number: u64) {
        black_box((process, number));
    }

    fn deliver(&mut self, owner: u32, _: Handle, _: Delivery<'_>) {
        black_box(owner);
    }
}

impl Monitor<u32> for Nobody {
    fn monitor(&mut self, _: u32) -> bool {
        true
    }
}

/// What the peer sends.
struct Peer {
    /// Opens connections, with some content for each.
    open: fn(&[u64]) -> Vec<u8>,
    /// Content for connections that are open.
    frames: fn(&[u64]) -> Vec<u8>,
    /// Returns the window that as much content took.
    windows: fn(&[u64]) -> Vec<u8>,
}

const V1: Peer = Peer {
    open: v1_frames,
    frames: v1_frames,
    windows: |_| Vec::new(),
};

const V2: Peer = Peer {
    open: v2_streams,
    frames: v2_frames,
    windows: v2_windows,
};

struct Feed {
    bytes: Vec<u8>,
    windows: Vec<u8>,
    handles: Vec<Handle>,
}

/// A trunk, and feeds for its connections at random.
struct Setup {
    trunk: Trunk<u32>,
    feeds: Vec<Feed>,
}

impl Setup {
    fn new(peer: &Peer, connections: u64) -> Self {
        let config = Config {
            content: Content::Raw,
            ..Config::default()
        };
        let trunk = Trunk::new(config, OWNER);
        trunk.set_writer(OWNER, &mut Nobody);
        let numbers: Vec<u64> = (0..connections).collect();
        let mut handles = Vec::new();
        for some in numbers.chunks(FRAMES) {
            let opened = trunk.feed(&(peer.open)(some), &mut Nobody).opened;
            for (handle, _) in &opened {
                trunk.own(*handle, OWNER, &mut Nobody);
                recv(&trunk, *handle);
            }
            assert_eq!(opened.len(), some.len());
            handles.extend(opened.into_iter().map(|(handle, _)| handle));
        }
        let mut random = random();
        let feeds = (0..FEEDS).map(|_| {
            let chosen: Vec<u64> = random
                .by_ref()
                .take(FRAMES)
                .map(|n| n % connections)
                .collect();
            let handles = chosen.iter().map(|n| handles[*n as usize]).collect();
            Feed {
                bytes: (peer.frames)(&chosen),
                windows: (peer.windows)(&chosen),
                handles,
            }
        });
        let feeds = feeds.collect();
        Self { trunk, feeds }
    }

    /// Feeds, reads and answers so many times; says how long each of the three took.
    fn run(&self, times: u64) -> [Duration; 3] {
        let mut spent = [Duration::ZERO; 3];
        for feed in self.feeds.iter().cycle().take(times as usize) {
            let Feed { bytes, handles, .. } = feed;
            let steps: [&dyn Fn(); 3] = [
                &|| {
                    let fed = self.trunk.feed(black_box(bytes), &mut Nobody);
                    assert!(fed.error.is_none());
                },
                &|| handles.iter().for_each(|handle| recv(&self.trunk, *handle)),
                &|| handles.iter().for_each(|handle| send(&self.trunk, *handle)),
            ];
            for (step, spent) in steps.iter().zip(&mut spent) {
                let start = Instant::now();
                step();
                *spent += start.elapsed();
            }
            while self
                .trunk
                .take_output(1 << 20, &mut Nobody, <[u8]>::len)
                .is_some()
            {}
            let fed = self.trunk.feed(&feed.windows, &mut Nobody);
            assert!(fed.error.is_none());
        }
        spent
    }
}

fn v1_frames(numbers: &[u64]) -> Vec<u8> {
    let mut frames = Vec::new();
    for n in numbers {
        let id = ConnectionId::try_from(format!("{n:020}").as_bytes());
        put_frame(&mut frames, &id.expect("twenty digits are an id"), &CONTENT)
            .expect("content that fits a frame");
    }
    frames
}

fn v2_streams(numbers: &[u64]) -> Vec<u8> {
    let mut content = Vec::new();
    let preface = proxy::Header {
        alpn: Some(b"xmpp-client".as_slice().into()),
        ..proxy::Header::default()
    };
    proxy::write(&preface, &mut content);
    content.extend_from_slice(&CONTENT);
    v2_data(numbers, Flags::SYN, &content)
}

fn v2_frames(numbers: &[u64]) -> Vec<u8> {
    v2_data(numbers, Flags::NONE, &CONTENT)
}

fn v2_data(numbers: &[u64], flags: Flags, content: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    for n in numbers {
        let header = Header::data(stream_id(*n), flags, content.len() as u32);
        frames.extend_from_slice(&header.encode());
        frames.extend_from_slice(content);
    }
    frames
}

fn v2_windows(numbers: &[u64]) -> Vec<u8> {
    let update =
        |n: &u64| Header::window_update(stream_id(*n), Flags::NONE, CONTENT.len() as u32).encode();
    numbers.iter().flat_map(update).collect()
}

fn stream_id(n: u64) -> StreamId {
    StreamId::new(2 * n as u32 + 1)
}

fn recv(trunk: &Trunk<u32>, handle: Handle) {
    let take = |piece: Piece<'_>| match piece {
        Piece::Bytes(bytes) => bytes.to_vec(),
        Piece::Packet(..) => Vec::new(),
    };
    let answer = trunk.recv(handle, OWNER, CONTENT.len(), &mut Nobody, take);
    assert!(matches!(black_box(answer), Recv::Taken(_)));
}

fn send(trunk: &Trunk<u32>, handle: Handle) {
    let answer = trunk.send(handle, OWNER, black_box(&CONTENT), &mut Nobody);
    assert_eq!(answer, Send::Done);
}

/// Numbers that are the same in each run.
fn random() -> impl Iterator<Item = u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 8
    })
}

fn connections(c: &mut Criterion) {
    for (version, peer) in [("v1", V1), ("v2", V2)] {
        for count in COUNTS {
            let setup = Setup::new(&peer, count);
            for (step, name) in ["feed", "recv", "send"].into_iter().enumerate() {
                let mut group = c.benchmark_group(format!("{version}/{name}"));
                group.throughput(Throughput::Elements(FRAMES as u64));
                group.bench_function(BenchmarkId::from_parameter(count), |b| {
                    b.iter_custom(|times| setup.run(times)[step]);
                });
                group.finish();
            }
        }
    }
}

criterion_group!(benches, connections);
criterion_main!(benches);
