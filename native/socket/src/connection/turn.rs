//! A connection's output on its way to the trunk's writer, a frame in each turn.

use std::sync::atomic::Ordering::Relaxed;

use megaphone_trunk::queue;
use megaphone_trunk::room::Wish;

use super::waiting::wake_all;
use super::writing::LOW_WATERMARK;
use super::{Connection, Linked, Surroundings};
use crate::link::{Key, Link};
use crate::outbox::{CONTENT_LEN, put_frame};
use crate::sink::Sink;

impl<P: Copy + Eq> Connection<P> {
    /// One frame of what waits, into the writer's batch, in version 1; the connection stands in the queue again if
    /// it has more.
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
            put_frame(batch, &id, queue::front(&output.queue, end));
            queue::drop_front(&mut output.queue, end);
            around.counters.frames_out.fetch_add(1, Relaxed);
        }
        let more = self.have_sent(around);
        v1.outbox.had_turn(around.handle, end, more);
        if !more && self.linked == Linked::Closing {
            self.linked = Linked::Gone;
            put_frame(batch, &id, [&[], &[]]);
            around.counters.frames_out.fetch_add(1, Relaxed);
        }
    }

    /// One frame of what waits, into the writer's batch, in version 2; whether there is more to send now.
    pub(crate) fn take_frame<S: Sink<P>>(
        &mut self,
        around: &mut Surroundings<'_, S>,
        batch: &mut Vec<u8>,
    ) -> bool {
        self.in_turns = false;
        let (Link::V2(v2), Key::V2(id)) = (around.link, self.key) else {
            return false;
        };
        let Some(output) = &mut self.output else {
            return false;
        };
        let writes = std::mem::take(&mut output.writes);
        let framed = v2.with(|session| session.frame_kept(id, &output.queue, writes, batch));
        let Ok(len) = framed else {
            // The peer has reset the stream, or the session has failed: the event is on the way.
            self.drop_output(around);
            return false;
        };
        queue::drop_front(&mut output.queue, len);
        // No more than the window, which shuts by as much: as much waits for it as before.
        self.window = self.window.saturating_sub(len as u32);
        v2.backlog.remove(Wish {
            waiting: len,
            shut: 0,
        });
        self.in_turns = self.have_sent(around) && self.window > 0 && len > 0;
        self.in_turns
    }

    /// Wakes senders that wait if little is left; returns whether anything is.
    fn have_sent<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) -> bool {
        let Some(output) = &mut self.output else {
            return false;
        };
        if output.queue.len() < LOW_WATERMARK {
            wake_all(&mut output.writers, around);
        }
        let more = !output.queue.is_empty();
        if !more {
            self.output = None;
        }
        more
    }

    /// Gives the writer a turn of this connection, if it has something to say and a window for it.
    pub(super) fn hand_over<S>(&mut self, around: &mut Surroundings<'_, S>) {
        if let Link::V2(v2) = around.link
            && !self.in_turns
            && self.window > 0
            && self.queued() > 0
        {
            self.in_turns = true;
            v2.turns.hand_over(around.handle);
            around.wrote = true;
        }
    }

    /// The peer takes this many bytes more, in version 2.
    pub(crate) fn open_window<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>, bytes: u32) {
        let shut = self.wish(self.queued()).shut;
        // The session holds it to what fits.
        self.window = self.window.saturating_add(bytes);
        if let Link::V2(v2) = around.link {
            v2.backlog.remove(Wish {
                waiting: 0,
                shut: shut - self.wish(self.queued()).shut,
            });
        }
        self.hand_over(around);
        // Who waited for the window with nothing before it need not wait for those whose windows are shut. With
        // something it is told as that is framed.
        if self.queued() == 0
            && let Some(mut output) = self.output.take()
        {
            wake_all(&mut output.writers, around);
        }
    }

    /// Leaves what waits with the session, in version 2: an end follows it there, and maybe nobody is here then.
    pub(super) fn leave_output<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        let (Link::V2(v2), Key::V2(id)) = (around.link, self.key) else {
            return;
        };
        if let Some(mut output) = self.output.take() {
            wake_all(&mut output.writers, around);
            v2.backlog.remove(self.wish(output.queue.len()));
            // It fails if the peer has reset the stream: then nobody reads it.
            let _ = v2.with(|session| session.leave(id, output.queue));
        }
    }

    /// Bytes that wait for the window.
    #[cfg(test)]
    pub(crate) fn shut(&self) -> usize {
        match self.key {
            Key::V1(_) => 0,
            Key::V2(_) => self.wish(self.queued()).shut,
        }
    }

    /// Whether no turn is due.
    #[cfg(test)]
    pub(crate) fn is_shut(&self) -> bool {
        self.shut() == self.queued()
    }

    /// Whether the writer has it among its turns.
    #[cfg(test)]
    pub(crate) fn is_in_turns(&self) -> bool {
        self.in_turns
    }
}
