//! The times that a client's deadlines are counted from.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::settings::Settings;

/// A client's clock. It has one timer, which fires at the next deadline or before it.
#[derive(Debug)]
pub struct Clock {
    pub(super) timer: Pin<Box<Sleep>>,
    /// When the client connected, opened its stream, had its turn to log in, or was sent a close frame.
    pub(super) since: Instant,
    /// When the client sent something last, and how many pings it got since.
    pub(super) heard: Instant,
    pub(super) pings: u32,
    /// Since when a message has come in part.
    pub(super) message_since: Option<Instant>,
}

impl Clock {
    /// Of a client that has just connected.
    pub fn new(settings: &Settings) -> Self {
        let now = Instant::now();
        let first = settings.limits.auth_timeout.min(silence(settings, 0));
        Self {
            timer: Box::pin(sleep_until(now + first)),
            since: now,
            heard: now,
            pings: 0,
            message_since: None,
        }
    }

    /// Another time counts for its login: that until its turn, or that from then on.
    pub fn restart(&mut self) {
        self.since = Instant::now();
    }

    /// The client has sent something.
    pub fn heard(&mut self) {
        self.heard = Instant::now();
        self.pings = 0;
    }

    /// Whether a message has come in part.
    pub fn within_message(&mut self, is_within: bool) {
        if is_within {
            self.message_since.get_or_insert_with(Instant::now);
        } else {
            self.message_since = None;
        }
    }

    /// The client was sent a close frame.
    pub fn closing(&mut self) {
        self.since = Instant::now();
        self.message_since = None;
    }
}

/// How long a client that got this many pings may be silent before it gets another one, or is given up.
pub fn silence(settings: &Settings, pings: u32) -> Duration {
    let websocket = &settings.websocket;
    let next_ping = websocket
        .ping_interval
        .saturating_mul(pings.saturating_add(1));
    next_ping.min(websocket.timeout)
}
