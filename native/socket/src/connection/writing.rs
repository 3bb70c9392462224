//! What the owner sends, up to the trunk's writer.

use std::sync::atomic::Ordering::Relaxed;

use megaphone_trunk::copy::append;
use megaphone_trunk::room::{Line, Wish};
use megaphone_trunk::v2::Written;

use super::waiting::{self, wake_all};
use super::{Connection, Hold, Incoming, Linked, Surroundings};
use crate::link::{Key, Link};
use crate::sink::{Reason, Sink};

/// A send waits while this much output of its connection is unwritten (bytes) ...
const HIGH_WATERMARK: usize = 64 << 10;
/// ... and goes on below this.
pub(super) const LOW_WATERMARK: usize = 32 << 10;

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

impl<P: Copy + Eq> Connection<P> {
    /// gen_tcp:send/2: all of `data` or nothing.
    pub(crate) fn send<S: Sink<P>>(
        &mut self,
        around: &mut Surroundings<'_, S>,
        process: P,
        data: &[u8],
    ) -> Send {
        if let Some(reason) = self.cannot_send() {
            return Send::Failed(reason);
        }
        if self.write(around, data) == Written::Refused {
            return self.wait_to_send(around, process);
        }
        self.last_active = around.now;
        self.sent.count(data.len());
        self.change_input(around, |input, config| input.answer(&config.http, data));
        self.reply(around);
        self.pump(around);
        Send::Done
    }

    /// As a send of this many bytes, without them.
    pub(crate) fn reserve<S: Sink<P>>(
        &mut self,
        around: &mut Surroundings<'_, S>,
        process: P,
        length: usize,
    ) -> Send {
        if let Some(reason) = self.cannot_send() {
            return Send::Failed(reason);
        }
        if self.reserved.is_some() {
            return Send::Done;
        }
        let queued = self.queued();
        self.reserved = match around.link {
            _ if queued >= HIGH_WATERMARK => None,
            Link::V1(v1) => v1.outbox.reserve(around.handle, queued, length),
            Link::V2(v2) => {
                let (before, after) = (self.wish(queued), self.wish(queued.saturating_add(length)));
                v2.backlog
                    .reserve(around.handle, &mut self.lines, before, after)
            }
        };
        match self.reserved {
            Some(_) => Send::Done,
            None => self.wait_to_send(around, process),
        }
    }

    /// Room that was kept is not needed.
    pub(crate) fn unreserve<S>(&mut self, around: &mut Surroundings<'_, S>) {
        if let Some(reserved) = self.reserved.take() {
            around.link.unreserve(reserved);
            // The writer calls the senders that wait for room.
            around.wrote = true;
        }
    }

    fn cannot_send(&self) -> Option<Reason> {
        if self.hold != Hold::Released && self.linked == Linked::Open && !self.write_shut {
            return None;
        }
        Some(match self.incoming {
            Incoming::Broken(reason) => reason,
            _ => Reason::Closed,
        })
    }

    fn wait_to_send<S>(&mut self, around: &mut Surroundings<'_, S>, process: P) -> Send {
        let number = waiting::begin(around.counters);
        let output = self.output.get_or_insert_default();
        output.writers.push((process, number));
        Send::Wait(number)
    }

    /// gen_tcp:shutdown/2 of the writing side: FIN, after what was sent. Version 1 has no
    /// half-close: there the peer learns of it by the close frame that follows the owner's close
    /// or death.
    pub(crate) fn shutdown_write<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        if self.linked == Linked::Open && !self.write_shut {
            self.leave_output(around);
            around.link.finish(&self.key);
            around.wrote = true;
        }
        self.write_shut = true;
    }

    /// There is room for more output on the trunk; says whether anybody waited for it.
    pub(crate) fn find_room<S: Sink<P>>(
        &mut self,
        around: &mut Surroundings<'_, S>,
        line: Line,
    ) -> bool {
        self.lines.leave(line);
        let Some(output) = &mut self.output else {
            return false;
        };
        let waited = !output.writers.is_empty();
        wake_all(&mut output.writers, around);
        if output.queue.is_empty() && self.linked != Linked::Closing {
            self.output = None;
        }
        waited
    }

    /// Gives bytes to the trunk, or keeps them for this connection's turn: all of them, or none if
    /// too much is there already.
    pub(super) fn write<S: Sink<P>>(
        &mut self,
        around: &mut Surroundings<'_, S>,
        data: &[u8],
    ) -> Written {
        // Version 1 knows no half-close.
        let is_finished = self.write_shut && around.link.has_windows();
        if self.linked != Linked::Open || is_finished || data.is_empty() {
            return Written::Taken;
        }
        let queued = self.queued();
        if queued >= HIGH_WATERMARK {
            return Written::Refused;
        }
        let reserved = self.reserved.take();
        match (around.link, &self.key) {
            (Link::V1(v1), Key::V1(id)) => {
                around.wrote = true;
                let Some(framed) = v1.outbox.write(around.handle, id, data, queued, reserved)
                else {
                    return Written::Refused;
                };
                around.counters.frames_out.fetch_add(framed.frames, Relaxed);
                self.keep(&data[framed.bytes..]);
            }
            (Link::V2(v2), Key::V2(_)) => {
                let (before, after) = (self.wish(queued), self.wish(queued + data.len()));
                let lines = &mut self.lines;
                if !v2
                    .backlog
                    .admit(around.handle, lines, before, after, reserved)
                {
                    return Written::Refused;
                }
                self.keep(data);
                self.hand_over(around);
            }
            _ => {}
        }
        Written::Taken
    }

    fn keep(&mut self, data: &[u8]) {
        if !data.is_empty() {
            let output = self.output.get_or_insert_default();
            append(&mut output.queue, data);
            output.writes = output.writes.saturating_add(1);
        }
    }

    /// Bytes that wait for this connection's turn.
    pub(crate) fn queued(&self) -> usize {
        self.output.as_ref().map_or(0, |output| output.queue.len())
    }

    /// How many of this many bytes would wait, and how many of those for the window.
    pub(super) fn wish(&self, queued: usize) -> Wish {
        // A window that a usize can't hold is larger than any queue.
        let window = usize::try_from(self.window).unwrap_or(usize::MAX);
        Wish {
            waiting: queued,
            shut: queued.saturating_sub(window),
        }
    }
}
