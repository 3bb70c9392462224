//! Waiting for whatever lets a connection go on.

use std::future::{Future, poll_fn};
use std::io;
use std::task::Poll;

use tokio::sync::watch;
use tokio::time::Instant;

use super::connection::{Connection, Due, Reads};
use crate::backlog::Evicted;
use crate::http::deadlines::{Expected, Missed};
use crate::metrics::{REFUSALS, Reason};
use crate::peer::task::{self, Ending};
use crate::shutdown::Phase;

/// What a connection waited for.
enum Happened {
    Read(io::Result<usize>),
    CanWrite(io::Result<()>),
    Answered,
    Timer,
    /// Its client has sent too much that waits.
    Evicted(Evicted),
    /// The program's end begins, or goes on.
    Phase,
}

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
        match self.next_event(deadline.is_some(), phase).await {
            Happened::Read(Ok(0)) => self.input_ended(),
            Happened::Read(Err(error)) | Happened::CanWrite(Err(error)) => Err(self.left(&error)),
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
            | Happened::Answered
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
        self.deadlines.next(&self.settings.limits, body_bytes)
    }

    async fn next_event(
        &mut self,
        has_deadline: bool,
        phase: &mut watch::Receiver<Phase>,
    ) -> Happened {
        // While answers are due, too: that is how a client is seen to leave.
        let wants_input = self.takes_requests();
        let has_output = !self.output.is_empty() || self.socket.has_unsent();
        let due = match (&self.due, has_output) {
            (Some(due), false) => Some(due),
            _ => None,
        };
        let (mut reader, writer) = self.socket.split();
        // Deadlines come before input, so that a client which always has some can't outrun them.
        tokio::select! {
            biased;
            // An error says that the program is gone, and this with it in a moment.
            Ok(()) = phase.changed() => Happened::Phase,
            () = self.timer.elapsed(), if has_deadline => Happened::Timer,
            evicted = task::evicted(&self.backlog) => Happened::Evicted(evicted),
            () = answered(due) => Happened::Answered,
            ready = writer.writable(), if has_output => Happened::CanWrite(ready),
            read = reader.read(|bytes| self.input.feed(bytes)), if wants_input => {
                Happened::Read(read)
            }
        }
    }

    fn missed(&mut self, missed: Missed) -> Result<(), Ending> {
        tracing::debug!(peer = %self.origins.peer(), "a deadline passed: {missed:?}");
        match missed {
            Missed::Idle => Err(Ending::Close),
            Missed::Output => {
                REFUSALS.of(Reason::SlowReader).add(1);
                Err(Ending::Reset)
            }
            Missed::Request => {
                self.request_timeout();
                Ok(())
            }
        }
    }
}

fn answered(due: Option<&Due>) -> impl Future<Output = ()> {
    poll_fn(move |context| match due {
        Some(Due::Held(held)) => held.cell.poll_answered(held.rid, context),
        Some(Due::Whole(..)) => Poll::Ready(()),
        None => Poll::Pending,
    })
}
