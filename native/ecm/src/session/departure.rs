//! How a session ends that ejabberd did not end: the one place for all entrances.
//!
//! What the client sent counts, whatever became of the client, so its end is said behind that. And what
//! ejabberd has sent and the client never got goes back: ejabberd has another place for it, as offline
//! messages, unless stream management keeps it anyway.
//!
//! ```text
//!   here                                          ejabberd
//!    |  documents that waited for room  ────────────> |
//!    |  the client is gone              ────────────> |  sends no more
//!    |  what the client never got       ────────────> |
//!    | <──────────────────  what was on its way, FIN  |
//!    |  that too                        ────────────> |
//!    |  <close/>, if there is nothing to come back to |
//!    |  FIN                             ────────────> |  ends the session, routes what came back
//! ```
//!
//! Of a stream that was closed there is nothing to give back, and its end is the FIN alone. Never is it a
//! reset, which overtakes what was said, but for an ejabberd that does nothing for [`QUIET`].

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use megaphone_xmpp::framing;
use tokio::time::timeout;

use super::counted::Running;
use super::documents::Documents;
use super::live::{Received, SendError, Session};
use super::outlet::Outlet;
use crate::backlog::{Backlog, Backlogs, Evicted};
use crate::trunk::{End, Sent};

/// How long ejabberd may take nothing at all: it may be busy with earlier documents, which its shaper delays. Past it
/// the session is reset, and what ejabberd has not handled is lost.
const QUIET: Duration = Duration::from_secs(300);

/// The most that one session gives back, without the last document (bytes). Anything beyond that is lost: ejabberd
/// takes at most twice as much, and a client that is gone must not cost others more.
const MOST_GIVEN_BACK: usize = 1024 * 1024;

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// One of the two sides has closed the stream.
    Closed,
    /// The client's connection has ended without that: closed, broken, or by a close frame alone.
    Left,
    /// The client was silent for too long.
    Silent,
    /// The client takes none of its output, or too much of it waited.
    SlowReader,
    /// The client's frames or requests break the rules of what carries the documents.
    Unreadable,
    /// The client's documents break the rules of XMPP, or did not come in time.
    Refused,
    /// The client has sent more than there is room for, as all of them together have, and much of that is
    /// its own.
    Flooded,
    /// This program ends.
    Shutdown,
}

impl Cause {
    /// Whether what the client still sends counts, until its connection has ended: it did nothing wrong,
    /// and may not know yet.
    pub const fn hears_on(self) -> bool {
        matches!(self, Self::Silent | Self::Shutdown)
    }

    /// What is said last.
    const fn last_words(self) -> LastWords {
        match self {
            Self::Closed => LastWords::None,
            // There is nothing to come back to.
            Self::Refused => LastWords::GoneAndClosed,
            // With stream management the client can resume its session.
            Self::Left
            | Self::Silent
            | Self::SlowReader
            | Self::Unreadable
            | Self::Flooded
            | Self::Shutdown => LastWords::Gone,
        }
    }
}

/// What ejabberd is told behind the client's last document, beside the FIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastWords {
    None,
    Gone,
    GoneAndClosed,
}

/// What is left of a client.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// The documents that it sent and ejabberd has not taken.
    pub unsent: Documents,
    /// The documents of ejabberd's that were taken from the session and never were its client's.
    pub undelivered: Vec<Bytes>,
}

impl Left {
    /// These documents that ejabberd has not taken, and what the client did not take of its output.
    pub fn of(unsent: Documents, outlet: &mut Outlet) -> Self {
        Self {
            unsent,
            undelivered: outlet.take_undelivered(),
        }
    }
}

impl Session {
    /// Leaves the session: says what is left, and how it ends, as ejabberd takes it, in a task of its own.
    /// What waits for that counts among the `backlogs` of all clients.
    ///
    /// Dropped, a session ends as if its stream was closed, and what ejabberd goes on to send counts for
    /// nothing.
    pub fn leave(mut self, cause: Cause, mut left: Left, backlogs: &Arc<Backlogs>) {
        if self.waits_for_turn() {
            // A login whose client is gone would cost others their turn.
            left.unsent.clear();
        }
        // Nobody waits for its login.
        self.login = Running::default();
        tracing::debug!(
            id = %self,
            unsent = left.unsent.len(),
            undelivered = left.undelivered.len(),
            "a session ends: {cause:?}"
        );
        let mut departure = Departure::new(self, cause, left);
        // Often ejabberd has ended its side before.
        if departure.go_on() != State::Over {
            tokio::spawn(departure.run(Arc::clone(backlogs)));
        }
    }
}

/// A session that is being left.
struct Departure {
    session: Session,
    /// Behind what the client sent: what it never got, and before that that it is gone.
    unsent: Documents,
    undelivered: VecDeque<Bytes>,
    last_words: LastWords,
    given_back: usize,
    finished: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Over,
    /// ejabberd has to do something.
    Waits,
}

