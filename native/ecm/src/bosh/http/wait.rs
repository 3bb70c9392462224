//! Waiting for whatever lets a connection go on.

use std::task::{Context, Poll};

use tokio::sync::watch;
use tokio::time::Instant;

use super::connection::{Connection, Due, Reads};
use crate::http::deadlines::{self, Expected, Missed};
use crate::metrics::{REFUSALS, Reason};
use crate::peer::task::{self, Ending};
use crate::peer::wait::{Happened, Wait, Wanted};
use crate::shutdown::Phase;

impl Connection {
    /// Waits until there may be something to do.
    pub(super) async fn wait_for_change(
        &mut self,
        phase: &mut watch::Receiver<Phase>,
    ) -> Result<(), Ending> {
        let missable = self.deadline();
        let held_until = self.held_until.map(Instant::from_std);
        let deadline = match (missable, held_until) {
            (Some((missable, _)), Some(held)) => Some(missable.min(held)),
            (missable, held) => missable.map(|(at, _)| at).or(held),
        };
        if let Some(deadline) = deadline {
            self.timer.set(deadline);
        }
        let wanted = Wanted {
            // While answers are due, too: that is how a client is seen to leave.
            input: self.takes_requests(),
            room: self.has_output(),
            deadline: deadline.is_some(),
        };
        let wait = Wait {
            socket: &mut self.downstream.socket,
            timer: &mut self.timer,
            backlog: &self.backlog,
            phase,
            wanted,
        };
        let due = self.due.as_ref().filter(|_| !wanted.room);
        let answered = |context: &mut Context<'_>| match due {
            Some(Due::Held(held)) => held.cell.poll_answered(held.rid, context),
            Some(Due::Whole(..)) => Poll::Ready(()),
            None => Poll::Pending,
        };
        let feed = |bytes: &[u8]| self.input.feed(bytes);
        match wait.happened(answered, feed).await {
            Happened::Read(Ok(0)) => self.input_ended(),
            Happened::Read(Err(error)) | Happened::CanWrite(Err(error)) => {
                Err(task::left(self.origins.peer(), &error))
            }
            Happened::Timer => {
                let now = Instant::now();
                if held_until.is_some_and(|until| until <= now) {
                    self.settle(now);
                }
                match missable {
                    Some((at, missed)) if at <= now => self.missed(missed),
                    _ => Ok(()),
                }
            }
            Happened::Evicted(evicted) => Err(task::evict(self.origins.peer(), evicted)),
            Happened::Read(Ok(_))
            | Happened::CanWrite(Ok(()))
            | Happened::Changed
            | Happened::Phase => Ok(()),
        }
    }

    /// The client has closed its side. Who waits for an answer that may take long has left; who closes
    /// behind a request that is answered at once gets that.
    fn input_ended(&mut self) -> Result<(), Ending> {
        let waits = matches!(self.due, Some(Due::Held(_)));
        if waits || self.reading.is_some() {
            return Err(Ending::ClientLeft);
        }
        self.reads = Reads::NoMore;
        Ok(())
    }

    fn settle(&self, now: Instant) {
        if let Some(Due::Held(held)) = &self.due {
            held.cell.settle(now.into_std());
        }
    }

    fn deadline(&mut self) -> Option<(Instant, Missed)> {
        let expected = match &self.reading {
            _ if !self.takes_requests() => Expected::Stalled,
            Some(_) => Expected::Body(self.requests),
            None if !self.input.is_empty() => Expected::Head(self.requests),
            None if self.is_idle() => Expected::Anything(self.requests),
            None => Expected::Nothing,
        };
        self.deadlines.expect(expected, Instant::now());
        let body_bytes = self.reading.as_ref().map_or(0, |it| it.body_bytes() as u64);
        deadlines::next(
            &self.deadlines,
            &self.downstream.settings.limits,
            body_bytes,
        )
    }

    fn missed(&mut self, missed: Missed) -> Result<(), Ending> {
        tracing::debug!(peer = %self.origins.peer(), "a deadline passed: {missed:?}");
        match missed {
            Missed::Input(Expected::Anything(_)) => Err(Ending::Close),
            Missed::Output => {
                REFUSALS.of(Reason::SlowReader).add(1);
                Err(Ending::Reset)
            }
            Missed::Input(_) => {
                self.request_timeout();
                Ok(())
            }
        }
    }
}
