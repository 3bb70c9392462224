//! Has sessions leave nodes that have more than their share for nodes that have fewer.
//!
//! It begins when the operator asks for it, and by itself when a node is far from its share, such as one that has come
//! back. It ends when all nodes have their shares, so sessions don't move for every small difference. A node in its
//! slow start neither gives nor takes, nor does one that gets nothing new: its sessions leave it anyway, or stay. Nodes
//! between which sessions can't move are balanced separately.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::balance::{self, Member};
use super::one::Node;
use super::places::Places;
use super::rooms::{Room, Rooms};
use super::roster::{Roster, Rules};
use super::sweep::Sweep;
use crate::trunk::{Goal, Kind, Leaving, Link, OnTheirWay};

/// How long nodes have to be far from their shares: many sessions may be coming or going just now.
const LASTS: Duration = Duration::from_secs(1);
/// After this many sessions in a row that can't move, or a pass over all of them, it gives up ...
const FAILURES: u64 = 100;
/// ... and does not begin by itself before this time has passed.
const AGAIN: Duration = Duration::from_secs(300);
/// How often the log reports progress.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Moves sessions until all nodes have their shares.
#[derive(Debug)]
pub struct Balancer {
    rooms: Arc<Rooms>,
    /// The operator has asked for it, and it is not done.
    is_asked: bool,
    uneven_since: Option<Instant>,
    not_before: Option<Instant>,
    /// While sessions move.
    run: Option<Run>,
}

#[derive(Debug)]
struct Run {
    givers: Vec<Giver>,
    since: Instant,
    told_at: Instant,
}

/// Whether anything is left that can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    GoesOn,
    Over,
}

/// Nodes that share their sessions, as all have the same version.
#[derive(Debug)]
struct Group<'n>(Vec<&'n Arc<Node>>);

/// A node that sessions leave, or have left.
#[derive(Debug)]
struct Giver {
    node: Arc<Node>,
    leaving: Arc<Leaving>,
    sweep: Sweep,
    links: Vec<Link>,
}

impl Balancer {
    /// A balancer that offers sessions these rooms.
    pub const fn new(rooms: Arc<Rooms>) -> Self {
        Self {
            rooms,
            is_asked: false,
            uneven_since: None,
            not_before: None,
            run: None,
        }
    }

    /// Whether sessions are moving.
    pub const fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// How many are still to leave a node.
    pub fn left(&self, node: &Arc<Node>) -> u64 {
        let givers = self.run.iter().flat_map(|run| &run.givers);
        let mut of_node = givers.filter(|giver| Arc::ptr_eq(&giver.node, node));
        of_node.next().map_or(0, |giver| giver.leaving.left())
    }

    /// Does what is due.
    pub fn look(&mut self, roster: &Roster, places: &Places, now: Instant) {
        self.is_asked |= self.rooms.was_asked();
        let rules = roster.rules();
        let nodes = roster.nodes();
        // While most nodes are in trouble, the numbers say little.
        let groups = if roster.is_panic() {
            Vec::new()
        } else {
            groups(&nodes, &rules, now)
        };
        if self.run.is_none() {
            if self.is_due(&groups, &rules, now) {
                tracing::info!(
                    "sessions move from nodes that have more than their share to others"
                );
                self.run = Some(Run::new(now));
            } else {
                self.is_asked &= nodes.iter().any(|node| is_starting(node, &rules, now));
            }
        }
        if let Some(run) = &mut self.run
            && run.go_on(&groups, &self.rooms, places, now) == Progress::Over
        {
            self.end(now);
        }
    }

