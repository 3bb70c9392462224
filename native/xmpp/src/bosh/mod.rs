//! BOSH's `<body/>` (XEP-0124, XEP-0206): requests read, responses written.
//!
//! [`Request::read`] makes documents of what is inside a request; [`Response`] puts documents into a
//! body. What a session does with them, and when, is not known here.

mod addressee;
mod condition;
mod error;
mod payload;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub use addressee::Addressee;
pub use condition::Condition;
pub use error::Error;
pub use request::{MAX_RID, Request, Type, Version};
pub use response::{Outcome, Response};
