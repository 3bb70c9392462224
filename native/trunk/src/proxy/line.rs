//! Reading version 1, a line of text.

use std::net::{IpAddr, SocketAddr};

use super::{Addresses, Command, FIXED, Header, ProxyError, SIGNATURE, read};

/// The longest line, CRLF included, in bytes (section 2.1).
pub const MAX_LINE: usize = 107;

const PREFIX: &[u8] = b"PROXY ";

/// Reads a header of either version at the front of `input`: it and its length in bytes, or `None`
/// as long as its end is not there.
///
/// # Errors
/// [`ProxyError`] as soon as the bytes can't be a header.
pub fn read_any(input: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    match input.first() {
        Some(first) if *first == SIGNATURE[0] => read(input),
        _ => read_line(input),
    }
}

/// How many bytes more are the header's at the least, where [`read_any`] has not found its end: so many
/// can be read without taking any of what follows.
#[must_use]
pub fn missing(input: &[u8]) -> usize {
    let end = match (input.first(), input.first_chunk::<FIXED>()) {
        (Some(first), Some([.., high, low])) if *first == SIGNATURE[0] => {
            FIXED + usize::from(u16::from_be_bytes([*high, *low]))
        }
        (Some(first), _) if *first == SIGNATURE[0] => FIXED,
        _ => PREFIX.len(),
    };
    end.saturating_sub(input.len()).max(1)
}

/// Reads a header of version 1 at the front of `input`: it and its length in bytes, or `None` as
/// long as its end is not there. `UNKNOWN` is a header without addresses.
///
/// # Errors
/// [`ProxyError`] as soon as the bytes can't be a header.
pub fn read_line(input: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    let mut differs = input.iter().zip(PREFIX).enumerate();
    if let Some((index, (found, _))) = differs.find(|(_, (found, expected))| found != expected) {
        return Err(ProxyError::Signature {
            index,
            found: *found,
        });
    }
    let line = &input[..input.len().min(MAX_LINE)];
    let Some(end) = line.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return match line.len() {
            MAX_LINE => Err(ProxyError::LineTooLong { limit: MAX_LINE }),
            _ => Ok(None),
        };
    };
    match line[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if end + 1 < MAX_LINE => return Ok(None),
        _ => return Err(expected(end, "CRLF")),
    }
    let mut words = Words {
        line: &line[..end],
        at: PREFIX.len(),
    };
    let header = Header {
        command: Command::Proxy,
        addresses: addresses(&mut words)?,
        ..Header::default()
    };
    Ok(Some((header, end + 2)))
}

