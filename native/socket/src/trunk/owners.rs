//! Whose a connection is, and what a process's death means for it.

use super::Trunk;
use crate::connection::Connection;
use crate::handle::Handle;
use crate::origin::Protocol;
use crate::sink::{Process, Sink};
use crate::slab::SHARDS;
use crate::watch::Known;

/// How to hear of a process's death: [`Trunk::down`] is to be called then, once.
pub trait Monitor<P> {
    /// Monitors a process; false if it is dead already.
    fn monitor(&mut self, process: P) -> bool;
}

impl<P: Process> Trunk<P> {
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

    pub(super) fn tie<S: Sink<P> + Monitor<P>>(&self, process: P, handle: Handle, sink: &mut S) {
        let known = self.watch.lock().add(process, handle);
        if known == Known::New && !sink.monitor(process) {
            self.down(process, sink);
        }
    }

    /// A process waits or owns no more, unless it has become the owner meanwhile: then its death
    /// must go on to close the connection.
    pub(super) fn untie(&self, process: P, handle: Handle) {
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

    /// The reader owns a connection until its process has started, and is never to be looked after.
    pub(crate) fn owner_at_work(&self, connection: &Connection<P>, busy: bool) -> Option<P> {
        (busy && connection.owner != self.reader).then_some(connection.owner)
    }
}
