//! What a run came to, as JSON and as text.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};
use serde::{Deserialize, Serialize};

use crate::ledger::microseconds;

/// A run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The clients' transport.
    pub transport: &'static str,
    /// Whether they used TLS.
    pub tls: bool,
    /// How many there were.
    pub users: usize,
    /// How they logged in.
    pub logins: Logins,
    /// What they sent to each other.
    pub traffic: Vec<Traffic>,
    /// How it ended.
    pub end: End,
}

/// How users logged in.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Logins {
    /// How many began to log in.
    pub users: u64,
    /// How many are online.
    pub online: u64,
    /// Logins that failed.
    pub failed: u64,
    /// From the first login's start to the last one's end.
    pub seconds: f64,
    /// Logins that succeeded, a second.
    pub per_second: f64,
    /// How long each took.
    pub took: Times,
    /// How many were online at each second's end.
    pub timeline: Vec<u64>,
}

/// Messages at a rate.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Messages a second that were asked for.
    pub rate: f64,
    /// For so long.
    pub seconds: f64,
    /// Messages sent.
    pub sent: u64,
    /// Messages that arrived, each counted once.
    pub received: u64,
    /// Messages that did not arrive.
    pub lost: u64,
    /// Messages that arrived again.
    pub doubled: u64,
    /// Messages that arrived after a later one.
    pub reordered: u64,
    /// What of these three went by or to a user whose session was lost meanwhile, with all that it held.
    pub of_lost_sessions: OfLostSessions,
    /// Some of the others.
    pub named: Vec<String>,
    /// From send to receipt.
    pub latency: Times,
}

/// Messages by or to users whose sessions were lost: no server can do more for them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct OfLostSessions {
    /// Messages that did not arrive.
    pub lost: u64,
    /// How many of them came back to their senders as errors.
    pub returned: u64,
    /// Messages that arrived again.
    pub doubled: u64,
    /// Messages that arrived after a later one.
    pub reordered: u64,
}

/// How a run ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct End {
    /// Connections that were lost before.
    pub broken: u64,
    /// Streams that were resumed.
    pub resumed: u64,
    /// Users who had not left within the time for it.
    pub stuck: u64,
    /// What went wrong, and how often.
    pub errors: BTreeMap<String, u64>,
}

/// A distribution of times, in microseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Times {
    /// How many.
    pub count: u64,
    /// Half of them took no longer.
    pub p50: u64,
    /// Nine of ten.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1,000.
    pub p999: u64,
    /// The longest.
    pub max: u64,
    /// All of it, in HdrHistogram's V2 form and base64.
    pub histogram: String,
}

impl Times {
    /// Of a histogram of microseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let mut bytes = Vec::new();
        // Writing to memory does not fail.
        let _ = V2Serializer::new().serialize(histogram, &mut bytes);
        let at = |quantile| {
            if histogram.is_empty() {
                0
            } else {
                histogram.value_at_quantile(quantile)
            }
        };
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
            histogram: BASE64_STANDARD.encode(bytes),
        }
    }

    /// All of them together.
    pub fn merged<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = microseconds();
        for times in all {
            let bytes = BASE64_STANDARD.decode(&times.histogram).unwrap_or_default();
            if let Ok(histogram) = Deserializer::new().deserialize::<u64, _>(&mut bytes.as_slice())
            {
                // Both have the same bounds.
                let _ = sum.add(&histogram);
            }
        }
        Self::of(&sum)
    }
}

impl Logins {
    /// Those of several processes that logged in at the same time.
    pub fn merged(all: &[Self]) -> Self {
        let seconds = all.iter().map(|one| one.seconds).fold(0.0, f64::max);
        let length = all.iter().map(|one| one.timeline.len()).max().unwrap_or(0);
        let online = all.iter().map(|one| one.online).sum();
        // A process that was done early stays as it was.
        let at = |one: &Self, second: usize| {
            let last = one.timeline.last().copied().unwrap_or(0);
            one.timeline.get(second).copied().unwrap_or(last)
        };
        Self {
            users: all.iter().map(|one| one.users).sum(),
            online,
            failed: all.iter().map(|one| one.failed).sum(),
            seconds,
            per_second: rate(online, seconds),
            took: Times::merged(all.iter().map(|one| &one.took)),
            timeline: (0..length)
                .map(|second| all.iter().map(|one| at(one, second)).sum())
                .collect(),
        }
    }
}

