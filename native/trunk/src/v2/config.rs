//! A session's limits.

use super::ceilings::Ceilings;

/// The limits of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How many streams may be open at once; more are refused with RST.
    pub max_streams: usize,
    /// How many bytes a reader may wait for at once: from 256 KiB, the first window, to 2 GiB. A
    /// window opens in doublings, so it may become twice as large.
    pub max_window: u32,
    /// A write is refused while this many bytes of its stream are queued ...
    pub high_watermark: usize,
    /// ... and the owner is told once no more than this many are.
    pub low_watermark: usize,
    /// How many bytes of frames are made ahead of the writer; past it streams queue for turns.
    pub output_ahead: usize,
    /// How many bytes of all streams may be queued; past it writes are refused (see
    /// [`Room`](crate::room::Room)).
    pub max_output: usize,
    /// Whether the owners of the peer's streams keep what they have to send until frames are made of it:
    /// [`Session::frame_kept`](super::Session::frame_kept) is for them, and [`Event::Window`](super::Event::Window)
    /// tells them how much that may be.
    pub owners_keep_output: bool,
    /// How long a stream that its owner has left may have bytes queued of which the peer takes none, in
    /// milliseconds; then it is reset. `None`: for ever.
    pub linger: Option<u64>,
    /// A ping is sent after this long without a byte from the peer, in milliseconds.
    pub keepalive_interval: u64,
    /// The session ends when nothing came for this long after a ping, in milliseconds.
    pub keepalive_timeout: u64,
    /// What a peer may do that brings no progress.
    pub ceilings: Ceilings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_streams: 1_000_000,
            max_window: 64 << 20,
            high_watermark: 64 << 10,
            low_watermark: 32 << 10,
            output_ahead: 64 << 10,
            max_output: usize::MAX,
            owners_keep_output: false,
            linger: None,
            keepalive_interval: 30_000,
            keepalive_timeout: 15_000,
            ceilings: Ceilings::default(),
        }
    }
}
