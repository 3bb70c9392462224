//! A session's move to another trunk, of this ejabberd node or another (doc/protocol.md, "How a session moves").
//!
//! ```text
//!   here                        old connection          new connection
//!    |  mark ────────────────────────> |                     |
//!    | <──────── documents, token ──── |                     |
//!    |  PROXY header with the token ───────────────────────> |
//!    | <─── documents, moved, FIN ──── |                     |
//!    |  FIN, and here: go ─────────────────────────────────> |
//! ```
//!
//! From mark to go, nothing from the client is sent to ejabberd: it waits. What arrives for the client on the old
//! connection still reaches it; on the new one only the first document is read. If anything goes wrong before moved,
//! the session stays, and ejabberd says so on the old connection.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use megaphone_xmpp::framing::Control;
use tokio::time::{Instant, Sleep, sleep};

use super::channel::{Channel, Heard};
use super::incoming::OfMove;
use crate::metrics::{MOVE_TIMES, MOVES, MoveResult};
use crate::node::Nodes;
use crate::trunk::{End, Opening, Passage, Sent, Unread};

/// How long ejabberd may take for a move; past it the session stays. A token is valid for as long.
const PATIENCE: Duration = Duration::from_secs(15);

/// A session that moves.
#[derive(Debug)]
pub struct Moving {
    /// Held until the move is decided.
    passage: Option<Passage>,
    nodes: Arc<Nodes>,
    opening: Opening,
    stage: MoveStage,
    began: Instant,
    patience: Pin<Box<Sleep>>,
    /// What it has come to, or comes to unless it moves.
    result: MoveResult,
    /// The round in which it could not move; 0 until then.
    tried: u8,
    /// The documents that the client gets next: a client that takes nothing, as one of BOSH between two requests,
    /// holds nothing up. They are no more than its window.
    front: VecDeque<Front>,
    /// The old connection's output, while some of it is there and the new one has its place.
    old: Option<Unread>,
    new: Option<New>,
    /// ejabberd broke the protocol of moves: the session can't go on.
    is_broken: bool,
}

/// A document that the client has not taken.
#[derive(Debug)]
struct Front {
    document: Bytes,
    /// The bytes by which the window of its connection is to be returned then.
    used: usize,
    is_of_new: bool,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MoveStage {
    /// Mark is to be sent.
    Mark,
    /// Mark was sent; token or stays is to come.
    Asked,
    /// The token was sent on the new connection; moved or stays is to come.
    Taking,
    /// Stay is to be sent.
    Stay,
    /// Stay was sent; stays or moved is to come.
    Staying,
    /// Moved has come; FIN is to come.
    Moved,
    /// Go is to be sent on the new connection.
    Go,
    /// The move is decided, and the session has the connection on which it goes on.
    Over,
}

/// The new connection. Dropping it resets the connection.
#[derive(Debug)]
struct New {
    channel: Option<Channel>,
    /// Its first document, and how many bytes were read for that.
    first: Option<Bytes>,
    read: usize,
    /// ejabberd refused the session, or the connection has ended.
    is_void: bool,
}

impl Moving {
    /// Begins a move.
    pub fn new(passage: Passage, nodes: &Arc<Nodes>, opening: Opening) -> Self {
        Self {
            passage: Some(passage),
            nodes: Arc::clone(nodes),
            opening,
            stage: MoveStage::Mark,
            began: Instant::now(),
            patience: Box::pin(sleep(PATIENCE)),
            result: MoveResult::Stayed,
            tried: 0,
            front: VecDeque::new(),
            old: None,
            new: None,
            is_broken: false,
        }
    }

    /// Whether the session has to end.
    pub const fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether the client's documents have to wait.
    pub fn holds_input(&self) -> bool {
        self.stage != MoveStage::Over
    }

    /// The last round of its trunk in which the session has tried, once nothing is left of the move. In a new trunk it
    /// has not.
    pub const fn tried(&self) -> u8 {
        self.tried
    }

