//! What the trunk's writer takes.

use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};

use megaphone_trunk::room::Line;
use megaphone_trunk::v2::{Event, Session};

use super::Trunk;
use crate::handle::Handle;
use crate::link::{Link, V1, V2};
use crate::sink::{Process, Sink, WRITER};

/// How long nothing more is told of sends that found no room (seconds).
const HELD_UP_SILENCE: u32 = 60;
/// The largest buffer that is kept for the next batch (bytes).
const MAX_SPARE: usize = 512 << 10;

impl<P: Process> Trunk<P> {
    /// The process to wake, by [`WRITER`], when there is output. It can be set once, and is woken
    /// at once: there may be output that nobody could be told of.
    pub fn set_writer<S: Sink<P>>(&self, writer: P, sink: &mut S) {
        if self.writer.set(writer).is_ok() {
            self.told.store(true, Release);
            sink.wake(writer, WRITER);
        }
    }

    pub(crate) fn tell_writer<S: Sink<P>>(&self, sink: &mut S) {
        if !self.told.swap(true, AcqRel)
            && let Some(writer) = self.writer.get()
        {
            sink.wake(*writer, WRITER);
        }
    }

    /// The writer's batch: about `limit` bytes, one frame a connection and turn. `None` if there
    /// is nothing; the writer then waits for its next [`WRITER`] wake.
    pub fn take_output<S: Sink<P>, R>(
        &self,
        limit: usize,
        sink: &mut S,
        take: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        // What comes from here on has to be told again, and what was told before is to be seen here.
        self.told.swap(false, AcqRel);
        let mut batch = std::mem::take(&mut *self.spare.lock());
        match self.link.get()? {
            Link::V1(v1) => self.take_turns(v1, limit, &mut batch, sink),
            Link::V2(v2) => self.take_frames(v2, limit, &mut batch, sink),
        }
        let taken = (!batch.is_empty()).then(|| {
            let bytes = batch.len() as u64;
            self.counters.bytes_out.fetch_add(bytes, Relaxed);
            take(&batch)
        });
        batch.clear();
        if batch.capacity() <= MAX_SPARE {
            *self.spare.lock() = batch;
        }
        taken
    }

    fn take_turns<S: Sink<P>>(&self, v1: &V1, limit: usize, batch: &mut Vec<u8>, sink: &mut S) {
        let draining = self.draining.load(Relaxed);
        v1.outbox.take_framed(batch);
        while batch.len() < limit
            && let Some(handle) = v1.outbox.next_turn()
        {
            self.visit(handle, sink, |connection, around| {
                connection.take_turn(around, batch);
                if draining && connection.between_requests() {
                    connection.retire(around);
                }
            });
        }
        self.call_senders(sink, || v1.outbox.callers());
    }

    /// A frame of each connection in turn, among what the session has to say itself.
    fn take_frames<S: Sink<P>>(&self, v2: &V2, limit: usize, batch: &mut Vec<u8>, sink: &mut S) {
        let mut ring = v2.turns.take();
        // What was left with the session has half of it, where others have something too.
        let own = if ring.is_empty() { limit } else { limit / 2 };
        let take_own = |limit, batch: &mut Vec<u8>| {
            v2.with(|session| session.take_output(limit, batch, &mut |_: Event<'_>| {}))
        };
        take_own(own, batch);
        while batch.len() < limit
            && let Some(handle) = ring.pop_front()
        {
            let has_more = self.visit(handle, sink, |connection, around| {
                connection.take_frame(around, batch)
            });
            if has_more == Some(true) {
                ring.push_back(handle);
            }
        }
        if batch.len() < limit {
            take_own(limit, batch);
        }
        drop(ring);
        self.call_senders(sink, || v2.backlog.callers());
    }

    /// Wakes senders that wait for room, as far as there is some.
    pub(super) fn call_senders<S: Sink<P>>(
        &self,
        sink: &mut S,
        callers: impl Fn() -> Vec<(Handle, Line)>,
    ) {
        let mut called = callers();
        while !called.is_empty() {
            let waited = called.into_iter().filter(|(handle, line)| {
                let waited = self.visit(*handle, sink, |connection, around| {
                    connection.find_room(around, *line)
                });
                waited == Some(true)
            });
            // Where none of them waited still there is room for others.
            called = match waited.count() {
                0 => callers(),
                _ => Vec::new(),
            };
        }
    }

    /// Whether some output is not with the writer yet: it waits for it, or for a window.
    pub fn has_output(&self) -> bool {
        match self.link.get() {
            None => false,
            Some(Link::V1(v1)) => !v1.outbox.is_empty(),
            Some(Link::V2(v2)) => {
                let is_left =
                    |session: &mut Session| session.has_output() || session.total_queued() > 0;
                v2.backlog.waiting() > 0 || v2.with(is_left)
            }
        }
    }

    /// How many more sends found no room for [`Config::max_trunk_output`] than were told of; once a minute at
    /// most, else 0.
    pub fn held_up(&self) -> u64 {
        let found_no_room = match self.link.get() {
            None => 0,
            Some(Link::V1(v1)) => v1.outbox.status().1,
            Some(Link::V2(v2)) => v2.backlog.refused(),
        };
        let now = self.now.load(Relaxed);
        let mut told = self.told_held_up.lock();
        let (before, at) = *told;
        let is_silent = at.is_some_and(|at| now.saturating_sub(at) < HELD_UP_SILENCE);
        if is_silent || found_no_room == before {
            return 0;
        }
        *told = (found_no_room, Some(now));
        found_no_room - before
    }
}
