//! Many light XMPP clients in one process: they log in, stay online, send messages to each other, and
//! every message is counted.
//!
//! ```text
//!   cli ──> crew ──┬── swarm ──> users ──> channel (tcp, websocket, bosh, trunk) ──> server
//!                  └── workers: other processes, each with a swarm of its own
//!                          users ──> ledger ──> report
//! ```
//!
//! This library is the program `megaphone-swarm`; its only use is to be run by [`cli::main`].

#![forbid(unsafe_code)]

mod activity;
mod channel;
pub mod cli;
mod console;
mod control;
mod crew;
mod ledger;
mod management;
mod messages;
mod random_traffic;
mod report;
mod stanza;
mod swarm;
mod user;
mod workers;
