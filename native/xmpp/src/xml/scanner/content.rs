//! The steps of the scanner outside of tags: text, references, CDATA sections, and what a `<` starts.

use super::{Scanner, State, Step};
use crate::error::XmlError;
use crate::escape::{Reference, reference};
use crate::xml::characters::{beyond_ascii, skip_text};

impl Scanner {
    pub(super) fn document_start(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        match bytes.first() {
            None => Ok(Step::Wait),
            Some(b'<') => Ok(self.to(State::Markup)),
            Some(_) => Err(XmlError::NoElement { at: 0 }),
        }
    }

    pub(super) fn text(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
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
    pub(super) fn special(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
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

    pub(super) fn beyond_ascii(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
        let (_, end) = beyond_ascii(bytes, self.position)?;
        let partial = bytes.get(end).is_none_or(|byte| !byte.is_ascii());
        self.position = end;
        Ok(if partial { Step::Wait } else { Step::More })
    }

    pub(super) fn markup(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
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

    pub(super) fn exclamation(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
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

    pub(super) fn cdata(&mut self, bytes: &[u8]) -> Result<Step, XmlError> {
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

    fn ends_with(&self, bytes: &[u8], end: &[u8]) -> bool {
        bytes
            .get(..self.position)
            .is_some_and(|before| before.ends_with(end))
    }
}
