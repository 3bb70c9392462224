//! An XML stream's bytes into documents.

use super::error::StreamError;
use super::header::{self, Header};
use super::unfinished::{Unfinished, scan};
use crate::buffer::append;
use crate::error::XmlError;
use crate::limits::{Limits, MAX_DECLARATION, MAX_STREAM_HEADER};
use crate::open::Open;
use crate::xml::{
    Declaration, Document, Encoding, Progress, Scope, Until, declaration, is_space, skip_space,
};

/// What a stream's bytes say.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The stream header.
    Open(Open<'a>),
    /// A stanza or another element directly in the stream, as a document of its own.
    Document(Document<'a>),
    /// The end tag of the stream. Nothing after it is read.
    Close,
}

/// Reads an XML stream in any chunks.
///
/// While nothing is unfinished it holds no memory of its own, but for a header that declares other
/// namespaces than the usual two (4 KiB at most); else the unfinished document's bytes and what
/// [`Limits`] says. White space between the stanzas, the keepalive of RFC 6120, 4.6.1, is skipped.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    phase: Phase,
    unfinished: Option<Box<Unfinished>>,
    header: Option<Box<Header>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// An XML declaration may come.
    Start,
    /// The header has to come.
    Header,
    Content,
    Closed,
}

impl Reader {
    /// At the start of a stream.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            phase: Phase::Start,
            unfinished: None,
            header: None,
        }
    }

    /// Expects a new header, as after STARTTLS and SASL (RFC 6120, 4.3.3). What is unfinished is dropped.
    pub fn restart(&mut self) {
        *self = Self::new(self.limits);
    }

    /// What documents may cost from here on: a client that has logged in may send more.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether bytes of an unfinished document or header are held; a deadline is due then.
    pub fn is_within_document(&self) -> bool {
        self.unfinished.as_ref().is_some_and(|held| !held.finished)
    }

    /// Bytes of memory that an unfinished document or header takes.
    pub fn unfinished(&self) -> usize {
        self.unfinished.as_ref().map_or(0, |held| held.held())
    }

    /// Bytes of memory held beside the reader's own few.
    pub fn held(&self) -> usize {
        self.unfinished() + self.header.as_ref().map_or(0, |header| header.held())
    }

    /// The next event, and `input` moved behind what was used; `None` when there's no whole one left,
    /// and then all of `input` was used.
    ///
    /// To be called until it gives `None`: then the memory of the last document is free again. After
    /// an error the stream can't be read any further, except by [`restart`](Self::restart).
    pub fn read<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'a>>, StreamError> {
        if self.unfinished.as_ref().is_some_and(|held| held.finished) {
            self.unfinished = None;
        }
        if self.unfinished.is_none() {
            let start = skip_space(input, 0);
            *input = input.get(start..).unwrap_or_default();
        }
        if input.is_empty() {
            return Ok(None);
        }
        if self.phase == Phase::Start && !self.declaration(input)? {
            return Ok(None);
        }
        match self.phase {
            Phase::Start | Phase::Header => self.header(input),
            Phase::Content => self.content(input),
            Phase::Closed => {
                *input = &[];
                Ok(None)
            }
        }
    }

    /// Skips an XML declaration; whether the header can follow.
    fn declaration(&mut self, input: &mut &[u8]) -> Result<bool, StreamError> {
        let mut start = self.unfinished.take().map_or(Vec::new(), |held| held.bytes);
        let before = start.len();
        let taken = input.len().min(2 * MAX_DECLARATION - before);
        append(
            &mut start,
            input.get(..taken).unwrap_or_default(),
            2 * MAX_DECLARATION,
        );
        match declaration(&start, Encoding::Declared)? {
            Declaration::Partial => {
                *input = &[];
                self.unfinished = Some(Box::new(Unfinished::new(start)));
                return Ok(false);
            }
            Declaration::None if before > 0 => {
                start.truncate(before);
                self.unfinished = Some(Box::new(Unfinished::new(start)));
            }
            Declaration::None => {}
            Declaration::Ends(end) => {
                let rest = input.get(end.saturating_sub(before)..).unwrap_or_default();
                *input = rest.get(skip_space(rest, 0)..).unwrap_or_default();
            }
        }
        self.phase = Phase::Header;
        Ok(!input.is_empty())
    }

    fn header<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'a>>, StreamError> {
        let limits = Limits {
            max_document: MAX_STREAM_HEADER,
            ..self.limits
        };
        if self.unfinished.is_none() && input.first() != Some(&b'<') {
            return Err(XmlError::NoElement { at: 0 }.into());
        }
        let scanned = scan(
            &mut self.unfinished,
            input,
            Scope::NONE,
            &limits,
            Until::RootTag,
        )?;
        let Some(scanned) = scanned else {
            return Ok(None);
        };
        if let Progress::End(_) = scanned.progress {
            return Err(StreamError::NoStream);
        }
        let (open, header) = header::read(scanned.bytes, scanned.scanner)?;
        self.header = header;
        self.phase = Phase::Content;
        Ok(Some(Event::Open(open)))
    }

    fn content<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'a>>, StreamError> {
        let mut start = self
            .unfinished
            .iter()
            .flat_map(|held| &held.bytes)
            .chain(*input);
        if start.next() != Some(&b'<') {
            return Err(StreamError::Text);
        }
        if start.next() == Some(&b'/') {
            return self.end_tag(input);
        }
        let scope = header::scope(self.header.as_deref());
        let scanned = scan(&mut self.unfinished, input, scope, &self.limits, Until::End)?;
        Ok(scanned
            .map(|scanned| Event::Document(Document::new(scanned.bytes, &scanned.scanner, &scope))))
    }

    fn end_tag<'a>(&mut self, input: &mut &[u8]) -> Result<Option<Event<'a>>, StreamError> {
        let mut held = match self.unfinished.take() {
            Some(held) => held,
            None => Box::new(Unfinished::new(Vec::new())),
        };
        let (taken, found) = match memchr::memchr(b'>', input) {
            Some(index) => (index + 1, true),
            None => (input.len(), false),
        };
        let (more, rest) = input.split_at_checked(taken).unwrap_or((*input, b""));
        *input = rest;
        if held.bytes.len().saturating_add(more.len()) > MAX_STREAM_HEADER {
            return Err(XmlError::TooLong {
                limit: MAX_STREAM_HEADER,
            }
            .into());
        }
        append(&mut held.bytes, more, MAX_STREAM_HEADER);
        let name = header::name(self.header.as_deref());
        let here = held.bytes.get(2..).unwrap_or_default();
        let both = here.len().min(name.len());
        let (start, end) = here.split_at_checked(both).unwrap_or((here, b""));
        let end = end.strip_suffix(b">").unwrap_or(end);
        if !name.starts_with(start) || !end.iter().all(|byte| is_space(*byte)) {
            return Err(XmlError::MismatchedEndTag { at: 0 }.into());
        }
        if !found {
            self.unfinished = Some(held);
            return Ok(None);
        }
        if both < name.len() {
            return Err(XmlError::MismatchedEndTag { at: 0 }.into());
        }
        self.phase = Phase::Closed;
        Ok(Some(Event::Close))
    }
}
