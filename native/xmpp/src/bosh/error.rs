//! Why a body was refused.

use super::condition::Condition;
use crate::condition::Condition as StreamCondition;
use crate::error::XmlError;

/// Why a body was refused. Any of them is `bad-request`, or 400 for a client of old.
///
/// What means nothing refuses nobody: unknown attributes, values of `secure`, `ver` and `type` that are none,
/// an encoding that the text says it has, text beside the elements. Three things are refused that ejabberd
/// takes: comments and processing instructions, which no XMPP may have (XEP-0124, section 5; RFC 6120, 11.1);
/// a body in no namespace, since a name means what its namespace says; and a `rid` past
/// [`MAX_RID`](super::MAX_RID), behind which there may be no next one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The body or something in it is no document.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// The root is not `<body/>` in `http://jabber.org/protocol/httpbind`.
    #[error("the root is not <body xmlns='http://jabber.org/protocol/httpbind'/>; send one")]
    NoBody,
    /// There's no `rid`.
    #[error("the attribute rid is missing; number the requests with it")]
    NoRid,
    /// An attribute isn't what XEP-0124 says.
    #[error("the attribute {name} has a value that XEP-0124 does not allow; correct or omit it")]
    Attribute {
        /// Its name.
        name: &'static str,
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
