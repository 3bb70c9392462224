//! The external connection manager: clients connect to it, and it carries all of them to ejabberd
//! over a trunk.
//!
//! ```text
//!   client ── listener ──> client task ──> trunk ──> ejabberd
//! ```
//!
//! This library is the program `megaphone-ecm`; its only use is to be run by [`cli::main`].

#![forbid(unsafe_code)]

mod accept;
mod addresses;
mod answer;
mod backlog;
mod bosh;
mod budget;
mod certificates;
mod channel_binding;
pub mod cli;
mod client;
mod clients;
mod config;
mod host_meta;
mod ids;
mod listener;
mod logging;
mod logins;
mod metrics;
mod monitor;
mod open_files;
mod pem;
mod server;
mod session;
mod settings;
mod shutdown;
mod stream;
mod trunk;
mod websocket;
