//! Logging to standard error: for people, or as JSON.

use std::io::{IsTerminal as _, stderr};

use rustix::fs::fstat;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{LogConfig, LogFormat};

/// A registry whose level can change.
type Filtered = tracing_subscriber::layer::Layered<reload::Layer<EnvFilter, Registry>, Registry>;

/// Changes the level of the running program's log.
#[derive(Debug, Clone)]
pub struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Logging {
    /// Starts to log with a filter of the configuration, unless `RUST_LOG` says otherwise.
    #[must_use]
    pub fn start(config: &LogConfig) -> Self {
        let (layer, filter) = reload::Layer::new(choose_filter(&config.level));
        // Fails only where logging was started before, and then there is a log already.
        let _ = tracing_subscriber::registry()
            .with(layer)
            .with(lines(config.format))
            .try_init();
        Self { filter }
    }

    /// Changes the filter.
    pub fn set_level(&self, level: &str) {
        if let Err(error) = self.filter.reload(choose_filter(level)) {
            tracing::warn!("the log level is not changed: {error}");
        }
    }
}

/// What writes the lines.
fn lines(format: LogFormat) -> Box<dyn Layer<Filtered> + Send + Sync> {
    let lines = fmt::layer().with_writer(stderr).with_target(false);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text if is_journal() => lines.with_ansi(false).without_time().boxed(),
        LogFormat::Text => lines.with_ansi(stderr().is_terminal()).boxed(),
    }
}

/// Whether standard error is systemd's journal, which has its own time for each line: systemd says which file that is
/// (systemd.exec(5)).
fn is_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    fstat(stderr()).is_ok_and(|file| named == format!("{}:{}", file.st_dev, file.st_ino))
}

fn choose_filter(level: &str) -> EnvFilter {
    std::env::var("RUST_LOG")
        .ok()
        .filter(|filter| !filter.is_empty())
        .and_then(|filter| EnvFilter::try_new(filter).ok())
        .unwrap_or_else(|| EnvFilter::new(level))
}
