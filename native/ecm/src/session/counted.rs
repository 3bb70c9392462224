//! A session among the numbers of all.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use megaphone_trunk::proxy::Transport;

use crate::metrics::{
    DOCUMENT_BYTES, DOCUMENTS, Direction, LOGIN_FAILURES, LOGIN_TIMES, LOGINS, SESSIONS,
    SESSIONS_OPENED,
};

/// Counts a session, until it is dropped, and its login.
#[derive(Debug)]
pub struct Counted {
    /// In microseconds of a clock that begins anew every 71 minutes; no login may take that long.
    opened: u32,
    transport: Transport,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// ejabberd was not told of it.
    Unopened,
    Login,
    LoggedIn,
}

impl Counted {
    /// A session that is not open.
    pub const fn new(transport: Transport) -> Self {
        Self {
            opened: 0,
            transport,
            stage: Stage::Unopened,
        }
    }

    /// It is open.
    pub fn opened(&mut self) {
        self.opened = micros();
        self.stage = Stage::Login;
        SESSIONS.of(self.transport).add(1);
        SESSIONS_OPENED.of(self.transport).add(1);
    }

    /// ejabberd has sent a document.
    pub fn server_sent(&mut self, document: &[u8]) {
        DOCUMENTS.of(Direction::Out).add(1);
        DOCUMENT_BYTES.of(Direction::Out).add(document.len() as u64);
        if self.stage == Stage::Login {
            self.look_for_login(document);
        }
    }

    fn look_for_login(&mut self, document: &[u8]) {
        let begins = |start: &[u8]| document.starts_with(start);
        if begins(b"<success") {
            let took = micros().wrapping_sub(self.opened);
            LOGIN_TIMES.observe(Duration::from_micros(took.into()));
            LOGINS.of(self.transport).add(1);
            self.stage = Stage::LoggedIn;
        } else if begins(b"<failure") {
            LOGIN_FAILURES.of(self.transport).add(1);
        } else if begins(b"<message") || begins(b"<presence") {
            // It came in by an older way than SASL.
            self.stage = Stage::LoggedIn;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.stage != Stage::Unopened {
            SESSIONS.of(self.transport).subtract_one();
        }
    }
}

fn micros() -> u32 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let micros = START.elapsed().as_micros() & u128::from(u32::MAX);
    u32::try_from(micros).unwrap_or(u32::MAX)
}
