//! A request for BOSH that is being read, and whether its body is as it was written (RFC 9110, section 8.4).

use bytes::{Bytes, BytesMut};
use megaphone_http::{BodyLength, RequestHead};

use crate::session::MAX_BEFORE_LOGIN;

/// A request whose end was not read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) head: RequestHead,
    body: Body,
    pub(super) sender: Sender,
    /// Whether it takes no more memory than it needs.
    is_shrunk: bool,
}

/// What is known of the sender of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    Unknown,
    /// A client that has logged in.
    User,
}

#[derive(Debug, Default)]
enum Body {
    #[default]
    None,
    /// It came in one piece, up to now.
    One(Bytes),
    Many(BytesMut),
}

impl Body {
    fn push(&mut self, piece: Bytes) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(piece),
            Self::One(first) => {
                let mut all = BytesMut::with_capacity(2 * (first.len() + piece.len()));
                all.extend_from_slice(&first);
                all.extend_from_slice(&piece);
                Self::Many(all)
            }
            Self::Many(mut all) => {
                all.extend_from_slice(&piece);
                Self::Many(all)
            }
        };
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::One(piece) => piece,
            Self::Many(all) => all,
        }
    }
}

impl Reading {
    pub(super) const fn new(head: RequestHead) -> Self {
        Self {
            head,
            body: Body::None,
            sender: Sender::Unknown,
            is_shrunk: false,
        }
    }

    /// More of the body.
    pub(super) fn push(&mut self, piece: Bytes) {
        self.body.push(piece);
    }

    /// What has come of the body.
    pub(super) fn body(&self) -> &[u8] {
        self.body.as_bytes()
    }

    /// Bytes of the body that have come.
    pub(super) fn body_bytes(&self) -> usize {
        self.body.as_bytes().len()
    }

    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        let body = match &self.body {
            Body::None => 0,
            Body::One(piece) => piece.len(),
            Body::Many(all) => all.capacity(),
        };
        self.head.as_bytes().len() + body
    }

    /// Gives back the memory of what was read with it, when it has to wait for more.
    pub(super) fn shrink(&mut self) {
        if !self.is_shrunk {
            self.is_shrunk = true;
            self.head.detach();
            if let Body::One(piece) = &self.body {
                self.body = Body::One(Bytes::copy_from_slice(piece));
            }
        }
    }

    /// Whether it is too large for a client that has not logged in.
    pub(super) fn is_large(&self) -> bool {
        let announced = match self.head.body() {
            BodyLength::Length(length) => length,
            BodyLength::None | BodyLength::Chunked => 0,
        };
        announced.max(self.body_bytes() as u64) > MAX_BEFORE_LOGIN as u64
    }
}

/// The codings of IANA's registry that change what a body is, `identity` apart. A body is not decoded: no
/// client sends one so, and a small one could be large inside.
const CODINGS: [&[u8]; 12] = [
    b"aes128gcm",
    b"br",
    b"compress",
    b"dcb",
    b"dcz",
    b"deflate",
    b"exi",
    b"gzip",
    b"pack200-gzip",
    b"x-compress",
    b"x-gzip",
    b"zstd",
];

/// Whether a body can't be read because of its `Content-Encoding`.
///
/// The field says much that is no coding (libpurple writes the media type there) and applies nothing. What
/// starts as XML does has none, whatever the field says.
pub(super) fn is_coded(head: &RequestHead, body: &[u8]) -> bool {
    let mut named = head
        .header_values("Content-Encoding")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    named.any(|name| {
        CODINGS
            .iter()
            .any(|coding| name.eq_ignore_ascii_case(coding))
    }) && !starts_as_xml(body)
}

fn starts_as_xml(body: &[u8]) -> bool {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    let text = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    text.trim_ascii_start().starts_with(b"<")
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use megaphone_http::{Event, Limits, RequestDecoder};

    fn is_coded(fields: &str, body: &[u8]) -> bool {
        let request = format!("POST /bosh HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut input = BytesMut::from(request.as_str());
        match RequestDecoder::new(Limits::default()).decode(&mut input) {
            Ok(Some(Event::Head(head))) => super::is_coded(&head, body),
            other => panic!("expected a head, got {other:?}"),
        }
    }

    const GZIP: &[u8] = b"\x1f\x8b\x08";

    #[test]
    fn what_is_no_coding_applies_nothing() {
        for fields in [
            "",
            "Content-Encoding:\r\n",
            "Content-Encoding: ,\r\n",
            "Content-Encoding: identity\r\n",
            "Content-Encoding: Identity, identity\r\n",
            "Content-Encoding: text/xml; charset=utf-8\r\n",
            "Content-Encoding: text/xml\r\nContent-Encoding: utf-8\r\n",
            "Content-Encoding: none\r\n",
            "Content-Encoding: gzipped\r\n",
            "Content-Encoding: \u{e4}\r\n",
            "Accept-Encoding: gzip\r\n",
        ] {
            assert!(!is_coded(fields, GZIP), "{fields}");
        }
    }

    #[test]
    fn a_coding_is_seen_wherever_it_stands() {
        for fields in [
            "Content-Encoding: gzip\r\n",
            "content-encoding: GZip\r\n",
            "Content-Encoding: x-gzip\r\n",
            "Content-Encoding: deflate\r\n",
            "Content-Encoding: br\r\n",
            "Content-Encoding: zstd\r\n",
            "Content-Encoding: compress\r\n",
            "Content-Encoding: identity, gzip\r\n",
            "Content-Encoding: gzip,text/xml\r\n",
            "Content-Encoding: text/xml\r\nContent-Encoding: , gzip ,\r\n",
        ] {
            assert!(is_coded(fields, GZIP), "{fields}");
        }
    }

    #[test]
    fn what_starts_as_xml_has_none() {
        for body in ["<body/>", " \r\n<body/>", "\u{feff}<?xml version='1.0'?>"] {
            assert!(
                !is_coded("Content-Encoding: gzip\r\n", body.as_bytes()),
                "{body}"
            );
        }
        for body in [b"".as_slice(), b"\xef\xbb\xbf", b"x<"] {
            assert!(is_coded("Content-Encoding: gzip\r\n", body), "{body:?}");
        }
    }
}
