//! The opening handshake (RFC 6455, section 4.2; RFC 7395, section 3.1). Sans-IO.

use bytes::Bytes;
use megaphone_http::{BodyLength, RequestHead, Version};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::answer::After;

/// What a key is followed by before it is hashed (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The subprotocol of RFC 7395.
const SUBPROTOCOL: &str = "xmpp";

/// Why a request does not become a WebSocket connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its method is not GET.
    #[error("this is for WebSocket clients, which ask with GET")]
    Method,
    /// It asks for no upgrade, as a browser that was pointed here.
    #[error(
        "this is for WebSocket clients that speak XMPP (RFC 7395): ask with Connection: Upgrade and \
         Upgrade: websocket, over HTTP/1.1"
    )]
    NoUpgrade,
    /// It has another version of the protocol, or none.
    #[error("Sec-WebSocket-Version has to be 13")]
    Version,
    /// It has no key, more than one, or none of 16 bytes.
    #[error("Sec-WebSocket-Key has to be 16 bytes in base64")]
    Key,
    /// It does not offer the subprotocol.
    #[error("Sec-WebSocket-Protocol has to offer xmpp (RFC 7395)")]
    Subprotocol,
    /// It has a body.
    #[error("a WebSocket handshake has no body")]
    Body,
    /// It comes from a page of an origin that is not allowed.
    #[error("pages of this origin may not connect here; its administrator lists those that may")]
    Origin,
}

/// Checks a handshake and gives the answer to it.
///
/// `origins` are those that may connect, in lower case; all may if there are none. Browsers alone send
/// one, so what sends none is no page of any origin.
///
/// # Errors
/// [`Refusal`].
pub fn accept(head: &RequestHead, origins: &[String]) -> Result<Bytes, Refusal> {
    if head.method() != "GET" {
        return Err(Refusal::Method);
    }
    let is_websocket = tokens(head, "Upgrade").any(|token| token.eq_ignore_ascii_case("websocket"));
    if head.version() != Version::Http11 || !head.upgrade() || !is_websocket {
        return Err(Refusal::NoUpgrade);
    }
    if head.body() != BodyLength::None && head.body() != BodyLength::Length(0) {
        return Err(Refusal::Body);
    }
    if only(head, "Sec-WebSocket-Version") != Some(b"13") {
        return Err(Refusal::Version);
    }
    let key = only(head, "Sec-WebSocket-Key").filter(|key| is_key(key));
    let key = key.ok_or(Refusal::Key)?;
    if !tokens(head, "Sec-WebSocket-Protocol").any(|token| token == SUBPROTOCOL) {
        return Err(Refusal::Subprotocol);
    }
    if !head
        .header_values("Origin")
        .all(|origin| is_allowed(origin, origins))
    {
        return Err(Refusal::Origin);
    }
    let accept = accept_key(key);
    Ok(Bytes::from(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    )))
}

impl Refusal {
    /// The answer.
    pub fn to_bytes(self, after: After) -> Bytes {
        let (status, fields) = match self {
            Self::Method => ("405 Method Not Allowed", "Allow: GET\r\n"),
            Self::NoUpgrade => ("426 Upgrade Required", "Upgrade: websocket\r\n"),
            Self::Version => (
                "426 Upgrade Required",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            ),
            Self::Key | Self::Subprotocol | Self::Body => ("400 Bad Request", ""),
            Self::Origin => ("403 Forbidden", ""),
        };
        let text = self.to_string();
        let length = text.len() + 1;
        Bytes::from(format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\n{fields}{}\r\n{text}\n",
            after.field()
        ))
    }
}

/// The value of a field that may be there once.
fn only<'h>(head: &'h RequestHead, name: &str) -> Option<&'h [u8]> {
    let mut values = head.header_values(name);
    values.next().filter(|_| values.next().is_none())
}

