//! One client: its socket on one side, a connection in a trunk on the other.
//!
//! A client is one task. It makes all the progress that is possible without waiting
//! ([`Client::progress`]), then waits for whatever could allow more ([`Client::wait`]). Between the
//! two an idle client holds no buffer.

mod answers;
mod deadlines;
mod replies;
mod requests;
mod socket;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use self::answers::{Abandoned, Answers, Then};
use self::deadlines::{Deadlines, Expected, Missed, Waiting};
pub use self::replies::Reply;
use self::requests::{ForwardedFor, Next, Outgoing, Position, RequestReader};
pub use self::socket::prepare;
use crate::settings::Settings;
use crate::shutdown::Phase;
use crate::trunk::{Connection, Delivery, End, Room, SendResult, TrunkLost, Trunks};

/// A client may send this much of further requests before its first one is answered.
const PIPELINED: usize = 64 * 1024;

/// How often a client may read, write and send before others have a turn.
const STEPS: usize = 16;

/// Serves a client until it or ejabberd is done.
pub async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    settings: Arc<Settings>,
    trunks: Arc<Trunks>,
    mut phase: watch::Receiver<Phase>,
) {
    let mut client = Client::new(stream, peer, settings, trunks);
    let ending = client.run(&mut phase).await;
    // ejabberd hears of it before the client has taken the last of its output.
    let Client {
        stream, connection, ..
    } = client;
    drop(connection);
    match ending {
        Ending::ClientLeft => {}
        Ending::Reset => socket::reset(&stream),
        Ending::Close => tokio::select! {
            () = socket::close_gently(stream) => {}
            _ = phase.wait_for(|phase| *phase == Phase::Ended) => {}
        },
    }
}

/// Tells a client why it can't be served.
pub async fn refuse(stream: TcpStream, reply: Reply) {
    // A fresh socket has room for it; if not, the client is gone.
    if stream.try_write(&reply.to_bytes(None)).is_ok() {
        socket::close_gently(stream).await;
    }
}

/// How a client's connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The client has closed it, or its socket failed.
    ClientLeft,
    /// All that was due was written: it is closed so that the client gets all of it.
    Close,
    /// The client can't get the rest of what was due, and has to see that.
    Reset,
}

struct Client {
    stream: TcpStream,
    peer: SocketAddr,
    settings: Arc<Settings>,
    trunks: Arc<Trunks>,
    requests: RequestReader,
    answers: Answers,
    deadlines: Deadlines,
    /// The connection in a trunk; there is none before the first request, nor after a trunk was
    /// lost while nothing was due.
    connection: Option<Connection>,
    /// What waits for room in the trunk.
    outgoing: Option<Outgoing>,
    room: Option<RoomToCome>,
    /// What the client's socket is to take next.
    output: Bytes,
    /// The answer to give once those of ejabberd that are due are complete.
    refusal: Option<Bytes>,
    /// How to end once the output is written; nothing more is read.
    ending: Option<Ending>,
    phase: Phase,
}

/// Room in the trunk that is being waited for. It is kept from one wait to the next, because who
/// asks anew is the last in the queue.
type RoomToCome = Pin<Box<dyn Future<Output = Result<Room, TrunkLost>> + Send>>;

/// What [`Client::progress`] came to.
enum Progress {
    /// It could go on, but others are waiting.
    Yield,
    /// Something has to happen first.
    Wait,
    Ended(Ending),
}

impl Client {
    fn new(
        stream: TcpStream,
        peer: SocketAddr,
        settings: Arc<Settings>,
        trunks: Arc<Trunks>,
    ) -> Self {
        let ip = peer.ip().to_canonical();
        let forwarded_for = match settings.is_trusted_proxy(ip) {
            true => ForwardedFor::Append(ip),
            false => ForwardedFor::Replace(ip),
        };
        Self {
            requests: RequestReader::new(settings.http, forwarded_for),
            answers: Answers::default(),
            deadlines: Deadlines::new(Instant::now()),
            connection: None,
            outgoing: None,
            room: None,
            output: Bytes::new(),
            refusal: None,
            ending: None,
            phase: Phase::Serving,
            stream,
            peer,
            settings,
            trunks,
        }
    }

