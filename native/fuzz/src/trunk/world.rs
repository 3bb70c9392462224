//! The trunk, and what its owners do.

use megaphone_socket::config::Config;
use megaphone_socket::options::{Active, ActiveChange, Line as Due, Mode};
use megaphone_socket::sink::{Piece, Reason, Text};
use megaphone_socket::{Change, Direction, Fed, Handle, Recv, Send, Trunk};

use super::owners::{GUEST, Owners, READER, WRITER_PROCESS, is_refused};
use crate::{Input, http, pattern};

/// How exactly it is known what must come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// Every byte: nobody breaks a rule, and nothing passes a limit.
    All,
    /// That nothing is left at the end, and no more.
    End,
}

/// A trunk and its owners.
pub struct World {
    pub trunk: Trunk<u32>,
    pub owners: Owners,
    pub knowledge: Knowledge,
    /// Whether owners answer in HTTP.
    answers_http: bool,
    fed: u64,
    taken: u64,
    lost: bool,
    /// The buffer of the last batch.
    pub spare: Vec<u8>,
}

impl World {
    pub fn new(config: Config, knowledge: Knowledge, answers_http: bool) -> Self {
        let trunk = Trunk::new(config, READER);
        let mut owners = Owners::default();
        owners.is_pattern = knowledge == Knowledge::All;
        trunk.set_writer(WRITER_PROCESS, &mut owners);
        Self {
            trunk,
            owners,
            knowledge,
            answers_http,
            fed: 0,
            taken: 0,
            lost: false,
            spare: Vec::new(),
        }
    }

    /// Whether the trunk has ended.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Bytes arrive; each connection that opened has to be [`World::adopt`]ed.
    pub fn feed(&mut self, bytes: &[u8]) -> Fed<u32> {
        let fed = self.trunk.feed(bytes, &mut self.owners);
        self.fed += bytes.len() as u64;
        if let Some(error) = &fed.error {
            assert_eq!(self.knowledge, Knowledge::End, "{error}");
            // As the trunk's process does: the last output goes out, and all is lost.
            self.take(usize::MAX);
            self.lose();
        }
        fed
    }

    /// A connection that opened gets its process; its number.
    pub fn adopt(&mut self, handle: Handle, start: usize) -> usize {
        let number = self.owners.add(handle, start);
        let owner = self.owners.lines[number].owner;
        let owned = self.trunk.own(handle, owner, &mut self.owners);
        assert!(
            owned || self.knowledge == Knowledge::End,
            "it is closed as it opens"
        );
        number
    }

    /// The writer's batch.
    pub fn take(&mut self, limit: usize) -> Option<Vec<u8>> {
        let mut batch = std::mem::take(&mut self.spare);
        batch.clear();
        let copy = |bytes: &[u8]| batch.extend_from_slice(bytes);
        self.trunk.take_output(limit, &mut self.owners, copy)?;
        self.taken += batch.len() as u64;
        Some(batch)
    }

    fn lose(&mut self) {
        self.trunk.lose(&mut self.owners);
        self.lost = true;
    }

    /// An owner does something, or time does.
    pub fn act(&mut self, input: &mut Input<'_>, choice: u8) {
        let rare = input.byte();
        if choice == 0xff && self.knowledge == Knowledge::End {
            return self.end_something(rare);
        }
        let Some(last) = self.owners.lines.len().checked_sub(1) else {
            return;
        };
        // Mostly one of the last few: the others are likely closed.
        let number = last - usize::from(rare & 0x0f).min(last);
        match choice {
            0xc0..0xd0 => self.recv(number, input.length()),
            0xd0..0xe4 => self.send(number, input),
            0xe4..0xe6 => self.reserve(number, input.length()),
            0xe6..0xe8 => self.give_up(number),
            0xe8..0xec => self.set_options(number, input),
            0xec..0xee => self.hand_on(number),
            0xee..0xf2 => self.close(number),
            0xf2..0xf4 => self.die(number),
            0xf4..0xf6 => self.shutdown(number, input.pick(&[Direction::Read, Direction::Write])),
            0xf6..0xf8 => self.watch(number),
            0xf8..0xfa => self.pass_by(number, input.length()),
            0xfa..0xfc => self.ask(number),
            _ => {
                self.trunk.sweep(&mut self.owners);
                if self.trunk.tick(&mut self.owners).is_err() {
                    assert_eq!(self.knowledge, Knowledge::End, "it fails by itself");
                    self.lose();
                }
            }
        }
    }

    /// What ends more than one connection.
    fn end_something(&mut self, choice: u8) {
        match choice {
            ..0x80 => self.trunk.drain(&mut self.owners),
            ..0xe0 => {
                if let Some(line) = self.owners.lines.last() {
                    self.trunk.reset(line.handle, &mut self.owners);
                    let last = self.owners.lines.len() - 1;
                    self.owners.lines[last].released = true;
                }
            }
            _ => self.lose(),
        }
    }

