//! XML as XMPP allows it (RFC 6120, section 11): checked, and passed on byte for byte.
//!
//! [`Document`] is what comes out; [`check`] makes one of bytes that are there whole, the readers of
//! [`stream`](crate::stream) and [`bosh`](crate::bosh) of what arrives in pieces or in a `<body/>`.
//! [`build`] takes a document apart into its elements, which have names as ejabberd spells them.
//!
//! Names are compared by what they mean, a namespace and a local part, here and wherever a document is
//! looked at. What is checked: XML 1.0 and Namespaces in XML 1.0 as far as a document without document type can
//! break them, UTF-8, no comments, no processing instructions, no entities but the five, and
//! [`Limits`]. The first thing wrong from the left is what is reported, in any chunking.

mod characters;
mod declaration;
mod document;
mod names;
mod parts;
mod place;
mod root;
mod scanner;
mod scope;
mod spelling;
mod tag;
#[cfg(test)]
mod tests;
mod tree;

pub use document::Document;
pub use root::Root;
pub use tree::{Builder, build};

pub(crate) use characters::{is_space, skip_space};
pub(crate) use declaration::{Declaration, Encoding, declaration};
pub(crate) use place::{Name, Place};
pub(crate) use scanner::{Progress, Scanner, Until};
pub(crate) use scope::{Binding, Scope};
pub(crate) use tag::Attribute;

use crate::error::XmlError;
use crate::limits::Limits;

/// Checks that `bytes` are exactly one document.
///
/// White space and an XML declaration may be around it as XML has it; neither is part of the result.
pub fn check<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Document<'a>, XmlError> {
    check_in(bytes, Scope::NONE, limits)
}

/// [`check`] with namespaces around the document.
pub(crate) fn check_in<'a>(
    bytes: &'a [u8],
    scope: Scope<'a, '_>,
    limits: &Limits,
) -> Result<Document<'a>, XmlError> {
    let start = start(bytes)?;
    let document = bytes.get(start..).unwrap_or_default();
    let mut scanner = Scanner::new();
    match scanner.scan(document, &scope, limits, Until::End)? {
        Progress::End(end) => {
            let after = skip_space(document, end);
            if after < document.len() {
                return Err(XmlError::AfterRoot { at: after });
            }
            let document = document.get(..end).unwrap_or_default();
            Ok(Document::new(document, &scanner, &scope))
        }
        Progress::Unfinished | Progress::RootTag(_) => {
            Err(XmlError::Unfinished { at: document.len() })
        }
    }
}

/// Where the document starts, after an XML declaration and white space. It is in UTF-8, since whoever it
/// comes from says so: HTTP, WebSocket and a trunk.
pub(crate) fn start(bytes: &[u8]) -> Result<usize, XmlError> {
    match declaration(bytes, Encoding::Given)? {
        Declaration::None => Ok(skip_space(bytes, 0)),
        Declaration::Ends(end) => Ok(skip_space(bytes, end)),
        Declaration::Partial => Err(XmlError::Unfinished { at: bytes.len() }),
    }
}
