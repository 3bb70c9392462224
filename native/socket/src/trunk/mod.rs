//! One trunk's connections: what its reader feeds, its writer takes and the owners call.

#[cfg(test)]
pub(crate) mod audit;
mod calls;
mod care;
mod error;
mod feed_v1;
mod feed_v2;
mod input;
mod options;
mod output;
mod owners;

pub use calls::Direction;
pub use error::TrunkError;
pub use input::Fed;
pub use options::{Change, Options};
pub use owners::Monitor;

use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::Config;
use crate::connection::{Connection, Surroundings};
use crate::counters::{Counters, Status};
use crate::handle::Handle;
use crate::id_table::Name;
use crate::link::{Key, Link};
use crate::overdue::{Debt, Patience};
use crate::sink::{Process, Sink};
use crate::slab::Slab;
use crate::watch::Watch;

/// The connections of one trunk.
///
/// Locks are taken in the order names or ring, shard, and last outbox, session or room; `watch` is never
/// held with another.
pub struct Trunk<P> {
    pub(crate) config: Config,
    pub(crate) reader: P,
    writer: OnceLock<P>,
    /// Whether the writer has been told of output and not looked yet.
    told: AtomicBool,
    /// The buffer that the writer's last batch was in.
    spare: Mutex<Vec<u8>>,
    /// The protocol, once the first byte has come.
    pub(crate) link: OnceLock<Link>,
    pub(crate) connections: Slab<Connection<P>>,
    watch: Mutex<Watch<P>>,
    pub(crate) counters: Counters,
    pub(crate) draining: AtomicBool,
    debt: Mutex<Debt>,
    /// How many sends had found no room when that was told last, and when that was (seconds).
    told_held_up: Mutex<(u64, Option<u32>)>,
    started: Instant,
    /// Seconds since the start, as of the last feed or sweep: a send need not ask the clock.
    pub(crate) now: AtomicU32,
    next_sweep: AtomicUsize,
}

impl<P: Process> Trunk<P> {
    /// A trunk without connections. `reader` feeds it and owns each new connection until
    /// [`Trunk::own`] gives it to its own process.
    pub fn new(config: Config, reader: P) -> Self {
        let patience = Patience {
            first_frame: config.handshake_timeout,
            begun_frame: config.frame_timeout,
        };
        Self {
            config,
            reader,
            writer: OnceLock::new(),
            told: AtomicBool::new(false),
            spare: Mutex::default(),
            link: OnceLock::new(),
            connections: Slab::new(),
            watch: Mutex::new(Watch::new()),
            counters: Counters::default(),
            draining: AtomicBool::new(false),
            debt: Mutex::new(Debt::new(patience)),
            told_held_up: Mutex::default(),
            started: Instant::now(),
            now: AtomicU32::new(0),
            next_sweep: AtomicUsize::new(0),
        }
    }

    /// The process that feeds the trunk.
    pub fn reader(&self) -> P {
        self.reader
    }

    /// The protocol's version; 0 until the first byte has come.
    pub fn version(&self) -> u8 {
        match self.link.get() {
            None => 0,
            Some(Link::V1(_)) => 1,
            Some(Link::V2(_)) => 2,
        }
    }

    /// Whether it takes no new connections.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// The counters.
    pub fn status(&self) -> Status {
        let mut status = self.counters.read(self.connections.len());
        match self.link.get() {
            None => {}
            Some(Link::V1(v1)) => {
                let (unsent, refused) = v1.outbox.status();
                status.unsent = unsent;
                status.count("max_trunk_output", refused);
            }
            Some(Link::V2(v2)) => {
                let (totals, left) = v2.with(|session| (session.totals(), session.unsent()));
                status.unsent = v2.backlog.waiting() + left;
                status.frames_in = totals.frames_received;
                status.frames_out = totals.data_frames_sent;
                status.count("max_trunk_output", v2.backlog.refused());
                status.count("refused_streams", totals.streams_refused);
                status.count("unread_streams", totals.streams_unread);
                status.count("stray_frames", totals.stray_frames);
            }
        }
        status
    }

    /// Visits a connection; tells the writer and forgets the connection as its state asks.
    pub(crate) fn visit<S: Sink<P>, R>(
        &self,
        handle: Handle,
        sink: &mut S,
        visit: impl FnOnce(&mut Connection<P>, &mut Surroundings<'_, S>) -> R,
    ) -> Option<R> {
        let link = self.link.get()?;
        let mut around = self.around(link, handle, sink);
        let (result, removed) = self.connections.settle(handle, |connection| {
            let result = visit(connection, &mut around);
            (result, connection.fate())
        });
        let wrote = around.wrote;
        if wrote {
            self.tell_writer(sink);
        }
        if let Some(connection) = removed {
            self.forget(link, handle, &connection);
        }
        result
    }

    /// As [`Trunk::visit`] for all of a shard; gives what the visits gave.
    fn visit_shard<S: Sink<P>, R>(
        &self,
        shard: usize,
        sink: &mut S,
        mut visit: impl FnMut(&mut Connection<P>, &mut Surroundings<'_, S>) -> Option<R>,
    ) -> Vec<R> {
        let Some(link) = self.link.get() else {
            return Vec::new();
        };
        let mut results = Vec::new();
        let mut removed = Vec::new();
        let mut wrote = false;
        let settle = |handle, connection: &mut Connection<P>| {
            let mut around = self.around(link, handle, sink);
            results.extend(visit(connection, &mut around));
            wrote |= around.wrote;
            connection.fate()
        };
        self.connections.settle_shard(shard, settle, &mut removed);
        if wrote {
            self.tell_writer(sink);
        }
        for (handle, connection) in removed {
            self.forget(link, handle, &connection);
        }
        results
    }

    fn around<'a, S>(
        &'a self,
        link: &'a Link,
        handle: Handle,
        sink: &'a mut S,
    ) -> Surroundings<'a, S> {
        Surroundings {
            handle,
            config: &self.config,
            counters: &self.counters,
            link,
            sink,
            now: self.now.load(Relaxed),
            wrote: false,
        }
    }

    fn forget(&self, link: &Link, handle: Handle, connection: &Connection<P>) {
        self.watch.lock().remove(connection.owner, handle);
        if let (Link::V1(v1), Key::V1(id)) = (link, connection.key) {
            let mut names = v1.names.lock();
            // Still there: the peer hasn't closed it, we did.
            if names.get(&id) == Some(Name::Live(handle)) {
                names.end(id, self.now.load(Relaxed));
            }
        }
    }

    /// Milliseconds since the start: the session's clock.
    fn milliseconds(&self) -> u64 {
        milliseconds(self.started.elapsed())
    }

    fn look_at_the_clock(&self) -> u32 {
        let now = u32::try_from(self.started.elapsed().as_secs()).unwrap_or(u32::MAX);
        self.now.store(now, Relaxed);
        now
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
