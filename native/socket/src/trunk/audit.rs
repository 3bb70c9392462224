//! What the counters say, counted anew; and time that passes without waiting.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Trunk;
use crate::counters::Counters;
use crate::link::Link;
use crate::origin::Protocol;
use crate::sink::Process;
use crate::slab::SHARDS;

/// What a trunk holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) connections: usize,
    /// Bytes of input.
    pub(crate) buffered: usize,
    /// Waits in recv, send and watch.
    pub(crate) waiters: usize,
    /// Ids that mean something, ended ones included.
    pub(crate) names: usize,
    /// Connections that a process's death would change.
    pub(crate) ties: usize,
    /// Bytes of output that no frame was made of.
    pub(crate) pending: usize,
}

impl<P: Process> Trunk<P> {
    /// Counts everything anew; fails where a counter says something else.
    pub(crate) fn audit(&self) -> Holdings {
        let mut truth = Holdings {
            names: self.names(),
            ties: self.watch.lock().ties(),
            ..Holdings::default()
        };
        let mut queued = match self.link.get() {
            Some(Link::V1(v1)) => v1.outbox.queued(),
            _ => Vec::new(),
        };
        queued.sort_unstable();
        let in_queue = queued.len();
        queued.dedup();
        assert_eq!(queued.len(), in_queue, "a connection queues twice");
        let mut shut = 0;
        let sessions = Counters::default();
        for shard in 0..SHARDS {
            self.connections.for_each(shard, |handle, connection| {
                let pending = connection.queued();
                truth.connections += 1;
                truth.buffered += connection.buffered();
                truth.waiters += connection.waits();
                truth.pending += pending;
                shut += connection.shut();
                if connection.protocol() == Protocol::XmppFraming && !connection.is_released() {
                    sessions.session_came(connection.origin());
                }
                assert!(
                    connection.is_shut()
                        || connection.is_in_turns()
                        || queued.binary_search(&handle).is_ok(),
                    "{handle:?} has output and stands in no queue"
                );
            });
        }
        let status = self.status();
        assert_eq!(status.connections, truth.connections, "connections");
        assert_eq!(status.buffered, truth.buffered, "buffered");
        assert_eq!(status.waiters, truth.waiters, "waiters");
        assert_eq!(status.sessions, sessions.read(0).sessions, "sessions");
        match self.link.get() {
            None => {}
            Some(Link::V1(v1)) => assert_eq!(v1.outbox.waiting(), truth.pending, "pending"),
            Some(Link::V2(v2)) => {
                assert_eq!(v2.backlog.waiting(), truth.pending, "pending");
                assert_eq!(v2.backlog.shut(), shut, "shut");
            }
        }
        truth
    }

    fn names(&self) -> usize {
        match self.link.get() {
            Some(Link::V1(v1)) => v1.names.lock().len(),
            _ => 0,
        }
    }

    /// Lets time pass; the next feed or sweep notices.
    pub(crate) fn age(&mut self, time: Duration) {
        let earlier = self.started.checked_sub(time);
        self.started = earlier.expect("the machine runs longer than a test's time");
    }

    /// Looks after all shards once.
    pub(crate) fn sweep_all<S: crate::Sink<P>>(&self, sink: &mut S) -> Vec<P> {
        self.next_sweep.store(0, Relaxed);
        (0..SHARDS).flat_map(|_| self.sweep(sink)).collect()
    }
}
