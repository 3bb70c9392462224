//! Namespaces that a document finds around itself: those of its stream header or its `<body/>`.

use super::place::Place;
use crate::error::XmlError;
use crate::namespace;

/// With up to this many prefixes in scope one is looked for from the last on; more are kept sorted.
const FEW: usize = 16;

/// Up to this many are put among the sorted ones, or taken out, one by one.
const SINGLY: usize = 128;

/// A prefix and its namespace, as places in the text that declares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) prefix: Place,
    pub(crate) uri: Place,
}

/// What is declared around a document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a, 'b> {
    /// The default namespace, as written; empty when there is none.
    pub(crate) default: &'a [u8],
    /// Where the bindings' places are.
    pub(crate) text: &'a [u8],
    /// Sorted by prefix, each of which is there once.
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

    fn find(&self, prefix: &[u8]) -> Option<u32> {
        let index = self
            .bindings
            .binary_search_by(|binding| binding.prefix.of(self.text).cmp(prefix));
        u32::try_from(index.ok()?).ok()
    }

    /// The prefix and the namespace, as written, of the binding of this index.
    pub(super) fn binding(&self, index: u32) -> (&'a [u8], &'a [u8]) {
        match self.bindings.get(index as usize) {
            Some(binding) => (binding.prefix.of(self.text), binding.uri.of(self.text)),
            None => (b"", b""),
        }
    }
}

/// The namespaces that one document declares so far, and what it takes from its [`Scope`].
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// Those in scope at the tag being read.
    bindings: Vec<Binding>,
    /// Indices of them, by prefix and then by index. Empty while there are few.
    sorted: Vec<u32>,
    /// The default namespace in scope, unless it is the one outside.
    default: Option<Place>,
    /// Which bindings of the scope are used, in order.
    outer: Vec<u32>,
    /// Whether the default namespace of the scope is used.
    outer_default: bool,
}

/// What was in scope before a tag, to be brought back when its element ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    bindings: u32,
    default: Option<Place>,
}

/// Where the name of a namespace stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uri {
    /// In the document.
    Here(Place),
    /// In the scope's binding of this index.
    Outer(u32),
    /// It is the scope's default.
    OuterDefault,
    /// It is that of the prefix `xml`.
    Xml,
}

impl Uri {
    pub(super) fn text<'a>(self, bytes: &'a [u8], scope: &Scope<'a, '_>) -> &'a [u8] {
        match self {
            Self::Here(place) => place.of(bytes),
            Self::Outer(index) => scope.binding(index).1,
            Self::OuterDefault => scope.default,
            Self::Xml => namespace::XML.as_bytes(),
        }
    }
}

impl Namespaces {
    pub(super) fn clear(&mut self) {
        self.bindings.clear();
        self.sorted.clear();
        self.default = None;
        self.outer.clear();
        self.outer_default = false;
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            bindings: count(self.bindings.len()),
            default: self.default,
        }
    }

    /// `bytes` are the document's.
    #[inline]
    pub(super) fn restore(&mut self, mark: Mark, bytes: &[u8]) {
        self.default = mark.default;
        let before = mark.bindings as usize;
        if before < self.bindings.len() {
            self.undeclare(before, bytes);
        }
    }

    /// Keeps this many bindings.
    fn undeclare(&mut self, before: usize, bytes: &[u8]) {
        if before <= FEW {
            self.sorted.clear();
        } else if self.bindings.len() - before > SINGLY {
            self.sorted.retain(|index| (*index as usize) < before);
        } else {
            for index in before..self.bindings.len() {
                if let Ok(place) = self.place(count(index), bytes) {
                    self.sorted.remove(place);
                }
            }
        }
        self.bindings.truncate(before);
    }

    pub(super) fn declare_default(&mut self, uri: Place) {
        self.default = Some(uri);
    }

    /// [`declared`](Self::declared) has to follow. `at` is where the tag ends, for the error.
    pub(super) fn declare(
        &mut self,
        binding: Binding,
        limit: usize,
        at: usize,
    ) -> Result<(), XmlError> {
        if self.bindings.len() >= limit {
            return Err(XmlError::TooManyPrefixes { at, limit });
        }
        self.bindings.push(binding);
        Ok(())
    }

    /// All that the tag declares is there. `bytes` are the document's.
    #[inline]
    pub(super) fn declared(&mut self, bytes: &[u8]) {
        if self.bindings.len() > FEW {
            self.sort(bytes);
        }
    }

    fn sort(&mut self, bytes: &[u8]) {
        let (before, after) = (self.sorted.len(), self.bindings.len());
        if after - before <= SINGLY {
            for index in before..after {
                if let Err(place) = self.place(count(index), bytes) {
                    self.sorted.insert(place, count(index));
                }
            }
            return;
        }
        let mut sorted: Vec<u32> = (0..count(after)).collect();
        sorted.sort_unstable_by(|left, right| {
            let key = |index: u32| (self.prefix(index, bytes), index);
            key(*left).cmp(&key(*right))
        });
        self.sorted = sorted;
    }

    /// Where the index of a binding stands, or has to stand, among the sorted ones.
    fn place(&self, index: u32, bytes: &[u8]) -> Result<usize, usize> {
        let prefix = self.prefix(index, bytes);
        self.sorted
            .binary_search_by(|other| (self.prefix(*other, bytes), *other).cmp(&(prefix, index)))
    }

    fn prefix<'a>(&self, index: u32, bytes: &'a [u8]) -> &'a [u8] {
        let binding = self.bindings.get(index as usize);
        binding.map_or(b"", |binding| binding.prefix.of(bytes))
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
            return Some(Uri::Here(binding.uri));
        }
        let index = scope.find(prefix)?;
        if let Err(place) = self.outer.binary_search(&index) {
            self.outer.insert(place, index);
        }
        Some(Uri::Outer(index))
    }

    fn binding(&self, prefix: &[u8], bytes: &[u8]) -> Option<&Binding> {
        if self.sorted.is_empty() {
            let mut innermost = self.bindings.iter().rev();
            return innermost.find(|binding| binding.prefix.of(bytes) == prefix);
        }
        let after = self
            .sorted
            .partition_point(|index| self.prefix(*index, bytes) <= prefix);
        let index = *self.sorted.get(after.checked_sub(1)?)?;
        let binding = self.bindings.get(index as usize)?;
        (binding.prefix.of(bytes) == prefix).then_some(binding)
    }

    /// The namespace of a prefix as declared in this document.
    pub(super) fn namespace<'a>(&self, prefix: &[u8], bytes: &'a [u8]) -> Option<&'a [u8]> {
        Some(self.binding(prefix, bytes)?.uri.of(bytes))
    }

    /// The namespace of an element without prefix.
    pub(super) fn of_no_prefix(&mut self) -> Uri {
        match self.default {
            Some(uri) => Uri::Here(uri),
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
    pub(super) fn used(&self) -> &[u32] {
        &self.outer
    }

    /// Bytes of memory held beside its own.
    pub(super) fn held(&self) -> usize {
        self.bindings.capacity() * size_of::<Binding>()
            + (self.sorted.capacity() + self.outer.capacity()) * size_of::<u32>()
    }

    /// What is in scope now, taken out: the default namespace, and the bindings as a [`Scope`] has them, if
    /// they were declared by one tag.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (Option<Place>, Vec<Binding>) {
        let mut bindings = std::mem::take(&mut self.bindings);
        self.sorted.clear();
        bindings.sort_unstable_by(|left, right| left.prefix.of(bytes).cmp(right.prefix.of(bytes)));
        (self.default.take(), bindings)
    }
}

/// No document has as many prefixes as a number has room for.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
