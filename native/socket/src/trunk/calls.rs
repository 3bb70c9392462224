//! What processes call: gen_tcp's and inet's functions.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use super::{Monitor, Trunk};
use crate::connection::{Connection, Recv, Send, Statistics};
use crate::handle::Handle;
#[cfg(test)]
use crate::origin::Protocol;
use crate::origin::{ChannelBindings, Origin};
use crate::sink::{Process, Reason, Sink};

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
        let waits = matches!(answer, Recv::Wait(_));
        self.watch_while(waits, handle, process, owner, sink);
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
            connection.unreserve(around);
        });
    }

    fn waits_to_send<S: Sink<P> + Monitor<P>>(
        &self,
        handle: Handle,
        process: P,
        owner: Option<P>,
        answer: Option<Send>,
        sink: &mut S,
    ) -> Send {
        let answer = answer.unwrap_or(Send::Failed(Reason::Closed));
        let waits = matches!(answer, Send::Wait(_));
        self.watch_while(waits, handle, process, owner, sink);
        answer
    }

    /// An owner is watched as long as it owns; another process while it waits, which may be longer than the
    /// connection lasts.
    fn watch_while<S: Sink<P> + Monitor<P>>(
        &self,
        waits: bool,
        handle: Handle,
        process: P,
        owner: Option<P>,
        sink: &mut S,
    ) {
        match owner {
            Some(owner) if owner == process => {}
            _ if waits => self.tie(process, handle, sink),
            _ => self.untie(process, handle),
        }
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
            connection.release(around);
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

    /// inet:getstat/2; `None` if the connection is closed.
    pub fn statistics(&self, handle: Handle) -> Option<Statistics> {
        let link = self.link.get()?;
        let statistics = self.connections.visit(handle, |connection| {
            (!connection.is_released()).then(|| connection.statistics(link))
        });
        statistics.flatten()
    }

    /// What the connection carries.
    #[cfg(test)]
    pub(crate) fn protocol(&self, handle: Handle) -> Option<Protocol> {
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

    /// The channel bindings of the connection's client, for the first caller: after that they are not kept.
    pub fn take_bindings(&self, handle: Handle) -> ChannelBindings {
        self.connections
            .visit(handle, |connection| connection.take_bindings())
            .unwrap_or_default()
    }

    /// The token of the session that moves to the connection, for the first caller.
    pub fn take_takeover(&self, handle: Handle) -> Option<Bytes> {
        self.connections
            .visit(handle, |connection| connection.take_takeover())
            .flatten()
    }

    /// The fields of the HTTP request by which the connection's client came, for the first caller.
    pub fn take_fields(&self, handle: Handle) -> Option<Bytes> {
        self.connections
            .visit(handle, |connection| connection.take_fields())
            .flatten()
    }

    /// The certificate of the connection's client in DER, if it was verified, for the first caller.
    pub fn take_certificate(&self, handle: Handle) -> Option<Bytes> {
        self.connections
            .visit(handle, |connection| connection.take_certificate())
            .flatten()
    }

    /// Whether bytes can still pass: neither side has closed.
    pub fn is_open(&self, handle: Handle) -> bool {
        let open = self
            .connections
            .visit(handle, |connection| connection.is_open());
        open.unwrap_or(false)
    }
}
