//! Documents into an XML stream's bytes.

use crate::framing::Kind;
use crate::namespace;
use crate::open::Open;
use crate::xml::Root;

/// What the header declares.
const DECLARED: &[(&str, &str)] = &[
    ("xmlns", namespace::CLIENT),
    ("xmlns:stream", namespace::STREAM),
];

/// Writes the documents of a session, those of RFC 7395, as an XML stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writer {
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Start,
    Open,
    Closed,
}

impl Writer {
    /// At the start of a stream.
    pub const fn new() -> Self {
        Self {
            phase: Phase::Start,
        }
    }

    /// Writes a document at the end of `out`, and says what it was.
    ///
    /// `<open/>` becomes a stream header, `<close/>` the stream's end tag. Of other documents the root's
    /// tag loses the declarations that the header has; all else is as it was. A document that comes
    /// before `<open/>`, as a stream error may, gets a header in front (RFC 6120, 4.9.1.2). After
    /// `<close/>` nothing is written but a new header.
    ///
    /// The document must be well-formed; `None`, with nothing written, when it doesn't start with a tag.
    pub fn write<'a>(&mut self, out: &mut Vec<u8>, document: &'a [u8]) -> Option<Kind<'a>> {
        let root = Root::new(document)?;
        let kind = Kind::of_root(&root);
        if let Kind::Open(open) = &kind {
            self.open(out, open);
            return Some(kind);
        }
        if self.phase == Phase::Start {
            self.open(
                out,
                &Open {
                    version: Some("1.0".into()),
                    ..Open::default()
                },
            );
        }
        if self.phase == Phase::Open {
            match kind {
                Kind::Close { .. } => {
                    out.extend_from_slice(b"</stream:stream>");
                    self.phase = Phase::Closed;
                }
                _ => root.write_without(out, document, DECLARED),
            }
        }
        Some(kind)
    }

    fn open(&mut self, out: &mut Vec<u8>, open: &Open<'_>) {
        open.write_header(out);
        self.phase = Phase::Open;
    }
}
