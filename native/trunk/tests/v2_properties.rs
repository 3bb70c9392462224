//! Properties of version 2: two sessions joined by a transport that cuts, delays and joins bytes.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod v2_support;

use std::collections::{BTreeMap, VecDeque};
use std::sync::LazyLock;

use megaphone_trunk::v2::{
    Config, Event, Flags, FrameType, GoAwayCode, HEADER_LEN, Header, INITIAL_WINDOW, MAX_DATA,
    Role, Session, StreamId, Written,
};
use proptest::collection::vec;
use proptest::prelude::*;
use v2_support::{Frame, take_frames};

/// What an end does next. Streams are chosen among those it knows, by a number modulo their count.
#[derive(Debug, Clone)]
enum Step {
    Open(usize),
    Write(usize, usize),
    /// The owner takes a part of what it holds, in hundredths.
    Consume(usize, usize),
    /// The owner waits for so many bytes.
    Demand(usize, usize),
    Finish(usize),
    Release(usize),
    Reset(usize),
    GoAway,
    /// The transport takes up to so many bytes from the session ...
    Take(usize),
    /// ... and brings up to so many to it.
    Bring(usize),
}

fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0usize..100,
        3 => 100usize..20_000,
        2 => 20_000usize..MOST_WRITTEN,
    ]
}

/// The longest write.
const MOST_WRITTEN: usize = 300_000;

fn step() -> impl Strategy<Value = Step> {
    let stream = 0usize..64;
    prop_oneof![
        6 => lengths().prop_map(Step::Open),
        12 => (stream.clone(), lengths()).prop_map(|(which, len)| Step::Write(which, len)),
        10 => (stream.clone(), 0usize..=100).prop_map(|(which, part)| Step::Consume(which, part)),
        2 => (stream.clone(), 0usize..2_000_000).prop_map(|(which, n)| Step::Demand(which, n)),
        4 => stream.clone().prop_map(Step::Finish),
        1 => stream.clone().prop_map(Step::Release),
        1 => stream.prop_map(Step::Reset),
        // Once in a few runs.
        1 => prop_oneof![1 => Just(Step::GoAway), 40 => Just(Step::Take(1))],
        10 => (0usize..400_000).prop_map(Step::Take),
        10 => prop_oneof![0usize..40, 0usize..1_000_000].prop_map(Step::Bring),
    ]
}

/// What the ends say is cut out of this; its length is a prime, so that no two places look alike.
static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let byte = |at: u64| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    (0..999_983).map(byte).collect()
});

/// The bytes at a place of a stream's direction.
fn bytes(id: StreamId, from: Role, at: u64, len: usize) -> Vec<u8> {
    let seed = u64::from(id.get()) * 2 + u64::from(from == Role::Client);
    let start = (at + seed * 7_919) as usize % TEXT.len();
    let first = len.min(TEXT.len() - start);
    let mut cut = TEXT[start..start + first].to_vec();
    cut.extend_from_slice(&TEXT[..len - first]);
    cut
}

/// One stream as one end's owner knows it.
#[derive(Debug, Default, Clone)]
struct Known {
    written: u64,
    received: u64,
    held: u64,
    finished: bool,
    peer_finished: bool,
    released: bool,
    /// Reset by either side: what was on its way may be lost.
    broken: bool,
    /// A write was refused, and its owner was not told yet that it may try again.
    refused: bool,
}

/// What went over the wire in one direction, by the frames alone.
#[derive(Debug, Default)]
struct Wire {
    sent: BTreeMap<StreamId, u64>,
    /// What the receiver allowed and the transport has brought.
    allowed: BTreeMap<StreamId, u64>,
}