fn addresses(words: &mut Words<'_>) -> Result<Addresses, ProxyError> {
    let (at, family) = words.next()?;
    let is_v6 = match family {
        b"TCP4" => false,
        b"TCP6" => true,
        // Whatever follows is to be ignored.
        b"UNKNOWN" => return Ok(Addresses::Unspecified),
        _ => return Err(expected(at, "TCP4, TCP6 or UNKNOWN")),
    };
    let what = if is_v6 {
        "an IPv6 address"
    } else {
        "an IPv4 address"
    };
    let mut address = || {
        let (at, word) = words.next()?;
        let address = parse::<IpAddr>(word).filter(|address| address.is_ipv6() == is_v6);
        address.ok_or(expected(at, what))
    };
    let (source, destination) = (address()?, address()?);
    let (source_port, destination_port) = (port(words)?, port(words)?);
    words.end()?;
    Ok(Addresses::Inet {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

/// Digits without a sign or zeros in front.
fn port(words: &mut Words<'_>) -> Result<u16, ProxyError> {
    let (at, word) = words.next()?;
    let is_plain = word == b"0" || (word.iter().all(u8::is_ascii_digit) && !word.starts_with(b"0"));
    let port = parse(word).filter(|_| is_plain);
    port.ok_or(expected(at, "a port, 0 to 65535"))
}

fn parse<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

const fn expected(at: usize, expected: &'static str) -> ProxyError {
    ProxyError::Line { at, expected }
}

/// What stands between single spaces.
struct Words<'a> {
    line: &'a [u8],
    /// Where the next word starts; one past the line's end after the last.
    at: usize,
}

impl<'a> Words<'a> {
    /// The next word and where it starts; after the last, none but an empty one.
    fn next(&mut self) -> Result<(usize, &'a [u8]), ProxyError> {
        let at = self.at;
        let rest = self.line.get(at..);
        let rest = rest.ok_or(expected(self.line.len(), "one space and a word"))?;
        let len = rest.iter().position(|byte| *byte == b' ');
        let word = &rest[..len.unwrap_or(rest.len())];
        self.at += word.len() + 1;
        Ok((at, word))
    }

    fn end(&self) -> Result<(), ProxyError> {
        match self.line.get(self.at..) {
            None => Ok(()),
            Some(_) => Err(expected(self.at - 1, "CRLF")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(addresses: Addresses) -> Header {
        Header {
            addresses,
            ..Header::default()
        }
    }

    fn inet(source: &str, destination: &str) -> Addresses {
        Addresses::Inet {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    #[test]
    fn lines_of_version_1() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(107 - 16));
        for (line, addresses) in [
            (
                "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
                inet("192.168.0.1:56324", "192.168.0.11:443"),
            ),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                inet("255.255.255.255:65535", "255.255.255.255:65535"),
            ),
            (
                "PROXY TCP6 2001:db8::7 ::1 1 0\r\n",
                inet("[2001:db8::7]:1", "[::1]:0"),
            ),
            (
                "PROXY TCP6 ::ffff:192.0.2.1 FE80::1 1 2\r\n",
                inet("[::ffff:192.0.2.1]:1", "[fe80::1]:2"),
            ),
            ("PROXY UNKNOWN\r\n", Addresses::Unspecified),
            ("PROXY UNKNOWN what ever  1\r\n", Addresses::Unspecified),
            (&longest, Addresses::Unspecified),
        ] {
            let input = format!("{line}GET / HTTP/1.1\r\n");
            for cut in 0..line.len() {
                let early = read_any(&input.as_bytes()[..cut]);
                assert_eq!(early, Ok(None), "after {cut} bytes of {line:?}");
            }
            let expected = Ok(Some((header(addresses), line.len())));
            assert_eq!(read_any(input.as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn lines_that_are_none() {
        let family = "TCP4, TCP6 or UNKNOWN";
        let v4 = "an IPv4 address";
        let port = "a port, 0 to 65535";
        for (line, at, what) in [
            ("PROXY \r\n", 6, family),
            ("PROXY  TCP4\r\n", 6, family),
            ("PROXY TCP5 \r\n", 6, family),
            ("PROXY UDP4 192.0.2.7 198.51.100.1 4711 80\r\n", 6, family),
            ("PROXY tcp4 192.0.2.7 198.51.100.1 4711 80\r\n", 6, family),
            ("PROXY TCP4\r\n", 10, "one space and a word"),
            ("PROXY TCP4 2001:db8::7 2001:db8::1 4711 80\r\n", 11, v4),
            (
                "PROXY TCP6 192.0.2.7 198.51.100.1 4711 80\r\n",
                11,
                "an IPv6 address",
            ),
            ("PROXY TCP4 192.0.02.7 198.51.100.1 4711 80\r\n", 11, v4),
            ("PROXY TCP4 192.0.2.7  198.51.100.1 4711 80\r\n", 21, v4),
            ("PROXY TCP4 192.0.2.7 198.51.100 4711 80\r\n", 21, v4),
            (
                "PROXY TCP4 192.0.2.7 198.51.100.1\r\n",
                33,
                "one space and a word",
            ),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 +4711 80\r\n", 34, port),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 65536 80\r\n", 34, port),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 4711 080\r\n", 39, port),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 4711 \r\n", 39, port),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 4711 80 \r\n", 41, "CRLF"),
            (
                "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80 1\r\n",
                41,
                "CRLF",
            ),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\n", 41, "CRLF"),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\rX", 41, "CRLF"),
        ] {
            let error = ProxyError::Line { at, expected: what };
            assert_eq!(read_any(line.as_bytes()), Err(error), "{line:?}");
        }
        let long = format!("PROXY UNKNOWN {}", "f".repeat(200));
        let error = ProxyError::LineTooLong { limit: 107 };
        assert_eq!(read_any(long.as_bytes()), Err(error));
        assert_eq!(
            expected(11, v4).to_string(),
            "a PROXY line must have an IPv4 address at byte 11"
        );
    }

    #[test]
    fn what_starts_with_neither_is_refused_at_its_first_byte() {
        for (input, index) in [
            ("GET / HTTP/1.1", 0),
            ("PROXX", 4),
            ("P R", 1),
            ("\r\n\r\nx", 4),
        ] {
            let refused = read_any(input.as_bytes());
            let found = input.as_bytes()[index];
            assert_eq!(
                refused,
                Err(ProxyError::Signature { index, found }),
                "{input:?}"
            );
        }
    }

    /// Reads as [`missing`] says, never more.
    fn read_by_pieces(input: &[u8]) -> Result<(Header, usize), ProxyError> {
        let mut end = 0;
        loop {
            match read_any(&input[..end])? {
                Some(read) => return Ok(read),
                None => end += missing(&input[..end]),
            }
        }
    }

    #[test]
    fn nothing_behind_a_header_is_read() {
        let mut binary = SIGNATURE.to_vec();
        binary.extend_from_slice(&[0x21, 0x11, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2]);
        let mut local = SIGNATURE.to_vec();
        local.extend_from_slice(&[0x20, 0, 0, 0]);
        for header in [
            b"PROXY UNKNOWN\r\n".as_slice(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY TCP6 ::1 ::2 65535 65534\r\n",
            &binary,
            &local,
        ] {
            let (_, length) = read_by_pieces(header).unwrap();
            assert_eq!(length, header.len(), "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(line in "PROXY [ TCP46UNKOW0-9.:a-f\r\n]{0,120}", bytes: Vec<u8>) {
            let _ = read_any(line.as_bytes());
            let _ = read_any(&bytes);
            prop_assert!(missing(&bytes) > 0);
            let _ = read_line(&[PREFIX, &bytes].concat());
        }

        #[test]
        fn addresses_are_read_as_they_were_said(
            source: ([u8; 16], u16),
            destination: ([u8; 16], u16),
        ) {
            let (source, destination) = (SocketAddr::from(source), SocketAddr::from(destination));
            let line = format!(
                "PROXY TCP6 {} {} {} {}\r\n",
                source.ip(), destination.ip(), source.port(), destination.port(),
            );
            let addresses = Addresses::Inet { source, destination };
            prop_assert_eq!(read_line(line.as_bytes()), Ok(Some((header(addresses), line.len()))));
        }
    }
}
