//! When a client has taken too long, whatever it speaks.

use std::time::Duration;

use tokio::time::Instant;

use super::socket::Written;
use super::stopwatch::Stopwatch;

/// What an entrance can expect of a client. Another one starts another deadline.
pub trait Expectation: Copy + PartialEq {
    /// What was expected before, but the client is not read now: that time is not its own.
    const STALLED: Self;
}

/// The deadlines of one client.
#[derive(Debug)]
pub struct Deadlines<E> {
    expected: E,
    clock: Stopwatch,
    output: Output,
}

/// What became of output.
#[derive(Debug, Clone, Copy)]
enum Output {
    /// The client took some last then, and has all.
    Moves(Instant),
    /// The client takes none since then.
    Stuck(Instant),
}

/// Which deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed<E> {
    /// The client did not send what it had to.
    Input(E),
    /// The client took none of its output for too long.
    Output,
}

impl<E: Expectation> Deadlines<E> {
    /// The deadlines of a client that just connected, of which this is expected.
    pub const fn new(expected: E, now: Instant) -> Self {
        Self {
            expected,
            clock: Stopwatch::Runs(now),
            output: Output::Moves(now),
        }
    }

    /// Says what is expected now.
    pub fn expect(&mut self, expected: E, now: Instant) {
        if expected == E::STALLED {
            self.clock.stop(now);
        } else if self.expected == expected {
            self.clock.go_on(now);
        } else {
            self.expected = expected;
            self.clock = Stopwatch::Runs(now);
        }
    }

    /// What became of output.
    pub fn output(&mut self, written: Written) {
        self.output_at(written, Instant::now);
    }

    /// The same, at this time.
    pub fn output_at(&mut self, written: Written, now: impl FnOnce() -> Instant) {
        match (written, self.output) {
            (Written::Stuck, Output::Moves(_)) => self.output = Output::Stuck(now()),
            (Written::Some(_), _) | (Written::Nothing, Output::Stuck(_)) => {
                self.output = Output::Moves(now());
            }
            (Written::Stuck, Output::Stuck(_)) | (Written::Nothing, Output::Moves(_)) => {}
        }
    }

    /// What was expected last.
    pub const fn expected(&self) -> E {
        self.expected
    }

    /// When the client took output last, if it has all of it.
    pub const fn sent(&self) -> Option<Instant> {
        match self.output {
            Output::Moves(at) => Some(at),
            Output::Stuck(_) => None,
        }
    }

    /// The next deadline, where `limit` is the time for what is expected.
    pub fn next(
        &self,
        limit: impl FnOnce(E) -> Option<Duration>,
        send_timeout: Duration,
    ) -> Option<(Instant, Missed<E>)> {
        let input = limit(self.expected).and_then(|limit| self.clock.shows(limit));
        let input = input.map(|at| (at, Missed::Input(self.expected)));
        let output = match self.output {
            Output::Moves(_) => None,
            Output::Stuck(since) => Some((since + send_timeout, Missed::Output)),
        };
        input.into_iter().chain(output).min_by_key(|next| next.0)
    }
}
