//! The peer of version 1.

use std::collections::VecDeque;
use std::time::Duration;

use megaphone_http::Limits;
use megaphone_socket::config::Config;
use megaphone_socket::origin::Content;
use megaphone_trunk::v1::{
    ConnectionId, Decoder, Event, HEADER_LEN, MaxFrameSize, put_close, put_frame,
};

use super::wire::Wire;
use super::world::{Knowledge, World};
use super::{Peer, take};
use crate::{Input, http, pattern};

/// The ids that the peer speaks on.
const IDS: usize = 16;

/// The peer of version 1, and what it should hear.
pub struct V1 {
    is_http: bool,
    wire: Wire,
    /// The frames on the wire whose end has not arrived.
    frames: VecDeque<Frame>,
    ids: [Id; IDS],
    decoder: Decoder,
}

/// A frame on the wire.
#[derive(Clone, Copy, Debug)]
struct Frame {
    id: usize,
    /// Where its content stands in the id's pattern.
    start: usize,
    header: usize,
    content: usize,
}

/// What an id means.
#[derive(Clone, Debug, Default)]
struct Id {
    said: usize,
    /// The connection that the peer may still speak on.
    live: Option<usize>,
    /// The connection that was closed here and not yet there.
    ended: Option<usize>,
    /// The connections of this id whose close the peer has not heard, oldest first.
    speaking: VecDeque<usize>,
}

fn id(n: usize) -> ConnectionId {
    ConnectionId::from_number(n as u128)
}

impl V1 {
    fn request(&mut self, n: usize, input: &mut Input<'_>) {
        let text = http::request(input);
        if !text.is_empty() {
            let _ = put_frame(&mut self.wire.bytes, &id(n), &text);
        }
    }

    fn say(&mut self, world: &World, n: usize, length: usize) {
        let start = self.ids[n].said;
        if length == 0 {
            put_close(&mut self.wire.bytes, &id(n));
        } else {
            let _ = put_frame(
                &mut self.wire.bytes,
                &id(n),
                pattern(n * 17 + start, length),
            );
            self.ids[n].said += length;
        }
        if world.knowledge == Knowledge::All {
            self.frames.push_back(Frame {
                id: n,
                start: n * 17 + start,
                header: HEADER_LEN,
                content: length,
            });
        }
    }

    /// The owner closed a connection, or died.
    fn note_releases(&mut self, world: &World) {
        for it in &mut self.ids {
            if let Some(number) = it.live
                && world.owners.lines[number].released
            {
                it.ended = it.live.take();
            }
        }
    }
}

impl Peer for V1 {
    fn new(input: &mut Input<'_>) -> (Self, World) {
        let choice = input.byte();
        let (is_known, is_http) = (choice & 3 != 3, choice & 4 != 0 && choice & 3 == 3);
        let mut config = Config {
            content: if is_http { Content::Http } else { Content::Raw },
            ..Config::default()
        };
        if !is_known {
            config.max_connections = 1 + usize::from(choice >> 5);
            config.max_trunk_buffer = 1 << (6 + (choice >> 3 & 7) * 2);
            config.idle_timeout = (choice & 8 != 0).then_some(Duration::ZERO);
            config.http = std::sync::Arc::new(Limits {
                max_head: 600,
                max_headers: 12,
                max_collected_body: 64,
                max_chunked_body: 300,
            });
        }
        if choice & 0x10 != 0 {
            config.max_trunk_output = 64 << 10;
        }
        let knowledge = if is_known {
            Knowledge::All
        } else {
            Knowledge::End
        };
        let world = World::new(config, knowledge, is_http);
        let peer = Self {
            is_http,
            wire: Wire::default(),
            frames: VecDeque::new(),
            ids: std::array::from_fn(|_| Id::default()),
            decoder: Decoder::new(MaxFrameSize::DEFAULT),
        };
        (peer, world)
    }

