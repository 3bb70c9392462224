//! Has sessions leave their trunks, at a pace: those of a trunk that ejabberd told to go away, and those of a node
//! that the operator lets take none.
//!
//! The sessions move by themselves (`session::moving`); here is decided which trunk they are to leave, whether
//! there is another place for them, and how many are on their way at once. Those whose turn has come are woken.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::departure::{Departure, Why};
use super::one::Node;
use super::roster::Roster;
use crate::trunk::Link;

/// How often those whose turn has come are woken, while some leave; as many as may be on their way, each time.
const TICK: Duration = Duration::from_millis(10);
/// How often is looked whether some are to leave.
const LOOK: Duration = Duration::from_millis(100);

/// Moves sessions.
#[derive(Debug)]
pub struct Mover {
    roster: Arc<Roster>,
    /// For each session that is on its way.
    places: Arc<Semaphore>,
    size: Mutex<usize>,
}

impl Mover {
    /// One that has so many sessions on their way at once.
    pub fn new(roster: Arc<Roster>, at_once: u64) -> Self {
        let size = usize::try_from(at_once).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            roster,
            places: Arc::new(Semaphore::new(size)),
            size: Mutex::new(size),
        }
    }

    /// From now on there are so many on their way at once; those that are more come to their end.
    pub fn set_at_once(&self, at_once: u64) {
        let at_once = usize::try_from(at_once).unwrap_or(Semaphore::MAX_PERMITS);
        let mut size = self.size.lock();
        if at_once > *size {
            self.places.add_permits(at_once - *size);
            *size = at_once;
        } else {
            *size -= self.places.forget_permits(*size - at_once);
        }
    }

    /// Goes on as long as the program runs.
    pub async fn run(self: Arc<Self>) {
        let mut departures = Vec::new();
        loop {
            self.look(&mut departures, Instant::now());
            sleep(if departures.is_empty() { LOOK } else { TICK }).await;
        }
    }

    fn look(&self, departures: &mut Vec<Departure>, now: Instant) {
        let nodes = self.roster.nodes();
        for node in nodes.iter() {
            for link in node.trunks().links() {
                let is_known = departures.iter().any(|it| it.is_of(&link));
                if link.load() > 0
                    && !is_known
                    && let Some(why) = Why::of(node, &link)
                {
                    departures.push(Departure::new(node, link, why, &self.places, now));
                }
            }
        }
        for departure in departures.iter_mut() {
            let has_place = self.has_place(departure, now);
            departure.go_on(has_place, now);
        }
        departures.retain_mut(|departure| !departure.is_over(now));
    }

    fn has_place(&self, departure: &Departure, now: Instant) -> bool {
        let Some(version) = departure.link().version() else {
            return false;
        };
        let takes = |node: &Node| {
            let is_left = |link: &Link| departure.is_of(link);
            node.trunks().takes_from(version, is_left).is_some()
        };
        if departure.may_stay_at_node() && takes(departure.node()) {
            return true;
        }
        departure.may_leave_node(now)
            && self.roster.takes_sessions(|node| {
                !std::ptr::eq(node, &raw const **departure.node()) && takes(node)
            })
    }
}
