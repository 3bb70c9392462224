//! Version 2's output: what waits stays with its connection, and the writer frames it in turn.

use std::collections::BTreeMap;

use megaphone_trunk::v2::{self, Event, FrameType, Header, Session, StreamId};
use proptest::prelude::*;

use super::v2::preface;
use super::{OWNER, World, raw, send_wait};
use crate::config::Config;
use crate::link::Link;
use crate::{Direction, Handle, Send};

const STREAMS: usize = 4;

/// The data frames in a batch: whose, and how long.
fn frames(mut batch: &[u8]) -> Vec<(StreamId, usize)> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = batch.split_first_chunk() {
        let header = Header::decode(header).unwrap();
        let length = match header.kind {
            FrameType::Data => header.length as usize,
            _ => 0,
        };
        if length > 0 {
            frames.push((header.stream, length));
        }
        batch = &rest[length..];
    }
    frames
}

fn take(world: &mut World, limit: usize) -> Vec<u8> {
    let batch = world
        .trunk
        .take_output(limit, &mut world.sink, <[u8]>::to_vec);
    world.trunk.audit();
    batch.unwrap_or_default()
}

/// A trunk with streams, and what their peer has; nothing else passes between the two by itself.
struct Streams {
    world: World,
    session: Session,
    ids: Vec<StreamId>,
    handles: Vec<Handle>,
    heard: BTreeMap<StreamId, (Vec<u8>, bool)>,
    /// What the peer has heard and not taken.
    unread: BTreeMap<StreamId, usize>,
}

impl Streams {
    fn new(count: usize, most: usize) -> Self {
        let mut world = World::new(Config {
            max_trunk_output: most,
            ..raw()
        });
        let mut session = Session::client(v2::Config::default(), 0);
        let ids: Vec<_> = (0..count)
            .map(|_| session.open(0, &preface("xmpp-client")).unwrap())
            .collect();
        let mut out = Vec::new();
        session.take_output(1 << 20, &mut out, &mut |_: Event<'_>| {});
        let fed = world.feed(&out);
        let handles: Vec<_> = fed.opened.into_iter().map(|(handle, _)| handle).collect();
        for handle in &handles {
            world.own(*handle, OWNER);
        }
        let mut streams = Self {
            world,
            session,
            ids,
            handles,
            heard: BTreeMap::new(),
            unread: BTreeMap::new(),
        };
        // The acknowledgements.
        streams.take(1 << 20);
        streams
    }

    /// The writer's batch, which the peer hears; its data frames.
    fn take(&mut self, limit: usize) -> Vec<(StreamId, usize)> {
        let batch = take(&mut self.world, limit);
        let heard = &mut self.heard;
        let mut listen = |event: Event<'_>| match event {
            Event::Data { id, bytes, .. } => heard.entry(id).or_default().0.extend(bytes),
            Event::Finished { id, .. } | Event::Reset { id, .. } => {
                heard.entry(id).or_default().1 = true;
            }
            _ => {}
        };
        self.session.receive(&batch, &mut listen).unwrap();
        let frames = frames(&batch);
        for (id, len) in &frames {
            *self.unread.entry(*id).or_default() += len;
        }
        frames
    }

    /// The peer takes so many bytes, or what there is, and says so.
    fn consume(&mut self, n: usize, bytes: usize) {
        let unread = self.unread.entry(self.ids[n]).or_default();
        let taken = bytes.min(*unread);
        *unread -= taken;
        // It fails once both sides have ended.
        let _ = self.session.consumed(self.ids[n], taken);
        self.peer_says();
    }