    fn recv(&mut self, number: usize, length: usize) {
        let (handle, owner) = self.of(number);
        let options = self.trunk.options(handle);
        let line = &self.owners.lines[number];
        let (next, is_pattern) = (line.start + line.taken, self.owners.is_pattern);
        let owners = &mut self.owners;
        let answer = self
            .trunk
            .recv(handle, owner, length, owners, |piece| match piece {
                Piece::Bytes(bytes) => {
                    assert!(
                        !is_pattern || bytes == pattern(next, bytes.len()),
                        "other bytes"
                    );
                    bytes.len()
                }
                Piece::Packet(..) => 0,
            });
        match answer {
            Recv::Taken(taken) => {
                assert!(
                    length == 0 || taken == length,
                    "{taken} bytes, not {length}"
                );
                self.owners.lines[number].taken += taken;
            }
            Recv::Wait(wait) => {
                self.owners.waits.insert(wait, (owner, number));
                let line = &self.owners.lines[number];
                assert!(
                    self.knowledge == Knowledge::End
                        || (line.ready() < length.max(1) && !line.ended),
                    "a reader waits for what is there"
                );
            }
            Recv::Failed(Reason::Invalid) => {
                assert!(options.is_some_and(|it| is_refused(it.active, it.mode, length)));
            }
            Recv::Failed(Reason::Already) => {
                assert!(self.owners.waits.values().any(|(_, line)| *line == number));
            }
            Recv::Failed(reason) => {
                let line = &self.owners.lines[number];
                let had_all = line.ready() < length.max(1);
                let is_over = line.released || line.deaf || (line.ended && had_all);
                assert!(
                    self.knowledge == Knowledge::End || (reason == Reason::Closed && is_over),
                    "{reason:?} on a connection that is open"
                );
            }
        }
    }

    fn send(&mut self, number: usize, input: &mut Input<'_>) {
        let (handle, owner) = self.of(number);
        let answer = if self.answers_http {
            let text = http::answer(input);
            self.trunk.send(handle, owner, &text, &mut self.owners)
        } else {
            let bytes = self.owners.lines[number].next_sent(number, input.length());
            let answer = self.trunk.send(handle, owner, bytes, &mut self.owners);
            if answer == Send::Done {
                self.owners.lines[number].sent += bytes.len();
            }
            answer
        };
        self.waits_to_send(number, owner, answer);
    }

    fn reserve(&mut self, number: usize, length: usize) {
        let (handle, owner) = self.of(number);
        if length.is_multiple_of(2) {
            let answer = self.trunk.reserve(handle, owner, length, &mut self.owners);
            self.waits_to_send(number, owner, answer);
        } else {
            self.trunk.unreserve(handle, &mut self.owners);
        }
    }

    fn waits_to_send(&mut self, number: usize, owner: u32, answer: Send) {
        let line = &self.owners.lines[number];
        match answer {
            Send::Done => assert!(!line.released && !line.shut, "a send after the close"),
            Send::Wait(wait) => {
                self.owners.waits.insert(wait, (owner, number));
            }
            Send::Failed(reason) => {
                let is_over = line.released || line.shut || line.ended;
                assert!(
                    self.knowledge == Knowledge::End || (reason == Reason::Closed && is_over),
                    "{reason:?} on a connection that is open"
                );
            }
        }
    }

    /// All waits on a connection time out.
    fn give_up(&mut self, number: usize) {
        self.owners.settle();
        let handle = self.owners.lines[number].handle;
        let all = self.owners.waits.iter();
        let waits: Vec<_> = all
            .filter(|(_, (_, line))| *line == number)
            .map(|(wait, (process, _))| (*wait, *process))
            .collect();
        for (wait, process) in waits {
            assert!(self.trunk.cancel(handle, process, wait), "no wake was sent");
            self.owners.waits.remove(&wait);
        }
    }

    fn set_options(&mut self, number: usize, input: &mut Input<'_>) {
        let handle = self.owners.lines[number].handle;
        let http = |line| Mode::Http {
            line,
            text: Text::Binary,
        };
        let change = match input.below(8) {
            0 | 1 => Change::Active(ActiveChange::To(Active::Passive)),
            2 => Change::Active(ActiveChange::To(Active::Once)),
            3 => Change::Active(ActiveChange::To(Active::Always)),
            4 => Change::Active(ActiveChange::Add(input.below(16) as i32 - 4)),
            5 if !self.owners.is_pattern => Change::Mode(http(Due::Start)),
            6 if !self.owners.is_pattern => Change::Mode(http(Due::HeadersOnly)),
            7 => Change::SendTimeout(Some(u32::from(input.byte()))),
            _ => Change::Mode(Mode::Raw),
        };
        let result = self.trunk.set_options(handle, &[change], &mut self.owners);
        let line = &self.owners.lines[number];
        assert!(result.is_ok() || line.released || self.knowledge == Knowledge::End);
    }

