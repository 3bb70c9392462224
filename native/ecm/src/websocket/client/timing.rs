//! What a client has to do in time.

use std::future::Future as _;
use std::task::Context;
use std::time::Duration;

use megaphone_xmpp::Condition;
use tokio::time::Instant;

use super::clock::silence;
use super::state::{Client, ReadyState};
use crate::entrance::{LOGIN_TOO_LONG, TOO_MANY_LOGINS};
use crate::metrics::{REFUSALS, Reason};
use crate::peer::task::Ending;
use crate::session::{Cause, Session};
use crate::websocket::close::CloseCode;

/// How long a client may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What was not done in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missed {
    Login,
    /// Its turn to log in has not come.
    Turn,
    Message,
    Output,
    Close,
    /// A sign of life.
    Life,
}

impl Client {
    /// Acts on deadlines that have passed, and sets the timer to the next one.
    pub(super) fn look_at_clock(&mut self, context: &mut Context<'_>) -> Result<(), Ending> {
        loop {
            let (deadline, missed) = self.next_deadline();
            let timer = &mut self.clock.timer;
            // A timer that fires too early costs less than one that is moved at each message.
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(context).is_pending() {
                return Ok(());
            }
            if deadline <= Instant::now() {
                self.missed(missed)?;
            }
            let (next, _) = self.next_deadline();
            self.clock.timer.as_mut().reset(next);
        }
    }

    fn next_deadline(&self) -> (Instant, Missed) {
        let limits = &self.settings.limits;
        let clock = &self.clock;
        let mut next = match self.ready_state {
            ReadyState::Open => {
                let silence = silence(&self.settings, clock.pings);
                (clock.heard + silence, Missed::Life)
            }
            ReadyState::Closing | ReadyState::Closed => {
                (clock.since + CLOSE_TIMEOUT, Missed::Close)
            }
        };
        let mut sooner = |deadline: Instant, missed| {
            if deadline < next.0 {
                next = (deadline, missed);
            }
        };
        let is_timed = self.session.as_ref().is_none_or(Session::is_login_timed);
        if self.ready_state == ReadyState::Open && !self.xmpp.is_logged_in() && is_timed {
            let waits = self.session.as_ref().is_some_and(Session::waits_for_turn);
            let (limit, missed) = match (self.is_queued(), waits) {
                (true, _) => (limits.login_wait, Missed::Turn),
                (false, true) => (limits.auth_timeout, Missed::Turn),
                (false, false) => (limits.auth_timeout, Missed::Login),
            };
            sooner(clock.since + limit, missed);
        }
        if let Some(since) = clock.message_since {
            let time = limits.body_time(self.reader.held() as u64);
            sooner(since + time, Missed::Message);
        }
        if let Some(since) = self.outlet.stuck_since() {
            sooner(since + limits.send_timeout, Missed::Output);
        }
        next
    }

    fn missed(&mut self, missed: Missed) -> Result<(), Ending> {
        tracing::debug!("a deadline of a WebSocket client passed: {missed:?}");
        match missed {
            Missed::Output => {
                REFUSALS.of(Reason::SlowReader).add(1);
                self.cause = Some(Cause::SlowReader);
                return Err(Ending::Reset);
            }
            Missed::Close if !self.outlet.is_empty() => return Err(Ending::Reset),
            Missed::Close => return Err(Ending::Close),
            Missed::Login => self.refuse(
                Condition::ConnectionTimeout,
                LOGIN_TOO_LONG,
                CloseCode::POLICY_VIOLATION,
            ),
            Missed::Turn => self.refuse_for(
                Some(Reason::LoginWait),
                Condition::ResourceConstraint,
                TOO_MANY_LOGINS,
                CloseCode::TRY_AGAIN_LATER,
            ),
            Missed::Message => self.refuse(
                Condition::PolicyViolation,
                "a message took too long to arrive",
                CloseCode::POLICY_VIOLATION,
            ),
            Missed::Life => return self.ask_for_life(),
        }
        Ok(())
    }

    /// Asks a silent client whether it is there, and gives up one that is not.
    fn ask_for_life(&mut self) -> Result<(), Ending> {
        if self.clock.heard.elapsed() >= self.settings.websocket.timeout {
            self.give_up("nothing came from the client for too long");
            return Ok(());
        }
        self.clock.pings = self.clock.pings.saturating_add(1);
        // One that takes no output has no use for it.
        self.ping();
        Ok(())
    }
}