    fn act(&mut self, world: &mut World, input: &mut Input<'_>) {
        let choice = input.byte();
        if self.wire.is_full() {
            return;
        }
        if choice >= 0xf0 && world.knowledge == Knowledge::End {
            // What is no frame, or only perhaps.
            let text = match choice & 3 {
                0 => input.bytes(usize::from(choice & 0xf)).to_vec(),
                1 => {
                    format!("{:010}|", u64::from(input.byte()) << (input.byte() % 40)).into_bytes()
                }
                2 => id(input.below(IDS)).as_bytes().to_vec(),
                _ => b"|".to_vec(),
            };
            self.wire.bytes.extend_from_slice(&text);
            return;
        }
        let first = usize::from(choice);
        if self.is_http {
            return self.request(first % IDS, input);
        }
        let length = input.length().min(60_000);
        for n in 0..input.times() {
            self.say(world, (first + n) % IDS, length);
        }
    }

    fn arrive(&mut self, world: &mut World, most: usize) {
        let (wire, arrived) = self.wire.arrive(most);
        let mut left = arrived.len();
        let mut opened = world.feed(&wire[arrived]).opened.into_iter();
        self.wire.put_back(wire);
        if world.knowledge == Knowledge::End {
            for (handle, _) in opened {
                world.adopt(handle, 0);
            }
            return;
        }
        self.note_releases(world);
        while left > 0
            && let Some(frame) = self.frames.front_mut()
        {
            let header = frame.header.min(left);
            frame.header -= header;
            left -= header;
            let content = frame.content.min(left);
            let (n, start) = (frame.id, frame.start);
            let is_close = frame.header == 0 && frame.content == 0;
            frame.start += content;
            frame.content -= content;
            left -= content;
            let is_whole = frame.header == 0 && frame.content == 0;
            if is_whole {
                self.frames.pop_front();
            }
            let id = &mut self.ids[n];
            if is_close {
                if let Some(number) = id.live.take().or(id.ended.take()) {
                    world.owners.lines[number].ended = true;
                }
            } else if content > 0 && id.ended.is_none() {
                let number = *id.live.get_or_insert_with(|| {
                    let (handle, _) = opened.next().expect("a new id opens a connection");
                    let number = world.adopt(handle, start);
                    id.speaking.push_back(number);
                    number
                });
                world.owners.lines[number].arrived += content;
            }
        }
        assert_eq!(opened.next(), None, "only a new id opens a connection");
        world.check();
        self.note_releases(world);
        world.expect_buffered(0);
    }

    fn hear(&mut self, world: &mut World, batch: &[u8]) {
        for event in self.decoder.decode(batch) {
            let event = event.expect("what the trunk says is frames");
            if world.knowledge == Knowledge::End {
                continue;
            }
            match event {
                Event::Content { id, bytes, .. } => {
                    let n = self::number(&id);
                    let number = *self.ids[n].speaking.front().expect("it is open");
                    world.owners.lines[number].hear(number, bytes);
                }
                Event::Close { id } => {
                    let speaking = self.ids[self::number(&id)].speaking.pop_front();
                    let number = speaking.expect("a connection closes once");
                    let line = &world.owners.lines[number];
                    assert!(line.ended || line.released || world.owners.closed.contains(&number));
                    assert!(
                        line.ended || line.heard == line.sent,
                        "what was sent goes before"
                    );
                }
            }
        }
    }

    fn end(&mut self, world: &mut World) {
        self.arrive(world, usize::MAX);
        if world.is_lost() {
            return;
        }
        world.close_all();
        while take(self, world, 1 << 20) {
            world.check();
        }
        if world.knowledge == Knowledge::All {
            self.note_releases(world);
            for id in &self.ids {
                assert!(id.speaking.is_empty(), "no close for {:?}", id.speaking);
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

fn number(id: &ConnectionId) -> usize {
    (0..IDS)
        .find(|n| self::id(*n) == *id)
        .expect("an id of the peer's")
}
