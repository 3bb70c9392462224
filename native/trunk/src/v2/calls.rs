//! What the owner asks of its streams.

use super::ceilings::Ceiling;
use super::error::{OpenError, SessionError, StreamError};
use super::event::Tag;
use super::header::{Flags, Header, StreamId};
use super::output::MAX_DATA;
use super::session::{ID_END, Session};
use super::stream::{Marks, Stream};
use super::table::Table;
use crate::room::{RESERVED, Reserved};

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// All of it is framed or queued.
    Taken,
    /// None of it: too much is queued already. [`Event::Writable`](super::Event::Writable) tells
    /// when to try again.
    Refused,
}

/// What is left of a stream whose owner finished it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remains {
    /// Bytes to send, or a peer that has not finished.
    Stream,
    /// Nothing: the peer had finished before. No event follows.
    Nothing,
}

impl Session {
    /// Opens a stream whose first bytes are `first`: its SYN and they are one frame. Streams come
    /// to the peer in the order they were opened here.
    ///
    /// # Errors
    /// [`OpenError`] if the session takes no more streams.
    pub fn open(&mut self, tag: Tag, first: &[u8]) -> Result<StreamId, OpenError> {
        if let Some(error) = self.failed {
            return Err(OpenError::Ended(error));
        }
        if self.has_gone_away() {
            return Err(OpenError::GoneAway);
        }
        if self.is_full() {
            let limit = self.config.max_streams;
            return Err(OpenError::TooMany { limit });
        }
        if self.next_id >= ID_END {
            return Err(OpenError::Exhausted);
        }
        let id = StreamId::new(self.next_id);
        self.next_id += 2;
        self.totals.streams_opened += 1;
        let stream = self.table.insert(Stream::new(id, tag, Marks::AWAITS_ACK));
        let (data, rest) = first.split_at(first.len().min(MAX_DATA));
        self.output.open(stream, data, &mut self.totals);
        if !rest.is_empty() {
            let ahead = self.config.output_ahead;
            self.output.write(stream, rest, ahead, &mut self.totals);
        }
        Ok(id)
    }

    /// Sends bytes, all or none of them: they are framed at once if nobody waits before them and
    /// their window is open, else queued for the stream's turns, if there is room.
    ///
    /// # Errors
    /// [`StreamError`] if the stream is gone or was finished.
    pub fn write(&mut self, id: StreamId, bytes: &[u8]) -> Result<Written, StreamError> {
        let (high, ahead) = (self.config.high_watermark, self.config.output_ahead);
        let stream = find_writable(&mut self.table, self.failed, id)?;
        if self.output.admit(stream, bytes.len(), high).is_none() {
            return Ok(Written::Refused);
        }
        self.output.write(stream, bytes, ahead, &mut self.totals);
        Ok(Written::Taken)
    }

    /// As a write of this many bytes, without them: room is kept for up to
    /// [`RESERVED`](crate::room::RESERVED) bytes until [`write_reserved`](Self::write_reserved) or
    /// [`unreserve`](Self::unreserve), of which one has to follow. `None` is a write that was refused.
    ///
    /// # Errors
    /// [`StreamError`] if the stream is gone or was finished.
    pub fn reserve(&mut self, id: StreamId, len: usize) -> Result<Option<Reserved>, StreamError> {
        let high = self.config.high_watermark;
        let stream = find_writable(&mut self.table, self.failed, id)?;
        let wish = self.output.admit(stream, len, high);
        Ok(wish.map(|wish| self.output.room.reserve(wish)))
    }

    /// A write for which room was kept: it is taken.
    ///
    /// # Errors
    /// [`StreamError`] if the stream is gone or was finished.
    pub fn write_reserved(
        &mut self,
        id: StreamId,
        bytes: &[u8],
        reserved: Reserved,
    ) -> Result<Written, StreamError> {
        self.unreserve(reserved);
        if bytes.len() > RESERVED {
            return self.write(id, bytes);
        }
        let ahead = self.config.output_ahead;
        let stream = find_writable(&mut self.table, self.failed, id)?;
        self.output.write(stream, bytes, ahead, &mut self.totals);
        Ok(Written::Taken)
    }

