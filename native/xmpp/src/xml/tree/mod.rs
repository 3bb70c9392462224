//! A document taken apart: its elements, attributes and text, as what they mean.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use super::characters::{is_space, skip_space};
use super::parts::Parts;
use super::root::next_attribute;
use super::spelling::Spelling;
use crate::error::XmlError;
use crate::escape::{Reference, reference, unescape};
use crate::limits::Limits;
use crate::namespace;

/// What is told of a document's parts, in their order.
pub trait Builder {
    /// An element starts.
    fn start(&mut self, name: &str);
    /// An attribute of the element that has just started; the declarations of namespaces come first.
    fn attribute(&mut self, name: &str, value: &str);
    /// Text, all of it up to the next tag.
    fn text(&mut self, text: &str);
    /// The innermost element ends.
    fn end(&mut self);
}

/// [`check`](super::check)s that `bytes` are exactly one document, of at most so many elements, and tells
/// the builder of it. In all it may have eight times as many attributes as elements.
///
/// References are resolved, values and line ends normalised as XML 1.0 has it (2.11, 3.3.3), CDATA
/// sections are text. Names are spelled as ejabberd knows them: elements by their local name, with `xmlns`
/// where the namespace changes, and those of streams themselves with the prefix `stream`. What is written
/// so is told of as it is.
///
/// A builder is of no use after an error.
pub fn build(
    bytes: &[u8],
    limits: &Limits,
    max_elements: usize,
    builder: &mut impl Builder,
) -> Result<(), XmlError> {
    let document = super::check(bytes, limits)?;
    let is_plain = !document.is_prefixed() && document.namespace() != namespace::STREAM;
    let text = bytes.get(super::start(bytes)?..).unwrap_or_default();
    if Parts::may_pass(max_elements, text) {
        let mut parts = Parts::default();
        tell(text, is_plain, &mut parts)?;
        parts.check(max_elements)?;
    }
    tell(text, is_plain, builder)
}

/// `is_plain`: as it is spelled.
fn tell(text: &[u8], is_plain: bool, builder: &mut impl Builder) -> Result<(), XmlError> {
    if is_plain {
        walk(text, builder);
        return Ok(());
    }
    let mut spelling = Spelling::new(builder, text.len());
    walk(text, &mut spelling);
    spelling.finish()
}

fn walk(bytes: &[u8], builder: &mut impl Builder) {
    Walk {
        bytes,
        text: String::new(),
        depth: 0,
        builder,
    }
    .document();
}

/// A way through a document that is known to be well-formed.
struct Walk<'a, 'b, B> {
    /// What is left of it.
    bytes: &'a [u8],
    /// Text that is not in the document as it is meant; empty between two tags.
    text: String,
    depth: usize,
    builder: &'b mut B,
}

const CDATA: &[u8] = b"<![CDATA[";

impl<B: Builder> Walk<'_, '_, B> {
    fn document(&mut self) {
        self.tag();
        while self.depth > 0 && !self.bytes.is_empty() {
            self.content();
            self.tag();
        }
    }

    /// A start tag or an end tag.
    fn tag(&mut self) {
        if self.bytes.get(1) == Some(&b'/') {
            let end = memchr::memchr(b'>', self.bytes);
            self.skip(end.map_or(self.bytes.len(), |end| end + 1));
            self.end();
            return;
        }
        let name = self.bytes.get(1..).unwrap_or_default();
        let length = name
            .iter()
            .position(|byte| is_space(*byte) || matches!(byte, b'/' | b'>'));
        let (name, rest) = name.split_at(length.unwrap_or(name.len()));
        self.builder.start(str(name));
        self.depth += 1;
        let end = self.attributes(rest);
        match rest.get(end) {
            Some(b'/') => {
                self.bytes = rest.get(end + 2..).unwrap_or_default();
                self.end();
            }
            _ => self.bytes = rest.get(end + 1..).unwrap_or_default(),
        }
    }

    /// What the tag ends with stands at the place that is answered.
    fn attributes(&mut self, rest: &[u8]) -> usize {
        let mut position = 0;
        let mut others = false;
        while let Some((attribute, end)) = next_attribute(rest, position) {
            match attribute.name {
                name if is_declaration(name) => self.attribute(name, attribute.value),
                _ => others = true,
            }
            position = end;
        }
        let end = skip_space(rest, position);
        position = 0;
        while others && let Some((attribute, end)) = next_attribute(rest, position) {
            if !is_declaration(attribute.name) {
                self.attribute(attribute.name, attribute.value);
            }
            position = end;
        }
        end
    }

    fn attribute(&mut self, name: &[u8], value: &[u8]) {
        self.builder.attribute(str(name), &unescape(value));
    }

    /// All up to the next tag.
    fn content(&mut self) {
        while !self.bytes.is_empty() {
            let is_cdata = self.bytes.starts_with(CDATA);
            let end = if is_cdata {
                memchr::memmem::find(self.bytes, b"]]>")
            } else {
                memchr::memchr(b'<', self.bytes)
            };
            let bytes = self.bytes;
            let (run, after) = bytes.split_at(end.unwrap_or(bytes.len()));
            let (run, after) = if is_cdata {
                (
                    run.get(CDATA.len()..).unwrap_or_default(),
                    after.get(3..).unwrap_or_default(),
                )
            } else {
                (run, after)
            };
            self.bytes = after;
            let is_last = after.starts_with(b"<") && !after.starts_with(CDATA);
            let text = if is_cdata {
                line_ends(run)
            } else {
                characters(run)
            };
            if is_last && self.text.is_empty() {
                if !text.is_empty() {
                    self.builder.text(&text);
                }
                return;
            }
            self.text.push_str(&text);
            if is_last {
                self.builder.text(&self.text);
                self.text.clear();
                return;
            }
        }
    }

    fn end(&mut self) {
        self.builder.end();
        self.depth -= 1;
    }

    fn skip(&mut self, length: usize) {
        self.bytes = self.bytes.get(length..).unwrap_or_default();
    }
}

fn is_declaration(name: &[u8]) -> bool {
    name.strip_prefix(b"xmlns")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b":"))
}

fn str(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Character data: references resolved, line ends normalised.
fn characters(raw: &[u8]) -> Cow<'_, str> {
    let text = str(raw);
    if memchr::memchr2(b'&', b'\r', raw).is_none() {
        return Cow::Borrowed(text);
    }
    let mut meant = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'&', b'\r', rest.as_bytes()) {
        let (plain, special) = rest.split_at(at);
        meant.push_str(plain);
        let taken = match reference(special.as_bytes()) {
            Reference::Character(character, length) if special.starts_with('&') => {
                meant.push(character);
                length
            }
            _ => line_end(special, &mut meant),
        };
        rest = special.get(taken..).unwrap_or_default();
    }
    meant.push_str(rest);
    Cow::Owned(meant)
}

/// The text of a CDATA section: line ends normalised.
fn line_ends(raw: &[u8]) -> Cow<'_, str> {
    let text = str(raw);
    match memchr::memchr(b'\r', raw) {
        None => Cow::Borrowed(text),
        Some(_) => Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n")),
    }
}

/// How many bytes the line end at the start has.
fn line_end(text: &str, meant: &mut String) -> usize {
    meant.push('\n');
    if text.starts_with("\r\n") { 2 } else { 1 }
}
