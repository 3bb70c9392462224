//! Waiting for whatever lets a client go on.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use megaphone_xmpp::Condition;
use tokio::sync::watch;
use tokio::time::Instant;

use super::deadlines::{Expected, Missed};
use super::{Client, Ending, Queued, Stage};
use crate::backlog::Evicted;
use crate::metrics::{REFUSALS, Reason};
use crate::peer::task;
use crate::session::{Cause, Session};
use crate::shutdown::Phase;

/// What a client waited for.
enum Happened {
    /// The client sent this many bytes.
    Read(io::Result<usize>),
    CanWrite(io::Result<()>),
    /// Documents came, or room for them, or the session's end, or its turn.
    Session,
    Timer,
    /// It has sent too much that waits.
    Evicted(Evicted),
    /// The program's end begins, or goes on.
    Phase,
}

impl Client {
    /// Waits until there may be something to do.
    pub(super) async fn wait_for_change(
        &mut self,
        phase: &mut watch::Receiver<Phase>,
    ) -> Result<(), Ending> {
        self.deadlines.expect(self.expected(), Instant::now());
        let deadline = self.deadlines.next(
            &self.settings.limits,
            &self.settings.xmpp,
            self.reader.unfinished(),
        );
        match deadline {
            Some((deadline, _)) => self.timer.set(deadline),
            // Most clients are logged in and idle.
            None => self.timer.clear(),
        }
        match self.next_event(deadline.is_some(), phase).await {
            Happened::Read(Ok(0)) => Err(Ending::ClientLeft),
            Happened::Read(Ok(_)) => {
                self.reads += 1;
                Ok(())
            }
            Happened::Read(Err(error)) => Err(self.left(&error)),
            Happened::CanWrite(Err(error)) => {
                tracing::debug!(peer = %self.peer, "a client takes nothing more: {error}");
                self.outlet.shut();
                Ok(())
            }
            Happened::Timer => match deadline {
                Some((deadline, missed)) if deadline <= Instant::now() => self.missed(missed),
                _ => Ok(()),
            },
            Happened::Evicted(evicted) => Err(self.evict(evicted)),
            Happened::CanWrite(Ok(())) | Happened::Session | Happened::Phase => Ok(()),
        }
    }

    fn expected(&self) -> Expected {
        if self.ending.is_some() {
            return Expected::Nothing;
        }
        match self.stage {
            Stage::Closing => Expected::Close,
            // ejabberd has to take what it has.
            _ if self.held.is_some() => match self.outlet.is_shut() {
                true => Expected::Room(self.documents),
                false => Expected::Stalled,
            },
            Stage::Header => Expected::Header,
            Stage::Queued => Expected::Turn,
            Stage::BeforeTls | Stage::Negotiating | Stage::Authenticating => Expected::Login,
            Stage::Established if self.reader.is_within_document() => {
                Expected::Document(self.documents)
            }
            Stage::Established => Expected::Anything(self.reads),
        }
    }

    async fn next_event(
        &mut self,
        has_deadline: bool,
        phase: &mut watch::Receiver<Phase>,
    ) -> Happened {
        let wants_input = self.wants_input();
        let has_output = self.outlet.has_unsent(&self.socket);
        let (mut reader, writer) = self.socket.split();
        // Deadlines come before input, so that a client which always has some can't outrun them.
        tokio::select! {
            biased;
            // An error says that the program is gone, and this with it in a moment.
            Ok(()) = phase.changed() => Happened::Phase,
            () = self.timer.elapsed(), if has_deadline => Happened::Timer,
            evicted = task::evicted(&self.backlog) => Happened::Evicted(evicted),
            () = session_changed(self.session.as_ref(), self.queued.as_deref()) => {
                Happened::Session
            }
            ready = writer.writable(), if has_output => Happened::CanWrite(ready),
            read = reader.read(|bytes| self.input.extend_from_slice(bytes)), if wants_input => {
                Happened::Read(read)
            }
        }
    }

    fn missed(&mut self, missed: Missed) -> Result<(), Ending> {
        match missed {
            Missed::Keepalive => {
                self.write_keepalive();
                return Ok(());
            }
            Missed::Output => {
                tracing::debug!(peer = %self.peer, "a deadline passed: {missed:?}");
                REFUSALS.of(Reason::SlowReader).add(1);
                self.cause = Some(Cause::SlowReader);
                return Err(Ending::Reset);
            }
            Missed::Input(Expected::Close) => return Err(Ending::Close),
            // What lies unread in its socket is lost.
            Missed::Input(Expected::Room(_)) => return Err(Ending::ClientLeft),
            Missed::Input(Expected::Turn) => self.fail_for(
                Some(Reason::LoginWait),
                Cause::Refused,
                Condition::ResourceConstraint,
                "too many clients log in at the moment; try again later",
            ),
            Missed::Input(expected) => {
                let text = match expected {
                    Expected::Header => "no stream was opened in time",
                    Expected::Login => "the login took too long",
                    Expected::Document(_) => "a stanza took too long to arrive",
                    _ => "nothing was sent for too long",
                };
                let cause = match expected {
                    // It may have lost its network, and come back.
                    Expected::Anything(_) => Cause::Silent,
                    _ => Cause::Refused,
                };
                self.fail_as(cause, Condition::ConnectionTimeout, text);
            }
        }
        Ok(())
    }
}

async fn session_changed(session: Option<&Session>, queued: Option<&Queued>) {
    poll_fn(|context| match (session, queued) {
        (Some(session), _) => session.poll_changed(context),
        (None, Some(queued)) => queued.login.poll_turn(context),
        (None, None) => Poll::Pending,
    })
    .await;
}
