//! Requests as events: a head, pieces of its body, its end.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::chunk::{ChunkDecoder, ChunkStep};
use crate::edit::{Field, HeadEdit, HeadFields};
use crate::error::RequestError;
use crate::framing::{BodyLength, Framing, Version};
use crate::head::{Head, HeadScan, leading_empty_lines, read_head};
use crate::limits::Limits;
use crate::line::offset;
use crate::response::RequestKind;

/// What came next on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request's head.
    Head(RequestHead),
    /// The next bytes of its body, without chunk framing; never empty.
    Body(Bytes),
    /// The request ended.
    End,
    /// Bytes of a connection that is no longer HTTP.
    Raw(Bytes),
}

/// Reads requests, one after the other, from bytes in any chunking.
///
/// ```text
///   Head ──no body──────────────────────────┐
///    │ ├─Content-Length─> Length ─> End ────┤
///    │ └─chunked────────> Chunks ─> End ────┤
///    │                                      ├─ Upgrade or CONNECT ─> Held
///    └──────────────<───────────────────────┘                       │  │
///    └──────────────<──────────────────resume_http()────────────────┘  │
///                                             Raw <──switch_to_raw()───┘
/// ```
#[derive(Clone, Debug)]
pub struct RequestDecoder {
    limits: Limits,
    state: State,
    scan: HeadScan,
    empty_lines: u8,
    holds: bool,
}

#[derive(Clone, Debug)]
enum State {
    Head,
    Length(u64),
    Chunks(Box<ChunkDecoder>),
    End,
    Held,
    Raw,
    Refused(Box<RequestError>),
}

impl RequestDecoder {
    /// A decoder for one connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Head,
            scan: HeadScan::default(),
            empty_lines: 0,
            holds: false,
        }
    }

    /// Takes the next event off the front of `input`.
    ///
    /// `None` means that more bytes are needed, or, after a request with `Upgrade` or CONNECT, that
    /// the answer decides what comes next: then nothing is read before
    /// [`resume_http`](Self::resume_http) or [`switch_to_raw`](Self::switch_to_raw).
    ///
    /// Between two calls append to `input`, take nothing away. An error is final: every later call
    /// gives it again.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Event>, RequestError> {
        match self.next(input) {
            Ok(event) => Ok(event),
            Err(error) => {
                self.state = State::Refused(Box::new(error.clone()));
                Err(error)
            }
        }
    }

    /// The upgrade was declined: what follows the request is the next one.
    pub fn resume_http(&mut self) {
        if let State::Held = self.state {
            self.state = State::Head;
        }
    }

    /// The upgrade was accepted: all that follows is [`Event::Raw`].
    pub fn switch_to_raw(&mut self) {
        if let State::Held = self.state {
            self.state = State::Raw;
        }
    }

    /// Whether the decoder waits for an upgrade's answer.
    pub fn is_held(&self) -> bool {
        matches!(self.state, State::Held)
    }

    /// Whether the decoder is between two requests. Bytes of a head that isn't whole are still in the
    /// input.
    pub fn is_between_requests(&self) -> bool {
        matches!(self.state, State::Head)
    }

    fn next(&mut self, input: &mut BytesMut) -> Result<Option<Event>, RequestError> {
        match &mut self.state {
            State::Head => self.next_head(input),
            State::Length(left) => {
                let there =
                    usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                if there == 0 {
                    return Ok(None);
                }
                *left -= there as u64;
                if *left == 0 {
                    self.state = State::End;
                }
                Ok(Some(Event::Body(input.split_to(there).freeze())))
            }
            State::Chunks(chunks) => match chunks.step(input)? {
                ChunkStep::More => {
                    input.clear();
                    Ok(None)
                }
                ChunkStep::Data { skip, len } => {
                    let _framing = input.split_to(skip);
                    Ok(Some(Event::Body(input.split_to(len).freeze())))
                }
                ChunkStep::End { skip } => {
                    let _framing = input.split_to(skip);
                    Ok(Some(self.end()))
                }
            },
            State::End => Ok(Some(self.end())),
            State::Held => Ok(None),
            State::Raw if input.is_empty() => Ok(None),
            State::Raw => Ok(Some(Event::Raw(input.split().freeze()))),
            State::Refused(error) => Err((**error).clone()),
        }
    }

    fn next_head(&mut self, input: &mut BytesMut) -> Result<Option<Event>, RequestError> {
        let blank = leading_empty_lines(input, &mut self.empty_lines)?;
        if blank > 0 {
            let _empty_lines = input.split_to(blank);
        }
        let read = read_head(input, &self.limits, &mut self.scan, |head| {
            (head.bytes.len(), RequestHead::index(&head))
        })?;
        let Some((len, mut head)) = read else {
            return Ok(None);
        };
        head.bytes = input.split_to(len).freeze();
        self.scan = HeadScan::default();
        self.empty_lines = 0;
        self.holds = head.framing.upgrade || head.framing.kind == RequestKind::Connect;
        self.state = match head.framing.body {
            BodyLength::None | BodyLength::Length(0) => State::End,
            BodyLength::Length(length) => State::Length(length),
            BodyLength::Chunked => {
                State::Chunks(Box::new(ChunkDecoder::new(self.limits.max_chunked_body)))
            }
        };
        Ok(Some(Event::Head(head)))
    }

    fn end(&mut self) -> Event {
        self.state = if self.holds { State::Held } else { State::Head };
        Event::End
    }
}

