//! Bytes that wait: how many they are for all clients together, and how many they may be.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::metrics::{REFUSALS, Reason};

/// The holders with the most are looked for no more often than this, as all holders have to be visited.
const PAUSE: Duration = Duration::from_millis(10);

/// The shortest time between two lines in the log.
const BETWEEN_LINES: Duration = Duration::from_secs(1);

/// Bytes that wait, and the most that may.
#[derive(Debug)]
pub struct Budget {
    held: AtomicU64,
    max: AtomicU64,
    /// It is exceeded, or may be.
    exceeded: Notify,
}

/// Something that holds some of the bytes.
pub trait Holder: Send {
    /// How many.
    fn held(&self) -> usize;

    /// Gives them all up. They count no more, though their memory may come back a moment later.
    fn evict(&self);
}

impl Budget {
    /// Nothing waits.
    pub fn new(max: u64) -> Self {
        Self {
            held: AtomicU64::new(0),
            max: AtomicU64::new(max),
            exceeded: Notify::new(),
        }
    }

    /// Another number may wait from now on.
    pub fn set_max(&self, max: u64) {
        self.max.store(max, Relaxed);
        self.exceeded.notify_one();
    }

    /// How many bytes wait.
    pub fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }

    /// More bytes wait.
    pub fn add(&self, bytes: usize) {
        let held = self.held.fetch_add(bytes as u64, Relaxed) + bytes as u64;
        if held > self.max.load(Relaxed) {
            self.exceeded.notify_one();
        }
    }

    /// They wait no more.
    pub fn subtract(&self, bytes: usize) {
        self.held.fetch_sub(bytes as u64, Relaxed);
    }

    /// As long as the program runs: whenever more waits than may, takes it from those with the most. They are
    /// counted for `reason`; the log says of what there was too much, once a second at the most.
    pub async fn enforce(
        &self,
        what: &'static str,
        reason: Reason,
        holders: impl Fn() -> Vec<Box<dyn Holder>> + Send,
    ) {
        let mut connections = 0;
        let mut told = Instant::now();
        loop {
            tokio::select! {
                () = self.exceeded.notified() => {}
                () = sleep_until(told + BETWEEN_LINES), if connections > 0 => {}
            }
            if self.held() > self.max.load(Relaxed) {
                let evicted = self.evict_greediest(holders());
                REFUSALS.of(reason).add(evicted as u64);
                connections += evicted;
                sleep(PAUSE).await;
            }
            if connections > 0 && told.elapsed() >= BETWEEN_LINES {
                tracing::warn!(
                    connections,
                    "{what}: the connections with the most were closed"
                );
                connections = 0;
                told = Instant::now();
            }
        }
    }

    /// How much has to go once there is too much: down to a sixteenth below the limit, so that it is not exceeded again
    /// at once.
    fn to_free(&self) -> u64 {
        let max = self.max.load(Relaxed);
        self.held().saturating_sub(max - max / 16)
    }

    fn evict_greediest(&self, holders: Vec<Box<dyn Holder>>) -> usize {
        let all = holders.into_iter().map(|holder| (holder.held(), holder));
        let mut holders: Vec<_> = all.filter(|(held, _)| *held > 0).collect();
        holders.sort_unstable_by_key(|(held, _)| std::cmp::Reverse(*held));
        let greediest = holders.iter().take_while(|_| self.to_free() > 0);
        greediest.map(|(_, holder)| holder.evict()).count()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use tokio::time::timeout;

    use super::*;

    struct One {
        budget: Arc<Budget>,
        held: Arc<AtomicUsize>,
    }

    impl Holder for One {
        fn held(&self) -> usize {
            self.held.load(Relaxed)
        }

        fn evict(&self) {
            self.budget.subtract(self.held.swap(0, Relaxed));
        }
    }

    /// A budget of 160, and those who hold some of it.
    fn all(held: &[usize]) -> (Arc<Budget>, Vec<Arc<AtomicUsize>>) {
        let budget = Arc::new(Budget::new(160));
        let held = held.iter().map(|held| {
            budget.add(*held);
            Arc::new(AtomicUsize::new(*held))
        });
        let held = held.collect();
        (budget, held)
    }

    fn holders(budget: &Arc<Budget>, held: &[Arc<AtomicUsize>]) -> Vec<Box<dyn Holder>> {
        let one = |held: &Arc<AtomicUsize>| -> Box<dyn Holder> {
            Box::new(One {
                budget: Arc::clone(budget),
                held: Arc::clone(held),
            })
        };
        held.iter().map(one).collect()
    }

    async fn enforce(budget: &Arc<Budget>, held: &[Arc<AtomicUsize>]) {
        let holders = || holders(budget, held);
        budget.enforce("", Reason::InputBuffer, holders).await;
    }

    async fn left(held: &[usize]) -> Vec<usize> {
        let (budget, held) = all(held);
        // It ends with the time that it may take.
        let _ = timeout(Duration::from_secs(5), enforce(&budget, &held)).await;
        held.iter().map(|held| held.load(Relaxed)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn those_with_the_most_give_up_what_they_have_until_some_room_is_left() {
        assert_eq!(left(&[80, 80]).await, [80, 80]);
        assert_eq!(left(&[80, 81]).await, [80, 0]);
        assert_eq!(left(&[10, 100, 0, 60]).await, [10, 0, 0, 60]);
        // A sixteenth stays free.
        assert_eq!(left(&[151, 5, 5]).await, [0, 5, 5]);
        assert_eq!(left(&[40; 5]).await.iter().sum::<usize>(), 120);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lower_limit_holds_at_once() {
        let (budget, held) = all(&[50, 60]);
        let lower = async {
            tokio::task::yield_now().await;
            budget.set_max(64);
            sleep(PAUSE).await;
        };
        tokio::select! {
            () = enforce(&budget, &held) => {}
            () = lower => {}
        }
        assert_eq!(budget.held(), 50);
    }
}
