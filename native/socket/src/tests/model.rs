//! Any sequence of steps, cut anywhere, against a model that is simple enough to be right: each
//! byte comes once and in order to the connection it was for, and nothing is left at the end.

use std::collections::{BTreeMap, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// The connections that the peer speaks on.
const IDS: u64 = 4;
/// After so many bytes the same come again.
const PERIOD: usize = 251;

#[derive(Clone, Debug)]
enum Step {
    /// The peer writes a frame to the trunk's socket; empty to close.
    Say {
        n: u64,
        length: usize,
    },
    /// So many of the bytes that it wrote arrive.
    Arrive {
        bytes: usize,
    },
    Recv {
        n: u64,
        length: usize,
    },
    Send {
        n: u64,
        length: usize,
    },
    /// The waits of a connection's owner time out.
    GiveUp {
        n: u64,
    },
    Activate {
        n: u64,
        change: ActiveChange,
    },
    HandOn {
        n: u64,
    },
    Close {
        n: u64,
    },
    Die {
        n: u64,
    },
    Take {
        limit: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let n = || 0..IDS;
    let active = prop_oneof![
        Just(ActiveChange::To(Active::Passive)),
        Just(ActiveChange::To(Active::Once)),
        Just(ActiveChange::To(Active::Always)),
        (-2..4i32).prop_map(ActiveChange::Add),
    ];
    let step = prop_oneof![
        8 => (n(), 1..300usize).prop_map(|(n, length)| Step::Say { n, length }),
        1 => n().prop_map(|n| Step::Say { n, length: 0 }),
        8 => (1..400usize).prop_map(|bytes| Step::Arrive { bytes }),
        6 => (n(), 0..200usize).prop_map(|(n, length)| Step::Recv { n, length }),
        4 => (n(), 0..400usize).prop_map(|(n, length)| Step::Send { n, length }),
        3 => (n(), 30_000..200_000usize).prop_map(|(n, length)| Step::Send { n, length }),
        1 => n().prop_map(|n| Step::GiveUp { n }),
        2 => (n(), active).prop_map(|(n, change)| Step::Activate { n, change }),
        1 => n().prop_map(|n| Step::HandOn { n }),
        1 => n().prop_map(|n| Step::Close { n }),
        1 => n().prop_map(|n| Step::Die { n }),
        4 => (1..300_000usize).prop_map(|limit| Step::Take { limit }),
    ];
    vec(step, 1..120)
}

/// What an id means at this moment, and what was said under it.
struct Model {
    world: World,
    /// What the peer wrote and has not arrived.
    wire: VecDeque<u8>,
    /// Reads what has arrived, as the trunk does.
    arrived: Decoder,
    /// The ids whose connection the peer may still speak on.
    live: BTreeMap<u64, Handle>,
    /// The ids whose connection we closed and the peer has not.
    ended: BTreeMap<u64, Handle>,
    /// All connections so far.
    connections: BTreeMap<Handle, Line>,
    next_owner: u32,
    /// All bytes that are said are cut from this, one after the other, around and around.
    pattern: Vec<u8>,
    said: usize,
}

/// One connection as it should be.
struct Line {
    n: u64,
    owner: u32,
    active: Active,
    /// What arrived and nobody has had.
    to_owner: VecDeque<u8>,
    /// What was sent and the peer has not heard.
    to_peer: VecDeque<u8>,
    peer_closed: bool,
    released: bool,
    /// Whether the peer heard our close.
    close_heard: bool,
    reading: Option<(u64, usize)>,
    sending: Option<(u64, Vec<u8>)>,
}

impl Line {
    fn new(n: u64, owner: u32) -> Self {
        Self {
            n,
            owner,
            active: Active::Passive,
            to_owner: VecDeque::new(),
            to_peer: VecDeque::new(),
            peer_closed: false,
            released: false,
            close_heard: false,
            reading: None,
            sending: None,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        assert!(
            starts_with(&mut self.to_owner, bytes),
            "the owner on {} got other bytes",
            self.n
        );
        self.to_owner.drain(..bytes.len());
    }

    fn hear(&mut self, bytes: &[u8]) {
        assert!(
            starts_with(&mut self.to_peer, bytes),
            "the peer on {} heard other bytes",
            self.n
        );
        self.to_peer.drain(..bytes.len());
    }
}

fn starts_with(queue: &mut VecDeque<u8>, bytes: &[u8]) -> bool {
    queue.make_contiguous().starts_with(bytes)
}

impl Model {
    fn new() -> Self {
        Self {
            world: World::new(raw()),
            wire: VecDeque::new(),
            arrived: Decoder::new(MaxFrameSize::DEFAULT),
            live: BTreeMap::new(),
            ended: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_owner: OWNER,
            pattern: (0..PERIOD as u8).collect::<Vec<_>>().repeat(1000),
            said: 0,
        }
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let start = self.said % PERIOD;
        self.said += length;
        self.pattern[start..start + length].to_vec()
    }

    /// The last connection of an id that its owner still has.
    fn held(&self, n: u64) -> Option<Handle> {
        let held = |(_, line): &(&Handle, &Line)| line.n == n && !line.released;
        // Handles grow with time.
        self.connections
            .iter()
            .filter(held)
            .map(|(handle, _)| *handle)
            .max()
    }

    fn line(&mut self, handle: Handle) -> &mut Line {
        self.connections.get_mut(&handle).unwrap()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Say { n, length } => {
                let content = self.bytes(length);
                self.wire.extend(frame(n, &content));
            }
            Step::Arrive { bytes } => self.arrive(bytes),
            Step::Take { limit } => {
                let heard = self.world.take(limit);
                self.hear(heard);
            }
            Step::Recv { n, length } => self.with(n, |model, handle| {
                if model.line(handle).reading.is_none() {
                    model.recv(handle, length);
                }
            }),
            Step::Send { n, length } => self.with(n, |model, handle| {
                if model.line(handle).sending.is_none() {
                    let data = model.bytes(length);
                    model.send(handle, data);
                }
            }),
            Step::GiveUp { n } => self.with(n, Self::give_up),
            Step::Activate { n, change } => self.with(n, |model, handle| {
                model.activate(handle, change);
            }),
            Step::HandOn { n } => self.with(n, |model, handle| {
                model.give_up(handle);
                let owner = model.new_owner();
                assert!(model.world.own(handle, owner));
                model.line(handle).owner = owner;
            }),
            Step::Close { n } => self.with(n, |model, handle| {
                model.world.close(handle);
                model.released(handle);
            }),
            Step::Die { n } => self.with(n, |model, handle| {
                let owner = model.line(handle).owner;
                model.world.die(owner);
                model.released(handle);
            }),
        }
        self.settle();
    }

    fn with(&mut self, n: u64, act: impl FnOnce(&mut Self, Handle)) {
        if let Some(handle) = self.held(n) {
            act(self, handle);
        }
    }

    fn new_owner(&mut self) -> u32 {
        self.next_owner += 1;
        self.next_owner
    }

    fn arrive(&mut self, count: usize) {
        let bytes: Vec<u8> = self.wire.drain(..count.min(self.wire.len())).collect();
        let fed = self.world.feed(&bytes);
        assert_eq!(fed.error, None);
        let mut opened = fed.opened.into_iter();
        let mut decoder = self.arrived.clone();
        for event in decoder.decode(&bytes) {
            match event.unwrap() {
                Event::Content { id, bytes, .. } => {
                    let n = number(&id);
                    if self.ended.contains_key(&n) {
                        continue;
                    }
                    let handle = *self.live.entry(n).or_insert_with(|| {
                        let (handle, _) = opened.next().expect("a new id opens a connection");
                        self.connections.insert(handle, Line::new(n, READER));
                        handle
                    });
                    let line = self.connections.get_mut(&handle).unwrap();
                    if !line.released {
                        line.to_owner.extend(bytes);
                    }
                }
                Event::Close { id } => {
                    let n = number(&id);
                    let ended = self.ended.remove(&n);
                    if let Some(handle) = self.live.remove(&n).or(ended) {
                        self.connections.get_mut(&handle).unwrap().peer_closed = true;
                    }
                }
            }
        }
        self.arrived = decoder;
        assert_eq!(opened.next(), None, "only a new id opens a connection");
        self.told();
        let ownerless = |(_, line): &(&Handle, &Line)| line.owner == READER;
        let ownerless: Vec<_> = self
            .connections
            .iter()
            .filter(ownerless)
            .map(|(h, _)| *h)
            .collect();
        for handle in ownerless {
            let owner = self.new_owner();
            assert!(self.world.own(handle, owner));
            self.line(handle).owner = owner;
        }
    }

    fn recv(&mut self, handle: Handle, length: usize) {
        let owner = self.line(handle).owner;
        let answer = self.world.recv(handle, owner, length);
        let line = self.line(handle);
        let enough = line.to_owner.len() >= length.max(1);
        match answer {
            Recv::Taken(bytes) => {
                assert!(line.active == Active::Passive && enough);
                assert!(length == 0 || bytes.len() == length);
                line.take(&bytes);
            }
            Recv::Wait(number) => {
                assert!(line.active == Active::Passive && !enough && !line.peer_closed);
                line.reading = Some((number, length));
            }
            Recv::Failed(Reason::Invalid) => assert_ne!(line.active, Active::Passive),
            Recv::Failed(reason) => {
                assert_eq!(reason, Reason::Closed);
                assert!(line.released || (line.peer_closed && !enough));
            }
        }
    }

    fn send(&mut self, handle: Handle, data: Vec<u8>) {
        let owner = self.line(handle).owner;
        let answer = self.world.send(handle, owner, &data);
        let line = self.line(handle);
        match answer {
            Send::Done => {
                assert!(!line.peer_closed && !line.released);
                line.to_peer.extend(data);
            }
            Send::Wait(number) => line.sending = Some((number, data)),
            Send::Failed(reason) => {
                assert_eq!(reason, Reason::Closed);
                assert!(line.peer_closed || line.released);
            }
        }
    }

    fn give_up(&mut self, handle: Handle) {
        let line = self.connections.get_mut(&handle).unwrap();
        let waits = [
            line.reading.take().map(|(number, _)| number),
            line.sending.take().map(|(number, _)| number),
        ];
        for number in waits.into_iter().flatten() {
            assert!(
                self.world.trunk.cancel(handle, line.owner, number),
                "no wake was sent"
            );
        }
    }

    fn activate(&mut self, handle: Handle, change: ActiveChange) {
        let line = self.connections.get_mut(&handle).unwrap();
        let (active, passive_now) = line.active.change(change).unwrap();
        line.active = active;
        self.world.activate(handle, change).unwrap();
        if passive_now {
            let first = self.world.sink.told.remove(0);
            assert_eq!(first, (line.owner, handle, Told::Passive));
        }
        self.told();
    }

    /// Applies what active owners were told.
    fn told(&mut self) {
        let mut told = std::mem::take(&mut self.world.sink.told).into_iter();
        while let Some((owner, handle, what)) = told.next() {
            let line = self.line(handle);
            assert_eq!(owner, line.owner);
            assert_ne!(line.active, Active::Passive);
            match what {
                Told::Data(bytes) => {
                    line.take(&bytes);
                    let (active, passive_now) = line.active.after_message();
                    line.active = active;
                    if passive_now {
                        assert_eq!(told.next(), Some((owner, handle, Told::Passive)));
                    }
                }
                Told::Closed => {
                    assert!(line.peer_closed && line.to_owner.is_empty());
                    self.released(handle);
                }
                other => panic!("nothing here leads to {other:?}"),
            }
        }
        // An active owner has had all there is.
        for (handle, line) in &self.connections {
            let has_all = line.to_owner.is_empty() && !line.peer_closed;
            assert!(
                line.active == Active::Passive || line.released || has_all,
                "{handle:?} holds back {} bytes",
                line.to_owner.len()
            );
        }
    }

    /// The owner closed the connection, or died.
    fn released(&mut self, handle: Handle) {
        let line = self.connections.get_mut(&handle).unwrap();
        line.released = true;
        line.to_owner.clear();
        if self.live.get(&line.n) == Some(&handle) {
            self.live.remove(&line.n);
            self.ended.insert(line.n, handle);
        }
    }

    fn hear(&mut self, heard: Vec<Heard>) {
        for heard in heard {
            let (n, data) = match heard {
                Heard::Data(n, data) => (n, Some(data)),
                Heard::Close(n) => (n, None),
            };
            // Connections of one id follow one another: the first that isn't closed speaks.
            let mut lines = self.connections.values_mut();
            let line = lines
                .find(|line| line.n == n && !line.close_heard)
                .expect("a connection speaks until it is closed, and closes once");
            match data {
                Some(data) => line.hear(&data),
                None => {
                    line.close_heard = true;
                    assert!(line.peer_closed || line.released);
                    assert!(
                        line.peer_closed || line.to_peer.is_empty(),
                        "what was sent goes out before the close"
                    );
                    line.to_peer.clear();
                }
            }
        }
    }

    /// The woken call again; who was not woken has to wait.
    fn settle(&mut self) {
        let mut wakes = self.world.wakes();
        while let Some((process, number)) = wakes.pop() {
            let reads = |line: &Line| line.reading.as_ref().is_some_and(|(n, _)| *n == number);
            let sends = |line: &Line| line.sending.as_ref().is_some_and(|(n, _)| *n == number);
            let waits = |(_, line): &(&Handle, &Line)| reads(line) || sends(line);
            let Some((handle, line)) = self.connections.iter().find(waits) else {
                panic!("process {process} was woken for {number}, and does not wait for it");
            };
            let (handle, is_dead) = (*handle, self.world.sink.dead.contains(&process));
            assert_eq!(process, line.owner);
            if reads(line) {
                let (_, length) = self.line(handle).reading.take().unwrap();
                if !is_dead {
                    self.recv(handle, length);
                }
            } else {
                let (_, data) = self.line(handle).sending.take().unwrap();
                if !is_dead {
                    self.send(handle, data);
                }
            }
            wakes.extend(self.world.wakes());
        }
        let mut waiters = 0;
        let mut buffered = 0;
        for (handle, line) in &self.connections {
            buffered += line.to_owner.len();
            if let Some((_, length)) = line.reading {
                waiters += 1;
                assert!(
                    line.to_owner.len() < length.max(1),
                    "a reader sleeps on its bytes"
                );
                assert!(
                    !line.peer_closed && !line.released,
                    "a reader sleeps on a close"
                );
            }
            if line.sending.is_some() {
                waiters += 1;
                let statistics = self.world.trunk.statistics(*handle);
                let pending = statistics.map_or(0, |statistics| statistics.pending);
                assert!(
                    pending >= 32 << 10,
                    "a sender sleeps on {pending} pending bytes"
                );
                assert!(
                    !line.peer_closed && !line.released,
                    "a sender sleeps on a close"
                );
            }
        }
        let status = self.world.trunk.status();
        assert_eq!((status.waiters, status.buffered), (waiters, buffered));
    }

    /// Everybody hangs up, and the peer hears the rest.
    fn end(mut self) {
        let rest = self.wire.len();
        self.arrive(rest);
        self.settle();
        for n in 0..IDS {
            while let Some(handle) = self.held(n) {
                self.world.close(handle);
                self.released(handle);
                self.settle();
            }
        }
        let heard = self.world.take_all();
        self.hear(heard);
        self.settle();
        for line in self.connections.values() {
            assert!(line.close_heard, "no close for a connection of {}", line.n);
        }
        for n in 0..IDS {
            self.world.say(n, b"");
        }
        assert_eq!(self.world.take_all(), []);
        assert_eq!(self.world.trunk.audit().names, 0);
        self.world.assert_empty();
    }
}

proptest! {
    #[test]
    fn every_byte_comes_once_and_in_order_and_nothing_is_left(steps in steps()) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
        }
        model.end();
    }
}
