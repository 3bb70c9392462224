//! The opening handshake (RFC 6455, section 4.2; RFC 7395, section 3.1). Sans-IO.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use megaphone_http::{BodyLength, RequestHead, Version};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::answer::Persistence;

/// What a key is followed by before it is hashed (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The field whose value is hashed. Nobody has to decode it (RFC 6455, section 4.2.2, /key/).
const KEY: &str = "Sec-WebSocket-Key";

/// The subprotocol of RFC 7395.
const SUBPROTOCOL: &str = "xmpp";

/// What a request for a path of WebSocket's is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handshake {
    /// A handshake, with the answer that makes the connection WebSocket's.
    Accepted(Bytes),
    /// A handshake that can't be accepted.
    Refused(Refusal),
    /// Not a handshake: somebody opens the URL in a browser, and gets a page.
    Page,
    /// None: a browser asks what may be asked here.
    Options,
}

/// Why a handshake is refused. Each has its reason in [`crate::http::answer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its method is not GET.
    #[error("this is for WebSocket clients, which ask with GET")]
    Method,
    /// It asks for no upgrade, or not of the connection that it came on.
    #[error(
        "this is for WebSocket clients that speak XMPP (RFC 7395): ask with Connection: Upgrade and \
         Upgrade: websocket, over HTTP/1.1; a proxy on the way may have to be told to pass them on"
    )]
    NoUpgrade,
    /// It has other versions of the protocol, or none.
    #[error("Sec-WebSocket-Version must be 13")]
    Version,
    /// It has no key, or more than one.
    #[error("there must be exactly one Sec-WebSocket-Key")]
    Key,
    /// It offers subprotocols, but not this one.
    #[error("Sec-WebSocket-Protocol must offer xmpp (RFC 7395)")]
    Subprotocol,
    /// It has a body.
    #[error("a WebSocket handshake has no body")]
    Body,
    /// It comes from a page of an origin that is not allowed.
    #[error(
        "pages of this origin may not connect here; the server's administrator lists those that may"
    )]
    Origin,
}

/// Looks at a request.
///
/// `origins` are those that may connect, in lower case; all may if there are none. Browsers alone send
/// one, so what sends none is no page of any origin.
pub fn read(head: &RequestHead, origins: &[String]) -> Handshake {
    let wants_websocket = head.header("Upgrade").is_some() || head.header(KEY).is_some();
    match head.method() {
        "OPTIONS" => Handshake::Options,
        "HEAD" => Handshake::Page,
        "GET" if !wants_websocket => Handshake::Page,
        "GET" => accept(head, origins).map_or_else(Handshake::Refused, Handshake::Accepted),
        _ => Handshake::Refused(Refusal::Method),
    }
}

/// The answer to a handshake.
fn accept(head: &RequestHead, origins: &[String]) -> Result<Bytes, Refusal> {
    let is_websocket = tokens(head, "Upgrade").any(|token| token.eq_ignore_ascii_case("websocket"));
    if head.version() != Version::Http11 || !head.upgrade() || !is_websocket {
        return Err(Refusal::NoUpgrade);
    }
    if head.body() != BodyLength::None && head.body() != BodyLength::Length(0) {
        return Err(Refusal::Body);
    }
    if !tokens(head, "Sec-WebSocket-Version").any(|version| version == "13") {
        return Err(Refusal::Version);
    }
    let key = only(head, KEY).filter(|key| !key.is_empty());
    let key = key.ok_or(Refusal::Key)?;
    let subprotocol = subprotocol(head)?;
    if !head
        .header_values("Origin")
        .all(|origin| is_allowed(origin, origins))
    {
        return Err(Refusal::Origin);
    }
    let (name, value, end) = match subprotocol {
        Some(xmpp) => ("Sec-WebSocket-Protocol: ", xmpp, "\r\n"),
        None => ("", "", ""),
    };
    Ok(Bytes::from(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n{name}{value}{end}\r\n",
        accept_key(key)
    )))
}

