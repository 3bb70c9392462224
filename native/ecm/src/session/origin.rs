//! Where a session's client comes from, kept for a session that may have to be opened elsewhere.

use std::net::SocketAddr;

use megaphone_trunk::proxy::Tls;

use crate::trunk::{Content, Opening};

/// What has to be told of a client again when its session moves.
#[derive(Debug)]
pub struct Origin {
    client: SocketAddr,
    server: SocketAddr,
    content: Content,
    tls: Option<Box<Tls>>,
}

impl Origin {
    /// That of a session which was opened so.
    pub fn of(opening: &Opening) -> Self {
        Self {
            client: opening.client,
            server: opening.server,
            content: opening.content,
            tls: opening.tls.clone().map(Box::new),
        }
    }

    /// What ejabberd is told, but for what a login takes.
    pub fn opening(&self) -> Opening {
        let tls = self.tls.as_deref().cloned();
        Opening::new(self.client, self.server, self.content, tls)
    }
}
