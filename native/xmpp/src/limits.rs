//! How much one client may make a reader hold.

/// Ceilings for one document. Past any of them: `<policy-violation/>`.
///
/// A reader holds at most [`max_document`](Self::max_document) bytes of an unfinished document, and
/// beside them 56 bytes a level of depth, 40 an attribute of the tag being read, and 32 a namespace
/// declaration in scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a document, as the client sent it.
    pub max_document: usize,
    /// Elements inside one another, the root counted.
    pub max_depth: usize,
    /// Attributes of one tag, namespace declarations counted.
    pub max_attributes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_document: 256 * 1024,
            max_depth: 128,
            max_attributes: 64,
        }
    }
}

/// Namespace prefixes declared and in scope at one place, and also on one stream header or `<body/>`.
/// Stanzas use two or three; the set of those that a stanza takes from its stream is a `u64`.
pub(crate) const MAX_PREFIXES: usize = 64;

/// Bytes of a stream header. The namespaces it declares are kept as long as the stream.
pub(crate) const MAX_STREAM_HEADER: usize = 4096;

/// Bytes of an XML declaration. `<?xml version='1.0' encoding='UTF-8' standalone='yes'?>` has 55.
pub(crate) const MAX_DECLARATION: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let limits = Limits::default();
        assert_eq!(limits.max_document, 262_144);
        assert_eq!(limits.max_depth, 128);
        assert_eq!(limits.max_attributes, 64);
    }
}
