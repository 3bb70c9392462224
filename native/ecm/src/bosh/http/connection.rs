//! One HTTP connection that carries BOSH requests.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use megaphone_http::{RequestDecoder, RequestHead};
use tokio::sync::watch;

use super::reading::Reading;
use super::response::Terms;
use crate::backlog::Backlog;
use crate::bosh::sessions::Sessions;
use crate::bosh::shared::{Fetched, SharedSession};
use crate::entrance::{self, Downstream, Entrance, Handover, Onward};
use crate::http::answer::Persistence;
use crate::http::deadlines::{Deadlines, Expected};
use crate::http::{Origins, Route, Unread};
use crate::peer::Moved;
use crate::peer::task::{self, Ending, Task};
use crate::peer::timer::Timer;
use crate::shutdown::Phase;

/// So many requests may follow one that has no answer, on one connection.
pub(super) const PIPELINED: usize = 8;

/// A connection and what is due on it.
pub(super) struct Connection {
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
    ending: Option<Ending>,
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
}

/// A request that a session holds.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) cell: Arc<SharedSession>,
    pub(super) rid: u64,
    pub(super) terms: Terms,
}

/// Serves a connection whose next request is for BOSH, until it ends or a request is not.
pub fn serve(
    handover: Handover,
    sessions: Arc<Sessions>,
) -> impl Future<Output = Option<Box<Onward>>> + Send {
    let phase = handover.phase.clone();
    entrance::serve(Connection::new(handover, sessions), phase)
}

impl Task for Connection {
    fn enter(&mut self, phase: Phase) -> Result<(), Ending> {
        self.phase = phase;
        match phase {
            Phase::Serving | Phase::Draining => Ok(()),
            Phase::Ended => Err(Ending::Close),
        }
    }

    fn step(&mut self) -> Result<Moved, Ending> {
        let now = Instant::now();
        Ok(Moved::any([
            self.write_output()?,
            self.next_answer(now)?,
            self.next_request(now),
        ]))
    }

    fn count_backlog(&mut self) -> Result<(), Ending> {
        let reading = self.reading.as_mut().map_or(0, |reading| {
            reading.shrink();
            reading.held()
        });
        let foreign = self.foreign.as_ref();
        let foreign = foreign.map_or(0, |foreign| foreign.0.as_bytes().len());
        let waiting = self.input.allocated() + reading + foreign + self.downstream.socket.unread();
        let counted = self
            .backlog
            .count(waiting, &self.downstream.settings.backlogs);
        counted.map_err(|evicted| task::evict(self.origins.peer(), evicted))
    }

    fn is_done(&self) -> Option<Ending> {
        if self.has_output() {
            return None;
        }
        if self.ending.is_some() {
            return self.ending;
        }
        if self.due.is_some() {
            return None;
        }
        if self.foreign.is_some() {
            return Some(Ending::HandOver);
        }
        if self.phase != Phase::Serving && self.reading.is_none() {
            return Some(Ending::Close);
        }
        (self.reads == Reads::NoMore).then_some(Ending::ClientLeft)
    }

    async fn wait(&mut self, phase: &mut watch::Receiver<Phase>) -> Result<(), Ending> {
        self.wait_for_change(phase).await
    }
}

impl Entrance for Connection {
    async fn leave(&mut self, ending: Ending, _phase: &mut watch::Receiver<Phase>) -> Ending {
        self.abandon();
        ending
    }

    fn hand_over(self, phase: watch::Receiver<Phase>) -> Option<Box<Onward>> {
        let (head, route) = *self.foreign?;
        let handover = Handover {
            downstream: self.downstream,
            phase,
            origins: self.origins,
            decoder: self.decoder,
            input: self.input,
            head,
        };
        Some(Box::new(Onward::Relay(handover, route)))
    }

    fn into_downstream(self) -> Downstream {
        self.downstream
    }
}

impl Connection {
    fn new(handover: Handover, sessions: Arc<Sessions>) -> Self {
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

    fn write_output(&mut self) -> Result<Moved, Ending> {
        let written = self.downstream.socket.write_due(&mut self.output);
        let written = written.map_err(|error| task::left(self.origins.peer(), &error))?;
        self.deadlines.output(written);
        Ok(written.moved())
    }

    /// Takes the answer that comes next, if it is there.
    fn next_answer(&mut self, now: Instant) -> Result<Moved, Ending> {
        if !self.output.is_empty() || self.ending.is_some() {
            return Ok(Moved::No);
        }
        self.held_until = None;
        let (bytes, persistence) = match self.due.take() {
            None => return Ok(Moved::No),
            Some(Due::Whole(bytes, persistence)) => (bytes, persistence),
            Some(Due::Held(mut held)) => match held.cell.fetch(held.rid, now) {
                Fetched::Answer(answer) => {
                    if self.phase != Phase::Serving {
                        held.terms.persistence = Persistence::Closes;
                    }
                    let content_type = held.cell.content_type();
                    let bytes = held.terms.answer(&answer, content_type.as_deref());
                    (bytes, held.terms.persistence)
                }
                Fetched::NotYet(until) => {
                    self.held_until = until;
                    self.due = Some(Due::Held(held));
                    return Ok(Moved::No);
                }
                Fetched::Gone => return Err(Ending::Close),
            },
        };
        self.output = bytes;
        self.due = self.later.pop_front();
        if self.later.is_empty() {
            self.later = VecDeque::new();
        }
        if persistence == Persistence::Closes {
            self.ending = Some(Ending::Close);
        }
        Ok(Moved::Yes)
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
    fn abandon(&mut self) {
        let now = Instant::now();
        for due in self.due.take().into_iter().chain(self.later.drain(..)) {
            if let Due::Held(held) = due {
                held.cell.abandon(held.rid, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use megaphone_http::{Event, Limits};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::Config;
    use crate::node::testing;
    use crate::peer::clients::Clients;
    use crate::settings::Settings;

    /// Each user who is online has such a task and such a session.
    #[tokio::test]
    async fn what_each_user_has_stays_small() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let mut input =
            BytesMut::from("POST /bosh HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n");
        let mut decoder = RequestDecoder::new(Limits::default());
        let Ok(Some(Event::Head(head))) = decoder.decode(&mut input) else {
            panic!("a head is read");
        };
        let (nodes, _ejabberd) = testing::start();
        let (_sender, phase) = watch::channel(Phase::Serving);
        let sessions = Arc::new(Sessions::new(phase.clone()));
        let task = serve(
            Handover {
                downstream: Downstream::for_test(
                    stream,
                    Arc::new(Clients::new(1)).place(1).unwrap(),
                    Arc::new(Settings::new(&Config::default())),
                    nodes,
                ),
                phase,
                origins: Origins::Peer(address),
                decoder,
                input: input.into(),
                head,
            },
            sessions,
        );
        let size = size_of_val(&task);
        assert!(size <= 1_000, "a task of {size} bytes");
        let size = size_of::<SharedSession>();
        assert!(size <= 600, "a session of {size} bytes");
    }
}
