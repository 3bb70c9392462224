//! Which session a request is for, before all of it is there.

use std::borrow::Cow;

use super::request::first_tag;
use crate::error::XmlError;
use crate::escape::unescape;
use crate::limits::Limits;
use crate::xml::Progress;

/// The session that a request is for, as far as the first bytes of its body say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addressee<'a> {
    /// The one with this id.
    Session(Cow<'a, str>),
    /// None: there is no `sid` in the first tag, or this is no document.
    Nobody,
    /// The first tag is not whole.
    Unclear,
}

impl<'a> Addressee<'a> {
    /// Reads the first tag, which has to be as [`Request::read`](super::Request::read) wants it; whether it
    /// is `<body/>` shows when all is there.
    pub fn read(bytes: &'a [u8], limits: &Limits) -> Self {
        match sid(bytes, limits) {
            Ok(Some(sid)) => Self::Session(sid),
            Ok(None) => Self::Nobody,
            Err(XmlError::Unfinished { .. }) => Self::Unclear,
            Err(_) => Self::Nobody,
        }
    }
}

fn sid<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Option<Cow<'a, str>>, XmlError> {
    let (bytes, scanner, progress) = first_tag(bytes, limits)?;
    if let Progress::Unfinished = progress {
        return Err(XmlError::Unfinished { at: bytes.len() });
    }
    let mut attributes = scanner.attributes().iter();
    let sid = attributes.find(|attribute| attribute.name.whole(bytes) == b"sid");
    Ok(sid.map(|attribute| unescape(attribute.value(bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Addressee<'_> {
        Addressee::read(text.as_bytes(), &Limits::default())
    }

    #[test]
    fn the_first_tag_says_it() {
        let session = |sid| Addressee::Session(Cow::Borrowed(sid));
        for (text, expected) in [
            ("<body rid='1' sid='abc'>", session("abc")),
            ("<body rid='1' sid='abc'><message", session("abc")),
            ("<body sid=\"abc\"/>", session("abc")),
            ("<?xml version='1.0'?>\n<body sid='abc'>", session("abc")),
            ("\u{feff}<body sid='abc'>", session("abc")),
            ("<x:body xmlns:x='y' sid='abc'>", session("abc")),
            ("<body rid='1'>", Addressee::Nobody),
            ("<body><message sid='abc'>", Addressee::Nobody),
            ("text", Addressee::Nobody),
            ("<body <", Addressee::Nobody),
            ("<!DOCTYPE a>", Addressee::Nobody),
            ("<body sid='a' sid='b'>", Addressee::Nobody),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        let text = "<?xml version='1.0'?><body rid='1' sid='abc'>";
        for cut in 0..text.len() {
            assert_eq!(read(&text[..cut]), Addressee::Unclear, "{cut}");
        }
    }
}