/// Why a session is not left in order.
#[derive(Debug, thiserror::Error)]
enum GivenUp {
    #[error("ejabberd took nothing for {QUIET:?}")]
    Quiet,
    #[error(transparent)]
    Evicted(#[from] Evicted),
}

impl Departure {
    fn new(session: Session, cause: Cause, left: Left) -> Self {
        let mut departure = Self {
            session,
            unsent: left.unsent,
            undelivered: VecDeque::new(),
            last_words: cause.last_words(),
            given_back: 0,
            finished: false,
        };
        if cause == Cause::Flooded {
            // It is for the sake of these that the client has to go.
            departure.unsent.clear();
        }
        if departure.last_words != LastWords::None {
            // The first one says that the client is gone.
            departure.undelivered.push_back(Bytes::new());
        }
        for document in left.undelivered {
            departure.give_back(document);
        }
        departure
    }

    async fn run(mut self, backlogs: Arc<Backlogs>) {
        let mut backlog = Backlog::default();
        let given_up = loop {
            if let Err(evicted) = backlog.count(self.waiting(), &backlogs) {
                break GivenUp::from(evicted);
            }
            let happened = poll_fn(|context| self.poll(context, &backlog));
            match timeout(QUIET, happened).await {
                Ok(Ok(State::Waits)) => {}
                Ok(Ok(State::Over)) => return,
                Ok(Err(evicted)) => break GivenUp::from(evicted),
                Err(_elapsed) => break GivenUp::Quiet,
            }
        };
        tracing::warn!(id = %self.session, "resetting a session whose client is gone: {given_up}");
        self.session.abort();
    }

    /// Bytes of memory.
    fn waiting(&self) -> usize {
        let undelivered = self.undelivered.iter();
        self.unsent.bytes() + undelivered.map(Bytes::len).sum::<usize>()
    }

    fn poll(&mut self, context: &Context<'_>, backlog: &Backlog) -> Poll<Result<State, Evicted>> {
        if backlog.poll_evicted(context).is_ready() {
            return Poll::Ready(Err(Evicted));
        }
        match self.session.poll_changed(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Ok(self.go_on())),
        }
    }

    fn give_back(&mut self, document: Bytes) {
        if self.last_words != LastWords::None && self.given_back < MOST_GIVEN_BACK {
            self.given_back = self.given_back.saturating_add(document.len());
            self.undelivered.push_back(document);
        }
    }

    /// Does what can be done now.
    fn go_on(&mut self) -> State {
        // First this: an ejabberd that waits for the client finds it as soon as it has not to any more.
        if self.say().is_err() {
            return State::Over;
        }
        let end = loop {
            match self.session.next() {
                // Taken even if it can't be given back: ejabberd must not wait for a client that is gone.
                Received::Document(document) => self.give_back(document),
                Received::Nothing => break None,
                Received::End(end) => break Some(end),
            }
        };
        if end.is_none() && self.session.is_moving() {
            // It ends where it goes on.
            return State::Waits;
        }
        match (self.say(), end) {
            (Err(_), _) | (_, Some(End::TrunkLost | End::Reset)) => State::Over,
            // Nothing more comes here of one that overflowed either.
            (Ok(Sent::Sent), Some(End::Closed | End::Overflowed)) => match self.say_last() {
                Ok(Sent::Refused) => State::Waits,
                Ok(Sent::Sent) | Err(_) => State::Over,
            },
            (Ok(Sent::Sent), None) if self.last_words == LastWords::None => {
                self.finish();
                State::Waits
            }
            (Ok(_), _) => State::Waits,
        }
    }

    fn say(&mut self) -> Result<Sent, SendError> {
        while let Some(document) = self.unsent.first() {
            if is_refused(self.session.try_send(document))? {
                return Ok(Sent::Refused);
            }
            self.unsent.pop();
        }
        while let Some(document) = self.undelivered.front() {
            if is_refused(self.session.try_give_back(document))? {
                return Ok(Sent::Refused);
            }
            self.undelivered.pop_front();
        }
        Ok(Sent::Sent)
    }

    fn say_last(&mut self) -> Result<Sent, SendError> {
        if self.last_words == LastWords::GoneAndClosed {
            if self.session.try_send(framing::CLOSE)? == Sent::Refused {
                return Ok(Sent::Refused);
            }
            self.last_words = LastWords::Gone;
        }
        self.finish();
        Ok(Sent::Sent)
    }

    fn finish(&mut self) {
        if !self.finished {
            self.finished = true;
            self.session.channel.connection.finish();
        }
    }
}

/// Whether it has to wait. What can't be said, longer than 2 GiB say, is not worth the rest.
fn is_refused(sent: Result<Sent, SendError>) -> Result<bool, SendError> {
    match sent {
        Ok(sent) => Ok(sent == Sent::Refused),
        Err(SendError::Message(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
