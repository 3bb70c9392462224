//! A trunk's limits, and what its connections carry.

use std::sync::Arc;
use std::time::Duration;

use megaphone_http::Limits;
use megaphone_trunk::v1::MaxFrameSize;
use megaphone_trunk::v2::Ceilings;

use crate::origin::Content;

/// The settings of one trunk.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the connections carry.
    pub content: Content,
    /// The longest frame taken.
    pub max_frame_size: MaxFrameSize,
    /// How many connections may be open at once.
    pub max_connections: usize,
    /// How many bytes of input may wait for readers; past it the connections that hold most
    /// are reset.
    pub max_trunk_buffer: usize,
    /// How many bytes of output may wait for the trunk or for windows; past it senders wait.
    pub max_trunk_output: usize,
    /// A connection without a byte in either direction for this long is closed; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// How long a send may wait for room, in milliseconds; `None`: for ever. A socket can
    /// change its own.
    pub send_timeout: Option<u32>,
    /// How long the peer may take for its first whole frame; `None`: for ever.
    pub handshake_timeout: Option<Duration>,
    /// How long it may take for a frame that it has begun, and a second more for each 16 KiB of it;
    /// `None`: for ever.
    pub frame_timeout: Option<Duration>,
    /// What the peer of a trunk of version 2 may do that brings no progress.
    pub ceilings: Ceilings,
    /// The limits of the request decoder.
    pub http: Arc<Limits>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            content: Content::Http,
            max_frame_size: MaxFrameSize::DEFAULT,
            max_connections: 1_000_000,
            max_trunk_buffer: 64 << 20,
            max_trunk_output: 64 << 20,
            idle_timeout: Some(Duration::from_secs(600)),
            send_timeout: Some(15_000),
            handshake_timeout: Some(Duration::from_secs(10)),
            frame_timeout: Some(Duration::from_secs(30)),
            ceilings: Ceilings::default(),
            http: Arc::default(),
        }
    }
}
