//! A client's requests, made ready for ejabberd. Sans-IO.

mod outgoing;

use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use megaphone_http::{BodyLength, Event, Limits, RequestDecoder, RequestError, RequestHead};

pub use self::outgoing::{Asked, Outgoing};
use crate::http::deadlines::Position;
use crate::http::{Origins, Route, Routes, Scheme, Unread};

/// A body up to this size goes to ejabberd in one piece with its head; a larger one in pieces of
/// about this size, as they come.
pub const COLLECTED: usize = 64 * 1024;

/// What follows from the input so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// These bytes go to ejabberd.
    Send(Outgoing),
    /// A request that does not go to ejabberd. Its end was not read.
    Routed(Box<Routed>),
    /// More input is needed, or an answer.
    Wait,
    /// The client's bytes can't be read, or are too many. Nothing after them will be read.
    Refuse(RequestError),
}

/// The head of a request that does not go to ejabberd, and what takes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Routed {
    /// What takes it.
    pub route: Route,
    /// The head.
    pub head: RequestHead,
}

/// Reads requests in any chunking and writes them again for ejabberd.
#[derive(Debug)]
pub struct RequestReader {
    speaks: Speaks,
    decoder: RequestDecoder,
    input: Unread,
    origins: Origins,
    /// Whose the last head was.
    client: SocketAddr,
    /// How a trusted proxy says that it came.
    scheme: Scheme,
    /// What was written and is not yet given out.
    outgoing: BytesMut,
    /// The request whose head was read and whose end was not.
    current: Option<Current>,
    requests: u64,
}

/// What the first byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Http,
    Other,
}

#[derive(Debug)]
struct Current {
    /// Taken with the first bytes that are given out.
    asked: Option<Asked>,
    framing: Framing,
    /// Whether its bytes are given out as they come.
    pace: Pace,
    body: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length,
    Chunks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Collect,
    Stream,
}

impl RequestReader {
    /// A reader for a client's first byte.
    pub fn new(limits: Limits, origins: Origins) -> Self {
        Self::speaking(Speaks::Http, limits, origins)
    }

    /// For a client that speaks something else, which is passed on as it is.
    pub fn raw(origins: Origins) -> Self {
        Self::speaking(Speaks::Other, Limits::default(), origins)
    }

    /// A reader that goes on after a head, and that head if it has a route.
    pub fn resume(
        origins: Origins,
        decoder: RequestDecoder,
        input: Unread,
        head: RequestHead,
        route: Option<Route>,
    ) -> (Self, Option<Box<Routed>>) {
        let mut reader = Self {
            decoder,
            input,
            ..Self::speaking(Speaks::Http, Limits::default(), origins)
        };
        let routed = reader.take(head, route);
        (reader, routed)
    }

    fn speaking(speaks: Speaks, limits: Limits, origins: Origins) -> Self {
        Self {
            speaks,
            decoder: RequestDecoder::new(limits),
            input: Unread::default(),
            client: origins.peer(),
            scheme: Scheme::Plain,
            origins,
            outgoing: BytesMut::new(),
            current: None,
            requests: 0,
        }
    }

    /// The address that connected.
    pub const fn peer(&self) -> SocketAddr {
        self.origins.peer()
    }

