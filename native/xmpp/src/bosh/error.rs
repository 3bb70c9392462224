//! Why a body was refused.

use super::condition::Condition;
use crate::condition::Condition as StreamCondition;
use crate::error::XmlError;

/// Why a body was refused. Any of them is `bad-request`, or 400 for a client of old.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The body or something in it is no document.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// The root is not `<body/>` in `http://jabber.org/protocol/httpbind`.
    #[error("the root is not <body xmlns='http://jabber.org/protocol/httpbind'/>; send one")]
    NoBody,
    /// There's no `rid`.
    #[error("the attribute rid is missing; count requests with it")]
    NoRid,
    /// An attribute isn't what XEP-0124 says.
    #[error("the attribute {name} has no value that XEP-0124 knows; correct or omit it")]
    Attribute {
        /// Its name.
        name: &'static str,
    },
    /// Text other than white space directly in the body.
    #[error("text at byte {at} of the body; send elements alone")]
    Text {
        /// Where it starts.
        at: usize,
    },
    /// More elements directly in the body than are read.
    #[error("more than {limit} elements in the body; send fewer at once")]
    TooManyElements {
        /// The most there may be.
        limit: usize,
    },
}

impl Error {
    /// The condition to end the session with (XEP-0124, 17.2).
    pub fn condition(&self) -> Condition {
        match self {
            Self::TooManyElements { .. } => Condition::PolicyViolation,
            Self::Xml(error) if error.condition() == StreamCondition::PolicyViolation => {
                Condition::PolicyViolation
            }
            _ => Condition::BadRequest,
        }
    }
}
