//! Logins take turns, so that each node has a limited number of them to answer at once.
//!
//! A login costs ejabberd much more than a user who is online. If all were let in at once, all would be slow at once:
//! each would take so long that its client gives up and comes again. Here each has its turn, first come, first
//! served: as soon as a node owes answers to fewer logins than its limit, the next one goes there.
//!
//! A login has several steps, each of which ejabberd answers, and the one that asks a database comes after the first.
//! So a login that has begun takes a turn for each step, ahead of those that came after it. While its client has to say
//! something, it has none, and holds up nobody. After a failure it goes on behind all that have come. While there is no
//! node, nobody waits: clients are turned away at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::line::{Begun, Line, Waiting};
use super::one::Node;
use super::owed::{self, Owed};
use super::roster::{Choice, Roster};
use crate::metrics::LOGIN_WAITS;
use crate::trunk::{Connection, Kind, Opening, Unread};

/// Whose turn it is to log in.
#[derive(Debug)]
pub struct Logins {
    roster: Arc<Roster>,
    state: Mutex<State>,
    /// Notified when the first login is running.
    running: Notify,
}

/// A client's login. Dropping it ends the login, whether or not its turn had come.
#[derive(Debug)]
pub struct Login {
    logins: Arc<Logins>,
    number: u64,
    /// Where its session is, once it is open.
    node: Option<Arc<Node>>,
    /// What has come on its session that its client has not taken.
    unread: Option<Unread>,
    /// How many bytes its client has sent.
    sent: usize,
    /// How long ejabberd has taken for its answers so far.
    spent: Duration,
    /// Since when it took for the slowest of them, and how long.
    slowest: (Instant, Duration),
    /// Whether a step of it waits for its turn, or has not been told that this has come.
    waits: bool,
}

/// Whether a step of a login can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It has a turn for it now, which is to be [used](Login::asked) or [given back](Login::give_back).
    Its,
    /// An earlier step has not been answered yet, so ejabberd will answer the two one after the other.
    Earlier,
    /// It has to wait.
    Later,
}

/// What a client sends beyond this (bytes), ejabberd may read as slowly as its shaper says, so a late answer says
/// nothing about its health. No login needs that much.
const UNHINDERED: usize = 16 * 1024;

/// How many logins there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Those that wait for ejabberd's answer.
    pub running: usize,
    /// Those that wait for their turn.
    pub waiting: usize,
}

/// Each login has a number, in the order in which they came.
#[derive(Debug, Default)]
struct State {
    next: u64,
    running: Owed,
    /// Those that have not begun.
    new: Line,
    /// Those that have begun, and wait with a step.
    begun: Begun,
    /// Those whose turn has come and whose session is not open yet.
    admitted: HashMap<u64, Arc<Node>>,
}

impl Logins {
    /// The logins of these nodes.
    pub fn new(roster: Arc<Roster>) -> Self {
        Self {
            roster,
            state: Mutex::default(),
            running: Notify::new(),
        }
    }

    /// One more login.
    pub fn begin(self: &Arc<Self>) -> Login {
        let mut state = self.state.lock();
        let number = state.number();
        state.new.insert(number, Waiting::new());
        self.admit(state);
        Login {
            logins: Arc::clone(self),
            number,
            node: None,
            unread: None,
            sent: 0,
            spent: Duration::ZERO,
            slowest: (Instant::now(), Duration::ZERO),
            waits: false,
        }
    }

    /// How many there are.
    pub fn count(&self) -> Count {
        let state = self.state.lock();
        Count {
            running: state.running.len(),
            waiting: state.new.len() + state.begun.len(),
        }
    }

    /// Lets as many go on as may: the nodes, or their limits, have changed.
    pub fn go_on(&self) {
        self.admit(self.state.lock());
    }

