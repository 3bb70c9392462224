//! What a client has to do in time.

use std::future::Future as _;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use megaphone_xmpp::Condition;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Client, Ending, Stage};
use crate::metrics::{REFUSALS, Reason};
use crate::session::Cause;
use crate::settings::Settings;
use crate::websocket::close::CloseCode;

/// How long a client may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A client's clock. It has one timer, which fires at the next deadline or before it.
#[derive(Debug)]
pub struct Timing {
    timer: Pin<Box<Sleep>>,
    /// When the client connected, opened its stream, had its turn to log in, or was sent a close frame.
    since: Instant,
    /// When the client sent something last, and how many pings it got since.
    heard: Instant,
    pings: u32,
    /// Since when a message has come in part.
    message_since: Option<Instant>,
}

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

impl Timing {
    /// Of a client that has just connected.
    pub fn new(settings: &Settings) -> Self {
        let now = Instant::now();
        let first = settings.limits.auth_timeout.min(silence(settings, 0));
        Self {
            timer: Box::pin(sleep_until(now + first)),
            since: now,
            heard: now,
            pings: 0,
            message_since: None,
        }
    }

    /// Another time counts for its login: that until its turn, or that from then on.
    pub fn restart(&mut self) {
        self.since = Instant::now();
    }

    /// The client has sent something.
    pub fn heard(&mut self) {
        self.heard = Instant::now();
        self.pings = 0;
    }

    /// Whether a message has come in part.
    pub fn within_message(&mut self, is_within: bool) {
        if is_within {
            self.message_since.get_or_insert_with(Instant::now);
        } else {
            self.message_since = None;
        }
    }

    /// The client was sent a close frame.
    pub fn closing(&mut self) {
        self.since = Instant::now();
        self.message_since = None;
    }
}

impl Client {
    /// Acts on deadlines that have passed, and sets the timer to the next one.
    pub(super) fn look_at_clock(&mut self, context: &mut Context<'_>) -> Result<(), Ending> {
        loop {
            let (deadline, missed) = self.next_deadline();
            let timer = &mut self.timing.timer;
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
            self.timing.timer.as_mut().reset(next);
        }
    }

    fn next_deadline(&self) -> (Instant, Missed) {
        let limits = &self.settings.limits;
        let timing = &self.timing;
        let mut next = match self.stage {
            Stage::Serving => {
                let silence = silence(&self.settings, timing.pings);
                (timing.heard + silence, Missed::Life)
            }
            Stage::Closing | Stage::Closed => (timing.since + CLOSE_TIMEOUT, Missed::Close),
        };
        let mut sooner = |deadline: Instant, missed| {
            if deadline < next.0 {
                next = (deadline, missed);
            }
        };
        if self.stage == Stage::Serving && !self.xmpp.is_logged_in() {
            if self.is_queued() {
                sooner(timing.since + limits.login_wait, Missed::Turn);
            } else {
                sooner(timing.since + limits.auth_timeout, Missed::Login);
            }
        }
        if let Some(since) = timing.message_since {
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
                "the login took too long",
                CloseCode::POLICY_VIOLATION,
            ),
            Missed::Turn => self.refuse_for(
                Some(Reason::LoginWait),
                Condition::ResourceConstraint,
                "too many clients log in at the moment; try again later",
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
        if self.timing.heard.elapsed() >= self.settings.websocket.timeout {
            self.give_up("nothing came from the client for too long");
            return Ok(());
        }
        self.timing.pings = self.timing.pings.saturating_add(1);
        // One that takes no output has no use for it.
        self.ping();
        Ok(())
    }
}

/// How long a client that got so many pings may be silent before it gets another one, or is given up.
fn silence(settings: &Settings, pings: u32) -> Duration {
    let websocket = &settings.websocket;
    let next_ping = websocket
        .ping_interval
        .saturating_mul(pings.saturating_add(1));
    next_ping.min(websocket.timeout)
}
