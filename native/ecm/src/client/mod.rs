//! One client: its socket on one side, a connection in a trunk on the other.
//!
//! A client is one task. It makes all the progress that is possible without waiting
//! ([`Client::progress`]), then waits for whatever could allow more ([`Client::wait`]). Between the
//! two an idle client holds no buffer.

mod answers;
mod deadlines;
mod forward;
mod relay;
mod replies;
mod requests;
mod socket;
mod wait;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use self::answers::{Abandoned, Answers};
use self::deadlines::Deadlines;
pub use self::replies::Reply;
use self::requests::{ForwardedFor, Outgoing, RequestReader};
pub use self::socket::prepare;
use crate::settings::Settings;
use crate::shutdown::Phase;
use crate::trunk::{Connection, Room, TrunkLost, Trunks};

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
}

/// Whether a step changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moved {
    Yes,
    No,
}
