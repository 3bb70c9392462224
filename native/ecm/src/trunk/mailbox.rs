//! What came from ejabberd for one connection, until its client takes it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes, BytesMut};
use parking_lot::{Mutex, MutexGuard};

use super::budget::OutputBudget;
use crate::budget::Holder;
use crate::metrics::{REFUSALS, Reason};

/// Why nothing more comes for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// ejabberd closed the connection.
    Closed,
    /// The trunk was lost.
    TrunkLost,
    /// Too much output waited; it is gone.
    Overflowed,
    /// ejabberd reset the connection.
    Reset,
}

/// What a connection has for its client.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The next bytes. They count as waiting until [`Mailbox::delivered`].
    Content(Bytes),
    /// Nothing more will come.
    End(End),
    /// Nothing now.
    Nothing,
}

/// Between the trunk's reader, which never waits, and one client.
///
/// What waits is counted from the moment it comes until the client's socket has taken it, so the
/// piece that the client is just writing counts too.
#[derive(Debug)]
pub struct Mailbox {
    state: Mutex<State>,
    budget: Arc<OutputBudget>,
}

/// What of a connection's output its client has not taken, which may be there after the connection.
#[derive(Debug, Clone)]
pub struct Unread(Arc<Mailbox>);

impl Unread {
    pub(super) fn of(mailbox: &Arc<Mailbox>) -> Self {
        Self(Arc::clone(mailbox))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.held() == 0
    }

    /// The client's socket took `bytes`.
    pub fn delivered(&self, bytes: usize) {
        self.0.delivered(bytes);
    }
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<BytesMut>,
    held: usize,
    end: Option<End>,
    /// Something came that the client was not told of yet.
    news: bool,
    /// The client that waits for it.
    waiting: Option<Waker>,
}

/// Small pieces are joined up to this, so that a client which reads slowly costs no more than what
/// waits for it, and large ones are not moved when more comes.
const PIECE: usize = 64 * 1024;

impl Mailbox {
    /// An empty mailbox; what waits in it counts towards `budget`.
    pub fn new(budget: Arc<OutputBudget>) -> Self {
        Self {
            state: Mutex::default(),
            budget,
        }
    }

    /// Puts content into it; content after the end is dropped. With more than one client may have
    /// waiting, the mailbox ends as [`End::Overflowed`].
    pub fn put(&self, content: &[u8]) {
        let mut state = self.state.lock();
        if state.end.is_some() {
            return;
        }
        let was_empty = state.pieces.is_empty();
        state.held += content.len();
        self.budget.total().add(content.len());
        if state.held as u64 > self.budget.max_client() {
            REFUSALS.of(Reason::OutputBuffer).add(1);
            self.overflow(&mut state);
        } else {
            state.append(content);
        }
        // A client that has not taken what was there needs no second word of it.
        if was_empty || state.end.is_some() {
            self.tell(state);
        }
    }

    /// Says that nothing more comes. What waits can still be taken.
    pub fn end(&self, end: End) {
        let mut state = self.state.lock();
        state.end.get_or_insert(end);
        self.tell(state);
    }

    /// Drops what waits, and everything that would come, because all clients together hold too much.
    pub fn evict(&self) {
        let mut state = self.state.lock();
        self.overflow(&mut state);
        self.tell(state);
    }

    /// How many bytes wait.
    pub fn held(&self) -> usize {
        self.state.lock().held
    }

    /// Takes the next content, or the end once there is none.
    pub fn take(&self) -> Delivery {
        let mut state = self.state.lock();
        match (state.pieces.pop_front(), state.end) {
            (Some(piece), _) => {
                if state.pieces.is_empty() {
                    // An idle client keeps no memory for what it does not have.
                    state.pieces = VecDeque::new();
                }
                Delivery::Content(piece.freeze())
            }
            (None, Some(end)) => Delivery::End(end),
            (None, None) => Delivery::Nothing,
        }
    }

    /// Whether it ended because too much waited: then what the client is just writing should go too.
    pub fn has_overflowed(&self) -> bool {
        self.state.lock().end == Some(End::Overflowed)
    }

    /// The client's socket took `bytes`, or they were dropped. Gives how many of them had come from
    /// here.
    pub fn delivered(&self, bytes: usize) -> usize {
        let mut state = self.state.lock();
        // After an overflow nothing is counted any more.
        let bytes = bytes.min(state.held);
        state.held -= bytes;
        self.budget.total().subtract(bytes);
        bytes
    }

    /// Wakes the client for another reason.
    pub fn wake(&self) {
        self.tell(self.state.lock());
    }