    /// The connection gets another owner.
    fn hand_on(&mut self, number: usize) {
        self.give_up(number);
        let handle = self.owners.lines[number].handle;
        let owner = self.owners.fresh();
        if self.trunk.own(handle, owner, &mut self.owners) {
            self.owners.lines[number].owner = owner;
        }
    }

    fn close(&mut self, number: usize) {
        let handle = self.owners.lines[number].handle;
        self.trunk.close(handle, &mut self.owners);
        self.owners.closed.push(number);
    }

    fn die(&mut self, number: usize) {
        let owner = self.owners.lines[number].owner;
        if self.owners.die(owner) {
            self.trunk.down(owner, &mut self.owners);
        }
        self.owners.settle();
        self.owners.forget(owner);
        self.owners.closed.push(number);
    }

    fn shutdown(&mut self, number: usize, how: Direction) {
        let line = &mut self.owners.lines[number];
        if self.trunk.version() == 1 && how == Direction::Write && self.knowledge == Knowledge::All
        {
            // Version 1 has no half-close: what an owner says after it is lost.
            return;
        }
        line.shut |= how != Direction::Read;
        line.deaf |= how != Direction::Write;
        let handle = line.handle;
        self.trunk.shutdown(handle, how, &mut self.owners);
    }

    fn watch(&mut self, number: usize) {
        let handle = self.owners.lines[number].handle;
        if let Some(wait) = self.trunk.watch(handle, GUEST, &mut self.owners) {
            self.owners.waits.insert(wait, (GUEST, number));
        }
    }

    /// Another process than the owner waits to send.
    fn pass_by(&mut self, number: usize, length: usize) {
        let handle = self.owners.lines[number].handle;
        let answer = self.trunk.reserve(handle, GUEST, length, &mut self.owners);
        if let Send::Wait(wait) = answer {
            self.owners.waits.insert(wait, (GUEST, number));
        }
    }

    /// What changes nothing.
    fn ask(&mut self, number: usize) {
        let handle = self.owners.lines[number].handle;
        let line = &self.owners.lines[number];
        if let Some(statistics) = self.trunk.statistics(handle) {
            assert!(!line.released, "a closed connection has statistics");
            if self.knowledge == Knowledge::All {
                assert_eq!(statistics.sent.bytes, line.sent as u64);
            }
        }
        assert_eq!(
            self.trunk.owner(handle).is_some(),
            self.trunk.options(handle).is_some()
        );
        let _ = (self.trunk.origin(handle), self.trunk.take_fields(handle));
        let _ = (
            self.trunk.take_bindings(handle),
            self.trunk.take_certificate(handle),
        );
        let _ = (
            self.trunk.in_flight(),
            self.trunk.held_up(),
            self.trunk.is_serving(),
        );
    }

    fn of(&self, number: usize) -> (Handle, u32) {
        let line = &self.owners.lines[number];
        (line.handle, line.owner)
    }

    /// Who was woken knows, and all counters are right.
    pub fn check(&mut self) {
        self.owners.settle();
        for number in std::mem::take(&mut self.owners.closed) {
            self.owners.lines[number].released = true;
        }
        let status = self.trunk.status();
        assert_eq!(status.waiters, self.owners.waits.len(), "waiters");
        assert_eq!(status.bytes_in, self.fed, "bytes_in");
        assert_eq!(status.bytes_out, self.taken, "bytes_out");
    }

    /// What came and nobody has had is what is buffered, with these bytes of connections that are not open yet.
    pub fn expect_buffered(&self, others: usize) {
        let waiting = |line: &super::owners::Line| match line.released || line.deaf {
            true => 0,
            false => {
                assert!(line.taken <= line.arrived, "more than came");
                line.ready()
            }
        };
        let expected: usize = self.owners.lines.iter().map(waiting).sum();
        assert_eq!(self.trunk.status().buffered, expected + others, "buffered");
    }

    /// All owners close what they have.
    pub fn close_all(&mut self) {
        for number in 0..self.owners.lines.len() {
            match number % 3 {
                0 => self.die(number),
                _ => self.close(number),
            }
        }
        self.check();
    }

    /// The trunk ends, and nothing is left; how many frames went through it.
    pub fn end(mut self) -> u64 {
        if !self.lost {
            self.lose();
        }
        self.close_all();
        if self.owners.die(GUEST) {
            self.trunk.down(GUEST, &mut self.owners);
        }
        self.owners.settle();
        self.owners.forget(GUEST);
        self.trunk.down(READER, &mut self.owners);
        let status = self.trunk.status();
        let left = (status.buffered, status.unsent, status.waiters);
        assert_eq!(left, (0, 0, 0), "bytes buffered, unsent, and waiters");
        assert_eq!(status.sessions, megaphone_socket::Sessions::default());
        status.frames_in + status.frames_out
    }
}
