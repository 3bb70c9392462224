//! One WebSocket client: its socket on one side, its session on the other.
//!
//! A client is one task, which is polled by hand: all that it waits for is in its own fields, so that the
//! task of an idle one is little more than its socket, its session and a timer. It makes all the progress
//! that is possible without waiting; between two polls it holds no buffer unless its client or ejabberd is
//! slow.

mod clock;
mod ending;
mod input;
mod moving;
mod output;
mod state;
mod timing;

use std::future::{Future, poll_fn};
use std::task::{Context, Poll};

use self::state::{Client, ReadyState};
use crate::backlog::Evicted;
use crate::entrance::Handover;
use crate::peer::Moved;
use crate::peer::task::{self, Ending};
use crate::session::Cause;
use crate::shutdown::Phase;

/// Serves a client whose last request is a handshake that was accepted, until it or ejabberd is done. It gets that
/// answer first.
///
/// The client is made outside of the future: an argument of an async function takes its room twice.
pub fn serve(handover: Handover, answer: &[u8]) -> impl Future<Output = ()> + Send + use<> {
    let mut client = Client::new(handover, answer);
    async move {
        let ending = poll_fn(|context| client.poll(context)).await;
        client.leave_session();
        // All else goes at once.
        let (stream, place, phase) = client.into_socket();
        // In a box, or each client would have room for it from the start.
        Box::pin(task::close(stream, ending, phase)).await;
        drop(place);
    }
}

impl Client {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ending> {
        let turn = task::progress(|| self.step(context))
            .and_then(|moved| self.count_backlog(context).map(|()| moved));
        match turn {
            Err(ending) => return Poll::Ready(ending),
            // It could go on, but others are waiting.
            Ok(Moved::Yes) => context.waker().wake_by_ref(),
            Ok(Moved::No) => {}
        }
        Poll::Pending
    }

    /// Counts what has come of the client and waits, when others have a turn.
    fn count_backlog(&mut self, context: &Context<'_>) -> Result<(), Ending> {
        let held = self.held.as_ref().map_or(0, |held| held.len());
        let unopened = self.unopened.as_ref();
        let open = unopened
            .and_then(|it| it.queued.as_ref())
            .map_or(0, |it| it.1.len());
        let waiting = self.reader.held() + held + open + self.stream.unread();
        let counted = self.backlog.count(waiting, &self.registries.backlogs);
        if counted.is_ok() && self.backlog.poll_evicted(context).is_pending() {
            return Ok(());
        }
        tracing::debug!("closing a WebSocket client: {Evicted}");
        self.cause = Some(Cause::Flooded);
        Err(Ending::Reset)
    }

    /// Does whatever can be done now. If that is nothing, the task is woken when there is something.
    fn step(&mut self, context: &mut Context<'_>) -> Result<Moved, Ending> {
        self.look_at_clock(context)?;
        self.look_at_phase(context)?;
        let moved = [
            self.write_unsent(context),
            self.move_session(),
            self.write_documents(),
            self.take_turn(context),
            self.send_held(),
            self.read(context)?,
            self.session_changed(context),
            self.leave_if_done(),
        ];
        if self.ready_state == ReadyState::Closed && self.outlet.is_empty() {
            return Err(Ending::Close);
        }
        Ok(Moved::any(moved))
    }

    fn look_at_phase(&mut self, context: &mut Context<'_>) -> Result<(), Ending> {
        if let Some(unopened) = &mut self.unopened {
            // Its outcome is what `phase` says.
            let _ = unopened.ending.as_mut().poll(context);
        }
        if !self.phase.has_changed().unwrap_or(false) {
            return Ok(());
        }
        let phase = *self.phase.borrow_and_update();
        match phase {
            Phase::Serving => {}
            Phase::Draining => self.shut_down(),
            Phase::Ended => return Err(Ending::Close),
        }
        Ok(())
    }

    fn session_changed(&mut self, context: &Context<'_>) -> Moved {
        let session = self.session.as_mut();
        if session.is_some_and(|session| session.poll_changed(context).is_ready()) {
            Moved::Yes
        } else {
            Moved::No
        }
    }
}

#[cfg(test)]
mod tests;
