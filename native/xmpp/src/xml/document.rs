//! A checked document, with the namespaces that it takes from around it.

use std::borrow::Cow;

use super::root::Root;
use super::scanner::Scanner;
use super::scope::Scope;
use crate::escape::{means, unescape};
use crate::namespace;

/// One checked document: an element that stands alone, since all namespaces it uses are declared in it.
///
/// Its text is that of the sender, byte for byte, and in the root's tag the declarations that were
/// outside.
#[derive(Clone, Debug)]
pub struct Document<'a> {
    /// Up to the end of the root's name.
    before: &'a [u8],
    /// What was declared outside and is used inside.
    declarations: Cow<'a, [u8]>,
    after: &'a [u8],
    local: &'a [u8],
    namespace: &'a [u8],
    is_prefixed: bool,
}

impl<'a> Document<'a> {
    /// `bytes` are the document alone, and the scanner has seen its end.
    pub(crate) fn new(bytes: &'a [u8], scanner: &Scanner, scope: &Scope<'a, '_>) -> Self {
        let root = scanner.root();
        let (before, after) = bytes.split_at_checked(root.end()).unwrap_or((bytes, b""));
        Self {
            before,
            declarations: declarations(scanner, scope),
            after,
            local: root.local(bytes),
            namespace: scanner.root_namespace(bytes, scope),
            is_prefixed: scanner.is_prefixed(),
        }
    }

    /// The root's name without prefix.
    pub fn name(&self) -> &'a str {
        std::str::from_utf8(self.local).unwrap_or_default()
    }

    /// The root's namespace; empty when there's none.
    pub fn namespace(&self) -> Cow<'a, str> {
        unescape(self.namespace)
    }

    /// Whether the root is this element, whatever its prefix.
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        self.local == name.as_bytes() && means(self.namespace, namespace)
    }

    /// Whether a name depends on prefixes, or the default namespace is undone somewhere.
    pub(super) fn is_prefixed(&self) -> bool {
        self.is_prefixed
    }

    /// What an attribute of the root means, without namespace or by its name as written (`xml:lang`).
    pub fn attribute(&self, name: &str) -> Option<Cow<'a, str>> {
        Root::after_name(self.after).attribute(name)
    }

    /// Bytes of the document.
    pub fn len(&self) -> usize {
        self.before.len() + self.declarations.len() + self.after.len()
    }

    /// Never: a document has an element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The document's parts, to be written one after the other.
    pub fn parts(&self) -> [&[u8]; 3] {
        [self.before, &self.declarations, self.after]
    }

    /// Writes the document at the end of `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.len());
        for part in self.parts() {
            out.extend_from_slice(part);
        }
    }

    /// The document as bytes of its own.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

fn declarations<'a>(scanner: &Scanner, scope: &Scope<'_, '_>) -> Cow<'a, [u8]> {
    let namespaces = scanner.namespaces();
    let default = namespaces.uses_outer_default() && !scope.default.is_empty();
    let used = namespaces.used();
    if used.is_empty() {
        if !default {
            return Cow::Borrowed(b"");
        }
        if scope.default == namespace::CLIENT.as_bytes() {
            return Cow::Borrowed(b" xmlns='jabber:client'");
        }
    }
    let mut declarations = Vec::new();
    if default {
        declare(&mut declarations, b"", scope.default);
    }
    for index in used {
        let (prefix, uri) = scope.binding(*index);
        declare(&mut declarations, prefix, uri);
    }
    Cow::Owned(declarations)
}

/// The namespace's name is as it was written, so that the quote is one that it doesn't have.
fn declare(out: &mut Vec<u8>, prefix: &[u8], uri: &[u8]) {
    let quote = match memchr::memchr(b'\'', uri) {
        Some(_) => b'"',
        None => b'\'',
    };
    out.extend_from_slice(b" xmlns");
    if !prefix.is_empty() {
        out.push(b':');
        out.extend_from_slice(prefix);
    }
    out.push(b'=');
    out.push(quote);
    out.extend_from_slice(uri);
    out.push(quote);
}
