//! One connection: a socket's state, without the socket.
//!
//! ```text
//!            frames                                   recv, active messages
//!   trunk ------------> receive -> input (one request) --------------------> owner
//!   trunk <------------ outbox  <- output (in turn)    <-------------------- owner
//!            turns                                    send, close, death
//! ```
//!
//! Two ends leave a connection in any order, and its slot is free when both have:
//!
//! ```text
//!   link (to the peer)                     hold (of the owner)
//!   Open --our close--> Closing            Held --close, death--> Released
//!     |                    | output written
//!     +--peer's close------+--> Gone
//! ```

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::BytesMut;
use megaphone_http::packet::{self, Decoded};
use megaphone_trunk::v2::Written;

use crate::config::Config;
use crate::counters::Counters;
use crate::handle::Handle;
use crate::input::Input;
use crate::link::{Key, Link};
use crate::options::{Active, ActiveChange, Line, Mode};
use crate::origin::{self, Origin, Protocol};
use crate::outbox::{CONTENT_LEN, Framed, put_frame};
use crate::sink::{Delivery, Piece, Reason, Sink};
use crate::slab::Fate;

/// The longest recv, as in inet's driver.
const MAX_RECV: usize = 64 << 20;
/// The most that recv(S, 0) and one active message give: a request with a collected body.
const MAX_PIECE: usize = 128 << 10;
/// A send waits while this much output of its connection is unwritten (bytes) ...
const HIGH_WATERMARK: usize = 64 << 10;
/// ... and goes on below this.
const LOW_WATERMARK: usize = 32 << 10;
/// A window is returned in lumps (bytes), so that few frames say so: with the session's own lump
/// of half a window, the peer always has a quarter of it.
const WINDOW_LUMP: usize = 64 << 10;

/// Numbers for waits: unique in the VM, never [`crate::sink::WRITER`].
static NEXT_WAIT: AtomicU64 = AtomicU64::new(1);

pub(crate) struct Connection<P> {
    pub(crate) key: Key,
    pub(crate) owner: P,
    linked: Linked,
    hold: Hold,
    incoming: Incoming,
    write_shut: bool,
    mode: Mode,
    /// What mode `http` waits for.
    due: Line,
    active: Active,
    input: Input,
    reader: Option<Box<Reader<P>>>,
    output: Option<Box<Output<P>>>,
    #[allow(clippy::box_collection)] // None for almost all: 8 bytes instead of 24.
    watchers: Option<Box<Vec<(P, u64)>>>,
    send_timeout: u32,
    last_active: u32,
    /// Bytes that came and whose window was not returned.
    unreturned: usize,
    protocol: Protocol,
    origin: Option<Box<Origin>>,
    received: Traffic,
    sent: Traffic,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Linked {
    Open,
    Closing,
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hold {
    Held,
    Released,
}

/// Whether more input can come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Incoming {
    Open,
    Finished,
    Broken(Reason),
}

/// A process in recv: it is woken when `need` bytes are there, or never will be.
struct Reader<P> {
    process: P,
    number: u64,
    need: usize,
}

/// Who waits for room; in version 1 also the bytes that found none in the outbox, which version
/// 2 leaves with the session.
struct Output<P> {
    queue: BytesMut,
    writers: Vec<(P, u64)>,
}

impl<P> Default for Output<P> {
    fn default() -> Output<P> {
        Output {
            queue: BytesMut::new(),
            writers: Vec::new(),
        }
    }
}

/// Bytes and calls in one direction, as getstat answers them.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Pieces: frames received, sends made.
    pub count: u32,
    /// The largest piece, in bytes.
    pub largest: u32,
}

impl Traffic {
    fn count(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.count = self.count.saturating_add(1);
        self.largest = self.largest.max(u32::try_from(bytes).unwrap_or(u32::MAX));
    }
}

/// What getstat answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// What came from the peer.
    pub received: Traffic,
    /// What the owner sent.
    pub sent: Traffic,
    /// Bytes sent and not yet handed to the trunk's writer.
    pub pending: usize,
}

/// What came of bytes from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Bytes, for the owner or for nobody.
    Data,
    /// The end of a stream's PROXY header: now it can have an owner.
    Introduced,
}

/// recv's answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Recv<R> {
    /// What the caller made of the input.
    Taken(R),
    /// Wait for this number, then call again.
    Wait(u64),
    /// The atom to answer.
    Failed(Reason),
}

