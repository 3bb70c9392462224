//! Has sessions leave their trunks, at a pace: those of a trunk that ejabberd told to go away, those of a node that
//! the operator lets take none, and those that are more than a node's share.
//!
//! Each session moves by itself (`session::moving`). This module decides which trunks are to be left, whether there is
//! another place for their sessions, and how many move at once, and wakes those whose turn has come.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::balancer::Balancer;
use super::departure::{Departure, Why};
use super::one::Node;
use super::places::Places;
use super::rooms::Rooms;
use super::roster::Roster;
use crate::trunk::Link;

/// How often sessions are woken while a trunk is being left: each time, as many as may move at once.
const TICK: Duration = Duration::from_millis(10);
/// How often it checks whether a trunk is to be left.
const LOOK: Duration = Duration::from_millis(100);

/// Moves sessions.
#[derive(Debug)]
pub struct Mover {
    roster: Arc<Roster>,
    places: Places,
    rooms: Arc<Rooms>,
}

/// What is under way.
#[derive(Debug)]
struct Moves {
    departures: Vec<Departure>,
    balancer: Balancer,
}

impl Mover {
    /// One that has so many sessions on their way at once, and finds these rooms for those of a node that has more than
    /// its share.
    pub fn new(roster: Arc<Roster>, rooms: Arc<Rooms>, at_once: u64) -> Self {
        Self {
            roster,
            places: Places::new(at_once),
            rooms,
        }
    }

    /// From now on there are so many on their way at once.
    pub fn set_at_once(&self, at_once: u64) {
        self.places.set_at_once(at_once);
    }

    /// Moves sessions as long as the program runs.
    pub async fn run(self: Arc<Self>) {
        let mut moves = Moves {
            departures: Vec::new(),
            balancer: Balancer::new(Arc::clone(&self.rooms)),
        };
        loop {
            self.look(&mut moves, Instant::now());
            let is_idle = moves.departures.is_empty() && !moves.balancer.is_running();
            sleep(if is_idle { LOOK } else { TICK }).await;
        }
    }

    fn look(&self, moves: &mut Moves, now: Instant) {
        let Moves {
            departures,
            balancer,
        } = moves;
        self.places.look(now);
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
        // First, as those of a trunk that is left have to leave it wherever they can go.
        balancer.look(&self.roster, &self.places, now);
        for departure in departures.iter_mut() {
            let has_place = self.has_place(departure, now);
            departure.go_on(has_place, now);
        }
        departures.retain_mut(|departure| !departure.is_over(now));
        for node in nodes.iter() {
            let of_it = departures.iter().filter(|it| Arc::ptr_eq(it.node(), node));
            let left: u64 = of_it.map(Departure::left).sum();
            node.set_leaving(left + balancer.left(node));
        }
    }

    fn has_place(&self, departure: &Departure, now: Instant) -> bool {
        let Some(version) = departure.link().version() else {
            return false;
        };
        let takes = |node: &Node| {
            let is_left = |link: &Link| departure.is_of(link);
            node.takes_moved(version, is_left)
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
