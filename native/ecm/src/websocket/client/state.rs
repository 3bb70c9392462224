//! A client's state, and how it begins.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::watch;

use super::clock::Clock;
use crate::backlog::Backlog;
use crate::entrance::{Downstream, Handover, QueuedLogin};
use crate::http::Origins;
use crate::peer::Socket;
use crate::peer::clients::Place;
use crate::registries::Registries;
use crate::session::outlet::Outlet;
use crate::session::{Cause, Origin, Session};
use crate::settings::Settings;
use crate::shutdown::Phase;
use crate::trunk::{Binding, Content, Opening};
use crate::websocket::reader::MessageReader;
use crate::websocket::stream::StreamState;

#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: Socket,
    pub(super) place: Place,
    pub(super) settings: Arc<Settings>,
    pub(super) registries: Arc<Registries>,
    pub(super) phase: watch::Receiver<Phase>,
    /// Until the client has opened its stream, and its turn to log in has come.
    pub(super) unopened: Option<Box<Unopened>>,
    /// From then on, until it ends.
    pub(super) session: Option<Session>,
    /// Where the client comes from, if its socket does not say that.
    pub(super) origin: Option<Box<Origin>>,
    pub(super) ready_state: ReadyState,
    /// Why the session ends, if that was decided here.
    pub(super) cause: Option<Cause>,
    pub(super) xmpp: StreamState,
    pub(super) reader: MessageReader,
    /// What was read and could not be sent.
    pub(super) held: Option<Box<Held>>,
    /// What the client's socket did not take.
    pub(super) outlet: Outlet,
    /// What the client's last ping is to be answered with.
    pub(super) pong: Option<Box<[u8]>>,
    pub(super) clock: Clock,
    pub(super) backlog: Backlog,
}

/// What was read and not handled.
#[derive(Debug)]
pub struct Held {
    /// A document that the session had no room for.
    pub(super) document: Option<Vec<u8>>,
    /// What comes after it.
    pub(super) rest: Vec<u8>,
}

impl Held {
    /// Bytes that were read before.
    pub fn of(input: &[u8]) -> Option<Box<Self>> {
        let held = || Self {
            document: None,
            rest: input.to_vec(),
        };
        (!input.is_empty()).then(|| Box::new(held()))
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.document.as_ref().map_or(0, Vec::len) + self.rest.len()
    }
}

/// A client that has no session yet.
pub(super) struct Unopened {
    /// What ejabberd will be told of the client, until that opens its stream.
    pub(super) opening: Option<Opening>,
    /// From then on: the place among those that log in, and the `<open/>`.
    pub(super) queued: Option<(QueuedLogin, Vec<u8>)>,
    /// The program's end. A client with a session is woken by [`Nodes::wake_all`](crate::node::Nodes::wake_all).
    pub(super) ending: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// How far the connection is, in the words of the WebSocket API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadyState {
    Open,
    /// A close frame was sent; the client's is waited for.
    Closing,
    /// Nothing is waited for but that the client takes its output.
    Closed,
}

impl Client {
    pub(super) fn new(handover: Handover, answer: &[u8]) -> Self {
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
            registries,
            introduction,
            ..
        } = downstream;
        // What it is now counts as a change, or an end that has begun would be missed.
        phase.mark_changed();
        let mut later = phase.clone();
        let is_direct = matches!(origins, Origins::Peer(_)) && introduction.is_none();
        let origin = (!is_direct).then(|| Box::new(Origin::of(&opening)));
        let unopened = Unopened {
            opening: Some(opening),
            queued: None,
            ending: Box::pin(async move {
                let _ = later.wait_for(|phase| *phase != Phase::Serving).await;
            }),
        };
        let mut outlet = Outlet::default();
        outlet.append(answer);
        Self {
            clock: Clock::new(&settings),
            outlet,
            // It should have waited for the answer, but did not.
            held: Held::of(&input.take()),
            stream,
            place,
            settings,
            registries,
            phase,
            unopened: Some(Box::new(unopened)),
            session: None,
            origin,
            ready_state: ReadyState::Open,
            cause: None,
            xmpp: StreamState::new(),
            reader: MessageReader::default(),
            pong: None,
            backlog: Backlog::default(),
        }
    }

    pub(super) fn into_socket(self) -> (Socket, Place, watch::Receiver<Phase>) {
        (self.stream, self.place, self.phase)
    }

    /// Whether the client waits for its turn to log in.
    pub(super) fn is_queued(&self) -> bool {
        let unopened = self.unopened.as_ref();
        unopened.is_some_and(|it| it.queued.is_some())
    }
}

impl Unopened {
    pub(super) fn poll_turn(&self, context: &Context<'_>) -> Poll<()> {
        match &self.queued {
            Some((login, _)) => login.poll_turn(context),
            None => Poll::Pending,
        }
    }
}

impl std::fmt::Debug for Unopened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.queued.fmt(f)
    }
}