/// The subprotocol as the client writes it, which compares the answer with that. RFC 7395 has clients
/// offer it; those of before offer none.
fn subprotocol(head: &RequestHead) -> Result<Option<&str>, Refusal> {
    let offered = || tokens(head, "Sec-WebSocket-Protocol").filter(|token| !token.is_empty());
    match offered().find(|token| token.eq_ignore_ascii_case(SUBPROTOCOL)) {
        Some(xmpp) => Ok(Some(xmpp)),
        None if offered().next().is_none() => Ok(None),
        None => Err(Refusal::Subprotocol),
    }
}

/// The page for a human, or for a machine that watches.
pub fn page(head: &RequestHead, persistence: Persistence) -> Bytes {
    const TEXT: &str = "This is for WebSocket clients that speak XMPP (RFC 7395).\n";
    let body = match head.method() {
        "HEAD" => "",
        _ => TEXT,
    };
    Bytes::from(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Access-Control-Allow-Origin: *\r\n{}\r\n{body}",
        TEXT.len(),
        persistence.field()
    ))
}

/// What may be asked here.
pub fn options(persistence: Persistence) -> Bytes {
    Bytes::from(format!(
        "HTTP/1.1 200 OK\r\nAllow: GET, HEAD, OPTIONS\r\nContent-Length: 0\r\n\
         Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n\
         Access-Control-Allow-Headers: Content-Type\r\nAccess-Control-Max-Age: 86400\r\n{}\r\n",
        persistence.field()
    ))
}

