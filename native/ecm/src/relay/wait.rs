//! Waiting for whatever lets a client go on.

use std::task::{Context, Poll};

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Client, Input};
use crate::http::Reply;
use crate::http::deadlines::{self, Expected, Missed, Position, Waiting};
use crate::metrics::{REFUSALS, Reason};
use crate::peer::task::{self, Ending};
use crate::peer::wait::{Happened, Wait, Wanted};
use crate::shutdown::Phase;

impl Client {
    /// Waits until there may be something to do.
    pub(super) async fn wait_for_change(
        &mut self,
        phase: &mut watch::Receiver<Phase>,
    ) -> Result<(), Ending> {
        let deadline = self.deadline();
        if deadline.is_none() && self.answers.is_raw() {
            // Most that are connected are idle WebSockets, and those have no deadline.
            self.timer.clear();
        }
        let wanted = Wanted {
            input: self.wants_input(),
            room: self.has_output(),
            deadline: deadline.map(|(at, _)| at),
        };
        let wait = Wait {
            socket: &mut self.downstream.socket,
            timer: &mut self.timer,
            backlog: &self.backlog,
            phase,
            wanted,
        };
        let mut connection = self.connection.as_mut();
        let changed = |context: &mut Context<'_>| match &mut connection {
            // Output came, or its end, or there is room for more input.
            Some(connection) => connection.poll_changed(context),
            None => Poll::Pending,
        };
        let feed = |bytes: &[u8]| self.requests.feed(bytes);
        match wait.happened(changed, feed).await {
            Happened::Read(Ok(0)) => self.input_ended(),
            Happened::Read(Err(error)) => self.input_failed(&error),
            Happened::CanWrite(Err(error)) => self.output_failed(&error),
            Happened::Timer => match deadline {
                Some((deadline, missed)) if deadline <= Instant::now() => self.missed(missed),
                _ => Ok(()),
            },
            Happened::Evicted(evicted) => Err(task::evict(self.peer(), evicted)),
            Happened::Read(Ok(_))
            | Happened::CanWrite(Ok(()))
            | Happened::Changed
            | Happened::Phase => Ok(()),
        }
    }

    fn deadline(&mut self) -> Option<(Instant, Missed)> {
        let waiting = if self.answers.is_idle() {
            Waiting::ForClient
        } else {
            Waiting::ForServer
        };
        let expected = match self.wants_input() {
            // A peer that closes its side closes the other one soon.
            false if self.answers.is_raw() && self.input != Input::Open => Expected::Anything(0),
            false => Expected::Stalled,
            true => Expected::at(self.requests.position(), self.requests.requests(), waiting),
        };
        self.deadlines.expect(expected, Instant::now());
        let limits = &self.downstream.settings.limits;
        deadlines::next(&self.deadlines, limits, self.requests.body_bytes())
    }

    fn missed(&mut self, missed: Missed) -> Result<(), Ending> {
        tracing::debug!(peer = %self.peer(), "a deadline passed: {missed:?}");
        match missed {
            Missed::Input(Expected::Anything(_)) => Err(Ending::Close),
            Missed::Output => {
                REFUSALS.of(Reason::SlowReader).add(1);
                Err(Ending::Reset)
            }
            Missed::Input(_) if self.requests.position() == Position::BetweenRequests => {
                Err(Ending::Close)
            }
            Missed::Input(_) => {
                REFUSALS.of(Reason::Timeout).add(1);
                self.refuse(Reply::RequestTimeout.to_bytes(None))
            }
        }
    }
}