    /// Whether nothing is left of it.
    pub fn is_done(&self) -> bool {
        matches!(self.stage, MoveStage::Over) && self.front.is_empty() && !self.is_broken
    }

    /// The next document for the client; its bytes are returned to the connection's window.
    pub fn next_document(&mut self, channel: &mut Channel) -> Option<Bytes> {
        let Front {
            document,
            used,
            is_of_new,
        } = self.front.pop_front()?;
        match &self.old {
            Some(old) if !is_of_new => old.delivered(used),
            _ => channel.connection.delivered(used),
        }
        Some(document)
    }

    /// Ready when there may be something to do. It wakes the task that polled last.
    pub fn poll_changed(&mut self, channel: &mut Channel, context: &mut Context<'_>) -> Poll<()> {
        let mut changed = channel.connection.poll_changed(context);
        if let Some(new) = self.new.as_mut().and_then(|new| new.channel.as_mut())
            && new.connection.poll_changed(context).is_ready()
        {
            changed = Poll::Ready(());
        }
        if self.may_still_stay() && self.patience.as_mut().poll(context).is_ready() {
            match self.stage {
                // ejabberd does not know of it yet.
                MoveStage::Mark => self.over(MoveResult::TimedOut, channel),
                _ => self.stay(MoveResult::TimedOut),
            }
            changed = Poll::Ready(());
        }
        changed
    }

    /// As if the move took too long.
    #[cfg(test)]
    pub fn give_up(&mut self) {
        self.stay(MoveResult::TimedOut);
    }

    /// Does what can be done now. `channel` is the old connection, and becomes the new one once the session has moved.
    pub fn advance(&mut self, channel: &mut Channel, max_document: u32) {
        while self.stage != MoveStage::Over {
            self.say_due(channel);
            self.look_at_new(max_document);
            if self.stage == MoveStage::Stay && self.say_due(channel) {
                continue;
            }
            if self.stage == MoveStage::Go {
                if !self.go(channel) {
                    return;
                }
                continue;
            }
            let (heard, used) = channel.next(max_document);
            if let Heard::Document(document) = heard {
                self.front.push_back(Front {
                    document,
                    used,
                    is_of_new: false,
                });
                continue;
            }
            channel.connection.delivered(used);
            match heard {
                Heard::OfMove(said) => self.told(said, channel),
                Heard::End(End::Closed) if self.stage == MoveStage::Moved => {
                    channel.connection.finish();
                    self.stage = MoveStage::Go;
                }
                Heard::End(_) => self.over(MoveResult::Lost, channel),
                Heard::Nothing | Heard::Document(_) => return,
            }
        }
    }

    /// ejabberd has said something about the move on the old connection.
    fn told(&mut self, said: OfMove, channel: &Channel) {
        match (said, self.stage) {
            (OfMove::Token(token), MoveStage::Asked) => self.take(&token, channel),
            // The session hears stay after mark, and answers stays.
            (OfMove::Token(_), MoveStage::Stay | MoveStage::Staying) => {}
            (OfMove::Stays(why), _) => {
                tracing::debug!(id = %channel.connection, "a session stays: {why}");
                self.over(self.result, channel);
            }
            (OfMove::Moved, MoveStage::Taking | MoveStage::Stay | MoveStage::Staying)
                if self.new.is_some() =>
            {
                self.stage = MoveStage::Moved;
            }
            (said, stage) => {
                tracing::error!(
                    id = %channel.connection,
                    "ejabberd broke the protocol of a move: it said {said:?} at {stage:?}"
                );
                self.is_broken = true;
                self.over(MoveResult::Lost, channel);
            }
        }
    }

