//! What a client and this program agree on when a session is created (XEP-0124, section 7), and whether the
//! client keeps to it.

use std::time::{Duration, Instant};

use megaphone_xmpp::bosh::{Request, Response, Version};

use super::answer::Errors;
use crate::config::BoshConfig;

/// The version of XEP-0124 that is spoken here.
const VERSION: Version = Version {
    major: 1,
    minor: 11,
};

/// How often in a row a client that does not poll may ask with an empty request while all that it may
/// have here are unanswered. XEP-0124 would end the session the first time; there are clients that send
/// an empty request right after a stanza.
const HASTY: u8 = 10;

/// What is offered to clients. Times are in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The longest that a request is held.
    pub max_wait: u32,
    /// The most requests that are held at once.
    pub max_hold: u32,
    /// How long a client may have no request here.
    pub max_inactivity: u32,
    /// How long it may announce to have none.
    pub max_pause: u32,
    /// The shortest time between two empty requests of a client that polls.
    pub min_polling: u32,
}

impl Policy {
    /// As configured, in whole seconds as XEP-0124 has it.
    pub fn of(config: &BoshConfig) -> Self {
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        Self {
            max_wait: seconds(config.max_wait),
            max_hold: u32::try_from(config.max_hold).unwrap_or(u32::MAX),
            max_inactivity: seconds(config.max_inactivity),
            max_pause: seconds(config.max_pause),
            min_polling: seconds(config.min_polling),
        }
    }
}

/// What was agreed on for one session. Times are in seconds.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// How long a request is held.
    pub wait: u32,
    /// How many requests are held at once. With 0 the client polls.
    pub hold: u32,
    /// How many requests may be unanswered at once: a window of request ids.
    pub requests: u32,
    /// How long the client may have no request here.
    pub inactivity: u32,
    /// How long it may announce to have none.
    pub max_pause: u32,
    /// The shortest time between two empty requests.
    pub polling: u32,
    /// Whether both sides acknowledge (XEP-0124, section 9).
    pub acks: bool,
    /// What the client knows of errors.
    pub errors: Errors,
    /// The `Content-Type` of answers, if it isn't XML's.
    pub content: Option<Box<str>>,
    version: Version,
}

/// How often a client asks (XEP-0124, sections 11 and 12).
#[derive(Debug, Default)]
pub struct Pace {
    /// Of a client that polls, the last request, if it was empty and so was its answer; of others, the
    /// last request.
    last: Option<Instant>,
    hasty: u8,
}

/// A client asks too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overactive;

impl Parameters {
    /// What a request that creates a session gets.
    pub fn agree(request: &Request<'_>, policy: &Policy) -> Self {
        let wait = request.wait.unwrap_or(u32::MAX).min(policy.max_wait);
        let wanted = request.hold.unwrap_or(1).min(policy.max_hold);
        let hold = match wait {
            0 => 0,
            _ => wanted,
        };
        let inactivity = match hold {
            // A client that polls is silent for that long between two requests.
            0 => policy
                .max_inactivity
                .saturating_add(policy.min_polling.saturating_mul(2)),
            _ => policy.max_inactivity,
        };
        Self {
            wait,
            hold,
            requests: wanted.saturating_add(1),
            inactivity,
            max_pause: policy.max_pause,
            polling: policy.min_polling,
            acks: request.ack.is_some(),
            errors: match request.ver {
                Some(_) => Errors::Conditions,
                None => Errors::StatusCodes,
            },
            content: request.content.as_deref().and_then(content_type),
            version: request.ver.map_or(VERSION, |version| version.min(VERSION)),
        }
    }

    /// Whether the client polls (XEP-0124, section 12).
    pub const fn polls(&self) -> bool {
        self.hold == 0
    }

    /// How long a request is held.
    pub const fn wait(&self) -> Duration {
        Duration::from_secs(self.wait as u64)
    }

    /// What the answer that creates the session says of them.
    pub fn response<'a>(&self, sid: &'a str) -> Response<'a> {
        Response {
            sid: Some(sid),
            wait: Some(self.wait),
            requests: Some(self.requests),
            hold: Some(self.hold),
            inactivity: Some(self.inactivity),
            polling: (self.polling > 0).then_some(self.polling),
            maxpause: (self.max_pause > 0).then_some(self.max_pause),
            ver: Some(self.version),
            charsets: Some("UTF-8"),
            secure: Some(true),
            restartlogic: Some(true),
            ..Response::default()
        }
    }
}

impl Pace {
    /// A new request, which makes this many unanswered ones. An empty one polls for what comes from ejabberd.
    pub fn request(
        &mut self,
        is_empty: bool,
        unanswered: usize,
        parameters: &Parameters,
        now: Instant,
    ) -> Result<(), Overactive> {
        let polling = Duration::from_secs(u64::from(parameters.polling));
        let soon = self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < polling);
        self.last = Some(now);
        if parameters.polls() {
            if !is_empty {
                self.last = None;
            } else if soon {
                return Err(Overactive);
            }
            return Ok(());
        }
        let full =
            u32::try_from(unanswered).is_ok_and(|unanswered| unanswered >= parameters.requests);
        if !(soon && full && is_empty) {
            self.hasty = 0;
            return Ok(());
        }
        self.hasty = self.hasty.saturating_add(1);
        if self.hasty > HASTY {
            return Err(Overactive);
        }
        Ok(())
    }

    /// An answer had a payload: a client that polls may ask for more at once.
    pub fn answered_with_payload(&mut self, parameters: &Parameters) {
        if parameters.polls() {
            self.last = None;
        }
    }
}

/// A value that may stand in a header. What is sent is UTF-8 in any case.
fn content_type(value: &str) -> Option<Box<str>> {
    let printable = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let usable = printable && value.contains('/') && value.len() <= 100;
    let is_default = value.eq_ignore_ascii_case("text/xml; charset=utf-8");
    (usable && !is_default).then(|| value.trim().into())
}
