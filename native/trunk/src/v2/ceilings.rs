//! Ceilings on what brings no progress.
//!
//! A peer can keep a session busy with frames that get nothing done. Each kind of them has a
//! budget. It is spent one by one, and earned back by the work that was done in between: streams
//! served, bytes and frames moved, time passed. What is earned never exceeds the budget's
//! [`Allowance::most`], so that a year of honest work buys no hour of flooding.
//!
//! A budget is reckoned only when it is spent: work costs an addition, however many budgets there
//! are.

use std::fmt;

/// What brings no progress, one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceiling {
    /// Streams that the peer opened and ended without a byte in them.
    UnusedStreams,
    /// Streams that the peer opened, sent bytes on and reset before a byte was sent to it, streams
    /// that it went on with after its FIN, and streams that their owner rejected.
    UnansweredStreams,
    /// Streams that were refused: too many, too late, or after a go-away.
    RefusedStreams,
    /// Pings, and answers to none.
    Pings,
    /// Data frames without data or a flag.
    EmptyFrames,
    /// Data frames of less than [`TINY`] bytes.
    TinyFrames,
    /// Window updates without a flag that return less than [`SMALL_UPDATE`] bytes.
    IdleUpdates,
    /// Frames for streams that are gone.
    StrayFrames,
}

/// A data frame with less payload than this is tiny: more than half of it is header.
pub const TINY: u32 = 16;

/// A window update that returns less than this is idle: a reader that has a window of 256 KiB
/// does not need it.
pub const SMALL_UPDATE: u32 = 1024;

const KINDS: usize = 8;

impl Ceiling {
    /// All of them.
    pub const ALL: [Self; KINDS] = [
        Self::UnusedStreams,
        Self::UnansweredStreams,
        Self::RefusedStreams,
        Self::Pings,
        Self::EmptyFrames,
        Self::TinyFrames,
        Self::IdleUpdates,
        Self::StrayFrames,
    ];

    /// The ceiling of that [`name`](Self::name).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ceiling| ceiling.name() == name)
    }

    /// The ceiling's name in counters: `unused_streams`, `pings` ...
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnusedStreams => "unused_streams",
            Self::UnansweredStreams => "unanswered_streams",
            Self::RefusedStreams => "refused_streams",
            Self::Pings => "pings",
            Self::EmptyFrames => "empty_frames",
            Self::TinyFrames => "tiny_frames",
            Self::IdleUpdates => "idle_updates",
            Self::StrayFrames => "stray_frames",
        }
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnusedStreams => "streams that ended without a byte",
            Self::UnansweredStreams => "streams that were reset before their answer",
            Self::RefusedStreams => "streams that had to be refused",
            Self::Pings => "pings",
            Self::EmptyFrames => "data frames without data",
            Self::TinyFrames => "data frames of a few bytes",
            Self::IdleUpdates => "window updates that return next to nothing",
            Self::StrayFrames => "frames for streams that are gone",
        })
    }
}

/// One budget: how many there may be at once, and what earns more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// The budget at the start, and the most that it can be.
    pub most: u32,
    /// Earned by each stream that moved bytes both ways.
    pub per_stream: u32,
    /// Earned by each data frame sent to the peer, and by each write in it if it has several.
    pub per_frame_sent: u32,
    /// Earned by each stream that this side reset: what the peer had under way is no fault of its.
    pub per_reset: u32,
    /// Earned by each KiB of data, received or sent.
    pub per_kib: u32,
    /// Earned by each second, as [`tick`](super::Session::tick) tells the time.
    pub per_second: u32,
}

impl Allowance {
    const NOTHING: Self = Self {
        most: 0,
        per_stream: 0,
        per_frame_sent: 0,
        per_reset: 0,
        per_kib: 0,
        per_second: 0,
    };
}

