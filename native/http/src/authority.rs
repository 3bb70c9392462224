//! `uri-host [ ":" port ]`, the value of `Host` and the authority of a target (RFC 9110, 7.2; RFC 3986,
//! 3.2.2 and 3.2.3).

use std::net::Ipv6Addr;

/// A host and its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    /// Empty in a `Host` field of a target that has no authority.
    host: &'a [u8],
    /// None where it's left out or empty, which is the scheme's own.
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads it. `None`: it isn't one. A user name before it is none of it (RFC 9110, 4.2.4).
    pub fn read(text: &'a [u8]) -> Option<Self> {
        let (host, port) = match text.iter().rposition(|byte| *byte == b':') {
            // In brackets a colon is the address's.
            Some(colon) if !text[colon..].contains(&b']') => {
                (&text[..colon], port(&text[colon + 1..])?)
            }
            _ => (text, None),
        };
        let valid = match host {
            [b'[', literal @ .., b']'] => is_literal(literal),
            // What has a port has a host.
            [] => text.is_empty(),
            name => is_name(name),
        };
        valid.then_some(Self { host, port })
    }

    pub fn has_host(self) -> bool {
        !self.host.is_empty()
    }

    pub fn port(self) -> Option<u16> {
        self.port
    }

    /// Whether it's the same as another one where no port means `default`.
    pub fn is_same(self, other: Authority<'_>, default: Option<u16>) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.or(default) == other.port.or(default)
    }
}

/// `*DIGIT`, and a number that a port can have. The outer `None`: it isn't.
fn port(digits: &[u8]) -> Option<Option<u16>> {
    if digits.is_empty() {
        return Some(None);
    }
    digits
        .iter()
        .try_fold(0_u16, |number, digit| {
            let value = u16::from(digit.checked_sub(b'0').filter(|value| *value < 10)?);
            number.checked_mul(10)?.checked_add(value)
        })
        .map(Some)
}

/// `reg-name`; an IPv4 address is one too.
fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    loop {
        rest = match rest {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            [byte, rest @ ..] if is_unreserved(*byte) || is_sub_delim(*byte) => rest,
            _ => return false,
        }
    }
}

/// What is between the brackets of `IP-literal`: an IPv6 address, or one of a version to come. Clients
/// send the zone of an address too, `fe80::1%eth0`, though it means nothing here (RFC 4007, 11.2).
fn is_literal(literal: &[u8]) -> bool {
    if let [b'v' | b'V', rest @ ..] = literal {
        return rest
            .iter()
            .position(|byte| *byte == b'.')
            .is_some_and(|dot| {
                let (version, address) = (&rest[..dot], &rest[dot + 1..]);
                let of_address =
                    |byte: &u8| is_unreserved(*byte) || is_sub_delim(*byte) || *byte == b':';
                !version.is_empty()
                    && version.iter().all(u8::is_ascii_hexdigit)
                    && !address.is_empty()
                    && address.iter().all(of_address)
            });
    }
    let (address, zone) = match literal.iter().position(|byte| *byte == b'%') {
        Some(percent) => (&literal[..percent], Some(&literal[percent + 1..])),
        None => (literal, None),
    };
    let of_zone = |byte: &u8| is_unreserved(*byte);
    std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
        && zone.is_none_or(|zone| !zone.is_empty() && zone.iter().all(of_zone))
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn is_sub_delim(byte: u8) -> bool {
    b"!$&'()*+,;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("", "", None),
            ("a", "a", None),
            ("chat.example.org", "chat.example.org", None),
            ("a_b-c~d", "a_b-c~d", None),
            ("a!$&'()*+,;=", "a!$&'()*+,;=", None),
            ("%C3%A4", "%C3%A4", None),
            ("a:", "a", None),
            ("a:0", "a", Some(0)),
            ("a:5280", "a", Some(5280)),
            ("a:65535", "a", Some(65535)),
            ("a:0000000443", "a", Some(443)),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[::1]:", "[::1]", None),
            ("[::1]:443", "[::1]", Some(443)),
            ("[2001:DB8::7]:1", "[2001:DB8::7]", Some(1)),
            ("[::ffff:192.0.2.7]", "[::ffff:192.0.2.7]", None),
            ("[fe80::1%eth0]:1", "[fe80::1%eth0]", Some(1)),
            ("[fe80::1%25eth0]", "[fe80::1%25eth0]", None),
            ("[v1.fe:x]", "[v1.fe:x]", None),
        ] {
            let host = host.as_bytes();
            let read = Authority::read(text.as_bytes());
            assert_eq!(read, Some(Authority { host, port }), "{text}");
        }
    }

    #[test]
    fn what_is_none() {
        for text in [
            ":",
            ":80",
            "a:65536",
            "a:99999",
            "a:18446744073709551617",
            "a:-1",
            "a:+1",
            "a:x",
            "a: 1",
            "a:80:80",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a@b",
            "@b",
            "a:b@c",
            "a\"b",
            "a<b",
            "\u{e4}",
            "%",
            "%4",
            "%zz",
            "::1",
            "2001:db8::7",
            "[::1",
            "::1]",
            "[]",
            "[]:80",
            "[1]",
            "[a]",
            "[::g]",
            "[1:2]",
            "[127.0.0.1]",
            "[::1]a",
            "a[::1]",
            "[::1]]",
            "[[::1]]",
            "[::1%]",
            "[::1%a/b]",
            "[%eth0]",
            "[::1]:65536",
            "[::1]:x",
            "[v.a]",
            "[v1.]",
            "[v1a]",
            "[vg.a]",
            "[v1.a@b]",
        ] {
            assert_eq!(Authority::read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn no_port_is_the_default_one() {
        for (one, other, same) in [
            ("a", "A", true),
            ("a", "b", false),
            ("a:80", "a", true),
            ("a:", "a:80", true),
            ("a:080", "a:80", true),
            ("a:81", "a", false),
            ("[::1]:80", "[::1]", true),
        ] {
            let [one, other] =
                [one, other].map(|text| Authority::read(text.as_bytes()).expect("an authority"));
            assert_eq!(one.is_same(other, Some(80)), same, "{one:?} {other:?}");
            assert_eq!(other.is_same(one, Some(80)), same, "{one:?} {other:?}");
        }
        let [one, other] =
            ["a:80", "a"].map(|text| Authority::read(text.as_bytes()).expect("an authority"));
        assert!(!one.is_same(other, None));
    }
}
