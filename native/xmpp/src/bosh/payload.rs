//! The elements in a request's body.

use super::error::Error;
use crate::error::XmlError;
use crate::limits::{Limits, most_added};
use crate::xml::{Document, Progress, Scanner, Scope, Until, skip_space};

/// Elements in one body. Each costs about a hundred bytes beside its own, which may be four.
const MAX_ELEMENTS: usize = 4096;

/// Reads the elements from `position` on up to the end tag of `name`; the place behind that. Of the scanner
/// only its memory is used.
pub(super) fn payload<'a>(
    scanner: &mut Scanner,
    bytes: &'a [u8],
    mut position: usize,
    name: &[u8],
    scope: Scope<'a, '_>,
    limits: &Limits,
    documents: &mut Vec<Document<'a>>,
) -> Result<usize, Error> {
    // What is declared on the body is there once, but comes with each element that uses it.
    let limit = most_added(bytes.len());
    let mut room = limit;
    loop {
        position = skip_text(bytes, position);
        let rest = bytes.get(position..).unwrap_or_default();
        match rest {
            [] | [b'<'] => return Err(XmlError::Unfinished { at: bytes.len() }.into()),
            [b'<', b'/', end @ ..] => return end_tag(end, position, name),
            _ => {}
        }
        if documents.len() >= MAX_ELEMENTS {
            return Err(Error::TooManyElements {
                limit: MAX_ELEMENTS,
            });
        }
        scanner.restart();
        let Progress::End(length) = scanner.scan(rest, &scope, limits, Until::End)? else {
            return Err(XmlError::Unfinished { at: bytes.len() }.into());
        };
        let document = rest.get(..length).unwrap_or_default();
        let document = Document::new(document, scanner, &scope);
        let added = document.len() - length;
        room = room
            .checked_sub(added)
            .ok_or(XmlError::TooManyNamespaces { limit })?;
        documents.push(document);
        position += length;
    }
}

/// Behind the text at `position`, which is nobody's: it means nothing, and ejabberd does not get it.
fn skip_text(bytes: &[u8], mut position: usize) -> usize {
    const SECTION: &[u8] = b"<![CDATA[";
    const SECTION_END: &[u8] = b"]]>";
    loop {
        let rest = bytes.get(position..).unwrap_or_default();
        let Some(mark) = memchr::memchr(b'<', rest) else {
            return bytes.len();
        };
        position += mark;
        let section = rest.get(mark..).unwrap_or_default();
        if !section.starts_with(SECTION) {
            return position;
        }
        match memchr::memmem::find(section, SECTION_END) {
            Some(end) => position += end + SECTION_END.len(),
            None => return bytes.len(),
        }
    }
}

/// `rest` follows the `</` at `position`.
fn end_tag(rest: &[u8], position: usize, name: &[u8]) -> Result<usize, Error> {
    let mismatch = XmlError::MismatchedEndTag { at: position };
    let Some(after) = rest.strip_prefix(name) else {
        return Err(if name.starts_with(rest) {
            XmlError::Unfinished {
                at: position + 2 + rest.len(),
            }
        } else {
            mismatch
        }
        .into());
    };
    let space = skip_space(after, 0);
    match after.get(space) {
        Some(b'>') => Ok(position + 2 + name.len() + space + 1),
        Some(_) => Err(mismatch.into()),
        None => Err(XmlError::Unfinished {
            at: position + 2 + rest.len(),
        }
        .into()),
    }
}
