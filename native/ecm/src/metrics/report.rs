//! All metrics, as one text.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::registry::Registry;

use super::exposition::Exposition;
use super::labels::Direction;
use super::nodes::NodeNow;
use super::numbers::{
    CLIENT_BYTES, CLIENTS, CLIENTS_ACCEPTED, DOCUMENT_BYTES, DOCUMENTS, FLEET_FAILURES,
    FLEET_HANDED_ON, FLEET_PEERS_UP, FLEET_RECEIVED, LOGIN_FAILURES, LOGIN_TIMES, LOGIN_WAITS,
    LOGINS, MOVE_TIMES, MOVES, PANICS, REFUSALS, SESSIONS, SESSIONS_OPENED, TRUNK_BYTES,
    TRUNK_FAILURES, TRUNK_LOSSES, TRUNK_WRITE_TIMES, WINDOWS_SHUT,
};

/// What is not counted but looked up for each report.
#[derive(Debug, Clone, PartialEq)]
pub struct Now {
    /// The trunks that take connections.
    pub trunks_up: u64,
    /// The ejabberd nodes.
    pub nodes: Vec<NodeNow>,
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

/// The metrics in the text format of Prometheus, version 0.0.4.
pub fn report(now: Now) -> String {
    let mut registry = Registry::with_prefix("megaphone_ecm");
    registry.register_collector(Box::new(now));
    let mut text = String::new();
    // A String takes all that is written to it.
    let _ = prometheus_text::encode(&mut text, &registry);
    text
}

impl Collector for Now {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut report = Exposition(encoder);
        report.build()?;
        report.clients()?;
        report.waiting(self)?;
        report.sessions()?;
        report.logins(self)?;
        report.moves()?;
        report.trunks(self)?;
        report.nodes(&self.nodes)?;
        report.fleet()?;
        report.addresses(self)?;
        report.counters(
            "refusals",
            "Clients that were turned away or disconnected, by reason.",
            REFUSALS.values(),
        )
    }
}

impl Exposition<'_> {
    fn build(&mut self) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        self.info("build", "1, with the program's version.", &version)?;
        self.counter(
            "panics",
            "Panics, which are bugs: each ended only what it happened in, such as one client's connection.",
            PANICS.get(),
        )
    }

    fn clients(&mut self) -> fmt::Result {
        self.gauges(
            "clients",
            "Client connections, by the kind of their listener.",
            CLIENTS.values(),
        )?;
        self.counters(
            "clients",
            "Client connections accepted since the start.",
            CLIENTS_ACCEPTED.values(),
        )?;
        self.counters(
            "client_bytes",
            "Bytes on client connections, without TLS.",
            CLIENT_BYTES.values(),
        )
    }

    fn fleet(&mut self) -> fmt::Result {
        self.gauge(
            "fleet_peers_up",
            "Other ECMs of [fleet] peers to which this one is connected.",
            FLEET_PEERS_UP.get(),
        )?;
        self.counter(
            "fleet_handed_on",
            "BOSH requests that this ECM handed on to the ECM with their session.",
            FLEET_HANDED_ON.get(),
        )?;
        self.counter(
            "fleet_received",
            "Requests that other ECMs handed on to this one.",
            FLEET_RECEIVED.get(),
        )?;
        self.counters(
            "fleet_failures",
            "BOSH requests for sessions of other ECMs that got no answer from there, by cause.",
            FLEET_FAILURES.values(),
        )
    }

    fn waiting(&mut self, now: &Now) -> fmt::Result {
        self.gauges(
            "waiting_bytes",
            "Bytes that wait in memory: from clients for ejabberd (in), and from ejabberd for clients (out).",
            [(Direction::In, now.input), (Direction::Out, now.output)],
        )
    }

    fn sessions(&mut self) -> fmt::Result {
        self.gauges(
            "sessions",
            "Open sessions, by how their clients are connected.",
            SESSIONS.values(),
        )?;
        self.counters(
            "sessions",
            "Sessions opened since the start.",
            SESSIONS_OPENED.values(),
        )?;
        self.counters(
            "documents",
            "Documents that sessions carried: stanzas, and what opens and closes a stream.",
            DOCUMENTS.values(),
        )?;
        self.counters(
            "document_bytes",
            "Bytes of the documents that sessions carried.",
            DOCUMENT_BYTES.values(),
        )?;
        self.counter(
            "windows_shut",
            "Attempts to send a document that had to wait because its session's window was shut.",
            WINDOWS_SHUT.get(),
        )
    }

    fn logins(&mut self, now: &Now) -> fmt::Result {
        self.gauge(
            "logins_running",
            "Logins that wait for an answer from ejabberd.",
            now.logins_running,
        )?;
        self.gauge(
            "logins_waiting",
            "Clients that wait for their turn to log in.",
            now.logins_waiting,
        )?;
        self.times(
            "login_wait_seconds",
            "Time that clients waited for their turn to log in.",
            &LOGIN_WAITS,
        )?;
        self.counters("logins", "Successful logins by SASL.", LOGINS.values())?;
        self.counters(
            "login_failures",
            "Failed attempts to log in by SASL.",
            LOGIN_FAILURES.values(),
        )?;
        self.times(
            "login_seconds",
            "Time from the opening of a session to the success of its login.",
            &LOGIN_TIMES,
        )
    }

    fn moves(&mut self) -> fmt::Result {
        self.counters(
            "moves",
            "Sessions that were asked to move to another trunk, by result.",
            MOVES.values(),
        )?;
        self.times(
            "move_seconds",
            "How long a client's documents waited while its session moved.",
            &MOVE_TIMES,
        )
    }

    fn trunks(&mut self, now: &Now) -> fmt::Result {
        self.gauge(
            "trunks_up",
            "Trunks that are up and take new connections.",
            now.trunks_up,
        )?;
        self.counter(
            "trunk_losses",
            "Trunks that were lost after they were up.",
            TRUNK_LOSSES.get(),
        )?;
        self.counter(
            "trunk_failures",
            "Failed attempts to connect a trunk.",
            TRUNK_FAILURES.get(),
        )?;
        self.counters(
            "trunk_bytes",
            "Bytes on the trunks, without TLS.",
            TRUNK_BYTES.values(),
        )?;
        self.times(
            "trunk_write_seconds",
            "From a client's content to the end of the write to its trunk, for the first content of each \
             write; version 2 only.",
            &TRUNK_WRITE_TIMES,
        )
    }

    fn addresses(&mut self, now: &Now) -> fmt::Result {
        self.gauge(
            "limited_addresses",
            "Source addresses remembered for the limits per address.",
            now.addresses,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const DOCUMENT: &str = include_str!("../../../../doc/operating.md");

    fn report_of_nothing() -> String {
        report(Now {
            trunks_up: 0,
            nodes: Vec::new(),
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
