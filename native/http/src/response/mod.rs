//! Says where an answer ends while its bytes pass by (RFC 9112, section 6.3).

use bytes::BytesMut;

use crate::chunk::{ChunkDecoder, ChunkStep};
use crate::connection::Connection;

/// What about a request decides how its answer is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// HEAD: the answer has no body, whatever its fields say.
    Head,
    /// CONNECT: a 2xx answer turns the connection into a tunnel.
    Connect,
    /// Every other method.
    Other,
}

impl RequestKind {
    /// The kind of a request with this method.
    pub fn of(method: &str) -> Self {
        match method {
            "HEAD" => Self::Head,
            "CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// What the bytes just followed mean for the current request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The answer goes on.
    Within,
    /// The answer ended after the first `consumed` of these bytes.
    Complete {
        /// Bytes of this piece that belong to the answer.
        consumed: usize,
    },
    /// The connection is no longer HTTP after the first `consumed` of these bytes (101, or 2xx to
    /// CONNECT).
    Upgraded {
        /// Bytes of this piece that belong to the answer's head.
        consumed: usize,
    },
    /// The answer ends with the connection: it says so, it can't be read, or nothing was asked.
    UntilClose,
}

/// Follows the answers on one connection, in any chunking. It keeps bytes only of a head that comes in
/// pieces.
#[derive(Debug, Default)]
pub struct ResponseTracker {
    state: State,
    kind: Option<RequestKind>,
    flags: Flags,
}

#[derive(Debug, Default)]
enum State {
    /// No request is waiting for an answer.
    #[default]
    Unasked,
    Head(Option<Box<Partial>>),
    Length(u64),
    Chunks(Box<ChunkDecoder>),
    UntilClose,
    Raw,
}

#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    began: bool,
    continued: bool,
    closes: bool,
}

/// A head that isn't whole yet.
#[derive(Debug, Default)]
struct Partial {
    bytes: BytesMut,
    /// Bytes that were searched for the head's end.
    scanned: usize,
    /// Where the open line starts.
    line_start: usize,
    /// httparse steps over empty lines before the status line, so they end no head.
    status_line_seen: bool,
}

/// A server's head past this is no head.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;

impl ResponseTracker {
    /// A tracker that waits for the first request.
    pub fn new() -> Self {
        Self::default()
    }

    /// A request was handed to the server: what comes next is its answer.
    pub fn start(&mut self, kind: RequestKind) {
        self.state = State::Head(None);
        self.kind = Some(kind);
        self.flags = Flags::default();
    }

    /// Looks at the server's next bytes. Bytes past `consumed` aren't looked at: call
    /// [`start`](Self::start) for the next request and follow them then.
    pub fn follow(&mut self, data: &[u8]) -> Progress {
        let mut consumed = 0;
        loop {
            let rest = &data[consumed..];
            match &mut self.state {
                State::Unasked if rest.is_empty() => return Progress::Within,
                State::Unasked | State::UntilClose => {
                    self.state = State::UntilClose;
                    return Progress::UntilClose;
                }
                State::Raw => return Progress::Upgraded { consumed: 0 },
                State::Length(left) => {
                    let there = rest.len() as u64;
                    if there < *left {
                        *left -= there;
                        return Progress::Within;
                    }
                    // `left` is at most `rest.len()` here, so it's a usize.
                    let taken = usize::try_from(*left).unwrap_or(rest.len());
                    return self.complete(consumed + taken);
                }
                State::Chunks(chunks) => match chunks.step(rest) {
                    Ok(ChunkStep::More) => return Progress::Within,
                    Ok(ChunkStep::Data { skip, len }) => consumed += skip + len,
                    Ok(ChunkStep::End { skip }) => return self.complete(consumed + skip),
                    Err(_) => self.state = State::UntilClose,
                },
                State::Head(_) if rest.is_empty() => return Progress::Within,
                State::Head(partial) => {
                    let partial = partial.take();
                    match self.follow_head(rest, partial) {
                        None => return Progress::Within,
                        Some(taken) => consumed += taken,
                    }
                    match self.state {
                        State::Length(0) => return self.complete(consumed),
                        State::Raw => return Progress::Upgraded { consumed },
                        _ => {}
                    }
                }
            }
        }
    }

    /// Whether a byte of the final answer was seen. Interim answers (1xx) don't count, and of a head
    /// that isn't whole yet nobody knows which it is: it counts.
    pub fn began(&self) -> bool {
        self.flags.began || matches!(self.state, State::Head(Some(_)))
    }

    /// Whether an interim answer told the client to send its body (100 Continue).
    pub fn continued(&self) -> bool {
        self.flags.continued
    }

    /// Whether the answer ends the connection: `Connection: close`, or HTTP/1.0 without keep-alive, or
    /// delimited by the close itself.
    pub fn closes(&self) -> bool {
        self.flags.closes || matches!(self.state, State::UntilClose)
    }

