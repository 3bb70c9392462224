//! The external connection manager: clients connect to it, and it carries all of them to ejabberd
//! over a trunk.
//!
//! ```text
//!   client ──> front ──> relay, bosh, websocket or stream ──> session ──> trunk ──> ejabberd
//! ```
//!
//! This library is the program `megaphone-ecm`; its only use is to be run by [`cli::main`].

#![forbid(unsafe_code)]

mod backlog;
mod bosh;
mod budget;
mod certificates;
mod channel_binding;
mod check;
pub mod cli;
mod client_certificates;
mod config;
mod control;
mod der;
mod enforce;
mod entrance;
mod failure;
mod fleet;
mod front;
mod http;
mod ids;
mod logging;
mod metrics;
mod monitor;
mod node;
mod notify;
mod open_files;
mod panics;
mod peer;
mod pem;
mod registries;
mod relay;
mod reload;
mod secrets;
mod server;
mod session;
mod settings;
mod shutdown;
mod signals;
mod stream;
mod tickets;
mod trunk;
mod validity;
#[cfg(test)]
mod wakes;
mod websocket;
