//! A trunk as its peer and its processes see it. Processes are numbers, and what they are told is
//! recorded; after each step all counters are counted anew.

mod active;
mod http;
mod lifecycle;
mod limits;
mod model;
mod output;
mod recv;
mod threads;
mod threads_v2;
mod turns;
mod v2;
mod wait;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use megaphone_http::packet::Packet;
use megaphone_trunk::v1::{ConnectionId, Decoder, Event, FramePart, MaxFrameSize, put_frame};

use crate::config::Config;
use crate::options::{Active, ActiveChange};
use crate::origin::Content;
use crate::sink::{Delivery, Piece, Reason, Sink};
use crate::trunk::audit::Holdings;
use crate::{Change, Fed, Handle, Monitor, Recv, Send, Trunk};

/// The process that feeds the trunk.
pub(crate) const READER: u32 = 1;
/// The process that takes its output.
pub(crate) const WRITER: u32 = 2;
/// The first of the processes that own connections.
pub(crate) const OWNER: u32 = 10;

/// The id that the peer gives to its `n`th connection.
pub(crate) fn id(n: u64) -> ConnectionId {
    ConnectionId::try_from(format!("{n:020}").as_bytes()).unwrap()
}

/// The frames that carry `content` for the peer's `n`th connection; a close for none.
pub(crate) fn frame(n: u64, content: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    match content {
        [] => megaphone_trunk::v1::put_close(&mut frame, &id(n)),
        content => put_frame(&mut frame, &id(n), content).unwrap(),
    }
    frame
}

/// Connections without HTTP between peer and owner, and all limits as an admin has them.
pub(crate) fn raw() -> Config {
    Config {
        content: Content::Raw,
        ..Config::default()
    }
}

/// What the peer hears.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    Data(u64, Vec<u8>),
    Close(u64),
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(n, data) => {
                let start = data[..data.len().min(80)].escape_ascii();
                write!(f, "Data({n}, {} bytes: {start})", data.len())
            }
            Self::Close(n) => write!(f, "Close({n})"),
        }
    }
}

/// A message to the owner of an active socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Data(Vec<u8>),
    Packet(String),
    Passive,
    Closed,
    Error(Reason),
}

/// Keeps what processes are told.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) wakes: Vec<(u32, u64)>,
    pub(crate) told: Vec<(u32, Handle, Told)>,
    pub(crate) monitored: BTreeSet<u32>,
    pub(crate) dead: BTreeSet<u32>,
}

impl Sink<u32> for Recorder {
    fn wake(&mut self, process: u32, number: u64) {
        self.wakes.push((process, number));
    }

    fn deliver(&mut self, owner: u32, handle: Handle, delivery: Delivery<'_>) {
        let told = match delivery {
            Delivery::Data(piece) => match text(piece) {
                Text::Bytes(bytes) => Told::Data(bytes),
                Text::Packet(packet) => Told::Packet(packet),
            },
            Delivery::Passive => Told::Passive,
            Delivery::Closed => Told::Closed,
            Delivery::Error(reason) => Told::Error(reason),
        };
        self.told.push((owner, handle, told));
    }
}

impl Monitor<u32> for Recorder {
    fn monitor(&mut self, process: u32) -> bool {
        let fresh = self.monitored.insert(process);
        assert!(fresh, "process {process} is monitored twice");
        !self.dead.contains(&process)
    }
}

pub(crate) enum Text {
    Bytes(Vec<u8>),
    Packet(String),
}

pub(crate) fn text(piece: Piece<'_>) -> Text {
    let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match piece {
        Piece::Bytes(bytes) => Text::Bytes(bytes.to_vec()),
        Piece::Packet(Packet::Header { name, value, .. }, _) => {
            Text::Packet(format!("{name:?}: {}", show(value)))
        }
        Piece::Packet(Packet::Request { method, uri, .. }, _) => {
            Text::Packet(format!("{method:?} {uri:?}"))
        }
        Piece::Packet(Packet::EndOfHeaders, _) => Text::Packet("end".into()),
        Piece::Packet(packet, _) => Text::Packet(format!("{packet:?}")),
    }
}

/// A trunk, its peer, and what everybody was told.
pub(crate) struct World {
    pub(crate) trunk: Trunk<u32>,
    pub(crate) sink: Recorder,
    peer: Decoder,
    heard: Vec<u8>,
}

