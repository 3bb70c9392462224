//! The trunk as an Erlang reference, and the list of all trunks.

use std::collections::BTreeMap;
use std::panic::RefUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use megaphone_socket::config::Config;
use megaphone_socket::{Status, Trunk};
use parking_lot::Mutex;
use rustler::{Env, LocalPid, Monitor, Resource};

use crate::address::Address;
use crate::mailbox::Mailbox;

/// What an Erlang reference to a trunk holds.
pub(crate) struct TrunkResource(pub(crate) Arc<SharedTrunk>);

/// A trunk and what its sockets tell of it.
pub(crate) struct SharedTrunk {
    pub(crate) number: u64,
    pub(crate) trunk: Trunk<LocalPid>,
    pub(crate) peername: Address,
    pub(crate) sockname: Address,
}

// A call that panics leaves a connection half changed at worst, and its trunk's process crashes
// and takes the trunk along; parking_lot's locks have no poison to say so.
impl RefUnwindSafe for SharedTrunk {}

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);
static TRUNKS: Mutex<BTreeMap<u64, Weak<SharedTrunk>>> = Mutex::new(BTreeMap::new());
/// What the trunks that are gone had counted.
static ENDED: Mutex<Option<Status>> = Mutex::new(None);

impl TrunkResource {
    pub(crate) fn new(
        config: Config,
        reader: LocalPid,
        peername: Address,
        sockname: Address,
    ) -> TrunkResource {
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        let trunk = Trunk::new(config, reader);
        let shared = Arc::new(SharedTrunk {
            number,
            trunk,
            peername,
            sockname,
        });
        TRUNKS.lock().insert(number, Arc::downgrade(&shared));
        TrunkResource(shared)
    }
}

/// All trunks, oldest first.
pub(crate) fn trunks() -> Vec<Arc<SharedTrunk>> {
    TRUNKS.lock().values().filter_map(Weak::upgrade).collect()
}

/// The sum of what the trunks that are gone had counted.
pub(crate) fn ended() -> Status {
    ENDED.lock().clone().unwrap_or_default()
}

impl SharedTrunk {
    /// Takes a lost trunk off the list and keeps what it had counted. Its references can outlive it
    /// for long: ejabberd hands sockets around in its messages, and they stay in heaps until these
    /// are collected.
    pub(crate) fn retire(&self) {
        if TRUNKS.lock().remove(&self.number).is_none() {
            return;
        }
        let mut status = self.trunk.status();
        status.connections = 0;
        status.buffered = 0;
        status.waiters = 0;
        ENDED.lock().get_or_insert_default().add(&status);
    }
}

impl Drop for SharedTrunk {
    fn drop(&mut self) {
        self.retire();
    }
}

#[rustler::resource_impl]
impl Resource for TrunkResource {
    const IMPLEMENTS_DOWN: bool = true;

    fn down<'a>(&'a self, env: Env<'a>, pid: LocalPid, _monitor: Monitor) {
        let mut mailbox = Mailbox::of_callback(env);
        self.0.trunk.down(pid, &mut mailbox);
    }
}
