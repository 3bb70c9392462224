//! Taking a session's output, in the order that `output` has.

use super::calls::Remains;
use super::event::{Event, Events};
use super::header::{Flags, Header, StreamId};
use super::output::{acknowledgement, next_frame, pop, put_data};
use super::session::Session;
use super::stream::{Marks, Stream};

/// What [`Session::take_output`] took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// How many bytes were appended.
    pub bytes: usize,
    /// Whether there is more.
    pub more: bool,
}

impl Session {
    /// Appends output to `out` until there is no more or `out` has `limit` bytes, whole frames
    /// alone: it may pass the limit by what was framed ahead and one frame.
    ///
    /// An empty `out` is exchanged for the buffer that was framed ahead, so it is best given back
    /// as it was when it is written. `events` gets [`Event::Writable`] and [`Event::Closed`].
    pub fn take_output<'a>(
        &mut self,
        limit: usize,
        out: &mut Vec<u8>,
        events: &mut impl Events<'a>,
    ) -> Taken {
        let before = out.len();
        self.output.take_session_frames(out);
        self.output.take_framed(out);
        while out.len() < limit
            && let Some(id) = pop(&mut self.output.control)
        {
            self.take_control(id, out);
        }
        while out.len() < limit
            && let Some(id) = pop(&mut self.output.turns)
        {
            self.take_turn(id, out, events);
        }
        self.call_writers(events);
        Taken {
            bytes: out.len() - before,
            more: !self.output.is_empty(),
        }
    }

    /// Tells those whose writes found no room that there is some again.
    pub(super) fn call_writers<'a>(&mut self, events: &mut impl Events<'a>) {
        if !self.output.room.is_awaited() {
            return;
        }
        let table = &mut self.table;
        self.output.room.call(|id, line| {
            let Some(stream) = table.get_mut(id) else {
                return false;
            };
            stream.marks.clear(Marks::in_line(line));
            let waited = stream.marks.has(Marks::REFUSED);
            if waited {
                writable(stream, events);
            }
            waited
        });
    }

    fn take_control(&mut self, id: StreamId, out: &mut Vec<u8>) {
        let Some(stream) = self.table.get_mut(id) else {
            return;
        };
        stream.marks.clear(Marks::IN_CONTROL);
        let flags = acknowledgement(stream);
        let owed = if stream.state.can_receive() {
            stream.take_owed()
        } else {
            0
        };
        // Data may have carried the acknowledgement meanwhile.
        if flags != Flags::NONE || owed > 0 {
            let header = Header::window_update(id, flags, owed);
            out.extend_from_slice(&header.encode());
        }
    }

    fn take_turn<'a>(&mut self, id: StreamId, out: &mut Vec<u8>, events: &mut impl Events<'a>) {
        let Some(stream) = self.table.get_mut(id) else {
            return;
        };
        stream.marks.clear(Marks::IN_TURNS);
        let Some(queue) = stream.queue else {
            return;
        };
        let queues = &mut self.output.queues;
        let queued = queues.len(stream.queue);
        let len = next_frame(stream, queued);
        let flags = if len == queued && stream.state.is_finishing() {
            Flags::FIN
        } else {
            Flags::NONE
        };
        put_data(
            out,
            stream,
            flags,
            queues.front(queue, len),
            &mut self.totals,
        );
        queues.remove(&mut stream.queue, len);
        // The window shuts by as much: as much waits for it as before.
        self.output.room.remove(len, 0);
        self.output.needs_turn(stream);
        let is_low = queued - len <= self.config.low_watermark;
        if is_low && stream.marks.has(Marks::REFUSED) {
            writable(stream, events);
        }
        if flags == Flags::FIN {
            let (tag, is_released) = (stream.tag, stream.marks.has(Marks::RELEASED));
            if self.sent_fin(id) == Remains::Nothing && !is_released {
                events.event(Event::Closed { id, tag });
            }
        }
    }
}

/// A stream whose write was refused may write again.
pub(super) fn writable<'a>(stream: &mut Stream, events: &mut impl Events<'a>) {
    stream.marks.clear(Marks::REFUSED);
    let (id, tag) = (stream.id, stream.tag);
    events.event(Event::Writable { id, tag });
}
