//! The steps of the scanner in tags: names, attributes, and where a tag ends.

use super::{Scanner, State, Step};
use crate::error::XmlError;
use crate::limits::Limits;
use crate::xml::characters::{beyond_ascii, is_space, skip_name, skip_space, skip_value};
use crate::xml::names::{is_name_beyond_ascii, is_name_start};
use crate::xml::place::{Name, Place};
use crate::xml::tag::Attribute;

impl Scanner {
    pub(super) fn element_name(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        let Some(name) = self.read_name(bytes)? else {
            return Ok(Step::Wait);
        };
        self.name = name;
        Ok(self.to(State::AfterToken))
    }

    pub(super) fn after_token(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
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

    pub(super) fn space(&mut self, bytes: &[u8], limits: &Limits) -> Result<Step, XmlError> {
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

    pub(super) fn attribute_name(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        let Some(name) = self.read_name(bytes)? else {
            return Ok(Step::Wait);
        };
        // Its value is filled in when it ends.
        let value = Place::default();
        self.attributes.push(Attribute { name, value });
        Ok(self.to(State::BeforeEquals))
    }

    pub(super) fn before_equals(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
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

    pub(super) fn before_value(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
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

    pub(super) fn value(&mut self, bytes: &[u8], quote: u8) -> Result<Step, XmlError> {
        loop {
            self.position = skip_value(bytes, self.position);
            match bytes.get(self.position) {
                None => return Ok(Step::Wait),
                Some(byte) if *byte == quote => {
                    if let Some(attribute) = self.attributes.last_mut() {
                        attribute.value = Place::new(self.start, self.position);
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

    pub(super) fn slash(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
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
    pub(super) fn end_name(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
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

    pub(super) fn end_space(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
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

    fn tag_ends(&mut self) -> Step {
        self.position += 1;
        self.state = State::Text;
        Step::Opened
    }

    pub(super) fn name_starts(&mut self) {
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
        Ok(Name::new(self.start, local, self.position))
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
    if valid {
        Ok(())
    } else {
        Err(XmlError::InvalidName { at })
    }
}
