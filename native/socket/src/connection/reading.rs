//! What the owner takes: recv, active messages, and the window that it returns by that.

use std::sync::atomic::Ordering::Relaxed;

use megaphone_http::packet::{self, Decoded};

use super::{Connection, Hold, Incoming, Reader, Surroundings, waiting};
use crate::config::Config;
use crate::input::Input;
use crate::options::{Active, ActiveChange, Mode};
use crate::sink::{Delivery, Piece, Reason, Sink};

/// The longest recv, as in inet's driver.
const MAX_RECV: usize = 64 << 20;
/// The most that recv(S, 0) and one active message give: a request with a collected body.
const MAX_PIECE: usize = 128 << 10;
/// A window is returned in lumps (bytes), so that few frames say so: with the session's own lump
/// of half a window, the peer always has a quarter of it.
const WINDOW_LUMP: usize = 64 << 10;

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

impl<P: Copy + Eq> Connection<P> {
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
                let number = waiting::begin(around.counters);
                self.reader = Some(Box::new(Reader {
                    process,
                    number,
                    need,
                }));
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

    /// gen_tcp:shutdown/2 of the reading side.
    pub(crate) fn shutdown_read<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        self.clear_input(around);
        self.end_input(around, Incoming::Finished);
    }

    /// Gives what there is to the process that waits for it.
    pub(super) fn pump<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
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
    pub(super) fn deliver_piece<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) -> bool {
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

    /// Changes the input and keeps the trunk's count of buffered bytes true.
    pub(super) fn change_input<S>(
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

    pub(super) fn clear_input<S>(&mut self, around: &mut Surroundings<'_, S>) {
        self.change_input(around, |input, _| input.clear());
    }

    pub(super) fn end_input<S: Sink<P>>(
        &mut self,
        around: &mut Surroundings<'_, S>,
        end: Incoming,
    ) {
        if self.incoming == Incoming::Open {
            self.incoming = end;
        }
        self.pump(around);
    }

    /// Lets the peer send as much as was taken: what the owner consumed or nobody will. A reader
    /// that waits for more than is there, and a body that is collected, take it as it comes.
    pub(super) fn return_window<S>(&mut self, around: &mut Surroundings<'_, S>) {
        if self.unreturned < WINDOW_LUMP {
            return;
        }
        let available = self.input.peek().len();
        let reader = self
            .reader
            .as_ref()
            .is_some_and(|reader| reader.need > available);
        let held = if reader || self.input.wants_input() {
            0
        } else {
            self.input.buffered()
        };
        let taken = self.unreturned.saturating_sub(held);
        if taken >= WINDOW_LUMP {
            self.unreturned -= taken;
            around.link.consumed(&self.key, taken);
            around.wrote = true;
        }
    }
}
