//! Why a stream can't be read any further.

use crate::condition::Condition;
use crate::error::XmlError;

/// Why a stream can't be read any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The header, or what is in the stream, is no document.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// Text other than white space directly in the stream.
    #[error("text between the stanzas; send elements alone")]
    Text,
    /// The root is in the right namespace, but not `stream`, or it's empty.
    #[error("the root is not <stream:stream>; open a stream")]
    NoStream,
    /// The root is not in `http://etherx.jabber.org/streams`.
    #[error("the root is not in the namespace http://etherx.jabber.org/streams; open a stream")]
    StreamNamespace,
    /// The root is `<stream>`, without the prefix that its namespace needs.
    #[error("<stream> without prefix; send <stream:stream>")]
    NoPrefix,
    /// The default namespace isn't `jabber:client`.
    #[error("the stream's default namespace is not jabber:client; declare xmlns='jabber:client'")]
    ContentNamespace,
}

impl StreamError {
    /// The stream error to send (RFC 6120, 4.9.3).
    pub const fn condition(&self) -> Condition {
        match self {
            Self::Xml(error) => error.condition(),
            Self::Text | Self::NoStream => Condition::BadFormat,
            Self::StreamNamespace | Self::ContentNamespace => Condition::InvalidNamespace,
            Self::NoPrefix => Condition::BadNamespacePrefix,
        }
    }
}
