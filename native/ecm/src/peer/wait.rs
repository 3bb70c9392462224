//! What all clients' tasks wait for, whatever they speak.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::sync::watch;
use tokio::time::Instant;

use super::socket::{Reader, Socket, Writer};
use super::timer::Timer;
use crate::backlog::{Backlog, Evicted};
use crate::shutdown::Phase;

/// What a client's task waits with, and for what.
pub struct Wait<'a> {
    /// For input and for room for output, if these are wanted.
    pub socket: &'a mut Socket,
    /// For the deadline, if there is one.
    pub timer: &'a mut Timer,
    /// For the client's eviction.
    pub backlog: &'a Backlog,
    /// For the program's end.
    pub phase: &'a mut watch::Receiver<Phase>,
    /// Which of these count.
    pub wanted: Wanted,
}

/// What can be waited for or not.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// A deadline.
    pub deadline: Option<Instant>,
    /// Input.
    pub input: bool,
    /// Room for output.
    pub room: bool,
}

/// What a client's task waited for.
#[derive(Debug)]
pub enum Happened {
    /// The client sent this many bytes, which were fed; 0 if it has closed its side.
    Read(io::Result<usize>),
    /// There may be room for output.
    CanWrite(io::Result<()>),
    /// What the client's entrance waits for.
    Changed,
    /// A deadline may have passed.
    Timer,
    /// The client has sent too much that waits.
    Evicted(Evicted),
    /// The program's end begins, or goes on.
    Phase,
}

pin_project! {
    /// By hand, as it is the most of an idle client's task: what async blocks are given they have room for twice.
    struct Waiting<'a, P, C, F> {
        #[pin]
        phase: P,
        timer: &'a mut Timer,
        backlog: &'a Backlog,
        reader: Reader<'a>,
        writer: Writer<'a>,
        has_deadline: bool,
        wants_input: bool,
        wants_room: bool,
        // The sender of phases is gone: this task will be in a moment, too.
        gone: bool,
        changed: C,
        feed: F,
    }
}

impl Wait<'_> {
    /// Waits until something happens: also that `changed` is ready. Input goes to `feed`.
    pub fn happened(
        self,
        changed: impl FnMut(&mut Context<'_>) -> Poll<()>,
        feed: impl FnMut(&[u8]),
    ) -> impl Future<Output = Happened> {
        let (reader, writer) = self.socket.split();
        let Wanted {
            deadline,
            input,
            room,
        } = self.wanted;
        if let Some(deadline) = deadline {
            self.timer.set(deadline);
        }
        Waiting {
            phase: self.phase.changed(),
            timer: self.timer,
            backlog: self.backlog,
            reader,
            writer,
            has_deadline: deadline.is_some(),
            wants_input: input,
            wants_room: room,
            gone: false,
            changed,
            feed,
        }
    }
}

impl<P, E, C, F> Future for Waiting<'_, P, C, F>
where
    P: Future<Output = Result<(), E>>,
    C: FnMut(&mut Context<'_>) -> Poll<()>,
    F: FnMut(&[u8]),
{
    type Output = Happened;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Happened> {
        let this = self.project();
        if !*this.gone
            && let Poll::Ready(phase) = this.phase.poll(context)
        {
            if phase.is_ok() {
                return Poll::Ready(Happened::Phase);
            }
            *this.gone = true;
        }
        // Deadlines come before input, so that a client which always has some can't outrun them.
        if *this.has_deadline && this.timer.poll_elapsed(context).is_ready() {
            return Poll::Ready(Happened::Timer);
        }
        if this.backlog.poll_evicted(context).is_ready() {
            return Poll::Ready(Happened::Evicted(Evicted));
        }
        if (this.changed)(context).is_ready() {
            return Poll::Ready(Happened::Changed);
        }
        if *this.wants_room
            && let Poll::Ready(room) = this.writer.poll_writable(context)
        {
            return Poll::Ready(Happened::CanWrite(room));
        }
        if *this.wants_input {
            this.reader
                .poll_read(context, this.feed)
                .map(Happened::Read)
        } else {
            Poll::Pending
        }
    }
}
