//! Logging to standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// What changes the level of a program that runs.
#[derive(Debug, Clone)]
pub struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Logging {
    /// Starts to log with a filter of the configuration, unless `RUST_LOG` says otherwise.
    #[must_use]
    pub fn start(level: &str) -> Self {
        let (layer, filter) = reload::Layer::new(choose_filter(level));
        let lines = fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false);
        // Fails only where logging was started before, and then there is a log already.
        let _ = tracing_subscriber::registry()
            .with(layer)
            .with(lines)
            .try_init();
        Self { filter }
    }

    /// Goes on with another filter.
    pub fn set_level(&self, level: &str) {
        if let Err(error) = self.filter.reload(choose_filter(level)) {
            tracing::warn!("the log level is not changed: {error}");
        }
    }
}

fn choose_filter(level: &str) -> EnvFilter {
    std::env::var("RUST_LOG")
        .ok()
        .filter(|filter| !filter.is_empty())
        .and_then(|filter| EnvFilter::try_new(filter).ok())
        .unwrap_or_else(|| EnvFilter::new(level))
}
