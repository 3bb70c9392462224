//! The terms of `erlang:decode_packet/3` for `http`, `http_bin`, `httph` and `httph_bin`.
//!
//! This is the reader that a socket in an http packet mode has. It's as lenient as OTP's, and on
//! purpose: the strict reader is [`RequestDecoder`](crate::RequestDecoder), and what stands behind an
//! [`Exchange`](crate::Exchange) has passed it.
//!
//! # Intended differences
//!
//! | input | here | elsewhere |
//! |---|---|---|
//! | `http://[::1]:80/` | host `[::1]`, port 80, as newer OTP | OTP 25 and its like: host `[`, no port |
//!
//! Numbers that pass 32 bits (a port, a version, a status) wrap around, as OTP's do.

use std::borrow::Cow;
use std::num::NonZeroUsize;

/// Which packet type is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// `http`, `http_bin`: a request line or a status line.
    Http,
    /// `httph`, `httph_bin`: a header line or the end of headers.
    Httph,
}

/// What is at the front of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// `{more, undefined}`
    More,
    /// `{ok, Packet, Rest}`
    Packet {
        /// The term.
        packet: Packet<'a>,
        /// Where the rest starts.
        consumed: usize,
    },
    /// `{error, invalid}`: the line is longer than allowed.
    Invalid,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `{http_request, Method, Uri, {Major, Minor}}`
    Request {
        /// An atom where it's known.
        method: Method<'a>,
        /// The request target.
        uri: Uri<'a>,
        /// `{0, 9}` where the line has none.
        version: (i32, i32),
    },
    /// `{http_response, {Major, Minor}, Status, Phrase}`
    Response {
        /// Major and minor.
        version: (i32, i32),
        /// The status code; 0 where there is none.
        status: i32,
        /// The reason phrase, maybe empty.
        phrase: &'a [u8],
    },
    /// `{http_header, Number, Name, RawName, Value}`
    Header {
        /// The number of a known name, 0 for all others.
        number: u8,
        /// The name in its canonical case, an atom where it's known.
        name: HeaderName<'a>,
        /// The name as it came.
        raw_name: &'a [u8],
        /// The value without the whitespace before it. Whitespace behind it is left, and so are the
        /// line ends of a folded value.
        value: &'a [u8],
    },
    /// `http_eoh`
    EndOfHeaders,
    /// `{http_error, Line}`
    Error(&'a [u8]),
}