    /// Whether there may be something to take that was not there when this was last ready. It wakes
    /// the one that asked last.
    pub fn poll_changed(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.news) {
            return Poll::Ready(());
        }
        match &mut state.waiting {
            Some(waker) => waker.clone_from(context.waker()),
            None => state.waiting = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    fn overflow(&self, state: &mut State) {
        self.budget.total().subtract(state.held);
        state.pieces = VecDeque::new();
        state.held = 0;
        state.end = Some(End::Overflowed);
    }

    /// Wakes the client, after the lock is free.
    fn tell(&self, mut state: MutexGuard<'_, State>) {
        state.news = true;
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

impl State {
    fn append(&mut self, mut content: &[u8]) {
        if let Some(last) = self.pieces.back_mut() {
            let joined = content.len().min(PIECE.saturating_sub(last.len()));
            last.extend_from_slice(&content[..joined]);
            content.advance(joined);
        }
        if !content.is_empty() {
            self.pieces.push_back(BytesMut::from(content));
        }
    }
}

impl Holder for Arc<Mailbox> {
    fn held(&self) -> usize {
        Mailbox::held(self)
    }

    fn evict(&self) {
        Mailbox::evict(self);
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.budget.total().subtract(self.state.get_mut().held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LimitsConfig;
    use crate::wakes::Wakes;

    fn mailbox(max_client: u64) -> Mailbox {
        let limits = LimitsConfig {
            max_client_buffer: max_client,
            ..LimitsConfig::default()
        };
        Mailbox::new(Arc::new(OutputBudget::new(&limits)))
    }

    fn content(bytes: &'static [u8]) -> Delivery {
        Delivery::Content(Bytes::from_static(bytes))
    }

    #[test]
    fn content_comes_in_order_and_before_the_end() {
        let mailbox = mailbox(100);
        mailbox.put(b"one");
        mailbox.put(b"two");
        mailbox.end(End::Closed);
        mailbox.put(b"after the end");
        assert_eq!(mailbox.take(), content(b"onetwo"));
        assert_eq!(mailbox.take(), Delivery::End(End::Closed));
    }

    #[test]
    fn the_first_end_stays() {
        let mailbox = mailbox(100);
        mailbox.end(End::Closed);
        mailbox.end(End::TrunkLost);
        assert_eq!(mailbox.take(), Delivery::End(End::Closed));
    }

    #[test]
    fn more_than_a_client_may_hold_ends_it_and_frees_all() {
        let mailbox = mailbox(10);
        mailbox.put(b"0123456789");
        assert_eq!(mailbox.held(), 10);
        mailbox.put(b"x");
        assert_eq!(mailbox.take(), Delivery::End(End::Overflowed));
        assert_eq!((mailbox.held(), mailbox.budget.total().held()), (0, 0));
    }

    #[test]
    fn what_is_being_written_counts_until_it_is_delivered() {
        let mailbox = mailbox(10);
        mailbox.put(b"0123456789");
        assert_eq!(mailbox.take(), content(b"0123456789"));
        assert_eq!(mailbox.held(), 10);
        mailbox.delivered(4);
        mailbox.put(b"abcd");
        assert_eq!(mailbox.take(), content(b"abcd"));
        assert_eq!(mailbox.held(), 10);
    }

    #[test]
    fn what_is_delivered_after_an_overflow_is_not_counted_twice() {
        let budget = Arc::new(OutputBudget::new(&LimitsConfig::default()));
        let (one, other) = (
            Mailbox::new(Arc::clone(&budget)),
            Mailbox::new(Arc::clone(&budget)),
        );
        one.put(b"0123456789");
        other.put(b"01234");
        one.take();
        one.evict();
        one.delivered(10);
        assert_eq!(other.held(), 5);
        drop(one);
        assert_eq!(budget.total().held(), 5);
        drop(other);
        assert_eq!(budget.total().held(), 0);
    }

    #[test]
    fn the_client_is_woken_once_for_all_that_waits() {
        let mailbox = mailbox(100);
        let (waker, count) = Wakes::waker();
        let context = Context::from_waker(&waker);
        assert!(mailbox.poll_changed(&context).is_pending());
        mailbox.put(b"one");
        mailbox.put(b"two");
        assert_eq!(count.count(), 1);
        assert!(mailbox.poll_changed(&context).is_ready());
        assert!(mailbox.poll_changed(&context).is_pending());
        mailbox.take();
        mailbox.put(b"three");
        mailbox.end(End::Closed);
        assert_eq!(count.count(), 2);
        assert!(mailbox.poll_changed(&context).is_ready());
    }

    #[test]
    fn large_content_is_split_and_small_content_is_joined() {
        let mailbox = mailbox(1 << 20);
        mailbox.put(&vec![1; PIECE - 1]);
        mailbox.put(&[2; 3]);
        let Delivery::Content(first) = mailbox.take() else {
            panic!("content waits")
        };
        assert_eq!((first.len(), first[PIECE - 1]), (PIECE, 2));
        assert_eq!(mailbox.take(), content(&[2, 2]));
    }
}