    /// Lets others go on in place of logins that take too long, as long as the program runs.
    pub async fn pass_by_slow(self: Arc<Self>) {
        loop {
            let timeout = self.roster.rules().login_timeout;
            let longest = self.state.lock().running.longest();
            match longest {
                Some(since) => {
                    sleep_until(since + timeout).await;
                    self.forget_slow(timeout);
                }
                None => self.running.notified().await,
            }
        }
    }

    /// Logins that were not answered for this long no longer hold up others. If the client is at fault, because it does
    /// not take the answer or does not go on, that does not count against the node.
    fn forget_slow(&self, timeout: Duration) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let rules = self.roster.rules();
        while let Some(debt) = state.running.take_since(now - timeout) {
            if debt.is_nodes_fault() {
                debt.node.login_unanswered(timeout, now, &rules.health);
            }
        }
        self.admit(state);
    }

    /// Lets as many go on as may, and wakes them once the lock is free.
    fn admit(&self, mut state: MutexGuard<'_, State>) {
        let now = Instant::now();
        let mut wakers = Vec::new();
        let was_idle = state.running.is_empty();
        while let Some(waiting) = self.admit_next(&mut state, now) {
            LOGIN_WAITS.observe(now.saturating_duration_since(waiting.since));
            wakers.extend(waiting.waker);
        }
        let is_first = was_idle && !state.running.is_empty();
        drop(state);
        if is_first {
            self.running.notify_one();
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A login that has begun has a turn now.
    fn give_turn(&self, mut state: MutexGuard<'_, State>, number: u64, node: &Arc<Node>) {
        let was_idle = state.running.is_empty();
        state.running.add(number, Arc::clone(node), Instant::now());
        drop(state);
        if was_idle {
            self.running.notify_one();
        }
    }

    /// Gives the next login its turn, if it has one: the first of all, or of those that have begun if no node takes
    /// others.
    fn admit_next(&self, state: &mut State, now: Instant) -> Option<Waiting> {
        let begun = state.begun.first_with_turn();
        let new = state.new.first_key_value().map(|(number, _)| *number);
        if let Some(new) = new
            && begun.as_ref().is_none_or(|(begun, _)| new < *begun)
        {
            match self.roster.choose(Kind::Session, Node::has_turn) {
                Choice::Node(node) => {
                    node.admit();
                    state.admitted.insert(new, Arc::clone(&node));
                    state.running.add(new, node, now);
                    return state.new.remove(&new);
                }
                Choice::None => return state.new.remove(&new),
                Choice::Busy => {}
            }
        }
        let (number, node) = begun?;
        let waiting = state.begun.remove(&node, number);
        state.running.add(number, node, now);
        waiting
    }
}

impl State {
    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next = number.wrapping_add(1);
        number
    }
}

impl Login {
    /// Ready once its turn to begin has come; until then the task that polled last is woken when it comes.
    pub fn poll_turn(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.logins.state.lock();
        match state.new.get_mut(&self.number) {
            Some(waiting) => waiting.poll(context),
            None => Poll::Ready(()),
        }
    }

    /// Whether its turn to begin has come.
    pub fn has_turn(&self) -> bool {
        let state = self.logins.state.lock();
        !state.new.contains_key(&self.number)
    }

    /// Opens its session's connection at the node where its turn came, or at another one if that node has lost its
    /// trunks; `None` if no node has any.
    pub fn open(&mut self, opening: &Opening) -> Option<Connection> {
        let roster = Arc::clone(&self.logins.roster);
        for _ in 0..=roster.nodes().len() + 1 {
            let node = match self.take_admitted() {
                Some(node) => node,
                None => match roster.choose(Kind::Session, |_| true) {
                    Choice::Node(node) => node,
                    Choice::Busy | Choice::None => return None,
                },
            };
            if let Some(connection) = node.trunks().open(opening) {
                self.unread = connection.unread();
                self.goes_to(node);
                return Some(connection);
            }
        }
        None
    }

