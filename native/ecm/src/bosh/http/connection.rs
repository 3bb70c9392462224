//! One HTTP connection that carries BOSH requests.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
#[cfg(test)]
use bytes::BytesMut;
use megaphone_http::{RequestDecoder, RequestHead};
use tokio::sync::watch;

use super::reading::Reading;
use super::response::{self, Terms};
use crate::backlog::Backlog;
use crate::bosh::cell::{Cell, Fetched};
use crate::bosh::sessions::Sessions;
use crate::config::Service;
use crate::entrance::{Handover, Introduction, Onward};
use crate::http::deadlines::Deadlines;
use crate::http::{Origins, Route, Unread};
use crate::peer::Moved;
use crate::peer::Socket;
use crate::peer::clients::Place;
use crate::peer::task::{self, Ending, Task};
use crate::peer::timer::Timer;
use crate::settings::Settings;
use crate::shutdown::Phase;
use crate::trunk::Trunks;

/// So many requests may follow one that has no answer, on one connection.
pub(super) const PIPELINED: usize = 8;

/// A connection and what is due on it.
pub(super) struct Connection {
    pub(super) socket: Socket,
    service: Service,
    pub(super) introduction: Option<Box<Introduction>>,
    place: Place,
    pub(super) settings: Arc<Settings>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) trunks: Arc<Trunks>,
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
    Whole(Bytes, response::Connection),
    /// A session has it, or will.
    Held(Held),
}

/// A request that a session holds.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) cell: Arc<Cell>,
    pub(super) rid: u64,
    pub(super) terms: Terms,
}

/// Serves a connection whose next request is for BOSH, until it ends or a request is not. It is made outside of
/// the future, which else has room for it twice.
pub fn serve(
    handover: Handover,
    sessions: Arc<Sessions>,
) -> impl Future<Output = Option<Box<Onward>>> + Send {
    let mut phase = handover.phase.clone();
    let mut connection = Connection::new(handover, sessions);
    async move {
        let ending = task::run(&mut connection, &mut phase).await;
        connection.abandon();
        if ending == Ending::HandOver {
            return connection.hand_over(phase);
        }
        // All else goes at once.
        let (socket, _place) = connection.into_socket();
        // In a box, or it would take room beside the connection as long as that is served.
        Box::pin(task::close(socket, ending, phase)).await;
        None
    }
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
        let waiting = self.input.allocated() + reading + foreign + self.socket.unread();
        let counted = self.backlog.count(waiting, &self.settings.backlogs);
        counted.map_err(|evicted| task::evict(self.origins.peer(), evicted))
    }

    fn is_done(&self) -> Option<Ending> {
        if !self.output.is_empty() || self.socket.has_unsent() {
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

impl Connection {
    fn new(handover: Handover, sessions: Arc<Sessions>) -> Self {
        let Handover {
            stream: socket,
            service,
            introduction,
            place,
            settings,
            trunks,
            phase,
            origins,
            decoder,
            input,
            head,
        } = handover;
        let phase = *phase.borrow();
        let mut connection = Self {
            socket,
            service,
            introduction,
            place,
            settings,
            sessions,
            trunks,
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
            deadlines: Deadlines::new(tokio::time::Instant::now()),
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
        let written = self.socket.write_due(&mut self.output);
        let written = written.map_err(|error| self.left(&error))?;
        self.deadlines.output(written);
        Ok(written.moved())
    }

    /// Takes the answer that comes next, if it is there.
    fn next_answer(&mut self, now: Instant) -> Result<Moved, Ending> {
        if !self.output.is_empty() || self.ending.is_some() {
            return Ok(Moved::No);
        }
        self.held_until = None;
        let (bytes, connection) = match self.due.take() {
            None => return Ok(Moved::No),
            Some(Due::Whole(bytes, connection)) => (bytes, connection),
            Some(Due::Held(mut held)) => match held.cell.fetch(held.rid, now) {
                Fetched::Answer(answer) => {
                    if self.phase != Phase::Serving {
                        held.terms.connection = response::Connection::Closes;
                    }
                    let content_type = held.cell.content_type();
                    let bytes = held.terms.answer(&answer, content_type.as_deref());
                    (bytes, held.terms.connection)
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
        if connection == response::Connection::Closes {
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

    /// Whether anything is due or on its way out.
    pub(super) fn is_idle(&self) -> bool {
        self.due.is_none() && self.output.is_empty()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    pub(super) fn left(&self, error: &io::Error) -> Ending {
        tracing::debug!(peer = %self.origins.peer(), "a client left: {error}");
        Ending::ClientLeft
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

    fn into_socket(self) -> (Socket, Place) {
        (self.socket, self.place)
    }

    fn hand_over(self, phase: watch::Receiver<Phase>) -> Option<Box<Onward>> {
        let (head, route) = *self.foreign?;
        let handover = Handover {
            stream: self.socket,
            service: self.service,
            introduction: self.introduction,
            place: self.place,
            settings: self.settings,
            trunks: self.trunks,
            phase,
            origins: self.origins,
            decoder: self.decoder,
            input: self.input,
            head,
        };
        Some(Box::new(Onward::Relay(handover, route)))
    }
}

#[cfg(test)]
mod tests {
    use megaphone_http::{Event, Limits};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::Config;
    use crate::peer::clients::Clients;
    use crate::trunk::testing::Ejabberd;

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
        let (trunks, _ejabberd) = Ejabberd::start();
        let (_sender, phase) = watch::channel(Phase::Serving);
        let task = serve(
            Handover::for_test(
                Socket::Plain(stream),
                address,
                Arc::new(Clients::new(1)).place(1).unwrap(),
                Arc::new(Settings::new(&Config::default())),
                trunks,
                phase,
                (decoder, input, head),
            ),
            Arc::default(),
        );
        let size = size_of_val(&task);
        assert!(size <= 1_000, "a task of {size} bytes");
        let size = size_of::<Cell>();
        assert!(size <= 600, "a session of {size} bytes");
    }
}
