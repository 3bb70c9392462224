//! How long things take.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

/// Counts times by how long they are.
#[derive(Debug)]
pub struct Times(LazyLock<Histogram>);

impl Times {
    /// None yet, in a histogram of seconds.
    pub const fn new(histogram: fn() -> Histogram) -> Self {
        Self(LazyLock::new(histogram))
    }

    /// Counts a time.
    pub fn observe(&self, time: Duration) {
        self.0.observe(time.as_secs_f64());
    }

    /// The histogram, in seconds.
    pub fn histogram(&self) -> &Histogram {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::prometheus_text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_time_counts_for_each_bound_that_it_is_within() {
        let times = Times::new(|| Histogram::new([0.000_01, 0.0001]));
        for micros in [0, 10, 11, 100, 101, 7_000_000] {
            times.observe(Duration::from_micros(micros));
        }
        let mut registry = Registry::default();
        registry.register("login_seconds", "How long", times.histogram().clone());
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert_eq!(
            text,
            "# HELP login_seconds How long.\n# TYPE login_seconds histogram\n\
             login_seconds_bucket{le=\"1e-05\"} 2\nlogin_seconds_bucket{le=\"0.0001\"} 4\n\
             login_seconds_bucket{le=\"+Inf\"} 6\nlogin_seconds_sum 7.000222\n\
             login_seconds_count 6\n"
        );
    }
}
