//! XML streams (RFC 6120, sections 4 and 5) as sessions.
//!
//! ```text
//!   client <── XML stream, TCP or TLS ──> Client <── documents ──> Session
//! ```
//!
//! A client is one [`Task`]. TLS begins and ends here: what ejabberd has to do with STARTTLS is kept from
//! both sides. A stream that goes on with TLS is a new one, with a task and a session of its own.

mod deadlines;
mod features;
mod input;
mod leaving;
mod output;
mod wait;

use std::future::Future;
use std::net::SocketAddr;

use megaphone_trunk::proxy::Tls;
use megaphone_xmpp::stream::{Reader, Writer};
use tokio::sync::watch;
use tokio::time::Instant;

use self::deadlines::{Deadlines, Expected};
use crate::backlog::Backlog;
use crate::client_certificates::BadCertificate;
use crate::config::StartTls;
use crate::entrance::{self, Arrival, Downstream, Entrance, Onward, QueuedLogin};
use crate::http::Scheme;
use crate::peer::Moved;
use crate::peer::task::{Ending, Task};
use crate::peer::timer::Timer;
use crate::session::outlet::Outlet;
use crate::session::{Cause, Documents, Session, document_limits};
use crate::shutdown::Phase;
use crate::trunk::{Binding, Content, Opening, canonical};

/// Serves the stream of a client that just connected, or just got its TLS.
pub fn serve(
    arrival: Arrival,
    start_tls: StartTls,
) -> impl Future<Output = Option<Box<Onward>>> + Send {
    let phase = arrival.phase.clone();
    entrance::serve(Client::new(arrival, start_tls), phase)
}

/// How far a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its stream has to begin.
    Header,
    /// There is no session before there is TLS.
    BeforeTls,
    /// Its turn to log in has to come, and its session then begins.
    Queued,
    /// It has a session and is not logged in.
    Negotiating,
    /// It has taken a step of its login, which ejabberd has to answer: what comes after that may be another
    /// stream (RFC 6120, section 6.4.6).
    Authenticating,
    /// It is logged in.
    Established,
    /// It has closed its stream, and ejabberd's end of it has to come.
    Closing,
}

struct Client {
    downstream: Downstream,
    peer: SocketAddr,
    /// Of a client that has TLS, nothing is offered.
    start_tls: StartTls,
    stage: Stage,
    reader: Reader,
    writer: Writer,
    /// What it waits with for its turn.
    queued: Option<Box<Queued>>,
    session: Option<Session>,
    /// What the client sent and was not looked at: another document waits for ejabberd.
    input: Vec<u8>,
    /// A document that waits until ejabberd takes more.
    held: Option<Box<[u8]>>,
    /// What the client's socket is to take next.
    outlet: Outlet,
    /// How to end once the output is written; nothing more is read. What goes on does so with TLS.
    ending: Option<Ending>,
    backlog: Backlog,
    /// Why the session ends, if that was decided here.
    cause: Option<Cause>,
    deadlines: Deadlines,
    /// Fires at the next deadline or before it.
    timer: Timer,
    /// How many documents were read.
    documents: u64,
    /// How often something was read.
    reads: u64,
}

/// What a client waits with for its turn to log in.
struct Queued {
    login: QueuedLogin,
    /// Its stream's header.
    header: Vec<u8>,
}

impl Task for Client {
    fn enter(&mut self, phase: Phase) -> Result<(), Ending> {
        match phase {
            Phase::Serving => {}
            Phase::Draining => self.shut_down(),
            Phase::Ended => return Err(Ending::Close),
        }
        Ok(())
    }

    fn step(&mut self) -> Result<Moved, Ending> {
        Ok(Moved::any([
            self.write_output(),
            self.open_session(),
            self.move_session(),
            self.next_output(),
            self.next_input(),
        ]))
    }