impl Wire {
    fn sends(&mut self, frame: &Frame) {
        if frame.header.kind != FrameType::Data {
            return;
        }
        assert!(
            frame.data.len() <= MAX_DATA,
            "a frame of {}",
            frame.data.len()
        );
        let id = frame.header.stream;
        let sent = self.sent.entry(id).or_default();
        *sent += frame.data.len() as u64;
        let allowed = self.allowed.get(&id).copied().unwrap_or_default();
        let allowed = allowed + u64::from(INITIAL_WINDOW);
        assert!(
            *sent <= allowed,
            "stream {id}: {sent} bytes sent, {allowed} allowed"
        );
    }

    fn allows(&mut self, frame: &Frame) {
        if frame.header.kind == FrameType::WindowUpdate {
            *self.allowed.entry(frame.header.stream).or_default() += u64::from(frame.header.length);
        }
    }
}

struct End {
    session: Session,
    streams: BTreeMap<StreamId, Known>,
    /// Bytes on their way to this end.
    incoming: VecDeque<u8>,
    /// What was brought of a frame that is not whole yet.
    brought: Vec<u8>,
    gone_away: bool,
    max_output: usize,
}

fn writable(streams: &mut BTreeMap<StreamId, Known>, id: StreamId) {
    let known = streams.get_mut(&id).unwrap();
    assert!(known.refused && !known.released && !known.broken);
    known.refused = false;
}

impl End {
    fn new(session: Session, max_output: usize) -> Self {
        Self {
            session,
            max_output,
            streams: BTreeMap::new(),
            incoming: VecDeque::new(),
            brought: Vec::new(),
            gone_away: false,
        }
    }

    fn choose(&self, which: usize) -> Option<StreamId> {
        let count = self.streams.len().max(1);
        self.streams.keys().nth(which % count).copied()
    }

    fn step(&mut self, step: &Step) {
        let role = self.session.role();
        match *step {
            Step::Open(len) => {
                let opened = self.session.open(0, &[]);
                assert_eq!(opened.is_err(), self.gone_away, "{opened:?}");
                let Ok(id) = opened else { return };
                self.streams.insert(id, Known::default());
                self.write(id, role, len);
            }
            Step::Write(which, len) => {
                if let Some(id) = self.choose(which) {
                    self.write(id, role, len);
                }
            }
            Step::Consume(which, part) => {
                if let Some(id) = self.choose(which) {
                    let held = self.streams[&id].held;
                    self.consume(id, held * part as u64 / 100);
                }
            }
            Step::Demand(which, n) => {
                if let Some(id) = self.choose(which) {
                    // It fails for streams that are gone.
                    let _ = self.session.demand(id, n);
                }
            }
            Step::Finish(which) => {
                if let Some(id) = self.choose(which) {
                    self.finish(id);
                }
            }
            Step::Release(which) => {
                if let Some(id) = self.choose(which)
                    && self.session.release(id).is_ok()
                {
                    let known = self.streams.get_mut(&id).unwrap();
                    known.released = true;
                    known.finished = true;
                }
            }
            Step::Reset(which) => {
                if let Some(id) = self.choose(which)
                    && self.session.reset(id).is_ok()
                {
                    self.streams.get_mut(&id).unwrap().broken = true;
                }
            }
            Step::GoAway => {
                self.session.go_away(GoAwayCode::Normal);
                self.gone_away = true;
            }
            Step::Take(_) | Step::Bring(_) => unreachable!("the transport's"),
        }
    }

    fn write(&mut self, id: StreamId, role: Role, len: usize) {
        let known = self.streams.get_mut(&id).unwrap();
        let content = bytes(id, role, known.written, len);
        match self.session.write(id, &content) {
            Ok(Written::Taken) => {
                assert!(!known.finished, "a write after the end was taken");
                known.written += len as u64;
            }
            Ok(Written::Refused) => known.refused = true,
            Err(_) => {}
        }
        self.check_room();
    }

    /// Where nothing waits for its turn one write of any size is taken, and the same of windows.
    fn check_room(&self) {
        let most = self.max_output.saturating_add(2 * MOST_WRITTEN);
        let queued = self.session.total_queued();
        assert!(queued <= most, "{queued} bytes are queued");
    }

