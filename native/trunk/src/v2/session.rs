//! A session as a whole. What its owner asks of the streams is in `calls`, what the peer says is
//! read in `receive` and `peer`, what waits to be sent is in `output` and taken in `taking`.

use super::ceilings::{Budgets, Ceiling};
use super::config::Config;
use super::error::{GoAwayCode, SessionError, SessionFault};
use super::event::Tag;
use super::header::{INITIAL_WINDOW, StreamId};
use super::ids::UsedIds;
use super::keepalive::{Keepalive, Tick};
use super::leaving::Leaving;
use super::output::Output;
use super::reading::Reading;
use super::role::Role;
use super::stream::{LARGEST_WINDOW, Marks};
use super::table::{MOST_STREAMS, Table};
use super::totals::Totals;

/// The first id that is not given out. A trunk that opens 50,000 streams a second gets there after
/// twelve hours; [`Session::ids_left`] says how far it is.
pub(super) const ID_END: u32 = 1 << 31;

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
    pub(super) next_id: u32,
    pub(super) reading: Reading,
    /// How many bytes were read.
    pub(super) offset: u64,
    pub(super) output: Output,
    pub(super) leaving: Leaving,
    pub(super) keepalive: Keepalive,
    budgets: Budgets,
    pub(super) totals: Totals,
    started: u64,
    /// The time as it was told last.
    pub(super) now: u64,
    seconds: u64,
    said_go_away: bool,
    pub(super) heard_go_away: bool,
    pub(super) failed: Option<SessionError>,
}

/// A stream that has bytes in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueuedStream {
    /// Its id.
    pub id: StreamId,
    /// Its owner's name for it; none if it was released.
    pub tag: Option<Tag>,
    /// How many.
    pub bytes: usize,
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
            output: Output::new(config.max_output),
            leaving: Leaving::default(),
            keepalive: Keepalive::new(config.keepalive_interval, config.keepalive_timeout, now),
            budgets: Budgets::new(&config.ceilings),
            config,
            totals: Totals::default(),
            started: now,
            now,
            seconds: 0,
            said_go_away: false,
            heard_go_away: false,
            failed: None,
        }
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
        self.now = self.now.max(now);
        self.seconds = self.seconds.max(now.saturating_sub(self.started) / 1000);
        self.reset_unread();
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

    /// Resets those that their owners have left and of which the peer takes nothing.
    fn reset_unread(&mut self) {
        let Some(before) = self
            .config
            .linger
            .and_then(|linger| self.now.checked_sub(linger))
        else {
            return;
        };
        while let Some((id, left)) = self.leaving.next(before) {
            match self.queued(id) {
                0 => {}
                queued if queued < left => self.leaving.add(id, queued, self.now),
                _ => {
                    self.totals.streams_unread += 1;
                    self.send_reset(id);
                }
            }
        }
    }

    /// The trunk is gone: its streams are, and nothing of what they held is kept.
    pub fn abandon(&mut self) {
        self.table = Table::new();
        self.output = Output::new(0);
        self.leaving = Leaving::default();
    }

    /// When the next tick is due at the latest, in milliseconds. Ticks may come more often: the
    /// part of the ceilings that time earns is only as fresh as the last one.
    #[must_use]
    pub fn next_tick(&self) -> u64 {
        self.keepalive.next_tick()
    }

    /// Since when the peer owes an answer to a ping: any byte is one. In milliseconds, as told by
    /// [`tick`](Self::tick).
    #[must_use]
    pub fn asked_since(&self) -> Option<u64> {
        self.keepalive.asked_since()
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

    /// The open streams, in no order: their owners have to hear that the trunk is lost.
    pub fn streams(&self) -> impl Iterator<Item = (StreamId, Tag)> {
        self.table.iter().map(|stream| (stream.id, stream.tag))
    }

    /// How many bytes of all streams are queued.
    #[must_use]
    pub const fn total_queued(&self) -> usize {
        self.output.room.waiting()
    }

    /// How many of them wait for a window.
    #[must_use]
    pub const fn total_shut(&self) -> usize {
        self.output.room.shut()
    }

    /// How many bytes of output there are: all that is queued, and what is framed already.
    #[must_use]
    pub const fn unsent(&self) -> usize {
        self.output.room.waiting() + self.output.framed()
    }

    /// How often a write was refused for [`Config::max_output`].
    #[must_use]
    pub const fn writes_without_room(&self) -> u64 {
        self.output.room.refused()
    }

    /// The streams with bytes in their queues, in no order.
    pub fn queued_streams(&self) -> impl Iterator<Item = QueuedStream> {
        let queued = self.table.iter().filter(|stream| stream.queue.is_some());
        queued.map(|stream| QueuedStream {
            id: stream.id,
            tag: (!stream.marks.has(Marks::RELEASED)).then_some(stream.tag),
            bytes: self.output.queues.len(stream.queue),
        })
    }

    /// The way to the peer is lost: nothing more can be said, and what was queued is given up.
    pub fn lose(&mut self) {
        self.output.end(None);
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
}

#[cfg(test)]
mod tests {
    use super::super::error::OpenError;
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
