//! When a client has taken too long.

use tokio::time::Instant;

use crate::config::{LimitsConfig, XmppConfig};
use crate::peer::deadlines::{self, Expectation};

/// What is waited for. A new one starts a new deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The header of its stream.
    Header,
    /// Its turn to log in.
    Turn,
    /// That it logs in.
    Login,
    /// The rest of the document with this number.
    Document(u64),
    /// Anything, after this many reads: the client is idle.
    Anything(u64),
    /// ejabberd's end of the stream.
    Close,
    /// That ejabberd takes the document after this many, from a client that takes nothing more and is gone once
    /// everything it sent was read.
    Room(u64),
    /// Nothing that has a deadline.
    Nothing,
    /// What was expected before, but the client is not read now: that time is not its own.
    Stalled,
}

/// The deadlines of one client.
pub type Deadlines = deadlines::Deadlines<Expected>;

/// Which deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// The client did not send what it had to.
    Input(Expected),
    /// The client took none of its output for too long.
    Output,
    /// Nothing was sent to the client for so long that it is time for a keepalive.
    Keepalive,
}

impl Expectation for Expected {
    const STALLED: Self = Self::Stalled;
}

/// The next deadline, if this many bytes of the expected document have come.
pub fn next(
    deadlines: &Deadlines,
    limits: &LimitsConfig,
    xmpp: &XmppConfig,
    bytes: usize,
) -> Option<(Instant, Missed)> {
    let limit = |expected| match expected {
        Expected::Header => Some(limits.head_timeout),
        Expected::Turn => Some(limits.login_wait),
        Expected::Login => Some(limits.auth_timeout),
        Expected::Document(_) => Some(limits.body_time(bytes as u64)),
        Expected::Anything(_) => xmpp.idle_timeout,
        Expected::Close | Expected::Room(_) => Some(limits.send_timeout),
        Expected::Nothing | Expected::Stalled => None,
    };
    let next = deadlines.next(limit, limits.send_timeout);
    let keepalive = match deadlines.expected() {
        Expected::Document(_) | Expected::Anything(_) | Expected::Nothing => {
            let interval = xmpp.whitespace_interval;
            interval.and_then(|interval| Some((deadlines.sent()? + interval, Missed::Keepalive)))
        }
        _ => None,
    };
    let next = next.map(|(at, missed)| match missed {
        deadlines::Missed::Input(expected) => (at, Missed::Input(expected)),
        deadlines::Missed::Output => (at, Missed::Output),
    });
    next.into_iter().chain(keepalive).min_by_key(|next| next.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::peer::socket::Written;

    const MS: Duration = Duration::from_millis(1);

    fn limits() -> LimitsConfig {
        LimitsConfig {
            head_timeout: MS,
            auth_timeout: 2 * MS,
            body_timeout: 3 * MS,
            send_timeout: 4 * MS,
            login_wait: 6 * MS,
            ..LimitsConfig::default()
        }
    }

    #[test]
    fn each_has_its_limit() {
        let xmpp = XmppConfig {
            idle_timeout: Some(5 * MS),
            ..XmppConfig::default()
        };
        let start = Instant::now();
        for (expected, limit) in [
            (Expected::Header, 1),
            (Expected::Login, 2),
            (Expected::Document(1), 3),
            (Expected::Close, 4),
            (Expected::Room(1), 4),
            (Expected::Anything(1), 5),
            (Expected::Turn, 6),
        ] {
            let mut deadlines = Deadlines::new(Expected::Header, start);
            deadlines.expect(expected, start);
            // The same again starts no new one.
            deadlines.expect(expected, start + MS);
            assert_eq!(
                next(&deadlines, &limits(), &xmpp, 0),
                Some((start + limit * MS, Missed::Input(expected)))
            );
        }
        let mut deadlines = Deadlines::new(Expected::Header, start);
        deadlines.expect(Expected::Nothing, start);
        assert_eq!(next(&deadlines, &limits(), &xmpp, 0), None);
        deadlines.output_at(Written::Stuck, || start + MS);
        assert_eq!(
            next(&deadlines, &limits(), &xmpp, 0),
            Some((start + 5 * MS, Missed::Output))
        );
    }

    #[test]
    fn a_document_has_the_more_time_the_more_of_it_has_come_and_none_is_lost_while_it_is_not_read()
    {
        let xmpp = XmppConfig::default();
        let limits = LimitsConfig {
            min_body_rate: 1_000,
            ..limits()
        };
        let start = Instant::now();
        let mut deadlines = Deadlines::new(Expected::Header, start);
        let document = Expected::Document(7);
        deadlines.expect(document, start);
        for (bytes, millis) in [(0, 3), (1, 4), (1_000, 1_003)] {
            deadlines.expect(document, start + MS);
            assert_eq!(
                next(&deadlines, &limits, &xmpp, bytes),
                Some((start + millis * MS, Missed::Input(document)))
            );
        }
        deadlines.expect(Expected::Stalled, start + MS);
        assert_eq!(next(&deadlines, &limits, &xmpp, 0), None);
        deadlines.expect(document, start + 11 * MS);
        let later = Some((start + 13 * MS, Missed::Input(document)));
        assert_eq!(next(&deadlines, &limits, &xmpp, 0), later);
    }

    #[test]
    fn a_keepalive_is_due_when_a_client_that_is_logged_in_got_nothing() {
        let xmpp = XmppConfig {
            whitespace_interval: Some(10 * MS),
            ..XmppConfig::default()
        };
        let start = Instant::now();
        let mut deadlines = Deadlines::new(Expected::Header, start);
        let expected = Some((start + MS, Missed::Input(Expected::Header)));
        assert_eq!(next(&deadlines, &limits(), &xmpp, 0), expected);
        deadlines.expect(Expected::Anything(1), start);
        deadlines.output_at(Written::Some(1), || start + MS);
        assert_eq!(
            next(&deadlines, &limits(), &xmpp, 0),
            Some((start + 11 * MS, Missed::Keepalive))
        );
        deadlines.output_at(Written::Stuck, || start);
        assert_eq!(
            next(&deadlines, &limits(), &xmpp, 0).map(|next| next.1),
            Some(Missed::Output)
        );
    }
}