    /// Nobody who may write was left waiting, once all that was written is out.
    fn check_writers(&self) {
        for (id, known) in &self.streams {
            let writes = !known.broken && !known.released && !known.finished;
            assert!(!writes || !known.refused, "stream {id} waits for ever");
        }
    }

    fn consume(&mut self, id: StreamId, n: u64) {
        let known = self.streams.get_mut(&id).unwrap();
        known.held -= n;
        let _ = self.session.consumed(id, n as usize);
    }

    fn finish(&mut self, id: StreamId) {
        if self.session.finish(id).is_ok() {
            self.streams.get_mut(&id).unwrap().finished = true;
        }
    }

    /// The transport takes output to the other end.
    fn take(&mut self, limit: usize, to: &mut Self, wire: &mut Wire) {
        let mut out = Vec::new();
        let streams = &mut self.streams;
        self.session
            .take_output(limit, &mut out, &mut |event: Event<'_>| match event {
                Event::Writable { id, .. } => writable(streams, id),
                Event::Closed { id, .. } => {
                    assert!(streams[&id].finished && streams[&id].peer_finished);
                }
                event => panic!("{event:?} while output is taken"),
            });
        to.incoming.extend(&out);
        for frame in take_frames(&mut out) {
            wire.sends(&frame);
        }
        assert!(out.is_empty(), "output ends inside a frame");
    }

    /// The transport brings what it has.
    fn bring(&mut self, limit: usize, wire: &mut Wire) {
        let len = limit.min(self.incoming.len());
        let piece: Vec<u8> = self.incoming.drain(..len).collect();
        self.brought.extend_from_slice(&piece);
        for frame in take_frames(&mut self.brought) {
            wire.allows(&frame);
        }
        let streams = &mut self.streams;
        let gone_away = &mut self.gone_away;
        let from = match self.session.role() {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        };
        self.session
            .receive(&piece, &mut |event: Event<'_>| match event {
                Event::Opened { id } => {
                    assert!(streams.insert(id, Known::default()).is_none(), "{id} twice");
                }
                Event::Data { id, bytes: got, .. } => {
                    let known = streams.get_mut(&id).unwrap();
                    assert!(!known.peer_finished && !known.released && !known.broken);
                    let expected = bytes(id, from, known.received, got.len());
                    assert!(got == expected, "stream {id} at {}", known.received);
                    known.received += got.len() as u64;
                    known.held += got.len() as u64;
                }
                Event::Finished { id, .. } => {
                    let known = streams.get_mut(&id).unwrap();
                    assert!(!known.peer_finished && !known.released && !known.broken);
                    known.peer_finished = true;
                }
                Event::Reset { id, .. } => {
                    let known = streams.get_mut(&id).unwrap();
                    assert!(!known.broken && !known.released);
                    known.broken = true;
                }
                Event::Closed { id, .. } => {
                    assert!(streams[&id].finished && streams[&id].peer_finished);
                }
                Event::GoAway => *gone_away = true,
                Event::Writable { id, .. } => writable(streams, id),
                Event::Window { .. } => panic!("the sessions keep the output"),
            })
            .unwrap();
    }

    /// The owners read what is there, and the windows are theirs again.
    fn read(&mut self) {
        let ids: Vec<_> = self.streams.keys().copied().collect();
        for id in ids {
            let held = self.streams[&id].held;
            self.consume(id, held);
        }
    }

    /// The owners want nothing more.
    fn finish_all(&mut self) {
        let ids: Vec<_> = self.streams.keys().copied().collect();
        for id in ids {
            self.finish(id);
        }
    }
}

struct Pair {
    client: End,
    server: End,
    /// What the client sends.
    up: Wire,
    /// What the server sends.
    down: Wire,
}

impl Pair {
    fn new(config: Config) -> Self {
        Self {
            client: End::new(Session::client(config.clone(), 0), config.max_output),
            server: End::new(Session::server(config.clone(), 0), config.max_output),
            up: Wire::default(),
            down: Wire::default(),
        }
    }

