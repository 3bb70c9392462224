//! What another program tells a swarm on its standard input, a line each, and what it is told on the
//! standard output, a line of JSON each.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::activity::{Act, Acted, Activity};
use crate::random_traffic::{Arrivals, Random, Ranges};
use crate::report::{End, Logins, Traffic};

/// A line on the standard input.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `enough`: users who have not begun to log in don't. It says nothing, and does nothing later.
    Enough,
    /// `traffic RATE SECONDS`: so many messages a second, for so long.
    Traffic {
        /// Messages a second.
        rate: f64,
        /// For so long.
        duration: Duration,
    },
    /// `act ACTIVITY RATE SECONDS GROUPS SIZE`: an activity, so many times a second, for so long, by the first user of
    /// each of so many groups of that size.
    Act(Act),
    /// `random RATE SECONDS`: the same from any user to any other.
    Random {
        /// Messages a second.
        rate: f64,
        /// For so long.
        duration: Duration,
    },
    /// `send RATE SECONDS RANGES`: sends messages to any of these users, who may be in other processes, and does not
    /// wait for them.
    Send {
        /// Messages a second.
        rate: f64,
        /// For so long.
        duration: Duration,
        /// Who gets them.
        receivers: Ranges,
    },
    /// `arrivals`: how messages arrived that were sent to users picked at random, since this was asked last.
    Arrivals,
    /// `stop`: no more messages are sent. It says nothing where none are.
    Stop,
    /// `status`: the counters now.
    Status,
    /// `end`, or the end of the input: everybody leaves.
    End,
}

/// Why a line is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a command; write enough, traffic RATE SECONDS, act ACTIVITY RATE SECONDS GROUPS SIZE, random RATE SECONDS, send RATE SECONDS RANGES, arrivals, stop, status or end"
)]
pub struct NoCommand(String);

impl FromStr for Command {
    type Err = NoCommand;

    fn from_str(line: &str) -> Result<Self, NoCommand> {
        let words: Vec<_> = line.split_whitespace().collect();
        let command = match words.as_slice() {
            ["enough"] => Some(Self::Enough),
            ["traffic", rate, seconds] => {
                pace(rate, seconds).map(|(rate, duration)| Self::Traffic { rate, duration })
            }
            ["act", activity, rate, seconds, groups, size] => {
                act([activity, rate, seconds, groups, size]).map(Self::Act)
            }
            ["random", rate, seconds] => {
                pace(rate, seconds).map(|(rate, duration)| Self::Random { rate, duration })
            }
            ["send", rate, seconds, receivers] => pace(rate, seconds)
                .zip(receivers.parse().ok())
                .map(|((rate, duration), receivers)| Self::Send {
                    rate,
                    duration,
                    receivers,
                }),
            ["arrivals"] => Some(Self::Arrivals),
            ["stop"] => Some(Self::Stop),
            ["status"] => Some(Self::Status),
            ["end"] => Some(Self::End),
            _ => None,
        };
        command.ok_or_else(|| NoCommand(line.to_owned()))
    }
}

/// A number that is none below zero.
fn number(word: &str) -> Option<f64> {
    word.parse().ok().filter(|number| *number >= 0.0)
}

fn act([activity, rate, seconds, groups, size]: [&str; 5]) -> Option<Act> {
    let count = |word: &str| word.parse().ok().filter(|count| *count > 0);
    Some(Act {
        activity: Activity::named(activity)?,
        rate: number(rate)?,
        duration: Duration::try_from_secs_f64(number(seconds)?).ok()?,
        groups: count(groups)?,
        size: count(size)?,
    })
}

/// So many a second, for so long.
fn pace(rate: &str, seconds: &str) -> Option<(f64, Duration)> {
    let duration = Duration::try_from_secs_f64(number(seconds)?).ok()?;
    Some((number(rate)?, duration))
}

/// A line on the standard output.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// While users log in, and the answer to `status`.
    Progress {
        /// Users online.
        online: u64,
        /// Logins that failed.
        failed: u64,
        /// Connections lost.
        broken: u64,
        /// Messages sent.
        sent: u64,
        /// Messages received.
        received: u64,
        /// Streams resumed.
        resumed: u64,
        /// What went wrong, and how often.
        errors: BTreeMap<String, u64>,
    },
    /// Every login has ended, well or not.
    Online(Logins),
    /// The answer to `traffic`, once all has arrived or is lost.
    Traffic(Traffic),
    /// The answer to `act`, once all answers have come or are late.
    Acted(Acted),
    /// The answer to `random`, once all has arrived or is lost.
    Random(Random),
    /// The answer to `send`, once all are sent; for so long they were.
    Sent {
        /// Seconds.
        seconds: f64,
    },
    /// The answer to `arrivals`.
    Arrivals(Arrivals),
    /// The last line.
    End(End),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        let traffic = Command::Traffic {
            rate: 500.0,
            duration: Duration::from_millis(1500),
        };
        assert_eq!("traffic 500 1.5".parse(), Ok(traffic));
        let act = Act {
            activity: Activity::Ping,
            rate: 25.0,
            duration: Duration::from_secs(8),
            groups: 200,
            size: 1,
        };
        assert_eq!("act ping 25 8 200 1".parse(), Ok(Command::Act(act)));
        let random = Command::Random {
            rate: 5.0,
            duration: Duration::from_secs(2),
        };
        assert_eq!("random 5 2".parse(), Ok(random));
        let send = Command::Send {
            rate: 5.0,
            duration: Duration::from_secs(2),
            receivers: Ranges::new([(0, 3), (10, 1)]),
        };
        assert_eq!("send 5 2 0+3,10+1".parse(), Ok(send));
        assert_eq!("arrivals".parse(), Ok(Command::Arrivals));
        assert_eq!("enough".parse(), Ok(Command::Enough));
        assert_eq!(" end ".parse(), Ok(Command::End));
        assert_eq!("stop".parse(), Ok(Command::Stop));
        assert_eq!("status".parse(), Ok(Command::Status));
        for line in [
            "",
            "traffic",
            "traffic -1 2",
            "traffic 1 NaN",
            "act ping 1 1 0 1",
            "act sing 1 1 1 1",
            "send 1 1 5",
            "halt",
        ] {
            assert!(line.parse::<Command>().is_err(), "{line}");
        }
    }
}
