//! What opens a stream, in each framing.

use std::borrow::Cow;

use crate::escape::write_attribute;
use crate::namespace;
use crate::xml::Root;

/// The attributes of a stream header (RFC 6120, 4.7), which are those of `<open/>` (RFC 7395, 3.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Open<'a> {
    /// The addressee: from a client, the domain it wants.
    pub to: Option<Cow<'a, str>>,
    /// The sender: from a server, the domain it serves.
    pub from: Option<Cow<'a, str>>,
    /// The stream's id, which a server chooses.
    pub id: Option<Cow<'a, str>>,
    /// `1.0` from everything that implements RFC 6120.
    pub version: Option<Cow<'a, str>>,
    /// `xml:lang`, the language of the stream's texts.
    pub lang: Option<Cow<'a, str>>,
}

impl<'a> Open<'a> {
    pub(crate) fn of(root: &Root<'a>) -> Self {
        let mut open = Self::default();
        for attribute in root.attributes() {
            open.set(attribute.name, attribute.value);
        }
        open
    }

    /// Takes the attribute if it's one of these; `raw` is its value as written.
    pub(crate) fn set(&mut self, name: &[u8], raw: &'a [u8]) {
        let field = match name {
            b"to" => &mut self.to,
            b"from" => &mut self.from,
            b"id" => &mut self.id,
            b"version" => &mut self.version,
            b"xml:lang" => &mut self.lang,
            _ => return,
        };
        *field = Some(crate::escape::unescape(raw));
    }

    /// Writes `<open/>` at the end of `out`.
    pub fn write_document(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<open");
        write_attribute(out, "xmlns", namespace::FRAMING);
        self.write_attributes(out);
        out.extend_from_slice(b"/>");
    }

    /// Writes an XML declaration and `<stream:stream>` at the end of `out`.
    pub fn write_header(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<?xml version='1.0'?><stream:stream");
        write_attribute(out, "xmlns", namespace::CLIENT);
        write_attribute(out, "xmlns:stream", namespace::STREAM);
        self.write_attributes(out);
        out.push(b'>');
    }

    fn write_attributes(&self, out: &mut Vec<u8>) {
        for (name, value) in [
            ("to", &self.to),
            ("from", &self.from),
            ("id", &self.id),
            ("version", &self.version),
            ("xml:lang", &self.lang),
        ] {
            if let Some(value) = value {
                write_attribute(out, name, value);
            }
        }
    }
}
