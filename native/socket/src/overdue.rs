//! Whether the peer owes a frame for too long: its first one, or the rest of one that it has begun.
//!
//! The bytes of a frame earn time, so a long one on a slow line comes through and one that drips does
//! not. Time in which nobody looked does not count: a VM that stood still has not read what came.

use std::time::Duration;

/// The bytes of a frame that earn a second.
const BYTES_A_SECOND: u64 = 16 << 10;
/// The most that counts between two looks (milliseconds); there is one a second.
const MOST_BETWEEN_LOOKS: u64 = 2000;

/// How long a peer may take; `None` is for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) first_frame: Option<Duration>,
    pub(crate) begun_frame: Option<Duration>,
}

/// How far the peer's frames have come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) whole_frames: u64,
    pub(crate) is_between_frames: bool,
    pub(crate) bytes: u64,
}

/// What the peer owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overdue {
    /// Its first frame.
    #[error("no complete frame arrived within {limit:?} (handshake_timeout)")]
    FirstFrame {
        /// How long it may take.
        limit: Duration,
    },
    /// The rest of a frame.
    #[error("a frame is incomplete after {waited:?}; {bytes} bytes of it arrived (frame_timeout)")]
    RestOfFrame {
        /// How long it was waited since its first bytes.
        waited: Duration,
        /// How many bytes of it came.
        bytes: u64,
    },
}

impl Overdue {
    /// Its name in counters.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::FirstFrame { .. } => "handshake_timeout",
            Self::RestOfFrame { .. } => "frame_timeout",
        }
    }
}

/// How long the peer has owed what it owes.
#[derive(Debug)]
pub(crate) struct Debt {
    patience: Patience,
    looked_at: u64,
    waited: u64,
    /// The frames and bytes that had come when it began.
    whole_frames: u64,
    bytes: u64,
}

impl Debt {
    /// A first frame is due from now on; the clock is at 0.
    pub(crate) const fn new(patience: Patience) -> Self {
        Self {
            patience,
            looked_at: 0,
            waited: 0,
            whole_frames: 0,
            bytes: 0,
        }
    }

    /// Looks at the clock, which is at `now` (milliseconds).
    pub(crate) fn look(&mut self, now: u64, progress: Progress) -> Result<(), Overdue> {
        let passed = now.saturating_sub(self.looked_at).min(MOST_BETWEEN_LOOKS);
        self.looked_at = now;
        let is_first = progress.whole_frames == 0;
        let owes_nothing = progress.is_between_frames && !is_first;
        if owes_nothing || progress.whole_frames != self.whole_frames {
            self.waited = 0;
            self.whole_frames = progress.whole_frames;
            self.bytes = progress.bytes;
            return Ok(());
        }
        self.waited = self.waited.saturating_add(passed);
        let bytes = progress.bytes.saturating_sub(self.bytes);
        let patience = if is_first {
            self.patience.first_frame
        } else {
            self.patience.begun_frame
        };
        let earned = Duration::from_secs(bytes / BYTES_A_SECOND);
        let waited = Duration::from_millis(self.waited);
        match patience {
            Some(patience) if waited >= patience.saturating_add(earned) => Err(if is_first {
                Overdue::FirstFrame { limit: patience }
            } else {
                Overdue::RestOfFrame { waited, bytes }
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        first_frame: Some(Duration::from_secs(10)),
        begun_frame: Some(Duration::from_secs(30)),
    };

    /// After this many whole frames, and with this many bytes in all; checked once per second.
    struct Peer {
        debt: Debt,
        now: u64,
    }

    impl Peer {
        fn new(patience: Patience) -> Self {
            Self {
                debt: Debt::new(patience),
                now: 0,
            }
        }

        /// The second in which `progress` of that second is overdue; `None` if it never is.
        fn overdue(
            &mut self,
            seconds: u64,
            progress: impl Fn(u64) -> Progress,
        ) -> Option<(u64, Overdue)> {
            (1..=seconds).find_map(|second| {
                self.now += 1000;
                let looked = self.debt.look(self.now, progress(second));
                looked.err().map(|overdue| (second, overdue))
            })
        }
    }

    fn progress(whole_frames: u64, is_between_frames: bool, bytes: u64) -> Progress {
        Progress {
            whole_frames,
            is_between_frames,
            bytes,
        }
    }

    #[test]
    fn the_first_frame_is_due_whether_the_peer_said_nothing_or_a_part_of_it() {
        for (is_between_frames, bytes) in [(true, 0), (false, 1), (false, 31)] {
            let overdue = Peer::new(PATIENCE)
                .overdue(60, |_| progress(0, is_between_frames, bytes))
                .unwrap();
            let limit = Duration::from_secs(10);
            assert_eq!(overdue, (10, Overdue::FirstFrame { limit }));
            assert_eq!(overdue.1.name(), "handshake_timeout");
        }
    }

    #[test]
    fn a_peer_between_frames_owes_nothing() {
        let mut peer = Peer::new(PATIENCE);
        assert_eq!(peer.overdue(9, |_| progress(0, true, 0)), None);
        assert_eq!(peer.overdue(86_400, |_| progress(1, true, 32)), None);
        // It may take its time again for the next one.
        let overdue = peer.overdue(60, |_| progress(1, false, 33)).unwrap();
        let waited = Duration::from_secs(30);
        assert_eq!(overdue, (30, Overdue::RestOfFrame { waited, bytes: 1 }));
        assert_eq!(overdue.1.name(), "frame_timeout");
    }

    #[test]
    fn bytes_that_drip_earn_nothing() {
        let mut peer = Peer::new(PATIENCE);
        let first = peer.overdue(60, |second| progress(0, false, second));
        assert_eq!(first.map(|(second, _)| second), Some(10));
        let mut peer = Peer::new(PATIENCE);
        assert_eq!(peer.overdue(1, |_| progress(1, true, 32)), None);
        let later = peer.overdue(60, |second| progress(1, false, 32 + second));
        assert_eq!(later.map(|(second, _)| second), Some(30));
    }

    #[test]
    fn a_long_frame_on_a_slow_line_comes_through() {
        let mut peer = Peer::new(PATIENCE);
        let slow = |second| progress(0, false, second * BYTES_A_SECOND);
        assert_eq!(peer.overdue(3600, slow), None);
        let all = 3600 * BYTES_A_SECOND;
        assert_eq!(peer.overdue(1, |_| progress(1, false, all)), None);
        let slow = |second| progress(1, false, all + second * BYTES_A_SECOND);
        assert_eq!(peer.overdue(3600, slow), None);
    }

    #[test]
    fn each_whole_frame_begins_anew() {
        let mut peer = Peer::new(PATIENCE);
        let busy = |second| progress(second, false, second * 33);
        assert_eq!(peer.overdue(3600, busy), None);
    }

    #[test]
    fn time_in_which_nobody_looked_does_not_count() {
        let mut debt = Debt::new(PATIENCE);
        for hour in 1..=4 {
            assert_eq!(debt.look(hour * 3_600_000, progress(0, true, 0)), Ok(()));
        }
        let limit = Duration::from_secs(10);
        assert_eq!(
            debt.look(5 * 3_600_000, progress(0, true, 0)),
            Err(Overdue::FirstFrame { limit })
        );
    }

    #[test]
    fn patience_may_be_endless() {
        let mut peer = Peer::new(Patience {
            first_frame: None,
            begun_frame: None,
        });
        assert_eq!(peer.overdue(86_400, |_| progress(0, false, 1)), None);
        assert_eq!(peer.overdue(86_400, |_| progress(1, false, 33)), None);
    }
}
