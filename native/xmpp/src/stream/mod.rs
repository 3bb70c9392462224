//! XML streams (RFC 6120, section 4) to documents and back.
//!
//! [`Reader`] makes documents of what a client sends, [`Writer`] makes a stream of the documents that
//! ejabberd sends (those of RFC 7395).

mod error;
mod header;
mod reader;
#[cfg(test)]
mod tests;
mod unfinished;
mod writer;

pub use error::StreamError;
pub use reader::{Event, Reader};
pub use writer::Writer;
