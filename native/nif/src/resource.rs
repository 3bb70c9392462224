//! The trunk as an Erlang reference, and the list of all trunks.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::panic::RefUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::SystemTime;

use megaphone_socket::config::Config;
use megaphone_socket::{Sessions, Status};
use parking_lot::Mutex;
use rustler::{LocalPid, ResourceArc};

use crate::address::Address;

/// An Erlang reference to a trunk.
pub(crate) type Trunk = ResourceArc<TrunkResource>;

/// What such a reference holds.
pub(crate) struct TrunkResource(Arc<SharedTrunk>);

impl Deref for TrunkResource {
    type Target = SharedTrunk;

    fn deref(&self) -> &SharedTrunk {
        &self.0
    }
}

/// A trunk and what its sockets tell of it.
pub(crate) struct SharedTrunk {
    pub(crate) number: u64,
    trunk: megaphone_socket::Trunk<LocalPid>,
    pub(crate) sockname: Address,
    peername: Mutex<Address>,
    /// The version of TLS, and whose certificate its peer has.
    tls: Mutex<Option<(String, String)>>,
    /// When it began (seconds of Unix time).
    pub(crate) since: u64,
    listener: LocalPid,
}

impl Deref for SharedTrunk {
    type Target = megaphone_socket::Trunk<LocalPid>;

    fn deref(&self) -> &megaphone_socket::Trunk<LocalPid> {
        &self.trunk
    }
}

// A call that panics leaves a connection half changed at worst, and its trunk's process crashes
// and takes the trunk along; parking_lot's locks have no poison to say so.
impl RefUnwindSafe for SharedTrunk {}

/// When the last trunk that had said a frame ended (seconds of Unix time); 0: none has.
static LAST_END: AtomicU64 = AtomicU64::new(0);
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);
static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);
/// What the trunks that are gone had counted, and what was refused to become one.
static ENDED: Mutex<Option<Status>> = Mutex::new(None);

/// The trunks that are there. No trunk's start or end costs by the number of the others.
#[derive(Default)]
struct Registry {
    trunks: BTreeMap<u64, Weak<SharedTrunk>>,
    /// How many each listener has; none for one that has none.
    listeners: HashMap<LocalPid, usize>,
}

impl Registry {
    fn add(&mut self, shared: &Arc<SharedTrunk>) {
        self.trunks.insert(shared.number, Arc::downgrade(shared));
        *self.listeners.entry(shared.listener).or_insert(0) += 1;
    }

    /// Whether it was there.
    fn remove(&mut self, shared: &SharedTrunk) -> bool {
        if self.trunks.remove(&shared.number).is_none() {
            return false;
        }
        if let Some(count) = self.listeners.get_mut(&shared.listener) {
            *count -= 1;
            if *count == 0 {
                self.listeners.remove(&shared.listener);
            }
        }
        true
    }
}

impl TrunkResource {
    pub(crate) fn new(
        config: Config,
        reader: LocalPid,
        listener: LocalPid,
        peername: Address,
        sockname: Address,
    ) -> Self {
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        let trunk = megaphone_socket::Trunk::new(config, reader);
        let shared = Arc::new(SharedTrunk {
            number,
            trunk,
            sockname,
            peername: Mutex::new(peername),
            tls: Mutex::default(),
            since: unix_time(),
            listener,
        });
        REGISTRY.lock().add(&shared);
        Self(shared)
    }
}

/// All trunks, oldest first.
pub(crate) fn trunks() -> Vec<Arc<SharedTrunk>> {
    let registry = REGISTRY.lock();
    registry.trunks.values().filter_map(Weak::upgrade).collect()
}

/// The trunk with that number.
pub(crate) fn trunk(number: u64) -> Option<Arc<SharedTrunk>> {
    REGISTRY.lock().trunks.get(&number)?.upgrade()
}

/// Whether a listener may have one trunk more than it has, with `most` of them; counts it if not.
pub(crate) fn admit(listener: LocalPid, most: usize) -> bool {
    let has_room = REGISTRY
        .lock()
        .listeners
        .get(&listener)
        .is_none_or(|count| *count < most);
    if !has_room {
        ENDED.lock().get_or_insert_default().count("max_trunks", 1);
    }
    has_room
}

/// When the last trunk that had said a frame ended (seconds of Unix time); 0 if none has.
pub(crate) fn last_end() -> u64 {
    LAST_END.load(Ordering::Relaxed)
}

fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// The sum of what the trunks that are gone had counted.
pub(crate) fn ended() -> Status {
    ENDED.lock().clone().unwrap_or_default()
}

impl SharedTrunk {
    pub(crate) fn peername(&self) -> Address {
        self.peername.lock().clone()
    }

    /// Its peer has said who it is.
    pub(crate) fn set_peername(&self, peername: Address) {
        *self.peername.lock() = peername;
    }

    /// The version of TLS, and whose certificate its peer has; none without TLS.
    pub(crate) fn tls(&self) -> Option<(String, String)> {
        self.tls.lock().clone()
    }

    /// The handshake is done.
    pub(crate) fn set_tls(&self, version: String, certificate: String) {
        *self.tls.lock() = Some((version, certificate));
    }

    /// Takes a lost trunk off the list and keeps what it had counted. Its references can outlive it
    /// for long: ejabberd hands sockets around in its messages, and they stay in heaps until these
    /// are collected.
    pub(crate) fn retire(&self) {
        if !REGISTRY.lock().remove(self) {
            return;
        }
        let mut status = self.trunk.status();
        if status.frames_in > 0 {
            LAST_END.store(unix_time(), Ordering::Relaxed);
        }
        status.connections = 0;
        status.buffered = 0;
        status.unsent = 0;
        status.waiters = 0;
        status.sessions = Sessions::default();
        ENDED.lock().get_or_insert_default().add(&status);
    }
}

impl Drop for SharedTrunk {
    fn drop(&mut self) {
        self.retire();
    }
}