impl Traffic {
    /// That of several processes at the same time.
    pub fn merged(all: &[Self]) -> Self {
        Self {
            rate: all.iter().map(|one| one.rate).sum(),
            seconds: all.iter().map(|one| one.seconds).fold(0.0, f64::max),
            sent: all.iter().map(|one| one.sent).sum(),
            received: all.iter().map(|one| one.received).sum(),
            lost: all.iter().map(|one| one.lost).sum(),
            doubled: all.iter().map(|one| one.doubled).sum(),
            reordered: all.iter().map(|one| one.reordered).sum(),
            of_lost_sessions: OfLostSessions::merged(all.iter().map(|one| &one.of_lost_sessions)),
            named: all.iter().flat_map(|one| one.named.clone()).collect(),
            latency: Times::merged(all.iter().map(|one| &one.latency)),
        }
    }
}

impl OfLostSessions {
    fn merged<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        all.into_iter().fold(Self::default(), |sum, one| Self {
            lost: sum.lost + one.lost,
            returned: sum.returned + one.returned,
            doubled: sum.doubled + one.doubled,
            reordered: sum.reordered + one.reordered,
        })
    }
}

impl End {
    /// That of several processes.
    pub fn merged(all: &[Self]) -> Self {
        let mut sum = Self::default();
        for one in all {
            sum.broken += one.broken;
            sum.resumed += one.resumed;
            sum.stuck += one.stuck;
            for (error, count) in &one.errors {
                *sum.errors.entry(error.clone()).or_default() += count;
            }
        }
        sum
    }
}

impl Report {
    /// Whether everybody was online to the end, and every message arrived once.
    pub fn is_clean(&self) -> bool {
        self.logins.online == self.users as u64
            && self.end.broken == 0
            && self.end.stuck == 0
            && self
                .traffic
                .iter()
                .all(|one| one.lost + one.doubled + one.reordered == 0)
    }
}

/// So many in so many seconds, a second.
pub fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let logins = &self.logins;
        writeln!(
            f,
            "logins    {} of {} online after {:.1} s, {:.0} a second; each took {}",
            logins.online, self.users, logins.seconds, logins.per_second, logins.took
        )?;
        for traffic in &self.traffic {
            writeln!(
                f,
                "messages  {} sent in {:.1} s, {} received, {} lost, {} doubled, {} out of order; {}",
                traffic.sent,
                traffic.seconds,
                traffic.received,
                traffic.lost,
                traffic.doubled,
                traffic.reordered,
                traffic.latency
            )?;
            let apart = &traffic.of_lost_sessions;
            if apart.lost + apart.doubled + apart.reordered > 0 {
                writeln!(
                    f,
                    "          of these {} lost, {} doubled, {} out of order by or to users whose sessions were lost",
                    apart.lost, apart.doubled, apart.reordered
                )?;
            }
            for one in &traffic.named {
                writeln!(f, "          {one}")?;
            }
        }
        if self.end.broken + self.end.stuck > 0 {
            let End {
                broken,
                resumed,
                stuck,
                ..
            } = &self.end;
            writeln!(
                f,
                "trouble   {broken} connections lost, {resumed} streams resumed, {stuck} users did not get out"
            )?;
        }
        for (error, count) in &self.end.errors {
            writeln!(f, "{count:>8}  {error}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |micros: u64| micros as f64 / 1000.0;
        write!(
            f,
            "p50 {:.2} ms, p99 {:.2} ms, at most {:.2} ms",
            milliseconds(self.p50),
            milliseconds(self.p99),
            milliseconds(self.max)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(values: &[u64]) -> Times {
        let mut histogram = microseconds();
        for value in values {
            histogram.record(*value).unwrap();
        }
        Times::of(&histogram)
    }

    #[test]
    fn merged_times_are_those_of_all() {
        let merged = Times::merged([&times(&[1, 2, 3]), &times(&[100]), &times(&[])]);
        assert_eq!((merged.count, merged.p50, merged.max), (4, 2, 100));
        assert_eq!(Times::merged([]).max, 0);
    }

    #[test]
    fn merged_logins_keep_those_who_were_done_early() {
        let one = |timeline: &[u64], online, seconds| Logins {
            online,
            seconds,
            timeline: timeline.to_vec(),
            ..Logins::default()
        };
        let merged = Logins::merged(&[one(&[5, 10], 10, 2.0), one(&[1, 2, 3, 4], 4, 4.0)]);
        assert_eq!(merged.timeline, [6, 12, 13, 14]);
        assert_eq!((merged.online, merged.per_second), (14, 3.5));
    }
}
