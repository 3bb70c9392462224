//! A session whose client waits for its turn to log in.
//!
//! The request that creates it is held meanwhile. If that has to be answered first, the client learns of its
//! session and waits with the next one.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::session::Session;
use crate::logins::Login;
use crate::metrics::{REFUSALS, Reason};
use crate::session;
use crate::trunk::{Opening, Trunks};

/// What a session's stream is opened with when its turn comes.
#[derive(Debug)]
pub struct Queued {
    /// Its place among those that log in.
    pub login: Login,
    /// Until when it waits for its turn.
    pub until: Instant,
    /// Where its stream goes.
    pub trunks: Arc<Trunks>,
    /// What ejabberd is told of the client.
    pub opening: Opening,
    /// How many bytes a document of ejabberd's may have.
    pub max_document: u32,
    /// How long the client may take to log in, once its turn has come.
    pub auth_timeout: Duration,
}

/// What becomes of a session that waits.
#[derive(Debug)]
pub enum Next {
    /// It goes on waiting.
    Wait(Box<Queued>),
    /// This is its stream, which has its first document.
    Open(session::Session),
    /// There is none for it: it has ended.
    Over,
}

impl Queued {
    /// Whether its turn has come; if not, the task that asked last is woken when it has.
    pub fn poll_turn(&self, context: &Context<'_>) -> Poll<()> {
        self.login.poll_turn(context)
    }

    /// Opens the stream if its turn has come, and ends the session if it waited for too long.
    pub fn go_on(self: Box<Self>, session: &mut Session, now: Instant) -> Next {
        if self.login.has_turn() {
            return self.open(session, now);
        }
        if now < self.until {
            return Next::Wait(self);
        }
        give_up(Reason::LoginWait, session, now)
    }

    fn open(self: Box<Self>, session: &mut Session, now: Instant) -> Next {
        let Self {
            login,
            trunks,
            opening,
            max_document,
            auth_timeout,
            ..
        } = *self;
        let first = session.outgoing().unwrap_or_default();
        match session::Session::open(&trunks, &opening, first, max_document, login) {
            Some(stream) => {
                session.outgoing_taken();
                session.login_begins(now + auth_timeout);
                Next::Open(stream)
            }
            None => give_up(Reason::NoTrunk, session, now),
        }
    }
}

fn give_up(reason: Reason, session: &mut Session, now: Instant) -> Next {
    REFUSALS.of(reason).add(1);
    tracing::debug!(sid = ?session.sid(), ?reason, "a BOSH session is refused");
    session.lose(now);
    Next::Over
}
