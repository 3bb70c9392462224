//! Strict HTTP/1.1 request decoding, sans-IO.
//!
//! Bytes go in, in any chunking, and come out as requests. Nothing here knows of sockets, of time or
//! of Erlang, so the ECM and the NIF share one reader and one writer of HTTP.
//!
//! - [`RequestDecoder`] gives a connection's requests as events: what an ECM reads from its clients.
//! - [`HeadEdit`] writes a head again with some fields changed.
//! - [`ResponseTracker`] says where answers end while they pass by.
//! - [`Exchange`] is a connection as the server's reader must see it: one request at a time.
//! - [`handler_path`] is the path that ejabberd_http would look for a handler with.
//! - [`packet`] gives the terms of `erlang:decode_packet/3` for the http packet types.
//! - [`RequestError`] names each refusal, and what two servers would have disagreed about.
//!
//! The rules are those of RFC 9112, read strictly: what two servers could read in two ways, none gets.
#![forbid(unsafe_code)]

mod authority;
mod chunk;
mod connection;
mod edit;
mod error;
mod exchange;
mod framing;
mod head;
mod inbox;
mod limits;
mod line;
pub mod packet;
mod path;
mod request;
mod response;
mod target;

pub use edit::{Field, FieldValue, HeadEdit, HeadFields, InvalidFieldValue};
pub use error::RequestError;
pub use exchange::Exchange;
pub use framing::{BodyLength, Version};
pub use limits::Limits;
pub use path::{handler_path, is_at_or_below};
pub use request::{Event, RequestDecoder, RequestHead};
pub use response::{Progress, RequestKind, ResponseTracker};
