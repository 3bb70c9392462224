//! How much one client may make a decoder hold.

/// Ceilings for one connection. Every one is in bytes except [`max_headers`](Self::max_headers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The request line and all header fields, the empty line included. Past it: 431.
    pub max_head: usize,
    /// Header fields in a head. Past it: 431.
    pub max_headers: usize,
    /// A `Content-Length` body up to this size is collected and handed over whole; a larger one is
    /// streamed.
    pub max_collected_body: usize,
    /// A chunked body has to be collected, because its `Content-Length` comes before it. Past it: 413.
    pub max_chunked_body: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_head: 64 * 1024,
            max_headers: 100,
            max_collected_body: 64 * 1024,
            max_chunked_body: 20 * 1024 * 1024,
        }
    }
}

/// Empty lines tolerated before a request line (RFC 9112, section 2.2, asks for at least one).
pub(crate) const MAX_EMPTY_LINES: u8 = 8;

/// A chunk's size in hexadecimal digits and its extensions, without the line end. Sizes need 16 digits
/// at most and nobody is known to send extensions, so this is generous.
pub(crate) const MAX_CHUNK_LINE: u32 = 1024;

/// All chunk extensions of one body: without it, one byte of body could cost a line of extensions.
pub(crate) const MAX_CHUNK_EXTENSIONS: u32 = 16 * 1024;

/// All trailer fields of one body. They are dropped, so there's no reason to read many.
pub(crate) const MAX_TRAILERS: u32 = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let limits = Limits::default();
        assert_eq!(limits.max_head, 65_536);
        assert_eq!(limits.max_headers, 100);
        assert_eq!(limits.max_collected_body, 65_536);
        assert_eq!(limits.max_chunked_body, 20_971_520);
    }
}
