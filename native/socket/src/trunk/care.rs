//! What time, a drain and the trunk's loss mean for the connections.

use std::sync::atomic::Ordering::Relaxed;

use megaphone_trunk::v2::{GoAwayCode, SessionError};

use super::{Trunk, TrunkError};
use crate::handle::Handle;
use crate::link::Link;
use crate::origin::Protocol;
use crate::overdue::Progress;
use crate::sink::{Process, Sink};
use crate::slab::SHARDS;

impl<P: Process> Trunk<P> {
    /// Looks at the clock: pings a silent peer of version 2. To be called each second, from the start.
    ///
    /// # Errors
    /// The trunk has to end: the peer owes a frame or an answer for too long, or the session of version 2
    /// has failed otherwise.
    pub fn tick<S: Sink<P>>(&self, sink: &mut S) -> Result<(), TrunkError> {
        let now = self.milliseconds();
        let ticked = self.tick_session(now, sink).map_err(TrunkError::from);
        let looked = ticked.and_then(|()| Ok(self.debt.lock().look(now, self.progress())?));
        looked.inspect_err(|error| self.counters.count_error(error.name()))
    }

    fn tick_session<S: Sink<P>>(&self, now: u64, sink: &mut S) -> Result<(), SessionError> {
        let Some(Link::V2(v2)) = self.link.get() else {
            return Ok(());
        };
        let (ticked, has_output) = v2.with(|session| (session.tick(now), session.has_output()));
        if has_output {
            self.tell_writer(sink);
        }
        ticked
    }

    fn progress(&self) -> Progress {
        let (whole_frames, is_between_frames) = match self.link.get() {
            None => (0, true),
            Some(Link::V1(v1)) => {
                let whole_frames = self.counters.frames_in.load(Relaxed);
                (whole_frames, v1.decoder.lock().is_between_frames())
            }
            Some(Link::V2(v2)) => {
                v2.with(|session| (session.whole_frames(), session.is_between_frames()))
            }
        };
        Progress {
            whole_frames,
            is_between_frames,
            bytes: self.counters.bytes_in.load(Relaxed),
        }
    }

    /// Looks after one shard: closes what was idle too long, forgets ended ids whose time has
    /// passed. 64 calls see all; gives the owners at work whose connection was closed.
    pub fn sweep<S: Sink<P>>(&self, sink: &mut S) -> Vec<P> {
        let now = self.look_at_the_clock();
        if let Some(Link::V1(v1)) = self.link.get() {
            v1.names.lock().expire(now);
        }
        let Some(idle) = self.config.idle_timeout else {
            return Vec::new();
        };
        let idle = u32::try_from(idle.as_secs()).unwrap_or(u32::MAX);
        let shard = self.next_sweep.fetch_add(1, Relaxed) % SHARDS;
        self.visit_shard(shard, sink, |connection, around| {
            // A user who is online may send nothing for hours; the ECM knows whether the client is there.
            let is_session = connection.protocol() == Protocol::XmppFraming;
            let is_idle = now.saturating_sub(connection.last_active()) >= idle;
            if is_session || !is_idle || !connection.is_open() {
                return None;
            }
            around.counters.count_error("idle_timeout");
            let busy = connection.is_busy();
            connection.retire(around);
            self.owner_at_work(connection, busy)
        })
    }

    /// Takes no new connections (a go-away; 503 in version 1), closes those between two requests,
    /// and the others as their answers end.
    pub fn drain<S: Sink<P>>(&self, sink: &mut S) {
        self.draining.store(true, Relaxed);
        if let Some(Link::V2(v2)) = self.link.get() {
            v2.with(|session| session.go_away(GoAwayCode::Normal));
            self.tell_writer(sink);
        }
        for shard in 0..SHARDS {
            self.visit_shard(shard, sink, |connection, around| {
                if connection.between_requests() {
                    connection.retire(around);
                }
                None::<()>
            });
        }
    }

    /// The owners whose answers are not out yet.
    pub fn in_flight(&self) -> Vec<P> {
        let mut owners = Vec::new();
        for shard in 0..SHARDS {
            self.connections.for_each(shard, |_, connection| {
                if connection.in_flight() {
                    owners.push(connection.owner);
                }
            });
        }
        owners
    }

    /// Whether it carries what lasts as long as a client wants: an XML stream or a session.
    pub fn is_serving(&self) -> bool {
        let mut serving = false;
        for shard in 0..SHARDS {
            self.connections.for_each(shard, |_, connection| {
                serving |= connection.protocol().is_xmpp() && !connection.is_released();
            });
            if serving {
                break;
            }
        }
        serving
    }

    /// Ends a connection by RST, whatever its owner does.
    pub fn reset<S: Sink<P>>(&self, handle: Handle, sink: &mut S) {
        self.visit(handle, sink, |connection, around| {
            connection.reset(around);
            connection.release(around);
        });
    }

    /// The trunk is lost: all connections end with `econnreset`, streams behind what has come. Gives the
    /// owners at work. What processes still know of it, for as long as a session waits to be resumed, say, is
    /// an empty one.
    pub fn lose<S: Sink<P>>(&self, sink: &mut S) -> Vec<P> {
        self.draining.store(true, Relaxed);
        let mut busy = Vec::new();
        for shard in 0..SHARDS {
            busy.extend(self.visit_shard(shard, sink, |connection, around| {
                let busy = connection.lose(around);
                self.owner_at_work(connection, busy)
            }));
        }
        if let Some(link) = self.link.get() {
            link.abandon();
        }
        *self.spare.lock() = Vec::new();
        busy
    }
}
