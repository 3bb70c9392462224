//! A request's target.

use super::terms::{Scheme, Uri};
use super::text::{number, split_at_first};

/// As decode_packet tells forms of targets apart.
pub(super) fn uri(target: &[u8]) -> Uri<'_> {
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
