//! When a client has taken too long.

use tokio::time::Instant;

use crate::config::LimitsConfig;
use crate::peer::clock::Clock;
use crate::peer::socket::Written;

/// What the client's next bytes will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The first of a request.
    BetweenRequests,
    /// More of a request's head.
    InHead,
    /// More of a request's body.
    InBody,
    /// Not known before an answer: it may switch protocols.
    Held,
    /// Of another protocol.
    Raw,
}

/// What a client is expected to send. A new one starts a new deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The head of the request with this number.
    Head(u64),
    /// The rest of the body of the request with this number.
    Body(u64),
    /// A request, or not: the client is idle.
    Anything(u64),
    /// Nothing that has a deadline.
    Nothing,
    /// What was expected before, but the client is not read now: that time is not its own.
    Stalled,
}

impl Expected {
    /// What a client is expected to send that is read from and has had `requests` read; `idle` says that it
    /// waits for no answer.
    pub fn at(position: Position, requests: u64, idle: Waiting) -> Self {
        match (position, idle) {
            (Position::InHead, _) => Self::Head(requests),
            // A client connects to ask something.
            (Position::BetweenRequests, Waiting::ForClient) if requests == 0 => Self::Head(0),
            (Position::BetweenRequests, Waiting::ForClient) => Self::Anything(requests),
            (Position::InBody, _) => Self::Body(requests),
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
    clock: Clock,
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
            clock: Clock::Runs(now),
            stuck_since: None,
        }
    }

    /// Says what the client is expected to send now.
    pub fn expect(&mut self, expected: Expected, now: Instant) {
        if expected == Expected::Stalled {
            self.clock.stop(now);
        } else if self.expected == expected {
            self.clock.go_on(now);
        } else {
            self.expected = expected;
            self.clock = Clock::Runs(now);
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

    /// The next deadline, if so many bytes have come of the body that is expected.
    pub fn next(&self, limits: &LimitsConfig, body_bytes: u64) -> Option<(Instant, Missed)> {
        let input = match self.expected {
            Expected::Head(_) => Some((limits.head_timeout, Missed::Request)),
            Expected::Body(_) => Some((limits.body_time(body_bytes), Missed::Request)),
            Expected::Anything(_) => Some((limits.idle_timeout, Missed::Idle)),
            Expected::Nothing | Expected::Stalled => None,
        };
        let input = input.and_then(|(time, missed)| Some((self.clock.shows(time)?, missed)));
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
            min_body_rate: 10,
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
            (InBody, 2, ForServer, Expected::Body(2)),
            (Held, 1, ForServer, Expected::Nothing),
            (Raw, 1, ForServer, Expected::Nothing),
        ] {
            assert_eq!(Expected::at(position, requests, waiting), expected);
        }
    }

    #[tokio::test]
    async fn a_deadline_moves_only_when_something_else_is_expected() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(start);
        let later = start + Duration::from_millis(500);
        let request = |at| Some((at, Missed::Request));
        deadlines.expect(Expected::Head(0), later);
        let head = request(start + Duration::from_secs(1));
        assert_eq!(deadlines.next(&limits(), 0), head);
        deadlines.expect(Expected::Body(1), later);
        assert_eq!(
            deadlines.next(&limits(), 0),
            request(later + Duration::from_secs(2))
        );
        deadlines.expect(Expected::Nothing, later);
        assert_eq!(deadlines.next(&limits(), 0), None);
    }

    /// Ten bytes give a second.
    #[tokio::test]
    async fn a_body_has_the_more_time_the_more_of_it_has_come_however_it_comes() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(start);
        deadlines.expect(Expected::Body(1), start);
        for (bytes, seconds) in [(0, 2.0), (1, 2.1), (10, 3.0), (100_000, 10_002.0)] {
            // Each byte is seen by itself, and looks the same.
            deadlines.expect(Expected::Body(1), start + Duration::from_secs(1));
            assert_eq!(
                deadlines.next(&limits(), bytes),
                Some((start + Duration::from_secs_f64(seconds), Missed::Request))
            );
        }
    }

    #[tokio::test]
    async fn the_time_in_which_nobody_reads_a_client_is_not_its_own() {
        let start = Instant::now();
        let second = |n| start + Duration::from_secs(n);
        let mut deadlines = Deadlines::new(start);
        deadlines.expect(Expected::Body(1), start);
        deadlines.expect(Expected::Stalled, second(1));
        deadlines.expect(Expected::Stalled, second(2));
        assert_eq!(deadlines.next(&limits(), 0), None);
        deadlines.expect(Expected::Body(1), second(5));
        let left = Some((second(6), Missed::Request));
        assert_eq!(deadlines.next(&limits(), 0), left);
        // And what comes after it has its own time.
        deadlines.expect(Expected::Stalled, second(6));
        deadlines.expect(Expected::Anything(1), second(7));
        let idle = Some((second(10), Missed::Idle));
        assert_eq!(deadlines.next(&limits(), 0), idle);
    }

    #[tokio::test]
    async fn the_nearer_deadline_counts() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(start);
        deadlines.output_is_stuck(start);
        assert_eq!(
            deadlines.next(&limits(), 0).map(|next| next.1),
            Some(Missed::Request)
        );
        deadlines.expect(Expected::Nothing, start);
        deadlines.output_is_stuck(start + Duration::from_secs(1));
        assert_eq!(
            deadlines.next(&limits(), 0),
            Some((start + Duration::from_secs(4), Missed::Output))
        );
        deadlines.output_moves();
        assert_eq!(deadlines.next(&limits(), 0), None);
    }
}