    fn peer_says(&mut self) {
        let mut out = Vec::new();
        self.session
            .take_output(1 << 20, &mut out, &mut |_: Event<'_>| {});
        assert_eq!(self.world.feed(&out).error, None);
    }

    fn send(&mut self, n: usize, data: &[u8]) -> Send {
        self.world.send(self.handles[n], OWNER, data)
    }

    /// Whatever waits comes to the peer, which takes all of it.
    fn finish(&mut self) {
        for _ in 0..1000 {
            for n in 0..self.ids.len() {
                self.consume(n, usize::MAX);
            }
            if self.take(1 << 20).is_empty() && !self.world.trunk.has_output() {
                return;
            }
        }
        panic!("it has output for ever");
    }
}

#[test]
fn streams_take_turns_of_one_frame() {
    let mut streams = Streams::new(3, 64 << 20);
    for n in 0..3 {
        assert_eq!(streams.send(n, &[0; 200 << 10]), Send::Done);
    }
    let turns = streams.take(9 * v2::MAX_DATA);
    let expected: Vec<_> = streams.ids.repeat(3);
    let expected: Vec<_> = expected.iter().map(|id| (*id, v2::MAX_DATA)).collect();
    assert_eq!(turns, expected);
}

#[test]
fn what_an_owner_left_and_what_others_keep_have_half_of_a_batch_each() {
    let mut streams = Streams::new(6, 64 << 20);
    for n in 0..6 {
        assert_eq!(streams.send(n, &[0; 200 << 10]), Send::Done);
    }
    for n in 0..4 {
        streams.world.close(streams.handles[n]);
    }
    let turns = streams.take(16 * v2::MAX_DATA);
    let of = |n: usize| {
        let id = streams.ids[n];
        turns.iter().filter(|(turn, _)| *turn == id).count()
    };
    assert_eq!((0..6).map(of).collect::<Vec<_>>(), [2, 2, 2, 2, 4, 4]);
}

#[test]
fn a_stream_before_a_shut_window_has_no_turn_until_it_opens() {
    let mut streams = Streams::new(2, 64 << 20);
    assert_eq!(streams.send(0, &[0; 300 << 10]), Send::Done);
    while !streams.take(1 << 20).is_empty() {}
    assert_eq!(streams.heard[&streams.ids[0]].0.len(), 256 << 10);
    assert!(streams.world.trunk.has_output());
    assert_eq!(streams.send(1, b"on"), Send::Done);
    assert_eq!(streams.take(1 << 20), [(streams.ids[1], 2)]);
    streams.world.writer_wakes();
    streams.consume(0, 256 << 10);
    assert_eq!(streams.world.writer_wakes(), 1);
    streams.finish();
    assert_eq!(streams.heard[&streams.ids[0]].0.len(), 300 << 10);
}

/// Those before shut windows have half of the trunk's room, and a single one half of that.
#[test]
fn senders_before_shut_windows_leave_room_to_the_others() {
    const MOST: usize = 1 << 20;
    let mut streams = Streams::new(3, MOST);
    for n in 0..2 {
        assert_eq!(streams.send(n, &[0; 256 << 10]), Send::Done);
        streams.take(1 << 20);
    }
    assert_eq!(streams.send(0, &[0; 240 << 10]), Send::Done);
    let wait = send_wait(streams.send(1, &[0; 100 << 10]));
    assert_eq!(streams.world.errors("max_trunk_output"), 1);
    assert_eq!(streams.send(2, &[0; 200 << 10]), Send::Done);
    streams.take(1 << 20);
    assert_eq!(streams.world.wakes(), []);
    // What one of them gives back is the other's.
    streams.session.reset(streams.ids[0]).unwrap();
    streams.peer_says();
    assert_eq!(streams.world.wakes(), [(OWNER, wait)]);
}

/// It need not wait for those before it in the line.
#[test]
fn who_waited_for_a_window_goes_on_as_it_opens() {
    let mut streams = Streams::new(2, 1 << 20);
    for n in 0..2 {
        assert_eq!(streams.send(n, &[0; 256 << 10]), Send::Done);
        streams.take(1 << 20);
    }
    assert_eq!(streams.send(0, &[0; 256 << 10]), Send::Done);
    for round in 1..4 {
        let wait = send_wait(streams.send(1, &[0; 100 << 10]));
        assert_eq!(streams.world.errors("max_trunk_output"), round);
        streams.consume(1, usize::MAX);
        assert_eq!(streams.world.wakes(), [(OWNER, wait)]);
        for _ in 0..2 {
            assert_eq!(streams.send(1, &[0; 128 << 10]), Send::Done);
            streams.take(1 << 20);
        }
    }
}

/// Nothing else may be said on the trunk that would call those who wait.
#[test]
fn who_waits_for_room_that_was_kept_is_called_as_it_is_given_back() {
    let mut streams = Streams::new(2, 200 << 10);
    let kept =
        streams
            .world
            .trunk
            .reserve(streams.handles[0], OWNER, 1000, &mut streams.world.sink);
    assert_eq!(kept, Send::Done);
    streams.world.writer_wakes();
    let wait = send_wait(streams.send(1, &[0; 100 << 10]));
    let handle = streams.handles[0];
    streams
        .world
        .trunk
        .unreserve(handle, &mut streams.world.sink);
    assert_eq!(streams.world.writer_wakes(), 1);
    assert_eq!(streams.take(1 << 20), []);
    assert_eq!(streams.world.wakes(), [(OWNER, wait)]);
}

#[test]
fn a_wait_ends_as_little_is_left() {
    let mut streams = Streams::new(1, 64 << 20);
    assert_eq!(streams.send(0, &[0; 100 << 10]), Send::Done);
    let wait = send_wait(streams.send(0, b"more"));
    let pending = |streams: &Streams| {
        let statistics = streams.world.trunk.statistics(streams.handles[0]);
        statistics.unwrap().pending
    };
    while pending(&streams) >= 32 << 10 {
        assert_eq!(streams.world.wakes(), []);
        streams.take(1);
    }
    assert_eq!(streams.world.wakes(), [(OWNER, wait)]);
}

#[test]
fn a_shutdown_wakes_who_waits_and_its_fin_is_behind_all_that_was_sent() {
    let mut streams = Streams::new(1, 64 << 20);
    assert_eq!(streams.send(0, &[7; 300 << 10]), Send::Done);
    let wait = send_wait(streams.send(0, b"more"));
    let handle = streams.handles[0];
    let Streams { world, .. } = &mut streams;
    assert!(
        world
            .trunk
            .shutdown(handle, Direction::Write, &mut world.sink)
    );
    assert_eq!(world.wakes(), [(OWNER, wait)]);
    streams.finish();
    assert_eq!(streams.heard[&streams.ids[0]], (vec![7; 300 << 10], true));
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize, usize),
    Reserve(usize),
    Take(usize),
    Consume(usize, usize),
    Cancel(usize),
    Shutdown(usize),
    Close(usize),
    PeerReset(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let stream = 0..STREAMS;
    prop_oneof![
        8 => (stream.clone(), prop_oneof![1usize..2000, 1usize..150_000])
            .prop_map(|(n, len)| Step::Send(n, len)),
        1 => stream.clone().prop_map(Step::Reserve),
        4 => prop_oneof![Just(1), 1usize..300_000].prop_map(Step::Take),
        4 => (stream.clone(), 1usize..300_000).prop_map(|(n, len)| Step::Consume(n, len)),
        1 => stream.clone().prop_map(Step::Cancel),
        1 => stream.clone().prop_map(Step::Shutdown),
        1 => stream.clone().prop_map(Step::Close),
        1 => stream.prop_map(Step::PeerReset),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is done in whichever order: what was taken of a stream comes whole, in order and with its end, who
    /// waits is woken, and nothing is left. After each step all counters are counted anew.
    #[test]
    fn what_is_sent_comes_whole_and_nothing_is_left(
        steps in prop::collection::vec(step(), 0..60),
        most in prop_oneof![Just(64usize << 20), Just(200usize << 10)],
    ) {
        let mut streams = Streams::new(STREAMS, most);
        let mut sent = vec![Vec::new(); STREAMS];
        let mut waits = vec![None; STREAMS];
        let mut ended = [false; STREAMS];
        let mut reset = [false; STREAMS];
        let mut next = 0u8;
        for step in steps {
            match step {
                Step::Send(n, len) => {
                    next = next.wrapping_add(1);
                    let data = vec![next; len];
                    match streams.send(n, &data) {
                        Send::Done => sent[n].extend(data),
                        Send::Wait(number) => {
                            prop_assert!(!ended[n]);
                            // The one before would wake it too.
                            if let Some(before) = waits[n].replace(number) {
                                streams.world.trunk.cancel(streams.handles[n], OWNER, before);
                            }
                        }
                        Send::Failed(_) => prop_assert!(ended[n]),
                    }
                }
                Step::Reserve(n) => {
                    let Streams { world, handles, .. } = &mut streams;
                    if let Send::Wait(number) = world.trunk.reserve(handles[n], OWNER, 1000, &mut world.sink) {
                        prop_assert!(world.trunk.cancel(handles[n], OWNER, number));
                    }
                }
                Step::Take(limit) => { streams.take(limit); }
                Step::Consume(n, bytes) => streams.consume(n, bytes),
                Step::Cancel(n) => {
                    if let Some(number) = waits[n].take() {
                        streams.world.trunk.cancel(streams.handles[n], OWNER, number);
                    }
                }
                Step::Shutdown(n) => {
                    let Streams { world, handles, .. } = &mut streams;
                    world.trunk.shutdown(handles[n], Direction::Write, &mut world.sink);
                    ended[n] = true;
                }
                Step::Close(n) => {
                    streams.world.close(streams.handles[n]);
                    ended[n] = true;
                }
                Step::PeerReset(n) => {
                    if streams.session.reset(streams.ids[n]).is_ok() {
                        streams.peer_says();
                        ended[n] = true;
                        reset[n] = true;
                    }
                }
            }
            let woken = streams.world.wakes();
            for wait in &mut waits {
                if wait.is_some_and(|number| woken.contains(&(OWNER, number))) {
                    *wait = None;
                }
            }
            streams.world.trunk.audit();
        }
        for handle in streams.handles.clone() {
            streams.world.trunk.unreserve(handle, &mut streams.world.sink);
        }
        streams.finish();
        // Who is woken sends: those behind it count on that.
        loop {
            let woken = streams.world.wakes();
            let sender = (0..STREAMS)
                .find(|n| waits[*n].is_some_and(|number| woken.contains(&(OWNER, number))));
            let Some(n) = sender else { break };
            waits[n] = None;
            if streams.send(n, b"!") == Send::Done {
                sent[n].push(b'!');
            }
            streams.finish();
            streams.world.sink.wakes.extend(woken);
        }
        for n in 0..STREAMS {
            prop_assert_eq!(waits[n], None, "{} waits for ever", n);
            let heard = streams.heard.get(&streams.ids[n]).cloned().unwrap_or_default();
            if !reset[n] {
                prop_assert!(heard.0 == sent[n], "{} of {} bytes of {}", heard.0.len(), sent[n].len(), n);
                prop_assert_eq!(heard.1, ended[n]);
            }
        }
        for n in 0..STREAMS {
            streams.world.close(streams.handles[n]);
        }
        streams.finish();
        let holdings = streams.world.trunk.audit();
        prop_assert_eq!((holdings.connections, holdings.pending, holdings.waiters), (0, 0, 0));
        prop_assert_eq!(streams.world.trunk.status().unsent, 0);
        let Some(Link::V2(v2)) = streams.world.trunk.link.get() else {
            panic!("a trunk of version 2");
        };
        prop_assert_eq!(v2.backlog.reserved(), 0);
    }
}
