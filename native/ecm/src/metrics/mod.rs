//! What the program counts, and how it is told to Prometheus.
//!
//! The numbers are the process's, as its clients and trunks are: whoever has something to count counts it
//! here, which costs no client any memory and takes some nanoseconds.

mod counter;
mod histogram;
mod labels;
mod report;
mod text;

use megaphone_trunk::proxy::Transport;

pub use self::counter::Counter;
pub use self::histogram::Histogram;
pub use self::labels::{Direction, Family, Reason};
pub use self::report::{Now, report};
pub use self::text::CONTENT_TYPE;
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
pub static LOGIN_TIMES: Histogram<14> = Histogram::new([
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000,
]);
/// How long clients waited for their turn to log in.
pub static LOGIN_WAITS: Histogram<12> = Histogram::new([
    1_000, 10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
    30_000_000, 60_000_000,
]);
/// The documents of sessions.
pub static DOCUMENTS: Family<Direction, 2> = Family::new();
/// Their bytes.
pub static DOCUMENT_BYTES: Family<Direction, 2> = Family::new();
/// How often a document had to wait because its session's window was shut.
pub static WINDOWS_SHUT: Counter = Counter::new();
/// What was written to trunks and read from them, TLS taken off.
pub static TRUNK_BYTES: Family<Direction, 2> = Family::new();
/// From the first content that a write to a trunk of version 2 carries to the end of the write.
pub static TRUNK_WRITE_TIMES: Histogram<12> = Histogram::new([
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000, 50_000, 250_000, 1_000_000,
]);
/// How often a trunk that was up ended.
pub static TRUNK_LOSSES: Counter = Counter::new();
/// How often a trunk could not be had.
pub static TRUNK_FAILURES: Counter = Counter::new();
/// Who was refused, and why.
pub static REFUSALS: Family<Reason, 18> = Family::new();
