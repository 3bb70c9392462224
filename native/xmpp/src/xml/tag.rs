//! What a start tag means once it's whole: its namespaces, and that no attribute is there twice.

use std::ops::Range;

use super::scope::{Binding, Namespaces, Scope, Uri};
use crate::error::XmlError;
use crate::escape::unescape;
use crate::namespace;

/// A name's place in its document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) start: usize,
    /// Where the local part starts: after the colon, or at `start`.
    pub(crate) local: usize,
    pub(crate) end: usize,
}

impl Name {
    pub(crate) fn whole<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn local<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.local..self.end).unwrap_or_default()
    }

    /// Empty when there's none.
    pub(crate) fn prefix<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes
            .get(self.start..self.local.saturating_sub(1))
            .unwrap_or_default()
    }
}

/// An attribute's place in its document; the value's is that between its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) name: Name,
    pub(crate) value: Range<usize>,
}

impl Attribute {
    pub(crate) fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.value.clone()).unwrap_or_default()
    }
}

/// Declares what the tag declares, finds the namespace of its element and checks its attributes.
pub(super) fn resolve(
    name: Name,
    attributes: &[Attribute],
    namespaces: &mut Namespaces,
    bytes: &[u8],
    scope: &Scope<'_, '_>,
    at: usize,
) -> Result<Uri, XmlError> {
    let mut prefixed = 0;
    for (index, attribute) in attributes.iter().enumerate() {
        let whole = attribute.name.whole(bytes);
        if attributes[..index]
            .iter()
            .any(|other| other.name.whole(bytes) == whole)
        {
            return Err(XmlError::DuplicateAttribute { at });
        }
        match attribute.name.prefix(bytes) {
            b"" if whole == b"xmlns" => {
                reserved(b"", attribute.value(bytes), at)?;
                namespaces.declare_default(attribute.value.clone());
            }
            b"" => {}
            b"xmlns" => {
                let prefix = attribute.name.local(bytes);
                reserved(prefix, attribute.value(bytes), at)?;
                let binding = Binding {
                    prefix: attribute.name.local..attribute.name.end,
                    uri: attribute.value.clone(),
                };
                namespaces.declare(binding, at)?;
            }
            _ => prefixed += 1,
        }
    }
    if prefixed > 0 {
        check_prefixed(attributes, namespaces, bytes, scope, at)?;
    }
    match name.prefix(bytes) {
        b"" => Ok(namespaces.of_no_prefix()),
        prefix => namespaces
            .of_prefix(prefix, bytes, scope)
            .ok_or(XmlError::UnboundPrefix { at }),
    }
}

/// Each prefix of an attribute is declared, and no two are the same by namespace and local name.
fn check_prefixed(
    attributes: &[Attribute],
    namespaces: &mut Namespaces,
    bytes: &[u8],
    scope: &Scope<'_, '_>,
    at: usize,
) -> Result<(), XmlError> {
    let mut seen: Vec<(&[u8], Uri)> = Vec::new();
    for attribute in attributes {
        let prefix = attribute.name.prefix(bytes);
        if prefix.is_empty() || prefix == b"xmlns" {
            continue;
        }
        let uri = namespaces
            .of_prefix(prefix, bytes, scope)
            .ok_or(XmlError::UnboundPrefix { at })?;
        if prefix == b"xml" {
            continue;
        }
        let local = attribute.name.local(bytes);
        let text = uri.text(bytes, scope);
        if seen
            .iter()
            .any(|(other, uri)| *other == local && same(uri.text(bytes, scope), text))
        {
            return Err(XmlError::DuplicateAttribute { at });
        }
        seen.push((local, uri));
    }
    Ok(())
}

/// Whether two values as written mean the same.
fn same(left: &[u8], right: &[u8]) -> bool {
    left == right || ((changes(left) || changes(right)) && unescape(left) == unescape(right))
}

/// Whether what a value means may differ from how it's written.
fn changes(value: &[u8]) -> bool {
    value.iter().fold(false, |changes, byte| {
        changes | (*byte == b'&') | (*byte < b' ')
    })
}

/// What Namespaces in XML, section 3, forbids to declare.
fn reserved(prefix: &[u8], uri: &[u8], at: usize) -> Result<(), XmlError> {
    // References only make a name longer.
    let is = |name: &str| uri.len() >= name.len() && same(uri, name.as_bytes());
    let allowed = match prefix {
        b"xml" => is(namespace::XML),
        b"xmlns" => false,
        _ if is(namespace::XML) || is(namespace::XMLNS) => false,
        b"" => true,
        _ => !uri.is_empty(),
    };
    match allowed {
        true => Ok(()),
        false => Err(XmlError::InvalidDeclaration { at }),
    }
}
