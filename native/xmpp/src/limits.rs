//! How much one client may make a reader hold.

/// Ceilings for one document. Past any of them: `<policy-violation/>`.
///
/// A reader holds at most [`max_document`](Self::max_document) bytes of an unfinished document, and
/// beside them 28 bytes a level of depth, 20 an attribute of the tag being read, and 20 a namespace
/// prefix in scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a document, as the client sent it.
    pub max_document: usize,
    /// Elements inside one another, the root counted.
    pub max_depth: usize,
    /// Attributes of one tag, namespace declarations counted; and namespace prefixes in scope at one
    /// place.
    pub max_attributes: usize,
}

impl Limits {
    /// The most that [`max_depth`](Self::max_depth) may be for clients of a connection manager.
    ///
    /// ejabberd writes an element by a function in C that calls itself for each child, which takes the
    /// stack of a scheduler, and so ejabberd itself, with it somewhere above 2,500 elements inside one
    /// another. What ejabberd puts around a stanza comes on top.
    pub const MOST_DEPTH: usize = 1000;

    /// Elements that ejabberd may put around a stanza: an archive's result, a carbon, another one's.
    const AROUND: usize = 32;

    /// The most that [`max_attributes`](Self::max_attributes) may be for clients of a connection manager.
    pub const MOST_ATTRIBUTES: usize = 10_000;

    /// The limits for documents that come by a trunk: whatever the connection manager there lets pass, and
    /// what it gives back of ejabberd's.
    ///
    /// It has put declarations into the root's tag: of the stream's default namespace and of each prefix
    /// that was declared around the document.
    pub const fn of_trunk(max_document: usize) -> Self {
        Self {
            max_document,
            max_depth: Self::MOST_DEPTH + Self::AROUND,
            max_attributes: 2 * Self::MOST_ATTRIBUTES + 1,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_document: 256 * 1024,
            max_depth: 512,
            max_attributes: 1024,
        }
    }
}

/// Bytes of a namespace's name, as written. Each element and attribute in it may cost as much.
pub(crate) const MAX_NAMESPACE: usize = 4096;

/// Bytes that declarations of namespaces may take in `length` bytes that are written anew, so that each
/// element has those it needs. What is declared once may be needed by many.
pub(crate) const fn most_added(length: usize) -> usize {
    length.saturating_add(128 * 1024)
}

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
        assert_eq!(limits.max_depth, 512);
        assert_eq!(limits.max_attributes, 1024);
    }
}
