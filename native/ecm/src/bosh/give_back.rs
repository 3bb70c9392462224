//! What ejabberd has sent and a client that is gone never got goes back: ejabberd has another place for it, as
//! offline messages, unless stream management keeps it anyway.
//!
//! ```text
//!   here                              ejabberd
//!    |  the client is gone  ─────────────> |  sends no more
//!    |  what waited here    ─────────────> |
//!    | <─────────  what was on its way, FIN |
//!    |  that too, FIN       ─────────────> |  routes all of it
//! ```

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::ControlFlow::{self, Break, Continue};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::session::{Received, Sent, Session};

/// How long all of it may take.
const LONGEST: Duration = Duration::from_secs(30);

/// Gives documents back, and all that still come, and leaves the stream.
pub fn give_back(stream: Session, undelivered: Vec<Bytes>) {
    let mut documents = VecDeque::from(undelivered);
    // The first one says that the client is gone.
    documents.push_front(Bytes::new());
    let mut giving = Giving { stream, documents };
    tokio::spawn(timeout(
        LONGEST,
        poll_fn(move |context| giving.poll(context)),
    ));
}

struct Giving {
    stream: Session,
    documents: VecDeque<Bytes>,
}

impl Giving {
    fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        while self.go_on().is_continue() {
            if self.stream.poll_changed(context).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Does what can be done now.
    fn go_on(&mut self) -> ControlFlow<()> {
        let end = loop {
            match self.stream.next() {
                Received::Document(document) => self.documents.push_back(document),
                Received::Nothing => break None,
                Received::End(end) => break Some(end),
            }
        };
        while let Some(document) = self.documents.front() {
            match self.stream.try_give_back(document) {
                Ok(Sent::Sent) => self.documents.pop_front(),
                Ok(Sent::Refused) => return Continue(()),
                Err(_lost) => return Break(()),
            };
        }
        match end {
            None => Continue(()),
            Some(_) => Break(()),
        }
    }
}
