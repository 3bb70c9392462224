//! Streams whose owners are gone and whose last bytes wait for a window: their peers have a time to take them.

use std::collections::VecDeque;

use super::header::StreamId;

/// Those streams, the one that was looked at the longest ago first.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    streams: VecDeque<Left>,
}

#[derive(Debug, Clone, Copy)]
struct Left {
    id: StreamId,
    /// When it was looked at, in milliseconds.
    at: u64,
    /// How many bytes were queued then.
    queued: usize,
}

impl Leaving {
    /// A stream's owner leaves this many bytes.
    pub(super) fn add(&mut self, id: StreamId, queued: usize, now: u64) {
        let at = now;
        self.streams.push_back(Left { id, at, queued });
    }

    /// The next stream that was not looked at since `before`, and how many bytes it had then.
    pub(super) fn next(&mut self, before: u64) -> Option<(StreamId, usize)> {
        let Left { id, at, queued } = *self.streams.front()?;
        if at > before {
            return None;
        }
        self.streams.pop_front();
        if self.streams.is_empty() {
            self.streams = VecDeque::new();
        }
        Some((id, queued))
    }
}
