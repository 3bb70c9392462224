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

mod terms;
#[cfg(test)]
mod tests;
mod text;
mod uri;

use std::borrow::Cow;
use std::num::NonZeroUsize;

pub use terms::{Decoded, HEADERS, HeaderName, METHODS, Method, Packet, PacketKind, Scheme, Uri};
use text::{number, split_at_first};
use uri::uri;

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

fn version(rest: &[u8]) -> Option<((i32, i32), &[u8])> {
    let (major, after) = some_number(rest)?;
    let (minor, after) = some_number(after.strip_prefix(b".")?)?;
    Some(((major, minor), after))
}

fn some_number(text: &[u8]) -> Option<(i32, &[u8])> {
    text.first()?.is_ascii_digit().then(|| number(text))
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
