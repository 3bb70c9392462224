//! The stream header, as long as it differs from what almost everybody sends.

use super::error::StreamError;
use crate::escape::means;
use crate::namespace;
use crate::open::Open;
use crate::xml::{Binding, Name, Place, Scanner, Scope};

/// What `xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'` declares.
const USUAL_TEXT: &[u8] = b"streamhttp://etherx.jabber.org/streams";
const USUAL_BINDINGS: &[Binding] = &[Binding {
    prefix: Place::new(0, 6),
    uri: Place::new(6, 38),
}];
const USUAL_NAME: &[u8] = b"stream:stream";

/// A header with other declarations than the usual ones, or under another prefix.
#[derive(Debug)]
pub(super) struct Header {
    text: Box<[u8]>,
    name: Name,
    default: Place,
    bindings: Box<[Binding]>,
}

impl Header {
    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        size_of::<Self>() + self.text.len() + size_of_val(&*self.bindings)
    }
}

/// The namespaces around the stanzas; `None` is the usual header.
pub(super) fn scope(header: Option<&Header>) -> Scope<'_, '_> {
    match header {
        None => Scope {
            default: namespace::CLIENT.as_bytes(),
            text: USUAL_TEXT,
            bindings: USUAL_BINDINGS,
        },
        Some(header) => Scope {
            default: header.default.of(&header.text),
            text: &header.text,
            bindings: &header.bindings,
        },
    }
}

/// The name of the root, as its end tag has to repeat it.
pub(super) fn name(header: Option<&Header>) -> &[u8] {
    header.map_or(USUAL_NAME, |header| header.name.whole(&header.text))
}

/// Checks a header (RFC 6120, 4.7 and 4.8). `text` is its tag, which the scanner has just read.
pub(super) fn read(
    text: &[u8],
    mut scanner: Scanner,
) -> Result<(Open<'_>, Option<Box<Header>>), StreamError> {
    let name = scanner.root();
    let root_namespace = scanner.root_namespace(text, &Scope::NONE);
    if !means(root_namespace, namespace::STREAM) {
        return Err(match (name.local(text), name.prefix(text)) {
            (b"stream", b"") => StreamError::NoPrefix,
            _ => StreamError::StreamNamespace,
        });
    }
    if name.local(text) != b"stream" {
        return Err(StreamError::NoStream);
    }
    let mut open = Open::default();
    for attribute in scanner.attributes() {
        open.set(attribute.name.whole(text), attribute.value(text));
    }
    let (default, bindings) = scanner.take_namespaces(text);
    let default = default.unwrap_or_default();
    let content = default.of(text);
    let allowed = ["", namespace::CLIENT, namespace::STREAM];
    if !allowed.iter().any(|name| means(content, name)) {
        return Err(StreamError::ContentNamespace);
    }
    let usual = name.whole(text) == USUAL_NAME
        && content == namespace::CLIENT.as_bytes()
        && bindings.len() == 1;
    let header = if usual {
        None
    } else {
        Some(Box::new(Header {
            text: text.into(),
            name,
            default,
            bindings: bindings.into(),
        }))
    };
    Ok((open, header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_declarations_are_in_place() {
        let scope = scope(None);
        let [binding] = scope.bindings else {
            panic!("{scope:?}")
        };
        assert_eq!(binding.prefix.of(scope.text), b"stream");
        assert_eq!(binding.uri.of(scope.text), namespace::STREAM.as_bytes());
    }
}