/// A request's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    /// An atom.
    Known(&'static str),
    /// A binary (or a string).
    Other(&'a [u8]),
}

/// A request's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uri<'a> {
    /// `'*'`
    Asterisk,
    /// `{abs_path, Path}`
    AbsPath(&'a [u8]),
    /// `{absoluteURI, http | https, Host, Port | undefined, Path}`
    Absolute {
        /// http or https.
        scheme: Scheme,
        /// The host.
        host: &'a [u8],
        /// The port, if there is one.
        port: Option<i32>,
        /// `/` where there is none.
        path: &'a [u8],
    },
    /// `{scheme, Scheme, Rest}`: what precedes and follows the first colon.
    Scheme(&'a [u8], &'a [u8]),
    /// A plain binary (or string).
    Other(&'a [u8]),
}

/// The scheme of an absolute URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

/// A header's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderName<'a> {
    /// An atom.
    Known(&'static str),
    /// A binary (or a string) in canonical case; longer than 50 bytes, it's as it came.
    Other(Cow<'a, [u8]>),
}

/// The methods that are atoms.
pub const METHODS: [&str; 7] = ["OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE"];

/// The header names that are atoms. A name's number is its place, counted from 1.
pub const HEADERS: [&str; 52] = [
    "Cache-Control",
    "Connection",
    "Date",
    "Pragma",
    "Transfer-Encoding",
    "Upgrade",
    "Via",
    "Accept",
    "Accept-Charset",
    "Accept-Encoding",
    "Accept-Language",
    "Authorization",
    "From",
    "Host",
    "If-Modified-Since",
    "If-Match",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Max-Forwards",
    "Proxy-Authorization",
    "Range",
    "Referer",
    "User-Agent",
    "Age",
    "Location",
    "Proxy-Authenticate",
    "Public",
    "Retry-After",
    "Server",
    "Vary",
    "Warning",
    "Www-Authenticate",
    "Allow",
    "Content-Base",
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-Location",
    "Content-Md5",
    "Content-Range",
    "Content-Type",
    "Etag",
    "Expires",
    "Last-Modified",
    "Accept-Ranges",
    "Set-Cookie",
    "Set-Cookie2",
    "X-Forwarded-For",
    "Cookie",
    "Keep-Alive",
    "Proxy-Connection",
];

/// A name longer than this keeps its case.
const LONGEST_CANONICAL: usize = 50;

/// Decodes the packet at the front of `input`, as `erlang:decode_packet(Kind, Input, Options)` does.
/// `line_limit` is the option `packet_size`, or `line_length` where that is absent; 0 there is `None`
/// here.
pub fn decode(kind: PacketKind, input: &[u8], line_limit: Option<NonZeroUsize>) -> Decoded<'_> {
    match line_length(
        kind,
        input,
        line_limit.map_or(usize::MAX, NonZeroUsize::get),
    ) {
        Length::More => Decoded::More,
        Length::TooLong => Decoded::Invalid,
        Length::Known(consumed) => {
            let line = &input[..consumed];
            let content = without_line_end(line);
            let packet = match kind {
                PacketKind::Http if content.starts_with(b"HTTP/") => status_line(content),
                PacketKind::Http => request_line(content),
                PacketKind::Httph => header_line(content),
            };
            Decoded::Packet {
                packet: packet.unwrap_or(Packet::Error(line)),
                consumed,
            }
        }
    }
}

impl Packet<'_> {
    /// The kind that follows on a socket whose packet type is `http` or `http_bin`: headers follow a
    /// first line, a first line follows the end of headers, and an error changes nothing.
    pub fn next_kind(&self, current: PacketKind) -> PacketKind {
        match self {
            Self::Request { .. } | Self::Response { .. } | Self::Header { .. } => PacketKind::Httph,
            Self::EndOfHeaders => PacketKind::Http,
            Self::Error(_) => current,
        }
    }
}

enum Length {
    Known(usize),
    More,
    TooLong,
}

/// The length of the first line. A header line goes on while the next one starts with whitespace, so
/// it's known only once a byte follows it.
fn line_length(kind: PacketKind, input: &[u8], limit: usize) -> Length {
    if matches!(input, b"\n" | b"\r\n") {
        return Length::Known(input.len());
    }
    let mut from = 0;
    loop {
        let Some(found) = input[from..].iter().position(|byte| *byte == b'\n') else {
            return if input.len() >= limit {
                Length::TooLong
            } else {
                Length::More
            };
        };
        let length = from + found + 1;
        let next = input.get(length);
        let folded = matches!(next, Some(b' ' | b'\t')) && length > 2;
        if kind == PacketKind::Httph && folded {
            from = length;
        } else if length > limit {
            return Length::TooLong;
        } else if kind == PacketKind::Httph && next.is_none() {
            return Length::More;
        } else {
            return Length::Known(length);
        }
    }
}

fn without_line_end(line: &[u8]) -> &[u8] {
    match line {
        [content @ .., b'\r', _] => content,
        [content @ .., b'\n'] => content,
        content => content,
    }
}

fn status_line(content: &[u8]) -> Option<Packet<'_>> {
    let (version, rest) = version(content.strip_prefix(b"HTTP/")?)?;
    let rest = after_whitespace(rest)?;
    let (status, rest) = number(rest);
    let phrase = match rest {
        b"" => rest,
        rest => after_whitespace(rest)?,
    };
    Some(Packet::Response {
        version,
        status,
        phrase,
    })
}

fn request_line(content: &[u8]) -> Option<Packet<'_>> {
    let (method, rest) = split_at_first(content, is_special);
    if method.is_empty() {
        return None;
    }
    let rest = after_whitespace(rest)?;
    let (target, rest) = split_at_first(rest, is_whitespace);
    if target.is_empty() {
        return None;
    }
    let rest = skip_whitespace(rest);
    let version = match rest {
        b"" => (0, 9),
        rest if rest.len() < "HTTP/1.1".len() => return None,
        rest => version(rest.strip_prefix(b"HTTP/")?)?.0,
    };
    let known = METHODS.into_iter().find(|known| known.as_bytes() == method);
    let method = known.map_or(Method::Other(method), Method::Known);
    Some(Packet::Request {
        method,
        uri: uri(target),
        version,
    })
}

fn header_line(content: &[u8]) -> Option<Packet<'_>> {
    if content.is_empty() {
        return Some(Packet::EndOfHeaders);
    }
    let (raw_name, rest) = split_at_first(content, is_special);
    let value = skip_whitespace(rest.strip_prefix(b":")?);
    let (number, name) = header_name(raw_name);
    Some(Packet::Header {
        number,
        name,
        raw_name,
        value,
    })
}