    /// A turn for its next step, which ejabberd will have to answer. If that has to wait,
    /// [`poll_step`](Self::poll_step) tells when to try again.
    pub fn take_turn(&mut self) -> Turn {
        let Some(node) = &self.node else {
            return Turn::Earlier;
        };
        let mut state = self.logins.state.lock();
        match state.running.turn(self.number) {
            Some(owed::Turn::Used) => return Turn::Earlier,
            Some(owed::Turn::Unused) => {}
            None if state.begun.get_mut(node, self.number).is_some() => return Turn::Later,
            None if node.has_turn() => self.logins.give_turn(state, self.number, node),
            None => {
                state.begun.insert(node, self.number, Waiting::new());
                self.waits = true;
                return Turn::Later;
            }
        }
        self.waits = false;
        Turn::Its
    }

    /// Ready once a step that had to wait has its turn; until then the task that polled last is woken when it comes.
    pub fn poll_step(&mut self, context: &Context<'_>) -> Poll<()> {
        let (true, Some(node)) = (self.waits, &self.node) else {
            return Poll::Pending;
        };
        let mut state = self.logins.state.lock();
        if let Some(waiting) = state.begun.get_mut(node, self.number) {
            return waiting.poll(context);
        }
        self.waits = false;
        Poll::Ready(())
    }

    /// Whether a step of it waits for its turn.
    pub const fn waits(&self) -> bool {
        self.waits
    }

    /// The step can't be sent now: others may go on.
    pub fn give_back(&mut self) {
        let mut state = self.logins.state.lock();
        if state.running.turn(self.number) == Some(owed::Turn::Unused) {
            state.running.remove(self.number);
            self.logins.admit(state);
        }
    }

    /// ejabberd has answered: it is the client's turn to speak.
    pub fn answered(&mut self) {
        let mut state = self.logins.state.lock();
        if state.running.turn(self.number) == Some(owed::Turn::Used)
            && let Some(since) = state.running.remove(self.number)
        {
            let took = since.elapsed();
            self.spent += took;
            if took >= self.slowest.1 {
                self.slowest = (since, took);
            }
            self.logins.admit(state);
        }
    }

    /// ejabberd has answered that the login failed: others come before the client's next try.
    pub fn failed(&mut self) {
        self.answered();
        let mut state = self.logins.state.lock();
        let before = self.number;
        if state.running.turn(before).is_some() {
            return;
        }
        self.number = state.number();
        if let Some(node) = &self.node
            && let Some(waiting) = state.begun.remove(node, before)
        {
            state.begun.insert(node, self.number, waiting);
        }
    }

