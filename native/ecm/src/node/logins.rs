//! Logins take turns, so that each node has a limited number of them to answer at once.
//!
//! A login costs ejabberd much more than a user who is online. If all were let in at once, all would be slow at once:
//! each would take so long that its client gives up and comes again. Here each has its turn, first come, first
//! served: as soon as a node owes answers to fewer logins than its limit, the next one goes there. A login that has
//! begun does not wait again, and while its client has to say something, it holds up nobody. While there is no node,
//! nobody waits either: clients are turned away at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::one::Node;
use super::owed::Owed;
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
    waiting: BTreeMap<u64, Waiting>,
    /// Those whose turn has come and whose session is not open yet.
    admitted: HashMap<u64, Arc<Node>>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    waker: Option<Waker>,
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
        let number = state.next;
        state.next = number.wrapping_add(1);
        let waiting = Waiting {
            since: Instant::now(),
            waker: None,
        };
        state.waiting.insert(number, waiting);
        self.admit(state);
        Login {
            logins: Arc::clone(self),
            number,
            node: None,
            unread: None,
            sent: 0,
            spent: Duration::ZERO,
        }
    }

    /// How many there are.
    pub fn count(&self) -> Count {
        let state = self.state.lock();
        Count {
            running: state.running.len(),
            waiting: state.waiting.len(),
        }
    }

    /// Lets as many begin as may: the nodes, or their limits, have changed.
    pub fn go_on(&self) {
        self.admit(self.state.lock());
    }

    /// Lets others begin in place of logins that take too long, as long as the program runs.
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

    /// Lets as many begin as may, and wakes them once the lock is free.
    fn admit(&self, mut state: MutexGuard<'_, State>) {
        let now = Instant::now();
        let mut wakers = Vec::new();
        let was_idle = state.running.is_empty();
        while !state.waiting.is_empty() {
            let node = match self.roster.choose(Kind::Session, Node::has_turn) {
                Choice::Node(node) => Some(node),
                Choice::Busy => break,
                Choice::None => None,
            };
            let Some((number, waiting)) = state.waiting.pop_first() else {
                break;
            };
            LOGIN_WAITS.observe(now.saturating_duration_since(waiting.since));
            wakers.extend(waiting.waker);
            if let Some(node) = node {
                node.admit();
                state.admitted.insert(number, Arc::clone(&node));
                state.running.add(number, node, None, now);
            }
        }
        let is_first = was_idle && !state.running.is_empty();
        drop(state);
        if is_first {
            self.running.notify_one();
        }
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Login {
    /// Ready once its turn has come; until then the task that polled last is woken when it comes.
    pub fn poll_turn(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.logins.state.lock();
        let Some(waiting) = state.waiting.get_mut(&self.number) else {
            return Poll::Ready(());
        };
        match &mut waiting.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => waiting.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Whether its turn has come.
    pub fn has_turn(&self) -> bool {
        let state = self.logins.state.lock();
        !state.waiting.contains_key(&self.number)
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

    /// ejabberd has answered: it is the client's turn to speak.
    pub fn answered(&mut self) {
        let mut state = self.logins.state.lock();
        if let Some(since) = state.running.remove(self.number) {
            self.spent += since.elapsed();
            self.logins.admit(state);
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
        state
            .running
            .add(self.number, Arc::clone(node), self.answer(), Instant::now());
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
            node.login_took(self.spent, Instant::now());
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
                .add(self.number, node, self.answer(), Instant::now());
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
        let was_waiting = state.waiting.remove(&self.number).is_some();
        if let Some(node) = state.admitted.remove(&self.number) {
            node.admitted_came();
        }
        if was_running || was_waiting {
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

    #[test]
    fn others_begin_while_a_client_has_to_go_on_and_it_goes_on_when_it_wants() {
        let logins = logins(2);
        let [mut one, mut two, three, four, five] = begin(&logins);
        open(&mut one);
        open(&mut two);
        one.answered();
        assert!(three.has_turn() && !four.has_turn());
        one.asked(1);
        one.asked(1);
        two.asked(1);
        assert_eq!(logins.count().running, 3);
        two.answered();
        assert!(!four.has_turn());
        one.answered();
        assert!(four.has_turn() && !five.has_turn());
        // Nothing is given back twice.
        drop((one, two));
        assert!(!five.has_turn());
        drop(three);
        assert!(five.has_turn());
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
            login.asked(100);
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
