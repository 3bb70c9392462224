//! The frames of RFC 6455, of the ECM: they know nothing of the rest, so it need not be built.
#![allow(dead_code)]

#[path = "../../ecm/src/websocket/error.rs"]
mod error;
#[path = "../../ecm/src/websocket/frame.rs"]
mod frame;
#[path = "../../ecm/src/websocket/reader/mod.rs"]
mod reader;

pub use reader::{Event, MessageReader};
