//! The scanner: one document, fed in any chunks, each byte looked at once.
//!
//! It keeps places, not text: whoever feeds it keeps the document's bytes together from its first `<`
//! on, and hands all of them over each time.

mod content;
mod tag;

use super::place::{Name, Place};
use super::scope::{Binding, Mark, Namespaces, Scope, Uri};
use super::tag::{Attribute, Tag};
use crate::error::XmlError;
use crate::limits::Limits;

/// How far a document is scanned at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// To the `>` of the root's start tag.
    RootTag,
    /// To the end of the root element.
    End,
}

/// How far it was scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All bytes there are; more have to come.
    Unfinished,
    /// The start tag of the root ends before this place.
    RootTag(usize),
    /// The root element, and so the document, ends before this place.
    End(usize),
}

/// One document being scanned.
#[derive(Debug)]
pub(crate) struct Scanner {
    state: State,
    /// The first byte not looked at.
    position: usize,
    /// Where the name or value being read starts.
    start: usize,
    /// The colon of the name being read; 0, where no colon can be, while there's none.
    colon: usize,
    /// The tag being read.
    name: Name,
    attributes: Vec<Attribute>,
    /// The elements around `position`.
    open: Vec<Element>,
    namespaces: Namespaces,
    root: Name,
    root_uri: Uri,
    is_prefixed: bool,
}

#[derive(Debug)]
struct Element {
    name: Name,
    before: Mark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the root's `<`.
    Start,
    Text,
    /// At a `<`.
    Markup,
    /// At `<!`.
    Exclamation,
    Cdata,
    ElementName,
    /// After a name or a value: a space, `/` or `>`.
    AfterToken,
    /// After a space in a tag.
    Space,
    AttributeName,
    BeforeEquals,
    BeforeValue,
    /// In a value between these quotes.
    Value(u8),
    /// After the `/` of an empty element.
    Slash,
    /// In the name of an end tag.
    EndName,
    /// After the name of an end tag.
    EndSpace,
}

/// What a step of the scanner found.
enum Step {
    More,
    /// There are no bytes left that it can use.
    Wait,
    /// The `>` of a start tag, the element is open.
    Opened,
    /// The `/>` of an empty element.
    Empty,
    /// The `>` of an end tag.
    Closed,
}

impl Scanner {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Start,
            position: 0,
            start: 0,
            colon: 0,
            name: Name::default(),
            attributes: Vec::new(),
            open: Vec::new(),
            namespaces: Namespaces::default(),
            root: Name::default(),
            root_uri: Uri::OuterDefault,
            is_prefixed: false,
        }
    }

    /// At the start of another document; memory is kept.
    pub(crate) fn restart(&mut self) {
        self.state = State::Start;
        self.position = 0;
        self.attributes.clear();
        self.open.clear();
        self.namespaces.clear();
        self.is_prefixed = false;
    }

    /// Scans on in `bytes`, the whole document so far; it has to have the same scope each time.
    pub(crate) fn scan(
        &mut self,
        bytes: &[u8],
        scope: &Scope<'_, '_>,
        limits: &Limits,
        until: Until,
    ) -> Result<Progress, XmlError> {
        // A place has no room for more.
        let limit = limits.max_document.min(u32::MAX as usize);
        let within = bytes.get(..limit).unwrap_or(bytes);
        loop {
            let step = match self.state {
                State::Start => self.document_start(within)?,
                State::Text => self.text(within)?,
                State::Markup => self.markup(within)?,
                State::Exclamation => self.exclamation(within)?,
                State::Cdata => self.cdata(within)?,
                State::ElementName => self.element_name(within)?,
                State::AfterToken => self.after_token(within)?,
                State::Space => self.space(within, limits)?,
                State::AttributeName => self.attribute_name(within)?,
                State::BeforeEquals => self.before_equals(within)?,
                State::BeforeValue => self.before_value(within)?,
                State::Value(quote) => self.value(within, quote)?,
                State::Slash => self.slash(within)?,
                State::EndName => self.end_name(within)?,
                State::EndSpace => self.end_space(within)?,
            };
            match step {
                Step::More => {}
                Step::Wait if within.len() >= limit => return Err(XmlError::TooLong { limit }),
                Step::Wait => return Ok(Progress::Unfinished),
                Step::Opened => {
                    self.open(within, scope, limits)?;
                    if until == Until::RootTag {
                        return Ok(Progress::RootTag(self.position));
                    }
                }
                Step::Empty => {
                    self.open(within, scope, limits)?;
                    // What the root declares stays in scope, for callers that ask.
                    if until == Until::RootTag {
                        return Ok(Progress::End(self.position));
                    }
                    self.close(within);
                }
                Step::Closed => self.close(within),
            }
            if self.state == State::Text && self.open.is_empty() {
                return Ok(Progress::End(self.position));
            }
        }
    }

    /// The name of the root, once its tag is there.
    pub(crate) fn root(&self) -> Name {
        self.root
    }

    /// The namespace of the root as written, once its tag is there.
    pub(crate) fn root_namespace<'a>(&self, bytes: &'a [u8], scope: &Scope<'a, '_>) -> &'a [u8] {
        self.root_uri.text(bytes, scope)
    }

    /// Whether a name in the document depends on prefixes, or its default namespace is undone somewhere.
    pub(super) fn is_prefixed(&self) -> bool {
        self.is_prefixed
    }

    /// The attributes of the tag that was read last.
    pub(crate) fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// The namespace, as written, of a prefix that the tag read last declares or is in scope of.
    pub(crate) fn namespace_of<'a>(&self, prefix: &[u8], bytes: &'a [u8]) -> &'a [u8] {
        self.namespaces.namespace(prefix, bytes).unwrap_or_default()
    }

    pub(super) fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// The default namespace and the bindings of the root's tag, which was read last, taken out.
    pub(crate) fn take_namespaces(&mut self, bytes: &[u8]) -> (Option<Place>, Vec<Binding>) {
        self.namespaces.take(bytes)
    }

    /// Bytes of memory held beside its own.
    pub(crate) fn held(&self) -> usize {
        self.attributes.capacity() * size_of::<Attribute>()
            + self.open.capacity() * size_of::<Element>()
            + self.namespaces.held()
    }

    fn to(&mut self, state: State) -> Step {
        self.state = state;
        Step::More
    }

    fn open(
        &mut self,
        bytes: &[u8],
        scope: &Scope<'_, '_>,
        limits: &Limits,
    ) -> Result<(), XmlError> {
        let at = self.position;
        if self.open.len() >= limits.max_depth {
            return Err(XmlError::TooDeep {
                at,
                limit: limits.max_depth,
            });
        }
        let before = self.namespaces.mark();
        let name = self.name;
        let tag = Tag {
            name,
            attributes: &self.attributes,
            bytes,
            scope,
            at,
        };
        let resolved = tag.resolve(&mut self.namespaces, limits)?;
        self.is_prefixed |= resolved.is_prefixed;
        if self.open.is_empty() {
            self.root = name;
            self.root_uri = resolved.uri;
        }
        self.open.push(Element { name, before });
        Ok(())
    }

    fn close(&mut self, bytes: &[u8]) {
        if let Some(element) = self.open.pop() {
            self.namespaces.restore(element.before, bytes);
        }
    }
}
