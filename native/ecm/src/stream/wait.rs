//! Waiting for whatever lets a client go on.

use std::task::{Context, Poll};

use megaphone_xmpp::Condition;
use tokio::sync::watch;
use tokio::time::Instant;

use super::deadlines::{self, Expected, Missed};
use super::{Client, Ending, Stage};
use crate::entrance::{LOGIN_TOO_LONG, TOO_MANY_LOGINS};
use crate::metrics::{REFUSALS, Reason};
use crate::peer::task;
use crate::peer::wait::{Happened, Wait, Wanted};
use crate::session::{Cause, Session};
use crate::shutdown::Phase;

impl Client {
    /// Waits until there may be something to do.
    pub(super) async fn wait_for_change(
        &mut self,
        phase: &mut watch::Receiver<Phase>,
    ) -> Result<(), Ending> {
        self.deadlines.expect(self.expected(), Instant::now());
        let settings = &self.downstream.settings;
        let bytes = self.reader.unfinished();
        let deadline = deadlines::next(&self.deadlines, &settings.limits, &settings.xmpp, bytes);
        if deadline.is_none() {
            // Most clients are logged in and idle.
            self.timer.clear();
        }
        let wanted = Wanted {
            input: self.wants_input(),
            room: self.outlet.has_unsent(&self.downstream.socket),
            deadline: deadline.map(|(at, _)| at),
        };
        let wait = Wait {
            socket: &mut self.downstream.socket,
            timer: &mut self.timer,
            backlog: &self.backlog,
            phase,
            wanted,
        };
        let (mut session, queued) = (self.session.as_mut(), self.queued.as_deref());
        // Documents came, or room for them, or the session's end, or its turn.
        let changed = |context: &mut Context<'_>| match (&mut session, queued) {
            (Some(session), _) => session.poll_changed(context),
            (None, Some(queued)) => queued.login.poll_turn(context),
            (None, None) => Poll::Pending,
        };
        let feed = |bytes: &[u8]| self.input.extend_from_slice(bytes);
        match wait.happened(changed, feed).await {
            Happened::Read(Ok(0)) => Err(Ending::ClientLeft),
            Happened::Read(Ok(_)) => {
                self.reads += 1;
                Ok(())
            }
            Happened::Read(Err(error)) => Err(task::left(self.peer, &error)),
            Happened::CanWrite(Err(error)) => {
                tracing::debug!(peer = %self.peer, "can't write to a client any more: {error}");
                self.outlet.shut();
                Ok(())
            }
            Happened::Timer => match deadline {
                Some((deadline, missed)) if deadline <= Instant::now() => self.missed(missed),
                _ => Ok(()),
            },
            Happened::Evicted(evicted) => Err(self.evict(evicted)),
            Happened::CanWrite(Ok(())) | Happened::Changed | Happened::Phase => Ok(()),
        }
    }

    fn expected(&self) -> Expected {
        if self.ending.is_some() {
            return Expected::Nothing;
        }
        match self.stage {
            Stage::Closing => Expected::Close,
            // ejabberd has to take what it has.
            _ if self.held.is_some() && self.outlet.is_shut() => Expected::Room(self.documents),
            // The time that a login takes goes on while it waits for its turn.
            _ if self.held.is_some() && !(self.waits_for_turn() && self.is_login_timed()) => {
                Expected::Stalled
            }
            Stage::Header => Expected::Header,
            Stage::Queued => Expected::Turn,
            Stage::BeforeTls => Expected::Login,
            Stage::Negotiating | Stage::Authenticating if self.is_login_timed() => Expected::Login,
            _ if self.reader.is_within_document() => Expected::Document(self.documents),
            Stage::Negotiating | Stage::Authenticating | Stage::Established => {
                Expected::Anything(self.reads)
            }
        }
    }

    fn is_login_timed(&self) -> bool {
        self.session.as_ref().is_none_or(Session::is_login_timed)
    }

    fn missed(&mut self, missed: Missed) -> Result<(), Ending> {
        match missed {
            Missed::Input(Expected::Login) if self.waits_for_turn() => {
                return self.missed(Missed::Input(Expected::Turn));
            }
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
                TOO_MANY_LOGINS,
            ),
            Missed::Input(expected) => {
                let text = match expected {
                    Expected::Header => "no stream was opened in time",
                    Expected::Login => LOGIN_TOO_LONG,
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
