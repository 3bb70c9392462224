//! The peer of version 2: a real client's session, and what no client would say.

use std::collections::HashMap;
use std::time::Duration;

use megaphone_socket::config::Config;
use megaphone_trunk::proxy::{self, Addresses};
use megaphone_trunk::v2::{
    self, Allowance, Ceiling, Event, Flags, HEADER_LEN, Session, StreamId, Written,
};

use super::wire::Wire;
use super::world::{Knowledge, World};
use super::{Peer, take};
use crate::{Input, http, pattern};

/// The client's session, and what became of its streams.
pub struct V2 {
    session: Session,
    streams: Vec<Stream>,
    by_id: HashMap<StreamId, usize>,
    wire: Wire,
    /// The header of the frame that arrives, and how much of its content is to come.
    header: Vec<u8>,
    content: usize,
}

/// A stream that the client opened.
#[derive(Debug)]
struct Stream {
    id: StreamId,
    is_http: bool,
    /// Its connection, once its PROXY header has arrived.
    number: Option<usize>,
    preface: usize,
    said: usize,
    arrived: usize,
    fin_arrived: bool,
    /// Bytes that the client has heard and not returned the window of.
    unreturned: usize,
}

fn preface(stream: usize, protocol: &'static str) -> Vec<u8> {
    let header = proxy::Header {
        addresses: Addresses::Inet {
            source: ([192, 0, 2, 1], stream as u16).into(),
            destination: ([198, 51, 100, 1], 443).into(),
        },
        alpn: Some(protocol.as_bytes().into()),
        transport: Some(proxy::Transport::WebSocket),
        ..proxy::Header::default()
    };
    let mut bytes = Vec::new();
    proxy::write(&header, &mut bytes);
    bytes
}

impl V2 {
    fn open(&mut self, world: &World, input: &mut Input<'_>) {
        let stream = self.streams.len();
        let protocols = match world.knowledge {
            Knowledge::All => &["xmpp-client", "xmpp-framing"][..],
            Knowledge::End => &["xmpp-client", "xmpp-framing", "http/1.1", "h2"],
        };
        let protocol = input.pick(protocols);
        let preface = preface(stream, protocol);
        let Ok(id) = self.session.open(0, &preface) else {
            assert_eq!(world.knowledge, Knowledge::End, "a stream can't be opened");
            return;
        };
        self.by_id.insert(id, stream);
        self.streams.push(Stream {
            id,
            is_http: protocol == "http/1.1",
            number: None,
            preface: preface.len(),
            said: 0,
            arrived: 0,
            fin_arrived: false,
            unreturned: 0,
        });
    }

    fn request(&mut self, number: usize, input: &mut Input<'_>) {
        let id = self.streams[number].id;
        let _ = self.session.write(id, &http::request(input));
    }

    fn write(&mut self, number: usize, length: usize) {
        let stream = &mut self.streams[number];
        let bytes = pattern(number * 17 + stream.said, length);
        if let Ok(Written::Taken) = self.session.write(stream.id, bytes) {
            stream.said += bytes.len();
        }
    }

    /// A frame that no client would send, or not now.
    fn stray(&mut self, input: &mut Input<'_>) {
        let last = self.streams.len() as u32;
        let id = (2 * last + 8).saturating_sub(u32::from(input.byte() & 0x1f));
        let kind = input.below(5) as u8;
        let flags = u16::from(input.byte() & 0x1f);
        let length = input.length() as u32;
        self.flush(usize::MAX);
        self.wire.bytes.extend_from_slice(&[0, kind]);
        self.wire.bytes.extend_from_slice(&flags.to_be_bytes());
        self.wire.bytes.extend_from_slice(&id.to_be_bytes());
        self.wire.bytes.extend_from_slice(&length.to_be_bytes());
        if kind == 0 {
            self.wire
                .bytes
                .extend_from_slice(pattern(0, length as usize));
        }
    }

    fn flush(&mut self, limit: usize) {
        self.session
            .take_output(limit, &mut self.wire.bytes, &mut |_: Event<'_>| {});
    }

    fn return_windows(&mut self) {
        for stream in &mut self.streams {
            let unreturned = std::mem::take(&mut stream.unreturned);
            if unreturned > 0 {
                // It fails once both sides have ended.
                let _ = self.session.consumed(stream.id, unreturned);
            }
        }
    }

    /// Follows what arrives, as the trunk does.
    fn note_arrival(&mut self, world: &mut World, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let missing = HEADER_LEN - self.header.len();
            let (more, rest) = bytes.split_at(missing.min(bytes.len()));
            self.header.extend_from_slice(more);
            if self.header.len() < HEADER_LEN {
                return;
            }
            if missing > 0 && self.header[1] == 0 {
                self.content = u32_at(&self.header, 8) as usize;
            }
            let (content, rest) = rest.split_at(self.content.min(rest.len()));
            self.content -= content.len();
            bytes = rest;
            let id = StreamId::new(u32_at(&self.header, 4));
            let is_fin = self.header[3] & Flags::FIN.bits() as u8 != 0;
            if let Some(stream) = self.by_id.get(&id) {
                let stream = &mut self.streams[*stream];
                stream.arrived += content.len();
                stream.fin_arrived |= is_fin && self.content == 0;
                if let Some(number) = stream.number {
                    let line = &mut world.owners.lines[number];
                    line.arrived = stream.arrived - stream.preface;
                    line.ended = stream.fin_arrived;
                }
            }
            if self.content == 0 {
                self.header.clear();
            }
        }
    }

