//! What the owner sends, up to the trunk's writer.

use std::sync::atomic::Ordering::Relaxed;

use megaphone_trunk::copy::append;
use megaphone_trunk::v2::Written;

use super::waiting::{self, wake_all};
use super::{Connection, Hold, Incoming, Linked, Surroundings};
use crate::link::{Key, Link};
use crate::outbox::{CONTENT_LEN, put_frame};
use crate::sink::{Reason, Sink};

/// A send waits while this much output of its connection is unwritten (bytes) ...
const HIGH_WATERMARK: usize = 64 << 10;
/// ... and goes on below this.
const LOW_WATERMARK: usize = 32 << 10;

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

    /// As a send of so many bytes, without them.
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
        self.reserved = match (around.link, &self.key) {
            (Link::V1(_), Key::V1(_)) if self.queued() >= HIGH_WATERMARK => None,
            (Link::V1(v1), Key::V1(_)) => v1.outbox.reserve(around.handle, self.queued(), length),
            (Link::V2(v2), Key::V2(id)) => {
                let reserved = v2.session.lock().reserve(*id, length);
                match reserved {
                    Ok(reserved) => reserved,
                    // The send takes all: its event is on the way.
                    Err(_) => return Send::Done,
                }
            }
            _ => return Send::Done,
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
            around.link.finish(&self.key);
            around.wrote = true;
        }
        self.write_shut = true;
    }

    /// There is room for output again, in version 2.
    pub(crate) fn writable<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        if let Some(mut output) = self.output.take() {
            wake_all(&mut output.writers, around);
        }
    }

    /// There is room for more output on the trunk, in version 1; says whether anybody waited for it.
    pub(crate) fn find_room<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) -> bool {
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
        let more = !output.queue.is_empty();
        v1.outbox.had_turn(around.handle, end, more);
        if more {
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
    pub(super) fn write<S: Sink<P>>(
        &mut self,
        around: &mut Surroundings<'_, S>,
        data: &[u8],
    ) -> Written {
        around.wrote = true;
        let reserved = self.reserved.take();
        match (around.link, &self.key) {
            (Link::V1(v1), Key::V1(id)) => {
                let queued = self.queued();
                if queued >= HIGH_WATERMARK {
                    self.reserved = reserved;
                    return Written::Refused;
                }
                let Some(framed) = v1.outbox.write(around.handle, id, data, queued, reserved)
                else {
                    return Written::Refused;
                };
                around.counters.frames_out.fetch_add(framed.frames, Relaxed);
                let rest = &data[framed.bytes..];
                if !rest.is_empty() {
                    let output = self.output.get_or_insert_default();
                    append(&mut output.queue, rest);
                }
                Written::Taken
            }
            // A stream that the peer has reset takes all: its event is on the way.
            (Link::V2(v2), Key::V2(id)) => {
                let mut session = v2.session.lock();
                let written = match reserved {
                    Some(reserved) => session.write_reserved(*id, data, reserved),
                    None => session.write(*id, data),
                };
                written.unwrap_or(Written::Taken)
            }
            _ => Written::Taken,
        }
    }

    /// Bytes that wait for this connection's turn, in version 1.
    pub(crate) fn queued(&self) -> usize {
        self.output.as_ref().map_or(0, |output| output.queue.len())
    }
}
