//! Version 1: what its frames mean for the connections.

use std::sync::atomic::Ordering::Relaxed;

use megaphone_trunk::v1::{ConnectionId, Event, FrameError, FramePart, HEADER_LEN};

use super::{Fed, Trunk, TrunkError};
use crate::connection::Connection;
use crate::handle::Handle;
use crate::id_table::Name;
use crate::link::{Key, V1};
use crate::origin::Content;
use crate::sink::{Process, Sink};
use crate::slab::TOGETHER;

/// What an HTTP client gets when there is no room for its connection.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 46\r\n\
    Retry-After: 5\r\n\
    Connection: close\r\n\r\n\
    The server takes no more connections for now.\n";

impl<P: Process> Trunk<P> {
    pub(crate) fn feed_v1<S: Sink<P>>(
        &self,
        v1: &V1,
        data: &[u8],
        fed: &mut Fed<P>,
        sink: &mut S,
    ) -> Result<(), TrunkError> {
        let closes = v1.outbox.framed();
        if closes > self.most_closes() {
            return Err(TrunkError::UnreadCloses(closes));
        }
        let mut decoder = v1.decoder.lock();
        let mut events = decoder.decode(data);
        if !self.connections.is_large() {
            for event in events {
                self.frame(v1, event?, fed, sink);
            }
            return Ok(());
        }
        let mut together = Vec::with_capacity(TOGETHER);
        loop {
            together.extend(events.by_ref().take(TOGETHER));
            if together.is_empty() {
                return Ok(());
            }
            self.warm(v1, &together);
            for event in together.drain(..) {
                self.frame(v1, event?, fed, sink);
            }
        }
    }

    /// How many bytes of frames may be ready for the writer: all else than closes is bounded, and there may be
    /// two of these for each connection.
    fn most_closes(&self) -> usize {
        let closes = self.config.max_connections.saturating_mul(2 * HEADER_LEN);
        closes.saturating_add(self.config.max_trunk_output)
    }

    /// Brings what the next frames need into the cache: among very many connections that is what
    /// a frame costs.
    fn warm(&self, v1: &V1, events: &[Result<Event<'_>, FrameError>]) {
        let ids = events.iter().flatten().map(|event| match event {
            Event::Content { id, .. } | Event::Close { id } => *id,
        });
        let live = v1.names.lock().live(ids);
        self.connections.warm(live.into_iter(), Connection::touch);
    }

    fn frame<S: Sink<P>>(&self, v1: &V1, event: Event<'_>, fed: &mut Fed<P>, sink: &mut S) {
        match event {
            Event::Content { id, bytes, part } => {
                if part == FramePart::Last {
                    self.counters.frames_in.fetch_add(1, Relaxed);
                }
                self.content(v1, id, bytes, fed, sink);
            }
            Event::Close { id } => {
                self.counters.frames_in.fetch_add(1, Relaxed);
                self.peer_close(v1, id, fed, sink);
            }
        }
    }

    fn content<S: Sink<P>>(
        &self,
        v1: &V1,
        id: ConnectionId,
        bytes: &[u8],
        fed: &mut Fed<P>,
        sink: &mut S,
    ) {
        let name = v1.names.lock().get(&id);
        let handle = match name {
            Some(Name::Live(handle)) => Some(handle),
            Some(Name::Ended { .. }) => None,
            None => self.open(v1, id, fed, sink),
        };
        if let Some(handle) = handle {
            self.visit(handle, sink, |connection, around| {
                connection.receive(around, bytes);
            });
        }
    }

    fn open<S: Sink<P>>(
        &self,
        v1: &V1,
        id: ConnectionId,
        fed: &mut Fed<P>,
        sink: &mut S,
    ) -> Option<Handle> {
        let now = self.now.load(Relaxed);
        let mut names = v1.names.lock();
        let refusal = if self.draining.load(Relaxed) {
            Some("draining")
        } else if self.connections.len() >= self.config.max_connections {
            Some("max_connections")
        } else {
            None
        };
        let opened = match refusal {
            Some(_) => None,
            None => {
                let connection = Connection::new(Key::V1(id), self.reader, &self.config, now);
                self.connections.insert(connection).ok()
            }
        };
        if let Some(handle) = opened {
            names.insert(id, handle);
            self.counters.opened.fetch_add(1, Relaxed);
            fed.opened.push((handle, self.config.content.protocol()));
            return Some(handle);
        }
        self.counters
            .count_error(refusal.unwrap_or("max_connections"));
        // Ended ids take memory too: past twice the limit each frame is refused anew.
        if names.len() < self.config.max_connections.saturating_mul(2) {
            names.end(id, now);
        }
        drop(names);
        if v1.outbox.has_room() {
            if self.config.content == Content::Http {
                let framed = v1.outbox.frame(&id, NO_ROOM);
                self.counters.frames_out.fetch_add(framed.frames, Relaxed);
            }
            v1.outbox.frame_close(&id);
            self.counters.frames_out.fetch_add(1, Relaxed);
            self.tell_writer(sink);
        }
        None
    }

    fn peer_close<S: Sink<P>>(&self, v1: &V1, id: ConnectionId, fed: &mut Fed<P>, sink: &mut S) {
        let name = {
            let mut names = v1.names.lock();
            let name = names.get(&id);
            names.forget(&id);
            name
        };
        // A close for an id that we don't know, or ended ourselves, needs no answer.
        if let Some(Name::Live(handle)) = name {
            let busy = self.visit(handle, sink, |connection, around| {
                let busy = connection.peer_closed(around);
                self.owner_at_work(connection, busy)
            });
            fed.busy.extend(busy.flatten());
        }
    }
}