impl World {
    pub(crate) fn new(config: Config) -> Self {
        let trunk = Trunk::new(config, READER);
        let mut sink = Recorder::default();
        trunk.set_writer(WRITER, &mut sink);
        // It is woken as it begins, and looks.
        let _ = trunk.take_output(1, &mut sink, |_| ());
        Self {
            trunk,
            sink: Recorder::default(),
            peer: Decoder::new(MaxFrameSize::DEFAULT),
            heard: Vec::new(),
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Fed<u32> {
        let fed = self.trunk.feed(bytes, &mut self.sink);
        self.trunk.audit();
        fed
    }

    /// The peer says something on its `n`th connection, nothing to close it.
    pub(crate) fn say(&mut self, n: u64, content: &[u8]) -> Fed<u32> {
        let fed = self.feed(&frame(n, content));
        assert_eq!(fed.error, None);
        fed
    }

    /// Opens the peer's `n`th connection, with its first bytes, for process `owner`.
    pub(crate) fn open(&mut self, n: u64, owner: u32, content: &[u8]) -> Handle {
        let fed = self.say(n, content);
        let [(handle, _)] = fed.opened[..] else {
            panic!("one connection should open, not {:?}", fed.opened);
        };
        assert!(self.own(handle, owner));
        handle
    }

    pub(crate) fn own(&mut self, handle: Handle, owner: u32) -> bool {
        let owned = self.trunk.own(handle, owner, &mut self.sink);
        self.trunk.audit();
        owned
    }

    pub(crate) fn recv(&mut self, handle: Handle, process: u32, length: usize) -> Recv<Vec<u8>> {
        let answer =
            self.trunk.recv(
                handle,
                process,
                length,
                &mut self.sink,
                |piece| match text(piece) {
                    Text::Bytes(bytes) => bytes,
                    Text::Packet(packet) => packet.into_bytes(),
                },
            );
        self.trunk.audit();
        answer
    }

    /// All that can be read now, and why there is no more: a wait, which is cancelled, or the end.
    pub(crate) fn read_all(&mut self, handle: Handle, process: u32) -> (Vec<u8>, Option<Reason>) {
        let mut all = Vec::new();
        loop {
            match self.recv(handle, process, 0) {
                Recv::Taken(bytes) => all.extend(bytes),
                Recv::Wait(number) => {
                    assert!(self.trunk.cancel(handle, process, number));
                    self.trunk.audit();
                    return (all, None);
                }
                Recv::Failed(reason) => return (all, Some(reason)),
            }
        }
    }

    pub(crate) fn send(&mut self, handle: Handle, process: u32, data: &[u8]) -> Send {
        let answer = self.trunk.send(handle, process, data, &mut self.sink);
        self.trunk.audit();
        answer
    }

    pub(crate) fn close(&mut self, handle: Handle) {
        self.trunk.close(handle, &mut self.sink);
        self.trunk.audit();
    }

    pub(crate) fn die(&mut self, process: u32) {
        self.sink.dead.insert(process);
        if self.sink.monitored.remove(&process) {
            self.trunk.down(process, &mut self.sink);
        }
        self.trunk.audit();
    }

    pub(crate) fn activate(&mut self, handle: Handle, change: ActiveChange) -> Result<(), Reason> {
        let changes = [Change::Active(change)];
        let result = self.trunk.set_options(handle, &changes, &mut self.sink);
        self.trunk.audit();
        result
    }

    pub(crate) fn set_active(&mut self, handle: Handle, active: Active) {
        assert_eq!(self.activate(handle, ActiveChange::To(active)), Ok(()));
    }

    /// One batch of the writer's.
    pub(crate) fn take(&mut self, limit: usize) -> Vec<Heard> {
        let batch = self
            .trunk
            .take_output(limit, &mut self.sink, <[u8]>::to_vec);
        self.trunk.audit();
        self.hear(&batch.unwrap_or_default())
    }

    /// All output there is.
    pub(crate) fn take_all(&mut self) -> Vec<Heard> {
        let mut all = Vec::new();
        loop {
            match self.take(1 << 20) {
                heard if heard.is_empty() => return all,
                heard => all.extend(heard),
            }
        }
    }

    /// All output there is, as bytes.
    pub(crate) fn take_bytes(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(batch) = self
            .trunk
            .take_output(1 << 20, &mut self.sink, <[u8]>::to_vec)
        {
            self.trunk.audit();
            all.extend(batch);
        }
        all
    }

    fn hear(&mut self, batch: &[u8]) -> Vec<Heard> {
        let mut heard = Vec::new();
        for event in self.peer.decode(batch) {
            match event.unwrap() {
                Event::Content { id, bytes, part } => {
                    self.heard.extend_from_slice(bytes);
                    if part == FramePart::Last {
                        heard.push(Heard::Data(number(&id), std::mem::take(&mut self.heard)));
                    }
                }
                Event::Close { id } => heard.push(Heard::Close(number(&id))),
            }
        }
        heard
    }

    /// The wakes of owners since the last call.
    pub(crate) fn wakes(&mut self) -> Vec<(u32, u64)> {
        let wakes = std::mem::take(&mut self.sink.wakes);
        wakes.into_iter().filter(|(to, _)| *to != WRITER).collect()
    }

    /// How often the writer was woken since the last call.
    pub(crate) fn writer_wakes(&mut self) -> usize {
        let wakes = std::mem::take(&mut self.sink.wakes);
        wakes.iter().filter(|(to, _)| *to == WRITER).count()
    }

    /// What the owner of the one active socket was told since the last call.
    pub(crate) fn told(&mut self) -> Vec<Told> {
        let told = std::mem::take(&mut self.sink.told);
        told.into_iter().map(|(_, _, told)| told).collect()
    }

    /// Lets time pass, and looks after all connections.
    pub(crate) fn pass(&mut self, seconds: u64) -> Vec<u32> {
        self.trunk.age(Duration::from_secs(seconds));
        let busy = self.trunk.sweep_all(&mut self.sink);
        self.trunk.audit();
        busy
    }

    /// How often an error of this kind was counted.
    pub(crate) fn errors(&self, kind: &str) -> u64 {
        let errors = self.trunk.status().errors;
        let found = errors.iter().find(|(known, _)| *known == kind);
        found.map_or(0, |(_, count)| *count)
    }

    /// Fails unless the trunk holds nothing, once the time of ended ids has passed.
    pub(crate) fn assert_empty(&mut self) {
        self.take_all();
        self.pass(31);
        assert_eq!(self.trunk.audit(), Holdings::default());
    }
}

fn number(id: &ConnectionId) -> u64 {
    id.as_str().parse().unwrap()
}

/// The number to wait for.
pub(crate) fn wait<R: std::fmt::Debug>(answer: Recv<R>) -> u64 {
    match answer {
        Recv::Wait(number) => number,
        other => panic!("recv should wait, not answer {other:?}"),
    }
}

/// The number to wait for.
pub(crate) fn send_wait(answer: Send) -> u64 {
    match answer {
        Send::Wait(number) => number,
        other => panic!("send should wait, not answer {other:?}"),
    }
}