    /// Whether the answer is delimited by the connection's end.
    pub fn is_until_close(&self) -> bool {
        matches!(self.state, State::UntilClose)
    }

    fn complete(&mut self, consumed: usize) -> Progress {
        self.state = State::Unasked;
        Progress::Complete { consumed }
    }

    /// Reads a head that starts or goes on with `data`. `None`: it isn't whole. Otherwise how many
    /// bytes of `data` belong to it; the state is what follows.
    fn follow_head(&mut self, data: &[u8], partial: Option<Box<Partial>>) -> Option<usize> {
        let mut partial = match partial {
            Some(partial) => partial,
            None => match self.read_head(data) {
                Reading::Whole(len) => return Some(len),
                Reading::Malformed => return self.until_close(),
                Reading::More => Box::default(),
            },
        };
        let before = partial.bytes.len();
        partial.bytes.extend_from_slice(data);
        match partial.find_end() {
            None if partial.bytes.len() > MAX_HEAD => self.until_close(),
            None => {
                self.state = State::Head(Some(partial));
                None
            }
            Some(end) => match self.read_head(&partial.bytes[..end]) {
                Reading::Whole(len) => Some(len.saturating_sub(before)),
                Reading::More | Reading::Malformed => self.until_close(),
            },
        }
    }

    fn until_close(&mut self) -> Option<usize> {
        self.flags.began = true;
        self.state = State::UntilClose;
        Some(0)
    }

    fn read_head(&mut self, data: &[u8]) -> Reading {
        let mut headers = [const { std::mem::MaybeUninit::uninit() }; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut response, data, &mut headers) {
            Ok(httparse::Status::Partial) => Reading::More,
            Err(_) => Reading::Malformed,
            Ok(httparse::Status::Complete(len)) => {
                let code = response.code.unwrap_or_default();
                self.after_head(code, response.version == Some(0), response.headers);
                Reading::Whole(len)
            }
        }
    }

    fn after_head(&mut self, code: u16, http10: bool, headers: &[httparse::Header<'_>]) {
        if (100..200).contains(&code) && code != 101 {
            self.flags.continued |= code == 100;
            self.state = State::Head(None);
            return;
        }
        let mut fields = Fields::default();
        headers.iter().for_each(|header| fields.note(header));
        let connection = fields.connection;
        self.flags.began = true;
        self.flags.closes = connection.close || (http10 && !connection.keep_alive);
        let connected = self.kind == Some(RequestKind::Connect) && (200..300).contains(&code);
        let bodiless = self.kind == Some(RequestKind::Head) || matches!(code, 204 | 304);
        self.state = match () {
            () if code == 101 || connected => State::Raw,
            () if bodiless => State::Length(0),
            () => fields.body(),
        };
    }
}

enum Reading {
    Whole(usize),
    More,
    Malformed,
}

impl Partial {
    /// The end of the head, if its empty line is there. Like httparse it takes a bare LF for a line
    /// end: it's our own server, and what it means is clear.
    fn find_end(&mut self) -> Option<usize> {
        while let Some(found) = self.bytes[self.scanned..]
            .iter()
            .position(|byte| *byte == b'\n')
        {
            let line_feed = self.scanned + found;
            let empty = matches!(&self.bytes[self.line_start..line_feed], b"" | b"\r");
            self.scanned = line_feed + 1;
            self.line_start = self.scanned;
            if empty && self.status_line_seen {
                return Some(self.scanned);
            }
            self.status_line_seen |= !empty;
        }
        self.scanned = self.bytes.len();
        None
    }
}

#[derive(Default)]
struct Fields {
    connection: Connection,
    length: Option<Length>,
    transfer_encoding: Option<Coding>,
}

enum Length {
    Known(u64),
    Unclear,
}

enum Coding {
    Chunked,
    Other,
}

impl Fields {
    fn note(&mut self, header: &httparse::Header<'_>) {
        let value = header.value;
        match header.name.len() {
            10 if header.name.eq_ignore_ascii_case("connection") => self.connection.note(value),
            14 if header.name.eq_ignore_ascii_case("content-length") => {
                self.length = Some(match (&self.length, decimal(value)) {
                    (None, Some(new)) => Length::Known(new),
                    (Some(Length::Known(old)), Some(new)) if *old == new => Length::Known(new),
                    _ => Length::Unclear,
                });
            }
            17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                let only = self.transfer_encoding.is_none();
                let last = value
                    .rsplit(|byte| *byte == b',')
                    .next()
                    .unwrap_or_default();
                let chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
                self.transfer_encoding = Some(if only && chunked {
                    Coding::Chunked
                } else {
                    Coding::Other
                });
            }
            _ => {}
        }
    }

    fn body(self) -> State {
        match (self.transfer_encoding, self.length) {
            (Some(Coding::Chunked), None) => State::Chunks(Box::new(ChunkDecoder::new(u64::MAX))),
            (None, Some(Length::Known(length))) => State::Length(length),
            _ => State::UntilClose,
        }
    }
}

fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, digit| {
        sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests;