    /// Opens the new connection, if there is a place for it.
    fn take(&mut self, token: &Bytes, channel: &Channel) {
        let opened = self.passage.as_mut().and_then(|passage| {
            self.nodes
                .open_elsewhere(passage, &channel.connection, &self.opening, token)
        });
        // For now only the header is sent.
        match opened.map(|mut connection| (connection.try_send(b""), connection)) {
            Some((Ok(_), connection)) => {
                self.new = Some(New {
                    channel: Some(Channel::new(connection)),
                    first: None,
                    read: 0,
                    is_void: false,
                });
                self.stage = MoveStage::Taking;
            }
            Some((Err(_), _)) | None => self.stay(MoveResult::NoPlace),
        }
    }

    /// Reads the new connection up to its first document, or to the reason why it has no session.
    fn look_at_new(&mut self, max_document: u32) {
        let Some(new) = &mut self.new else {
            return;
        };
        if new.first.is_some() || new.is_void {
            return;
        }
        let Some(channel) = &mut new.channel else {
            return;
        };
        let (heard, used) = channel.next(max_document);
        new.read += used;
        match heard {
            Heard::Nothing => return,
            Heard::Document(document) => {
                new.first = Some(document);
                return;
            }
            Heard::OfMove(said) => {
                tracing::debug!(id = %channel.connection, "a session can't come: {said:?}");
            }
            Heard::End(end) => {
                tracing::debug!(id = %channel.connection, "a session can't come: {end:?}");
            }
        }
        new.is_void = true;
        if self.stage == MoveStage::Taking {
            self.stay(MoveResult::Refused);
        }
    }

    /// Says what is due on the old connection, and returns whether it did. If the connection is gone, reading it
    /// tells.
    fn say_due(&mut self, channel: &mut Channel) -> bool {
        let (control, next) = match self.stage {
            MoveStage::Mark => (Control::Mark, MoveStage::Asked),
            MoveStage::Stay => (Control::Stay, MoveStage::Staying),
            _ => return false,
        };
        let said = channel.say(&control) == Ok(Sent::Sent);
        if said {
            self.stage = next;
        }
        said
    }

    /// Changes to the new connection, and returns whether that was possible now.
    fn go(&mut self, channel: &mut Channel) -> bool {
        let Some(mut new) = self.new.take() else {
            self.over(MoveResult::Lost, channel);
            return true;
        };
        let Some(mut next) = new.channel.take() else {
            self.over(MoveResult::Lost, channel);
            return true;
        };
        // If the connection is gone, reading it tells.
        if next.say(&Control::Go) == Ok(Sent::Refused) {
            new.channel = Some(next);
            self.new = Some(new);
            return false;
        }
        let is_lost = new.is_void;
        if !self.front.is_empty() {
            self.old = channel.connection.unread();
        }
        match new.first.take() {
            Some(first) => self.front.push_back(Front {
                document: first,
                used: new.read,
                is_of_new: true,
            }),
            None => next.connection.delivered(new.read),
        }
        *channel = next;
        self.over(
            if is_lost {
                MoveResult::Lost
            } else {
                MoveResult::Moved
            },
            channel,
        );
        true
    }

    /// The move is decided: the client may go on.
    fn over(&mut self, result: MoveResult, channel: &Channel) {
        self.stage = MoveStage::Over;
        self.result = result;
        self.new = None;
        MOVES.of(result).add(1);
        if let Some(passage) = self.passage.take() {
            if result == MoveResult::Moved {
                MOVE_TIMES.observe(self.began.elapsed());
                passage.moved();
            } else {
                // Others may have had another turn meanwhile. Its client has waited long enough for now.
                self.tried = passage.round();
            }
        }
        tracing::debug!(id = %channel.connection, "a session's move is over: {result:?}");
        channel.connection.wake();
    }

    /// The session is not to move after all.
    fn stay(&mut self, why: MoveResult) {
        self.result = why;
        self.stage = MoveStage::Stay;
    }

    const fn may_still_stay(&self) -> bool {
        matches!(
            self.stage,
            MoveStage::Mark | MoveStage::Asked | MoveStage::Taking
        )
    }
}

impl Drop for New {
    fn drop(&mut self) {
        if let Some(channel) = self.channel.take() {
            channel.connection.abort();
        }
    }
}
