//! One trunk's connections: what its reader feeds, its writer takes and the owners call.

#[cfg(test)]
pub(crate) mod audit;

use std::sync::OnceLock;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
use std::time::{Duration, Instant};

use megaphone_trunk::v1::{Decoder, FrameError};
use megaphone_trunk::v2::{self, GoAwayCode, Session, SessionError};
use parking_lot::Mutex;

use crate::config::Config;
use crate::connection::{Connection, Recv, Send, Statistics, Surroundings};
use crate::counters::{Counters, Status};
use crate::handle::Handle;
use crate::link::{Key, Link, V1, V2};
use crate::names::{Name, Names};
use crate::options::{Active, ActiveChange, Mode};
use crate::origin::{Origin, Protocol};
use crate::outbox::Outbox;
use crate::overdue::{Debt, Overdue, Patience, Progress};
use crate::sink::{Process, Reason, Sink, WRITER};
use crate::slab::{SHARDS, Slab};
use crate::watch::{Known, Watch};

/// How long nothing more is told of sends that found no room (seconds).
const HELD_UP_SILENCE: u32 = 60;
/// The largest buffer that is kept for the next batch (bytes).
const MAX_SPARE: usize = 512 << 10;

/// The connections of one trunk.
///
/// Locks are taken in the order names, shard, and last outbox or session; `watch` is never held
/// with another.
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

/// What came of a feed.
#[derive(Debug, Default)]
pub struct Fed<P> {
    /// Connections that opened, oldest first: each needs an owner.
    pub opened: Vec<Handle>,
    /// Owners at work whose connection ended: they wait for something else and won't notice.
    pub busy: Vec<P>,
    /// Owners at work whose peer sends no more: it may wait for their answer, or have left.
    pub half_closed: Vec<P>,
    /// Why the trunk has to end; what came before it in the same bytes was taken.
    pub error: Option<TrunkError>,
}

/// Why a trunk has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrunkError {
    /// The bytes are no frames of version 1.
    V1(FrameError),
    /// The session of version 2 failed, by what came or by what did not.
    V2(SessionError),
    /// A frame is due for too long.
    Overdue(Overdue),
    /// The peer of version 1 reads none of so many bytes of closes, and makes more of them due.
    UnreadCloses(usize),
}

impl TrunkError {
    /// The error's name in counters.
    pub fn name(&self) -> &'static str {
        match self {
            TrunkError::V1(error) => error.fault.name(),
            TrunkError::V2(error) => error.fault.name(),
            TrunkError::Overdue(overdue) => overdue.name(),
            TrunkError::UnreadCloses(_) => "unread_closes",
        }
    }
}

impl std::fmt::Display for TrunkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TrunkError::V1(error) => error.fmt(f),
            TrunkError::V2(error) => error.fmt(f),
            TrunkError::Overdue(overdue) => overdue.fmt(f),
            TrunkError::UnreadCloses(bytes) => write!(
                f,
                "its peer opens and closes connections and reads nothing, {bytes} bytes of answers wait"
            ),
        }
    }
}

impl std::error::Error for TrunkError {}

impl From<FrameError> for TrunkError {
    fn from(error: FrameError) -> TrunkError {
        TrunkError::V1(error)
    }
}

impl From<SessionError> for TrunkError {
    fn from(error: SessionError) -> TrunkError {
        TrunkError::V2(error)
    }
}

impl From<Overdue> for TrunkError {
    fn from(overdue: Overdue) -> TrunkError {
        TrunkError::Overdue(overdue)
    }
}

/// A socket's options as getopts answers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `active`.
    pub active: Active,
    /// `packet`.
    pub mode: Mode,
    /// `send_timeout` in milliseconds; `None` is infinity.
    pub send_timeout: Option<u32>,
}

/// What setopts changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// `active`.
    Active(ActiveChange),
    /// `packet`.
    Mode(Mode),
    /// `send_timeout` in milliseconds; `None` is infinity.
    SendTimeout(Option<u32>),
}

/// gen_tcp:shutdown/2's direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// No more recv.
    Read,
    /// No more send.
    Write,
    /// Neither.
    ReadWrite,
}

