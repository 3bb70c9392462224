//! What a session did, counted.

use super::ceilings::Work;

/// Counts since the session's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Frames received, of every type.
    pub frames_received: u64,
    /// Data frames sent.
    pub data_frames_sent: u64,
    /// Writes that had no frame of their own, since their owners kept them and they went with others.
    pub writes_joined: u64,
    /// Bytes of data received, headers not included.
    pub bytes_received: u64,
    /// Bytes of data sent, headers not included.
    pub bytes_sent: u64,
    /// Streams that were opened, by either side.
    pub streams_opened: u64,
    /// Streams that are gone and moved bytes both ways.
    pub streams_served: u64,
    /// Streams of the peer that were refused.
    pub streams_refused: u64,
    /// Streams that the peer reset.
    pub resets_received: u64,
    /// Streams that were reset from here.
    pub resets_sent: u64,
    /// Streams that were reset since the peer took nothing of their last bytes.
    pub streams_unread: u64,
    /// Frames for streams that were gone.
    pub stray_frames: u64,
}

impl Totals {
    pub(super) const fn work(&self, seconds: u64) -> Work {
        Work {
            streams: self.streams_served,
            // A reader may take what is in a frame write by write, and return the window as often.
            frames_sent: self.data_frames_sent.saturating_add(self.writes_joined),
            resets: self.resets_sent,
            bytes: self.bytes_received.saturating_add(self.bytes_sent),
            seconds,
        }
    }
}
