//! All that is counted.

use megaphone_trunk::proxy::Transport;
use prometheus_client::metrics::histogram::Histogram;

use super::counter::Counter;
use super::labels::{Direction, Family, FleetFailure, Reason};
use super::moves::MoveResult;
use super::times::Times;
use crate::config::ListenerKind;

/// The clients that are connected.
pub static CLIENTS: Family<ListenerKind, 4> = Family::new();
/// All clients that ever connected.
pub static CLIENTS_ACCEPTED: Family<ListenerKind, 4> = Family::new();
/// What clients sent and got, TLS taken off.
pub static CLIENT_BYTES: Family<Direction, 2> = Family::new();
/// The sessions that are open.
pub static SESSIONS: Family<Transport, 4> = Family::new();
/// All sessions that were ever opened.
pub static SESSIONS_OPENED: Family<Transport, 4> = Family::new();
/// Logins by SASL that succeeded.
pub static LOGINS: Family<Transport, 4> = Family::new();
/// Attempts at a login by SASL that failed.
pub static LOGIN_FAILURES: Family<Transport, 4> = Family::new();
/// From the opening of a session to the success of its login.
pub static LOGIN_TIMES: Times = Times::new(|| {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ])
});
/// How long clients waited for their turn to log in.
pub static LOGIN_WAITS: Times = Times::new(|| {
    Histogram::new([
        0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    ])
});
/// The documents of sessions.
pub static DOCUMENTS: Family<Direction, 2> = Family::new();
/// Their bytes.
pub static DOCUMENT_BYTES: Family<Direction, 2> = Family::new();
/// How often a document had to wait because its session's window was shut.
pub static WINDOWS_SHUT: Counter = Counter::new();
/// What was written to trunks and read from them, TLS taken off.
pub static TRUNK_BYTES: Family<Direction, 2> = Family::new();
/// From the first content that a write to a trunk of version 2 carries to the end of the write.
pub static TRUNK_WRITE_TIMES: Times = Times::new(|| {
    Histogram::new([
        0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1.0,
    ])
});
/// Sessions that were to move to another trunk.
pub static MOVES: Family<MoveResult, 6> = Family::new();
/// How long the documents of the clients of those that moved had to wait.
pub static MOVE_TIMES: Times = Times::new(|| {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0,
    ])
});
/// How often a trunk that was up ended.
pub static TRUNK_LOSSES: Counter = Counter::new();
/// How often a trunk could not be had.
pub static TRUNK_FAILURES: Counter = Counter::new();
/// The other ECMs that are connected to.
pub static FLEET_PEERS_UP: Counter = Counter::new();
/// Requests that other ECMs had the sessions for.
pub static FLEET_HANDED_ON: Counter = Counter::new();
/// Requests that other ECMs handed on to this one.
pub static FLEET_RECEIVED: Counter = Counter::new();
/// Requests for sessions of other ECMs that those did not answer.
pub static FLEET_FAILURES: Family<FleetFailure, 4> = Family::new();
/// Clients that were refused, by reason.
pub static REFUSALS: Family<Reason, 18> = Family::new();
/// How often something in the program panicked.
pub static PANICS: Counter = Counter::new();
