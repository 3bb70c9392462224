//! HTTP requests, and whole XML streams, that go on to ejabberd: a client's socket on one side, a connection in a
//! trunk on the other.
//!
//! A client is one [`Task`]. An idle one holds no buffer.

mod answers;
mod delivery;
mod forward;
mod requests;
mod routed;
mod wait;

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use megaphone_http::RequestKind;
use tokio::sync::watch;
use tokio::time::Instant;

use self::answers::{Abandoned, Answers};
use self::requests::{Outgoing, RequestReader, Routed};
use crate::backlog::Backlog;
use crate::config::Application;
use crate::entrance::{self, Arrival, Downstream, Entrance, Handover, Onward};
use crate::http::deadlines::{Deadlines, Expected};
use crate::http::{Origins, Reply, Route, Scheme};
use crate::metrics::{REFUSALS, Reason};
use crate::peer::Moved;
use crate::peer::task::{self, Ending, Task};
use crate::peer::timer::Timer;
use crate::shutdown::Phase;
use crate::trunk::{Connection, canonical};

/// A client may send this much of further requests before its first one is answered.
const PIPELINED: usize = 64 * 1024;

/// Serves a client until it or ejabberd is done, or until the connection is another entrance's.
pub fn serve(arrival: Arrival) -> impl Future<Output = Option<Box<Onward>>> + Send {
    let phase = arrival.phase.clone();
    entrance::serve(Client::new(arrival), phase)
}

/// Serves a client whose connection another entrance has for no longer, from a request with this route on.
pub fn resume(
    handover: Handover,
    route: Option<Route>,
) -> impl Future<Output = Option<Box<Onward>>> + Send {
    let Handover {
        downstream,
        phase,
        origins,
        decoder,
        input,
        head,
    } = handover;
    let peer = origins.peer();
    let (requests, routed) = RequestReader::resume(origins, decoder, input, head, route);
    let mut client = Client::with(downstream, peer, requests, Answers::default());
    client.routed = routed;
    entrance::serve(client, phase)
}

struct Client {
    downstream: Downstream,
    requests: RequestReader,
    answers: Answers,
    backlog: Backlog,
    deadlines: Deadlines,
    /// Fires at the next deadline or before it.
    timer: Timer,
    /// The connection in a trunk; there is none before the first request, nor after a trunk was
    /// lost while nothing was due.
    connection: Option<Connection>,
    /// Whose requests the connection carries.
    carries: SocketAddr,
    /// How a trusted proxy says that they come.
    carries_as: Scheme,
    /// What waits for room in the trunk.
    outgoing: Option<Outgoing>,
    /// What the client's socket is to take next.
    output: Bytes,
    /// The client takes nothing more of a raw connection: what comes for it is dropped, and what it sent is
    /// still read, to its end.
    takes_nothing: bool,
    /// The answer to give once those of ejabberd that are due are complete.
    refusal: Option<Box<Bytes>>,
    /// A request that is not for ejabberd, until those before it are answered.
    routed: Option<Box<Routed>>,
    /// How to end once the output is written; nothing more is read.
    ending: Option<Ending>,
    input: Input,
    phase: Phase,
}

/// Whether the client may send more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Open,
    /// It has closed its side, which may be all that it has closed: what is due is still sent.
    Ended,
    /// As before, and ejabberd was told.
    EndTold,
}

impl Task for Client {
    fn enter(&mut self, phase: Phase) -> Result<(), Ending> {
        self.phase = phase;
        match phase {
            Phase::Serving | Phase::Draining => Ok(()),
            Phase::Ended => Err(Ending::Close),
        }
    }

    fn step(&mut self) -> Result<Moved, Ending> {
        Ok(Moved::any([
            self.write_output()?,
            self.next_output()?,
            self.next_requests()?,
            self.send_outgoing(),
            self.take_route()?,
            self.tell_input_ended(),
        ]))
    }

    fn count_backlog(&mut self) -> Result<(), Ending> {
        let outgoing = self.outgoing.as_ref().map_or(0, |it| it.bytes.len());
        let routed = self.routed.as_ref();
        let routed = routed.map_or(0, |it| it.head.as_bytes().len());
        let waiting = self.requests.held() + outgoing + routed + self.downstream.socket.unread();
        let counted = self
            .backlog
            .count(waiting, &self.downstream.registries.backlogs);
        counted.map_err(|evicted| task::evict(self.peer(), evicted))
    }

    fn is_done(&self) -> Option<Ending> {
        if self.has_output() {
            return None;
        }
        if self.ending.is_some() {
            return self.ending;
        }
        let due = !self.answers.is_idle() || self.outgoing.is_some();
        if self.phase != Phase::Serving && (self.answers.is_raw() || !due) {
            return Some(Ending::Close);
        }
        // What was to follow an upgrade has no answer, but ejabberd's close.
        let has_left = self.input != Input::Open && !self.answers.is_raw() && !due;
        has_left.then_some(Ending::ClientLeft)
    }

    async fn wait(&mut self, phase: &mut watch::Receiver<Phase>) -> Result<(), Ending> {
        self.wait_for_change(phase).await
    }
}

impl Entrance for Client {
    async fn leave(&mut self, ending: Ending, _phase: &mut watch::Receiver<Phase>) -> Ending {
        self.leave_connection(ending);
        ending
    }

    fn hand_over(self, phase: watch::Receiver<Phase>) -> Option<Box<Onward>> {
        self.go_onward(phase)
    }

