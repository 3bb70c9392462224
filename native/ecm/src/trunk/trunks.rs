//! The trunks to one ejabberd that are in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::RwLock;

use super::connection::Connection;
use super::link::Link;
use super::opening::Opening;
use super::usage::Usage;
use crate::budget::Holder;
use crate::ids::IdSource;

/// A trunk on which a ping goes unanswered for this long is in trouble.
const MUTE: Duration = Duration::from_secs(2);

/// The trunks to one ejabberd that are up.
#[derive(Debug)]
pub struct Trunks {
    ids: Arc<IdSource>,
    usage: Arc<Usage>,
    arrivals: AtomicU64,
    up: RwLock<Vec<Link>>,
    /// Those that take no more connections, as long as they have some.
    replaced: RwLock<Vec<Link>>,
}

impl Trunks {
    /// No trunk yet.
    pub fn new(ids: Arc<IdSource>) -> Self {
        Self {
            ids,
            usage: Arc::default(),
            arrivals: AtomicU64::new(0),
            up: RwLock::new(Vec::new()),
            replaced: RwLock::new(Vec::new()),
        }
    }

    /// What they carry.
    pub fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    /// Opens a connection in the trunk with the fewest; `None` while there is no trunk. One whose ping is not
    /// answered is as good as lost, unless all are such.
    pub fn open(&self, opening: &Opening) -> Option<Connection> {
        let up = self.up.read();
        let accepting = up.iter().filter(|link| link.is_accepting());
        let link = accepting.min_by_key(|link| (link.silence() >= MUTE, link.load()))?;
        link.open(&self.ids, opening).ok()
    }

    /// For how long ejabberd has not answered a ping on any trunk that takes connections.
    pub fn silence(&self) -> Duration {
        let up = self.up.read();
        let accepting = up.iter().filter(|link| link.is_accepting());
        accepting.map(Link::silence).min().unwrap_or_default()
    }

    /// Opens a connection for a session that comes from a trunk of which the same is said, and that is not this
    /// one.
    pub fn open_takeover(&self, from: &Connection, header: &[u8]) -> Option<Connection> {
        let link = self.takes_from(from.version()?, |link| link.carries(from))?;
        link.open_takeover(header.to_vec()).ok()
    }

    /// The trunk with the fewest connections to which sessions can come that are where this is said.
    pub fn takes_from(&self, version: &str, is_left: impl Fn(&Link) -> bool) -> Option<Link> {
        let up = self.up.read();
        let able = up.iter().filter(|link| {
            link.is_accepting() && link.version() == Some(version) && !is_left(link)
        });
        able.min_by_key(|link| (link.silence() >= MUTE, link.load()))
            .cloned()
    }

    /// Which sessions can come, as is said of a trunk that takes some.
    pub fn version(&self) -> Option<String> {
        let up = self.up.read();
        let mut accepting = up.iter().filter(|link| link.is_accepting());
        accepting.find_map(Link::version).map(str::to_owned)
    }

    /// All that there are, those included that take no more connections.
    pub fn links(&self) -> Vec<Link> {
        let (up, replaced) = (self.up.read(), self.replaced.read());
        up.iter().chain(replaced.iter()).cloned().collect()
    }

    pub(super) fn add(&self, link: Link) {
        let mut up = self.up.write();
        if up.is_empty() {
            self.arrivals.fetch_add(1, Relaxed);
        }
        up.push(link);
    }

    /// How often ejabberd has come: how often there was a trunk after there was none. One whose trunks are only
    /// replaced was there all the time.
    pub fn arrivals(&self) -> u64 {
        self.arrivals.load(Relaxed)
    }

    pub(super) fn ids(&self) -> &IdSource {
        &self.ids
    }

    pub(super) fn remove(&self, link: &Link) {
        self.up.write().retain(|other| !other.is(link));
        self.replaced.write().retain(|other| !other.is(link));
    }

    /// Opens no more connections in a trunk, whose connections go on.
    pub(super) fn replace(&self, link: &Link) {
        self.remove(link);
        self.replaced.write().push(link.clone());
    }

    /// Wakes every task that waits for its connection, because the program ends. If each waited for that as well, that
    /// would cost more memory than its connection does.
    pub fn wake_all(&self) {
        for link in self.up.read().iter().chain(self.replaced.read().iter()) {
            link.wake_all();
        }
    }

    /// The connections that have output waiting for clients.
    pub fn output_holders(&self) -> Vec<Box<dyn Holder>> {
        self.holders(|link| link.mailboxes())
    }

    /// The connections that have input waiting for ejabberd's windows.
    pub fn input_holders(&self) -> Vec<Box<dyn Holder>> {
        self.holders(|link| link.queues())
    }

    fn holders<H: Holder + 'static>(&self, of: impl Fn(&Link) -> Vec<H>) -> Vec<Box<dyn Holder>> {
        let boxed = |holder| -> Box<dyn Holder> { Box::new(holder) };
        let (up, replaced) = (self.up.read(), self.replaced.read());
        let links = up.iter().chain(replaced.iter());
        links.flat_map(of).map(boxed).collect()
    }

    /// How many take connections.
    pub fn count(&self) -> usize {
        let up = self.up.read();
        up.iter().filter(|link| link.is_accepting()).count()
    }
}