fn header_name(raw: &[u8]) -> (u8, HeaderName<'_>) {
    let mut buffer = [0; LONGEST_CANONICAL];
    let Some(canonical) = buffer.get_mut(..raw.len()) else {
        return (0, HeaderName::Other(Cow::Borrowed(raw)));
    };
    let mut upper = true;
    for (to, from) in canonical.iter_mut().zip(raw) {
        *to = if upper {
            from.to_ascii_uppercase()
        } else {
            from.to_ascii_lowercase()
        };
        // A hyphen that follows a hyphen is itself the capital: `a--b` becomes `A--b`.
        upper = !upper && *from == b'-';
    }
    let same = |(_, known): &(u8, &str)| known.as_bytes() == canonical;
    match (1..).zip(HEADERS).find(same) {
        Some((number, known)) => (number, HeaderName::Known(known)),
        None if canonical == raw => (0, HeaderName::Other(Cow::Borrowed(raw))),
        None => (0, HeaderName::Other(Cow::Owned(canonical.to_vec()))),
    }
}

fn uri(target: &[u8]) -> Uri<'_> {
    if target == b"*" {
        return Uri::Asterisk;
    }
    if target.len() == 1 || target.starts_with(b"/") {
        return Uri::AbsPath(target);
    }
    if let Some(rest) = after_scheme(target, b"http://") {
        return absolute(Scheme::Http, rest);
    }
    if let Some(rest) = after_scheme(target, b"https://") {
        return absolute(Scheme::Https, rest);
    }
    match split_at_first(target, |byte| byte == b':') {
        (scheme, [_colon, rest @ ..]) => Uri::Scheme(scheme, rest),
        (whole, []) => Uri::Other(whole),
    }
}

fn after_scheme<'a>(target: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = target.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

fn absolute(scheme: Scheme, rest: &[u8]) -> Uri<'_> {
    let (authority, path) = split_at_first(rest, |byte| byte == b'/');
    let path = if path.is_empty() { b"/" } else { path };
    let (host, port) = host_and_port(authority);
    Uri::Absolute {
        scheme,
        host,
        port,
        path,
    }
}

fn host_and_port(authority: &[u8]) -> (&[u8], Option<i32>) {
    let bracket = authority.iter().position(|byte| *byte == b']');
    let is_literal = authority.starts_with(b"[") && authority.contains(&b':');
    if let (true, Some(bracket)) = (is_literal, bracket) {
        let (host, rest) = authority.split_at(bracket + 1);
        let port = rest.strip_prefix(b":").filter(|port| !port.contains(&b':'));
        return (host, port.and_then(whole_port));
    }
    match split_at_first(authority, |byte| byte == b':') {
        (host, [_colon, port @ ..]) => (host, whole_port(port)),
        (host, []) => (host, None),
    }
}

fn whole_port(digits: &[u8]) -> Option<i32> {
    match number(digits) {
        (0, _) => None,
        (port, b"") => Some(port),
        _ => None,
    }
}

fn version(rest: &[u8]) -> Option<((i32, i32), &[u8])> {
    let (major, after) = some_number(rest)?;
    let (minor, after) = some_number(after.strip_prefix(b".")?)?;
    Some(((major, minor), after))
}

fn some_number(text: &[u8]) -> Option<(i32, &[u8])> {
    text.first()?.is_ascii_digit().then(|| number(text))
}

/// The number that `text` starts with, 0 where it starts with none, and what follows it.
fn number(text: &[u8]) -> (i32, &[u8]) {
    let (digits, rest) = split_at_first(text, |byte| !byte.is_ascii_digit());
    let add = |sum: i32, digit: &u8| sum.wrapping_mul(10).wrapping_add(i32::from(digit - b'0'));
    (digits.iter().fold(0, add), rest)
}

fn split_at_first(text: &[u8], found: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(
        text.iter()
            .position(|byte| found(*byte))
            .unwrap_or(text.len()),
    )
}

/// What follows the whitespace that `text` has to start with.
fn after_whitespace(text: &[u8]) -> Option<&[u8]> {
    is_whitespace(*text.first()?).then(|| skip_whitespace(text))
}

fn skip_whitespace(text: &[u8]) -> &[u8] {
    split_at_first(text, |byte| !is_whitespace(byte)).1
}

fn is_whitespace(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// What ends a method or a header's name. 0x7f doesn't, though it's a control byte.
fn is_special(byte: u8) -> bool {
    byte <= b' ' || byte >= 0x80 || b"()<>@,;:\\\"/[]?={}".contains(&byte)
}

#[cfg(test)]
mod tests;
