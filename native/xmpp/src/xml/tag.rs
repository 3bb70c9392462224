//! What a start tag means once it's whole: its namespaces, and that no attribute is there twice.

use super::place::{Name, Place};
use super::scope::{Binding, Namespaces, Scope, Uri};
use crate::error::XmlError;
use crate::escape::unescape;
use crate::limits::{Limits, MAX_NAMESPACE};
use crate::namespace;

/// Up to this many attributes are compared each with each, more are sorted.
const FEW: usize = 16;

/// An attribute's place in its document; the value's is that between its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) name: Name,
    pub(crate) value: Place,
}

impl Attribute {
    pub(crate) fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        self.value.of(bytes)
    }
}

/// A start tag that has been read, in the text around it.
#[derive(Clone, Copy)]
pub(super) struct Tag<'t, 'a, 'b> {
    pub(super) name: Name,
    pub(super) attributes: &'t [Attribute],
    pub(super) bytes: &'t [u8],
    pub(super) scope: &'t Scope<'a, 'b>,
    /// Where it ends.
    pub(super) at: usize,
}

/// What a tag came to.
pub(super) struct Resolved {
    /// The namespace of its element.
    pub(super) uri: Uri,
    /// Whether a name in it depends on prefixes, or the default namespace is undone.
    pub(super) is_prefixed: bool,
}

impl Tag<'_, '_, '_> {
    /// Declares what the tag declares, finds the namespace of its element and checks its attributes.
    pub(super) fn resolve(
        self,
        namespaces: &mut Namespaces,
        limits: &Limits,
    ) -> Result<Resolved, XmlError> {
        let Self {
            name, bytes, at, ..
        } = self;
        if self.has_a_name_twice() {
            return Err(XmlError::DuplicateAttribute { at });
        }
        let mut prefixed = 0;
        let mut undoes_default = false;
        for attribute in self.attributes {
            match attribute.name.prefix(bytes) {
                b"" if attribute.name.whole(bytes) == b"xmlns" => {
                    let value = attribute.value(bytes);
                    reserved(b"", value, at)?;
                    undoes_default |= value.is_empty();
                    namespaces.declare_default(attribute.value);
                }
                b"" => {}
                b"xmlns" => {
                    let prefix = attribute.name.local(bytes);
                    reserved(prefix, attribute.value(bytes), at)?;
                    let binding = Binding {
                        prefix: attribute.name.local_place(),
                        uri: attribute.value,
                    };
                    namespaces.declare(binding, limits.max_attributes, at)?;
                }
                b"xml" => {}
                _ => prefixed += 1,
            }
        }
        namespaces.declared(bytes);
        if prefixed > 0 {
            self.check_prefixed(namespaces, prefixed)?;
        }
        let uri = match name.prefix(bytes) {
            b"" => namespaces.of_no_prefix(),
            prefix => namespaces
                .of_prefix(prefix, bytes, self.scope)
                .ok_or(XmlError::UnboundPrefix { at })?,
        };
        Ok(Resolved {
            uri,
            is_prefixed: prefixed > 0 || undoes_default || name.has_prefix(),
        })
    }

    fn has_a_name_twice(self) -> bool {
        let name = |attribute: &Attribute| attribute.name.whole(self.bytes);
        if self.attributes.len() <= FEW {
            return self
                .attributes
                .iter()
                .enumerate()
                .any(|(index, attribute)| {
                    let before = self.attributes.get(..index).unwrap_or_default();
                    before.iter().any(|other| name(other) == name(attribute))
                });
        }
        has_twice(self.attributes.iter().map(name).collect())
    }

    /// Each prefix of an attribute is declared, and no two of so many are the same by namespace and local
    /// name.
    fn check_prefixed(self, namespaces: &mut Namespaces, count: usize) -> Result<(), XmlError> {
        let Self {
            bytes, scope, at, ..
        } = self;
        let mut seen: Vec<(&[u8], &[u8])> = Vec::with_capacity(count);
        for attribute in self.attributes {
            let prefix = attribute.name.prefix(bytes);
            if matches!(prefix, b"" | b"xmlns" | b"xml") {
                continue;
            }
            let uri = namespaces
                .of_prefix(prefix, bytes, scope)
                .ok_or(XmlError::UnboundPrefix { at })?;
            seen.push((attribute.name.local(bytes), uri.text(bytes, scope)));
        }
        seen.sort_unstable();
        let is_twice = seen
            .chunk_by(|(left, _), (right, _)| left == right)
            .any(|same| {
                same.len() > 1 && has_twice(same.iter().map(|(_, uri)| unescape(uri)).collect())
            });
        if is_twice {
            Err(XmlError::DuplicateAttribute { at })
        } else {
            Ok(())
        }
    }
}

fn has_twice<T: Ord>(mut all: Vec<T>) -> bool {
    all.sort_unstable();
    all.windows(2)
        .any(|pair| matches!(pair, [left, right] if left == right))
}

/// What Namespaces in XML, section 3, forbids to declare, and line feeds, by which expat's users, as
/// ejabberd, tell a namespace from a name.
fn reserved(prefix: &[u8], uri: &[u8], at: usize) -> Result<(), XmlError> {
    if uri.len() > MAX_NAMESPACE {
        return Err(XmlError::LongNamespace {
            at,
            limit: MAX_NAMESPACE,
        });
    }
    // A line feed that is written as it is means a space (XML 1.0, 3.3.3).
    let allowed = match memchr::memchr(b'&', uri) {
        None => is_allowed(prefix, uri),
        Some(_) => {
            let meant = unescape(uri);
            is_allowed(prefix, meant.as_bytes()) && !meant.contains('\n')
        }
    };
    if allowed {
        Ok(())
    } else {
        Err(XmlError::InvalidDeclaration { at })
    }
}

fn is_allowed(prefix: &[u8], uri: &[u8]) -> bool {
    let is_xml = uri == namespace::XML.as_bytes();
    match prefix {
        b"xml" => is_xml,
        b"xmlns" => false,
        _ if is_xml || uri == namespace::XMLNS.as_bytes() => false,
        b"" => true,
        _ => !uri.is_empty(),
    }
}
