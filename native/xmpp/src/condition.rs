//! The conditions of stream errors, and the documents that carry them.

use crate::escape::write_escaped;
use crate::namespace;

/// The conditions of RFC 6120, section 4.9.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Each is a subsection of RFC 6120, 4.9.3, under the same name.
pub enum Condition {
    BadFormat,
    BadNamespacePrefix,
    Conflict,
    ConnectionTimeout,
    HostGone,
    HostUnknown,
    ImproperAddressing,
    InternalServerError,
    InvalidFrom,
    InvalidNamespace,
    InvalidXml,
    NotAuthorized,
    NotWellFormed,
    PolicyViolation,
    RemoteConnectionFailed,
    Reset,
    ResourceConstraint,
    RestrictedXml,
    SeeOtherHost,
    SystemShutdown,
    UndefinedCondition,
    UnsupportedEncoding,
    UnsupportedFeature,
    UnsupportedStanzaType,
    UnsupportedVersion,
}

impl Condition {
    /// The name of its element, as `not-well-formed`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadFormat => "bad-format",
            Self::BadNamespacePrefix => "bad-namespace-prefix",
            Self::Conflict => "conflict",
            Self::ConnectionTimeout => "connection-timeout",
            Self::HostGone => "host-gone",
            Self::HostUnknown => "host-unknown",
            Self::ImproperAddressing => "improper-addressing",
            Self::InternalServerError => "internal-server-error",
            Self::InvalidFrom => "invalid-from",
            Self::InvalidNamespace => "invalid-namespace",
            Self::InvalidXml => "invalid-xml",
            Self::NotAuthorized => "not-authorized",
            Self::NotWellFormed => "not-well-formed",
            Self::PolicyViolation => "policy-violation",
            Self::RemoteConnectionFailed => "remote-connection-failed",
            Self::Reset => "reset",
            Self::ResourceConstraint => "resource-constraint",
            Self::RestrictedXml => "restricted-xml",
            Self::SeeOtherHost => "see-other-host",
            Self::SystemShutdown => "system-shutdown",
            Self::UndefinedCondition => "undefined-condition",
            Self::UnsupportedEncoding => "unsupported-encoding",
            Self::UnsupportedFeature => "unsupported-feature",
            Self::UnsupportedStanzaType => "unsupported-stanza-type",
            Self::UnsupportedVersion => "unsupported-version",
        }
    }

    /// A `<stream:error/>` of its own, with a text in English unless `text` is empty.
    ///
    /// As it is, the document fits a WebSocket message, a message to or from a trunk and the payload
    /// of a BOSH body; [`stream::Writer`](crate::stream::Writer) puts it on an XML stream.
    pub fn document(self, text: &str) -> Vec<u8> {
        let mut out = format!(
            "<stream:error xmlns:stream='{}'><{} xmlns='{}'/>",
            namespace::STREAM,
            self.name(),
            namespace::STREAM_ERROR
        )
        .into_bytes();
        if !text.is_empty() {
            out.extend_from_slice(b"<text xml:lang='en' xmlns='");
            out.extend_from_slice(namespace::STREAM_ERROR.as_bytes());
            out.extend_from_slice(b"'>");
            write_escaped(&mut out, text);
            out.extend_from_slice(b"</text>");
        }
        out.extend_from_slice(b"</stream:error>");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_a_document_of_its_own() {
        assert_eq!(
            String::from_utf8(Condition::SystemShutdown.document("")).unwrap(),
            "<stream:error xmlns:stream='http://etherx.jabber.org/streams'>\
             <system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
        );
        assert_eq!(
            String::from_utf8(Condition::NotWellFormed.document("a < b")).unwrap(),
            "<stream:error xmlns:stream='http://etherx.jabber.org/streams'>\
             <not-well-formed xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             <text xml:lang='en' xmlns='urn:ietf:params:xml:ns:xmpp-streams'>a &lt; b</text>\
             </stream:error>"
        );
    }
}