/// The allowances of a session.
///
/// The defaults are far above what a million honest clients do on one trunk, and end a flood
/// within a second: see each field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceilings {
    /// 10,000, one for each stream served and 100 a second. An ECM sends the client's address as
    /// it opens a stream, so it never resets an empty one.
    pub unused_streams: Allowance,
    /// 250,000, one for each stream served and 1,000 a second: an ECM may lose 100,000 clients
    /// at once whose requests are all unanswered.
    pub unanswered_streams: Allowance,
    /// 100,000, one for each stream served and 1,000 a second.
    pub refused_streams: Allowance,
    /// 1,000, one a KiB and two a second; other implementations ping every 10 or 30 seconds.
    pub pings: Allowance,
    /// 10,000, one for each stream served and 100 a second.
    pub empty_frames: Allowance,
    /// 1,000,000, 16 for each stream served, one a KiB and 20,000 a second: a million clients that
    /// each send one byte of whitespace a minute to keep their connection need 16,700 a second.
    pub tiny_frames: Allowance,
    /// 100,000, four for each stream served, two for each frame sent or write in it, and 100 a second.
    pub idle_updates: Allowance,
    /// 250,000, 16 for each stream served, 256 for each stream reset from here (a window of 256
    /// KiB in frames of one KiB) and 1,000 a second.
    pub stray_frames: Allowance,
}

impl Default for Ceilings {
    fn default() -> Self {
        let streams = |most, per_second| Allowance {
            most,
            per_stream: 1,
            per_second,
            ..Allowance::NOTHING
        };
        Self {
            unused_streams: streams(10_000, 100),
            unanswered_streams: streams(250_000, 1_000),
            refused_streams: streams(100_000, 1_000),
            pings: Allowance {
                most: 1_000,
                per_kib: 1,
                per_second: 2,
                ..Allowance::NOTHING
            },
            empty_frames: streams(10_000, 100),
            tiny_frames: Allowance {
                most: 1_000_000,
                per_stream: 16,
                per_kib: 1,
                per_second: 20_000,
                ..Allowance::NOTHING
            },
            idle_updates: Allowance {
                most: 100_000,
                per_stream: 4,
                per_frame_sent: 2,
                per_second: 100,
                ..Allowance::NOTHING
            },
            stray_frames: Allowance {
                most: 250_000,
                per_stream: 16,
                per_reset: 256,
                per_second: 1_000,
                ..Allowance::NOTHING
            },
        }
    }
}

impl Ceilings {
    /// What a ceiling allows.
    pub const fn allowance(&self, ceiling: Ceiling) -> &Allowance {
        match ceiling {
            Ceiling::UnusedStreams => &self.unused_streams,
            Ceiling::UnansweredStreams => &self.unanswered_streams,
            Ceiling::RefusedStreams => &self.refused_streams,
            Ceiling::Pings => &self.pings,
            Ceiling::EmptyFrames => &self.empty_frames,
            Ceiling::TinyFrames => &self.tiny_frames,
            Ceiling::IdleUpdates => &self.idle_updates,
            Ceiling::StrayFrames => &self.stray_frames,
        }
    }

    /// As [`Ceilings::allowance`], to change it.
    pub const fn allowance_mut(&mut self, ceiling: Ceiling) -> &mut Allowance {
        match ceiling {
            Ceiling::UnusedStreams => &mut self.unused_streams,
            Ceiling::UnansweredStreams => &mut self.unanswered_streams,
            Ceiling::RefusedStreams => &mut self.refused_streams,
            Ceiling::Pings => &mut self.pings,
            Ceiling::EmptyFrames => &mut self.empty_frames,
            Ceiling::TinyFrames => &mut self.tiny_frames,
            Ceiling::IdleUpdates => &mut self.idle_updates,
            Ceiling::StrayFrames => &mut self.stray_frames,
        }
    }
}

/// The work that a session did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Work {
    /// Streams that moved bytes both ways and are gone.
    pub(super) streams: u64,
    /// Data frames sent, and what was written of its own in them.
    pub(super) frames_sent: u64,
    /// Streams reset by this side.
    pub(super) resets: u64,
    /// Bytes of data, both ways.
    pub(super) bytes: u64,
    /// Seconds since the start.
    pub(super) seconds: u64,
}

/// What is left of each budget.
#[derive(Debug)]
pub(super) struct Budgets {
    budgets: [Budget; KINDS],
}

impl Budgets {
    pub(super) fn new(ceilings: &Ceilings) -> Self {
        Self {
            budgets: Ceiling::ALL.map(|ceiling| Budget::new(*ceilings.allowance(ceiling))),
        }
    }

    /// Takes one off a budget.
    ///
    /// # Errors
    /// The ceiling, if nothing was left.
    pub(super) fn spend(&mut self, kind: Ceiling, work: &Work) -> Result<(), Ceiling> {
        self.budgets[kind as usize].spend(work).ok_or(kind)
    }
}

