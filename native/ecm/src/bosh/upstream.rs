//! A session's way to ejabberd: first a place among those that wait to log in, then a connection in a trunk.
//!
//! The request that creates a session is held while that waits for its turn. If the request has to be answered
//! first, the client learns of its session and waits with the next one.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::session::BoshSession;
use crate::backlog::Backlogs;
use crate::entrance::QueuedLogin;
use crate::metrics::{REFUSALS, Reason};
use crate::node::Nodes;
use crate::session::{Origin, Received, SendError, Session};
use crate::trunk::{End, Opening, Sent, TrunkLost};

/// Where documents of RFC 7395 go to ejabberd and come from.
#[derive(Debug)]
pub enum Upstream {
    /// The session's turn has to come.
    Queued(Box<Beginning>),
    /// Its connection, which has its first document.
    Open(Session, Box<Home>),
    /// The session is over.
    Closed,
    /// An ejabberd that does as a test says.
    #[cfg(test)]
    Told(Box<super::tests::Ejabberd>),
}

/// What a session needs that moves to another trunk.
#[derive(Debug)]
pub struct Home {
    nodes: Arc<Nodes>,
    origin: Origin,
}

impl Home {
    /// That of a session which is opened so.
    pub fn of(nodes: Arc<Nodes>, opening: &Opening) -> Self {
        Self {
            nodes,
            origin: Origin::of(opening),
        }
    }
}

/// A session whose turn has to come.
#[derive(Debug)]
pub struct Beginning {
    /// Its place among those that log in.
    pub login: QueuedLogin,
    /// Where it may move later.
    pub nodes: Arc<Nodes>,
    /// Until when it waits for its turn.
    pub until: Instant,
    /// How long the client may take to log in, once its turn has come.
    pub auth_timeout: Duration,
}

impl Upstream {
    /// Moves all that can be moved without waiting, and answers what can be answered.
    pub fn pump(&mut self, session: &mut BoshSession, now: Instant) {
        self.take_turn(session, now);
        self.move_if_asked(session);
        // Each round takes a request, sends its payload or answers one; there are few.
        loop {
            let advanced = session.advance(now);
            let had_outgoing = session.outgoing().is_some();
            let mut is_lost = !self.flush(session);
            let flushed = had_outgoing && session.outgoing().is_none();
            while session.wants_document() {
                match self.next() {
                    Received::Document(document) => session.document(document, now),
                    Received::Nothing => break,
                    Received::End(_) => {
                        is_lost = true;
                        break;
                    }
                }
            }
            if is_lost {
                session.lose(now);
            }
            let answered = session.settle(now);
            if !(advanced || flushed || answered) {
                break;
            }
        }
    }

    /// Leaves the connection of a session that is over, with what is left. One whose turn had not come has sent
    /// nothing that counts.
    pub fn leave(&mut self, session: &mut BoshSession, backlogs: &Arc<Backlogs>) {
        let upstream = std::mem::replace(self, Self::Closed);
        if let Self::Closed = upstream {
            return;
        }
        let (cause, left) = session.take_left();
        if let Self::Open(stream, _) = upstream {
            stream.leave(cause, left, backlogs);
        }
    }

    /// Whether there may be something to [`pump`](Self::pump); if not, the task that asked last is woken when
    /// there is.
    pub fn poll_changed(&mut self, context: &Context<'_>) -> Poll<()> {
        match self {
            Self::Queued(queued) => queued.login.poll_turn(context),
            Self::Open(stream, _) => stream.poll_changed(context),
            _ => Poll::Pending,
        }
    }

    /// Begins to move to another trunk, if that is asked for.
    fn move_if_asked(&mut self, session: &BoshSession) {
        if let Self::Open(stream, home) = self
            && session.is_open()
        {
            stream.move_if_asked(&home.nodes, || home.origin.opening());
        }
    }

    /// Whether it is on its way to another trunk.
    pub fn is_moving(&self) -> bool {
        matches!(self, Self::Open(stream, _) if stream.is_moving())
    }

    /// Whether a step of a login waits for its turn, in a session that is open.
    pub fn waits_for_turn(&self) -> bool {
        matches!(self, Self::Open(stream, _) if stream.waits_for_turn())
    }

    /// Until when a session waits for its turn to begin, if it does.
    pub fn queued_until(&self) -> Option<Instant> {
        match self {
            Self::Queued(queued) => Some(queued.until),
            _ => None,
        }
    }

    /// Opens the connection if its turn has come, and ends the session if it waited for too long.
    pub fn take_turn(&mut self, session: &mut BoshSession, now: Instant) {
        if !matches!(self, Self::Queued(_)) {
            return;
        }
        match std::mem::replace(self, Self::Closed) {
            Self::Queued(queued) if queued.login.has_turn() => match queued.open(session, now) {
                Ok((stream, home)) => *self = Self::Open(stream, home),
                Err(reason) => give_up(reason, session, now),
            },
            Self::Queued(queued) if queued.until <= now => {
                give_up(Reason::LoginWait, session, now);
            }
            waiting => *self = waiting,
        }
    }

    /// Sends what ejabberd takes; whether it may take more at another time.
    fn flush(&mut self, session: &mut BoshSession) -> bool {
        while let Some(document) = session.outgoing() {
            match self.send(document) {
                Ok(Sent::Sent) => session.outgoing_taken(),
                Ok(Sent::Refused) => return true,
                Err(error) => {
                    tracing::debug!(sid = ?session.sid(), "a document can't be sent: {error}");
                    return false;
                }
            }
        }
        true
    }

    fn send(&mut self, document: &[u8]) -> Result<Sent, SendError> {
        match self {
            Self::Queued(_) => Ok(Sent::Refused),
            Self::Open(stream, _) => stream.try_send(document),
            Self::Closed => Err(TrunkLost.into()),
            #[cfg(test)]
            Self::Told(ejabberd) => ejabberd.take(document),
        }
    }

    fn next(&mut self) -> Received {
        match self {
            Self::Queued(_) => Received::Nothing,
            Self::Open(stream, _) => stream.next(),
            Self::Closed => Received::End(End::Closed),
            #[cfg(test)]
            Self::Told(ejabberd) => ejabberd.next(),
        }
    }
}

impl Beginning {
    fn open(self, session: &mut BoshSession, now: Instant) -> Result<(Session, Box<Home>), Reason> {
        let home = Home::of(self.nodes, self.login.opening());
        let stream = self.login.open(session.outgoing().unwrap_or_default())?;
        session.outgoing_taken();
        session.login_begins(now + self.auth_timeout);
        Ok((stream, Box::new(home)))
    }
}

fn give_up(reason: Reason, session: &mut BoshSession, now: Instant) {
    REFUSALS.of(reason).add(1);
    tracing::debug!(sid = ?session.sid(), ?reason, "a BOSH session is refused");
    session.lose(now);
}