impl Refusal {
    /// The answer.
    pub fn to_bytes(self, persistence: Persistence) -> Bytes {
        let (status, fields) = match self {
            Self::Method => ("405 Method Not Allowed", "Allow: GET, HEAD, OPTIONS\r\n"),
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
            persistence.field()
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

fn is_allowed(origin: &[u8], origins: &[String]) -> bool {
    origins.is_empty()
        || origins
            .iter()
            .any(|allowed| origin.eq_ignore_ascii_case(allowed.as_bytes()))
}

fn accept_key(key: &[u8]) -> String {
    BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use megaphone_http::{Event, Limits, Progress, RequestDecoder, RequestKind, ResponseTracker};

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

    fn without(line: &str) -> String {
        let lines = GOOD.split_inclusive("\r\n");
        lines.filter(|it| !it.starts_with(line)).collect()
    }

    #[test]
    fn what_nothing_depends_on_refuses_nobody() {
        let protocol = |value: &str| GOOD.replace("mqtt, xmpp", value);
        let key = |value: &str| GOOD.replace("dGhlIHNhbXBsZSBub25jZQ==", value);
        let more = |field: &str| format!("{GOOD}{field}\r\n");
        for (request, subprotocol) in [
            (GOOD.to_owned(), Some("xmpp")),
            (without("Sec-WebSocket-Protocol"), None),
            (protocol(""), None),
            (protocol(" , "), None),
            (protocol("XMPP"), Some("XMPP")),
            (protocol("a,Xmpp,xmpp"), Some("Xmpp")),
            (
                protocol("mqtt\r\nsec-websocket-protocol: xmpp"),
                Some("xmpp"),
            ),
            (key("dGhlIHNhbXBsZSBub25jZQ"), Some("xmpp")),
            (key("short"), Some("xmpp")),
            (key("no base64 at all"), Some("xmpp")),
            (GOOD.replace(": 13", ": 8, 13"), Some("xmpp")),
            (
                GOOD.replace(": 13", ": 13\r\nSec-WebSocket-Version: 8"),
                Some("xmpp"),
            ),
            (
                GOOD.replace("WebSocket\r", "h2c, websocket\r"),
                Some("xmpp"),
            ),
            (GOOD.replace("keep-alive, ", ""), Some("xmpp")),
            (GOOD.replace("keep-alive, ", "close, "), Some("xmpp")),
            (more("Content-Length: 0"), Some("xmpp")),
            (more("Content-Encoding: gzip"), Some("xmpp")),
            (more("Content-Type: text/html"), Some("xmpp")),
            (more("Expect: 100-continue"), Some("xmpp")),
            (more("Origin: null"), Some("xmpp")),
            (
                more("Sec-WebSocket-Extensions: permessage-deflate; x, ;;"),
                Some("xmpp"),
            ),
        ] {
            let Handshake::Accepted(answer) = read(&head(&request), &[]) else {
                panic!("{request}");
            };
            let answer = String::from_utf8(answer.to_vec()).unwrap();
            assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
            let field = answer
                .lines()
                .find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
            assert_eq!(field, subprotocol, "{request}");
        }
    }

    #[test]
    fn what_is_refused_and_with_what() {
        let with = |from: &str, to: &str| GOOD.replace(from, to);
        for (request, refusal, status) in [
            (with("GET", "POST"), Refusal::Method, 405),
            (with("HTTP/1.1", "HTTP/1.0"), Refusal::NoUpgrade, 426),
            (without("Upgrade"), Refusal::NoUpgrade, 426),
            (without("Connection"), Refusal::NoUpgrade, 426),
            (with(", Upgrade", ""), Refusal::NoUpgrade, 426),
            (with("WebSocket\r", "h2c\r"), Refusal::NoUpgrade, 426),
            (
                with("WebSocket\r", "websocket/13\r"),
                Refusal::NoUpgrade,
                426,
            ),
            (without("Sec-WebSocket-Version"), Refusal::Version, 426),
            (with(": 13", ": 8"), Refusal::Version, 426),
            (with(": 13", ": 013"), Refusal::Version, 426),
            (without("Sec-WebSocket-Key"), Refusal::Key, 400),
            (with("dGhlIHNhbXBsZSBub25jZQ==", ""), Refusal::Key, 400),
            (
                with("ZQ==", "ZQ==\r\nSec-WebSocket-Key: a"),
                Refusal::Key,
                400,
            ),
            (with(", xmpp", ""), Refusal::Subprotocol, 400),
            (with(", xmpp", ", xmpp2"), Refusal::Subprotocol, 400),
            (format!("{GOOD}Content-Length: 3\r\n"), Refusal::Body, 400),
            (
                format!("{GOOD}Transfer-Encoding: chunked\r\n"),
                Refusal::Body,
                400,
            ),
        ] {
            assert_eq!(
                read(&head(&request), &[]),
                Handshake::Refused(refusal),
                "{request}"
            );
            let answer = refusal.to_bytes(Persistence::GoesOn);
            let answer = String::from_utf8_lossy(&answer);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
        }
    }

    #[test]
    fn who_only_looks_is_told_what_is_here() {
        let request = |method: &str| format!("{method} /ws HTTP/1.1\r\nHost: a\r\nAccept: a/b\r\n");
        for (method, kind) in [("GET", RequestKind::Other), ("HEAD", RequestKind::Head)] {
            let head = head(&request(method));
            assert_eq!(read(&head, &[]), Handshake::Page);
            is_whole(&page(&head, Persistence::GoesOn), kind);
        }
        let upgrade = head(&GOOD.replace("GET", "HEAD"));
        assert_eq!(read(&upgrade, &[]), Handshake::Page);
        assert_eq!(read(&head(&request("OPTIONS")), &[]), Handshake::Options);
        is_whole(&options(Persistence::GoesOn), RequestKind::Other);
        let put = read(&head(&request("PUT")), &[]);
        assert_eq!(put, Handshake::Refused(Refusal::Method));
    }

    fn is_whole(answer: &[u8], kind: RequestKind) {
        let mut tracker = ResponseTracker::new();
        tracker.start(kind);
        let consumed = answer.len();
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
        assert_eq!(tracker.follow(answer), Progress::Complete { consumed });
        assert!(!tracker.closes());
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