/// A request's head: the bytes as they came, and where things are in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    bytes: Bytes,
    method: Range<usize>,
    target: Range<usize>,
    fields: Vec<FieldIndex>,
    framing: Framing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FieldIndex {
    name: (usize, usize),
    value: (usize, usize),
}

impl RequestHead {
    /// The method, case-sensitive: `GET`, or any other token.
    pub fn method(&self) -> &str {
        self.text(self.method.clone())
    }

    /// The request target in the form that the client chose: origin, absolute, authority (CONNECT) or
    /// asterisk (OPTIONS).
    pub fn target(&self) -> &str {
        self.text(self.target.clone())
    }

    /// The HTTP version.
    pub fn version(&self) -> Version {
        self.framing.version
    }

    /// How the body is delimited.
    pub fn body(&self) -> BodyLength {
        self.framing.body
    }

    /// What decides how the answer is delimited, for [`ResponseTracker`](crate::ResponseTracker).
    pub fn kind(&self) -> RequestKind {
        self.framing.kind
    }

    /// Whether the client asks to switch protocols: an `Upgrade` field, and `upgrade` among the tokens
    /// of `Connection` (RFC 9110, section 7.8).
    pub fn upgrade(&self) -> bool {
        self.framing.upgrade
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.framing.expects_continue
    }

    /// Whether the client wants the connection to go on after the answer (RFC 9112, section 9.3).
    pub fn keep_alive(&self) -> bool {
        self.framing.keep_alive
    }

    /// The value of the first field of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.header_values(name).next()
    }

    /// The values of all fields of this name, in any case, in order.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All fields in order: the name as the client wrote it, and the value without surrounding
    /// whitespace.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields().map(|field| (field.name, field.value))
    }

    /// The head as it came, the empty line included.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Gives the head memory of its own: else it keeps all that was read with it from being freed.
    pub fn detach(&mut self) {
        self.bytes = Bytes::copy_from_slice(&self.bytes);
    }

    /// A part of this head (a value, the target) as bytes that share its memory and outlive it.
    pub fn share(&self, part: &[u8]) -> Bytes {
        self.bytes.slice_ref(part)
    }

    /// Writes the head again; without edits to name, `HeadEdit::new()` writes it as it came, apart
    /// from whitespace behind values.
    pub fn write(&self, edit: &HeadEdit, out: &mut BytesMut) {
        edit.write(self, out);
    }

    /// Where things are in a head that is about to be frozen. Its bytes are filled in by the caller.
    fn index(head: &Head<'_, '_>) -> Self {
        let place = |part: &[u8]| {
            let start = offset(head.bytes, part);
            (start, start + part.len())
        };
        let (target_start, target_end) = place(head.target.as_bytes());
        let fields = head.headers.iter().map(|header| FieldIndex {
            name: place(header.name.as_bytes()),
            value: place(header.value),
        });
        Self {
            bytes: Bytes::new(),
            method: 0..head.method.len(),
            target: target_start..target_end,
            fields: fields.collect(),
            framing: head.framing,
        }
    }

    /// Only for parts that httparse found to be UTF-8.
    fn text(&self, range: Range<usize>) -> &str {
        std::str::from_utf8(&self.bytes[range]).unwrap_or_default()
    }
}

impl HeadFields for RequestHead {
    fn request_line(&self) -> &[u8] {
        const VERSION_AND_END: usize = " HTTP/1.1\r\n".len();
        &self.bytes[..self.target.end + VERSION_AND_END]
    }

    fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.fields.iter().map(|field| Field {
            name: self.text(field.name.0..field.name.1),
            value: &self.bytes[field.value.0..field.value.1],
            line: &self.bytes[field.name.0..field.value.1],
        })
    }
}

#[cfg(test)]
mod tests;
