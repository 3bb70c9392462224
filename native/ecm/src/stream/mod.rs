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
use std::sync::Arc;

use megaphone_trunk::proxy::Tls;
use megaphone_xmpp::Limits;
use megaphone_xmpp::stream::{Reader, Writer};
use tokio::sync::watch;
use tokio::time::Instant;

use self::deadlines::Deadlines;
use crate::backlog::Backlog;
use crate::client_certificates::BadCertificate;
use crate::config::{ClientCertificates, Service, StartTls};
use crate::entrance::{Arrival, Introduction, Onward, tls_of};
use crate::logins::Login;
use crate::peer::Moved;
use crate::peer::Socket;
use crate::peer::clients::Place;
use crate::peer::task::{self, Ending, Task};
use crate::peer::timer::Timer;
use crate::session::outlet::Outlet;
use crate::session::{Cause, Documents, MAX_BEFORE_LOGIN, Session};
use crate::settings::Settings;
use crate::shutdown::Phase;
use crate::trunk::{Binding, Content, Opening, Trunks, canonical};

/// Serves the stream of a client that just connected, or just got its TLS.
///
/// The client is made outside of the future: an argument of an async function takes its room twice, and
/// there is one such future for each client.
pub fn serve(
    arrival: Arrival,
    start_tls: StartTls,
) -> impl Future<Output = Option<Box<Onward>>> + Send {
    let mut phase = arrival.phase.clone();
    let mut client = Client::new(arrival, start_tls);
    async move {
        let mut ending = task::run(&mut client, &mut phase).await;
        let mut unsent = Documents::default();
        if client.hears_on(ending) {
            // In boxes, these two, or they would take room beside the client as long as that is served.
            unsent = Box::pin(client.hear_on(&mut phase)).await;
            ending = Ending::ClientLeft;
        }
        client.leave_session(unsent);
        if ending == Ending::HandOver {
            return Some(Box::new(Onward::Tls(client.into_arrival(phase))));
        }
        // All else goes at once.
        let (socket, _place) = client.into_socket();
        Box::pin(task::close(socket, ending, phase)).await;
        None
    }
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
    socket: Socket,
    place: Place,
    peer: SocketAddr,
    introduction: Option<Box<Introduction>>,
    settings: Arc<Settings>,
    trunks: Arc<Trunks>,
    /// Of a client that has TLS, nothing is offered.
    start_tls: StartTls,
    client_certificates: ClientCertificates,
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
    /// Fires at the next deadline or before it; there is none while there is none.
    timer: Timer,
    /// How many documents were read.
    documents: u64,
    /// How often something was read.
    reads: u64,
}

/// What a client waits with for its turn to log in.
struct Queued {
    login: Login,
    opening: Opening,
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
            self.next_output(),
            self.next_input(),
        ]))
    }

    fn count_backlog(&mut self) -> Result<(), Ending> {
        let held = self.held.as_ref().map_or(0, |held| held.len());
        let queued = self.queued.as_ref().map_or(0, |it| it.header.len());
        let read = self.input.capacity() + self.reader.unfinished() + self.socket.unread();
        let counted = self
            .backlog
            .count(read + held + queued, &self.settings.backlogs);
        counted.map_err(|evicted| self.evict(evicted))
    }

    fn is_done(&self) -> Option<Ending> {
        self.ending
            .filter(|_| !self.outlet.has_unsent(&self.socket))
    }

    async fn wait(&mut self, phase: &mut watch::Receiver<Phase>) -> Result<(), Ending> {
        self.wait_for_change(phase).await
    }
}

impl Client {
    fn new(arrival: Arrival, start_tls: StartTls) -> Self {
        let Arrival {
            socket,
            peer,
            service: _,
            client_certificates,
            introduction,
            input,
            place,
            settings,
            trunks,
            phase: _,
        } = arrival;
        let mut client = Self {
            reader: Reader::new(limits(&settings, Stage::Header)),
            writer: Writer::new(),
            stage: Stage::Header,
            queued: None,
            session: None,
            held: None,
            outlet: Outlet::default(),
            ending: None,
            backlog: Backlog::default(),
            cause: None,
            deadlines: Deadlines::new(Instant::now()),
            timer: Timer::default(),
            documents: 0,
            reads: 0,
            peer: canonical(peer),
            start_tls,
            client_certificates,
            socket,
            place,
            introduction,
            settings,
            trunks,
            input,
        };
        if client.tls().is_some() {
            client.start_tls = StartTls::Off;
        }
        client
    }

    /// What ejabberd is told of the session.
    fn opening(&mut self, host: Option<String>) -> Opening {
        let server = match &self.introduction {
            Some(introduction) => introduction.server,
            // It can't fail as long as the socket is there.
            None => self.socket.local_addr().unwrap_or(self.peer),
        };
        Opening {
            client: self.peer,
            server,
            host,
            content: Content::XmppFraming(Binding::Stream),
            tls: self.tls_with_certificate(),
            bindings: self.socket.take_bindings(),
            fields: None,
        }
    }

    /// The client's TLS, with its certificate if it showed one that is good.
    fn tls_with_certificate(&self) -> Option<Tls> {
        let mut tls = self.tls()?;
        if let Some(authorities) = self.settings.tls.as_ref().and_then(|tls| tls.authorities()) {
            match authorities.good(self.socket.shown_by_client()) {
                Ok(certificate) => {
                    tls.verified = true;
                    tls.certificate = Some(certificate);
                }
                Err(BadCertificate::None) => {}
                Err(error) => {
                    tracing::debug!(peer = %self.peer, "a client's certificate does not count: {error}");
                }
            }
        }
        Some(tls)
    }

    fn tls(&self) -> Option<Tls> {
        tls_of(&self.socket, self.introduction.as_deref())
    }

    fn into_socket(self) -> (Socket, Place) {
        (self.socket, self.place)
    }

    fn into_arrival(self, phase: watch::Receiver<Phase>) -> Arrival {
        Arrival {
            socket: self.socket,
            peer: self.peer,
            service: Service::Streams(self.start_tls),
            client_certificates: self.client_certificates,
            introduction: self.introduction,
            input: Vec::new(),
            place: self.place,
            settings: self.settings,
            trunks: self.trunks,
            phase,
        }
    }

    /// The client has logged in.
    fn logged_in(&mut self) {
        self.stage = Stage::Established;
        self.reader.set_limits(limits(&self.settings, self.stage));
    }
}

/// What a client's documents may cost at a stage.
fn limits(settings: &Settings, stage: Stage) -> Limits {
    settings.limits.of_document(match stage {
        Stage::Header
        | Stage::BeforeTls
        | Stage::Queued
        | Stage::Negotiating
        | Stage::Authenticating => MAX_BEFORE_LOGIN,
        Stage::Established | Stage::Closing => usize::MAX,
    })
}
