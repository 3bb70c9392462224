//! The trunk between an external connection manager (ECM) and ejabberd, sans-IO: bytes in, events
//! out, and the other way round. This crate opens no socket and knows nothing of Erlang or tokio,
//! so both ends of a trunk use the same reader and the same writer.
//!
//! Each version of the trunk's protocol is a module of its own: [`v1`] and [`v2`].

#![forbid(unsafe_code)]

pub mod copy;
pub mod proxy;
pub mod queue;
pub mod room;
pub mod v1;
pub mod v2;
