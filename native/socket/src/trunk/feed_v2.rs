//! Version 2: what its streams mean for the connections.
//!
//! The session's lock is taken by whoever closes a connection, with that locked: no connection may
//! be touched under it here. So a feed first reads all events, then handles them.

use std::sync::atomic::Ordering::Relaxed;

use megaphone_trunk::v2::{Event, Events, StreamId, Tag};

use super::{Fed, Trunk, TrunkError};
use crate::connection::{Connection, Received};
use crate::handle::Handle;
use crate::link::{Key, V2};
use crate::sink::{Process, Sink};
use crate::slab::TOGETHER;

/// The tag of a stream whose connection isn't there yet; no handle is 0, generations begin at 1.
const NO_TAG: Tag = 0;

/// What the session told, in order.
#[derive(Default)]
struct Told<'a>(Vec<Event<'a>>);

impl<'a> Events<'a> for Told<'a> {
    fn opened(&mut self, id: StreamId) -> Tag {
        self.0.push(Event::Opened { id });
        NO_TAG
    }

    fn event(&mut self, event: Event<'a>) {
        self.0.push(event);
    }
}

/// The connections that opened in a feed: their streams' later events in it have no tag yet.
#[derive(Default)]
struct Opened(Vec<(StreamId, Handle)>);

impl Opened {
    fn handle(&self, id: StreamId, tag: Tag) -> Option<Handle> {
        if tag != NO_TAG {
            return Some(Handle::from_raw(tag));
        }
        // Ours come in order and the newest is the likely one; other peers' may not.
        let found = self.0.iter().rev().find(|(opened, _)| *opened == id);
        found.map(|(_, handle)| *handle)
    }
}

impl<P: Process> Trunk<P> {
    pub(crate) fn feed_v2<S: Sink<P>>(
        &self,
        v2: &V2,
        data: &[u8],
        fed: &mut Fed<P>,
        sink: &mut S,
    ) -> Result<(), TrunkError> {
        let mut told = Told::default();
        let (received, has_output) =
            v2.with(|session| (session.receive(data, &mut told), session.has_output()));
        let mut opened = Opened::default();
        let mut events = told.0.into_iter();
        while !events.as_slice().is_empty() {
            if self.connections.is_large() {
                self.warm_tagged(events.as_slice());
            }
            for event in events.by_ref().take(TOGETHER) {
                self.stream_event(v2, event, &mut opened, fed, sink);
            }
        }
        if has_output {
            self.tell_writer(sink);
        }
        // Windows opened, or streams are gone with what waited for them.
        self.call_senders(sink, || v2.backlog.callers());
        Ok(received?)
    }

    /// Brings the connections of the next events into the cache.
    fn warm_tagged(&self, events: &[Event<'_>]) {
        let next = events.iter().take(TOGETHER);
        let handles = next.filter_map(|event| match event {
            Event::Data { tag, .. } | Event::Finished { tag, .. } | Event::Window { tag, .. }
                if *tag != NO_TAG =>
            {
                Some(Handle::from_raw(*tag))
            }
            _ => None,
        });
        self.connections.warm(handles, Connection::touch);
    }

    fn stream_event<S: Sink<P>>(
        &self,
        v2: &V2,
        event: Event<'_>,
        opened: &mut Opened,
        fed: &mut Fed<P>,
        sink: &mut S,
    ) {
        match event {
            Event::Opened { id } => {
                if let Some(handle) = self.open_stream(v2, id, sink) {
                    opened.0.push((id, handle));
                }
            }
            Event::Data { id, tag, bytes } => {
                let Some(handle) = opened.handle(id, tag) else {
                    return;
                };
                let received = self.visit(handle, sink, |connection, around| {
                    connection.receive(around, bytes)
                });
                if let Some(Received::Introduced(protocol)) = received {
                    fed.opened.push((handle, protocol));
                }
            }
            Event::Finished { id, tag } => {
                let Some(handle) = opened.handle(id, tag) else {
                    return;
                };
                let busy = self.visit(handle, sink, |connection, around| {
                    let busy = connection.peer_finished(around);
                    self.owner_at_work(connection, busy)
                });
                fed.half_closed.extend(busy.flatten());
            }
            Event::Window { id, tag, bytes } => {
                if let Some(handle) = opened.handle(id, tag) {
                    self.visit(handle, sink, |connection, around| {
                        connection.open_window(around, bytes);
                    });
                }
            }
            Event::Reset { id, tag, cause } => {
                self.counters.count_error(cause.name());
                let Some(handle) = opened.handle(id, tag) else {
                    return;
                };
                let busy = self.visit(handle, sink, |connection, around| {
                    let busy = connection.break_off(around);
                    self.owner_at_work(connection, busy)
                });
                fed.busy.extend(busy.flatten());
            }
            // The connection released it before, or has nothing to learn from it.
            Event::Closed { .. } | Event::GoAway | Event::Writable { .. } => {}
        }
    }

    fn open_stream<S: Sink<P>>(&self, v2: &V2, id: StreamId, sink: &mut S) -> Option<Handle> {
        let now = self.now.load(Relaxed);
        let connection = Connection::new(Key::V2(id), self.reader, &self.config, now);
        let Ok(handle) = self.connections.insert(connection) else {
            self.counters.count_error("max_connections");
            let _ = v2.with(|session| session.reset(id));
            self.tell_writer(sink);
            return None;
        };
        self.counters.opened.fetch_add(1, Relaxed);
        // It may be gone already, by an event that follows.
        let _ = v2.with(|session| session.set_tag(id, handle.raw()));
        Some(handle)
    }
}
