//! Output that owners keep until it is their turn: see [`Config::owners_keep_output`](super::Config).

use std::collections::VecDeque;

use super::calls::find_writable;
use super::error::StreamError;
use super::header::{Flags, StreamId};
use super::output::{next_frame, put_data};
use super::session::Session;
use crate::queue;

impl Session {
    /// Appends one frame to `out`, of the first bytes that a stream's owner keeps: as many as fit into a frame and
    /// the stream's window, which is how many it says. `writes` is how many writes the owner has kept since the
    /// last frame.
    ///
    /// # Errors
    /// [`StreamError`] if the stream is gone or was finished.
    pub fn frame_kept(
        &mut self,
        id: StreamId,
        kept: &VecDeque<u8>,
        writes: u32,
        out: &mut Vec<u8>,
    ) -> Result<usize, StreamError> {
        let stream = find_writable(&mut self.table, self.failed, id)?;
        let len = next_frame(stream, kept.len());
        if len > 0 {
            let data = queue::front(kept, len);
            put_data(out, stream, Flags::NONE, data, &mut self.totals);
            self.totals.writes_joined += u64::from(writes.saturating_sub(1));
        }
        Ok(len)
    }

    /// Takes what a stream's owner keeps, all of it whatever waits here: the owner goes, or has sent its last. It has
    /// its turns here, among the others that were left.
    ///
    /// # Errors
    /// [`StreamError`] if the stream is gone or was finished.
    pub fn leave(&mut self, id: StreamId, kept: VecDeque<u8>) -> Result<(), StreamError> {
        let stream = find_writable(&mut self.table, self.failed, id)?;
        if !kept.is_empty() {
            self.output.adopt(stream, kept);
        }
        Ok(())
    }
}