    fn into_downstream(self) -> Downstream {
        self.downstream
    }
}

impl Client {
    fn new(arrival: Arrival) -> Self {
        let Arrival {
            downstream,
            peer,
            input,
            phase: _,
        } = arrival;
        let settings = &downstream.settings;
        let capabilities = downstream.registries.nodes.capabilities();
        let origins = Origins::of(canonical(peer), &settings.trusted_proxies, capabilities);
        let (mut requests, answers) = match downstream.service.application() {
            Application::Http => (
                RequestReader::new(settings.http, origins),
                Answers::default(),
            ),
            Application::Xmpp => (RequestReader::raw(origins), Answers::raw()),
        };
        requests.feed(&input);
        Self::with(downstream, peer, requests, answers)
    }

    fn with(
        downstream: Downstream,
        peer: SocketAddr,
        requests: RequestReader,
        answers: Answers,
    ) -> Self {
        Self {
            downstream,
            requests,
            answers,
            backlog: Backlog::default(),
            deadlines: Deadlines::new(Expected::Head(0), Instant::now()),
            timer: Timer::default(),
            connection: None,
            carries: peer,
            carries_as: Scheme::Plain,
            outgoing: None,
            output: Bytes::new(),
            takes_nothing: false,
            refusal: None,
            routed: None,
            ending: None,
            input: Input::Open,
            phase: Phase::Serving,
        }
    }

    /// The client has closed its side of the connection.
    fn input_ended(&mut self) -> Result<(), Ending> {
        let due = !self.answers.is_idle() || self.outgoing.is_some();
        let raw = self.answers.is_raw() && self.connection.is_some();
        if !self.downstream.registries.nodes.capabilities().half_close
            || self.requests.is_partly_sent()
            || !(due || raw)
        {
            return Err(Ending::ClientLeft);
        }
        self.input = Input::Ended;
        Ok(())
    }

    /// The client's socket can't be read any more. What came before on a raw connection counts: to ejabberd its
    /// end comes behind that.
    fn input_failed(&mut self, error: &io::Error) -> Result<(), Ending> {
        if self.answers.is_raw() {
            self.input_ended()
        } else {
            Err(task::left(self.peer(), error))
        }
    }

    /// The client's socket can't be written any more, but be read to its end.
    fn output_failed(&mut self, error: &io::Error) -> Result<(), Ending> {
        if !self.answers.is_raw() {
            return Err(task::left(self.peer(), error));
        }
        self.output = Bytes::new();
        self.takes_nothing = true;
        Ok(())
    }

    fn has_output(&self) -> bool {
        !self.takes_nothing && (!self.output.is_empty() || self.downstream.socket.has_unsent())
    }

    /// Tells ejabberd that the client sends no more, once all that it sent is on its way.
    fn tell_input_ended(&mut self) -> Moved {
        if self.input != Input::Ended || self.outgoing.is_some() {
            return Moved::No;
        }
        let Some(connection) = &mut self.connection else {
            return Moved::No;
        };
        connection.finish();
        self.input = Input::EndTold;
        Moved::No
    }

    /// Gives the connection up: in order if all that was sent on it was answered.
    fn leave_connection(&mut self, ending: Ending) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        let in_order = match ending {
            Ending::Reset => false,
            Ending::Close | Ending::HandOver => true,
            Ending::ClientLeft => !self.answers.is_raw(),
        };
        let answered = self.answers.is_idle() && !self.requests.is_partly_sent();
        if !(in_order && (answered || self.answers.is_raw())) {
            connection.abort();
        }
    }

    fn peer(&self) -> SocketAddr {
        self.requests.peer()
    }

    /// Answers the request that is being read, after those before it.
    fn refuse(&mut self, response: Bytes) -> Result<(), Ending> {
        if self.requests.is_partly_sent()
            && self.answers.abandon_last() == Abandoned::AnswerHasBegun
        {
            return Err(Ending::Close);
        }
        self.refusal = Some(Box::new(response));
        Ok(())
    }

    /// Answers the request that is due, and no other.
    fn reply(&mut self, reply: Reply, kind: Option<RequestKind>) {
        let reason = match reply {
            Reply::NoTrunk => Reason::NoTrunk,
            _ => Reason::ConnectionLost,
        };
        REFUSALS.of(reason).add(1);
        self.output = match self.downstream.service.application() {
            Application::Http => reply.to_bytes(kind),
            Application::Xmpp => reply.to_stream_error(),
        };
        self.outgoing = None;
        self.ending = Some(Ending::Close);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::node::testing;
    use crate::peer::clients::Clients;
    use crate::settings::Settings;

    /// Each client has such a task for as long as it is connected, so a field too much in it, or a
    /// future that is kept twice, costs as much as a million of them.
    #[tokio::test]
    async fn a_clients_task_stays_small() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = listener.local_addr().unwrap();
        let (_sender, phase) = watch::channel(Phase::Serving);
        let task = serve(Arrival {
            downstream: Downstream::for_test(
                TcpStream::connect(peer).await.unwrap(),
                Arc::new(Clients::new(1)).place(1).unwrap(),
                Arc::new(Settings::new(&Config::default())),
                testing::nodes(Vec::new()),
            ),
            peer,
            input: Vec::new(),
            phase,
        });
        let size = size_of_val(&task);
        assert!(size <= 1_200, "{size} bytes");
    }
}
