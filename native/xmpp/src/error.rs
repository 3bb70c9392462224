//! Why a document was refused, one named reason each.

use crate::condition::Condition;

/// Why a document was refused. `Display` is one sentence for the client: what, where, what to do.
///
/// `at` is a byte offset, counted from the document's `<` (or, in an XML stream, from the `<` of the
/// header, the stanza or whatever else stands directly in the stream; in BOSH from that of `<body`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are the same few everywhere: at, limit.
pub enum XmlError {
    /// Bytes that aren't UTF-8 (RFC 6120, 11.6).
    #[error("invalid UTF-8 at byte {at}; send UTF-8")]
    InvalidUtf8 { at: usize },
    /// A character that XML 1.0 has no place for, as most control characters.
    #[error("a character that XML forbids at byte {at}; leave it out")]
    InvalidCharacter { at: usize },
    /// Something else than an element where one must start.
    #[error("no element starts at byte {at}; send `<` and a name")]
    NoElement { at: usize },
    /// A name that is none: empty, starting with a digit, with two colons ...
    #[error(
        "an invalid name of an element or attribute at byte {at}; use names of XML and Namespaces in XML"
    )]
    InvalidName { at: usize },
    /// A tag that goes on in no way that XML knows.
    #[error(
        "a malformed tag at byte {at}; write attributes as name='value' with a space before each"
    )]
    MalformedTag { at: usize },
    /// `<` in an attribute's value.
    #[error("`<` in an attribute's value at byte {at}; write `&lt;`")]
    LessThanInValue { at: usize },
    /// `]]>` in text (XML 1.0, 2.4).
    #[error("`]]>` in text at byte {at}; write `]]&gt;`")]
    CdataEndInText { at: usize },
    /// An end tag that closes another element than the innermost open one.
    #[error(
        "the end tag at byte {at} is not that of the innermost open element; close elements in order"
    )]
    MismatchedEndTag { at: usize },
    /// The same attribute twice, by its name or by its namespace and local name.
    #[error("an attribute of the tag that ends at byte {at} is there twice; send it once")]
    DuplicateAttribute { at: usize },
    /// A namespace prefix without a declaration.
    #[error(
        "a namespace prefix in the tag that ends at byte {at} is not declared; declare it with xmlns:prefix"
    )]
    UnboundPrefix { at: usize },
    /// A declaration of `xml`, `xmlns` or their namespaces, of an empty one for a prefix, or of one with a
    /// line feed.
    #[error(
        "a namespace declaration in the tag that ends at byte {at} is not allowed; leave xml, xmlns, empty names and line feeds out"
    )]
    InvalidDeclaration { at: usize },
    /// An `&` that starts no reference, or a reference to a character that XML forbids.
    #[error("a malformed reference at byte {at}; write `&amp;` for an ampersand")]
    MalformedReference { at: usize },
    /// The document ends before its root element does.
    #[error("the document ends unfinished after {at} bytes; send it whole")]
    Unfinished { at: usize },
    /// Something follows the root element.
    #[error("something follows the root element at byte {at}; send one element alone")]
    AfterRoot { at: usize },
    /// An XML declaration that is malformed or of another version than 1.x.
    #[error("a malformed XML declaration; send <?xml version='1.0'?> or none")]
    MalformedDeclaration,

    /// An encoding other than UTF-8, declared or by its byte order mark.
    #[error("an encoding other than UTF-8; send UTF-8")]
    UnsupportedEncoding,

    /// `<!--` (RFC 6120, 11.1).
    #[error("a comment at byte {at}; XMPP has none, leave it out")]
    Comment { at: usize },
    /// `<?` where no XML declaration may stand (RFC 6120, 11.1).
    #[error("a processing instruction at byte {at}; XMPP has none, leave it out")]
    ProcessingInstruction { at: usize },
    /// `<!DOCTYPE` and its like (RFC 6120, 11.1).
    #[error("a document type declaration at byte {at}; XMPP has none, leave it out")]
    DocumentType { at: usize },
    /// A reference to an entity that isn't one of the five predefined (RFC 6120, 11.1).
    #[error("an unknown entity at byte {at}; use lt, gt, amp, apos and quot alone")]
    EntityReference { at: usize },

    /// Past [`Limits::max_document`](crate::Limits::max_document), or the limit of a stream header.
    #[error("longer than {limit} bytes; send less at once")]
    TooLong { limit: usize },
    /// Past [`Limits::max_depth`](crate::Limits::max_depth).
    #[error("elements are nested more than {limit} deep at byte {at}; nest fewer")]
    TooDeep { at: usize, limit: usize },
    /// Past [`Limits::max_attributes`](crate::Limits::max_attributes).
    #[error("more than {limit} attributes in a tag at byte {at}; send fewer")]
    TooManyAttributes { at: usize, limit: usize },
    /// More elements than the document may have in all.
    #[error("more than {limit} elements; send less at once")]
    TooManyElements { limit: usize },
    /// More attributes than the document may have in all.
    #[error("more than {limit} attributes in all; send less at once")]
    TooManyAttributesInAll { limit: usize },
    /// More namespace prefixes in scope than [`Limits::max_attributes`](crate::Limits::max_attributes).
    #[error("more than {limit} namespace prefixes in scope at byte {at}; declare fewer")]
    TooManyPrefixes { at: usize, limit: usize },
    /// The name of a namespace is longer than any.
    #[error(
        "the name of a namespace in the tag that ends at byte {at} has more than {limit} bytes; use a short one"
    )]
    LongNamespace { at: usize, limit: usize },
    /// Elements change their namespace so often that what says it takes more room than all else.
    #[error(
        "the namespaces of the elements take more than {limit} bytes where each says its own; use fewer or shorter ones"
    )]
    TooManyNamespaces { limit: usize },
}

impl XmlError {
    /// The stream error to end the stream with (RFC 6120, 4.9.3).
    pub const fn condition(&self) -> Condition {
        match self {
            Self::InvalidUtf8 { .. }
            | Self::InvalidCharacter { .. }
            | Self::NoElement { .. }
            | Self::InvalidName { .. }
            | Self::MalformedTag { .. }
            | Self::LessThanInValue { .. }
            | Self::CdataEndInText { .. }
            | Self::MismatchedEndTag { .. }
            | Self::DuplicateAttribute { .. }
            | Self::UnboundPrefix { .. }
            | Self::InvalidDeclaration { .. }
            | Self::MalformedReference { .. }
            | Self::Unfinished { .. }
            | Self::AfterRoot { .. }
            | Self::MalformedDeclaration => Condition::NotWellFormed,
            Self::UnsupportedEncoding => Condition::UnsupportedEncoding,
            Self::Comment { .. }
            | Self::ProcessingInstruction { .. }
            | Self::DocumentType { .. }
            | Self::EntityReference { .. } => Condition::RestrictedXml,
            Self::TooLong { .. }
            | Self::TooDeep { .. }
            | Self::TooManyAttributes { .. }
            | Self::TooManyElements { .. }
            | Self::TooManyAttributesInAll { .. }
            | Self::TooManyPrefixes { .. }
            | Self::LongNamespace { .. }
            | Self::TooManyNamespaces { .. } => Condition::PolicyViolation,
        }
    }
}
