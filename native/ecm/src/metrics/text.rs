//! The text format of Prometheus, version 0.0.4.

use std::fmt::Write as _;

use super::histogram::Times;

/// The media type of what [`Text`] writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics as they are written. No name, help or label here has a character that has to be escaped.
#[derive(Debug, Default)]
pub struct Text(String);

/// What a metric's number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It goes up, until the program starts anew.
    Counter,
    /// It is how things are now.
    Gauge,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

impl Text {
    /// A metric that is one number.
    pub fn number(&mut self, kind: Kind, name: &str, help: &str, value: u64) {
        self.head(kind.name(), name, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    /// A metric with a number for each value of a label.
    pub fn numbers(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'static str, u64)>,
    ) {
        self.head(kind.name(), name, help);
        for (of, value) in values {
            let _ = writeln!(self.0, "{name}{{{label}=\"{of}\"}} {value}");
        }
    }

    /// A histogram of times, in seconds.
    pub fn times(&mut self, name: &str, help: &str, times: &Times) {
        self.head("histogram", name, help);
        for (bound, count) in &times.up_to {
            let _ = writeln!(
                self.0,
                "{name}_bucket{{le=\"{}\"}} {count}",
                seconds(*bound)
            );
        }
        let Times { count, sum, .. } = times;
        let _ = write!(
            self.0,
            "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {}\n{name}_count {count}\n",
            seconds(*sum)
        );
    }

    /// The text.
    pub fn finish(self) -> String {
        self.0
    }

    fn head(&mut self, kind: &str, name: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }
}

/// Microseconds as seconds, exactly.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_has_its_help_and_its_type() {
        let mut text = Text::default();
        text.number(Kind::Gauge, "trunks_up", "How many.", 4);
        let by_kind = [("http", 1), ("xmpp", 0)];
        text.numbers(Kind::Counter, "taken_total", "All.", "kind", by_kind);
        let times = Times {
            up_to: vec![(10, 1), (2_500_000, 2)],
            count: 3,
            sum: 10_000_001,
        };
        text.times("login_seconds", "How long.", &times);
        assert_eq!(
            text.finish(),
            "# HELP trunks_up How many.\n# TYPE trunks_up gauge\ntrunks_up 4\n\
             # HELP taken_total All.\n# TYPE taken_total counter\n\
             taken_total{kind=\"http\"} 1\ntaken_total{kind=\"xmpp\"} 0\n\
             # HELP login_seconds How long.\n# TYPE login_seconds histogram\n\
             login_seconds_bucket{le=\"0.00001\"} 1\nlogin_seconds_bucket{le=\"2.5\"} 2\n\
             login_seconds_bucket{le=\"+Inf\"} 3\nlogin_seconds_sum 10.000001\n\
             login_seconds_count 3\n"
        );
    }

    #[test]
    fn seconds_are_exact() {
        for (micros, expected) in [(0, "0"), (1, "0.000001"), (20_000_000, "20")] {
            assert_eq!(seconds(micros), expected);
        }
    }
}
