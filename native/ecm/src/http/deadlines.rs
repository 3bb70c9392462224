//! When a client has taken too long.

use tokio::time::Instant;

use crate::config::LimitsConfig;
use crate::peer::deadlines::{self, Expectation};

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
pub type Deadlines = deadlines::Deadlines<Expected>;

/// Which deadline passed.
pub type Missed = deadlines::Missed<Expected>;

impl Expectation for Expected {
    const STALLED: Self = Self::Stalled;
}

/// The next deadline, if this many bytes of the expected body have come.
pub fn next(
    deadlines: &Deadlines,
    limits: &LimitsConfig,
    body_bytes: u64,
) -> Option<(Instant, Missed)> {
    let limit = |expected| match expected {
        Expected::Head(_) => Some(limits.head_timeout),
        Expected::Body(_) => Some(limits.body_time(body_bytes)),
        Expected::Anything(_) => Some(limits.idle_timeout),
        Expected::Nothing | Expected::Stalled => None,
    };
    deadlines.next(limit, limits.send_timeout)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::peer::socket::Written;

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
        let mut deadlines = Deadlines::new(Expected::Head(0), start);
        let later = start + Duration::from_millis(500);
        let missed = |at, expected| Some((at, Missed::Input(expected)));
        deadlines.expect(Expected::Head(0), later);
        let head = missed(start + Duration::from_secs(1), Expected::Head(0));
        assert_eq!(next(&deadlines, &limits(), 0), head);
        deadlines.expect(Expected::Body(1), later);
        assert_eq!(
            next(&deadlines, &limits(), 0),
            missed(later + Duration::from_secs(2), Expected::Body(1))
        );
        deadlines.expect(Expected::Nothing, later);
        assert_eq!(next(&deadlines, &limits(), 0), None);
    }

    /// Ten bytes give a second.
    #[tokio::test]
    async fn a_body_has_the_more_time_the_more_of_it_has_come_however_it_comes() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(Expected::Head(0), start);
        deadlines.expect(Expected::Body(1), start);
        for (bytes, seconds) in [(0, 2.0), (1, 2.1), (10, 3.0), (100_000, 10_002.0)] {
            // Each byte is seen by itself, and looks the same.
            deadlines.expect(Expected::Body(1), start + Duration::from_secs(1));
            assert_eq!(
                next(&deadlines, &limits(), bytes),
                Some((
                    start + Duration::from_secs_f64(seconds),
                    Missed::Input(Expected::Body(1))
                ))
            );
        }
    }

    #[tokio::test]
    async fn the_time_in_which_nobody_reads_a_client_is_not_its_own() {
        let start = Instant::now();
        let second = |n| start + Duration::from_secs(n);
        let mut deadlines = Deadlines::new(Expected::Head(0), start);
        deadlines.expect(Expected::Body(1), start);
        deadlines.expect(Expected::Stalled, second(1));
        deadlines.expect(Expected::Stalled, second(2));
        assert_eq!(next(&deadlines, &limits(), 0), None);
        deadlines.expect(Expected::Body(1), second(5));
        let left = Some((second(6), Missed::Input(Expected::Body(1))));
        assert_eq!(next(&deadlines, &limits(), 0), left);
        // And what comes after it has its own time.
        deadlines.expect(Expected::Stalled, second(6));
        deadlines.expect(Expected::Anything(1), second(7));
        let idle = Some((second(10), Missed::Input(Expected::Anything(1))));
        assert_eq!(next(&deadlines, &limits(), 0), idle);
    }

    #[tokio::test]
    async fn the_nearer_deadline_counts() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(Expected::Head(0), start);
        deadlines.output_at(Written::Stuck, || start);
        assert_eq!(
            next(&deadlines, &limits(), 0).map(|next| next.1),
            Some(Missed::Input(Expected::Head(0)))
        );
        deadlines.expect(Expected::Nothing, start);
        deadlines.output_at(Written::Stuck, || start + Duration::from_secs(1));
        assert_eq!(
            next(&deadlines, &limits(), 0),
            Some((start + Duration::from_secs(4), Missed::Output))
        );
        deadlines.output_at(Written::Nothing, || start);
        assert_eq!(next(&deadlines, &limits(), 0), None);
    }
}
