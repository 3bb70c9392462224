//! Bodies with a content coding (RFC 9110, section 8.4).

use megaphone_http::RequestHead;

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