    async fn run(&mut self, phase: &mut watch::Receiver<Phase>) -> Ending {
        let timer = sleep_until(Instant::now());
        tokio::pin!(timer);
        loop {
            self.phase = *phase.borrow_and_update();
            if self.phase == Phase::Ended {
                return Ending::Close;
            }
            match self.progress() {
                Progress::Ended(ending) => return ending,
                Progress::Yield => tokio::task::yield_now().await,
                Progress::Wait => {
                    if let Err(ending) = self.wait(timer.as_mut(), phase).await {
                        return ending;
                    }
                }
            }
        }
    }

    /// Does all that can be done without waiting.
    fn progress(&mut self) -> Progress {
        for _ in 0..STEPS {
            let step = self.write_output().and_then(|wrote| {
                let moved = [
                    wrote,
                    self.next_output()?,
                    self.next_requests()?,
                    self.send_outgoing(),
                    self.read_input()?,
                ];
                Ok(moved.contains(&Moved::Yes))
            });
            match step {
                Err(ending) => return Progress::Ended(ending),
                Ok(true) => {}
                Ok(false) => {
                    return match self.is_done() {
                        Some(ending) => Progress::Ended(ending),
                        None => Progress::Wait,
                    };
                }
            }
        }
        Progress::Yield
    }

    /// How it ends, if nothing is left to do.
    fn is_done(&self) -> Option<Ending> {
        if !self.output.is_empty() {
            return None;
        }
        if self.ending.is_some() {
            return self.ending;
        }
        let draining = self.phase != Phase::Serving;
        let due = !self.answers.is_idle() || self.outgoing.is_some();
        (draining && (self.answers.is_raw() || !due)).then_some(Ending::Close)
    }

    // From ejabberd to the client.

    fn write_output(&mut self) -> Result<Moved, Ending> {
        if self.output.is_empty() {
            self.deadlines.output_moves();
            return Ok(Moved::No);
        }
        if self
            .connection
            .as_ref()
            .is_some_and(Connection::has_overflowed)
        {
            return Err(self.overflowed());
        }
        match self.stream.try_write(&self.output) {
            Ok(written) => {
                self.output.advance(written);
                self.deadlines.output_moves();
                if self.output.is_empty() {
                    self.output = Bytes::new();
                }
                if let Some(connection) = &self.connection {
                    connection.delivered(written);
                }
                Ok(Moved::Yes)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.deadlines.output_is_stuck(Instant::now());
                Ok(Moved::No)
            }
            Err(error) => Err(self.left(&error)),
        }
    }

    /// Takes what comes next for the client, once its socket has taken all before.
    fn next_output(&mut self) -> Result<Moved, Ending> {
        if !self.output.is_empty() || self.ending.is_some() {
            return Ok(Moved::No);
        }
        match self
            .connection
            .as_ref()
            .map_or(Delivery::Nothing, Connection::take)
        {
            Delivery::Content(content) => {
                self.relay(content);
                Ok(Moved::Yes)
            }
            Delivery::End(End::Closed) => {
                self.connection = None;
                self.ending = Some(Ending::Close);
                Ok(Moved::Yes)
            }
            Delivery::End(End::TrunkLost) => self.trunk_lost(),
            Delivery::End(End::Overflowed) => Err(self.overflowed()),
            Delivery::Nothing if self.refusal.is_some() && self.answers.is_idle() => {
                self.output = self.refusal.take().unwrap_or_default();
                self.ending = Some(Ending::Close);
                Ok(Moved::Yes)
            }
            Delivery::Nothing => Ok(Moved::No),
        }
    }

