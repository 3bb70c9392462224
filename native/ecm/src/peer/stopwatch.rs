//! How long something that is expected of a client has taken.

use std::time::Duration;

use tokio::time::Instant;

/// A clock that can stand still: the time in which nobody reads a client is not the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopwatch {
    /// It runs, since then.
    Runs(Instant),
    /// It stands at this time.
    Stands(Duration),
}

impl Stopwatch {
    /// When it will show this time; never, while it stands.
    pub fn shows(self, time: Duration) -> Option<Instant> {
        match self {
            Self::Runs(since) => Some(since + time),
            Self::Stands(_) => None,
        }
    }

    /// Stops it.
    pub fn stop(&mut self, now: Instant) {
        if let Self::Runs(since) = *self {
            *self = Self::Stands(now.saturating_duration_since(since));
        }
    }

    /// Has it go on, if it stands.
    pub fn go_on(&mut self, now: Instant) {
        if let Self::Stands(time) = *self {
            // There is no time before the machine's start.
            *self = Self::Runs(now.checked_sub(time).unwrap_or(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_shows_no_time_in_which_it_stands() {
        // A clock of the machine's may be young.
        tokio::time::advance(100 * SECOND).await;
        let start = Instant::now();
        let mut watch = Stopwatch::Runs(start);
        assert_eq!(watch.shows(3 * SECOND), Some(start + 3 * SECOND));
        watch.stop(start + SECOND);
        watch.stop(start + 2 * SECOND);
        assert_eq!(watch.shows(3 * SECOND), None);
        watch.go_on(start + 11 * SECOND);
        watch.go_on(start + 12 * SECOND);
        assert_eq!(watch.shows(3 * SECOND), Some(start + 13 * SECOND));
    }
}