/// The members of all fields of this name, which are lists.
fn tokens<'h>(head: &'h RequestHead, name: &str) -> impl Iterator<Item = &'h str> {
    head.header_values(name)
        .filter_map(|value| std::str::from_utf8(value).ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// Whether it is the base64 form of 16 bytes.
fn is_key(key: &[u8]) -> bool {
    match key.strip_suffix(b"==") {
        Some(digits) => digits.len() == 22 && digits.iter().all(|digit| BASE64.contains(digit)),
        None => false,
    }
}

fn is_allowed(origin: &[u8], origins: &[String]) -> bool {
    origins.is_empty()
        || origins
            .iter()
            .any(|allowed| origin.eq_ignore_ascii_case(allowed.as_bytes()))
}

fn accept_key(key: &[u8]) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    base64(hash.as_ref())
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = group
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte));
        let number = number << (8 * (3 - group.len()));
        for digit in 0..4 {
            text.push(match digit <= group.len() {
                true => char::from(BASE64[(number >> (18 - 6 * digit)) as usize & 63]),
                false => '=',
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use megaphone_http::{Event, Limits, RequestDecoder};

    use super::*;

    const GOOD: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
        Upgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt, xmpp\r\n";

    fn head(text: &str) -> RequestHead {
        let mut input = BytesMut::from(format!("{text}\r\n").as_str());
        match RequestDecoder::new(Limits::default()).decode(&mut input) {
            Ok(Some(Event::Head(head))) => head,
            other => panic!("expected a head, got {other:?}"),
        }
    }

    #[test]
    fn the_answer_is_the_one_of_the_rfc() {
        let answer = accept(&head(GOOD), &[]).unwrap();
        assert_eq!(
            String::from_utf8(answer.to_vec()).unwrap(),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
             Sec-WebSocket-Protocol: xmpp\r\n\r\n"
        );
    }

    #[test]
    fn base64_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn what_is_refused_and_with_what() {
        let without = |line: &str| {
            let lines = GOOD.split_inclusive("\r\n");
            lines.filter(|it| !it.starts_with(line)).collect::<String>()
        };
        let with = |from: &str, to: &str| GOOD.replace(from, to);
        for (request, refusal, status) in [
            (with("GET", "POST"), Refusal::Method, 405),
            (with("HTTP/1.1", "HTTP/1.0"), Refusal::NoUpgrade, 426),
            (without("Upgrade"), Refusal::NoUpgrade, 426),
            (without("Connection"), Refusal::NoUpgrade, 426),
            (with("WebSocket\r", "h2c\r"), Refusal::NoUpgrade, 426),
            (without("Sec-WebSocket-Version"), Refusal::Version, 426),
            (with(": 13", ": 8"), Refusal::Version, 426),
            (
                with(": 13", ": 13\r\nSec-WebSocket-Version: 8"),
                Refusal::Version,
                426,
            ),
            (without("Sec-WebSocket-Key"), Refusal::Key, 400),
            (with("ZQ==", "ZQ"), Refusal::Key, 400),
            (with("dGhl", "dGhldGhl"), Refusal::Key, 400),
            (with("dGhl", "d-hl"), Refusal::Key, 400),
            (without("Sec-WebSocket-Protocol"), Refusal::Subprotocol, 400),
            (with(", xmpp", ", XMPP"), Refusal::Subprotocol, 400),
            (format!("{GOOD}Content-Length: 3\r\n"), Refusal::Body, 400),
        ] {
            assert_eq!(accept(&head(&request), &[]), Err(refusal), "{request}");
            let answer = refusal.to_bytes(After::KeepAlive);
            let answer = String::from_utf8_lossy(&answer);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
        }
    }

    #[test]
    fn origins_are_held_against_the_list() {
        let origins = ["https://chat.example.org".to_owned()];
        for (field, expected) in [
            ("", Ok(())),
            ("Origin: https://chat.example.org\r\n", Ok(())),
            ("Origin: HTTPS://Chat.Example.org\r\n", Ok(())),
            ("Origin: https://example.org\r\n", Err(Refusal::Origin)),
            (
                "Origin: https://chat.example.org:444\r\n",
                Err(Refusal::Origin),
            ),
            ("Origin: null\r\n", Err(Refusal::Origin)),
        ] {
            let head = head(&format!("{GOOD}{field}"));
            assert_eq!(accept(&head, &origins).map(|_| ()), expected, "{field}");
            assert!(accept(&head, &[]).is_ok());
        }
    }
}
