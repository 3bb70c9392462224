//! The root's tag of a document that is known to be well-formed, read as far as one needs.

use std::borrow::Cow;
use std::ops::Range;

use super::characters::{is_space, skip_space};
use crate::escape::unescape;

/// The start tag of a document's root.
///
/// It reads only this tag. The document must be well-formed, as from ejabberd or as a
/// [`Document`](super::Document) is; of others nothing sensible comes out, but nothing bad happens.
#[derive(Clone, Copy, Debug)]
pub struct Root<'a> {
    name: &'a [u8],
    /// What follows the name.
    rest: &'a [u8],
    /// Where `rest` starts in the document.
    offset: usize,
}

/// An attribute's places in the document.
#[derive(Clone, Debug)]
pub(crate) struct RootAttribute<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
    /// From the white space before its name to after its last quote.
    pub(crate) place: Range<usize>,
}

impl<'a> Root<'a> {
    /// `None` when the document doesn't start with `<` and a name.
    pub fn new(document: &'a [u8]) -> Option<Self> {
        let inside = document.strip_prefix(b"<")?;
        let length = inside
            .iter()
            .position(|byte| is_space(*byte) || matches!(byte, b'/' | b'>'))?;
        let (name, rest) = inside.split_at_checked(length)?;
        if name.is_empty() || matches!(name.first(), Some(b'?' | b'!')) {
            return None;
        }
        Some(Self {
            name,
            rest,
            offset: 1 + length,
        })
    }

    pub(super) fn after_name(rest: &'a [u8]) -> Self {
        Self {
            name: b"",
            rest,
            offset: 0,
        }
    }

    /// Its name as written, with the prefix.
    pub fn name(&self) -> &'a str {
        std::str::from_utf8(self.name).unwrap_or_default()
    }

    /// Its name without the prefix.
    pub fn local_name(&self) -> &'a str {
        let name = self.name();
        name.split_once(':').map_or(name, |(_, local)| local)
    }

    /// Its namespace as far as it's declared in this tag, else `None`.
    pub fn namespace(&self) -> Option<Cow<'a, str>> {
        match self.name().split_once(':') {
            None => self.attribute("xmlns"),
            Some((prefix, _)) => self
                .attributes()
                .find(|attribute| attribute.name.strip_prefix(b"xmlns:") == Some(prefix.as_bytes()))
                .map(|attribute| unescape(attribute.value)),
        }
    }

    /// What the attribute of this name, as written, means.
    pub fn attribute(&self, name: &str) -> Option<Cow<'a, str>> {
        self.attributes()
            .find(|attribute| attribute.name == name.as_bytes())
            .map(|attribute| unescape(attribute.value))
    }

    /// Where the tag's name ends in the document.
    pub(crate) fn name_end(&self) -> usize {
        self.offset
    }

    /// Writes the document whose root this is without these attributes, given by name and value.
    pub(crate) fn write_without(
        &self,
        out: &mut Vec<u8>,
        document: &[u8],
        attributes: &[(&str, &str)],
    ) {
        let mut written = 0;
        for attribute in self.attributes() {
            let left_out = attributes.iter().any(|(name, value)| {
                attribute.name == name.as_bytes() && attribute.value == value.as_bytes()
            });
            if left_out {
                let before = document.get(written..attribute.place.start);
                out.extend_from_slice(before.unwrap_or_default());
                written = attribute.place.end;
            }
        }
        out.extend_from_slice(document.get(written..).unwrap_or_default());
    }

    pub(crate) fn attributes(&self) -> impl Iterator<Item = RootAttribute<'a>> + use<'a> {
        let rest = self.rest;
        let offset = self.offset;
        let mut position = 0;
        std::iter::from_fn(move || {
            let (mut attribute, end) = next_attribute(rest, position)?;
            position = end;
            attribute.place.start += offset;
            attribute.place.end += offset;
            Some(attribute)
        })
    }
}

pub(super) fn next_attribute(bytes: &[u8], from: usize) -> Option<(RootAttribute<'_>, usize)> {
    let start = skip_space(bytes, from);
    if matches!(bytes.get(start)?, b'/' | b'>') {
        return None;
    }
    let equals = start + memchr::memchr(b'=', bytes.get(start..)?)?;
    let name = bytes.get(start..equals)?.trim_ascii_end();
    let quote = skip_space(bytes, equals + 1);
    let value_start = quote + 1;
    let length = memchr::memchr(*bytes.get(quote)?, bytes.get(value_start..)?)?;
    let value_end = value_start + length;
    let attribute = RootAttribute {
        name,
        value: bytes.get(value_start..value_end)?,
        place: from..value_end + 1,
    };
    Some((attribute, value_end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_tag() {
        let root = Root::new(b"<a:b xmlns:a = \"u&amp;v\" to='x>y'\n id='1'/>").unwrap();
        assert_eq!(root.name(), "a:b");
        assert_eq!(root.local_name(), "b");
        assert_eq!(root.namespace().unwrap(), "u&v");
        assert_eq!(root.attribute("to").unwrap(), "x>y");
        assert_eq!(root.attribute("id").unwrap(), "1");
        assert_eq!(root.attribute("from"), None);
        let root = Root::new(b"<b><c to='x'/></b>").unwrap();
        assert_eq!(root.namespace(), None);
        assert_eq!(root.attribute("to"), None);
    }

    #[test]
    fn what_is_no_document_has_no_root() {
        for bytes in [
            "", "<", "x", "<a", "<>", "< a>", "<?xml?>", "<!--a-->", "</",
        ] {
            assert!(Root::new(bytes.as_bytes()).is_none(), "{bytes}");
        }
        for bytes in ["<a b", "<a b=", "<a b='", "<a =", "<a ='x'"] {
            if let Some(root) = Root::new(bytes.as_bytes()) {
                assert_eq!(root.attribute("b"), None, "{bytes}");
            }
        }
    }
}
