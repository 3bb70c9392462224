//! BOSH over HTTP connections.
//!
//! A connection is one task. It reads requests, hands them to their sessions and writes the answers in the
//! order of the requests, as HTTP has it; it reads on while a request is held, since the next one may be
//! what the first is answered for. When a request for another path comes, the connection goes back to the
//! relay once all before it are answered.

mod connection;
mod elsewhere;
mod reading;
mod requests;
mod response;

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::watch;
use tokio::time::Instant;

use self::connection::{Due, HttpConnection, Reads};
use super::sessions::Sessions;
use crate::entrance::{self, Downstream, Entrance, Handover, Onward};
use crate::http::deadlines::{self, Expected, Missed};
use crate::metrics::{REFUSALS, Reason};
use crate::peer::Moved;
use crate::peer::task::{self, Ending, Task};
use crate::peer::wait::{Happened, Wait, Wanted};
use crate::shutdown::Phase;

/// Serves a connection whose next request is for BOSH, until it ends or a request is not.
pub fn serve(
    handover: Handover,
    sessions: Arc<Sessions>,
) -> impl Future<Output = Option<Box<Onward>>> + Send {
    let phase = handover.phase.clone();
    entrance::serve(HttpConnection::new(handover, sessions), phase)
}

impl Task for HttpConnection {
    fn enter(&mut self, phase: Phase) -> Result<(), Ending> {
        self.phase = phase;
        match phase {
            Phase::Serving | Phase::Draining => Ok(()),
            Phase::Ended => Err(Ending::Close),
        }
    }

    fn step(&mut self) -> Result<Moved, Ending> {
        let now = std::time::Instant::now();
        Ok(Moved::any([
            self.write_output()?,
            self.next_answer(now)?,
            self.next_request(now),
        ]))
    }

    fn count_backlog(&mut self) -> Result<(), Ending> {
        let reading = self.reading.as_mut().map_or(0, |reading| {
            reading.shrink();
            reading.held()
        });
        let foreign = self.foreign.as_ref();
        let foreign = foreign.map_or(0, |foreign| foreign.0.as_bytes().len());
        let waiting = self.input.allocated() + reading + foreign + self.downstream.socket.unread();
        let counted = self
            .backlog
            .count(waiting, &self.downstream.registries.backlogs);
        counted.map_err(|evicted| task::evict(self.origins.peer(), evicted))
    }

    fn is_done(&self) -> Option<Ending> {
        if self.has_output() {
            return None;
        }
        if self.ending.is_some() {
            return self.ending;
        }
        if self.due.is_some() {
            return None;
        }
        if self.foreign.is_some() {
            return Some(Ending::HandOver);
        }
        if self.phase != Phase::Serving && self.reading.is_none() {
            return Some(Ending::Close);
        }
        (self.reads == Reads::NoMore).then_some(Ending::ClientLeft)
    }

    async fn wait(&mut self, phase: &mut watch::Receiver<Phase>) -> Result<(), Ending> {
        self.wait_for_change(phase).await
    }
}

impl Entrance for HttpConnection {
    async fn leave(&mut self, ending: Ending, _phase: &mut watch::Receiver<Phase>) -> Ending {
        self.abandon();
        ending
    }

    fn hand_over(self, phase: watch::Receiver<Phase>) -> Option<Box<Onward>> {
        let (head, route) = *self.foreign?;
        let handover = Handover {
            downstream: self.downstream,
            phase,
            origins: self.origins,
            decoder: self.decoder,
            input: self.input,
            head,
        };
        Some(Box::new(Onward::Relay(handover, route)))
    }

    fn into_downstream(self) -> Downstream {
        self.downstream
    }
}

impl HttpConnection {
    /// Waits until there may be something to do.
    async fn wait_for_change(&mut self, phase: &mut watch::Receiver<Phase>) -> Result<(), Ending> {
        let missable = self.deadline();
        let held_until = self.held_until.map(Instant::from_std);
        let deadline = match (missable, held_until) {
            (Some((missable, _)), Some(held)) => Some(missable.min(held)),
            (missable, held) => missable.map(|(at, _)| at).or(held),
        };
        let wanted = Wanted {
            // While answers are due, too: that is how a client is seen to leave.
            input: self.takes_requests(),
            room: self.has_output(),
            deadline,
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
            Some(Due::Held(held)) => held.session.poll_answered(held.rid, context),
            Some(Due::Handed(handed)) => handed.0.poll_changed(context),
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

    /// The client has closed its side. If it waits for an answer that may take long, it has left; if its last request
    /// is answered at once, it still gets that answer.
    fn input_ended(&mut self) -> Result<(), Ending> {
        let waits = matches!(self.due, Some(Due::Held(_) | Due::Handed(_)));
        if waits || self.reading.is_some() {
            return Err(Ending::ClientLeft);
        }
        self.reads = Reads::NoMore;
        Ok(())
    }

    fn settle(&self, now: Instant) {
        if let Some(Due::Held(held)) = &self.due {
            held.session.settle(now.into_std());
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
