//! What a trunk has done, counted so that reading it never asks a process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::origin::{Origin, Transport};

/// The counters of one trunk.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) frames_in: AtomicU64,
    pub(crate) frames_out: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) opened: AtomicU64,
    pub(crate) buffered: AtomicUsize,
    pub(crate) waiters: AtomicUsize,
    tcp_sessions: AtomicUsize,
    tls_sessions: AtomicUsize,
    websocket_sessions: AtomicUsize,
    bosh_sessions: AtomicUsize,
    errors: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counters {
    pub(crate) fn count_error(&self, kind: &'static str) {
        *self.errors.lock().entry(kind).or_insert(0) += 1;
    }

    /// A session begins.
    pub(crate) fn session_came(&self, origin: Option<&Origin>) {
        self.sessions(origin).fetch_add(1, Relaxed);
    }

    /// A session that began has ended.
    pub(crate) fn session_left(&self, origin: Option<&Origin>) {
        self.sessions(origin).fetch_sub(1, Relaxed);
    }

    fn sessions(&self, origin: Option<&Origin>) -> &AtomicUsize {
        match (origin.and_then(|it| it.transport), origin) {
            (Some(Transport::WebSocket), _) => &self.websocket_sessions,
            (Some(Transport::Bosh), _) => &self.bosh_sessions,
            (_, Some(Origin { is_tls: true, .. })) => &self.tls_sessions,
            _ => &self.tcp_sessions,
        }
    }

    pub(crate) fn read(&self, connections: usize) -> Status {
        Status {
            connections,
            opened: self.opened.load(Relaxed),
            frames_in: self.frames_in.load(Relaxed),
            frames_out: self.frames_out.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            buffered: self.buffered.load(Relaxed),
            unsent: 0,
            waiters: self.waiters.load(Relaxed),
            sessions: Sessions {
                tcp: self.tcp_sessions.load(Relaxed),
                tls: self.tls_sessions.load(Relaxed),
                websocket: self.websocket_sessions.load(Relaxed),
                bosh: self.bosh_sessions.load(Relaxed),
            },
            errors: self.errors.lock().iter().map(|(k, v)| (*k, *v)).collect(),
        }
    }
}

/// Sessions by how their clients are connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// Plain TCP.
    pub tcp: usize,
    /// TLS.
    pub tls: usize,
    /// WebSocket, with or without TLS.
    pub websocket: usize,
    /// BOSH, with or without TLS.
    pub bosh: usize,
}

/// A trunk's counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Connections in the table: open, or closed by one side and not yet by the other.
    pub connections: usize,
    /// Connections opened since the trunk's start.
    pub opened: u64,
    /// Frames read.
    pub frames_in: u64,
    /// Frames written.
    pub frames_out: u64,
    /// Bytes read from the trunk, headers included.
    pub bytes_in: u64,
    /// Bytes handed to the trunk's socket, headers included.
    pub bytes_out: u64,
    /// Bytes of input that no process has asked for yet.
    pub buffered: usize,
    /// Bytes of output that the trunk's writer has not taken yet.
    pub unsent: usize,
    /// Processes that wait in recv or send.
    pub waiters: usize,
    /// Sessions that are open, logged in or not.
    pub sessions: Sessions,
    /// Errors by kind: a refused request's name, `max_connections`, `max_trunk_buffer`, `max_trunk_output`, ...
    pub errors: Vec<(&'static str, u64)>,
}

impl Status {
    /// Adds the counters of another trunk.
    pub fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.opened += other.opened;
        self.frames_in += other.frames_in;
        self.frames_out += other.frames_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.buffered += other.buffered;
        self.unsent += other.unsent;
        self.waiters += other.waiters;
        self.sessions.tcp += other.sessions.tcp;
        self.sessions.tls += other.sessions.tls;
        self.sessions.websocket += other.sessions.websocket;
        self.sessions.bosh += other.sessions.bosh;
        for (kind, count) in &other.errors {
            self.count(kind, *count);
        }
    }

    /// Adds to the errors of a kind; none is nothing.
    pub fn count(&mut self, kind: &'static str, count: u64) {
        match self.errors.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, sum)) => *sum += count,
            None if count > 0 => self.errors.push((kind, count)),
            None => {}
        }
    }
}