    fn is_due(&mut self, groups: &[Group<'_>], rules: &Rules, now: Instant) -> bool {
        let mut groups = groups.iter().map(Group::members);
        if self.is_asked {
            return groups.any(|members| {
                let parts = balance::parts(&members, 0);
                parts.iter().any(|part| part.quota > 0)
            });
        }
        let may = rules.rebalance && self.not_before.is_none_or(|then| now >= then);
        if !may || !groups.any(|members| balance::is_uneven(&members)) {
            self.uneven_since = None;
            return false;
        }
        let since = *self.uneven_since.get_or_insert(now);
        now.saturating_duration_since(since) >= LASTS
    }

    fn end(&mut self, now: Instant) {
        let Some(run) = self.run.take() else {
            return;
        };
        self.rooms.lock().clear();
        self.uneven_since = None;
        let stuck = run.left();
        let (moved, failed) = run.counts();
        let time = now.saturating_duration_since(run.since);
        if stuck > 0 {
            self.is_asked = false;
            self.not_before = Some(now + AGAIN);
            tracing::warn!(
                moved,
                failed,
                left = stuck,
                "nodes have more sessions than their share, which can't move and stay; the next attempt is in \
                 {AGAIN:?}, or when `megaphone-ecm ctl rebalance` says so"
            );
        } else {
            self.not_before = None;
            tracing::info!(
                moved,
                failed,
                "no more sessions move to nodes that have fewer than their share, after {time:.1?}"
            );
        }
    }
}

impl Run {
    const fn new(now: Instant) -> Self {
        Self {
            givers: Vec::new(),
            since: now,
            told_at: now,
        }
    }

