//! The session of a client moves to another trunk.

use std::net::SocketAddr;

use super::state::{Client, ReadyState};
use crate::peer::{Moved, Socket};
use crate::trunk::{Binding, Content, Opening};

impl Client {
    /// Moves the session to another trunk, if that is asked for.
    pub(super) fn move_session(&mut self) -> Moved {
        let is_closed = self.xmpp.is_closed_by_client() || self.xmpp.is_closed_by_server();
        let Some(session) = &mut self.session else {
            return Moved::No;
        };
        if self.ready_state != ReadyState::Open || is_closed {
            return Moved::No;
        }
        let (stream, origin) = (&self.stream, self.origin.as_deref());
        session.move_if_asked(&self.registries.nodes, || match origin {
            Some(origin) => origin.opening(),
            None => direct(stream),
        })
    }
}

/// What ejabberd is told of a client that no proxy has connected.
fn direct(stream: &Socket) -> Opening {
    // Its addresses are there as long as the socket is.
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    Opening::new(
        stream.peer_addr().unwrap_or(unknown),
        stream.local_addr().unwrap_or(unknown),
        Content::XmppFraming(Binding::WebSocket),
        stream.tls(),
    )
}