    fn relay(&mut self, mut content: Bytes) {
        let followed = self.answers.follow(&content);
        match followed.then {
            Then::SwitchToRaw => self.requests.switch_to_raw(),
            Then::GoOn if self.answers.is_idle() => self.requests.resume_http(),
            Then::GoOn => {}
            Then::Close => {
                content.truncate(followed.relay);
                self.connection = None;
                self.ending = Some(Ending::Close);
            }
        }
        self.output = content;
    }

    fn trunk_lost(&mut self) -> Result<Moved, Ending> {
        self.connection = None;
        self.room = None;
        if self.answers.is_raw() {
            return Err(Ending::Close);
        }
        if self.answers.is_idle() {
            // Nothing is lost: the next request goes through the next trunk.
            return Ok(Moved::Yes);
        }
        if self.answers.has_begun() {
            return Err(Ending::Reset);
        }
        self.reply(Reply::TrunkLost, self.answers.due());
        Ok(Moved::Yes)
    }

    fn overflowed(&self) -> Ending {
        tracing::info!(
            peer = %self.peer,
            "closing a client that takes its output slower than it comes: too much waited"
        );
        Ending::Reset
    }

    // From the client to ejabberd.

    /// Makes the next bytes for ejabberd of what was read.
    fn next_requests(&mut self) -> Result<Moved, Ending> {
        if self.outgoing.is_some() || !self.takes_requests() {
            return Ok(Moved::No);
        }
        match self.requests.next() {
            Next::Wait => Ok(Moved::No),
            Next::Send(outgoing) => {
                self.outgoing = Some(outgoing);
                Ok(Moved::Yes)
            }
            Next::Refuse(error) => {
                tracing::debug!(peer = %self.peer, reason = error.name(), "refused: {error}");
                self.refuse(error.response())?;
                Ok(Moved::Yes)
            }
        }
    }

    /// Sends what waits, if there is a trunk and room in it.
    fn send_outgoing(&mut self) -> Moved {
        if self.room.is_some() || self.ending.is_some() {
            return Moved::No;
        }
        let Some(outgoing) = self.outgoing.take() else {
            return Moved::No;
        };
        if self.connection.is_none() {
            self.connection = self.trunks.open();
            if let Some(connection) = &self.connection {
                tracing::debug!(peer = %self.peer, id = %connection.id(), "connection opened");
            }
        }
        let Some(connection) = &mut self.connection else {
            self.reply(Reply::NoTrunk, outgoing.asked.map(|asked| asked.kind));
            return Moved::Yes;
        };
        match connection.try_send(&outgoing.bytes) {
            Ok(SendResult::Sent) => {
                self.sent(&outgoing);
                Moved::Yes
            }
            Ok(SendResult::NoRoom) => {
                self.room = Some(Box::pin(connection.room(outgoing.bytes.len())));
                self.outgoing = Some(outgoing);
                Moved::No
            }
            // The connection's end says what becomes of the answers that are due.
            Err(TrunkLost) => {
                self.outgoing = Some(outgoing);
                Moved::No
            }
        }
    }

    fn sent(&mut self, outgoing: &Outgoing) {
        match outgoing.asked {
            Some(asked) => self.answers.asked(asked, outgoing.bytes.len()),
            None => self.answers.sent_more(outgoing.bytes.len()),
        }
    }

    fn read_input(&mut self) -> Result<Moved, Ending> {
        if !self.wants_input() {
            return Ok(Moved::No);
        }
        match socket::try_read(&self.stream, |bytes| self.requests.feed(bytes)) {
            Ok(0) => Err(Ending::ClientLeft),
            Ok(_) => Ok(Moved::Yes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Moved::No),
            Err(error) => Err(self.left(&error)),
        }
    }

    /// Whether a request may be taken from what was read.
    fn takes_requests(&self) -> bool {
        let may_start =
            self.phase == Phase::Serving || self.requests.position() == Position::InBody;
        self.ending.is_none()
            && self.refusal.is_none()
            && may_start
            && self.answers.waiting_bytes() < PIPELINED
    }

    /// Whether the client's socket is read: not while what was read before waits for something.
    fn wants_input(&self) -> bool {
        self.outgoing.is_none()
            && self.takes_requests()
            && self.requests.position() != Position::Held
    }

