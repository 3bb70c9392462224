//! Tells systemd, or whatever else started the program, how it is: sd_notify(3). Without the environment variable
//! `NOTIFY_SOCKET` it tells nothing.

use std::env;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often the status is sent, if it has changed.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// The connection to the service manager, if there is one.
#[derive(Debug, Clone, Copy)]
pub struct Notifier {
    is_heard: bool,
    /// How long it may be silent.
    watchdog: Option<Duration>,
}

/// How the program is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It serves, or ends, and this is what there is to say of it.
    Own(String),
    /// Another process has its place, of which alone there is something to say.
    Replaced,
}

impl Notifier {
    /// As the environment says. A process that takes another's place is watched as that one was.
    #[must_use]
    pub fn from_environment(replaces: bool) -> Self {
        let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        let is_of_this =
            || number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog =
            number("WATCHDOG_USEC").filter(|limit| *limit > 0 && (replaces || is_of_this()));
        Self {
            is_heard: env::var_os("NOTIFY_SOCKET").is_some(),
            watchdog: watchdog.map(Duration::from_micros),
        }
    }

    /// Clients are accepted.
    pub fn ready(self) {
        self.send(&[NotifyState::Ready]);
    }

    /// Clients are accepted by this process in place of another.
    pub fn ready_in_place(self) {
        let process = std::process::id();
        self.send(&[NotifyState::MainPid(process), NotifyState::Ready]);
    }

    /// The configuration is read again; [`ready`](Self::ready) says that it was.
    pub fn reloading(self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!("the reload is not announced: {error}"),
        }
    }

    /// The program ends, which takes at most this long.
    pub fn stopping(self, limit: Duration) {
        let limit = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
        self.send(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(limit)]);
    }

    /// Tells how the program is, and that it is not stuck, as long as it runs.
    pub async fn keep_telling(self, condition: &(impl Fn() -> Condition + Sync)) {
        if !self.is_heard {
            return;
        }
        // Twice per interval, so that a late one does no harm.
        let period = self
            .watchdog
            .map_or(STATUS_INTERVAL, |limit| (limit / 2).min(STATUS_INTERVAL));
        let mut ticks = interval(period.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told: Option<(Condition, Instant)> = None;
        loop {
            let now = ticks.tick().await;
            let condition = condition();
            let is_due = told.as_ref().is_none_or(|(before, at)| {
                *before != condition && now.duration_since(*at) >= STATUS_INTERVAL
            });
            let mut states = Vec::new();
            if self.watchdog.is_some() {
                states.push(NotifyState::Watchdog);
            }
            if let (true, Condition::Own(status)) = (is_due, &condition) {
                states.push(NotifyState::Status(status));
            }
            self.send(&states);
            if is_due {
                told = Some((condition, now));
            }
        }
    }

    fn send(self, states: &[NotifyState<'_>]) {
        if self.is_heard
            && !states.is_empty()
            && let Err(error) = sd_notify::notify(states)
        {
            tracing::debug!("$NOTIFY_SOCKET can't be told: {error}");
        }
    }
}