/// send's answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Send {
    /// All of it is queued.
    Done,
    /// None of it is: wait for this number, then call again.
    Wait(u64),
    /// The atom to answer.
    Failed(Reason),
}

/// What a connection's methods need of its trunk.
pub(crate) struct Surroundings<'a, S> {
    pub(crate) handle: Handle,
    pub(crate) config: &'a Config,
    pub(crate) counters: &'a Counters,
    pub(crate) link: &'a Link,
    pub(crate) sink: &'a mut S,
    /// Seconds since the trunk's start.
    pub(crate) now: u32,
    /// Whether there is output that the writer has to be told of.
    pub(crate) wrote: bool,
}

impl<S> Surroundings<'_, S> {
    fn close(&mut self, key: &Key) {
        self.link.close(key, self.counters);
        self.wrote = true;
    }
}

impl<P: Copy + Eq> Connection<P> {
    pub(crate) fn new(key: Key, owner: P, config: &Config, now: u32) -> Connection<P> {
        Connection {
            key,
            owner,
            linked: Linked::Open,
            hold: Hold::Held,
            incoming: Incoming::Open,
            write_shut: false,
            mode: Mode::Raw,
            due: Line::Start,
            active: Active::Passive,
            input: match key {
                Key::V1(_) => Input::Idle(config.content),
                Key::V2(_) => Input::Preface(Box::default()),
            },
            reader: None,
            output: None,
            watchers: None,
            send_timeout: config.send_timeout.unwrap_or(u32::MAX),
            last_active: now,
            unreturned: 0,
            protocol: config.content.protocol(),
            origin: None,
            received: Traffic::default(),
            sent: Traffic::default(),
        }
    }

    /// Bytes from the peer.
    pub(crate) fn receive<S: Sink<P>>(
        &mut self,
        around: &mut Surroundings<'_, S>,
        data: &[u8],
    ) -> Received {
        self.last_active = around.now;
        if self.linked != Linked::Open || self.incoming != Incoming::Open {
            return Received::Data;
        }
        self.received.count(data.len());
        if around.link.has_windows() {
            self.unreturned = self.unreturned.saturating_add(data.len());
        }
        if let Input::Preface(_) = self.input {
            return self.introduce(around, data);
        }
        self.change_input(around, |input, config| input.receive(&config.http, data));
        self.reply(around);
        self.pump(around);
        Received::Data
    }