    // How it ends.

    /// Answers the request that is being read, after those before it.
    fn refuse(&mut self, response: Bytes) -> Result<(), Ending> {
        if self.requests.is_partly_sent()
            && self.answers.abandon_last() == Abandoned::AnswerHasBegun
        {
            return Err(Ending::Close);
        }
        self.refusal = Some(response);
        Ok(())
    }

    /// Answers the request that is due, and no other.
    fn reply(&mut self, reply: Reply, kind: Option<megaphone_http::RequestKind>) {
        self.output = reply.to_bytes(kind);
        self.outgoing = None;
        self.ending = Some(Ending::Close);
    }

    fn left(&self, error: &io::Error) -> Ending {
        tracing::debug!(peer = %self.peer, "a client left: {error}");
        Ending::ClientLeft
    }

    fn missed(&mut self, missed: Missed) -> Result<(), Ending> {
        tracing::debug!(peer = %self.peer, "a deadline passed: {missed:?}");
        match missed {
            Missed::Idle => Err(Ending::Close),
            Missed::Output => Err(Ending::Reset),
            Missed::Request if self.requests.position() == Position::BetweenRequests => {
                Err(Ending::Close)
            }
            Missed::Request => self.refuse(Reply::RequestTimeout.to_bytes(None)),
        }
    }

    // Waiting.

    async fn wait(
        &mut self,
        mut timer: Pin<&mut Sleep>,
        phase: &mut watch::Receiver<Phase>,
    ) -> Result<(), Ending> {
        let wants_input = self.wants_input();
        let interest = match (wants_input, self.output.is_empty()) {
            (true, true) => Some(Interest::READABLE),
            (true, false) => Some(Interest::READABLE | Interest::WRITABLE),
            (false, false) => Some(Interest::WRITABLE),
            (false, true) => None,
        };
        let deadline = self.deadline(wants_input);
        if let Some((deadline, _)) = deadline
            && (timer.is_elapsed() || deadline < timer.deadline())
        {
            // A timer that fires too early costs less than one that is moved at each request.
            timer.as_mut().reset(deadline);
        }
        let connection = self.connection.as_ref();
        let got_room = tokio::select! {
            ready = async {
                match interest {
                    Some(interest) => self.stream.ready(interest).await.map(|_ready| ()),
                    None => std::future::pending().await,
                }
            } => return ready.map_err(|error| self.left(&error)),
            () = async {
                match connection {
                    Some(connection) => connection.changed().await,
                    None => std::future::pending().await,
                }
            } => return Ok(()),
            room = async {
                match &mut self.room {
                    Some(room) => room.await,
                    None => std::future::pending().await,
                }
            } => room,
            () = timer.as_mut(), if deadline.is_some() => {
                return match deadline {
                    Some((deadline, missed)) if deadline <= Instant::now() => self.missed(missed),
                    _ => Ok(()),
                };
            }
            // The phase itself is looked at by the caller.
            changed = phase.changed() => return changed.map_err(|_gone| Ending::Close),
        };
        self.room = None;
        if let (Ok(room), Some(connection)) = (got_room, &mut self.connection)
            && let Some(outgoing) = self.outgoing.take()
        {
            connection.send(room, &outgoing.bytes);
            self.sent(&outgoing);
        }
        Ok(())
    }

    fn deadline(&mut self, wants_input: bool) -> Option<(Instant, Missed)> {
        let waiting = match self.answers.is_idle() {
            true => Waiting::ForClient,
            false => Waiting::ForServer,
        };
        let expected = match wants_input {
            false => Expected::Nothing,
            true => Expected::at(
                self.requests.position(),
                self.requests.requests(),
                self.requests.body_bytes(),
                waiting,
            ),
        };
        self.deadlines.expect(expected, Instant::now());
        self.deadlines.next(&self.settings.limits)
    }
}

/// Whether a step changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moved {
    Yes,
    No,
}
