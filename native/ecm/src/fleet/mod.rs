//! The other ECMs. A BOSH session stays at the ECM that created it, and any ECM takes requests for it: the session's
//! identifier names its ECM, and has a MAC made with a key that all of them share.
//!
//! ```text
//!   client ──HTTP──> ECM two ──a stream: PROXY header, HTTP/1.1──> ECM one, as if the client had connected to it
//! ```
//!
//! Between two ECMs there is one connection in each direction, a yamux session as on a trunk; each request that is
//! handed on is a stream of it.

mod handed;
mod keys;
mod peer;
mod shared;
mod tls;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_rustls::rustls::ServerConfig;

pub use self::handed::{Cut, Handed, Next};
use self::keys::{Keys, KeysError};
pub use self::peer::{Peer, Unreachable, hand_over_address};
pub use self::shared::{Opener, Shared};
use self::tls::{FleetTls, FleetTlsError};
use crate::config::{Config, FleetConfig, TrunkAddress};
use crate::metrics::{FLEET_FAILURES, FleetFailure};
use crate::trunk::Dialler;

/// How often the file of keys is looked at.
const KEYS_INTERVAL: Duration = Duration::from_secs(10);

/// Why an ECM can't be part of a fleet.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The keys can't be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] FleetTlsError),
}

/// This ECM as one of several.
#[derive(Debug)]
pub struct Fleet {
    name: String,
    address: SocketAddr,
    keys: Keys,
    peers: RwLock<HashMap<String, Kept>>,
    tls: RwLock<Option<FleetTls>>,
    shared: Arc<Shared>,
}

/// A peer, and the task that keeps it connected.
#[derive(Debug)]
struct Kept {
    peer: Arc<Peer>,
    address: TrunkAddress,
    task: JoinHandle<()>,
}

/// Where a session is.
#[derive(Debug)]
pub enum Owner<'t> {
    /// Here, if it is anywhere, under this identifier.
    Here(&'t str),
    /// At another ECM.
    There(Arc<Peer>),
}

impl Fleet {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// [`FleetError`], which names the file.
    pub fn check(config: &FleetConfig) -> Result<(), FleetError> {
        Keys::load(config)?;
        if let Some(tls) = FleetTls::load(config)? {
            for (name, address) in config.others() {
                tls.client(name, address)?;
            }
        }
        Ok(())
    }

    /// Starts to connect to the other ECMs, if there is a `[fleet]`.
    ///
    /// # Errors
    /// [`FleetError`], which names the file.
    pub fn start(config: &Config, shared: &Arc<Shared>) -> Result<Option<Arc<Self>>, FleetError> {
        let Some(of) = &config.fleet else {
            return Ok(None);
        };
        let fleet = Self {
            name: of.name.clone(),
            address: of.address,
            keys: Keys::load(of)?,
            peers: RwLock::default(),
            tls: RwLock::new(None),
            shared: Arc::clone(shared),
        };
        fleet.reload(of)?;
        Ok(Some(Arc::new(fleet)))
    }

    /// Takes over other peers, keys and certificates.
    ///
    /// # Errors
    /// [`FleetError`]; then nothing has changed.
    pub fn reload(&self, config: &FleetConfig) -> Result<(), FleetError> {
        let tls = FleetTls::load(config)?;
        let client = |name: &str, address: &TrunkAddress| {
            let tls = tls.as_ref();
            tls.map(|tls| tls.client(name, address)).transpose()
        };
        let others = config
            .others()
            .map(|(name, address)| Ok((name, address, client(name, address)?)))
            .collect::<Result<Vec<_>, FleetTlsError>>()?;
        self.keys.refresh()?;
        let mut peers = self.peers.write();
        peers.retain(|name, kept| {
            let stays = config.peers.get(name) == Some(&kept.address);
            if !stays {
                kept.task.abort();
                kept.peer.finish();
            }
            stays
        });
        for (name, address, client) in others {
            if let Some(kept) = peers.get(name) {
                kept.peer.dialler.set_tls(client);
                continue;
            }
            let timeout = self.shared.connect_timeout();
            let dialler = Dialler::new(address.clone(), timeout, client);
            let peer = Arc::new(Peer::new(name, dialler));
            let keeping = Arc::clone(&peer).keep(Arc::clone(&self.shared));
            let kept = Kept {
                peer,
                address: address.clone(),
                task: tokio::spawn(keeping),
            };
            peers.insert(name.clone(), kept);
        }
        *self.tls.write() = tls;
        Ok(())
    }

    /// Reads the file of keys again whenever it is replaced.
    pub async fn keep_keys(self: Arc<Self>) {
        let mut told = String::new();
        loop {
            sleep(KEYS_INTERVAL).await;
            match self.keys.refresh() {
                Ok(true) => {
                    told.clear();
                    tracing::info!("the fleet's keys were replaced");
                }
                Ok(false) => {}
                Err(error) => {
                    let error = error.to_string();
                    if error != told {
                        tracing::error!("the fleet's keys are not replaced: {error}");
                        told = error;
                    }
                }
            }
        }
    }

    /// Where other ECMs connect.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// TLS for connections from other ECMs; none if they connect without TLS.
    pub fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.read().as_ref().map(FleetTls::server)
    }

    /// The identifier by which all ECMs know a session of this one.
    pub fn identifier(&self, session: &str) -> String {
        self.keys.sign(session, &self.name)
    }

    /// Where a session is; `None` if no ECM of the fleet has made this identifier, or an unknown one has.
    pub fn owner<'t>(&self, identifier: &'t str) -> Option<Owner<'t>> {
        let Some(signed) = self.keys.verify(identifier) else {
            FLEET_FAILURES.of(FleetFailure::Forged).add(1);
            return None;
        };
        if signed.name == self.name {
            return Some(Owner::Here(signed.session));
        }
        let Some(kept) = self
            .peers
            .read()
            .get(signed.name)
            .map(|it| Arc::clone(&it.peer))
        else {
            FLEET_FAILURES.of(FleetFailure::Unknown).add(1);
            return None;
        };
        Some(Owner::There(kept))
    }

    /// Hands on no more requests.
    pub fn finish(&self) {
        for kept in self.peers.write().values() {
            kept.task.abort();
            kept.peer.finish();
        }
    }
}
