//! The processes that wait for a connection: in recv, in send, or for its end.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Connection, Hold, Surroundings};
use crate::counters::Counters;
use crate::sink::Sink;

/// Numbers for waits: unique in the VM, never [`crate::sink::WRITER`].
static NEXT_WAIT: AtomicU64 = AtomicU64::new(1);

impl<P: Copy + Eq> Connection<P> {
    /// Ends a wait of `process`; false if its wake is on the way.
    pub(crate) fn cancel(&mut self, counters: &Counters, number: u64) -> bool {
        let reads = self
            .reader
            .as_ref()
            .is_some_and(|reader| reader.number == number);
        if reads {
            self.reader = None;
        }
        let writes = self.output.as_mut().is_some_and(|output| {
            let before = output.writers.len();
            output.writers.retain(|(_, waits)| *waits != number);
            output.writers.len() < before
        });
        let watches = self.watchers.as_mut().is_some_and(|watchers| {
            let before = watchers.len();
            watchers.retain(|(_, waits)| *waits != number);
            watchers.len() < before
        });
        let cancelled = reads || writes || watches;
        if cancelled {
            counters.waiters.fetch_sub(1, Relaxed);
        }
        cancelled
    }

    /// Ends all waits of a process that died.
    pub(crate) fn forget_process(&mut self, counters: &Counters, process: P) {
        if self
            .reader
            .as_ref()
            .is_some_and(|reader| reader.process == process)
        {
            self.reader = None;
            counters.waiters.fetch_sub(1, Relaxed);
        }
        if let Some(output) = &mut self.output {
            let before = output.writers.len();
            output.writers.retain(|(waits, _)| *waits != process);
            counters
                .waiters
                .fetch_sub(before - output.writers.len(), Relaxed);
        }
        if let Some(watchers) = &mut self.watchers {
            let before = watchers.len();
            watchers.retain(|(waits, _)| *waits != process);
            counters.waiters.fetch_sub(before - watchers.len(), Relaxed);
        }
    }

    /// Waits for the owner's close or death; `None` if it was.
    pub(crate) fn watch(&mut self, counters: &Counters, process: P) -> Option<u64> {
        if self.hold == Hold::Released {
            return None;
        }
        let number = begin(counters);
        self.watchers
            .get_or_insert_default()
            .push((process, number));
        Some(number)
    }

    /// How many processes wait, counted anew.
    #[cfg(test)]
    pub(crate) fn waits(&self) -> usize {
        usize::from(self.reader.is_some())
            + self
                .output
                .as_ref()
                .map_or(0, |output| output.writers.len())
            + self.watchers.as_ref().map_or(0, |watchers| watchers.len())
    }
}

/// A wait begins; gives its number.
pub(super) fn begin(counters: &Counters) -> u64 {
    counters.waiters.fetch_add(1, Relaxed);
    NEXT_WAIT.fetch_add(1, Relaxed)
}

pub(super) fn wake_all<P: Copy, S: Sink<P>>(
    waits: &mut Vec<(P, u64)>,
    around: &mut Surroundings<'_, S>,
) {
    for (process, number) in waits.drain(..) {
        around.sink.wake(process, number);
        around.counters.waiters.fetch_sub(1, Relaxed);
    }
}
