//! Input that waits: what clients have sent and neither this program nor ejabberd has taken.
//!
//! Heads and bodies of requests that are not whole, requests that came before one that is missing, stanzas,
//! messages, TLS records and handshakes in part, and what is whole and waits until ejabberd takes more. A
//! client counts what it has of these whenever it begins to wait, so what goes on at once is never counted, and
//! a client that has nothing costs nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::budget::{Budget, Holder};

/// How many tables there are, so that threads seldom wait for one another.
const PARTS: usize = 16;

/// The backlogs of all clients, and their common budget.
#[derive(Debug)]
pub struct Backlogs {
    budget: Budget,
    parts: [Mutex<HashMap<u64, Arc<Counted>>>; PARTS],
    next: AtomicU64,
}

/// What waits of one client, as it was counted last. While that is nothing it takes no room.
#[derive(Debug, Default)]
pub struct Backlog(Option<Arc<Counted>>);

/// All clients together have sent too much that waits, and this one has the most of it: it has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much input of all clients is waiting, and much of it is from this one")]
pub struct Evicted;

/// A backlog that is not empty.
#[derive(Debug)]
struct Counted {
    backlogs: Arc<Backlogs>,
    number: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Held {
        bytes: usize,
        /// Who is to hear if it has to go.
        waiting: Option<Waker>,
    },
    Evicted,
}

impl Backlogs {
    /// None, and so many bytes at the most.
    pub fn new(max: u64) -> Self {
        Self {
            budget: Budget::new(max),
            parts: Default::default(),
            next: AtomicU64::new(0),
        }
    }

    /// How many bytes they are, and may be.
    pub const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Those who have some.
    pub fn holders(&self) -> Vec<Box<dyn Holder>> {
        let mut holders: Vec<Box<dyn Holder>> = Vec::new();
        for part in &self.parts {
            for counted in part.lock().values() {
                holders.push(Box::new(Arc::clone(counted)));
            }
        }
        holders
    }

    fn add(self: &Arc<Self>) -> Arc<Counted> {
        let counted = Arc::new(Counted {
            backlogs: Arc::clone(self),
            number: self.next.fetch_add(1, Relaxed),
            state: Mutex::new(State::Held {
                bytes: 0,
                waiting: None,
            }),
        });
        let number = counted.number;
        self.part(number)
            .lock()
            .insert(number, Arc::clone(&counted));
        counted
    }

    fn part(&self, number: u64) -> &Mutex<HashMap<u64, Arc<Counted>>> {
        &self.parts[usize::try_from(number % PARTS as u64).unwrap_or(0)]
    }
}

impl Backlog {
    /// So many bytes wait now.
    ///
    /// # Errors
    /// [`Evicted`].
    pub fn count(&mut self, bytes: usize, backlogs: &Arc<Backlogs>) -> Result<(), Evicted> {
        match &self.0 {
            None if bytes == 0 => Ok(()),
            None => self.0.insert(backlogs.add()).set(bytes),
            Some(counted) => {
                counted.set(bytes)?;
                if bytes == 0 {
                    self.clear();
                }
                Ok(())
            }
        }
    }

    /// Whether it has to go; else the task that asked last is woken when it has.
    pub fn poll_evicted(&self, context: &Context<'_>) -> Poll<()> {
        self.wait(|waiting| match waiting {
            Some(waker) => waker.clone_from(context.waker()),
            None => *waiting = Some(context.waker().clone()),
        })
    }

    /// Whether it has to go; else this wakes when it has, unless something does already.
    pub fn wake_if_evicted(&self, waker: impl FnOnce() -> Waker) -> Poll<()> {
        self.wait(|waiting| {
            waiting.get_or_insert_with(waker);
        })
    }

    fn wait(&self, wait: impl FnOnce(&mut Option<Waker>)) -> Poll<()> {
        let Some(counted) = &self.0 else {
            return Poll::Pending;
        };
        match &mut *counted.state.lock() {
            State::Evicted => Poll::Ready(()),
            State::Held { waiting, .. } => {
                wait(waiting);
                Poll::Pending
            }
        }
    }

    fn clear(&mut self) {
        if let Some(counted) = self.0.take() {
            counted
                .backlogs
                .part(counted.number)
                .lock()
                .remove(&counted.number);
            // Nothing, if it was evicted.
            let _ = counted.set(0);
        }
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Counted {
    fn set(&self, now: usize) -> Result<(), Evicted> {
        let budget = &self.backlogs.budget;
        match &mut *self.state.lock() {
            State::Evicted => Err(Evicted),
            State::Held { bytes, .. } => {
                let before = std::mem::replace(bytes, now);
                if now > before {
                    budget.add(now - before);
                } else {
                    budget.subtract(before - now);
                }
                Ok(())
            }
        }
    }
}

impl Holder for Arc<Counted> {
    fn held(&self) -> usize {
        match &*self.state.lock() {
            State::Held { bytes, .. } => *bytes,
            State::Evicted => 0,
        }
    }

    fn evict(&self) {
        let state = std::mem::replace(&mut *self.state.lock(), State::Evicted);
        if let State::Held { bytes, waiting } = state {
            self.backlogs.budget.subtract(bytes);
            if let Some(waker) = waiting {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wakes::Wakes;

    fn entries(backlogs: &Backlogs) -> usize {
        backlogs.holders().len()
    }

    #[test]
    fn only_what_waits_takes_room() {
        assert_eq!(size_of::<Backlog>(), 8);
        let backlogs = Arc::new(Backlogs::new(100));
        let (mut one, mut other) = (Backlog::default(), Backlog::default());
        assert_eq!(one.count(0, &backlogs), Ok(()));
        assert_eq!((entries(&backlogs), one.0.is_none()), (0, true));
        assert_eq!(one.count(70, &backlogs), Ok(()));
        assert_eq!(other.count(20, &backlogs), Ok(()));
        assert_eq!(one.count(30, &backlogs), Ok(()));
        assert_eq!((entries(&backlogs), backlogs.budget().held()), (2, 50));
        assert_eq!(one.count(0, &backlogs), Ok(()));
        assert_eq!((entries(&backlogs), backlogs.budget().held()), (1, 20));
        assert!(one.0.is_none());
        drop(other);
        assert_eq!((entries(&backlogs), backlogs.budget().held()), (0, 0));
    }

    #[test]
    fn one_that_has_to_go_hears_of_it_and_counts_no_more() {
        let backlogs = Arc::new(Backlogs::new(100));
        let mut backlog = Backlog::default();
        let (waker, wakes) = Wakes::waker();
        let context = Context::from_waker(&waker);
        assert!(backlog.poll_evicted(&context).is_pending());
        assert_eq!(backlog.count(70, &backlogs), Ok(()));
        assert!(backlog.poll_evicted(&context).is_pending());
        for holder in backlogs.holders() {
            holder.evict();
            holder.evict();
            assert_eq!(holder.held(), 0);
        }
        assert_eq!((wakes.count(), backlogs.budget().held()), (1, 0));
        assert!(backlog.poll_evicted(&context).is_ready());
        // Whatever it has by now.
        assert_eq!(backlog.count(80, &backlogs), Err(Evicted));
        assert_eq!(backlog.count(0, &backlogs), Err(Evicted));
        drop(backlog);
        assert_eq!((entries(&backlogs), backlogs.budget().held()), (0, 0));
    }
}