    /// Lets sessions leave.
    fn go_on(
        &mut self,
        groups: &[Group<'_>],
        rooms: &Rooms,
        places: &Places,
        now: Instant,
    ) -> Progress {
        self.set_quotas(groups, rooms, places, now);
        for giver in &mut self.givers {
            giver.go_on(now);
        }
        let mut busy = self.givers.iter().filter(|giver| giver.leaving.left() > 0);
        if busy.all(Giver::is_stuck) {
            return Progress::Over;
        }
        if now.saturating_duration_since(self.told_at) >= BETWEEN_LINES {
            self.told_at = now;
            let (moved, failed) = self.counts();
            tracing::info!(
                moved,
                failed,
                left = self.left(),
                "sessions move to nodes that have fewer than their share"
            );
        }
        Progress::GoesOn
    }

    /// Computes how many sessions are to leave each node, and how many may come to it.
    fn set_quotas(&mut self, groups: &[Group<'_>], rooms: &Rooms, places: &Places, now: Instant) {
        // Meanwhile no session begins to move and none finds room, so none is counted twice or missed.
        let mut rooms = rooms.lock();
        rooms.clear();
        let on_their_way: Vec<_> = self
            .givers
            .iter()
            .map(|giver| giver.leaving.pause())
            .collect();
        for Group(nodes) in groups {
            let mut without_place = 0;
            let mut members = Vec::new();
            for node in nodes {
                let of_it = self
                    .giver(node)
                    .map_or_else(OnTheirWay::default, |place| on_their_way[place]);
                without_place += of_it.all - of_it.arrived;
                members.push(member(node, of_it.all));
            }
            for (node, part) in nodes.iter().zip(balance::parts(&members, without_place)) {
                rooms.push(Room {
                    node: Arc::clone(node),
                    free: part.room,
                });
                match self.giver(node) {
                    Some(place) => self.givers[place].leaving.set_quota(part.quota),
                    None if part.quota > 0 => {
                        let leaving = places.leaving(Goal::Balance, part.quota);
                        self.givers.push(Giver::new(node, leaving, now));
                    }
                    None => {}
                }
            }
        }
    }

    fn giver(&self, node: &Arc<Node>) -> Option<usize> {
        let mut givers = self.givers.iter();
        givers.position(|giver| Arc::ptr_eq(&giver.node, node))
    }

    /// How many are to leave, or have begun to.
    fn left(&self) -> u64 {
        self.givers.iter().map(|giver| giver.leaving.left()).sum()
    }

    /// How many have moved, and could not.
    fn counts(&self) -> (u64, u64) {
        let leaving = || self.givers.iter().map(|giver| &giver.leaving);
        (
            leaving().map(|it| it.moved()).sum(),
            leaving().map(|it| it.failed()).sum(),
        )
    }
}

impl Giver {
    fn new(node: &Arc<Node>, leaving: Arc<Leaving>, now: Instant) -> Self {
        Self {
            node: Arc::clone(node),
            leaving,
            sweep: Sweep::new(now),
            links: Vec::new(),
        }
    }

    fn go_on(&mut self, now: Instant) {
        let links = self.node.trunks().links();
        self.links = links.into_iter().filter(Link::is_accepting).collect();
        for link in &self.links {
            link.set_leaving(Some(&self.leaving));
        }
        self.sweep.go_on(&self.links, &self.leaving, now);
    }

    /// Whether its sessions can't move, as far as they have tried.
    fn is_stuck(&self) -> bool {
        self.leaving.failed_in_a_row() >= FAILURES || self.sweep.idle_passes() > 1
    }
}

impl Drop for Giver {
    fn drop(&mut self) {
        self.leaving.pause();
        for link in &self.links {
            link.set_leaving(None);
        }
    }
}

impl Group<'_> {
    fn members(&self) -> Vec<Member> {
        self.0.iter().map(|node| member(node, 0)).collect()
    }
}

fn groups<'n>(nodes: &'n [Arc<Node>], rules: &Rules, now: Instant) -> Vec<Group<'n>> {
    let mut groups: Vec<(String, Group<'n>)> = Vec::new();
    for node in nodes
        .iter()
        .filter(|node| is_well(node) && !is_starting(node, rules, now))
    {
        let Some(version) = node.trunks().version() else {
            continue;
        };
        match groups.iter_mut().find(|(other, _)| *other == version) {
            Some((_, Group(nodes))) => nodes.push(node),
            None => groups.push((version, Group(vec![node]))),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn is_starting(node: &Node, rules: &Rules, now: Instant) -> bool {
    is_well(node) && node.share(rules.slow_start, now) < 1.0
}

fn is_well(node: &Node) -> bool {
    let facts = node.facts();
    facts.ready && facts.up && facts.well
}

/// A node as a member of its group. `leaving` of its sessions are on their way to other nodes.
fn member(node: &Node, leaving: u64) -> Member {
    Member {
        sessions: node.load(Kind::Session).saturating_sub(leaving),
        weight: node.weight(),
        most: node.max_sessions(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::super::state::State;
    use super::super::testing::{node, opening, rules};
    use super::*;
    use crate::trunk::testing::Ejabberd;
    use crate::trunk::{Connection, Passage};

    /// Nodes with sessions, whose ejabberds say this of which can come.
    struct Scene {
        roster: Roster,
        places: Places,
        balancer: Balancer,
        sessions: Vec<Connection>,
        _ejabberds: Vec<Ejabberd>,
    }

    impl Scene {
        fn start(nodes: &[(&str, usize)], rules: Rules) -> Self {
            let (mut all, mut sessions, mut ejabberds) = (Vec::new(), Vec::new(), Vec::new());
            for (version, count) in nodes {
                let node = node(&format!("node{}", all.len()), 0);
                let ejabberd = Ejabberd::add(node.trunks());
                ejabberd.says_version(version);
                ejabberds.push(ejabberd);
                for _ in 0..*count {
                    sessions.push(node.trunks().open(&opening()).unwrap());
                }
                all.push(node);
            }
            Self {
                roster: Roster::new(all, rules),
                places: Places::new(1000),
                balancer: Balancer::new(Arc::default()),
                sessions,
                _ejabberds: ejabberds,
            }
        }

        fn look(&mut self) {
            let now = Instant::now();
            self.balancer.look(&self.roster, &self.places, now);
        }

        /// Looks until it has been so for long enough.
        async fn look_twice(&mut self) {
            self.look();
            advance(LASTS).await;
            self.look();
        }

        fn ask(&mut self) {
            self.balancer.rooms.ask();
            self.look();
        }

        fn counts(&self) -> Vec<u64> {
            let nodes = self.roster.nodes();
            nodes.iter().map(|node| node.load(Kind::Session)).collect()
        }

        /// The sessions whose turn it is, by their places.
        fn passages(&self) -> Vec<(usize, Passage)> {
            let sessions = self.sessions.iter().enumerate();
            sessions
                .filter_map(|(place, it)| Some((place, it.passage(&mut 0)?)))
                .collect()
        }

        /// Each of them moves where it finds room.
        fn move_all(&mut self) -> usize {
            let mut moved = 0;
            loop {
                let passages = self.passages();
                if passages.is_empty() {
                    return moved;
                }
                for (place, mut passage) in passages {
                    let arrived = self.balancer.rooms.take(|node| {
                        let connection = node.trunks().open(&opening()).unwrap();
                        passage.arrived();
                        Some(connection)
                    });
                    self.sessions[place] = arrived.unwrap();
                    passage.moved();
                    moved += 1;
                    // As it does all the time.
                    self.look();
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_move_by_themselves_to_a_node_that_has_few() {
        let mut scene = Scene::start(&[("v", 10), ("v", 8), ("v", 0)], rules());
        scene.look();
        assert!(scene.passages().is_empty());
        scene.look_twice().await;
        assert!(scene.balancer.is_running());
        assert_eq!(scene.balancer.left(&scene.roster.nodes()[0]), 4);
        assert_eq!(scene.move_all(), 6);
        assert_eq!(scene.counts(), [6, 6, 6]);
        // None goes back, and it is over.
        scene.look_twice().await;
        assert!(!scene.balancer.is_running() && scene.passages().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_starts_slowly_waits_even_if_the_operator_asks() {
        let rules = Rules {
            slow_start: Duration::from_secs(60),
            ..rules()
        };
        let mut scene = Scene::start(&[("v", 10), ("v", 0)], rules);
        let nodes = scene.roster.nodes();
        nodes[1].set_state(State::Drain);
        nodes[1].set_state(State::Ready);
        scene.ask();
        scene.look_twice().await;
        assert!(!scene.balancer.is_running());
        advance(Duration::from_secs(60)).await;
        scene.look();
        assert_eq!(scene.move_all(), 5);
        assert_eq!(scene.counts(), [5, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn where_it_is_not_to_go_by_itself_it_waits_for_the_operator() {
        let rules = Rules {
            rebalance: false,
            ..rules()
        };
        let mut scene = Scene::start(&[("v", 7), ("v", 3), ("v", 0)], rules);
        scene.look_twice().await;
        assert!(!scene.balancer.is_running());
        scene.ask();
        assert_eq!(scene.move_all(), 3);
        assert_eq!(scene.counts(), [4, 3, 3]);
        scene.look();
        assert!(!scene.balancer.is_running());
        // Once asked, once done.
        scene.sessions.truncate(5);
        scene.look_twice().await;
        assert!(!scene.balancer.is_running());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_leave_when_clients_go_meanwhile() {
        let mut scene = Scene::start(&[("v", 10), ("v", 0)], rules());
        scene.ask();
        // On their way, and with no place yet.
        let mut passages = scene.passages();
        assert_eq!(passages.len(), 5);
        scene.look();
        assert!(scene.passages().is_empty());
        // Four of them could not, and four clients have left.
        passages.truncate(1);
        scene.sessions.truncate(6);
        scene.look();
        let more = scene.passages();
        assert_eq!(more.len() + passages.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_takes_none_and_those_with_other_versions_are_left_alone() {
        let mut scene = Scene::start(&[("v", 8), ("w", 0), ("v", 4), ("v", 0)], rules());
        scene.roster.nodes()[3].set_state(State::Drain);
        scene.ask();
        assert_eq!(scene.move_all(), 2);
        assert_eq!(scene.counts(), [6, 0, 6, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_given_up_where_none_can_move_and_tried_again_later() {
        let mut scene = Scene::start(&[("v", 400), ("v", 0)], rules());
        scene.look_twice().await;
        // They are let go at once, so all of them fail.
        let mut tried = 0;
        while scene.balancer.is_running() {
            tried += scene.passages().len();
            scene.look();
        }
        assert!((100..=200).contains(&tried), "{tried}");
        assert!(!scene.balancer.is_running());
        assert!(scene.passages().is_empty());
        scene.look_twice().await;
        assert!(!scene.balancer.is_running());
        advance(AGAIN).await;
        scene.look_twice().await;
        assert!(scene.balancer.is_running());
    }
}
