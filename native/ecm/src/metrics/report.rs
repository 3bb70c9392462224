//! All that is counted, as one text.

use super::labels::{Direction, Label as _};
use super::text::{Kind, Text};
use super::{
    CLIENT_BYTES, CLIENTS, CLIENTS_ACCEPTED, DOCUMENT_BYTES, DOCUMENTS, LOGIN_FAILURES,
    LOGIN_TIMES, LOGIN_WAITS, LOGINS, REFUSALS, SESSIONS, SESSIONS_OPENED, TRUNK_BYTES,
    TRUNK_FAILURES, TRUNK_LOSSES, TRUNK_WRITE_TIMES, WINDOWS_SHUT,
};

/// What is not counted but asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The trunks that take connections.
    pub trunks_up: u64,
    /// The source addresses that are remembered for the limits per address.
    pub addresses: u64,
    /// The logins that ejabberd has to answer.
    pub logins_running: u64,
    /// The clients that wait for their turn to log in.
    pub logins_waiting: u64,
    /// What clients have sent and nobody has taken, in bytes.
    pub input: u64,
    /// What ejabberd has sent and no client has taken.
    pub output: u64,
}

/// The metrics in the text format of Prometheus.
pub fn report(now: Now) -> String {
    use Kind::{Counter, Gauge};
    let mut text = Text::default();
    text.numbers(
        Gauge,
        "megaphone_ecm_build_info",
        "1, with the program's version.",
        "version",
        [(env!("CARGO_PKG_VERSION"), 1)],
    );
    clients(&mut text);
    text.numbers(
        Gauge,
        "megaphone_ecm_waiting_bytes",
        "Bytes from clients that ejabberd has not taken, and to clients that they have not taken.",
        "direction",
        [(Direction::In, now.input), (Direction::Out, now.output)]
            .map(|(direction, bytes)| (direction.name(), bytes)),
    );
    sessions(&mut text);
    logins(&mut text, now);
    text.number(
        Gauge,
        "megaphone_ecm_trunks_up",
        "Trunks that take connections.",
        now.trunks_up,
    );
    trunks(&mut text);
    text.number(
        Gauge,
        "megaphone_ecm_limited_addresses",
        "Source addresses that are remembered for the limits per address.",
        now.addresses,
    );
    text.numbers(
        Counter,
        "megaphone_ecm_refusals_total",
        "Clients that were turned away or disconnected, by reason.",
        "reason",
        REFUSALS.values(),
    );
    text.finish()
}

fn clients(text: &mut Text) {
    use Kind::{Counter, Gauge};
    text.numbers(
        Gauge,
        "megaphone_ecm_clients",
        "Client connections, by the kind of their listener.",
        "listener",
        CLIENTS.values(),
    );
    text.numbers(
        Counter,
        "megaphone_ecm_clients_total",
        "Client connections that were ever accepted.",
        "listener",
        CLIENTS_ACCEPTED.values(),
    );
    text.numbers(
        Counter,
        "megaphone_ecm_client_bytes_total",
        "Bytes on client connections, without TLS.",
        "direction",
        CLIENT_BYTES.values(),
    );
}

fn sessions(text: &mut Text) {
    use Kind::{Counter, Gauge};
    text.numbers(
        Gauge,
        "megaphone_ecm_sessions",
        "Open sessions, by how their clients are connected.",
        "transport",
        SESSIONS.values(),
    );
    text.numbers(
        Counter,
        "megaphone_ecm_sessions_total",
        "Sessions that were ever opened.",
        "transport",
        SESSIONS_OPENED.values(),
    );
    text.numbers(
        Counter,
        "megaphone_ecm_documents_total",
        "Documents of sessions: stanzas, and the rest of a stream.",
        "direction",
        DOCUMENTS.values(),
    );
    text.numbers(
        Counter,
        "megaphone_ecm_document_bytes_total",
        "Bytes of these documents.",
        "direction",
        DOCUMENT_BYTES.values(),
    );
    text.number(
        Counter,
        "megaphone_ecm_windows_shut_total",
        "Attempts to send a document that had to wait because ejabberd took no more of its session.",
        WINDOWS_SHUT.get(),
    );
}

