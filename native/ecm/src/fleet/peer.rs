//! Another ECM, and the connection that is kept up to it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustix::process::Pid;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::shared::Shared;
use crate::config::TrunkAddress;
use crate::metrics::FLEET_PEERS_UP;
use crate::trunk::{Dialler, Kind, Lost, Multiplexer, Opening, Stream};

/// A connection that was up for this long counts as a success, whatever ended it.
const STABLE: Duration = Duration::from_secs(1);

/// Where a program takes requests from the one that replaces it: a Unix socket without a file, which ends with it. The
/// number of a process is its own in its PID namespace alone, and sockets may be shared by several.
pub fn hand_over_address(process: Pid) -> PathBuf {
    let process = process.as_raw_nonzero();
    let namespace = fs::read_link(format!("/proc/{process}/ns/pid")).unwrap_or_default();
    PathBuf::from(format!("\0megaphone-ecm/{}/{process}", namespace.display()))
}

/// Another ECM.
#[derive(Debug)]
pub struct Peer {
    name: String,
    address: String,
    state: RwLock<State>,
    pub(super) dialler: Dialler,
}

/// Whether it can be reached.
#[derive(Debug)]
enum State {
    /// It is being connected to, and no attempt has failed.
    Connecting,
    Up(Arc<Multiplexer>),
    /// The last attempt to connect failed.
    Gone,
    /// It is no longer a peer.
    Removed,
}

impl State {
    /// A connection opens no more streams; those that are open go on.
    fn finish(self) {
        if let Self::Up(link) = self {
            link.finish();
        }
    }
}

/// Why a request can't be handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// The connection is being made: it will be known in a moment whether the peer is there.
    Connecting,
    /// The peer can't be reached.
    Gone,
}

impl Peer {
    /// A peer that is not connected yet.
    pub fn new(name: &str, dialler: Dialler) -> Self {
        Self {
            name: name.to_owned(),
            address: dialler.address().to_string(),
            state: RwLock::new(State::Connecting),
            dialler,
        }
    }

    /// The program that another one replaces, which is there as long as it runs.
    pub fn predecessor(process: Pid, timeout: Duration) -> Self {
        let address = TrunkAddress::Unix(hand_over_address(process));
        Self::new("before this one", Dialler::new(address, timeout, None))
    }

    /// Whether it may have what is not found elsewhere.
    pub fn is_there(&self) -> bool {
        matches!(&*self.state.read(), State::Connecting | State::Up(_))
    }

    /// Opens a stream; the peer hears of it with its first content.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub fn open(&self, opening: &Opening) -> Result<Stream, Unreachable> {
        match &*self.state.read() {
            State::Up(link) => {
                let opened = link.open(Kind::Request, opening.to_header());
                opened.map_err(|_lost| Unreachable::Connecting)
            }
            State::Connecting => Err(Unreachable::Connecting),
            State::Gone | State::Removed => Err(Unreachable::Gone),
        }
    }

    /// Opens no more streams; those that are open go on.
    pub fn finish(&self) {
        self.turn(State::Removed);
    }

    /// Changes the state, unless the peer was removed.
    fn turn(&self, state: State) {
        let mut current = self.state.write();
        if matches!(*current, State::Removed) {
            // The task that keeps it is about to end.
            drop(current);
            state.finish();
            return;
        }
        if matches!(state, State::Up(_)) {
            FLEET_PEERS_UP.add(1);
        }
        let before = std::mem::replace(&mut *current, state);
        drop(current);
        if matches!(before, State::Up(_)) {
            FLEET_PEERS_UP.subtract_one();
        }
        before.finish();
    }

    /// Connects, and connects again whenever the connection is lost.
    pub(super) async fn keep(self: Arc<Self>, shared: Arc<Shared>) {
        let mut backoff = shared.backoff();
        let mut told = false;
        loop {
            let reason = match self.connect(&shared).await {
                Ok((link, running)) => {
                    tracing::info!("ECM {} at {} is up", self.name, self.address);
                    told = false;
                    let up = Instant::now();
                    let reason = self.stay(link, running).await;
                    if up.elapsed() >= STABLE {
                        backoff.reset();
                    }
                    tracing::info!(
                        "the connection to ECM {} at {} has ended: {reason}",
                        self.name,
                        self.address
                    );
                    sleep(backoff.next_wait()).await;
                    continue;
                }
                Err(reason) => reason,
            };
            self.turn(State::Gone);
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(
                    "can't connect to ECM {} at {}: {reason}; requests for its BOSH sessions get item-not-found \
                     here; trying again until it is up",
                    self.name,
                    self.address
                );
            }
            sleep(backoff.next_wait()).await;
        }
    }

    /// Connects, and stays until the peer has gone for good.
    pub async fn stay_once(self: Arc<Self>, shared: Arc<Shared>) {
        match self.connect(&shared).await {
            Ok((_, running)) => {
                tracing::info!(
                    "BOSH requests for sessions of the ECM before this one are handed on to it"
                );
                // It ends with its last session.
                let _ = running.await;
            }
            Err(reason) => tracing::info!(
                "BOSH requests for sessions of the ECM before this one can't be handed on, and are answered with \
                 item-not-found: {reason}"
            ),
        }
        self.turn(State::Gone);
    }

    async fn connect(
        &self,
        shared: &Shared,
    ) -> Result<(Arc<Multiplexer>, JoinHandle<Lost>), String> {
        let (reader, writer) = self.dialler.dial().await.map_err(|it| it.to_string())?;
        let link = shared.to_peer();
        let mut running = tokio::spawn(Arc::clone(&link).run(reader, writer));
        tokio::select! {
            biased;
            () = link.answered() => {
                self.turn(State::Up(Arc::clone(&link)));
                Ok((link, running))
            }
            ended = &mut running => Err(match ended {
                Ok(lost) => lost.of_peer(),
                Err(error) => error.to_string(),
            }),
            () = sleep(shared.connect_timeout()) => {
                running.abort();
                Err("it accepted the connection and then did not answer".to_owned())
            }
        }
    }

    /// Stays until the connection is lost or takes no more streams.
    async fn stay(&self, link: Arc<Multiplexer>, mut running: JoinHandle<Lost>) -> String {
        let reason = tokio::select! {
            ended = &mut running => match ended {
                Ok(lost) => lost.of_peer(),
                Err(error) => error.to_string(),
            },
            () = link.retired() => {
                // Its streams go on.
                link.finish();
                "it takes no more requests".to_owned()
            }
        };
        self.turn(State::Connecting);
        reason
    }
}
