//! One line of a head, judged strictly, left to right.
//!
//! httparse says that a head is wrong; this says what is wrong with it and where. It's the slow road:
//! it runs on heads that arrive in pieces and on those that are refused.

use crate::error::{RequestError, shown};
use crate::target::{Target, check_bytes};

/// Judges a request line (without its line end) that starts the head.
///
/// The method is a token, in any case: methods are case-sensitive, so `get` is another method than
/// `GET` (RFC 9110, section 9.1). One space stands between the words.
pub(crate) fn check_request_line(line: &[u8]) -> Result<(), RequestError> {
    let method_end = line
        .iter()
        .position(|byte| !is_token(*byte))
        .unwrap_or(line.len());
    match line.get(method_end) {
        Some(b' ') if method_end > 0 => {}
        Some(b'\r') => return Err(RequestError::BareCr { at: method_end }),
        _ => return Err(RequestError::BadMethod { at: method_end }),
    }
    let target_start = method_end + 1;
    let rest = &line[target_start..];
    let target_len = rest
        .iter()
        .position(|byte| !is_target(*byte))
        .unwrap_or(rest.len());
    let target_end = target_start + target_len;
    let target = &line[target_start..target_end];
    check_bytes(target, target_start)?;
    match line.get(target_end) {
        Some(b' ') if target_len > 0 => {}
        Some(b'\r') => return Err(RequestError::BareCr { at: target_end }),
        None if target_len > 0 => return Err(RequestError::BadVersion { at: target_end }),
        _ => return Err(RequestError::BadTarget { at: target_end }),
    }
    let version_start = target_end + 1;
    // They are ASCII by now.
    let [method, target] =
        [&line[..method_end], target].map(|word| std::str::from_utf8(word).unwrap_or_default());
    check_version(method, target, &line[version_start..], version_start)?;
    Target::read(method, target, target_start).map(|_form| ())
}

/// Judges a header line (without its line end) that starts at `start` in the head.
pub(crate) fn check_field_line(line: &[u8], start: usize) -> Result<(), RequestError> {
    if let Some(b' ' | b'\t') = line.first() {
        return Err(RequestError::ObsFold { at: start });
    }
    let name_len = line
        .iter()
        .position(|byte| !is_token(*byte))
        .unwrap_or(line.len());
    let name = &line[..name_len];
    let at = start + name_len;
    match line.get(name_len) {
        Some(b':') if name_len > 0 => {}
        Some(b'\r') => return Err(RequestError::BareCr { at }),
        Some(b' ' | b'\t') if space_then_colon(&line[name_len..]) => {
            return Err(RequestError::SpaceBeforeColon {
                name: shown(name),
                at,
            });
        }
        Some(&byte) => return Err(RequestError::BadHeaderName { byte, at }),
        None => return Err(RequestError::MissingColon { at: start }),
    }
    let value = &line[name_len + 1..];
    match value.iter().position(|byte| !is_value(*byte)) {
        None => Ok(()),
        Some(index) => {
            let at = at + 1 + index;
            match value[index] {
                b'\r' => Err(RequestError::BareCr { at }),
                byte => Err(RequestError::ControlByteInValue {
                    name: shown(name),
                    byte,
                    at,
                }),
            }
        }
    }
}

/// A token character (RFC 9110, section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Those past ASCII have a reason of their own.
fn is_target(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0x80..=0xff)
}

fn is_value(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7e | 0x80..=0xff)
}

fn space_then_colon(rest: &[u8]) -> bool {
    rest.iter().find(|byte| !matches!(byte, b' ' | b'\t')) == Some(&b':')
}

fn check_version(
    method: &str,
    target: &str,
    version: &[u8],
    at: usize,
) -> Result<(), RequestError> {
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => Ok(()),
        b"HTTP/2.0" if method == "PRI" && target == "*" => Err(RequestError::Http2Preface),
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            major @ b'0'..=b'9',
            b'.',
            minor @ b'0'..=b'9',
        ] => Err(RequestError::UnsupportedVersion {
            major: major - b'0',
            minor: minor - b'0',
        }),
        _ => match version.iter().position(|byte| *byte == b'\r') {
            Some(index) if version[..index].starts_with(b"HTTP/1.") => {
                Err(RequestError::BareCr { at: at + index })
            }
            _ => Err(RequestError::BadVersion { at }),
        },
    }
}

/// What stands behind the values in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueEnds {
    /// Line ends alone.
    Tidy,
    /// Somewhere whitespace, which is no part of a value (RFC 9112, section 5.1), though
    /// erlang:decode_packet/3 leaves it in.
    Whitespace,
}

/// Looks at what httparse steps over: each line has to end in CR LF. `None`: one doesn't.
pub(crate) fn line_ends(
    head: &[u8],
    target: &str,
    headers: &[httparse::Header<'_>],
) -> Option<ValueEnds> {
    const VERSION: usize = " HTTP/1.1".len();
    let last_line = head.len().checked_sub(2)?;
    let mut line_end = offset(head, target.as_bytes()) + target.len() + VERSION;
    let mut ends = ValueEnds::Tidy;
    for header in headers {
        let name = offset(head, header.name.as_bytes());
        if !ends_line(head, &mut ends, line_end, name) {
            return None;
        }
        line_end = offset(head, header.value) + header.value.len();
    }
    let whole = head[last_line..] == *b"\r\n" && ends_line(head, &mut ends, line_end, last_line);
    whole.then_some(ends)
}

fn ends_line(head: &[u8], ends: &mut ValueEnds, from: usize, next_line: usize) -> bool {
    match head.get(from..next_line) {
        Some(b"\r\n") => true,
        Some([.., b'\r', b'\n']) => {
            *ends = ValueEnds::Whitespace;
            true
        }
        _ => false,
    }
}

/// Where `part`, a piece of `whole`, starts in it.
pub(crate) fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr().saturating_sub(whole.as_ptr().addr())
}
