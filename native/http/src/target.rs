//! A request's target (RFC 9112, section 3.2).
//!
//! Its bytes are ASCII from 0x21 to 0x7e, and no `#`: what a URI has from there on is for the client
//! alone. Those of them that a URI can't have (`"`, `<`, `>`, `\`, `^`, `` ` ``, `{`, `|`, `}`) are let
//! pass, because clients send them and nobody reads them in two ways.

use crate::authority::Authority;
use crate::error::RequestError;

/// The four forms of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    /// `/path?query`
    Origin,
    /// `http://host:port/path?query`
    Absolute {
        /// Its host and port.
        authority: Authority<'a>,
        /// What no port means.
        default_port: Option<u16>,
    },
    /// `host:port`, of CONNECT alone.
    Authority,
    /// `*`, of OPTIONS alone.
    Asterisk,
}

impl<'a> Target<'a> {
    /// Reads a target that starts at byte `at` of the head and has no white space and no control bytes.
    pub fn read(method: &str, target: &'a str, at: usize) -> Result<Self, RequestError> {
        check_bytes(target.as_bytes(), at)?;
        if method == "CONNECT" {
            let valid = Authority::read(target.as_bytes())
                .is_some_and(|authority| authority.port().is_some_and(|port| port > 0));
            return if valid {
                Ok(Self::Authority)
            } else {
                Err(RequestError::BadTarget { at })
            };
        }
        if target.starts_with('/') {
            check_path(target, at)?;
            return Ok(Self::Origin);
        }
        if target == "*" && method == "OPTIONS" {
            return Ok(Self::Asterisk);
        }
        absolute(target, at)
    }
}

/// Refuses the first byte that no target has: one past ASCII, or the one that starts a fragment.
pub(crate) fn check_bytes(target: &[u8], at: usize) -> Result<(), RequestError> {
    let wrong = target
        .iter()
        .position(|byte| *byte == b'#' || !byte.is_ascii());
    match wrong.map(|index| (target[index], at + index)) {
        None => Ok(()),
        Some((b'#', at)) => Err(RequestError::FragmentInTarget { at }),
        Some((byte, at)) => Err(RequestError::NonAsciiTarget { byte, at }),
    }
}

fn absolute(target: &str, at: usize) -> Result<Target<'_>, RequestError> {
    let bad = || RequestError::BadTarget { at };
    let (scheme, rest) = target.split_once("://").ok_or_else(bad)?;
    let of_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let valid = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(of_scheme);
    if !valid {
        return Err(bad());
    }
    let start = at + target.len() - rest.len();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if let Some(user) = authority.find('@') {
        return Err(RequestError::UserInTarget { at: start + user });
    }
    let authority = Authority::read(authority.as_bytes())
        .filter(|authority| authority.has_host())
        .ok_or(RequestError::BadTarget { at: start })?;
    check_path(path, start + end)?;
    Ok(Target::Absolute {
        authority,
        default_port: default_port(scheme),
    })
}

fn default_port(scheme: &str) -> Option<u16> {
    if scheme.eq_ignore_ascii_case("http") {
        return Some(80);
    }
    scheme.eq_ignore_ascii_case("https").then_some(443)
}

/// A percent sign in a path stands before two hexadecimal digits, which are not those of NUL: of others
/// ejabberd's versions make different paths, or none. One at the path's end they all leave as it is, and
/// a query may have what it wants.
fn check_path(target: &str, at: usize) -> Result<(), RequestError> {
    let path = target.split('?').next().unwrap_or_default().as_bytes();
    let bad = path
        .windows(ESCAPE)
        .position(|bytes| matches!(bytes, [b'%', digits @ ..] if !is_escaped(digits)));
    match bad {
        None => Ok(()),
        Some(percent) => Err(RequestError::BadEscape { at: at + percent }),
    }
}

/// `%41`
const ESCAPE: usize = 3;

