//! The scanner: one document, fed in any chunks, each byte looked at once.
//!
//! It keeps places, not text: whoever feeds it keeps the document's bytes together from its first `<`
//! on, and hands all of them over each time.

use std::ops::Range;

use super::characters::{
    beyond_ascii, is_name_beyond_ascii, is_name_start, is_space, skip_name, skip_space, skip_text,
    skip_value,
};
use super::scope::{Binding, Mark, Namespaces, Scope, Uri};
use super::tag::{Attribute, Name, resolve};
use crate::error::XmlError;
use crate::escape::{Reference, reference};
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
        }
    }

    /// At the start of another document; memory is kept.
    pub(crate) fn restart(&mut self) {
        self.state = State::Start;
        self.position = 0;
        self.attributes.clear();
        self.open.clear();
        self.namespaces.clear();
    }

    /// Scans on in `bytes`, the whole document so far; it has to have the same scope each time.
    pub(crate) fn scan(
        &mut self,
        bytes: &[u8],
        scope: &Scope<'_, '_>,
        limits: &Limits,
        until: Until,
    ) -> Result<Progress, XmlError> {
        let limit = limits.max_document;
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
                    // What the root declares stays in scope for who asks.
                    if until == Until::RootTag {
                        return Ok(Progress::End(self.position));
                    }
                    self.close();
                }
                Step::Closed => self.close(),
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

    /// The attributes of the tag that was read last.
    pub(crate) fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// The namespace, as written, of a prefix that the tag read last declares or is in scope of.
    pub(crate) fn namespace_of<'a>(&self, prefix: &[u8], bytes: &'a [u8]) -> &'a [u8] {
        self.namespaces.declared(prefix, bytes).unwrap_or_default()
    }

    pub(super) fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// The default namespace and the bindings in scope, taken out.
    pub(crate) fn take_namespaces(&mut self) -> (Option<Range<usize>>, Vec<Binding>) {
        self.namespaces.take()
    }

    /// Bytes of memory held beside its own.
    pub(crate) fn held(&self) -> usize {
        self.attributes.capacity() * size_of::<Attribute>()
            + self.open.capacity() * size_of::<Element>()
            + self.namespaces.held()
    }

    fn document_start(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        match bytes.first() {
            None => Ok(Step::Wait),
            Some(b'<') => Ok(self.to(State::Markup)),
            Some(_) => Err(XmlError::NoElement { at: 0 }),
        }
    }

    fn text(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        loop {
            self.position = skip_text(bytes, self.position);
            match bytes.get(self.position) {
                None => return Ok(Step::Wait),
                Some(b'<') => return Ok(self.to(State::Markup)),
                // Markup ends in `>`, so that two brackets right before are text.
                Some(b'>') if self.ends_with(bytes, b"]]") => {
                    return Err(XmlError::CdataEndInText { at: self.position });
                }
                Some(b'>') => self.position += 1,
                Some(_) => {
                    if let Step::Wait = self.special(bytes)? {
                        return Ok(Step::Wait);
                    }
                }
            }
        }
    }

    /// A reference or characters beyond ASCII.
    fn special(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        let at = self.position;
        match bytes.get(at) {
            Some(b'&') => match reference(bytes.get(at..).unwrap_or_default()) {
                Reference::Character(_, length) => {
                    self.position += length;
                    Ok(Step::More)
                }
                Reference::Partial => Ok(Step::Wait),
                Reference::Entity => Err(XmlError::EntityReference { at }),
                Reference::Malformed => Err(XmlError::MalformedReference { at }),
            },
            Some(byte) if byte.is_ascii() => Err(XmlError::InvalidCharacter { at }),
            _ => self.beyond_ascii(bytes),
        }
    }

    fn beyond_ascii(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        let (_, end) = beyond_ascii(bytes, self.position)?;
        let partial = bytes.get(end).is_none_or(|byte| !byte.is_ascii());
        self.position = end;
        Ok(if partial { Step::Wait } else { Step::More })
    }

    fn markup(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        let at = self.position;
        match bytes.get(at + 1) {
            None => Ok(Step::Wait),
            Some(b'/') if self.open.is_empty() => Err(XmlError::NoElement { at }),
            Some(b'/') => {
                self.position += 2;
                self.start = self.position;
                Ok(self.to(State::EndName))
            }
            Some(b'!') => Ok(self.to(State::Exclamation)),
            Some(b'?') => Err(XmlError::ProcessingInstruction { at }),
            Some(_) => {
                self.position += 1;
                self.attributes.clear();
                self.name_starts();
                Ok(self.to(State::ElementName))
            }
        }
    }

    fn exclamation(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        const CDATA: &[u8] = b"<![CDATA[";
        let at = self.position;
        let here = bytes.get(at..).unwrap_or_default();
        if here.starts_with(b"<!--") {
            Err(XmlError::Comment { at })
        } else if here.starts_with(CDATA) && !self.open.is_empty() {
            self.position += CDATA.len();
            Ok(self.to(State::Cdata))
        } else if CDATA.starts_with(here) || b"<!--".starts_with(here) {
            Ok(Step::Wait)
        } else if here.starts_with(CDATA) {
            Err(XmlError::NoElement { at })
        } else {
            Err(XmlError::DocumentType { at })
        }
    }

    fn cdata(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        loop {
            self.position = skip_text(bytes, self.position);
            match bytes.get(self.position) {
                None => return Ok(Step::Wait),
                // The section starts with `[`, so that two closing brackets are its own.
                Some(b'>') if self.ends_with(bytes, b"]]") => {
                    self.position += 1;
                    return Ok(self.to(State::Text));
                }
                Some(b'<' | b'>' | b'&') => self.position += 1,
                Some(byte) if byte.is_ascii() => {
                    return Err(XmlError::InvalidCharacter { at: self.position });
                }
                Some(_) => {
                    if let Step::Wait = self.beyond_ascii(bytes)? {
                        return Ok(Step::Wait);
                    }
                }
            }
        }
    }

    fn element_name(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        let Some(name) = self.read_name(bytes)? else {
            return Ok(Step::Wait);
        };
        self.name = name;
        Ok(self.to(State::AfterToken))
    }

    fn after_token(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        match bytes.get(self.position) {
            None => Ok(Step::Wait),
            Some(b'>') => Ok(self.tag_ends()),
            Some(b'/') => {
                self.position += 1;
                Ok(self.to(State::Slash))
            }
            Some(byte) if is_space(*byte) => {
                self.position += 1;
                Ok(self.to(State::Space))
            }
            Some(_) => Err(XmlError::MalformedTag { at: self.position }),
        }
    }

    fn space(&mut self, bytes: &[u8], limits: &Limits) -> Result<Step, XmlError> {
        self.position = skip_space(bytes, self.position);
        match bytes.get(self.position) {
            None => Ok(Step::Wait),
            Some(b'>') => Ok(self.tag_ends()),
            Some(b'/') => {
                self.position += 1;
                Ok(self.to(State::Slash))
            }
            Some(_) if self.attributes.len() >= limits.max_attributes => {
                Err(XmlError::TooManyAttributes {
                    at: self.position,
                    limit: limits.max_attributes,
                })
            }
            Some(_) => {
                self.name_starts();
                Ok(self.to(State::AttributeName))
            }
        }
    }

    fn attribute_name(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        let Some(name) = self.read_name(bytes)? else {
            return Ok(Step::Wait);
        };
        // Its value is filled in when it ends.
        self.attributes.push(Attribute { name, value: 0..0 });
        Ok(self.to(State::BeforeEquals))
    }

    fn before_equals(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        self.position = skip_space(bytes, self.position);
        match bytes.get(self.position) {
            None => Ok(Step::Wait),
            Some(b'=') => {
                self.position += 1;
                Ok(self.to(State::BeforeValue))
            }
            Some(_) => Err(XmlError::MalformedTag { at: self.position }),
        }
    }

    fn before_value(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        self.position = skip_space(bytes, self.position);
        match bytes.get(self.position) {
            None => Ok(Step::Wait),
            Some(quote @ (b'\'' | b'"')) => {
                self.position += 1;
                self.start = self.position;
                Ok(self.to(State::Value(*quote)))
            }
            Some(_) => Err(XmlError::MalformedTag { at: self.position }),
        }
    }

    fn value(&mut self, bytes: &[u8], quote: u8) -> Result<Step, XmlError> {
        loop {
            self.position = skip_value(bytes, self.position);
            match bytes.get(self.position) {
                None => return Ok(Step::Wait),
                Some(byte) if *byte == quote => {
                    if let Some(attribute) = self.attributes.last_mut() {
                        attribute.value = self.start..self.position;
                    }
                    self.position += 1;
                    return Ok(self.to(State::AfterToken));
                }
                Some(b'\'' | b'"') => self.position += 1,
                Some(b'<') => return Err(XmlError::LessThanInValue { at: self.position }),
                Some(_) => {
                    if let Step::Wait = self.special(bytes)? {
                        return Ok(Step::Wait);
                    }
                }
            }
        }
    }

    fn slash(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        match bytes.get(self.position) {
            None => Ok(Step::Wait),
            Some(b'>') => {
                self.position += 1;
                self.state = State::Text;
                Ok(Step::Empty)
            }
            Some(_) => Err(XmlError::MalformedTag { at: self.position }),
        }
    }

    /// Compares what is there with the name of the innermost element.
    fn end_name(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        let name = self.open.last().map(|element| element.name);
        let expected = name.unwrap_or_default().whole(bytes);
        let left = expected
            .get(self.position - self.start..)
            .unwrap_or_default();
        let here = bytes.get(self.position..).unwrap_or_default();
        let both = left.len().min(here.len());
        if left[..both] != here[..both] {
            return Err(XmlError::MismatchedEndTag {
                at: self.start.saturating_sub(2),
            });
        }
        self.position += both;
        if both < left.len() {
            return Ok(Step::Wait);
        }
        Ok(self.to(State::EndSpace))
    }

    fn end_space(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        self.position = skip_space(bytes, self.position);
        match bytes.get(self.position) {
            None => Ok(Step::Wait),
            Some(b'>') => {
                self.position += 1;
                self.state = State::Text;
                Ok(Step::Closed)
            }
            // A longer name, or something after it.
            Some(_) => Err(XmlError::MismatchedEndTag {
                at: self.start.saturating_sub(2),
            }),
        }
    }

    fn to(&mut self, state: State) -> Step {
        self.state = state;
        Step::More
    }

    fn tag_ends(&mut self) -> Step {
        self.position += 1;
        self.state = State::Text;
        Step::Opened
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
        let uri = resolve(
            name,
            &self.attributes,
            &mut self.namespaces,
            bytes,
            scope,
            at,
        )?;
        if self.open.is_empty() {
            self.root = name;
            self.root_uri = uri;
        }
        self.open.push(Element { name, before });
        Ok(())
    }

    fn close(&mut self) {
        if let Some(element) = self.open.pop() {
            self.namespaces.restore(element.before);
        }
    }

    fn name_starts(&mut self) {
        self.start = self.position;
        self.colon = 0;
    }

    /// The name that starts at `start`, `None` while its end isn't there.
    fn read_name(&mut self, bytes: &[u8]) -> Result<Option<Name>, XmlError> {
        loop {
            self.position = skip_name(bytes, self.position);
            let at = self.position;
            match bytes.get(at) {
                None => return Ok(None),
                Some(b':') if self.colon != 0 => return Err(XmlError::InvalidName { at }),
                Some(b':') => {
                    self.colon = at;
                    self.position += 1;
                }
                Some(byte) if byte.is_ascii() => return self.name_ends(bytes).map(Some),
                Some(_) => {
                    let (text, _) = beyond_ascii(bytes, at)?;
                    if !text.chars().all(is_name_beyond_ascii) {
                        return Err(XmlError::InvalidName { at });
                    }
                    if let Step::Wait = self.beyond_ascii(bytes)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Prefix and local part each have to be a name.
    fn name_ends(&self, bytes: &[u8]) -> Result<Name, XmlError> {
        let local = match self.colon {
            0 => self.start,
            colon => colon + 1,
        };
        starts_name(bytes, self.start)?;
        if local > self.start {
            starts_name(bytes, local)?;
        }
        Ok(Name {
            start: self.start,
            local,
            end: self.position,
        })
    }

    fn ends_with(&self, bytes: &[u8], end: &[u8]) -> bool {
        bytes
            .get(..self.position)
            .is_some_and(|before| before.ends_with(end))
    }
}

fn starts_name(bytes: &[u8], at: usize) -> Result<(), XmlError> {
    let valid = match bytes.get(at) {
        Some(byte) if byte.is_ascii() => is_name_start(char::from(*byte)),
        _ => beyond_ascii(bytes, at)?
            .0
            .chars()
            .next()
            .is_some_and(is_name_start),
    };
    match valid {
        true => Ok(()),
        false => Err(XmlError::InvalidName { at }),
    }
}
