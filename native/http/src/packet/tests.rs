//! `cases.txt` holds what erlang:decode_packet/3 answered; `cases.escript` beside it asks it again.

use super::*;

const CASES: &str = include_str!("cases.txt");

#[test]
fn every_case_is_as_decode_packet_answered() {
    let mut rows = 0;
    for row in CASES.lines() {
        let [kind, limit, input, expected] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("a row has four columns: {row}");
        };
        let kind = match kind {
            "http_bin" => PacketKind::Http,
            "httph_bin" => PacketKind::Httph,
            other => panic!("no such kind: {other}"),
        };
        let limit = NonZeroUsize::new(limit.parse().expect("a number"));
        assert_eq!(
            term(&decode(kind, &unescape(input), limit)),
            expected,
            "for {row}"
        );
        rows += 1;
    }
    assert!(rows > 900, "{rows} rows");
}

/// The rows of the module's table of intended differences.
#[test]
fn ipv6_literals_are_read_whole() {
    let rows = [
        ("http://[::1]", "[::1]", None, "/"),
        ("http://[::1]/", "[::1]", None, "/"),
        ("http://[::1]:80/x", "[::1]", Some(80), "/x"),
        ("https://[::1]:/x", "[::1]", None, "/x"),
        ("http://[::1]80/x", "[::1]", None, "/x"),
        ("http://[::1]:8x/x", "[::1]", None, "/x"),
        ("http://[::1", "[", None, "/"),
    ];
    for (target, expected_host, expected_port, expected_path) in rows {
        let Uri::Absolute {
            host, port, path, ..
        } = uri(target.as_bytes())
        else {
            panic!("{target} is absolute");
        };
        let found = (host, port, path);
        let expected = (
            expected_host.as_bytes(),
            expected_port,
            expected_path.as_bytes(),
        );
        assert_eq!(found, expected, "for {target}");
    }
}

#[test]
fn a_socket_goes_from_first_line_to_headers_and_back() {
    let mut input = &b"GET / HTTP/1.1\r\nHost: a\r\n\r\nHTTP/1.1 200 OK\r\n"[..];
    let mut kind = PacketKind::Http;
    let mut kinds = Vec::new();
    while let Decoded::Packet { packet, consumed } = decode(kind, input, None) {
        kind = packet.next_kind(kind);
        kinds.push(kind);
        input = &input[consumed..];
    }
    use PacketKind::{Http, Httph};
    assert_eq!(kinds, [Httph, Httph, Http, Httph]);
}

fn term(decoded: &Decoded<'_>) -> String {
    match decoded {
        Decoded::More => "{more,undefined}".into(),
        Decoded::Invalid => "{error,invalid}".into(),
        Decoded::Packet { packet, consumed } => {
            format!("{{ok,{},{consumed}}}", packet_term(packet))
        }
    }
}

fn packet_term(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Request {
            method,
            uri,
            version: (major, minor),
        } => {
            let method = match method {
                Method::Known(known) => atom(known),
                Method::Other(other) => binary(other),
            };
            format!(
                "{{http_request,{method},{},{{{major},{minor}}}}}",
                uri_term(uri)
            )
        }
        Packet::Response {
            version: (major, minor),
            status,
            phrase,
        } => {
            format!(
                "{{http_response,{{{major},{minor}}},{status},{}}}",
                binary(phrase)
            )
        }
        Packet::Header {
            number,
            name,
            raw_name,
            value,
        } => {
            let name = match name {
                HeaderName::Known(known) => atom(known),
                HeaderName::Other(other) => binary(other),
            };
            format!(
                "{{http_header,{number},{name},{},{}}}",
                binary(raw_name),
                binary(value)
            )
        }
        Packet::EndOfHeaders => "http_eoh".into(),
        Packet::Error(line) => format!("{{http_error,{}}}", binary(line)),
    }
}

fn uri_term(uri: &Uri<'_>) -> String {
    match uri {
        Uri::Asterisk => "'*'".into(),
        Uri::AbsPath(path) => format!("{{abs_path,{}}}", binary(path)),
        Uri::Absolute {
            scheme,
            host,
            port,
            path,
        } => {
            let scheme = match scheme {
                Scheme::Http => "http",
                Scheme::Https => "https",
            };
            let port = port.map_or("undefined".into(), |port| port.to_string());
            format!(
                "{{absoluteURI,{scheme},{},{port},{}}}",
                binary(host),
                binary(path)
            )
        }
        Uri::Scheme(scheme, rest) => format!("{{scheme,{},{}}}", binary(scheme), binary(rest)),
        Uri::Other(other) => binary(other),
    }
}

fn atom(name: &str) -> String {
    format!("'{name}'")
}

fn binary(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next().expect("something is escaped") {
                b't' => b'\t',
                b'r' => b'\r',
                b'n' => b'\n',
                b'x' => {
                    let digits: String = rest.by_ref().take(2).map(char::from).collect();
                    u8::from_str_radix(&digits, 16).expect("two digits")
                }
                other => other,
            },
            byte => byte,
        });
    }
    bytes
}
