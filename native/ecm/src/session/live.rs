//! A session as long as its client is there.

use std::cell::RefCell;
use std::fmt;
use std::task::{Context, Poll};

use bytes::Bytes;
use megaphone_xmpp::Document;
use megaphone_xmpp::framing::{MessageError, put_document, put_given_back, put_message};

use super::counted::Counted;
use super::incoming::Incoming;
use crate::metrics::WINDOWS_SHUT;
use crate::node::Login;
use crate::trunk::{Connection, Delivery, End, Opening, Sent, TrunkLost};

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
    pub(super) connection: Connection,
    /// There is none while no document is under way.
    pub(super) incoming: Option<Box<Incoming>>,
    max_document: u32,
    pub(super) counted: Counted,
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
    /// ejabberd hears of the session with that document and not before, so a client that only connects
    /// costs it nothing. `max_document` is how many bytes a document of ejabberd's may have. Its `login`,
    /// whose turn has come, ends when the client is online.
    pub fn open(
        mut login: Login,
        opening: &Opening,
        first: &[u8],
        max_document: u32,
    ) -> Option<Self> {
        loop {
            let mut session = Self {
                connection: login.open(opening)?,
                incoming: None,
                max_document,
                counted: Counted::new(opening.transport()),
            };
            match session.try_send(first) {
                Ok(_taken) => {
                    session.counted.opened(login);
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

    /// Sends a document that was made here, all of it or nothing. Until one that was refused can be sent the client
    /// should not be read.
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
        let (sent, _) = self.send_message(|out| put_given_back(out, document))?;
        Ok(sent)
    }

    /// The next document from ejabberd. The window is returned with it, so it is to be asked for only when
    /// the client can take it: what waits here is what slows ejabberd down.
    pub fn next(&mut self) -> Received {
        loop {
            if let Some(incoming) = &mut self.incoming {
                let next = incoming.next();
                self.connection.delivered(next.used);
                if next.is_empty {
                    self.incoming = None;
                }
                match next.document {
                    Ok(Some(document)) => {
                        self.counted.server_sent(&document);
                        return Received::Document(document);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(id = %self, "a message from ejabberd can't be used: {error}");
                        return Received::End(End::Reset);
                    }
                }
            }
            match self.connection.take() {
                Delivery::Content(chunk) => self
                    .incoming
                    .get_or_insert_with(|| Box::new(Incoming::new(self.max_document)))
                    .feed(chunk),
                Delivery::End(end) => return Received::End(end),
                Delivery::Nothing => return Received::Nothing,
            }
        }
    }

    /// Whether the client has logged in, as far as the documents show it that have come from ejabberd.
    pub fn is_logged_in(&self) -> bool {
        self.counted.progress().is_logged_in()
    }

    /// Whether there may be something for [`next`](Self::next), or room for
    /// [`try_send`](Self::try_send), that was not there when this was last ready. It wakes the task that
    /// asked last.
    pub fn poll_changed(&mut self, context: &Context<'_>) -> Poll<()> {
        self.connection.poll_changed(context)
    }

    fn send_document(
        &mut self,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), MessageError>,
    ) -> Result<Sent, SendError> {
        let (sent, length) = self.send_message(put)?;
        match sent {
            Sent::Sent => {
                let length = length.saturating_sub(LENGTH_PREFIX);
                self.counted.client_sent(length);
            }
            Sent::Refused => WINDOWS_SHUT.add(1),
        }
        Ok(sent)
    }

    /// Gives the message's length too.
    fn send_message(
        &mut self,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), MessageError>,
    ) -> Result<(Sent, usize), SendError> {
        MESSAGE.with_borrow_mut(|message| {
            message.clear();
            put(message)?;
            let result = self.connection.try_send(message);
            let length = message.len();
            message.clear();
            message.shrink_to(KEPT);
            Ok((result?, length))
        })
    }
}

/// The connection's id, for logs.
impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.fmt(f)
    }
}
