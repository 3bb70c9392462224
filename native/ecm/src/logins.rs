//! Logins, of which ejabberd has so many to answer at once.
//!
//! A login costs ejabberd much more than a user who is online. Without an order, all that come at once are
//! slow at once: each takes so long that its client gives up and comes again. Here each has its turn, in the
//! order in which they came. A new one begins while ejabberd owes an answer to fewer than so many; those that
//! have begun don't wait again, and while it is the client who has to say something, nobody waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::metrics::LOGIN_WAITS;

/// A login that was not answered for so long no longer keeps others from theirs: there may be nothing to
/// answer.
const LONGEST: Duration = Duration::from_secs(5);

/// Whose turn it is to log in.
#[derive(Debug)]
pub struct Logins {
    state: Mutex<State>,
    /// The first one has begun to wait.
    queued: Notify,
}

/// A client's login. Dropping it ends it, whether or not its turn had come.
#[derive(Debug)]
pub struct Login {
    logins: Arc<Logins>,
    number: u64,
}

/// How many logins there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Those that ejabberd has to answer.
    pub running: usize,
    /// Those whose turn has to come.
    pub waiting: usize,
}

/// A login has its number since it waits or since ejabberd has to answer it; they go up.
#[derive(Debug)]
struct State {
    most: usize,
    next: u64,
    /// Since when ejabberd has to answer.
    running: BTreeMap<u64, Instant>,
    waiting: BTreeMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    waker: Option<Waker>,
}

impl Logins {
    /// So many at once; 0 for any number.
    pub fn new(at_once: u64) -> Self {
        Self {
            state: Mutex::new(State {
                most: most(at_once),
                next: 0,
                running: BTreeMap::new(),
                waiting: BTreeMap::new(),
            }),
            queued: Notify::new(),
        }
    }

    /// From now on so many at once.
    pub fn set_at_once(&self, at_once: u64) {
        let mut state = self.state.lock();
        state.most = most(at_once);
        admit(state);
    }

    /// One more login.
    pub fn begin(self: &Arc<Self>) -> Login {
        let mut state = self.state.lock();
        let number = state.number();
        let waiting = Waiting {
            since: Instant::now(),
            waker: None,
        };
        state.waiting.insert(number, waiting);
        let is_first = state.waiting.len() == 1;
        if admit(state).waiting > 0 && is_first {
            self.queued.notify_one();
        }
        Login {
            logins: Arc::clone(self),
            number,
        }
    }

    /// How many there are.
    pub fn count(&self) -> Count {
        self.state.lock().count()
    }

    /// Has those go on that wait behind logins which take too long, as long as the program runs.
    pub async fn pass_by_slow(self: Arc<Self>) {
        loop {
            let slow_at = self.state.lock().slow_at();
            match slow_at {
                Some(at) => {
                    sleep_until(at).await;
                    let mut state = self.state.lock();
                    state.forget_slow(Instant::now());
                    admit(state);
                }
                None => self.queued.notified().await,
            }
        }
    }

    fn end(&self, number: u64) {
        let mut state = self.state.lock();
        state.running.remove(&number);
        state.waiting.remove(&number);
        admit(state);
    }

    fn answered(&self, number: u64) {
        let mut state = self.state.lock();
        state.running.remove(&number);
        admit(state);
    }

    /// The number from now on.
    fn asked(&self, number: u64) -> u64 {
        let mut state = self.state.lock();
        if state.running.contains_key(&number) {
            return number;
        }
        let number = state.number();
        state.running.insert(number, Instant::now());
        number
    }
}

impl Login {
    /// Whether its turn has come; if not, the task that asked last is woken when it has.
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

    /// ejabberd has answered: the client has to go on.
    pub fn answered(&self) {
        self.logins.answered(self.number);
    }

    /// The client has gone on: ejabberd has to answer.
    pub fn asked(&mut self) {
        self.number = self.logins.asked(self.number);
    }

    /// Whether its turn has come.
    pub fn has_turn(&self) -> bool {
        let state = self.logins.state.lock();
        !state.waiting.contains_key(&self.number)
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        self.logins.end(self.number);
    }
}

impl State {
    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next = number.wrapping_add(1);
        number
    }

    fn count(&self) -> Count {
        Count {
            running: self.running.len(),
            waiting: self.waiting.len(),
        }
    }

    /// When the first of those that run will have taken too long, if anybody waits for it.
    fn slow_at(&self) -> Option<Instant> {
        let (_, first) = self.running.first_key_value()?;
        (!self.waiting.is_empty()).then(|| *first + LONGEST)
    }

    fn forget_slow(&mut self, now: Instant) {
        while let Some(first) = self.running.first_entry()
            && *first.get() + LONGEST <= now
        {
            first.remove();
        }
    }
}

/// Has as many go on as may, and wakes them after the lock is free.
fn admit(mut state: MutexGuard<'_, State>) -> Count {
    let now = Instant::now();
    let mut wakers = Vec::new();
    while state.running.len() < state.most
        && let Some((number, waiting)) = state.waiting.pop_first()
    {
        LOGIN_WAITS.observe(now.saturating_duration_since(waiting.since));
        state.running.insert(number, now);
        wakers.extend(waiting.waker);
    }
    let count = state.count();
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
    count
}

fn most(at_once: u64) -> usize {
    match at_once {
        0 => usize::MAX,
        most => usize::try_from(most).unwrap_or(usize::MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;
    use tokio::time::{advance, timeout};

    use super::*;

    fn logins(at_once: u64) -> Arc<Logins> {
        Arc::new(Logins::new(at_once))
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
            logins.set_at_once(3);
        });
        let four = logins.begin();
        logins.set_at_once(1);
        drop((one, two));
        assert!(!four.has_turn());
        drop(three);
        assert!(four.has_turn());
    }

    #[test]
    fn others_begin_while_a_client_has_to_go_on_and_it_goes_on_when_it_wants() {
        let logins = logins(2);
        let [mut one, mut two, three, four, five] = begin(&logins);
        one.answered();
        assert!(three.has_turn() && !four.has_turn());
        one.asked();
        one.asked();
        two.asked();
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