    /// More of a stream's PROXY header, and what follows it.
    fn introduce<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>, data: &[u8]) -> Received {
        self.change_input(around, |input, config| input.receive(&config.http, data));
        let Input::Preface(buffer) = &mut self.input else {
            return Received::Data;
        };
        match origin::read(buffer) {
            Ok(None) => Received::Data,
            Ok(Some(preface)) => {
                let header = preface.length.min(buffer.len());
                self.protocol = preface.protocol;
                self.origin = preface.origin.map(Box::new);
                self.change_input(around, |input, config| {
                    let content = Input::Idle(preface.protocol.content());
                    if let Input::Preface(buffer) = std::mem::replace(input, content)
                        && buffer.len() > header
                    {
                        input.receive(&config.http, &buffer[header..]);
                    }
                });
                self.reply(around);
                Received::Introduced
            }
            Err(error) => {
                around.counters.count_error(error.name());
                around.link.reject(&self.key);
                around.wrote = true;
                self.linked = Linked::Gone;
                self.release(around);
                Received::Data
            }
        }
    }

    /// The peer's FIN: it sends no more, and may still read.
    pub(crate) fn peer_finished<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        self.change_input(around, |input, _| input.finish());
        self.reply(around);
        self.end_input(around, Incoming::Finished);
    }

    /// There is room for output again.
    pub(crate) fn writable<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        if let Some(mut output) = self.output.take() {
            wake_all(&mut output.writers, around);
        }
    }

    /// The peer's close frame, which is answered by ours unless it answers ours. True if the
    /// owner is busy with a request and won't notice.
    pub(crate) fn peer_closed<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) -> bool {
        let busy = self.is_busy();
        if self.linked != Linked::Gone {
            around.close(&self.key);
        }
        self.lose_link(around);
        self.end_input(around, Incoming::Finished);
        busy
    }

    /// The connection ends by no fault of its peer: the trunk is lost (`Link` goes too), or it
    /// holds too much. True if the owner is busy and won't notice.
    pub(crate) fn lose<S: Sink<P>>(
        &mut self,
        around: &mut Surroundings<'_, S>,
        reason: Reason,
    ) -> bool {
        let busy = self.is_busy();
        self.lose_link(around);
        self.clear_input(around);
        self.end_input(around, Incoming::Broken(reason));
        busy
    }

    /// Resets the connection alone: the peer is told by RST, or a close frame in version 1.
    pub(crate) fn reset<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) -> bool {
        if self.linked != Linked::Gone {
            around.link.reset(&self.key, around.counters);
            around.wrote = true;
        }
        self.lose(around, Reason::ConnectionReset)
    }

    /// gen_tcp:recv/3. `take` makes the answer from what is there; it is called at most once.
    pub(crate) fn recv<S: Sink<P>, R>(
        &mut self,
        around: &mut Surroundings<'_, S>,
        process: P,
        length: usize,
        take: impl FnOnce(Piece<'_>) -> R,
    ) -> Recv<R> {
        if self.hold == Hold::Released {
            return Recv::Failed(Reason::Closed);
        }
        if self.active != Active::Passive || (length > 0 && self.mode != Mode::Raw) {
            return Recv::Failed(Reason::Invalid);
        }
        if self.reader.is_some() {
            return Recv::Failed(Reason::Already);
        }
        if length > MAX_RECV {
            return Recv::Failed(Reason::NoMemory);
        }
        let available = self.input.peek();
        let need = match self.mode {
            Mode::Raw if !available.is_empty() && available.len() >= length => {
                let end = match length {
                    0 => self.input.piece().len().min(MAX_PIECE),
                    length => length,
                };
                let taken = take(Piece::Bytes(&available[..end]));
                self.change_input(around, |input, _| input.consume(end));
                return Recv::Taken(taken);
            }
            Mode::Raw => length.max(1),
            Mode::Http { line, text } => match packet::decode(line.kind(), available, None) {
                Decoded::Packet { packet, consumed } => {
                    self.due = line.due_after(&packet);
                    self.mode = self.mode.after(&packet);
                    let taken = take(Piece::Packet(&packet, text));
                    self.change_input(around, |input, _| input.consume(consumed));
                    return Recv::Taken(taken);
                }
                Decoded::More => available.len().saturating_add(1),
                Decoded::Invalid => return Recv::Failed(Reason::MessageSize),
            },
        };
        match self.incoming {
            Incoming::Open if self.input.at_end() => Recv::Failed(Reason::Closed),
            Incoming::Open => {
                let number = NEXT_WAIT.fetch_add(1, Relaxed);
                self.reader = Some(Box::new(Reader {
                    process,
                    number,
                    need,
                }));
                around.counters.waiters.fetch_add(1, Relaxed);
                self.return_window(around);
                Recv::Wait(number)
            }
            Incoming::Finished => Recv::Failed(Reason::Closed),
            Incoming::Broken(reason) => {
                self.incoming = Incoming::Finished;
                Recv::Failed(reason)
            }
        }
    }

    /// gen_tcp:send/2: all of `data` or nothing.
    pub(crate) fn send<S: Sink<P>>(
        &mut self,
        around: &mut Surroundings<'_, S>,
        process: P,
        data: &[u8],
    ) -> Send {
        if self.hold == Hold::Released || self.linked != Linked::Open || self.write_shut {
            return Send::Failed(match self.incoming {
                Incoming::Broken(reason) => reason,
                _ => Reason::Closed,
            });
        }
        match self.write(around, data) {
            Written::Taken => {}
            Written::Refused => {
                let number = NEXT_WAIT.fetch_add(1, Relaxed);
                let output = self.output.get_or_insert_default();
                output.writers.push((process, number));
                around.counters.waiters.fetch_add(1, Relaxed);
                return Send::Wait(number);
            }
        }
        self.last_active = around.now;
        self.sent.count(data.len());
        self.change_input(around, |input, config| input.answer(&config.http, data));
        self.reply(around);
        self.pump(around);
        Send::Done
    }

    /// Ends a wait of `process`; false if its wake is on the way.
    pub(crate) fn cancel(&mut self, counters: &Counters, number: u64) -> bool {
        let reads = self
            .reader
            .as_ref()
            .is_some_and(|reader| reader.number == number);
        if reads {
            self.reader = None;
        }
        let writes = self.output.as_mut().is_some_and(|output| {
            let before = output.writers.len();
            output.writers.retain(|(_, waits)| *waits != number);
            output.writers.len() < before
        });
        let watches = self.watchers.as_mut().is_some_and(|watchers| {
            let before = watchers.len();
            watchers.retain(|(_, waits)| *waits != number);
            watchers.len() < before
        });
        let cancelled = reads || writes || watches;
        if cancelled {
            counters.waiters.fetch_sub(1, Relaxed);
        }
        cancelled
    }

    /// Ends all waits of a process that died.
    pub(crate) fn forget_process(&mut self, counters: &Counters, process: P) {
        if self
            .reader
            .as_ref()
            .is_some_and(|reader| reader.process == process)
        {
            self.reader = None;
            counters.waiters.fetch_sub(1, Relaxed);
        }
        if let Some(output) = &mut self.output {
            let before = output.writers.len();
            output.writers.retain(|(waits, _)| *waits != process);
            counters
                .waiters
                .fetch_sub(before - output.writers.len(), Relaxed);
        }
        if let Some(watchers) = &mut self.watchers {
            let before = watchers.len();
            watchers.retain(|(waits, _)| *waits != process);
            counters.waiters.fetch_sub(before - watchers.len(), Relaxed);
        }
    }

    /// Waits for the owner's close or death; `None` if it was.
    pub(crate) fn watch(&mut self, counters: &Counters, process: P) -> Option<u64> {
        if self.hold == Hold::Released {
            return None;
        }
        let number = NEXT_WAIT.fetch_add(1, Relaxed);
        self.watchers
            .get_or_insert_default()
            .push((process, number));
        counters.waiters.fetch_add(1, Relaxed);
        Some(number)
    }

    /// gen_tcp:close/1, or the owner's death: what was sent still goes out, then a close frame.
    pub(crate) fn release<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        self.hold = Hold::Released;
        self.active = Active::Passive;
        self.clear_input(around);
        self.end_input(around, Incoming::Finished);
        self.close_link(around);
        if let Some(mut watchers) = self.watchers.take() {
            wake_all(&mut watchers, around);
        }
    }

    /// gen_tcp:shutdown/2 of the writing side: FIN, after what was sent. Version 1 has no
    /// half-close: there the peer learns of it by the close frame that follows the owner's close
    /// or death.
    pub(crate) fn shutdown_write<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        if self.linked == Linked::Open && !self.write_shut {
            around.link.finish(&self.key);
            around.wrote = true;
        }
        self.write_shut = true;
    }

    /// gen_tcp:shutdown/2 of the reading side.
    pub(crate) fn shutdown_read<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        self.clear_input(around);
        self.end_input(around, Incoming::Finished);
    }

    /// Closes towards the peer once the output is written; the owner reads `{error, closed}`.
    pub(crate) fn close_link<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        if self.linked != Linked::Open {
            return;
        }
        if let Some(output) = &mut self.output {
            // Nobody can send any more, whenever there is room.
            wake_all(&mut output.writers, around);
        }
        // Version 2 has the output already, and closes behind it.
        let has_output = self
            .output
            .as_ref()
            .is_some_and(|output| !output.queue.is_empty());
        if has_output {
            self.linked = Linked::Closing;
        } else {
            self.linked = Linked::Gone;
            self.output = None;
            around.close(&self.key);
        }
    }

    /// Ends an idle or drained connection: as [`Connection::close_link`], and no more input.
    pub(crate) fn retire<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        self.close_link(around);
        self.end_input(around, Incoming::Finished);
    }

    pub(crate) fn set_active<S: Sink<P>>(
        &mut self,
        around: &mut Surroundings<'_, S>,
        change: ActiveChange,
    ) -> Result<(), Reason> {
        let (active, passive_now) = self.active.change(change)?;
        self.active = active;
        if passive_now {
            around
                .sink
                .deliver(self.owner, around.handle, Delivery::Passive);
        }
        // Input goes to the owner now: a process that waits in recv would wait for nothing.
        if active != Active::Passive
            && let Some(reader) = self.reader.take()
        {
            around.sink.wake(reader.process, reader.number);
            around.counters.waiters.fetch_sub(1, Relaxed);
        }
        self.pump(around);
        Ok(())
    }

    pub(crate) fn set_mode<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>, mode: Mode) {
        self.mode = mode.set_at(self.due);
        self.pump(around);
    }

    pub(crate) fn set_send_timeout(&mut self, milliseconds: Option<u32>) {
        self.send_timeout = milliseconds.unwrap_or(u32::MAX);
    }

    pub(crate) fn send_timeout(&self) -> Option<u32> {
        (self.send_timeout != u32::MAX).then_some(self.send_timeout)
    }

    pub(crate) fn active(&self) -> Active {
        self.active
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn is_open(&self) -> bool {
        self.hold == Hold::Held && self.incoming == Incoming::Open && self.linked == Linked::Open
    }

    pub(crate) fn is_released(&self) -> bool {
        self.hold == Hold::Released
    }

    pub(crate) fn between_requests(&self) -> bool {
        self.input.between_requests() && self.output.is_none()
    }

    pub(crate) fn in_flight(&self) -> bool {
        self.linked != Linked::Gone && (self.input.in_flight() || self.output.is_some())
    }

    pub(crate) fn buffered(&self) -> usize {
        self.input.buffered()
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.origin.as_deref()
    }

    pub(crate) fn last_active(&self) -> u32 {
        self.last_active
    }

    pub(crate) fn fate(&self) -> Fate {
        if self.hold == Hold::Released && self.linked == Linked::Gone {
            Fate::Remove
        } else {
            Fate::Keep
        }
    }

    /// Whether the owner is at work: neither in recv nor active, it won't see a close.
    pub(crate) fn is_busy(&self) -> bool {
        self.hold == Hold::Held && self.active == Active::Passive && self.reader.is_none()
    }

    pub(crate) fn statistics(&self, link: &Link) -> Statistics {
        let queued = self.output.as_ref().map_or(0, |output| output.queue.len());
        Statistics {
            received: self.received,
            sent: self.sent,
            pending: queued + link.queued(&self.key),
        }
    }

    /// Bytes that wait for this connection's turn, in version 1.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        self.output.as_ref().map_or(0, |output| output.queue.len())
    }

    /// How many processes wait, counted anew.
    #[cfg(test)]
    pub(crate) fn waits(&self) -> usize {
        usize::from(self.reader.is_some())
            + self
                .output
                .as_ref()
                .map_or(0, |output| output.writers.len())
            + self.watchers.as_ref().map_or(0, |watchers| watchers.len())
    }

    /// One frame of what waits, into the writer's batch; says whether the connection has more
    /// and stands in the queue again.
    pub(crate) fn take_turn<S: Sink<P>>(
        &mut self,
        around: &mut Surroundings<'_, S>,
        batch: &mut Vec<u8>,
    ) {
        let (Some(output), Link::V1(v1), Key::V1(id)) = (&mut self.output, around.link, self.key)
        else {
            return;
        };
        let end = output.queue.len().min(CONTENT_LEN);
        if end > 0 {
            put_frame(batch, &id, &output.queue.split_to(end));
            around.counters.frames_out.fetch_add(1, Relaxed);
        }
        if output.queue.len() < LOW_WATERMARK {
            wake_all(&mut output.writers, around);
        }
        if !output.queue.is_empty() {
            v1.outbox.enqueue(around.handle);
            return;
        }
        self.output = None;
        if self.linked == Linked::Closing {
            self.linked = Linked::Gone;
            put_frame(batch, &id, &[]);
            around.counters.frames_out.fetch_add(1, Relaxed);
        }
    }

    /// Gives bytes to the trunk, or keeps them for this connection's turn: all of them, or none if
    /// too much is there already.
    fn write<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>, data: &[u8]) -> Written {
        around.wrote = true;
        match (around.link, &self.key) {
            (Link::V1(v1), Key::V1(id)) => {
                let queued = self.output.as_ref().map_or(0, |output| output.queue.len());
                if queued >= HIGH_WATERMARK {
                    return Written::Refused;
                }
                let framed = match queued {
                    0 => v1.outbox.frame(id, data),
                    _ => Framed::default(),
                };
                around.counters.frames_out.fetch_add(framed.frames, Relaxed);
                let rest = &data[framed.bytes..];
                if !rest.is_empty() {
                    let output = self.output.get_or_insert_default();
                    output.queue.extend_from_slice(rest);
                    if queued == 0 {
                        v1.outbox.enqueue(around.handle);
                    }
                }
                Written::Taken
            }
            // A stream that the peer has reset takes all: its event is on the way.
            (Link::V2(v2), Key::V2(id)) => {
                let written = v2.session.lock().write(*id, data);
                written.unwrap_or(Written::Taken)
            }
            _ => Written::Taken,
        }
    }

    /// Sends what the HTTP exchange itself has to say, and closes after its end.
    fn reply<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        while let Some(reply) = self.input.take_reply() {
            // Refused only where a client reads nothing of a large answer: the close says enough.
            let _ = self.write(around, &reply);
        }
        if self.input.must_close() {
            if let Some(kind) = self.input.refusal() {
                around.counters.count_error(kind);
            }
            self.clear_input(around);
            self.incoming = Incoming::Finished;
            self.close_link(around);
        }
    }

    /// Gives what there is to whoever waits for it.
    fn pump<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        if let Some(reader) = &self.reader {
            let ended = self.incoming != Incoming::Open || self.input.at_end();
            if ended || self.input.peek().len() >= reader.need {
                around.sink.wake(reader.process, reader.number);
                around.counters.waiters.fetch_sub(1, Relaxed);
                self.reader = None;
            }
            return;
        }
        while self.active != Active::Passive && self.deliver_piece(around) {
            let (active, passive_now) = self.active.after_message();
            self.active = active;
            if passive_now {
                around
                    .sink
                    .deliver(self.owner, around.handle, Delivery::Passive);
            }
        }
        if self.active != Active::Passive && self.incoming != Incoming::Open {
            if let Incoming::Broken(reason) = self.incoming {
                around
                    .sink
                    .deliver(self.owner, around.handle, Delivery::Error(reason));
            }
            around
                .sink
                .deliver(self.owner, around.handle, Delivery::Closed);
            // As gen_tcp's exit_on_close: who was told that it is closed need not close it.
            self.release(around);
        }
    }

    /// Sends one active message; false if there is nothing to send.
    fn deliver_piece<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) -> bool {
        let available = self.input.peek();
        if available.is_empty() {
            return false;
        }
        let consumed = match self.mode {
            Mode::Raw => {
                let piece = self.input.piece();
                let end = piece.len().min(MAX_PIECE);
                let piece = Piece::Bytes(&piece[..end]);
                around
                    .sink
                    .deliver(self.owner, around.handle, Delivery::Data(piece));
                end
            }
            Mode::Http { line, text } => match packet::decode(line.kind(), available, None) {
                Decoded::Packet { packet, consumed } => {
                    self.due = line.due_after(&packet);
                    self.mode = self.mode.after(&packet);
                    let piece = Piece::Packet(&packet, text);
                    around
                        .sink
                        .deliver(self.owner, around.handle, Delivery::Data(piece));
                    consumed
                }
                Decoded::More => return false,
                Decoded::Invalid => {
                    self.incoming = Incoming::Broken(Reason::MessageSize);
                    return false;
                }
            },
        };
        self.change_input(around, |input, _| input.consume(consumed));
        true
    }

    /// Lets the peer send as much as was taken: what the owner consumed or nobody will. A reader
    /// that waits for more than is there, and a body that is collected, take it as it comes.
    fn return_window<S>(&mut self, around: &mut Surroundings<'_, S>) {
        if self.unreturned < WINDOW_LUMP {
            return;
        }
        let available = self.input.peek().len();
        let reader = self
            .reader
            .as_ref()
            .is_some_and(|reader| reader.need > available);
        let held = match reader || self.input.wants_input() {
            true => 0,
            false => self.input.buffered(),
        };
        let taken = self.unreturned.saturating_sub(held);
        if taken >= WINDOW_LUMP {
            self.unreturned -= taken;
            around.link.consumed(&self.key, taken);
            around.wrote = true;
        }
    }

    /// Changes the input and keeps the trunk's count of buffered bytes true.
    fn change_input<S>(
        &mut self,
        around: &mut Surroundings<'_, S>,
        change: impl FnOnce(&mut Input, &Config),
    ) {
        let before = self.input.buffered();
        change(&mut self.input, around.config);
        let after = self.input.buffered();
        if after >= before {
            around.counters.buffered.fetch_add(after - before, Relaxed);
        } else {
            around.counters.buffered.fetch_sub(before - after, Relaxed);
        }
        self.return_window(around);
    }

    fn clear_input<S>(&mut self, around: &mut Surroundings<'_, S>) {
        self.change_input(around, |input, _| input.clear());
    }

    fn end_input<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>, end: Incoming) {
        if self.incoming == Incoming::Open {
            self.incoming = end;
        }
        self.pump(around);
    }

    /// The peer is gone: output has nowhere to go.
    fn lose_link<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        self.linked = Linked::Gone;
        if let Some(mut output) = self.output.take() {
            wake_all(&mut output.writers, around);
        }
    }
}

fn wake_all<P: Copy, S: Sink<P>>(waits: &mut Vec<(P, u64)>, around: &mut Surroundings<'_, S>) {
    for (process, number) in waits.drain(..) {
        around.sink.wake(process, number);
        around.counters.waiters.fetch_sub(1, Relaxed);
    }
}
