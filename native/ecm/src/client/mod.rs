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
use tokio::time::{Instant, Sleep};

use self::answers::{Abandoned, Answers};
use self::deadlines::Deadlines;
pub use self::replies::Reply;
use self::requests::{ForwardedFor, Outgoing, RequestReader};
pub use self::socket::prepare;
use crate::clients::Place;
use crate::settings::Settings;
use crate::shutdown::Phase;
use crate::trunk::{Connection, Room, TrunkLost, Trunks};

/// A client may send this much of further requests before its first one is answered.
const PIPELINED: usize = 64 * 1024;

/// How often a client may read, write and send before others have a turn.
const STEPS: usize = 16;

/// A client that just connected, and what it is served with.
#[derive(Debug)]
pub struct Arrival {
    /// Its socket.
    pub stream: TcpStream,
    /// Its address.
    pub peer: SocketAddr,
    /// Its place among the clients.
    pub place: Place,
    /// What it is held to.
    pub settings: Arc<Settings>,
    /// The way to ejabberd.
    pub trunks: Arc<Trunks>,
    /// How far the program's end has come.
    pub phase: watch::Receiver<Phase>,
}

/// Serves a client until it or ejabberd is done.
///
/// The client is made outside of the future: an argument of an async function takes its room twice,
/// and there is one such future for each client.
pub fn serve(arrival: Arrival) -> impl Future<Output = ()> + Send {
    let mut phase = arrival.phase.clone();
    let mut client = Client::new(arrival);
    async move {
        let ending = client.run(&mut phase).await;
        let Client {
            stream,
            connection,
            place: _place,
            ..
        } = client;
        // ejabberd hears of it before the client has taken the last of its output.
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
    place: Place,
    peer: SocketAddr,
    settings: Arc<Settings>,
    trunks: Arc<Trunks>,
    requests: RequestReader,
    answers: Answers,
    deadlines: Deadlines,
    /// Fires at the next deadline or before it; there is none while there is none.
    timer: Option<Pin<Box<Sleep>>>,
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
    fn new(arrival: Arrival) -> Self {
        let Arrival {
            stream,
            peer,
            place,
            settings,
            trunks,
            phase: _,
        } = arrival;
        let ip = peer.ip().to_canonical();
        let forwarded_for = match settings.is_trusted_proxy(ip) {
            true => ForwardedFor::Append(ip),
            false => ForwardedFor::Replace(ip),
        };
        Self {
            requests: RequestReader::new(settings.http, forwarded_for),
            answers: Answers::default(),
            deadlines: Deadlines::new(Instant::now()),
            timer: None,
            connection: None,
            outgoing: None,
            room: None,
            output: Bytes::new(),
            refusal: None,
            ending: None,
            phase: Phase::Serving,
            stream,
            place,
            peer,
            settings,
            trunks,
        }
    }

    async fn run(&mut self, phase: &mut watch::Receiver<Phase>) -> Ending {
        loop {
            self.phase = *phase.borrow_and_update();
            if self.phase == Phase::Ended {
                return Ending::Close;
            }
            match self.progress() {
                Progress::Ended(ending) => return ending,
                Progress::Yield => tokio::task::yield_now().await,
                Progress::Wait => {
                    if let Err(ending) = self.wait(phase).await {
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::clients::Clients;
    use crate::config::Config;
    use crate::ids::IdSource;

    /// Each client has such a task for as long as it is connected, so a field too much in it, or a
    /// future that is kept twice, costs as much as a million of them.
    #[tokio::test]
    async fn a_clients_task_stays_small() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = listener.local_addr().unwrap();
        let (_sender, phase) = watch::channel(Phase::Serving);
        let task = serve(Arrival {
            stream: TcpStream::connect(peer).await.unwrap(),
            peer,
            place: Arc::new(Clients::default()).place(1).unwrap(),
            settings: Arc::new(Settings::new(&Config::default())),
            trunks: Arc::new(Trunks::new(IdSource::new().unwrap())),
            phase,
        });
        let size = size_of_val(&task);
        assert!(size <= 1_200, "{size} bytes");
    }
}