#[derive(Debug)]
struct Budget {
    allowance: Allowance,
    left: u32,
    /// The work that was reckoned already.
    reckoned: Work,
}

impl Budget {
    fn new(allowance: Allowance) -> Self {
        Self {
            allowance,
            left: allowance.most,
            reckoned: Work::default(),
        }
    }

    fn spend(&mut self, work: &Work) -> Option<()> {
        if self.left < self.allowance.most {
            self.earn(work);
        } else {
            self.reckoned = *work;
        }
        self.left = self.left.checked_sub(1)?;
        Some(())
    }

    fn earn(&mut self, work: &Work) {
        let kib = (work.bytes - self.reckoned.bytes) / 1024;
        let earned = [
            (
                work.streams - self.reckoned.streams,
                self.allowance.per_stream,
            ),
            (
                work.frames_sent - self.reckoned.frames_sent,
                self.allowance.per_frame_sent,
            ),
            (work.resets - self.reckoned.resets, self.allowance.per_reset),
            (kib, self.allowance.per_kib),
            (
                work.seconds - self.reckoned.seconds,
                self.allowance.per_second,
            ),
        ]
        .iter()
        .fold(u64::from(self.left), |sum, (done, each)| {
            sum.saturating_add(done.saturating_mul(u64::from(*each)))
        });
        self.left = u32::try_from(earned).map_or(self.allowance.most, |earned| {
            earned.min(self.allowance.most)
        });
        let bytes = self.reckoned.bytes + kib * 1024;
        self.reckoned = Work { bytes, ..*work };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Allowance = Allowance {
        most: 10,
        per_stream: 3,
        per_frame_sent: 0,
        per_reset: 0,
        per_kib: 1,
        per_second: 2,
    };

    fn spend_all(budget: &mut Budget, work: &Work) -> u32 {
        let mut spent = 0;
        while budget.spend(work).is_some() {
            spent += 1;
        }
        spent
    }

    #[test]
    fn work_earns_a_budget_back_up_to_its_most() {
        let mut work = Work::default();
        let mut budget = Budget::new(ALLOWANCE);
        assert_eq!(spend_all(&mut budget, &work), 10);
        for (more, earned) in [
            (
                Work {
                    streams: 1,
                    ..Work::default()
                },
                3,
            ),
            (
                Work {
                    bytes: 1023,
                    ..Work::default()
                },
                0,
            ),
            (
                Work {
                    bytes: 1,
                    ..Work::default()
                },
                1,
            ),
            (
                Work {
                    seconds: 2,
                    ..Work::default()
                },
                4,
            ),
            (
                Work {
                    frames_sent: 100,
                    resets: 100,
                    ..Work::default()
                },
                0,
            ),
            (
                Work {
                    streams: u64::MAX / 2,
                    ..Work::default()
                },
                10,
            ),
        ] {
            work = Work {
                streams: work.streams + more.streams,
                frames_sent: work.frames_sent + more.frames_sent,
                resets: work.resets + more.resets,
                bytes: work.bytes + more.bytes,
                seconds: work.seconds + more.seconds,
            };
            assert_eq!(spend_all(&mut budget, &work), earned, "{more:?}");
        }
    }

    #[test]
    fn each_ceiling_has_its_name_and_its_place() {
        for (place, ceiling) in Ceiling::ALL.into_iter().enumerate() {
            assert_eq!(ceiling as usize, place, "{ceiling:?}");
            assert_eq!(Ceiling::named(ceiling.name()), Some(ceiling));
            let mut ceilings = Ceilings::default();
            ceilings.allowance_mut(ceiling).most = 7;
            let altered = Ceiling::ALL.map(|other| ceilings.allowance(other).most == 7);
            let expected = Ceiling::ALL.map(|other| other == ceiling);
            assert_eq!(altered, expected, "{ceiling:?}");
        }
        assert_eq!(Ceiling::named("no_such_ceiling"), None);
    }

    #[test]
    fn work_before_the_first_is_not_saved_up() {
        let mut budget = Budget::new(ALLOWANCE);
        let work = Work {
            streams: 1_000_000,
            ..Work::default()
        };
        assert_eq!(spend_all(&mut budget, &work), 10);
    }
}
