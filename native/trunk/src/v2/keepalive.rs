//! Whether the peer is still there. Times are milliseconds of the caller's clock.

/// Asks after a silence, and waits for any byte as the answer.
#[derive(Debug)]
pub(super) struct Keepalive {
    interval: u64,
    timeout: u64,
    /// When the peer was last known to be there.
    last_heard: u64,
    /// Whether a byte came since the last tick: reading need not ask the clock.
    heard: bool,
    /// When the ping was sent that nothing followed yet.
    asked: Option<u64>,
    /// The number of the last ping, until it is answered.
    awaited: Option<u32>,
    next_number: u32,
}

/// What a tick asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tick {
    Nothing,
    /// Send a ping with this number.
    Ping(u32),
    /// How long an answer was waited for.
    TimedOut(u64),
}

impl Keepalive {
    pub(super) const fn new(interval: u64, timeout: u64, now: u64) -> Self {
        Self {
            interval,
            timeout,
            last_heard: now,
            heard: false,
            asked: None,
            awaited: None,
            next_number: 0,
        }
    }

    pub(super) const fn heard(&mut self) {
        self.heard = true;
    }

    /// An answer to a ping came; whether it is the first one to our last.
    pub(super) fn answered(&mut self, number: u32) -> bool {
        self.awaited.take_if(|awaited| *awaited == number).is_some()
    }

    pub(super) fn tick(&mut self, now: u64) -> Tick {
        if std::mem::take(&mut self.heard) {
            self.last_heard = now;
            self.asked = None;
        }
        match self.asked {
            Some(asked) if now.saturating_sub(asked) >= self.timeout => {
                Tick::TimedOut(now.saturating_sub(asked))
            }
            None if now.saturating_sub(self.last_heard) >= self.interval => {
                let number = self.next_number;
                self.next_number = number.wrapping_add(1);
                self.asked = Some(now);
                self.awaited = Some(number);
                Tick::Ping(number)
            }
            _ => Tick::Nothing,
        }
    }

    /// When the ping was sent that nothing followed yet.
    pub(super) fn asked_since(&self) -> Option<u64> {
        self.asked.filter(|_| !self.heard)
    }

    /// When the next tick is due.
    pub(super) fn next_tick(&self) -> u64 {
        match self.asked {
            Some(asked) => asked.saturating_add(self.timeout),
            None => self.last_heard.saturating_add(self.interval),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_peer_is_asked_and_then_given_up() {
        let mut keepalive = Keepalive::new(30_000, 10_000, 5_000);
        assert_eq!(keepalive.next_tick(), 35_000);
        assert_eq!(keepalive.tick(34_999), Tick::Nothing);
        assert_eq!(keepalive.tick(35_000), Tick::Ping(0));
        assert_eq!(keepalive.next_tick(), 45_000);
        assert_eq!(keepalive.tick(44_999), Tick::Nothing);
        assert_eq!(keepalive.tick(45_001), Tick::TimedOut(10_001));
    }

    #[test]
    fn any_byte_is_an_answer() {
        let mut keepalive = Keepalive::new(30_000, 10_000, 0);
        assert_eq!(keepalive.tick(30_000), Tick::Ping(0));
        keepalive.heard();
        assert_eq!(keepalive.tick(41_000), Tick::Nothing);
        assert_eq!(keepalive.next_tick(), 71_000);
        assert_eq!(keepalive.tick(71_000), Tick::Ping(1));
    }

    #[test]
    fn a_ping_is_unanswered_until_any_byte_comes() {
        let mut keepalive = Keepalive::new(30_000, 10_000, 0);
        assert_eq!(keepalive.asked_since(), None);
        assert_eq!(keepalive.tick(30_000), Tick::Ping(0));
        assert_eq!(keepalive.asked_since(), Some(30_000));
        keepalive.heard();
        assert_eq!(keepalive.asked_since(), None);
        assert_eq!(keepalive.tick(31_000), Tick::Nothing);
        assert_eq!(keepalive.asked_since(), None);
    }

    #[test]
    fn an_answer_counts_once() {
        let mut keepalive = Keepalive::new(30_000, 10_000, 0);
        assert!(!keepalive.answered(0));
        assert_eq!(keepalive.tick(30_000), Tick::Ping(0));
        assert!(!keepalive.answered(1));
        assert!(keepalive.answered(0));
        assert!(!keepalive.answered(0));
    }

    #[test]
    fn a_peer_that_speaks_is_not_asked() {
        let mut keepalive = Keepalive::new(30_000, 10_000, 0);
        for now in (0..600_000).step_by(20_000) {
            keepalive.heard();
            assert_eq!(keepalive.tick(now), Tick::Nothing);
        }
    }

    #[test]
    fn a_clock_that_goes_back_ends_nothing() {
        let mut keepalive = Keepalive::new(30_000, 10_000, 100_000);
        assert_eq!(keepalive.tick(0), Tick::Nothing);
        assert_eq!(keepalive.tick(130_000), Tick::Ping(0));
        assert_eq!(keepalive.tick(0), Tick::Nothing);
    }
}
