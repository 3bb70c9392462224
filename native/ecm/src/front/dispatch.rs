//! Which entrance has a connection, and which has it next.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::arrive::encrypt;
use crate::bosh::{self, Sessions};
use crate::certificates::Purpose;
use crate::config::Service;
use crate::entrance::{Arrival, Onward};
use crate::{relay, stream, websocket};

/// Serves a client that has arrived, in a task of its own.
pub fn start(arrival: Arrival, sessions: &Arc<Sessions>) {
    match arrival.downstream.service {
        Service::Http | Service::StreamRelay => spawn(relay::serve(arrival), sessions),
        Service::Streams(start_tls) => spawn(stream::serve(arrival, start_tls), sessions),
    }
}

/// Serves a client once it has arrived. That is awaited in a task of its own, as large as a handshake needs; the client
/// is then served in another.
pub fn start_after(
    arriving: impl Future<Output = Option<Arrival>> + Send + 'static,
    sessions: &Arc<Sessions>,
) {
    let sessions = Arc::clone(sessions);
    tokio::spawn(async move {
        if let Some(arrival) = arriving.await {
            start(arrival, &sessions);
        }
    });
}

/// Goes on with a connection that an entrance is done with.
fn go_on(onward: Onward, sessions: &Arc<Sessions>) {
    match onward {
        Onward::Tls(arrival) => start_after(encrypt(arrival, Purpose::StartTls), sessions),
        Onward::Bosh(mut handover) => {
            handover.phase = sessions.connections();
            spawn(bosh::serve(handover, Arc::clone(sessions)), sessions);
        }
        Onward::WebSocket(handover, answer) => {
            tokio::spawn(websocket::serve(handover, &answer));
        }
        Onward::Relay(handover, route) => spawn(relay::resume(handover, route), sessions),
    }
}

fn spawn<F>(entrance: F, sessions: &Arc<Sessions>)
where
    F: Future<Output = Option<Box<Onward>>> + Send + 'static,
{
    tokio::spawn(Served {
        entrance,
        sessions: Arc::clone(sessions),
    });
}

pin_project! {
    /// An entrance's task, and what follows it. An async block would have room for the entrance twice.
    struct Served<F> {
        #[pin]
        entrance: F,
        sessions: Arc<Sessions>,
    }
}

impl<F: Future<Output = Option<Box<Onward>>>> Future for Served<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if let Some(onward) = ready!(this.entrance.poll(context)) {
            go_on(*onward, this.sessions);
        }
        Poll::Ready(())
    }
}
