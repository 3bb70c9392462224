//! One WebSocket client: its socket on one side, its session on the other.
//!
//! A client is one task, which is polled by hand: all that it waits for is in its own fields, so that the
//! task of an idle one is little more than its socket, its session and a timer. It makes all the progress
//! that is possible without waiting; between two polls it holds no buffer unless its client or ejabberd is
//! slow.

mod ending;
mod input;
mod output;
mod timing;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::watch;

use self::input::Held;
use self::timing::Timing;
use super::reader::MessageReader;
use super::stream::StreamState;
use crate::backlog::{Backlog, Evicted};
use crate::entrance::{Downstream, Handover};
use crate::node::Login;
use crate::node::Nodes;
use crate::peer::clients::Place;
use crate::peer::task::{self, Ending};
use crate::peer::{Moved, Socket};
use crate::session::outlet::Outlet;
use crate::session::{Cause, Session};
use crate::settings::Settings;
use crate::shutdown::Phase;
use crate::trunk::{Binding, Content, Opening};

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

#[derive(Debug)]
struct Client {
    stream: Socket,
    place: Place,
    settings: Arc<Settings>,
    phase: watch::Receiver<Phase>,
    /// Until the client has opened its stream, and its turn to log in has come.
    unopened: Option<Box<Unopened>>,
    /// From then on, until it ends.
    session: Option<Session>,
    stage: Stage,
    /// Why the session ends, if that was decided here.
    cause: Option<Cause>,
    xmpp: StreamState,
    reader: MessageReader,
    /// What was read and could not be sent.
    held: Option<Box<Held>>,
    /// What the client's socket did not take.
    outlet: Outlet,
    /// What the client's last ping is to be answered with.
    pong: Option<Box<[u8]>>,
    timing: Timing,
    backlog: Backlog,
}

/// What a session is opened with.
struct Unopened {
    opening: Opening,
    nodes: Arc<Nodes>,
    queued: Option<Queued>,
    /// The program's end. Who has a session is woken by [`Nodes::wake_all`].
    ending: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// What a client waits with for its turn to log in.
struct Queued {
    login: Login,
    /// Its `<open/>`.
    open: Vec<u8>,
}

/// How far the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    /// A close frame was sent; the client's is waited for.
    Closing,
    /// Nothing is waited for but that the client takes its output.
    Closed,
}

impl Client {
    fn new(handover: Handover, answer: &[u8]) -> Self {
        let content = Content::XmppFraming(Binding::WebSocket);
        let Handover {
            downstream,
            mut phase,
            origins,
            mut input,
            head,
            decoder: _,
        } = handover;
        let opening = Opening {
            fields: Some(origins.fields(&head, origins.client(&head))),
            ..downstream.opening_for(&head, &origins, content)
        };
        let Downstream {
            socket: stream,
            place,
            settings,
            nodes,
            ..
        } = downstream;
        // What it is now counts as a change, or an end that has begun would be missed.
        phase.mark_changed();
        let mut later = phase.clone();
        let unopened = Unopened {
            opening,
            nodes,
            queued: None,
            ending: Box::pin(async move {
                let _ = later.wait_for(|phase| *phase != Phase::Serving).await;
            }),
        };
        let mut outlet = Outlet::default();
        outlet.append(answer);
        Self {
            timing: Timing::new(&settings),
            outlet,
            // It should have waited for the answer, but did not.
            held: Held::of(&input.take()),
            stream,
            place,
            settings,
            phase,
            unopened: Some(Box::new(unopened)),
            session: None,
            stage: Stage::Serving,
            cause: None,
            xmpp: StreamState::new(),
            reader: MessageReader::default(),
            pong: None,
            backlog: Backlog::default(),
        }
    }

    fn into_socket(self) -> (Socket, Place, watch::Receiver<Phase>) {
        (self.stream, self.place, self.phase)
    }

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
        let open = unopened.and_then(|it| it.queued.as_ref());
        let open = open.map_or(0, |queued| queued.open.len());
        let waiting = self.reader.held() + held + open + self.stream.unread();
        let counted = self.backlog.count(waiting, &self.settings.backlogs);
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
            self.write_documents(),
            self.take_turn(context),
            self.send_held(),
            self.read(context)?,
            self.session_changed(context),
            self.leave_if_done(),
        ];
        if self.stage == Stage::Closed && self.outlet.is_empty() {
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

    /// Whether the client waits for its turn to log in.
    fn is_queued(&self) -> bool {
        let unopened = self.unopened.as_ref();
        unopened.is_some_and(|it| it.queued.is_some())
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

impl Unopened {
    fn poll_turn(&self, context: &Context<'_>) -> Poll<()> {
        match &self.queued {
            Some(queued) => queued.login.poll_turn(context),
            None => Poll::Pending,
        }
    }
}

impl std::fmt::Debug for Unopened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.opening.fmt(f)
    }
}

#[cfg(test)]
mod tests;
