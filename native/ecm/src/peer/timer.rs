//! The timer of a client's task.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that takes no room until there is a deadline.
#[derive(Debug, Default)]
pub struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Has it elapse at the deadline, or before: one that elapses too early costs less than one that is
    /// moved at each request or stanza.
    pub fn set(&mut self, deadline: Instant) {
        match &mut self.0 {
            None => self.0 = Some(Box::pin(sleep_until(deadline))),
            Some(timer) => {
                if timer.is_elapsed() || deadline < timer.deadline() {
                    timer.as_mut().reset(deadline);
                }
            }
        }
    }

    /// Gives its room back: it never elapses, until it is set.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Whether it has elapsed.
    pub fn poll_elapsed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(timer) => timer.as_mut().poll(context),
            None => Poll::Pending,
        }
    }
}
