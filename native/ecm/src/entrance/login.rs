//! A client's login, from when it asks for its session until that is open.

use std::task::{Context, Poll};

use crate::metrics::Reason;
use crate::node::Login;
use crate::peer::addresses::TooMany;
use crate::registries::Registries;
use crate::session::Session;
use crate::settings::Settings;
use crate::trunk::Opening;

/// What a client is told whose session no node takes.
pub const UNREACHABLE: &str = "the server can't be reached at the moment; try again";

/// What a client is told whose turn has not come in time.
pub const TOO_MANY_LOGINS: &str = "too many clients log in at the moment; try again later";

/// What a client is told that has not logged in in time.
pub const LOGIN_TOO_LONG: &str = "the login took too long";

/// A login that waits for its turn, and what its session is opened with then.
#[derive(Debug)]
pub struct QueuedLogin {
    login: Login,
    opening: Opening,
    max_document: u32,
}

impl QueuedLogin {
    /// Begins a login of the client that this opening is about.
    ///
    /// # Errors
    /// [`TooMany`] logins have begun from its address.
    pub fn begin(
        registries: &Registries,
        settings: &Settings,
        opening: Opening,
    ) -> Result<Self, TooMany> {
        registries.begin_login(opening.client.ip(), settings)?;
        let max_document = settings.limits.max_stanza_from_ejabberd;
        Ok(Self {
            login: registries.nodes.begin_login(),
            opening,
            max_document: u32::try_from(max_document).unwrap_or(u32::MAX),
        })
    }

    /// Whether its turn has come.
    pub fn has_turn(&self) -> bool {
        self.login.has_turn()
    }

    /// Ready once its turn has come; until then the task that polled last is woken when it comes.
    pub fn poll_turn(&self, context: &Context<'_>) -> Poll<()> {
        self.login.poll_turn(context)
    }

    /// What ejabberd is told of the client.
    pub const fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Opens the session of a login whose turn has come, with its first document.
    ///
    /// # Errors
    /// [`Reason::NoTrunk`] if no node takes it.
    pub fn open(self, first: &[u8]) -> Result<Session, Reason> {
        let session = Session::open(self.login, &self.opening, first, self.max_document);
        let session = session.ok_or(Reason::NoTrunk)?;
        tracing::debug!(peer = %self.opening.client, id = %session, "session opened");
        Ok(session)
    }
}