    /// The room that was kept is not needed.
    pub fn unreserve(&mut self, reserved: Reserved) {
        self.output.room.unreserve(reserved);
    }

    /// Sends FIN after what is queued; the peer may still send.
    ///
    /// # Errors
    /// [`StreamError`] if the stream is gone or was finished before.
    pub fn finish(&mut self, id: StreamId) -> Result<Remains, StreamError> {
        let stream = find_writable(&mut self.table, self.failed, id)?;
        if stream.queue.is_some() {
            stream.state = stream.state.finishing();
            return Ok(Remains::Stream);
        }
        self.output.finish(stream, &mut self.totals);
        Ok(self.sent_fin(id))
    }

    /// The owner goes: the stream is finished if it was not, what comes on it is dropped, and
    /// there are no more events of it. Its window is returned until our last byte is out: the peer may take
    /// that only once its own bytes are. If it goes on sending after that and half of its window is used up,
    /// the stream is reset.
    ///
    /// # Errors
    /// [`StreamError::Gone`] if there is nothing to release.
    pub fn release(&mut self, id: StreamId) -> Result<Remains, StreamError> {
        let stream = find(&mut self.table, self.failed, id)?;
        stream.marks.set(Marks::RELEASED);
        stream.marks.clear(Marks::REFUSED);
        let queued = self.output.queues.len(stream.queue);
        if queued > 0 && self.config.linger.is_some() {
            self.leaving.add(id, queued, self.now);
        }
        match self.finish(id) {
            Err(StreamError::Finished) | Ok(Remains::Stream) => Ok(self.drop_unread(id)),
            finished => finished,
        }
    }

    /// Resets a stream: what is queued is lost, the peer is told, and there are no more events
    /// of it.
    ///
    /// # Errors
    /// [`StreamError::Gone`] if there is nothing to reset.
    pub fn reset(&mut self, id: StreamId) -> Result<(), StreamError> {
        find(&mut self.table, self.failed, id)?;
        self.send_reset(id);
        Ok(())
    }

    /// Resets a stream for a fault of the peer's, a bad PROXY header say: it counts as a stream
    /// that brought no progress.
    ///
    /// # Errors
    /// [`StreamError::Gone`] if there is nothing to reset; [`StreamError::Ended`] if there were
    /// too many of them.
    pub fn reject(&mut self, id: StreamId) -> Result<(), StreamError> {
        self.reset(id)?;
        self.spend(Ceiling::UnansweredStreams)
            .map_err(|fault| StreamError::Ended(self.fail(self.offset, Some(id), fault)))
    }

    /// The reader took `n` bytes. The window is returned in lumps of at least half of it.
    ///
    /// # Errors
    /// [`StreamError`] if the stream is gone, which is no fault if both sides have finished, or
    /// if there never were that many bytes.
    pub fn consumed(&mut self, id: StreamId, n: usize) -> Result<(), StreamError> {
        let stream = find(&mut self.table, self.failed, id)?;
        u32::try_from(n)
            .ok()
            .and_then(|n| stream.consume(n))
            .ok_or(StreamError::Overconsumed {
                asked: n,
                held: stream.held(),
            })?;
        if stream.must_return() && stream.state.can_receive() {
            self.output.needs_control(stream);
        }
        Ok(())
    }