fn is_escaped(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_hexdigit) && digits != b"00"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_forms() {
        let http = |authority: &'static str| Target::Absolute {
            authority: Authority::read(authority.as_bytes()).expect("an authority"),
            default_port: Some(80),
        };
        let https = |authority: &'static str| Target::Absolute {
            authority: Authority::read(authority.as_bytes()).expect("an authority"),
            default_port: Some(443),
        };
        let other = |authority: &'static str| Target::Absolute {
            authority: Authority::read(authority.as_bytes()).expect("an authority"),
            default_port: None,
        };
        for (method, target, expected) in [
            ("GET", "/", Target::Origin),
            ("GET", "/a/../b//c?d=e&/f@g:h", Target::Origin),
            ("GET", "/{}|\\^`\"<>[]", Target::Origin),
            ("GET", "/%41%c3%A4?%", Target::Origin),
            ("GET", "/a?%zz%00", Target::Origin),
            ("GET", "/100%", Target::Origin),
            ("GET", "/%4?b", Target::Origin),
            ("OPTIONS", "*", Target::Asterisk),
            ("OPTIONS", "/*", Target::Origin),
            ("CONNECT", "a:1", Target::Authority),
            ("CONNECT", "[::1]:443", Target::Authority),
            ("GET", "http://a", http("a")),
            ("GET", "HTTP://A:80", http("A:80")),
            ("GET", "http://a:/b", http("a")),
            ("GET", "http://a?b@c", http("a")),
            ("GET", "http://a/b@c:d", http("a")),
            ("OPTIONS", "https://[::1]:1/", https("[::1]:1")),
            ("GET", "coap+tcp://a/", other("a")),
        ] {
            assert_eq!(
                Target::read(method, target, 4),
                Ok(expected),
                "{method} {target}"
            );
        }
    }

    #[test]
    fn what_is_none_and_where() {
        let bad = RequestError::BadTarget { at: 4 };
        let at = |at| RequestError::BadTarget { at };
        let fragment = |at| RequestError::FragmentInTarget { at };
        let user = |at| RequestError::UserInTarget { at };
        let escape = |at| RequestError::BadEscape { at };
        let non_ascii = |at, byte| RequestError::NonAsciiTarget { byte, at };
        for (method, target, error) in [
            ("GET", "a", bad.clone()),
            ("GET", "?", bad.clone()),
            ("GET", "a/b", bad.clone()),
            ("GET", "a:80", bad.clone()),
            ("GET", "*", bad.clone()),
            ("options", "*", bad.clone()),
            ("OPTIONS", "**", bad.clone()),
            ("OPTIONS", "*/", bad.clone()),
            ("POST", "localhost", bad.clone()),
            ("CONNECT", "/", bad.clone()),
            ("CONNECT", "*", bad.clone()),
            ("CONNECT", "a", bad.clone()),
            ("CONNECT", "a:", bad.clone()),
            ("CONNECT", ":1", bad.clone()),
            ("CONNECT", "a:0", bad.clone()),
            ("CONNECT", "a:65536", bad.clone()),
            ("CONNECT", "a:b", bad.clone()),
            ("CONNECT", "a:1/", bad.clone()),
            ("CONNECT", "user@a:1", bad.clone()),
            ("CONNECT", "http://a:1", bad.clone()),
            ("GET", "http:/a", bad.clone()),
            ("GET", "http:a", bad.clone()),
            ("GET", "://a", bad.clone()),
            ("GET", "1a://a", bad.clone()),
            ("GET", "a_b://a", bad.clone()),
            ("GET", "http://", at(11)),
            ("GET", "http:///a", at(11)),
            ("GET", "http://:80/", at(11)),
            ("GET", "http://a:65536/", at(11)),
            ("GET", "http://a:b/", at(11)),
            ("GET", "http://[::1/", at(11)),
            ("GET", "http://::1/", at(11)),
            ("GET", "http://a\\b/", at(11)),
            ("GET", "http://user@a/", user(15)),
            ("GET", "http://user:secret@a/", user(22)),
            ("GET", "http://@a", user(11)),
            ("GET", "http://a\\@b/", user(13)),
            ("GET", "/#", fragment(5)),
            ("GET", "/a?b#c", fragment(8)),
            ("GET", "/#\u{e4}", fragment(5)),
            ("GET", "#", fragment(4)),
            ("GET", "http://a#b", fragment(12)),
            ("GET", "http://a/#@b", fragment(13)),
            ("CONNECT", "a:1#", fragment(7)),
            ("OPTIONS", "*#", fragment(5)),
            ("GET", "/\u{e4}", non_ascii(5, 0xc3)),
            ("GET", "/a?\u{1f600}#", non_ascii(7, 0xf0)),
            ("GET", "http://\u{e4}/", non_ascii(11, 0xc3)),
            ("CONNECT", "\u{e4}:1", non_ascii(4, 0xc3)),
            ("GET", "/%zz", escape(5)),
            ("GET", "/a%2/b", escape(6)),
            ("GET", "/%%41", escape(5)),
            ("GET", "/%+5", escape(5)),
            ("GET", "/%-1", escape(5)),
            ("GET", "/%00", escape(5)),
            ("GET", "/%41%4g?", escape(8)),
            ("GET", "http://a/%u1", escape(13)),
        ] {
            assert_eq!(
                Target::read(method, target, 4),
                Err(error),
                "{method} {target}"
            );
        }
    }
}