    /// Carries all that there is both ways, until there is no more.
    fn exchange(&mut self, world: &mut World) {
        loop {
            self.flush(usize::MAX);
            let had_something = !self.wire.is_empty();
            self.arrive(world, usize::MAX);
            if world.is_lost() {
                return;
            }
            let took = take(self, world, 1 << 20);
            self.return_windows();
            if !took && !had_something && !self.session.has_output() {
                return;
            }
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

impl Peer for V2 {
    fn new(input: &mut Input<'_>) -> (Self, World) {
        let choice = input.byte();
        let is_known = choice & 3 != 3;
        let mut config = Config::default();
        if !is_known {
            config.max_connections = 1 + usize::from(choice >> 5);
            config.max_trunk_buffer = 1 << (8 + (choice >> 3 & 7) * 2);
            config.idle_timeout = (choice & 8 != 0).then_some(Duration::ZERO);
            if choice & 4 != 0 {
                for ceiling in Ceiling::ALL {
                    let most = u32::from(choice >> 2);
                    let allowance = config.ceilings.allowance_mut(ceiling);
                    *allowance = Allowance { most, ..*allowance };
                }
            }
        }
        if choice & 0x10 != 0 {
            config.max_trunk_output = 64 << 10;
        }
        let knowledge = if is_known {
            Knowledge::All
        } else {
            Knowledge::End
        };
        let world = World::new(config, knowledge, !is_known && choice & 0x20 != 0);
        let peer = Self {
            session: Session::client(v2::Config::default(), 0),
            streams: Vec::new(),
            by_id: HashMap::new(),
            wire: Wire::default(),
            header: Vec::new(),
            content: 0,
        };
        (peer, world)
    }

    fn act(&mut self, world: &mut World, input: &mut Input<'_>) {
        let choice = input.byte();
        let Some(last) = self.streams.len().checked_sub(1) else {
            return self.open(world, input);
        };
        let number = last - usize::from(choice & 7).min(last);
        let id = self.streams[number].id;
        match choice >> 3 {
            0..3 => self.open(world, input),
            3..22 if self.streams[number].is_http => self.request(number, input),
            3..22 => {
                let length = input.length();
                for n in 0..input.times() {
                    self.write((number + n) % self.streams.len(), length);
                }
            }
            22..25 => {
                let limit = input.length();
                if !self.wire.is_full() {
                    self.flush(limit);
                }
            }
            25 | 26 => self.return_windows(),
            27 => drop(self.session.finish(id)),
            28 if world.knowledge == Knowledge::End => drop(self.session.reset(id)),
            29..31 if world.knowledge == Knowledge::End => self.stray(input),
            31 if world.knowledge == Knowledge::End => drop(self.session.tick(60_000)),
            _ => {
                let unreturned = std::mem::take(&mut self.streams[number].unreturned);
                let _ = self.session.consumed(id, unreturned);
            }
        }
    }

    fn arrive(&mut self, world: &mut World, most: usize) {
        if self.wire.is_empty() {
            self.flush(usize::MAX);
        }
        let (wire, arrived) = self.wire.arrive(most);
        for (handle, _) in world.feed(&wire[arrived.clone()]).opened {
            let origin = world.trunk.origin(handle);
            let stream = origin.map(|origin| usize::from(origin.source.port()));
            let Some(stream) = stream.filter(|it| *it < self.streams.len()) else {
                assert_eq!(world.knowledge, Knowledge::End, "it comes from nowhere");
                world.adopt(handle, 0);
                continue;
            };
            let number = world.adopt(handle, stream * 17);
            self.streams[stream].number = Some(number);
        }
        if world.knowledge == Knowledge::All {
            self.note_arrival(world, &wire[arrived]);
            world.check();
            let prefaces = self.streams.iter().filter(|stream| stream.number.is_none());
            world.expect_buffered(prefaces.map(|stream| stream.arrived).sum());
        }
        self.wire.put_back(wire);
    }

    fn hear(&mut self, world: &mut World, batch: &[u8]) {
        let Self {
            session,
            streams,
            by_id,
            ..
        } = self;
        let knows_all = world.knowledge == Knowledge::All;
        let mut listen = |event: Event<'_>| match event {
            Event::Data { id, bytes, .. } => {
                let Some(stream) = by_id.get(&id) else { return };
                let stream = &mut streams[*stream];
                stream.unreturned += bytes.len();
                if knows_all {
                    let number = stream
                        .number
                        .expect("nobody speaks before the header is whole");
                    world.owners.lines[number].hear(number, bytes);
                }
            }
            Event::Finished { id, .. } if knows_all => {
                let number = streams[by_id[&id]].number.expect("it was opened");
                let line = &world.owners.lines[number];
                assert_eq!(line.heard, line.sent, "what was sent goes before the end");
            }
            Event::Reset { id, .. } if knows_all => {
                let number = streams[by_id[&id]].number.expect("it was opened");
                let (line, closed) = (&world.owners.lines[number], &world.owners.closed);
                // Who sends and sends to an owner that is gone.
                assert!(
                    line.released || closed.contains(&number),
                    "a stream is reset"
                );
            }
            _ => {}
        };
        let received = session.receive(batch, &mut listen);
        assert!(received.is_ok() || !knows_all, "{received:?}");
    }

    fn end(&mut self, world: &mut World) {
        self.exchange(world);
        if world.is_lost() {
            return;
        }
        world.close_all();
        for stream in &self.streams {
            let _ = self.session.finish(stream.id);
        }
        self.exchange(world);
        if world.knowledge == Knowledge::All {
            for line in &world.owners.lines {
                assert_eq!(line.heard, line.sent, "what was sent is heard");
            }
            let status = world.trunk.status();
            assert_eq!(
                (status.connections, status.unsent),
                (0, 0),
                "connections, unsent"
            );
        }
    }
}
