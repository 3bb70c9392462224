//! A document taken apart: its elements, attributes and text, as what they mean.

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes what it is told, a line each.
    #[derive(Default)]
    struct Told(String);

    impl Builder for Told {
        fn start(&mut self, name: &str) {
            self.0.push_str(&format!("<{name}\n"));
        }

        fn attribute(&mut self, name: &str, value: &str) {
            self.0.push_str(&format!("{name}={value:?}\n"));
        }

        fn text(&mut self, text: &str) {
            self.0.push_str(&format!("{text:?}\n"));
        }

        fn end(&mut self) {
            self.0.push_str(">\n");
        }
    }

    #[track_caller]
    fn told(document: &str, expected: &[&str]) {
        let mut told = Told::default();
        build(document.as_bytes(), &Limits::default(), 64, &mut told).unwrap();
        assert_eq!(told.0.lines().collect::<Vec<_>>(), expected, "{document}");
    }

    #[test]
    fn elements_attributes_and_text() {
        told("<a/>", &["<a", ">"]);
        told("<?xml version='1.0'?> <a></a> ", &["<a", ">"]);
        told(
            "<a b='1' xmlns='u' c = \"2\" xmlns:p='v'>x<d xml:e='3' xmlns='u' /> y </a  >",
            &[
                "<a",
                "xmlns=\"u\"",
                "xmlns:p=\"v\"",
                "b=\"1\"",
                "c=\"2\"",
                "\"x\"",
                "<d",
                "xmlns=\"u\"",
                "xml:e=\"3\"",
                ">",
                "\" y \"",
                ">",
            ],
        );
    }

    #[test]
    fn what_is_written_is_told_as_it_is_meant() {
        told(
            "<a b='&lt;&#9;\t&apos;>/'>&amp;x&#x41;\r\ny\rz&gt;</a>",
            &["<a", "b=\"<\\t '>/\"", "\"&xA\\ny\\nz>\"", ">"],
        );
        told(
            "<a>1<![CDATA[<b>&lt;\r\n]]]]>2&lt;<![CDATA[]]></a>",
            &["<a", "\"1<b>&lt;\\n]]2<\"", ">"],
        );
        told("<a><![CDATA[]]></a>", &["<a", ">"]);
    }

    /// What a document is told as, in the notation of XML.
    #[track_caller]
    fn respelt(document: &str, expected: &str) {
        let mut told = Written::default();
        let result = build(document.as_bytes(), &Limits::default(), 64, &mut told);
        assert_eq!(result, Ok(()), "{document}");
        assert_eq!(told.text, expected, "{document}");
    }

    #[derive(Default)]
    struct Written {
        text: String,
        open: Vec<String>,
        within_tag: bool,
    }

    impl Written {
        fn tag_ends(&mut self) {
            if std::mem::take(&mut self.within_tag) {
                self.text.push('>');
            }
        }
    }

    impl Builder for Written {
        fn start(&mut self, name: &str) {
            self.tag_ends();
            self.text.push_str(&format!("<{name}"));
            self.open.push(name.to_owned());
            self.within_tag = true;
        }

        fn attribute(&mut self, name: &str, value: &str) {
            assert!(self.within_tag);
            self.text.push_str(&format!(" {name}='{value}'"));
        }

        fn text(&mut self, text: &str) {
            self.tag_ends();
            self.text.push_str(text);
        }

        fn end(&mut self) {
            self.tag_ends();
            let name = self.open.pop().unwrap();
            self.text.push_str(&format!("</{name}>"));
        }
    }

    #[test]
    fn elements_are_told_of_without_prefix() {
        for (document, expected) in [
            ("<p:a xmlns:p='u'/>", "<a xmlns='u' xmlns:p='u'></a>"),
            (
                "<c:message xmlns:c='jabber:client' id='m'><c:body>x</c:body></c:message>",
                "<message xmlns='jabber:client' xmlns:c='jabber:client' id='m'><body>x</body></message>",
            ),
            // What is not prefixed stays in its own namespace.
            (
                "<iq xmlns='jabber:client'><q:query xmlns:q='u'><item/><q:item/></q:query><x/></iq>",
                "<iq xmlns='jabber:client'><query xmlns='u' xmlns:q='u'><item xmlns='jabber:client'></item>\
                 <item></item></query><x></x></iq>",
            ),
            (
                "<p:a xmlns:p='u'><b/><p:c><b/></p:c></p:a>",
                "<a xmlns='u' xmlns:p='u'><b xmlns=''></b><c><b xmlns=''></b></c></a>",
            ),
            (
                "<a xmlns='u'><b xmlns=''><c/><d xmlns='u'/></b><e/></a>",
                "<a xmlns='u'><b xmlns=''><c></c><d xmlns='u'></d></b><e></e></a>",
            ),
            ("<a xmlns=''/>", "<a></a>"),
            // The default namespace that its own tag declares is that of what is in it.
            (
                "<p:a xmlns:p='u' xmlns='v'><b/></p:a>",
                "<a xmlns='u' xmlns:p='u'><b xmlns='v'></b></a>",
            ),
            // A prefix that is declared again, up to the end of its element.
            (
                "<p:a xmlns:p='u'><p:b xmlns:p='v'><p:c/></p:b><p:d/></p:a>",
                "<a xmlns='u' xmlns:p='u'><b xmlns='v' xmlns:p='v'><c></c></b><d></d></a>",
            ),
            // It can't be the default namespace.
            (
                "<xml:a xmlns='u'><b/></xml:a>",
                "<xml:a><b xmlns='u'></b></xml:a>",
            ),
        ] {
            respelt(document, expected);
        }
    }

    #[test]
    fn attributes_keep_their_prefixes_and_declarations() {
        for (document, expected) in [
            (
                "<a xmlns:p='u' p:b='1' c='2' xml:lang='en'/>",
                "<a xmlns:p='u' p:b='1' c='2' xml:lang='en'></a>",
            ),
            (
                "<a xmlns:p='u' xmlns:q='v'><b p:c='1' q:c='2' p:d='3'/><b/></a>",
                "<a xmlns:p='u' xmlns:q='v'><b xmlns:p='u' xmlns:q='v' p:c='1' q:c='2' p:d='3'></b><b></b></a>",
            ),
            (
                "<p:a xmlns:p='u' to='x' p:to='y'/>",
                "<a xmlns='u' xmlns:p='u' to='x' p:to='y'></a>",
            ),
            (
                "<a xmlns:p='u'><b xmlns:p='v' p:c=''/><b p:c=''/></a>",
                "<a xmlns:p='u'><b xmlns:p='v' p:c=''></b><b xmlns:p='u' p:c=''></b></a>",
            ),
        ] {
            respelt(document, expected);
        }
    }

    #[test]
    fn elements_of_streams_have_the_prefix_by_which_they_are_known() {
        const S: &str = "http://etherx.jabber.org/streams";
        for (document, expected) in [
            (
                format!("<stream:error xmlns:stream='{S}'><a xmlns='u'/></stream:error>"),
                format!("<stream:error xmlns:stream='{S}'><a xmlns='u'></a></stream:error>"),
            ),
            (
                format!("<s:error xmlns:s='{S}' s:b=''/>"),
                format!("<stream:error xmlns:s='{S}' xmlns:stream='{S}' s:b=''></stream:error>"),
            ),
            (
                format!("<error xmlns='{S}'><a xmlns='u'/><b/></error>"),
                format!(
                    "<stream:error xmlns:stream='{S}'><a xmlns='u'></a>\
                     <stream:b xmlns:stream='{S}'></stream:b></stream:error>"
                ),
            ),
            (
                format!("<s:error xmlns:s='{S}' xmlns:stream='other' stream:a=''/>"),
                format!(
                    "<error xmlns='{S}' xmlns:s='{S}' xmlns:stream='other' stream:a=''></error>"
                ),
            ),
            (
                "<stream:a xmlns:stream='other'/>".into(),
                "<a xmlns='other' xmlns:stream='other'></a>".into(),
            ),
        ] {
            respelt(&document, &expected);
        }
    }

    /// A name that is declared once may be needed by each of many elements.
    #[test]
    fn what_is_told_is_not_much_more_than_what_is_written() {
        let namespace = "u".repeat(4000);
        let document = |tag: &str, times: usize| {
            format!(
                "<a xmlns='v' xmlns:p='{namespace}'>{}</a>",
                tag.repeat(times)
            )
        };
        let limits = Limits {
            max_document: 1 << 20,
            ..Limits::default()
        };
        for tag in ["<p:b/>", "<b p:c=''/>", "<p:b><d/></p:b>"] {
            let mut told = Written::default();
            let text = document(tag, 10);
            assert_eq!(
                build(text.as_bytes(), &limits, text.len(), &mut told),
                Ok(()),
                "{tag}"
            );
            let mut told = Written::default();
            let text = document(tag, 20_000);
            let error = build(text.as_bytes(), &limits, text.len(), &mut told).unwrap_err();
            assert!(
                matches!(error, XmlError::TooManyNamespaces { .. }),
                "{tag}: {error}"
            );
            assert!(
                told.text.len() < 5 * text.len(),
                "{tag}: {}",
                told.text.len()
            );
        }
    }

    #[test]
    fn of_what_is_refused_nothing_is_told() {
        for document in [
            "",
            "x",
            "<a>",
            "<a/><b/>",
            "<a><!-- c --></a>",
            "<a>&nope;</a>",
            "<!DOCTYPE a><a/>",
            "<a><b/><c/></a>",
        ] {
            let mut told = Told::default();
            assert!(
                build(document.as_bytes(), &Limits::default(), 2, &mut told).is_err(),
                "{document}"
            );
            assert_eq!(told.0, "", "{document}");
        }
    }
}