    /// The client has sent this many bytes, which ejabberd need not answer.
    pub const fn said(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes);
    }

    /// The client has spoken, with this many bytes: it is ejabberd's turn to answer.
    pub fn asked(&mut self, bytes: usize) {
        self.said(bytes);
        let Some(node) = &self.node else {
            return;
        };
        let mut state = self.logins.state.lock();
        let was_idle = state.running.is_empty();
        let node = Arc::clone(node);
        state
            .running
            .ask(self.number, node, self.answer(), Instant::now());
        drop(state);
        if was_idle {
            self.logins.running.notify_one();
        }
    }

    /// ejabberd has accepted or refused the client's credentials.
    pub fn decided(&self) {
        if let Some(node) = &self.node {
            node.login_decided();
        }
    }

    /// The client is online.
    pub fn done(mut self) {
        self.answered();
        if let Some(node) = &self.node {
            node.login_took(self.spent, self.slowest.0, Instant::now());
        }
    }

    fn take_admitted(&self) -> Option<Arc<Node>> {
        let node = self.logins.state.lock().admitted.remove(&self.number)?;
        node.admitted_came();
        Some(node)
    }

    /// The time for ejabberd's first answer counts from now on.
    fn goes_to(&mut self, node: Arc<Node>) {
        let mut state = self.logins.state.lock();
        if state.running.remove(self.number).is_some() {
            let node = Arc::clone(&node);
            state
                .running
                .ask(self.number, node, self.answer(), Instant::now());
        }
        drop(state);
        self.node = Some(node);
    }

    /// Where ejabberd's answer comes, if it can be expected in time.
    fn answer(&self) -> Option<Unread> {
        self.unread.clone().filter(|_| self.sent <= UNHINDERED)
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let mut state = self.logins.state.lock();
        let was_running = state.running.remove(self.number).is_some();
        let was_new = state.new.remove(&self.number).is_some();
        if let Some(node) = &self.node {
            state.begun.remove(node, self.number);
        }
        if let Some(node) = state.admitted.remove(&self.number) {
            node.admitted_came();
        }
        if was_running || was_new {
            self.logins.admit(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;
    use tokio::time::{advance, timeout};

    use super::super::testing;
    use super::*;
    use crate::trunk::testing::Ejabberd;

    /// Of one node that is up.
    fn logins(at_once: u64) -> Arc<Logins> {
        let (nodes, _ejabberd) = testing::start_with(at_once);
        Arc::clone(&nodes.logins)
    }

    fn set_at_once(logins: &Logins, at_once: u64) {
        logins.roster.nodes()[0].set_at_once(at_once);
        logins.go_on();
    }

    /// So long may an answer take.
    const LONGEST: Duration = Duration::from_secs(5);

    /// Its session is open.
    fn open(login: &mut Login) {
        assert!(login.open(&testing::opening()).is_some());
    }

    fn begin<const N: usize>(logins: &Arc<Logins>) -> [Login; N] {
        std::array::from_fn(|_| logins.begin())
    }

    fn turns(logins: &[Login]) -> Vec<bool> {
        logins.iter().map(Login::has_turn).collect()
    }

    async fn turn(login: &Login) {
        poll_fn(|context| login.poll_turn(context)).await;
    }

    #[test]
    fn turns_come_in_order() {
        let logins = logins(2);
        let [one, two, three, four, five] = begin(&logins);
        let counted = |running, waiting| Count { running, waiting };
        assert_eq!(logins.count(), counted(2, 3));
        drop(two);
        assert_eq!(turns(&[one, three, four, five]), [true, true, false, false]);
        assert_eq!(logins.count(), counted(0, 0));
    }

    #[test]
    fn who_leaves_while_it_waits_takes_no_turn() {
        let logins = logins(1);
        let [one, two, three] = begin(&logins);
        drop(two);
        assert!(!three.has_turn());
        drop(one);
        assert!(three.has_turn());
    }

    #[test]
    fn any_number_may_log_in_at_once_without_a_limit() {
        let logins = logins(0);
        let all: [Login; 1000] = begin(&logins);
        assert!(all.iter().all(Login::has_turn));
    }

    #[tokio::test]
    async fn a_turn_that_comes_wakes_who_waits_for_it() {
        let logins = logins(1);
        let [one, two] = begin(&logins);
        tokio::join!(turn(&two), async {
            tokio::task::yield_now().await;
            drop(one);
        });
        assert!(two.has_turn());
    }

    #[tokio::test]
    async fn a_new_limit_holds_at_once() {
        let logins = logins(1);
        let [one, two, three] = begin(&logins);
        tokio::join!(turn(&three), async {
            tokio::task::yield_now().await;
            set_at_once(&logins, 3);
        });
        let four = logins.begin();
        set_at_once(&logins, 1);
        drop((one, two));
        assert!(!four.has_turn());
        drop(three);
        assert!(four.has_turn());
    }

    async fn step(login: &mut Login) {
        poll_fn(|context| login.poll_step(context)).await;
    }

    /// It says something that has to be answered, if its turn has come.
    fn asks(login: &mut Login) -> bool {
        let turn = login.take_turn();
        if turn != Turn::Later {
            login.asked(1);
        }
        turn != Turn::Later
    }

    #[test]
    fn a_client_that_has_to_say_something_holds_up_nobody() {
        let logins = logins(2);
        let [mut one, two, three, four] = begin(&logins);
        open(&mut one);
        one.answered();
        assert!(three.has_turn() && !four.has_turn());
        // Nothing is given back twice.
        drop(one);
        assert!(!four.has_turn());
        drop(two);
        assert!(four.has_turn());
    }

    #[test]
    fn each_step_has_a_turn_before_those_who_came_later() {
        let logins = logins(1);
        let [mut one, mut two, three] = begin(&logins);
        open(&mut one);
        one.answered();
        open(&mut two);
        assert!(!asks(&mut one) && one.waits());
        two.answered();
        assert!(!three.has_turn());
        assert!(!asks(&mut two) && two.waits());
        assert!(asks(&mut one) && !one.waits());
        // It is answered in the order in which it asks.
        assert!(asks(&mut one));
        let counted = |running, waiting| Count { running, waiting };
        assert_eq!(logins.count(), counted(1, 2));
        one.answered();
        assert!(asks(&mut two) && !three.has_turn());
        two.answered();
        assert!(three.has_turn());
        drop((one, two, three));
        assert_eq!(logins.count(), counted(0, 0));
    }

    #[test]
    fn after_a_failure_the_others_come_first() {
        let logins = logins(1);
        let [mut one, mut two, three] = begin(&logins);
        open(&mut one);
        one.failed();
        open(&mut two);
        assert!(!asks(&mut one));
        let four = logins.begin();
        two.answered();
        assert!(three.has_turn() && one.waits());
        // An earlier step that was sent at once with another one has failed.
        one.failed();
        drop(three);
        assert!(four.has_turn() && !asks(&mut one));
        drop(four);
        assert!(asks(&mut one));
    }

    #[test]
    fn a_step_that_there_is_no_room_for_holds_up_nobody() {
        let logins = logins(1);
        let [mut one, two, three] = begin(&logins);
        open(&mut one);
        one.answered();
        drop(two);
        drop(three);
        assert_eq!(one.take_turn(), Turn::Its);
        let four = logins.begin();
        one.give_back();
        assert!(four.has_turn());
        assert_eq!(one.take_turn(), Turn::Later);
        drop(four);
        // It had to wait for its turn, and then for room.
        assert_eq!(one.take_turn(), Turn::Its);
        let five = logins.begin();
        one.give_back();
        assert!(five.has_turn());
    }

    #[tokio::test]
    async fn a_step_that_waits_is_told_once_that_its_turn_has_come() {
        let logins = logins(1);
        let [mut one, mut two] = begin(&logins);
        open(&mut one);
        one.answered();
        open(&mut two);
        assert!(!asks(&mut one));
        tokio::join!(step(&mut one), async {
            tokio::task::yield_now().await;
            two.answered();
        });
        assert!(!one.waits());
        let again = timeout(Duration::from_secs(1), step(&mut one));
        tokio::time::pause();
        assert!(again.await.is_err());
        // Who leaves then gives its turn back.
        let three = logins.begin();
        drop(one);
        assert!(three.has_turn());
    }

    #[test]
    fn a_step_waits_for_its_own_node() {
        let (busy, free) = (testing::node("busy", 1), testing::node("free", 1));
        let _ejabberd = [Ejabberd::add(busy.trunks()), Ejabberd::add(free.trunks())];
        let roster = Roster::new(vec![Arc::clone(&busy), free], testing::rules());
        let logins = Arc::new(Logins::new(Arc::new(roster)));
        let [mut one, mut two] = begin(&logins);
        open(&mut one);
        open(&mut two);
        let (mut at_busy, mut at_free) = match &one.node {
            Some(node) if Arc::ptr_eq(node, &busy) => (one, two),
            _ => (two, one),
        };
        at_busy.answered();
        at_free.answered();
        busy.set_at_once(0);
        let others: [Login; 2] = begin(&logins);
        assert_eq!(turns(&others), [true, true]);
        busy.set_at_once(1);
        assert!(!asks(&mut at_busy) || !asks(&mut at_free));
        drop(others);
        assert!(asks(&mut at_busy) && asks(&mut at_free));
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_takes_too_long_holds_up_nobody() {
        let logins = logins(2);
        let passing = tokio::spawn(Arc::clone(&logins).pass_by_slow());
        let slow = logins.begin();
        advance(LONGEST / 2).await;
        let [_slow_too, three, four] = begin(&logins);
        let before = timeout(LONGEST / 2 - Duration::from_millis(2), turn(&three)).await;
        assert!(before.is_err(), "its turn came too early");
        let first = timeout(Duration::from_millis(4), turn(&three)).await;
        assert!(first.is_ok() && !four.has_turn());
        let second = timeout(LONGEST / 2 + Duration::from_millis(2), turn(&four)).await;
        assert!(second.is_ok());
        // It gives back nothing that it has not any more.
        drop(slow);
        assert!(!logins.begin().has_turn());
        passing.abort();
    }

    /// A node that is left after two logins that it does not answer, and its ejabberd.
    fn strict() -> (Arc<Logins>, Arc<Node>, Ejabberd) {
        let node = testing::node("a", 0);
        let ejabberd = Ejabberd::add(node.trunks());
        let mut rules = testing::rules();
        rules.health.eject_after = 2;
        let roster = Roster::new(vec![Arc::clone(&node)], rules);
        (Arc::new(Logins::new(Arc::new(roster))), node, ejabberd)
    }

    /// So long that they are given up.
    async fn too_long(logins: &Logins) {
        advance(LONGEST).await;
        logins.forget_slow(LONGEST);
        assert_eq!(logins.count().running, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_does_not_answer_is_left() {
        let (logins, node, _ejabberd) = strict();
        let mut all: [Login; 2] = begin(&logins);
        all.iter_mut().for_each(open);
        too_long(&logins).await;
        assert!(node.ejected().is_some());
        let (logins, node, _ejabberd) = strict();
        let mut all: [Login; 2] = begin(&logins);
        for login in &mut all {
            open(login);
            login.answered();
            assert!(asks(login));
        }
        too_long(&logins).await;
        assert!(node.ejected().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_not_left_for_what_clients_do_not_do() {
        let (logins, node, mut ejabberd) = strict();
        // Their turn has come, and they open no session.
        let _never: [Login; 9] = begin(&logins);
        too_long(&logins).await;
        // ejabberd has answered, and they don't take it.
        let mut silent: [Login; 9] = begin(&logins);
        let connections: Vec<_> = silent
            .iter_mut()
            .map(|login| {
                let mut connection = login.open(&testing::opening()).unwrap();
                connection.try_send(b"<open/>").unwrap();
                connection
            })
            .collect();
        for _ in &connections {
            let (id, _) = ejabberd.opened();
            ejabberd.send(id, b"here");
        }
        too_long(&logins).await;
        // It is their turn to say something, and there is no room for it.
        let mut stuck: [Login; 9] = begin(&logins);
        for login in &mut stuck {
            open(login);
            login.answered();
            assert_eq!(login.take_turn(), Turn::Its);
        }
        too_long(&logins).await;
        // What they sent is more than ejabberd's shaper lets through.
        let mut eager: [Login; 9] = begin(&logins);
        for login in &mut eager {
            open(login);
            login.answered();
            login.said(10_000);
            login.asked(10_000);
        }
        too_long(&logins).await;
        assert_eq!(node.ejected(), None);
    }

    proptest! {
        #[test]
        fn nobody_is_passed_and_no_place_is_lost(
            most in 1_u64..5,
            steps in proptest::collection::vec((any::<bool>(), any::<usize>()), 1..100),
        ) {
            let logins = logins(most);
            let mut all = Vec::new();
            for (begins, which) in steps {
                if begins || all.is_empty() {
                    all.push(logins.begin());
                } else {
                    all.remove(which % all.len());
                }
                let running = turns(&all);
                let expected = all.len().min(usize::try_from(most).unwrap());
                prop_assert!(running.iter().take_while(|turn| **turn).count() == expected);
                prop_assert_eq!(running.iter().filter(|turn| **turn).count(), expected);
            }
        }
    }
}
