//! All that is counted, as one text.

use super::labels::{Direction, Label as _};
use super::text::{Kind, Text};
use super::{
    CLIENT_BYTES, CLIENTS, CLIENTS_ACCEPTED, DOCUMENT_BYTES, DOCUMENTS, LOGIN_FAILURES,
    LOGIN_TIMES, LOGIN_WAITS, LOGINS, REFUSALS, SESSIONS, SESSIONS_OPENED, TRUNK_BYTES,
    TRUNK_FAILURES, TRUNK_LOSSES, TRUNK_WRITE_TIMES, WINDOWS_SHUT,
};
use crate::logins;

/// What is not counted but asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The trunks that take connections.
    pub trunks_up: u64,
    /// The source addresses that are remembered for the limits an address.
    pub addresses: u64,
    /// The logins that go on, and those that wait for their turn.
    pub logins: logins::Count,
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
        "Bytes from clients and to them that nobody has taken.",
        "direction",
        [(Direction::In, now.input), (Direction::Out, now.output)]
            .map(|(direction, bytes)| (direction.name(), bytes)),
    );
    sessions(&mut text);
    logins(&mut text, now.logins);
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
        "Source addresses that are remembered for the limits an address.",
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
        "Connections of clients, by the kind of their listener.",
        "listener",
        CLIENTS.values(),
    );
    text.numbers(
        Counter,
        "megaphone_ecm_clients_total",
        "Connections of clients that were ever accepted.",
        "listener",
        CLIENTS_ACCEPTED.values(),
    );
    text.numbers(
        Counter,
        "megaphone_ecm_client_bytes_total",
        "Bytes on the connections of clients, without TLS.",
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
        "Documents of sessions: stanzas and what else a stream is made of.",
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

fn logins(text: &mut Text, now: logins::Count) {
    use Kind::{Counter, Gauge};
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    text.number(
        Gauge,
        "megaphone_ecm_logins_running",
        "Logins that ejabberd has to answer.",
        number(now.running),
    );
    text.number(
        Gauge,
        "megaphone_ecm_logins_waiting",
        "Clients that wait for their turn to log in.",
        number(now.waiting),
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
         write; version 2 alone.",
        &TRUNK_WRITE_TIMES.times(),
    );
}
