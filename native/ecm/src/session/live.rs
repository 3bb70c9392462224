//! A session as long as its client is there.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use megaphone_xmpp::Document;
use megaphone_xmpp::framing::{MessageError, put_document, put_given_back, put_message};

use super::channel::{Channel, Heard};
use super::counted::{Counted, Running, Step};
use super::incoming::OfMove;
use super::login::LoginProgress;
use super::moving::Moving;
use crate::metrics::WINDOWS_SHUT;
use crate::node::{Login, Nodes, Turn};
use crate::peer::Moved;
use crate::trunk::{End, Opening, Sent, TrunkLost};

/// What is kept of the buffer that messages are written in; it is the thread's.
const KEPT: usize = 64 * 1024;

/// What stands before each document on the trunk.
const LENGTH_PREFIX: usize = 4;

thread_local! {
    static MESSAGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A client's session, which [`leave`](Self::leave) ends.
#[derive(Debug)]
pub struct Session {
    pub(super) channel: Channel,
    max_document: u32,
    counted: Counted,
    pub(super) login: Running,
    /// When it tried last to move, as its trunk counts it.
    tried: u8,
    /// While it moves.
    pub(super) moving: Option<Box<Moving>>,
}

/// What became of a message.
struct Written {
    sent: Sent,
    /// Of its document.
    length: usize,
    step: Step,
}

/// A document can't be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The session is gone; [`Session::next`] says why, after what still came.
    #[error(transparent)]
    TrunkLost(#[from] TrunkLost),
    /// It is no document, or longer than 2 GiB.
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// What has come from ejabberd.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// The next document.
    Document(Bytes),
    /// Nothing more will come.
    End(End),
    /// Nothing now.
    Nothing,
}

impl Session {
    /// Opens a session with its first document, an `<open/>`; `None` if no trunk takes it.
    ///
    /// ejabberd learns of the session with that document and not before, so a client that only connects costs it
    /// nothing. `max_document` is how many bytes a document from ejabberd may have. The `login`, whose turn has come,
    /// ends when the client is online.
    pub fn open(
        mut login: Login,
        opening: &Opening,
        first: &[u8],
        max_document: u32,
    ) -> Option<Self> {
        loop {
            let mut session = Self {
                channel: Channel::new(login.open(opening)?),
                max_document,
                counted: Counted::new(opening.transport()),
                login: Running::default(),
                tried: 0,
                moving: None,
            };
            match session.try_send(first) {
                Ok(_taken) => {
                    session.login = session.counted.opened(login);
                    return Some(session);
                }
                // That trunk takes no more sessions; another one may.
                Err(SendError::TrunkLost(TrunkLost)) => {}
                Err(SendError::Message(error)) => {
                    tracing::error!("a session can't be opened: {error}");
                    return None;
                }
            }
        }
    }

    /// Sends a document that was made here, all of it or nothing: it is refused if there is no room for it, or if it is
    /// a step of a login whose turn has to come. Until one that was refused can be sent the client should not be read.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn try_send(&mut self, document: &[u8]) -> Result<Sent, SendError> {
        self.send_document(|out| put_message(out, document))
    }

    /// Sends a document of the client's, all of it or nothing.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn try_send_checked(&mut self, document: &Document<'_>) -> Result<Sent, SendError> {
        self.send_document(|out| put_document(out, document))
    }

    /// Gives a document of ejabberd's back that the client never got: ejabberd may have another place for
    /// it. The first one says that the client is gone, and may be empty; from then on ejabberd sends no more,
    /// and ends its side.
    pub(super) fn try_give_back(&mut self, document: &[u8]) -> Result<Sent, SendError> {
        let written = self.send_message(|out| put_given_back(out, document))?;
        Ok(written.sent)
    }

    /// The next document from ejabberd. The window is returned with it, so it is to be asked for only when
    /// the client can take it: what waits here is what slows ejabberd down.
    pub fn next(&mut self) -> Received {
        self.advance_move();
        if let Some(moving) = &mut self.moving {
            return match moving.next_document(&mut self.channel) {
                Some(document) => self.received(document),
                None if moving.is_broken() => Received::End(End::Reset),
                None => Received::Nothing,
            };
        }
        loop {
            let (heard, used) = self.channel.next(self.max_document);
            self.channel.connection.delivered(used);
            return match heard {
                Heard::Document(document) => self.received(document),
                Heard::End(end) => Received::End(end),
                Heard::Nothing => Received::Nothing,
                // That of an earlier move, which came to its end without it.
                Heard::OfMove(OfMove::Stays(_)) => continue,
                Heard::OfMove(said) => {
                    tracing::error!(id = %self, "ejabberd said {said:?}, and no move is under way");
                    Received::End(End::Reset)
                }
            };
        }
    }

    fn received(&mut self, document: Bytes) -> Received {
        self.counted.server_sent(&document, &mut self.login);
        Received::Document(document)
    }

    /// Begins to move to another trunk, if that is asked for and the client is online. What is said of it there
    /// is the same as here, but for what its login took. Until it is over no document is taken; then
    /// [`poll_changed`](Self::poll_changed) tells so.
    pub fn move_if_asked(
        &mut self,
        nodes: &Arc<Nodes>,
        opening: impl FnOnce() -> Opening,
    ) -> Moved {
        if self.moving.is_some() || self.counted.progress() != LoginProgress::Online {
            return Moved::No;
        }
        let Some(passage) = self.channel.connection.passage(&mut self.tried) else {
            return Moved::No;
        };
        tracing::debug!(id = %self, "a session moves");
        self.moving = Some(Box::new(Moving::new(passage, nodes, opening())));
        self.advance_move();
        Moved::Yes
    }

    /// Whether it is on its way to another trunk.
    pub fn is_moving(&self) -> bool {
        self.moving.as_ref().is_some_and(|it| it.holds_input())
    }

    fn advance_move(&mut self) {
        if let Some(moving) = &mut self.moving {
            moving.advance(&mut self.channel, self.max_document);
            if moving.is_done() {
                self.tried = moving.tried();
                self.moving = None;
            }
        }
    }

    /// Ends the connections in the middle of something.
    pub(super) fn abort(self) {
        self.channel.connection.abort();
    }

    /// Whether the client has logged in, as far as the documents show it that have come from ejabberd.
    pub fn is_logged_in(&self) -> bool {
        self.counted.progress().is_logged_in()
    }

    /// Whether the time that its login takes is looked after here.
    pub fn is_login_timed(&self) -> bool {
        self.counted.progress().is_timed()
    }

    /// Whether what the client has sent waits for its login's turn.
    pub fn waits_for_turn(&self) -> bool {
        self.login.waits()
    }

    /// Whether there may be something for [`next`](Self::next), or room or a turn for
    /// [`try_send`](Self::try_send), that was not there when this was last ready. It wakes the task that
    /// asked last.
    pub fn poll_changed(&mut self, context: &Context<'_>) -> Poll<()> {
        let Some(moving) = &mut self.moving else {
            // Both have to know who waits.
            let changed = self.channel.connection.poll_changed(context);
            return if self.login.poll_step(context).is_ready() {
                Poll::Ready(())
            } else {
                changed
            };
        };
        let mut context = Context::from_waker(context.waker());
        let changed = moving.poll_changed(&mut self.channel, &mut context);
        if changed.is_ready() {
            // It goes on whether or not its client takes something.
            self.advance_move();
        }
        changed
    }

    fn send_document(
        &mut self,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), MessageError>,
    ) -> Result<Sent, SendError> {
        let written = self.send_message(put)?;
        match written.sent {
            Sent::Sent => Counted::client_sent(written.length, written.step, &mut self.login),
            Sent::Refused if self.is_moving() || self.waits_for_turn() => {}
            Sent::Refused => WINDOWS_SHUT.add(1),
        }
        Ok(written.sent)
    }

    fn send_message(
        &mut self,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), MessageError>,
    ) -> Result<Written, SendError> {
        if self.is_moving() {
            return Ok(Written {
                sent: Sent::Refused,
                length: 0,
                step: Step::None,
            });
        }
        MESSAGE.with_borrow_mut(|message| {
            message.clear();
            put(message)?;
            let document = message.get(LENGTH_PREFIX..).unwrap_or_default();
            let (length, step) = (document.len(), self.login.take_turn(document));
            let result = match step {
                Step::Of(Turn::Later) => Ok(Sent::Refused),
                Step::Of(Turn::Its | Turn::Earlier) | Step::None => {
                    self.channel.connection.try_send(message)
                }
            };
            message.clear();
            message.shrink_to(KEPT);
            let sent = result?;
            if (sent, step) == (Sent::Refused, Step::Of(Turn::Its)) {
                self.login.give_back();
            }
            Ok(Written { sent, length, step })
        })
    }
}

/// The connection's id, for logs.
impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.channel.connection.fmt(f)
    }
}