    /// A reader waits for `n` bytes and takes none before they are there: the window is opened as
    /// far as that needs, and shrinks again as the bytes are consumed. Needed for readers that
    /// wait for more than half of the first window, 128 KiB.
    ///
    /// # Errors
    /// [`StreamError`] if the stream is gone or `n` is more than
    /// [`Config::max_window`](super::Config::max_window) allows.
    pub fn demand(&mut self, id: StreamId, n: usize) -> Result<(), StreamError> {
        let limit = self.largest_window();
        let stream = find(&mut self.table, self.failed, id)?;
        let n = u32::try_from(n)
            .ok()
            .filter(|n| *n <= limit)
            .ok_or(StreamError::DemandTooLarge { asked: n, limit })?;
        stream.demand(n);
        let can_come = stream.held().saturating_add(stream.receive_window);
        if can_come < n && stream.state.can_receive() {
            self.output.needs_control(stream);
        }
        Ok(())
    }

    /// Brings what is known of some streams into the processor's cache, before they are written to
    /// one after the other: with a million streams open that takes a fraction of the time that
    /// as many single visits take. Not needed for anything else.
    pub fn warm(&self, ids: &[StreamId]) {
        if self.table.is_large() {
            self.table.warm(ids);
        }
    }

    /// Names a stream anew, for all events from now on.
    ///
    /// # Errors
    /// [`StreamError::Gone`] if there is no such stream.
    pub fn set_tag(&mut self, id: StreamId, tag: Tag) -> Result<(), StreamError> {
        find(&mut self.table, self.failed, id)?.tag = tag;
        self.reading.set_tag(id, tag);
        Ok(())
    }

    /// How many bytes of a stream are queued; 0 if it is gone.
    pub fn queued(&mut self, id: StreamId) -> usize {
        let queue = self.table.get_mut(id).and_then(|stream| stream.queue);
        self.output.queues.len(queue)
    }

    /// Our FIN is framed.
    pub(super) fn sent_fin(&mut self, id: StreamId) -> Remains {
        let Some(stream) = self.table.get_mut(id) else {
            return Remains::Nothing;
        };
        match stream.state.send_closed() {
            Some(state) => {
                stream.state = state;
                self.reset_if_unread(id)
            }
            None => {
                self.remove(id);
                Remains::Nothing
            }
        }
    }

    /// Nobody reads what has come on a stream.
    pub(super) fn drop_unread(&mut self, id: StreamId) -> Remains {
        match self.table.get_mut(id) {
            Some(stream) if stream.queue.is_some() => {
                let held = stream.held();
                if stream.consume(held).is_some()
                    && stream.must_return()
                    && stream.state.can_receive()
                {
                    self.output.needs_control(stream);
                }
                Remains::Stream
            }
            _ => self.reset_if_unread(id),
        }
    }

    fn reset_if_unread(&mut self, id: StreamId) -> Remains {
        if self.table.get_mut(id).is_some_and(|it| it.is_unread()) {
            self.send_reset(id);
            return Remains::Nothing;
        }
        Remains::Stream
    }

    pub(super) fn send_reset(&mut self, id: StreamId) {
        self.totals.resets_sent += 1;
        let header = Header::window_update(id, Flags::RST, 0);
        self.output.frame(header);
        self.remove(id);
    }

    /// Takes a stream out of the table, with all that it had.
    pub(super) fn remove(&mut self, id: StreamId) {
        if let Some(mut stream) = self.table.remove(id) {
            self.output.drop_queue(&mut stream);
            if stream.marks.has(Marks::RECEIVED) && stream.marks.has(Marks::SENT) {
                self.totals.streams_served += 1;
            }
        }
    }
}

pub(super) fn find_writable(
    table: &mut Table,
    failed: Option<SessionError>,
    id: StreamId,
) -> Result<&mut Stream, StreamError> {
    let stream = find(table, failed, id)?;
    if stream.state.can_write() {
        Ok(stream)
    } else {
        Err(StreamError::Finished)
    }
}

fn find(
    table: &mut Table,
    failed: Option<SessionError>,
    id: StreamId,
) -> Result<&mut Stream, StreamError> {
    match failed {
        Some(error) => Err(StreamError::Ended(error)),
        None => table.get_mut(id).ok_or(StreamError::Gone),
    }
}