fn logins(text: &mut Text, now: Now) {
    use Kind::{Counter, Gauge};
    text.number(
        Gauge,
        "megaphone_ecm_logins_running",
        "Logins that wait for ejabberd's answers.",
        now.logins_running,
    );
    text.number(
        Gauge,
        "megaphone_ecm_logins_waiting",
        "Clients that wait for their turn to log in.",
        now.logins_waiting,
    );
    text.times(
        "megaphone_ecm_login_wait_seconds",
        "How long clients waited for their turn to log in.",
        &LOGIN_WAITS.times(),
    );
    text.numbers(
        Counter,
        "megaphone_ecm_logins_total",
        "Logins by SASL that succeeded.",
        "transport",
        LOGINS.values(),
    );
    text.numbers(
        Counter,
        "megaphone_ecm_login_failures_total",
        "Attempts at a login by SASL that failed.",
        "transport",
        LOGIN_FAILURES.values(),
    );
    text.times(
        "megaphone_ecm_login_seconds",
        "From the opening of a session to the success of its login.",
        &LOGIN_TIMES.times(),
    );
}

fn trunks(text: &mut Text) {
    use Kind::Counter;
    text.number(
        Counter,
        "megaphone_ecm_trunk_losses_total",
        "Trunks that were up and ended.",
        TRUNK_LOSSES.get(),
    );
    text.number(
        Counter,
        "megaphone_ecm_trunk_failures_total",
        "Attempts to connect a trunk that failed.",
        TRUNK_FAILURES.get(),
    );
    text.numbers(
        Counter,
        "megaphone_ecm_trunk_bytes_total",
        "Bytes on the trunks, without TLS.",
        "direction",
        TRUNK_BYTES.values(),
    );
    text.times(
        "megaphone_ecm_trunk_write_seconds",
        "From a client's content to the end of the write to its trunk, for the first content of each \
         write; version 2 only.",
        &TRUNK_WRITE_TIMES.times(),
    );
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const DOCUMENT: &str = include_str!("../../../../doc/operating.md");

    fn report_of_nothing() -> String {
        report(Now {
            trunks_up: 0,
            addresses: 0,
            logins_running: 0,
            logins_waiting: 0,
            input: 0,
            output: 0,
        })
    }

    /// The cells of the rows of a table, of which the head starts with this.
    fn rows(head: &str) -> impl Iterator<Item = Vec<&'static str>> {
        let start = format!("| {head} |");
        let lines = DOCUMENT
            .lines()
            .skip_while(move |line| !line.starts_with(&start));
        let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
        rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
    }

    /// The names in a cell: `` `clients{listener}`, `clients_total{listener}` ``.
    fn names(cell: &str) -> impl Iterator<Item = &str> {
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted.map(|name| name.split('{').next().unwrap_or_default())
    }

    #[test]
    fn the_document_has_each_metric_with_its_type() {
        let report = report_of_nothing();
        let types = report.lines().filter_map(|line| {
            let rest = line.strip_prefix("# TYPE megaphone_ecm_")?;
            rest.split_once(' ')
        });
        let types: BTreeMap<_, _> = types.collect();
        let documented: BTreeMap<_, _> = rows("metric")
            .flat_map(|row| {
                let mut kinds = row[1].split(", ");
                let mut kind = "";
                names(row[0])
                    .map(|name| {
                        kind = kinds.next().unwrap_or(kind);
                        (name, kind)
                    })
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(documented, types);
    }

    #[test]
    fn the_document_has_each_reason() {
        let report = report_of_nothing();
        let reasons = report
            .lines()
            .filter_map(|line| line.split_once("{reason=\"")?.1.split('"').next());
        let mut reasons: Vec<_> = reasons.collect();
        reasons.sort_unstable();
        let mut documented: Vec<_> = rows("reason").flat_map(|row| names(row[0])).collect();
        documented.sort_unstable();
        assert_eq!(documented, reasons);
    }
}
