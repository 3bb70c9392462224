//! What the tasks of clients have in common, whatever they speak: a task makes all the progress that is
//! possible without waiting, then waits for whatever could allow more.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;

use tokio::sync::watch;

use super::progress::Moved;
use super::socket::{self, Socket};
use crate::backlog::{Backlog, Evicted};
use crate::shutdown::Phase;

/// How often a client may read, write and send before others have a turn.
const STEPS: usize = 16;

/// A client's task.
pub trait Task: Send {
    /// Looks at how far the program's end has come; an error ends it at once.
    fn enter(&mut self, phase: Phase) -> Result<(), Ending>;

    /// Does a part of what can be done without waiting.
    fn step(&mut self) -> Result<Moved, Ending>;

    /// Counts what has come of the client and waits, when others have a turn.
    ///
    /// # Errors
    /// [`Ending::Reset`] if too much waits of all clients together, and this one has the most of it.
    fn count_backlog(&mut self) -> Result<(), Ending>;

    /// How it ends, if nothing is left to do.
    fn is_done(&self) -> Option<Ending>;

    /// Waits until there may be something to do.
    fn wait(
        &mut self,
        phase: &mut watch::Receiver<Phase>,
    ) -> impl Future<Output = Result<(), Ending>> + Send;
}

/// How a client's task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The client has closed its connection, or its socket failed.
    ClientLeft,
    /// All that was due was written: the connection is closed so that the client gets all of it.
    Close,
    /// The client can't get the rest of what was due, and has to see that.
    Reset,
    /// The connection goes on in another kind of task.
    HandOver,
}

/// Runs a task until it ends.
pub async fn run(task: &mut impl Task, phase: &mut watch::Receiver<Phase>) -> Ending {
    loop {
        match turn(task, phase) {
            Err(ending) => return ending,
            Ok(Moved::Yes) => tokio::task::yield_now().await,
            Ok(Moved::No) => {
                if let Err(ending) = task.wait(phase).await {
                    return ending;
                }
            }
        }
    }
}

/// Does all that can be done without waiting, up to the point where others have to have a turn.
fn turn(task: &mut impl Task, phase: &mut watch::Receiver<Phase>) -> Result<Moved, Ending> {
    task.enter(*phase.borrow_and_update())?;
    let moved = progress(|| task.step())?;
    if moved == Moved::No {
        task.is_done().map_or(Ok(()), Err)?;
    }
    task.count_backlog()?;
    Ok(moved)
}

/// Takes steps until one changes nothing, or until others have to have a turn.
pub fn progress(mut step: impl FnMut() -> Result<Moved, Ending>) -> Result<Moved, Ending> {
    for _ in 0..STEPS {
        if step()? == Moved::No {
            return Ok(Moved::No);
        }
    }
    Ok(Moved::Yes)
}

/// Waits until a client has to go, because it has sent too much that waits.
pub fn evicted(backlog: &Backlog) -> impl Future<Output = Evicted> {
    poll_fn(|context| backlog.poll_evicted(context).map(|()| Evicted))
}

/// How a client ends whose socket failed.
pub fn left(peer: SocketAddr, error: &io::Error) -> Ending {
    tracing::debug!(%peer, "a client left: {error}");
    Ending::ClientLeft
}

/// How a client ends that has to go: nothing of it is worth waiting for.
pub fn evict(peer: SocketAddr, evicted: Evicted) -> Ending {
    tracing::debug!(%peer, "closing a client: {evicted}");
    Ending::Reset
}

/// Closes the connection of a task that has ended, unless it goes on.
pub async fn close(mut socket: Socket, ending: Ending, mut phase: watch::Receiver<Phase>) {
    match ending {
        Ending::HandOver => {}
        Ending::ClientLeft => socket::say_goodbye(&mut socket),
        Ending::Reset => socket::reset(&socket),
        Ending::Close => tokio::select! {
            () = socket::close_gently(socket) => {}
            _ = phase.wait_for(|phase| *phase == Phase::Ended) => {}
        },
    }
}
