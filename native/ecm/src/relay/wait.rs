//! Waiting for whatever lets a client go on.

use std::future::{pending, poll_fn};
use std::io;
use std::task::Poll;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Client, Input};
use crate::backlog::Evicted;
use crate::http::Reply;
use crate::http::deadlines::{Expected, Missed, Position, Waiting};
use crate::metrics::{REFUSALS, Reason};
use crate::peer::task::{self, Ending};
use crate::shutdown::Phase;
use crate::trunk::{Connection, Room, RoomToCome, TrunkLost};

/// What a client waited for.
enum Happened {
    /// The client sent this many bytes, which were fed to the request reader.
    Read(io::Result<usize>),
    CanWrite(io::Result<()>),
    /// Output came, or its end.
    Output,
    /// There is room in the trunk, or the trunk is lost.
    Room(Result<Room, TrunkLost>),
    Timer,
    /// It has sent too much that waits.
    Evicted(Evicted),
    /// The program's end begins, or goes on.
    Phase,
}

impl Client {
    /// Waits until there may be something to do.
    pub(super) async fn wait_for_change(
        &mut self,
        phase: &mut watch::Receiver<Phase>,
    ) -> Result<(), Ending> {
        let deadline = self.deadline();
        match deadline {
            Some((deadline, _)) => self.timer.set(deadline),
            // Most that are connected are idle WebSockets, and those have no deadline.
            None if self.answers.is_raw() => self.timer.clear(),
            None => {}
        }
        match self.next_event(deadline, phase).await {
            Happened::Read(Ok(0)) => self.input_ended(),
            Happened::Read(Err(error)) => self.input_failed(&error),
            Happened::CanWrite(Err(error)) => self.output_failed(&error),
            Happened::Room(room) => {
                self.use_room(room);
                Ok(())
            }
            Happened::Timer => match deadline {
                Some((deadline, missed)) if deadline <= Instant::now() => self.missed(missed),
                _ => Ok(()),
            },
            Happened::Evicted(evicted) => Err(task::evict(self.peer(), evicted)),
            Happened::Read(Ok(_))
            | Happened::CanWrite(Ok(()))
            | Happened::Output
            | Happened::Phase => Ok(()),
        }
    }

    fn deadline(&mut self) -> Option<(Instant, Missed)> {
        let waiting = match self.answers.is_idle() {
            true => Waiting::ForClient,
            false => Waiting::ForServer,
        };
        let expected = match self.wants_input() {
            // A peer that closes its side closes the other one soon.
            false if self.answers.is_raw() && self.input != Input::Open => Expected::Anything(0),
            false => Expected::Stalled,
            true => Expected::at(self.requests.position(), self.requests.requests(), waiting),
        };
        self.deadlines.expect(expected, Instant::now());
        self.deadlines
            .next(&self.settings.limits, self.requests.body_bytes())
    }

    async fn next_event(
        &mut self,
        deadline: Option<(Instant, Missed)>,
        phase: &mut watch::Receiver<Phase>,
    ) -> Happened {
        let wants_input = self.wants_input();
        let has_output = self.has_output();
        let (mut reader, writer) = self.socket.split();
        // Deadlines come before input, so that a client which always has some can't outrun them.
        tokio::select! {
            biased;
            // An error says that the program is gone, and this with it in a moment.
            Ok(()) = phase.changed() => Happened::Phase,
            () = self.timer.elapsed(), if deadline.is_some() => Happened::Timer,
            evicted = task::evicted(&self.backlog) => Happened::Evicted(evicted),
            room = room_to_come(&mut self.room) => Happened::Room(room),
            () = output_changed(self.connection.as_ref()) => Happened::Output,
            ready = writer.writable(), if has_output => Happened::CanWrite(ready),
            read = reader.read(|bytes| self.requests.feed(bytes)), if wants_input => {
                Happened::Read(read)
            }
        }
    }

    fn missed(&mut self, missed: Missed) -> Result<(), Ending> {
        tracing::debug!(peer = %self.peer(), "a deadline passed: {missed:?}");
        match missed {
            Missed::Idle => Err(Ending::Close),
            Missed::Output => {
                REFUSALS.of(Reason::SlowReader).add(1);
                Err(Ending::Reset)
            }
            Missed::Request if self.requests.position() == Position::BetweenRequests => {
                Err(Ending::Close)
            }
            Missed::Request => {
                REFUSALS.of(Reason::Timeout).add(1);
                self.refuse(Reply::RequestTimeout.to_bytes(None))
            }
        }
    }
}

async fn room_to_come(room: &mut Option<RoomToCome>) -> Result<Room, TrunkLost> {
    match room {
        Some(room) => room.await,
        None => pending().await,
    }
}

async fn output_changed(connection: Option<&Connection>) {
    poll_fn(|context| match connection {
        Some(connection) => connection.poll_changed(context),
        None => Poll::Pending,
    })
    .await;
}