    /// Takes bytes from the client. [`next`](Self::next) has to be asked until it waits before there
    /// is more.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.feed(bytes);
    }

    /// Goes on with the input. The requests that `routes` have are not for ejabberd.
    pub fn next(&mut self, routes: &Routes) -> Next {
        if self.speaks == Speaks::Other {
            return self.next_raw();
        }
        loop {
            match self.decoder.decode(self.input.bytes()) {
                Err(error) => return Next::Refuse(error),
                Ok(Some(Event::Head(head))) => {
                    let route = routes.find(head.target());
                    if let Some(routed) = self.take(head, route) {
                        return Next::Routed(routed);
                    }
                }
                Ok(Some(event)) => {
                    if let Some(outgoing) = self.handle(event) {
                        return Next::Send(outgoing);
                    }
                }
                Ok(None) => {
                    // An idle client keeps no buffer.
                    self.input.shrink();
                    let streams = self
                        .current
                        .as_ref()
                        .is_some_and(|request| request.pace == Pace::Stream);
                    return if streams && !self.outgoing.is_empty() {
                        Next::Send(self.give_out())
                    } else {
                        Next::Wait
                    };
                }
            }
        }
    }

    /// What the client's next bytes will be, once [`next`](Self::next) waits.
    pub fn position(&self) -> Position {
        if self.current.is_some() {
            Position::InBody
        } else if self.speaks == Speaks::Other {
            match self.requests {
                0 => Position::BetweenRequests,
                _ => Position::Raw,
            }
        } else if self.decoder.is_held() {
            Position::Held
        } else if !self.decoder.is_between_requests() {
            Position::Raw
        } else if self.input.is_empty() {
            Position::BetweenRequests
        } else {
            Position::InHead
        }
    }

    /// How many bytes of input wait for an answer that says what they are.
    pub fn unread(&self) -> usize {
        match self.position() {
            Position::Held => self.input.len(),
            _ => 0,
        }
    }

    /// Whether a part of a request was given out, and its end was not.
    pub fn is_partly_sent(&self) -> bool {
        self.current
            .as_ref()
            .is_some_and(|request| request.asked.is_none())
    }

    /// How many heads were read.
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// How many bytes have come of the body that is being read.
    pub fn body_bytes(&self) -> u64 {
        self.current.as_ref().map_or(0, |request| request.body)
    }

    /// How many bytes are held here, whatever they are.
    pub fn held(&self) -> usize {
        self.input.allocated() + self.outgoing.capacity()
    }

    /// The answer did not switch protocols: another request may follow.
    pub fn resume_http(&mut self) {
        self.decoder.resume_http();
    }

    /// The answer switched protocols: what follows is passed on as it is.
    pub fn switch_to_raw(&mut self) {
        self.decoder.switch_to_raw();
    }

    /// Whose a request is.
    pub fn client(&self, head: &RequestHead) -> SocketAddr {
        self.origins.client(head)
    }

    /// How the client of a request reaches this program, as far as a trusted proxy says so.
    pub fn scheme(&self, head: &RequestHead) -> Scheme {
        self.origins.scheme(head)
    }

    /// A request that has a route and no body was answered here: another one may follow.
    pub fn skip_end(&mut self) {
        if let Ok(Some(Event::End)) = self.decoder.decode(self.input.bytes()) {
            self.decoder.resume_http();
        }
    }

    /// What was read and not decoded, and what decodes it: for another task.
    pub fn into_parts(self) -> (Origins, RequestDecoder, Unread) {
        (self.origins, self.decoder, self.input)
    }

    /// Starts a request, unless it has a route.
    fn take(&mut self, mut head: RequestHead, route: Option<Route>) -> Option<Box<Routed>> {
        let Some(route) = route else {
            self.start(&head);
            return None;
        };
        self.requests += 1;
        // It may have to wait.
        head.detach();
        Some(Box::new(Routed { route, head }))
    }

    fn handle(&mut self, event: Event) -> Option<Outgoing> {
        match event {
            Event::Head(_) => None,
            Event::Body(bytes) => {
                self.body(&bytes);
                (self.outgoing.len() >= COLLECTED && self.streams()).then(|| self.give_out())
            }
            Event::End => {
                let chunked = self
                    .current
                    .as_ref()
                    .is_some_and(|c| c.framing == Framing::Chunks);
                if chunked {
                    self.outgoing.put_slice(b"0\r\n\r\n");
                }
                let last = (!self.outgoing.is_empty()).then(|| self.give_out());
                self.current = None;
                last
            }
            Event::Raw(bytes) => Some(self.raw_bytes(bytes)),
        }
    }

    fn next_raw(&mut self) -> Next {
        if self.input.is_empty() {
            return Next::Wait;
        }
        self.requests = 1;
        let bytes = self.input.take().freeze();
        Next::Send(self.raw_bytes(bytes))
    }

    fn raw_bytes(&self, bytes: Bytes) -> Outgoing {
        Outgoing {
            bytes,
            asked: None,
            client: self.client,
            scheme: self.scheme,
        }
    }

    fn start(&mut self, head: &RequestHead) {
        self.client = self.origins.client(head);
        self.scheme = self.origins.scheme(head);
        let edit = self.origins.edit(self.client);
        head.write(&edit, &mut self.outgoing);
        let large = matches!(head.body(), BodyLength::Length(length) if length > COLLECTED as u64);
        self.requests += 1;
        self.current = Some(Current {
            asked: Some(Asked {
                kind: head.kind(),
                keep_alive: head.keep_alive(),
            }),
            framing: match head.body() {
                BodyLength::Chunked => Framing::Chunks,
                BodyLength::None | BodyLength::Length(_) => Framing::Length,
            },
            // A client that waits for 100 Continue sends no body before ejabberd has the head.
            pace: if large || head.expects_continue() {
                Pace::Stream
            } else {
                Pace::Collect
            },
            body: 0,
        });
    }

    fn body(&mut self, bytes: &[u8]) {
        let Some(current) = &mut self.current else {
            return;
        };
        current.body += bytes.len() as u64;
        if current.framing == Framing::Chunks {
            self.outgoing
                .put_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
            self.outgoing.put_slice(bytes);
            self.outgoing.put_slice(b"\r\n");
        } else {
            self.outgoing.put_slice(bytes);
        }
    }

    /// Whether the current request's bytes are given out as they come. One that turns out to be
    /// larger than what is collected is, from then on.
    fn streams(&mut self) -> bool {
        match &mut self.current {
            None => false,
            Some(current) => {
                if current.body > COLLECTED as u64 {
                    current.pace = Pace::Stream;
                }
                current.pace == Pace::Stream
            }
        }
    }

    fn give_out(&mut self) -> Outgoing {
        Outgoing {
            bytes: std::mem::take(&mut self.outgoing).freeze(),
            asked: self
                .current
                .as_mut()
                .and_then(|current| current.asked.take()),
            client: self.client,
            scheme: self.scheme,
        }
    }
}

#[cfg(test)]
mod tests;
