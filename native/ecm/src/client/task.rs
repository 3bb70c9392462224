//! What the tasks of clients have in common, whatever they speak: a task makes all the progress that is
//! possible without waiting, then waits for whatever could allow more.

use std::future::Future;

use tokio::sync::watch;

use super::socket::{self, Socket};
use crate::shutdown::Phase;

/// How often a client may read, write and send before others have a turn.
const STEPS: usize = 16;

/// A client's task.
pub trait Task: Send {
    /// Looks at how far the program's end has come; an error ends it at once.
    fn enter(&mut self, phase: Phase) -> Result<(), Ending>;

    /// Does a part of what can be done without waiting.
    fn step(&mut self) -> Result<Moved, Ending>;

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

/// Whether a step changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// It may be worth another one.
    Yes,
    /// Something has to happen first.
    No,
}

impl Moved {
    /// Whether any of these did.
    pub fn any<const N: usize>(moved: [Self; N]) -> Self {
        match moved.contains(&Self::Yes) {
            true => Self::Yes,
            false => Self::No,
        }
    }
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

/// Does all that can be done without waiting, or so much of it that others have to have a turn.
fn turn(task: &mut impl Task, phase: &mut watch::Receiver<Phase>) -> Result<Moved, Ending> {
    task.enter(*phase.borrow_and_update())?;
    for _ in 0..STEPS {
        if task.step()? == Moved::No {
            return task.is_done().map_or(Ok(Moved::No), Err);
        }
    }
    Ok(Moved::Yes)
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