    fn count_backlog(&mut self) -> Result<(), Ending> {
        let held = self.held.as_ref().map_or(0, |held| held.len());
        let queued = self.queued.as_ref().map_or(0, |it| it.header.len());
        let read =
            self.input.capacity() + self.reader.unfinished() + self.downstream.socket.unread();
        let counted = self
            .backlog
            .count(read + held + queued, &self.downstream.registries.backlogs);
        counted.map_err(|evicted| self.evict(evicted))
    }

    fn is_done(&self) -> Option<Ending> {
        self.ending
            .filter(|_| !self.outlet.has_unsent(&self.downstream.socket))
    }

    async fn wait(&mut self, phase: &mut watch::Receiver<Phase>) -> Result<(), Ending> {
        self.wait_for_change(phase).await
    }
}

impl Entrance for Client {
    async fn leave(&mut self, ending: Ending, phase: &mut watch::Receiver<Phase>) -> Ending {
        if !self.hears_on(ending) {
            self.leave_session(Documents::default());
            return ending;
        }
        // In a box, or it would take room beside the client as long as that is served.
        let unsent = Box::pin(self.hear_on(phase)).await;
        self.leave_session(unsent);
        Ending::ClientLeft
    }

    fn hand_over(self, phase: watch::Receiver<Phase>) -> Option<Box<Onward>> {
        Some(Box::new(Onward::Tls(Arrival {
            downstream: self.downstream,
            peer: self.peer,
            input: Vec::new(),
            phase,
        })))
    }

    fn into_downstream(self) -> Downstream {
        self.downstream
    }
}

impl Client {
    fn new(arrival: Arrival, start_tls: StartTls) -> Self {
        let Arrival {
            downstream,
            peer,
            input,
            phase: _,
        } = arrival;
        Self {
            reader: Reader::new(document_limits(&downstream.settings.limits, false)),
            writer: Writer::new(),
            stage: Stage::Header,
            queued: None,
            session: None,
            held: None,
            outlet: Outlet::default(),
            ending: None,
            backlog: Backlog::default(),
            cause: None,
            deadlines: Deadlines::new(Expected::Header, Instant::now()),
            timer: Timer::default(),
            documents: 0,
            reads: 0,
            peer: canonical(peer),
            start_tls: match downstream.tls() {
                Some(_) => StartTls::Off,
                None => start_tls,
            },
            downstream,
            input,
        }
    }

    /// What ejabberd is told of the session.
    fn opening(&mut self, host: Option<String>) -> Opening {
        let content = Content::XmppFraming(Binding::Stream);
        Opening {
            tls: self.tls_with_certificate(),
            bindings: self.downstream.socket.take_bindings(),
            ..self
                .downstream
                .opening(self.peer, host, content, Scheme::Plain)
        }
    }

    /// Moves the session to another trunk, if that is asked for.
    fn move_session(&mut self) -> Moved {
        if self.stage != Stage::Established || self.ending.is_some() {
            return Moved::No;
        }
        let (downstream, peer) = (&self.downstream, self.peer);
        let content = Content::XmppFraming(Binding::Stream);
        let opening = || downstream.opening(peer, None, content, Scheme::Plain);
        match &mut self.session {
            Some(session) => session.move_if_asked(&downstream.registries.nodes, opening),
            None => Moved::No,
        }
    }

    /// The client's TLS, with its certificate if it showed one that is good.
    fn tls_with_certificate(&self) -> Option<Tls> {
        let mut tls = self.downstream.tls()?;
        if let Some(authorities) = self
            .downstream
            .settings
            .tls
            .as_ref()
            .and_then(|tls| tls.authorities())
        {
            match authorities.good(self.downstream.socket.shown_by_client()) {
                Ok(certificate) => {
                    tls.verified = true;
                    tls.certificate = Some(certificate);
                }
                Err(BadCertificate::None) => {}
                Err(error) => {
                    tracing::debug!(peer = %self.peer, "a client's certificate is ignored: {error}");
                }
            }
        }
        Some(tls)
    }

    /// The client has logged in.
    fn logged_in(&mut self) {
        self.stage = Stage::Established;
        let limits = document_limits(&self.downstream.settings.limits, true);
        self.reader.set_limits(limits);
    }
}
