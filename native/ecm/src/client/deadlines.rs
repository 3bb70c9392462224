//! When a client has taken too long.

use tokio::time::Instant;

use super::requests::{COLLECTED, Position};
use super::socket::Written;
use crate::config::LimitsConfig;

/// What a client is expected to send. A new one starts a new deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The head of the request with this number.
    Head(u64),
    /// Part of a body: which request's, and the number of the block of 64 KiB.
    Body(u64, u64),
    /// A request, or not: the client is idle.
    Anything(u64),
    /// Nothing that has a deadline.
    Nothing,
}

impl Expected {
    /// What a client is expected to send that is read from and has had `requests` and `body_bytes`
    /// read; `idle` says that it waits for no answer.
    pub fn at(position: Position, requests: u64, body_bytes: u64, idle: Waiting) -> Self {
        match (position, idle) {
            (Position::InHead, _) => Self::Head(requests),
            // A client connects to ask something.
            (Position::BetweenRequests, Waiting::ForClient) if requests == 0 => Self::Head(0),
            (Position::BetweenRequests, Waiting::ForClient) => Self::Anything(requests),
            (Position::InBody, _) => Self::Body(requests, body_bytes / COLLECTED as u64),
            (Position::BetweenRequests | Position::Held | Position::Raw, _) => Self::Nothing,
        }
    }
}

/// Whose turn it is on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Each request was answered.
    ForClient,
    /// An answer is due.
    ForServer,
}

/// The deadlines of one client.
#[derive(Debug)]
pub struct Deadlines {
    expected: Expected,
    since: Instant,
    stuck_since: Option<Instant>,
}

/// Which deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// A request did not come in time.
    Request,
    /// The client asked nothing for too long.
    Idle,
    /// The client took none of its output for too long.
    Output,
}

impl Deadlines {
    /// The deadlines of a client that just connected.
    pub const fn new(now: Instant) -> Self {
        Self {
            expected: Expected::Head(0),
            since: now,
            stuck_since: None,
        }
    }

    /// Says what the client is expected to send now.
    pub fn expect(&mut self, expected: Expected, now: Instant) {
        if self.expected != expected {
            self.expected = expected;
            self.since = now;
        }
    }

    /// What became of output.
    pub fn output(&mut self, written: Written) {
        match written {
            Written::Some(_) | Written::Nothing => self.output_moves(),
            Written::Stuck => self.output_is_stuck(Instant::now()),
        }
    }

    /// The client took output, or there is none.
    const fn output_moves(&mut self) {
        self.stuck_since = None;
    }

    /// The client's socket takes no output.
    fn output_is_stuck(&mut self, now: Instant) {
        self.stuck_since.get_or_insert(now);
    }

    /// The next deadline.
    pub fn next(&self, limits: &LimitsConfig) -> Option<(Instant, Missed)> {
        let input = match self.expected {
            Expected::Head(_) => Some((self.since + limits.head_timeout, Missed::Request)),
            Expected::Body(..) => Some((self.since + limits.body_timeout, Missed::Request)),
            Expected::Anything(_) => Some((self.since + limits.idle_timeout, Missed::Idle)),
            Expected::Nothing => None,
        };
        let output = self
            .stuck_since
            .map(|since| (since + limits.send_timeout, Missed::Output));
        match (input, output) {
            (Some(input), Some(output)) => Some(if output.0 < input.0 { output } else { input }),
            (input, output) => input.or(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits() -> LimitsConfig {
        LimitsConfig {
            head_timeout: Duration::from_secs(1),
            body_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(3),
            send_timeout: Duration::from_secs(4),
            ..LimitsConfig::default()
        }
    }

    #[test]
    fn what_is_expected_where() {
        use Position::{BetweenRequests, Held, InBody, InHead, Raw};
        use Waiting::{ForClient, ForServer};
        for (position, requests, waiting, expected) in [
            (BetweenRequests, 0, ForClient, Expected::Head(0)),
            (InHead, 0, ForClient, Expected::Head(0)),
            (BetweenRequests, 1, ForServer, Expected::Nothing),
            (BetweenRequests, 1, ForClient, Expected::Anything(1)),
            (InHead, 1, ForServer, Expected::Head(1)),
            (InBody, 2, ForServer, Expected::Body(2, 3)),
            (Held, 1, ForServer, Expected::Nothing),
            (Raw, 1, ForServer, Expected::Nothing),
        ] {
            let body_bytes = 3 * COLLECTED as u64 + 1;
            assert_eq!(
                Expected::at(position, requests, body_bytes, waiting),
                expected
            );
        }
    }

    #[tokio::test]
    async fn a_deadline_moves_only_when_something_else_is_expected() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(start);
        let later = start + Duration::from_millis(500);
        deadlines.expect(Expected::Head(0), later);
        assert_eq!(
            deadlines.next(&limits()),
            Some((start + Duration::from_secs(1), Missed::Request))
        );
        deadlines.expect(Expected::Body(1, 0), later);
        assert_eq!(
            deadlines.next(&limits()),
            Some((later + Duration::from_secs(2), Missed::Request))
        );
        deadlines.expect(Expected::Body(1, 1), start + Duration::from_secs(2));
        assert_eq!(
            deadlines.next(&limits()),
            Some((start + Duration::from_secs(4), Missed::Request))
        );
        deadlines.expect(Expected::Nothing, later);
        assert_eq!(deadlines.next(&limits()), None);
    }

    #[tokio::test]
    async fn the_nearer_deadline_counts() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(start);
        deadlines.output_is_stuck(start);
        assert_eq!(
            deadlines.next(&limits()).map(|next| next.1),
            Some(Missed::Request)
        );
        deadlines.expect(Expected::Nothing, start);
        deadlines.output_is_stuck(start + Duration::from_secs(1));
        assert_eq!(
            deadlines.next(&limits()),
            Some((start + Duration::from_secs(4), Missed::Output))
        );
        deadlines.output_moves();
        assert_eq!(deadlines.next(&limits()), None);
    }
}
