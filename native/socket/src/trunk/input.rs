//! What the trunk's reader feeds.

use std::sync::atomic::Ordering::Relaxed;

use megaphone_trunk::v1::Decoder;
use megaphone_trunk::v2::{self, GoAwayCode, Session};
use parking_lot::Mutex;

use super::{Trunk, TrunkError, milliseconds};
use crate::handle::Handle;
use crate::link::{Link, V1, V2};
use crate::names::Names;
use crate::origin::Protocol;
use crate::outbox::Outbox;
use crate::sink::{Process, Sink};
use crate::slab::SHARDS;

/// What came of a feed.
#[derive(Debug, Default)]
pub struct Fed<P> {
    /// Connections that opened, oldest first, and what they carry: each needs an owner.
    pub opened: Vec<(Handle, Protocol)>,
    /// Owners at work whose connection ended: they wait for something else and won't notice.
    pub busy: Vec<P>,
    /// Owners at work whose peer sends no more: it may wait for their answer, or have left.
    pub half_closed: Vec<P>,
    /// Why the trunk has to end; what came before it in the same bytes was taken.
    pub error: Option<TrunkError>,
}

impl<P: Process> Trunk<P> {
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
            0 => Link::V2(V2::new(self.session(), self.config.max_trunk_output)),
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
            owners_keep_output: true,
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
}
