//! XMPP's framings, turned into one another, sans-IO.
//!
//! A client speaks an XML stream (RFC 6120), WebSocket messages (RFC 7395) or BOSH bodies (XEP-0124 and
//! XEP-0206); a session on a trunk is messages of one document each. Nothing here knows of sockets, of
//! time or of Erlang.
//!
//! - [`xml`] checks documents and passes them on byte for byte.
//! - [`stream`] reads an XML stream into documents and writes documents to one.
//! - [`bosh`] reads requests' bodies and writes responses'.
//! - [`framing`] tells RFC 7395's documents apart, writes `<open/>` and `<close/>`, and frames the
//!   documents of a session on a trunk.
//! - [`Condition`] builds stream errors; [`XmlError`] names each refusal and its condition.
#![forbid(unsafe_code)]

pub mod bosh;
mod buffer;
mod condition;
mod error;
mod escape;
pub mod framing;
mod limits;
pub mod namespace;
mod open;
pub mod stream;
pub mod xml;

pub use condition::Condition;
pub use error::XmlError;
pub use escape::{escape, write_escaped};
pub use limits::Limits;
pub use open::Open;
pub use xml::Document;
