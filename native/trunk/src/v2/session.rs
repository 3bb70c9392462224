//! A session: its streams and what their owners ask of them. What the peer says is read in
//! `receive`, what it is told is written in `output`.

use super::ceilings::{Budgets, Ceiling};
use super::config::Config;
use super::error::{GoAwayCode, OpenError, SessionError, SessionFault, StreamError};
use super::event::Tag;
use super::header::{Flags, Header, INITIAL_WINDOW, StreamId};
use super::ids::UsedIds;
use super::keepalive::{Keepalive, Tick};
use super::output::{MAX_DATA, Output};
use super::receive::Reading;
use super::stream::{LARGEST_WINDOW, Marks, Stream};
use super::table::{MOST_STREAMS, Table};
use super::totals::Totals;

/// The first id that is not given out. A trunk that opens 50,000 streams a second gets there after
/// twelve hours; [`Session::ids_left`] says how far it is.
const ID_END: u32 = 1 << 31;

/// Which end of the trunk this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one that dialled: the ECM. Its streams have odd ids.
    Client,
    /// The one that was dialled: ejabberd. Its streams have even ids.
    Server,
}

impl Role {
    const fn first_id(self) -> u32 {
        match self {
            Self::Client => 1,
            Self::Server => 2,
        }
    }

    pub(super) const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    /// Whether streams with this id are opened by this end.
    pub(super) const fn opens(self, id: StreamId) -> bool {
        id.is_client() == matches!(self, Self::Client)
    }
}

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

/// One end of a trunk that speaks yamux.
///
/// It does no I/O: bytes from the peer go to [`receive`](Self::receive), bytes for it come from
/// [`take_output`](Self::take_output), and the time, in milliseconds of any clock that does not
/// go back, is told by [`tick`](Self::tick).
#[derive(Debug)]
pub struct Session {
    pub(super) role: Role,
    pub(super) config: Config,
    pub(super) table: Table,
    pub(super) peer_ids: UsedIds,
    /// The id of the next stream from here.
    next_id: u32,
    pub(super) reading: Reading,
    /// How many bytes were read.
    pub(super) offset: u64,
    pub(super) output: Output,
    pub(super) keepalive: Keepalive,
    budgets: Budgets,
    pub(super) totals: Totals,
    started: u64,
    seconds: u64,
    said_go_away: bool,
    pub(super) heard_go_away: bool,
    pub(super) failed: Option<SessionError>,
}

impl Session {
    /// The end that dialled. `now` is in milliseconds.
    #[must_use]
    pub fn client(config: Config, now: u64) -> Self {
        Self::new(Role::Client, config, now)
    }

    /// The end that was dialled. `now` is in milliseconds.
    #[must_use]
    pub fn server(config: Config, now: u64) -> Self {
        Self::new(Role::Server, config, now)
    }

    fn new(role: Role, config: Config, now: u64) -> Self {
        Self {
            role,
            table: Table::new(),
            peer_ids: UsedIds::default(),
            next_id: role.first_id(),
            reading: Reading::default(),
            offset: 0,
            output: Output::default(),
            keepalive: Keepalive::new(config.keepalive_interval, config.keepalive_timeout, now),
            budgets: Budgets::new(&config.ceilings),
            config,
            totals: Totals::default(),
            started: now,
            seconds: 0,
            said_go_away: false,
            heard_go_away: false,
            failed: None,
        }
    }

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
    /// their window is open, else queued for the stream's turns.
    ///
    /// # Errors
    /// [`StreamError`] if the stream is gone or was finished.
    pub fn write(&mut self, id: StreamId, bytes: &[u8]) -> Result<Written, StreamError> {
        let (high, ahead) = (self.config.high_watermark, self.config.output_ahead);
        let stream = find(&mut self.table, self.failed, id)?;
        if !stream.state.can_write() {
            return Err(StreamError::Finished);
        }
        if self.output.queues.len(stream.queue) >= high.max(1) {
            stream.marks.set(Marks::REFUSED);
            return Ok(Written::Refused);
        }
        self.output.write(stream, bytes, ahead, &mut self.totals);
        Ok(Written::Taken)
    }

    /// Sends FIN after what is queued; the peer may still send.
    ///
    /// # Errors
    /// [`StreamError`] if the stream is gone or was finished before.
    pub fn finish(&mut self, id: StreamId) -> Result<Remains, StreamError> {
        let stream = find(&mut self.table, self.failed, id)?;
        if !stream.state.can_write() {
            return Err(StreamError::Finished);
        }
        if stream.queue.is_some() {
            stream.state = stream.state.finishing();
            return Ok(Remains::Stream);
        }
        self.output.finish(stream, &mut self.totals);
        Ok(self.sent_fin(id))
    }

