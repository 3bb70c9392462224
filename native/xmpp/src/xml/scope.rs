//! Namespaces that a document finds around itself: those of its stream header or its `<body/>`.

use std::ops::Range;

use crate::error::XmlError;
use crate::limits::MAX_PREFIXES;
use crate::namespace;

/// A prefix and its namespace, as places in the text that declares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) prefix: Range<usize>,
    pub(crate) uri: Range<usize>,
}

/// What is declared around a document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a, 'b> {
    /// The default namespace, as written; empty when there is none.
    pub(crate) default: &'a [u8],
    /// Where the bindings' places are.
    pub(crate) text: &'a [u8],
    pub(crate) bindings: &'b [Binding],
}

impl<'a> Scope<'a, '_> {
    /// Nothing is declared.
    pub(crate) const NONE: Scope<'static, 'static> = Scope {
        default: b"",
        text: b"",
        bindings: &[],
    };

    /// `jabber:client` is the default, and nothing else is declared.
    pub(crate) const CLIENT: Scope<'static, 'static> = Scope {
        default: namespace::CLIENT.as_bytes(),
        text: b"",
        bindings: &[],
    };

    pub(super) fn find(&self, prefix: &[u8]) -> Option<usize> {
        self.bindings
            .iter()
            .position(|binding| self.text.get(binding.prefix.clone()) == Some(prefix))
    }

    pub(super) fn prefix(&self, index: usize) -> &'a [u8] {
        let binding = self.bindings.get(index);
        binding
            .and_then(|binding| self.text.get(binding.prefix.clone()))
            .unwrap_or_default()
    }

    pub(super) fn uri(&self, index: usize) -> &'a [u8] {
        let binding = self.bindings.get(index);
        binding
            .and_then(|binding| self.text.get(binding.uri.clone()))
            .unwrap_or_default()
    }
}

/// The namespaces that one document declares so far, and what it takes from its [`Scope`].
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// Those in scope at the tag being read.
    bindings: Vec<Binding>,
    /// The default namespace in scope, unless it is the one outside.
    default: Option<Range<usize>>,
    /// Which bindings of the scope are used, a bit each.
    outer: u64,
    /// Whether the default namespace of the scope is used.
    outer_default: bool,
}

/// What was in scope before a tag, to be brought back when its element ends.
#[derive(Debug)]
pub(super) struct Mark {
    bindings: usize,
    default: Option<Range<usize>>,
}

/// Where the name of a namespace stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Uri {
    /// In the document.
    Here(Range<usize>),
    /// In the scope's binding of this index.
    Outer(usize),
    /// It is the scope's default.
    OuterDefault,
    /// It is that of the prefix `xml`.
    Xml,
}

impl Uri {
    pub(super) fn text<'a>(&self, bytes: &'a [u8], scope: &Scope<'a, '_>) -> &'a [u8] {
        match self {
            Self::Here(place) => bytes.get(place.clone()).unwrap_or_default(),
            Self::Outer(index) => scope.uri(*index),
            Self::OuterDefault => scope.default,
            Self::Xml => namespace::XML.as_bytes(),
        }
    }
}

impl Namespaces {
    pub(super) fn clear(&mut self) {
        self.bindings.clear();
        self.default = None;
        self.outer = 0;
        self.outer_default = false;
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            bindings: self.bindings.len(),
            default: self.default.clone(),
        }
    }

    pub(super) fn restore(&mut self, mark: Mark) {
        self.bindings.truncate(mark.bindings);
        self.default = mark.default;
    }

    pub(super) fn declare_default(&mut self, uri: Range<usize>) {
        self.default = Some(uri);
    }

    /// `at` is where the tag ends, for the error.
    pub(super) fn declare(&mut self, binding: Binding, at: usize) -> Result<(), XmlError> {
        if self.bindings.len() >= MAX_PREFIXES {
            return Err(XmlError::TooManyPrefixes {
                at,
                limit: MAX_PREFIXES,
            });
        }
        self.bindings.push(binding);
        Ok(())
    }

    /// The namespace of a prefix, `None` if there's none.
    pub(super) fn of_prefix(
        &mut self,
        prefix: &[u8],
        bytes: &[u8],
        scope: &Scope<'_, '_>,
    ) -> Option<Uri> {
        if prefix == b"xml" {
            return Some(Uri::Xml);
        }
        if let Some(binding) = self.binding(prefix, bytes) {
            return Some(Uri::Here(binding.uri.clone()));
        }
        let index = scope.find(prefix)?;
        self.outer |= 1_u64.checked_shl(u32::try_from(index).ok()?)?;
        Some(Uri::Outer(index))
    }

    fn binding(&self, prefix: &[u8], bytes: &[u8]) -> Option<&Binding> {
        self.bindings
            .iter()
            .rev()
            .find(|binding| bytes.get(binding.prefix.clone()) == Some(prefix))
    }

    /// The namespace of a prefix as declared in this document.
    pub(super) fn declared<'a>(&self, prefix: &[u8], bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.get(self.binding(prefix, bytes)?.uri.clone())
    }

    /// The namespace of an element without prefix.
    pub(super) fn of_no_prefix(&mut self) -> Uri {
        match &self.default {
            Some(uri) => Uri::Here(uri.clone()),
            None => {
                self.outer_default = true;
                Uri::OuterDefault
            }
        }
    }

    /// Whether the scope's default namespace was used.
    pub(super) fn uses_outer_default(&self) -> bool {
        self.outer_default
    }

    /// The indices of the scope's bindings that were used.
    pub(super) fn used(&self) -> impl Iterator<Item = usize> + use<> {
        let mut left = self.outer;
        std::iter::from_fn(move || {
            let index = usize::try_from(left.trailing_zeros()).ok();
            let any = left != 0;
            left &= left.wrapping_sub(1);
            index.filter(|_| any)
        })
    }

    /// Bytes of memory held beside its own.
    pub(super) fn held(&self) -> usize {
        self.bindings.capacity() * size_of::<Binding>()
    }

    /// What is in scope now, taken out.
    pub(super) fn take(&mut self) -> (Option<Range<usize>>, Vec<Binding>) {
        (self.default.take(), std::mem::take(&mut self.bindings))
    }
}