impl<P: Process> Trunk<P> {
    /// A trunk without connections. `reader` feeds it and owns each new connection until
    /// [`Trunk::own`] gives it to its own process.
    pub fn new(config: Config, reader: P) -> Trunk<P> {
        let patience = Patience {
            first_frame: config.handshake_timeout,
            begun_frame: config.frame_timeout,
        };
        Trunk {
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

    /// The process to wake, by [`WRITER`], when there is output. It can be set once, and is woken
    /// at once: there may be output that nobody could be told of.
    pub fn set_writer<S: Sink<P>>(&self, writer: P, sink: &mut S) {
        if self.writer.set(writer).is_ok() {
            self.told.store(true, Release);
            sink.wake(writer, WRITER);
        }
    }

    /// Takes bytes from the trunk's socket, cut anywhere.
    pub fn feed<S: Sink<P>>(&self, data: &[u8], sink: &mut S) -> Fed<P> {
        self.look_at_the_clock();
        self.counters.bytes_in.fetch_add(data.len() as u64, Relaxed);
        let mut fed = Fed {
            opened: Vec::new(),
            busy: Vec::new(),
            half_closed: Vec::new(),
            error: None,
        };
        let taken = match self.link(data) {
            None => Ok(()),
            Some(Link::V1(v1)) => self.feed_v1(v1, data, &mut fed, sink),
            Some(Link::V2(v2)) => self.feed_v2(v2, data, &mut fed, sink),
        };
        if let Err(error) = taken {
            self.counters.count_error(error.name());
            fed.error = Some(error);
        }
        if self.counters.buffered.load(Relaxed) > self.config.max_trunk_buffer {
            self.reset_greediest(&mut fed, sink);
        }
        fed
    }

    /// The trunk's protocol: version 2 if its first byte is 0, yamux's version; else version 1,
    /// whose decoder says what is wrong if it isn't a digit.
    fn link(&self, data: &[u8]) -> Option<&Link> {
        let first = *data.first()?;
        Some(self.link.get_or_init(|| match first {
            0 => Link::V2(V2 {
                session: Mutex::new(self.session()),
            }),
            _ => Link::V1(V1 {
                decoder: Mutex::new(Decoder::new(self.config.max_frame_size)),
                names: Mutex::<Names>::default(),
                outbox: Outbox::new(self.config.max_trunk_output),
            }),
        }))
    }

    fn session(&self) -> Session {
        let config = v2::Config {
            max_streams: self.config.max_connections,
            max_output: self.config.max_trunk_output,
            linger: self.config.idle_timeout.map(milliseconds),
            ceilings: self.config.ceilings,
            ..v2::Config::default()
        };
        let mut session = Session::server(config, self.milliseconds());
        if self.draining.load(Relaxed) {
            session.go_away(GoAwayCode::Normal);
        }
        session
    }

    /// The protocol's version; 0 until the first byte has come.
    pub fn version(&self) -> u8 {
        match self.link.get() {
            None => 0,
            Some(Link::V1(_)) => 1,
            Some(Link::V2(_)) => 2,
        }
    }

    /// One scan frees a sixteenth of the buffer at least, so that a peer which keeps the buffer
    /// full does not make each of its frames cost a scan.
    fn reset_greediest<S: Sink<P>>(&self, fed: &mut Fed<P>, sink: &mut S) {
        let mut holders = Vec::new();
        for shard in 0..SHARDS {
            self.connections.for_each(shard, |handle, connection| {
                let buffered = connection.buffered();
                if buffered > 0 {
                    holders.push((buffered, handle));
                }
            });
        }
        holders.sort_unstable();
        let enough = self.config.max_trunk_buffer - self.config.max_trunk_buffer / 16;
        while self.counters.buffered.load(Relaxed) > enough
            && let Some((_, handle)) = holders.pop()
        {
            self.counters.count_error("max_trunk_buffer");
            let busy = self.visit(handle, sink, |connection, around| {
                let busy = connection.reset(around);
                self.owner_at_work(connection, busy)
            });
            fed.busy.extend(busy.flatten());
        }
    }

    /// Gives a connection to the process that will read it; false if it is closed. The
    /// process's death closes the connection.
    pub fn own<S: Sink<P> + Monitor<P>>(&self, handle: Handle, owner: P, sink: &mut S) -> bool {
        let before = self.connections.visit(handle, |connection| {
            (!connection.is_released()).then(|| std::mem::replace(&mut connection.owner, owner))
        });
        let Some(before) = before.flatten() else {
            return false;
        };
        self.untie(before, handle);
        self.tie(owner, handle, sink);
        true
    }

    fn tie<S: Sink<P> + Monitor<P>>(&self, process: P, handle: Handle, sink: &mut S) {
        let known = self.watch.lock().add(process, handle);
        if known == Known::New && !sink.monitor(process) {
            self.down(process, sink);
        }
    }

    /// A process waits or owns no more, unless it has become the owner meanwhile: then its death
    /// must go on to close the connection.
    fn untie(&self, process: P, handle: Handle) {
        self.watch.lock().remove(process, handle);
        let owns = self.connections.visit(handle, |connection| {
            !connection.is_released() && connection.owner == process
        });
        if owns == Some(true) {
            self.watch.lock().add_known(process, handle);
        }
    }

    /// The owner of a connection; `None` if it is closed.
    pub fn owner(&self, handle: Handle) -> Option<P> {
        let owner = self.connections.visit(handle, |connection| {
            (!connection.is_released()).then_some(connection.owner)
        });
        owner.flatten()
    }

    /// A process died: its connections close, its waits end.
    pub fn down<S: Sink<P>>(&self, process: P, sink: &mut S) {
        let handles = self.watch.lock().take(process);
        for handle in handles {
            self.visit(handle, sink, |connection, around| {
                if connection.owner == process {
                    connection.release(around);
                } else {
                    connection.forget_process(around.counters, process);
                }
            });
        }
    }

    /// gen_tcp:recv/3 by `process`: exactly `length` bytes, or what there is for 0.
    pub fn recv<S: Sink<P> + Monitor<P>, R>(
        &self,
        handle: Handle,
        process: P,
        length: usize,
        sink: &mut S,
        take: impl FnOnce(crate::sink::Piece<'_>) -> R,
    ) -> Recv<R> {
        let mut owner = None;
        let answer = self.visit(handle, sink, |connection, around| {
            owner = Some(connection.owner);
            connection.recv(around, process, length, take)
        });
        let answer = answer.unwrap_or(Recv::Failed(Reason::Closed));
        // An owner is watched as long as it owns; another process while it waits, which may be
        // longer than the connection lasts.
        if owner != Some(process) {
            match answer {
                Recv::Wait(_) => self.tie(process, handle, sink),
                _ => self.untie(process, handle),
            }
        }
        answer
    }

    /// gen_tcp:send/2 by `process`: all of `data` is queued, or none.
    pub fn send<S: Sink<P> + Monitor<P>>(
        &self,
        handle: Handle,
        process: P,
        data: &[u8],
        sink: &mut S,
    ) -> Send {
        let draining = self.draining.load(Relaxed);
        let mut owner = None;
        let answer = self.visit(handle, sink, |connection, around| {
            owner = Some(connection.owner);
            let answer = connection.send(around, process, data);
            if draining && connection.between_requests() {
                connection.retire(around);
            }
            answer
        });
        self.waits_to_send(handle, process, owner, answer, sink)
    }

    /// As a send of `length` bytes, up to 64 KiB, without them: once it is done there is room for them, until
    /// the connection's next send or [`Trunk::unreserve`].
    pub fn reserve<S: Sink<P> + Monitor<P>>(
        &self,
        handle: Handle,
        process: P,
        length: usize,
        sink: &mut S,
    ) -> Send {
        let mut owner = None;
        let answer = self.visit(handle, sink, |connection, around| {
            owner = Some(connection.owner);
            connection.reserve(around, process, length)
        });
        self.waits_to_send(handle, process, owner, answer, sink)
    }

    /// There is no send for which room was kept.
    pub fn unreserve<S: Sink<P>>(&self, handle: Handle, sink: &mut S) {
        self.visit(handle, sink, |connection, around| {
            connection.unreserve(around)
        });
    }

    /// The answer to a process, which is watched as long as it waits.
    fn waits_to_send<S: Sink<P> + Monitor<P>>(
        &self,
        handle: Handle,
        process: P,
        owner: Option<P>,
        answer: Option<Send>,
        sink: &mut S,
    ) -> Send {
        let answer = answer.unwrap_or(Send::Failed(Reason::Closed));
        if owner != Some(process) {
            match answer {
                Send::Wait(_) => self.tie(process, handle, sink),
                _ => self.untie(process, handle),
            }
        }
        answer
    }

    /// Waits for the owner's close or death; `None` if the connection is closed.
    pub fn watch<S: Sink<P> + Monitor<P>>(
        &self,
        handle: Handle,
        process: P,
        sink: &mut S,
    ) -> Option<u64> {
        let watch = |connection: &mut Connection<P>| {
            (connection.owner, connection.watch(&self.counters, process))
        };
        let (owner, number) = self.connections.visit(handle, watch)?;
        if owner != process && number.is_some() {
            self.tie(process, handle, sink);
        }
        number
    }

    /// Ends a wait; false if its wake was sent, or is about to be.
    pub fn cancel(&self, handle: Handle, process: P, number: u64) -> bool {
        let mut owner = None;
        let cancelled = self.connections.visit(handle, |connection| {
            owner = Some(connection.owner);
            connection.cancel(&self.counters, number)
        });
        if owner != Some(process) {
            self.untie(process, handle);
        }
        cancelled.unwrap_or(false)
    }

    /// gen_tcp:close/1: never fails; what was sent still goes out.
    pub fn close<S: Sink<P>>(&self, handle: Handle, sink: &mut S) {
        self.visit(handle, sink, |connection, around| {
            connection.release(around)
        });
    }

    /// gen_tcp:shutdown/2; false if the connection is closed.
    pub fn shutdown<S: Sink<P>>(&self, handle: Handle, how: Direction, sink: &mut S) -> bool {
        let open = self.visit(handle, sink, |connection, around| {
            if connection.is_released() {
                return false;
            }
            if how != Direction::Read {
                connection.shutdown_write(around);
            }
            if how != Direction::Write {
                connection.shutdown_read(around);
            }
            true
        });
        open.unwrap_or(false)
    }

    /// inet:setopts/2: the changes in order, up to the first that fails (`einval`).
    pub fn set_options<S: Sink<P>>(
        &self,
        handle: Handle,
        changes: &[Change],
        sink: &mut S,
    ) -> Result<(), Reason> {
        let changed = self.visit(handle, sink, |connection, around| {
            if connection.is_released() {
                return Err(Reason::Invalid);
            }
            for change in changes {
                match *change {
                    Change::Active(active) => connection.set_active(around, active)?,
                    Change::Mode(mode) => connection.set_mode(around, mode),
                    Change::SendTimeout(timeout) => connection.set_send_timeout(timeout),
                }
            }
            Ok(())
        });
        changed.unwrap_or(Err(Reason::Invalid))
    }

    /// inet:getopts/2; `None` if the connection is closed.
    pub fn options(&self, handle: Handle) -> Option<Options> {
        let options = self.connections.visit(handle, |connection| {
            (!connection.is_released()).then(|| Options {
                active: connection.active(),
                mode: connection.mode(),
                send_timeout: connection.send_timeout(),
            })
        });
        options.flatten()
    }

    /// inet:getstat/2; `None` if the connection is closed.
    pub fn statistics(&self, handle: Handle) -> Option<Statistics> {
        let link = self.link.get()?;
        let statistics = self.connections.visit(handle, |connection| {
            (!connection.is_released()).then(|| connection.statistics(link))
        });
        statistics.flatten()
    }

    /// What the connection carries.
    pub fn protocol(&self, handle: Handle) -> Option<Protocol> {
        self.connections
            .visit(handle, |connection| connection.protocol())
    }

    /// Where the connection comes from, as its PROXY header says; `None` if it is closed or had
    /// none: it comes from the trunk's peer itself.
    pub fn origin(&self, handle: Handle) -> Option<Origin> {
        self.connections
            .visit(handle, |connection| connection.origin().copied())
            .flatten()
    }

    /// Ends a connection by RST, whoever owns it.
    pub fn reset<S: Sink<P>>(&self, handle: Handle, sink: &mut S) {
        self.visit(handle, sink, |connection, around| {
            connection.reset(around);
            connection.release(around);
        });
    }

    /// Whether bytes can still pass: neither side has closed.
    pub fn is_open(&self, handle: Handle) -> bool {
        let open = self
            .connections
            .visit(handle, |connection| connection.is_open());
        open.unwrap_or(false)
    }

    /// The writer's batch: about `limit` bytes, one frame a connection and turn. `None` if there
    /// is nothing; the writer then waits for its next [`WRITER`] wake.
    pub fn take_output<S: Sink<P>, R>(
        &self,
        limit: usize,
        sink: &mut S,
        take: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        // What comes from here on has to be told again.
        self.told.store(false, Release);
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
        let mut callers = v1.outbox.callers();
        while !callers.is_empty() {
            let waited = callers.into_iter().filter(|handle| {
                let waited = self.visit(*handle, sink, Connection::find_room);
                waited == Some(true)
            });
            // Where none of them waited still there is room for others.
            callers = match waited.count() {
                0 => v1.outbox.callers(),
                _ => Vec::new(),
            };
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
            // Who is online has nothing to say for hours; the ECM knows whether the client is there.
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
        let (ticked, has_output) = {
            let mut session = v2.session.lock();
            let ticked = session.tick(now);
            (ticked, session.has_output())
        };
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
                let session = v2.session.lock();
                (session.whole_frames(), session.is_between_frames())
            }
        };
        Progress {
            whole_frames,
            is_between_frames,
            bytes: self.counters.bytes_in.load(Relaxed),
        }
    }

    /// Takes no new connections (a go-away; 503 in version 1), closes those between two requests,
    /// and the others as their answers end.
    pub fn drain<S: Sink<P>>(&self, sink: &mut S) {
        self.draining.store(true, Relaxed);
        if let Some(Link::V2(v2)) = self.link.get() {
            v2.session.lock().go_away(GoAwayCode::Normal);
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

    /// Whether some output is not with the writer yet: it waits for it, or for a window.
    pub fn has_output(&self) -> bool {
        match self.link.get() {
            None => false,
            Some(Link::V1(v1)) => !v1.outbox.is_empty(),
            Some(Link::V2(v2)) => {
                let session = v2.session.lock();
                session.has_output() || session.total_queued() > 0
            }
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

    /// The owners of the connections that carry `protocol` and are open.
    pub fn owners(&self, protocol: Protocol) -> Vec<P> {
        let mut owners = Vec::new();
        for shard in 0..SHARDS {
            self.connections.for_each(shard, |_, connection| {
                if connection.protocol() == protocol && !connection.is_released() {
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
                let session = v2.session.lock();
                let totals = session.totals();
                status.unsent = session.unsent();
                status.frames_in = totals.frames_received;
                status.frames_out = totals.data_frames_sent;
                status.count("max_trunk_output", session.writes_without_room());
                status.count("refused_streams", totals.streams_refused);
                status.count("unread_streams", totals.streams_unread);
                status.count("stray_frames", totals.stray_frames);
            }
        }
        status
    }

    /// How many more sends found no room for [`Config::max_trunk_output`] than were told of; once a minute at
    /// most, else 0.
    pub fn held_up(&self) -> u64 {
        let found_no_room = match self.link.get() {
            None => 0,
            Some(Link::V1(v1)) => v1.outbox.status().1,
            Some(Link::V2(v2)) => v2.session.lock().writes_without_room(),
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

    /// The reader owns a connection until its process has started, and is never to be looked after.
    pub(crate) fn owner_at_work(&self, connection: &Connection<P>, busy: bool) -> Option<P> {
        (busy && connection.owner != self.reader).then_some(connection.owner)
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

    pub(crate) fn tell_writer<S: Sink<P>>(&self, sink: &mut S) {
        if !self.told.swap(true, AcqRel)
            && let Some(writer) = self.writer.get()
        {
            sink.wake(*writer, WRITER);
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

/// How to hear of a process's death: [`Trunk::down`] is to be called then, once.
pub trait Monitor<P> {
    /// Monitors a process; false if it is dead already.
    fn monitor(&mut self, process: P) -> bool;
}