    /// The owner goes: the stream is finished if it was not, what comes on it is dropped, and
    /// there are no more events of it. If the peer goes on sending after our last byte and half
    /// of its window is used up, the stream is reset.
    ///
    /// # Errors
    /// [`StreamError::Gone`] if there is nothing to release.
    pub fn release(&mut self, id: StreamId) -> Result<Remains, StreamError> {
        let stream = find(&mut self.table, self.failed, id)?;
        stream.marks.set(Marks::RELEASED);
        stream.marks.clear(Marks::REFUSED);
        match self.finish(id) {
            Err(StreamError::Finished) => Ok(self.reset_if_unread(id)),
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
    /// if there never were so many bytes.
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
    /// [`Config::max_window`] allows.
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

    /// Names a stream anew.
    ///
    /// # Errors
    /// [`StreamError::Gone`] if there is no such stream.
    pub fn set_tag(&mut self, id: StreamId, tag: Tag) -> Result<(), StreamError> {
        find(&mut self.table, self.failed, id)?.tag = tag;
        Ok(())
    }

    /// Tells the peer that no more streams are taken, and why; those that are open go on. More
    /// from the peer are refused.
    pub fn go_away(&mut self, code: GoAwayCode) {
        if self.failed.is_none() {
            self.said_go_away = true;
            self.output.go_away(code);
        }
    }

    /// Whether one side said go-away, and neither a stream nor output is left.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.has_gone_away() && self.table.len() == 0 && self.output.is_empty()
    }

    /// Whether one side said go-away.
    #[must_use]
    pub const fn has_gone_away(&self) -> bool {
        self.said_go_away || self.heard_go_away
    }

    /// Looks at the clock: asks a silent peer whether it is there.
    ///
    /// # Errors
    /// The session's end: the peer did not answer, or the session failed before.
    pub fn tick(&mut self, now: u64) -> Result<(), SessionError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.seconds = self.seconds.max(now.saturating_sub(self.started) / 1000);
        match self.keepalive.tick(now) {
            Tick::Nothing => Ok(()),
            Tick::Ping(number) => {
                self.output.ping(number);
                Ok(())
            }
            Tick::TimedOut(waited_ms) => {
                let fault = SessionFault::KeepaliveTimeout { waited_ms };
                Err(self.fail(self.offset, None, fault))
            }
        }
    }

    /// When the next tick is due at the latest, in milliseconds. Ticks may come more often: the
    /// part of the ceilings that time earns is only as fresh as the last one.
    #[must_use]
    pub fn next_tick(&self) -> u64 {
        self.keepalive.next_tick()
    }

    /// Whether [`take_output`](Self::take_output) would give something.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Which end this is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Why the session ended, if it failed.
    #[must_use]
    pub const fn failure(&self) -> Option<SessionError> {
        self.failed
    }

    /// How many streams are open.
    #[must_use]
    pub const fn stream_count(&self) -> usize {
        self.table.len()
    }

    /// The open streams, in no order: who has to hear that the trunk is lost.
    pub fn streams(&self) -> impl Iterator<Item = (StreamId, Tag)> {
        self.table.iter().map(|stream| (stream.id, stream.tag))
    }

    /// How many bytes of a stream are queued; 0 if it is gone.
    pub fn queued(&mut self, id: StreamId) -> usize {
        let queue = self.table.get_mut(id).and_then(|stream| stream.queue);
        self.output.queues.len(queue)
    }

    /// How many bytes of all streams are queued.
    #[must_use]
    pub const fn total_queued(&self) -> usize {
        self.output.queues.total()
    }

    /// How many bytes the session takes: its table, and the output that was not taken yet.
    #[must_use]
    pub fn allocated(&self) -> usize {
        size_of::<Self>() + self.table.allocated() + self.output.held()
    }

    /// How many more streams can be opened from here. A trunk that is running out is best drained
    /// and replaced.
    #[must_use]
    pub const fn ids_left(&self) -> u32 {
        ID_END.saturating_sub(self.next_id).div_ceil(2)
    }

    /// What was done so far.
    #[must_use]
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether as many streams are open as may be.
    pub(super) fn is_full(&self) -> bool {
        self.table.len() >= self.config.max_streams.min(MOST_STREAMS)
    }

    pub(super) const fn next_id(&self) -> StreamId {
        StreamId::new(self.next_id)
    }

    pub(super) fn largest_window(&self) -> u32 {
        self.config.max_window.clamp(INITIAL_WINDOW, LARGEST_WINDOW)
    }

    /// One more thing that brings no progress.
    pub(super) fn spend(&mut self, ceiling: Ceiling) -> Result<(), SessionFault> {
        let work = self.totals.work(self.seconds);
        self.budgets
            .spend(ceiling, &work)
            .map_err(SessionFault::Ceiling)
    }

    /// Ends the session: the peer is told, unless it was the peer who said so.
    pub(super) fn fail(
        &mut self,
        offset: u64,
        stream: Option<StreamId>,
        fault: SessionFault,
    ) -> SessionError {
        let error = SessionError {
            offset,
            stream,
            fault,
        };
        self.output.end(match fault {
            SessionFault::PeerFailed { .. } => None,
            SessionFault::KeepaliveTimeout { .. } => Some(GoAwayCode::InternalError),
            _ => Some(GoAwayCode::ProtocolError),
        });
        self.failed = Some(error);
        error
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

    pub(super) fn reset_if_unread(&mut self, id: StreamId) -> Remains {
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
            self.output.queues.give_back(&mut stream.queue);
            if stream.marks.has(Marks::RECEIVED) && stream.marks.has(Marks::SENT) {
                self.totals.streams_served += 1;
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_end_well_before_their_bits_do() {
        for mut session in [
            Session::client(Config::default(), 0),
            Session::server(Config::default(), 0),
        ] {
            session.next_id = ID_END - 4 + session.next_id % 2;
            assert_eq!(session.ids_left(), 2);
            let last = [session.open(0, b""), session.open(0, b"")];
            assert!(last.iter().all(Result::is_ok), "{last:?}");
            assert_eq!(session.open(0, b""), Err(OpenError::Exhausted));
            assert_eq!(session.ids_left(), 0);
        }
    }
}
