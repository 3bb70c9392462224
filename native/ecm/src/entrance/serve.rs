//! The life of a client's task, in whichever entrance.

use std::future::Future;

use tokio::sync::watch;

use super::downstream::Downstream;
use super::handover::Onward;
use crate::peer::task::{self, Ending, Task};
use crate::shutdown::Phase;

/// What an entrance has of its own as a client's task ends.
pub trait Entrance: Task {
    /// Gives up what the client has in ejabberd, and says how its connection ends.
    fn leave(
        &mut self,
        ending: Ending,
        phase: &mut watch::Receiver<Phase>,
    ) -> impl Future<Output = Ending> + Send;

    /// The connection on its way to another entrance.
    fn hand_over(self, phase: watch::Receiver<Phase>) -> Option<Box<Onward>>;

    /// The connection alone.
    fn into_downstream(self) -> Downstream;
}

/// Serves a client until its connection is closed, or is another entrance's.
///
/// The client is made before: an argument of an async function takes its room twice, and there is one such future
/// for each client.
pub fn serve(
    client: impl Entrance,
    phase: watch::Receiver<Phase>,
) -> impl Future<Output = Option<Box<Onward>>> + Send {
    let (mut client, mut phase) = (client, phase);
    async move {
        let ending = task::run(&mut client, &mut phase).await;
        // ejabberd hears of it before the client has taken the last of its output.
        let ending = client.leave(ending, &mut phase).await;
        if ending == Ending::HandOver {
            return client.hand_over(phase);
        }
        // All else goes at once.
        let Downstream { socket, place, .. } = client.into_downstream();
        // In a box, or each client would have room for it from the start.
        Box::pin(task::close(socket, ending, phase)).await;
        drop(place);
        None
    }
}
