//! BOSH: XMPP over HTTP requests and their answers (XEP-0124 1.11 and XEP-0206 1.4).
//!
//! ```text
//!   HTTP requests ──> megaphone_xmpp::bosh::Request ──> Session ──> documents of RFC 7395 ──> ejabberd
//!   HTTP answers  <── Answer                        <── Session <── documents of RFC 7395 <──
//! ```
//!
//! [`session`] is sans-IO: it knows neither sockets nor clocks, time comes as an argument. It decides
//! which request is answered when, and with what; the same input gives the same output. [`cell`] puts one
//! beside its stream in a trunk, [`sessions`] has all of them, [`http`] reads requests and writes answers.

mod activity;
mod answer;
mod cell;
mod contents;
mod http;
mod keys;
mod pump;
mod queued;
mod requests;
mod session;
mod sessions;
mod sid;
mod terms;

pub use self::http::serve;
pub use self::sessions::Sessions;

#[cfg(test)]
mod tests;
