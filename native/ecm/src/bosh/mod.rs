//! BOSH: XMPP over HTTP requests and their answers (XEP-0124 1.11 and XEP-0206 1.4).
//!
//! ```text
//!   HTTP requests ──> megaphone_xmpp::bosh::Request ──> BoshSession ──> documents of RFC 7395 ──> ejabberd
//!   HTTP answers  <── Answer                        <── BoshSession <── documents of RFC 7395 <──
//! ```
//!
//! [`session`] is sans-IO: it knows neither sockets nor clocks, time comes as an argument. It decides
//! which request is answered when, and with what; the same input gives the same output. [`shared`] puts one
//! beside its [`upstream`] and the connections that wait, [`sessions`] has all of them, [`http`] reads requests
//! and writes answers.

mod answer;
mod http;
mod parameters;
mod requests;
mod secrets;
mod session;
mod sessions;
mod shared;
mod upstream;

pub use self::http::serve;
pub use self::sessions::Sessions;

#[cfg(test)]
mod tests;