    fn step(&mut self, at: Role, step: &Step) {
        let (end, other, wire) = match at {
            Role::Client => (&mut self.client, &mut self.server, &mut self.up),
            Role::Server => (&mut self.server, &mut self.client, &mut self.down),
        };
        match *step {
            Step::Take(limit) => end.take(limit, other, wire),
            // What is brought to an end allows that end to send.
            Step::Bring(limit) => end.bring(limit, wire),
            ref step => end.step(step),
        }
    }

    /// Lets everything arrive and everybody finish.
    fn settle(&mut self) {
        self.quiet();
        for end in [&mut self.client, &mut self.server] {
            end.check_writers();
            end.finish_all();
        }
        self.quiet();
    }

    /// Lets everything arrive and be read.
    fn quiet(&mut self) {
        loop {
            for at in [Role::Client, Role::Server] {
                match at {
                    Role::Client => self.client.read(),
                    Role::Server => self.server.read(),
                }
                self.step(at, &Step::Take(usize::MAX));
            }
            if self.client.incoming.is_empty() && self.server.incoming.is_empty() {
                return;
            }
            self.step(Role::Client, &Step::Bring(usize::MAX));
            self.step(Role::Server, &Step::Bring(usize::MAX));
        }
    }

    /// Both ends tell the same story.
    fn check(&mut self) {
        for end in [&mut self.client, &mut self.server] {
            assert_eq!(end.session.failure(), None);
            assert_eq!(end.session.streams().collect::<Vec<_>>(), []);
            assert_eq!(end.session.total_queued(), 0);
            assert_eq!(end.session.total_shut(), 0);
            assert!(!end.session.has_output() && end.session.is_between_frames());
            end.session.go_away(GoAwayCode::Normal);
            v2_support::headers(&mut end.session);
            assert!(end.session.is_drained());
        }
        for (id, at_client) in &self.client.streams {
            // A stream that was refused after a go-away never came to the other end.
            let Some(at_server) = self.server.streams.get(id) else {
                assert!(at_client.broken || at_client.released);
                continue;
            };
            for (writer, reader) in [(at_client, at_server), (at_server, at_client)] {
                assert!(
                    reader.received <= writer.written,
                    "stream {id}: bytes from nowhere"
                );
                let lossy = [writer, reader]
                    .iter()
                    .any(|end| end.broken || end.released);
                if !lossy {
                    assert_eq!(
                        reader.received, writer.written,
                        "stream {id}: bytes are missing"
                    );
                    assert!(reader.peer_finished, "stream {id}: no end");
                }
            }
        }
    }
}

