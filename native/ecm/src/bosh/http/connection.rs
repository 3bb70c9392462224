//! One HTTP connection that carries BOSH requests.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use megaphone_http::{RequestDecoder, RequestHead};

use super::reading::Reading;
use super::response::ResponseHead;
use crate::backlog::Backlog;
use crate::bosh::sessions::Sessions;
use crate::bosh::shared::{Fetched, SharedSession};
use crate::entrance::{Downstream, Handover};
use crate::fleet::Handed;
use crate::http::answer::Persistence;
use crate::http::deadlines::{Deadlines, Expected};
use crate::http::{Origins, Route, Unread};
use crate::peer::Moved;
use crate::peer::task::{self, Ending};
use crate::peer::timer::Timer;
use crate::shutdown::Phase;

/// So many requests may follow one that has no answer, on one connection.
pub(super) const PIPELINED: usize = 8;

/// A connection and what is due on it.
pub(super) struct HttpConnection {
    pub(super) downstream: Downstream,
    pub(super) sessions: Arc<Sessions>,
    pub(super) origins: Origins,
    pub(super) decoder: RequestDecoder,
    pub(super) input: Unread,
    /// The request that is being read.
    pub(super) reading: Option<Box<Reading>>,
    /// The answer that comes next, and those after it.
    pub(super) due: Option<Due>,
    pub(super) later: VecDeque<Due>,
    /// Until when the first of them is held.
    pub(super) held_until: Option<Instant>,
    /// A request that is not for BOSH; nothing is read behind it.
    pub(super) foreign: Option<Box<(RequestHead, Option<Route>)>>,
    pub(super) output: Bytes,
    pub(super) backlog: Backlog,
    pub(super) deadlines: Deadlines,
    pub(super) timer: Timer,
    /// How many heads were read.
    pub(super) requests: u64,
    pub(super) reads: Reads,
    /// How to end once the output is written.
    pub(super) ending: Option<Ending>,
    pub(super) phase: Phase,
}

/// Whether more requests are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    On,
    /// What came can't be read any further, or its sender has no more.
    NoMore,
}

/// An answer that is due.
#[derive(Debug)]
pub(super) enum Due {
    /// It is here.
    Whole(Bytes, Persistence),
    /// A session has it, or will.
    Held(Held),
    /// Another ECM has it, or will.
    Handed(Box<(Handed, ResponseHead)>),
}

/// A request that a session holds.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) session: Arc<SharedSession>,
    pub(super) rid: u64,
    pub(super) response: ResponseHead,
}

impl HttpConnection {
    pub(super) fn new(handover: Handover, sessions: Arc<Sessions>) -> Self {
        let Handover {
            downstream,
            phase,
            origins,
            decoder,
            input,
            head,
        } = handover;
        let phase = *phase.borrow();
        let mut connection = Self {
            downstream,
            sessions,
            origins,
            decoder,
            input,
            reading: None,
            due: None,
            later: VecDeque::new(),
            held_until: None,
            foreign: None,
            output: Bytes::new(),
            backlog: Backlog::default(),
            deadlines: Deadlines::new(Expected::Head(0), tokio::time::Instant::now()),
            timer: Timer::default(),
            requests: 0,
            reads: Reads::On,
            ending: None,
            phase,
        };
        connection.begin(head);
        connection
    }

    pub(super) fn write_output(&mut self) -> Result<Moved, Ending> {
        let written = self.downstream.socket.write_due(&mut self.output);
        let written = written.map_err(|error| task::left(self.origins.peer(), &error))?;
        self.deadlines.output(written);
        Ok(written.moved())
    }

    /// Takes the answer that comes next, if it is there.
    pub(super) fn next_answer(&mut self, now: Instant) -> Result<Moved, Ending> {
        if !self.output.is_empty() || self.ending.is_some() {
            return Ok(Moved::No);
        }
        self.held_until = None;
        let (bytes, persistence) = match self.due.take() {
            None => return Ok(Moved::No),
            Some(Due::Whole(bytes, persistence)) => (bytes, persistence),
            Some(Due::Held(mut held)) => match held.session.fetch(held.rid, now) {
                Fetched::Answer(answer) => {
                    if self.phase != Phase::Serving {
                        held.response.persistence = Persistence::Closes;
                    }
                    let content_type = held.session.content_type();
                    let bytes = held.response.answer(&answer, content_type.as_deref());
                    (bytes, held.response.persistence)
                }
                Fetched::NotYet(until) => {
                    self.held_until = until;
                    self.due = Some(Due::Held(held));
                    return Ok(Moved::No);
                }
                Fetched::Gone => return Err(Ending::Close),
            },
            Some(Due::Handed(handed)) => return self.next_of_handed(handed),
        };
        self.take_answer(bytes, persistence);
        Ok(Moved::Yes)
    }

    /// The next answer goes out.
    pub(super) fn take_answer(&mut self, bytes: Bytes, persistence: Persistence) {
        self.output = bytes;
        self.due = self.later.pop_front();
        if self.later.is_empty() {
            self.later = VecDeque::new();
        }
        if persistence == Persistence::Closes {
            self.ending = Some(Ending::Close);
        }
    }

    /// Adds an answer behind those that are due.
    pub(super) fn push(&mut self, due: Due) {
        match self.due {
            None => self.due = Some(due),
            Some(_) => self.later.push_back(due),
        }
    }

    /// Whether output waits for room in the socket.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty() || self.downstream.socket.has_unsent()
    }

    /// Whether anything is due or on its way out.
    pub(super) fn is_idle(&self) -> bool {
        self.due.is_none() && self.output.is_empty()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Tells the sessions that nobody here waits for their answers.
    pub(super) fn abandon(&mut self) {
        let now = Instant::now();
        for due in self.due.take().into_iter().chain(self.later.drain(..)) {
            match due {
                Due::Held(held) => held.session.abandon(held.rid, now),
                Due::Handed(handed) => handed.0.abort(),
                Due::Whole(..) => {}
            }
        }
    }
}