fn config() -> impl Strategy<Value = Config> {
    (
        prop_oneof![Just(0), Just(1_000), Just(64 << 10)],
        1usize..100_000,
        prop_oneof![Just(usize::MAX), Just(1_000), 100_000usize..4_000_000],
    )
        .prop_map(|(output_ahead, high_watermark, max_output)| Config {
            output_ahead,
            max_output,
            high_watermark,
            low_watermark: high_watermark / 2,
            ..Config::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// However the transport cuts, delays and joins: each byte arrives once and in order, no
    /// window is overrun, and both ends end with empty tables.
    #[test]
    fn two_ends_agree(
        config in config(),
        steps in vec((prop_oneof![Just(Role::Client), Just(Role::Server)], step()), 0..150),
    ) {
        let mut pair = Pair::new(config);
        for (at, step) in &steps {
            pair.step(*at, step);
        }
        pair.settle();
        pair.check();
    }

    /// Where the bytes are cut changes nothing.
    #[test]
    fn cuts_change_nothing(
        frames in vec(frame(), 0..20),
        cuts in vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let trunk = frames.concat();
        let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(trunk.len() + 1)).collect();
        places.extend([0, trunk.len()]);
        places.sort_unstable();
        let cut = places.windows(2).map(|ends| &trunk[ends[0]..ends[1]]);

        let whole = story(std::iter::once(&trunk[..]));
        prop_assert_eq!(story(cut), whole.clone());
        prop_assert_eq!(story(trunk.chunks(1)), whole);
    }

    /// A peer may send anything.
    #[test]
    fn any_bytes_are_read_or_refused(pieces in vec(vec(any::<u8>(), 0..100), 0..10)) {
        story(pieces.iter().map(Vec::as_slice));
    }

    #[test]
    fn a_header_is_what_was_written(
        kind in prop_oneof![
            Just(FrameType::Data),
            Just(FrameType::WindowUpdate),
            Just(FrameType::Ping),
            Just(FrameType::GoAway),
        ],
        flags in 0usize..16,
        stream: u32,
        length: u32,
    ) {
        let all = [Flags::SYN, Flags::ACK, Flags::FIN, Flags::RST];
        let flags = (0..4)
            .filter(|bit| flags >> bit & 1 == 1)
            .fold(Flags::NONE, |sum, bit| sum.with(all[bit]));
        let header = Header { kind, flags, stream: StreamId::new(stream), length };
        prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    /// Twelve bytes that are a header are that header's bytes.
    #[test]
    fn a_header_is_written_in_one_way(bytes: [u8; HEADER_LEN]) {
        if let Ok(header) = Header::decode(&bytes) {
            prop_assert_eq!(header.encode(), bytes);
        }
    }
}

/// Frames that are mostly allowed, for few streams.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let flags = prop_oneof![
        6 => Just(0u16),
        3 => Just(1u16),
        1 => Just(2u16),
        1 => Just(4u16),
        1 => Just(5u16),
        1 => Just(8u16),
        1 => 0u16..0x20,
    ];
    let stream = prop_oneof![8 => (0u32..8).prop_map(|n| 2 * n + 1), 1 => 0u32..16];
    prop_oneof![
        8 => (flags.clone(), stream.clone(), vec(any::<u8>(), 0..40)).prop_map(
            |(flags, stream, bytes)| {
                let mut frame = v2_support::raw(0, 0, flags, stream, bytes.len() as u32);
                frame.extend(bytes);
                frame
            }
        ),
        4 => (flags.clone(), stream, 0u32..1_000)
            .prop_map(|(flags, stream, n)| v2_support::raw(0, 1, flags, stream, n)),
        1 => (1u16..3, any::<u32>()).prop_map(|(flags, n)| v2_support::raw(0, 2, flags, 0, n)),
        1 => Just(v2_support::raw(0, 3, 0, 0, 0)),
        1 => (any::<u8>(), any::<u8>(), flags, any::<u32>(), any::<u32>())
            .prop_map(|(version, kind, flags, stream, n)| {
                v2_support::raw(version % 2, kind % 5, flags, stream, n)
            }),
    ]
}

/// What a server makes of the pieces of a trunk: the events, with a stream's neighbouring bytes
/// joined, how it ended, and what it answered.
fn story<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Option<String>, Vec<u8>) {
    let mut server = Session::server(Config::default(), 0);
    let mut events: Vec<(String, Vec<u8>)> = Vec::new();
    let mut end = None;
    for piece in pieces {
        let told = server.receive(piece, &mut |event: Event<'_>| match event {
            Event::Data { id, bytes, .. } => {
                assert!(!bytes.is_empty());
                let name = format!("data {id}");
                match events.last_mut() {
                    Some((last, joined)) if *last == name => joined.extend_from_slice(bytes),
                    _ => events.push((name, bytes.to_vec())),
                }
            }
            event => events.push((format!("{event:?}"), Vec::new())),
        });
        if let Err(error) = told {
            end = Some(error.to_string());
        }
    }
    let mut out = Vec::new();
    server.take_output(usize::MAX, &mut out, &mut |_: Event<'_>| {});
    let events = events.into_iter().map(|event| format!("{event:?}"));
    (events.collect(), end, out)
}
