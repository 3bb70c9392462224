//! Why a request was refused, one named reason each.
//!
//! A refusal ends the connection: after bytes that two servers could read in two ways, nobody knows
//! where the next request starts. These are all refusals of this crate, and what each one prevents; a
//! field that none of them names refuses nobody, whatever it says.
//!
//! | refusals | what two servers would disagree about | RFC 9112 |
//! |---|---|---|
//! | `bare_lf`, `bare_cr`, `chunk_bare_lf`, `chunk_bare_cr` | where a line, and so a field or the head, ends | 2.2, 7.1 |
//! | `obs_fold` | whether a line is a field of its own or more of the one before | 5.2 |
//! | `space_before_colon`, `bad_header_name`, `missing_colon` | whether a field exists at all, and its name | 5.1 |
//! | `control_byte_in_value` | where a value ends (NUL, VT and FF end it for some) | 5.5 of RFC 9110 |
//! | `repeated_content_length`, `conflicting_content_length`, `bad_content_length`, `content_length_overflow` | how long the body is: first, last, joined or truncated number | 6.2, 6.3 |
//! | `content_length_with_transfer_encoding` | which of the two rules: the classic request smuggling | 6.1, 6.3 |
//! | `repeated_transfer_encoding`, `unknown_transfer_coding`, `transfer_encoding_in_http_10` | whether the body is chunked | 6.1 |
//! | `bad_chunk_size`, `chunk_size_overflow`, `missing_chunk_end`, `bad_chunk_extension`, `chunk_line_too_long` | where a chunk, and so the body, ends | 7.1 |
//! | `bad_trailer`, `trailers_too_large` | where a chunked body ends | 7.1.2 |
//! | `bad_method`, `bad_target`, `bad_version`, `malformed_head` | which words of the request line are which | 3 |
//! | `fragment_in_target`, `non_ascii_target`, `bad_escape` | which path is asked: whether it ends at `#`, which bytes it has | 3.2 |
//! | `missing_host`, `repeated_host`, `bad_host`, `host_disagrees`, `user_in_target` | which site is asked | 3.2, 3.2.2 |
//!
//! The others keep a client from costing too much (`head_too_large`, `too_many_headers`,
//! `too_many_empty_lines`, `chunk_extensions_too_large`, `chunked_body_too_large`) or tell it what it
//! reached (`unsupported_version`, `http2_preface`, `tls_handshake`, `incomplete`).
//!
//! ejabberd_http is more lenient with most of these, and so are other servers, each in its own way: that
//! is what a front that disagrees with what is behind it is attacked with. Clients that break these rules
//! are not known, but those that test servers for it.

use bytes::Bytes;

/// Why a request was refused. `Display` is one sentence for the client: what, where, what to do.
///
/// `at` is a byte offset: in the head, counted from the request line's first byte, or for the chunk
/// and trailer reasons in the body as it was sent, counted from its first byte.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are the same few everywhere: at, byte, name, limit.
pub enum RequestError {
    /// Two `Content-Length` fields with different values (RFC 9112, 6.3).
    #[error(
        "two Content-Length fields disagree, the second at byte {at} of the head; send exactly one"
    )]
    ConflictingContentLength { at: usize },
    /// The same `Content-Length` twice (RFC 9112, 6.3, allows to refuse it).
    #[error(
        "Content-Length is repeated at byte {at} of the head; send it exactly once even if the values agree"
    )]
    RepeatedContentLength { at: usize },
    /// `Content-Length` and `Transfer-Encoding` together (RFC 9112, 6.1).
    #[error(
        "Content-Length and Transfer-Encoding are both there, the latter at byte {at} of the head; send one of them"
    )]
    ContentLengthWithTransferEncoding { at: usize },
    /// `Content-Length` isn't decimal digits alone: a sign, a space, a list, hexadecimal, nothing.
    #[error(
        "Content-Length at byte {at} of the head is not a plain decimal number; send digits alone"
    )]
    BadContentLength { at: usize },
    /// `Content-Length` is past 2^64-1.
    #[error(
        "Content-Length at byte {at} of the head does not fit 64 bits; send a body that can exist"
    )]
    ContentLengthOverflow { at: usize },
    /// More than one `Transfer-Encoding` field, or `chunked` more than once in it (RFC 9112, 6.1).
    #[error("Transfer-Encoding is repeated at byte {at} of the head; send `chunked` exactly once")]
    RepeatedTransferEncoding { at: usize },
    /// A transfer coding other than `chunked` alone (RFC 9112, 6.1: 501).
    #[error(
        "the Transfer-Encoding at byte {at} of the head is not supported; send `chunked` alone, or a Content-Length"
    )]
    UnknownTransferCoding { at: usize },
    /// `Transfer-Encoding` in an HTTP/1.0 request (RFC 9112, 6.1: faulty framing).
    #[error(
        "HTTP/1.0 has no Transfer-Encoding (byte {at} of the head); send a Content-Length, or use HTTP/1.1"
    )]
    TransferEncodingInHttp10 { at: usize },

    /// A line of the head ends in LF without CR.
    #[error("a line feed without carriage return at byte {at} of the head; end lines with CR LF")]
    BareLf { at: usize },
    /// A CR that no LF follows.
    #[error(
        "a carriage return without line feed at byte {at} of the head; end lines with CR LF and send no other CR"
    )]
    BareCr { at: usize },
    /// A header line that starts with a space or tab (obsolete line folding).
    #[error(
        "the header line at byte {at} of the head starts with whitespace (line folding); send each field on one line"
    )]
    ObsFold { at: usize },
    /// Whitespace between a field's name and its colon.
    #[error("whitespace before the colon of header \"{name}\" at byte {at} of the head; remove it")]
    SpaceBeforeColon { name: String, at: usize },
    /// A header line without a colon.
    #[error("no colon in the header line at byte {at} of the head; send `Name: value`")]
    MissingColon { at: usize },
    /// A byte that is no token character in a field's name, or no name at all.
    #[error(
        "byte 0x{byte:02x} at byte {at} of the head can't be in a header name; use letters, digits and hyphens"
    )]
    BadHeaderName { byte: u8, at: usize },
    /// A control byte in a field's value.
    #[error(
        "control byte 0x{byte:02x} in the value of header \"{name}\" at byte {at} of the head; remove or encode it"
    )]
    ControlByteInValue { name: String, byte: u8, at: usize },

    /// The method isn't a token.
    #[error(
        "the method is not a token (byte {at} of the head); start with a method such as GET and one space"
    )]
    BadMethod { at: usize },
    /// The request target is missing, holds a byte that it can't, or isn't one of the four forms.
    #[error(
        "the request target is malformed at byte {at} of the head; send a path that starts with a slash and encode spaces and control bytes"
    )]
    BadTarget { at: usize },
    /// The request target has a fragment, which no target has (RFC 9112, 3.2).
    #[error(
        "the request target has a fragment at byte {at} of the head; send what stands before the #, or encode that as %23"
    )]
    FragmentInTarget { at: usize },
    /// The request target has a byte past ASCII.
    #[error(
        "byte 0x{byte:02x} at byte {at} of the head can't be in a request target; percent-encode it"
    )]
    NonAsciiTarget { byte: u8, at: usize },
    /// The request target names a user before its host (RFC 9110, 4.2.4).
    #[error(
        "the request target has a user name before the @ at byte {at} of the head; send the host and its port alone"
    )]
    UserInTarget { at: usize },
    /// A percent sign in the target's path isn't followed by two hexadecimal digits, or by 00.
    #[error(
        "the percent sign at byte {at} of the head does not encode a byte of a path; write it as %25"
    )]
    BadEscape { at: usize },
    /// What follows the target isn't an HTTP version.
    #[error(
        "no HTTP version at byte {at} of the head; end the request line with one space and HTTP/1.1"
    )]
    BadVersion { at: usize },
    /// A well-formed HTTP version other than 1.0 and 1.1 (505).
    #[error("HTTP version {major}.{minor} is not supported here; use HTTP/1.1")]
    UnsupportedVersion { major: u8, minor: u8 },
    /// The HTTP/2 connection preface with prior knowledge (505).
    #[error("HTTP/2 is not spoken on this port; please connect with HTTP/1.1")]
    Http2Preface,
    /// A TLS ClientHello where plain HTTP is expected.
    #[error("a TLS handshake came to a port for plain HTTP; use http:// or the port for https")]
    TlsHandshake,

    /// An HTTP/1.1 request without `Host` (RFC 9112, 3.2).
    #[error("the Host field is missing; HTTP/1.1 requires exactly one")]
    MissingHost,
    /// More than one `Host` field (RFC 9112, 3.2).
    #[error("Host is repeated at byte {at} of the head; send exactly one")]
    RepeatedHost { at: usize },
    /// `Host` isn't a host with an optional port (RFC 9112, 3.2).
    #[error(
        "the value of Host at byte {at} of the head is not a host and optional port; send HOST or HOST:PORT, an IPv6 address in brackets"
    )]
    BadHost { at: usize },
    /// An absolute-form target names another authority than `Host` (RFC 9112, 3.2.2).
    #[error(
        "Host at byte {at} of the head differs from the host in the request target; send the same in both"
    )]
    HostDisagrees { at: usize },

    /// The head is larger than [`Limits::max_head`](crate::Limits::max_head) (431).
    #[error("the request's head is larger than {limit} bytes; send fewer or shorter header fields")]
    HeadTooLarge { limit: usize },
    /// More than [`Limits::max_headers`](crate::Limits::max_headers) fields (431).
    #[error("the request has more than {limit} header fields; send fewer")]
    TooManyHeaders { limit: usize },
    /// Too many empty lines before a request line.
    #[error("more than {limit} empty lines before the request line; start with a method")]
    TooManyEmptyLines { limit: u8 },
    /// The head can't be read, though no rule above names why.
    #[error("the request's head is malformed; send HTTP/1.1 as in RFC 9112")]
    MalformedHead,

    /// A chunk's size isn't hexadecimal digits.
    #[error("the chunk size at byte {at} of the body is not hexadecimal; send digits alone")]
    BadChunkSize { at: u64 },
    /// A chunk's size has more than 16 digits or is past 2^64-1.
    #[error("the chunk size at byte {at} of the body does not fit 64 bits; send smaller chunks")]
    ChunkSizeOverflow { at: u64 },
    /// No CR LF after a chunk's data.
    #[error("no CR LF after the chunk data at byte {at} of the body; make size and data agree")]
    MissingChunkEnd { at: u64 },
    /// A control byte in a chunk extension.
    #[error("a control byte in the chunk extension at byte {at} of the body; send no extensions")]
    BadChunkExtension { at: u64 },
    /// A chunk's size line is too long.
    #[error(
        "the chunk size line at byte {at} of the body is longer than {limit} bytes; send no extensions"
    )]
    ChunkLineTooLong { at: u64, limit: u32 },
    /// All extensions of a body together are too large.
    #[error(
        "the chunk extensions up to byte {at} of the body are larger than {limit} bytes; send none"
    )]
    ChunkExtensionsTooLarge { at: u64, limit: u32 },
    /// A LF without CR in the chunk framing.
    #[error(
        "a line feed without carriage return at byte {at} of the chunked body; end lines with CR LF"
    )]
    ChunkBareLf { at: u64 },
    /// A CR without LF in the chunk framing.
    #[error(
        "a carriage return without line feed at byte {at} of the chunked body; end lines with CR LF"
    )]
    ChunkBareCr { at: u64 },
    /// A trailer line that is no header field.
    #[error(
        "the trailer field at byte {at} of the body is malformed; send `Name: value` or no trailers"
    )]
    BadTrailer { at: u64 },
    /// The trailer section is too large (431).
    #[error("the trailer fields are larger than {limit} bytes; send fewer or none")]
    TrailersTooLarge { limit: u32 },
    /// A chunked body past [`Limits::max_chunked_body`](crate::Limits::max_chunked_body) (413).
    #[error(
        "the chunked body is larger than {limit} bytes; send it with a Content-Length, or less of it"
    )]
    ChunkedBodyTooLarge { limit: u64 },

    /// The client ended its side inside a request (RFC 9112, section 8).
    #[error("the connection was half-closed in the middle of a request; send the whole request")]
    Incomplete,
}

impl RequestError {
    /// The status code of the answer: 400, 413, 431, 501 or 505.
    pub fn status(&self) -> u16 {
        match self {
            Self::ChunkedBodyTooLarge { .. } => 413,
            Self::HeadTooLarge { .. }
            | Self::TooManyHeaders { .. }
            | Self::TrailersTooLarge { .. } => 431,
            Self::UnknownTransferCoding { .. } => 501,
            Self::UnsupportedVersion { .. } | Self::Http2Preface => 505,
            _ => 400,
        }
    }

    /// The status code's reason phrase.
    pub fn reason_phrase(&self) -> &'static str {
        match self.status() {
            413 => "Content Too Large",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            505 => "HTTP Version Not Supported",
            _ => "Bad Request",
        }
    }

    /// The reason's name in snake case, for counters and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ConflictingContentLength { .. } => "conflicting_content_length",
            Self::RepeatedContentLength { .. } => "repeated_content_length",
            Self::ContentLengthWithTransferEncoding { .. } => {
                "content_length_with_transfer_encoding"
            }
            Self::BadContentLength { .. } => "bad_content_length",
            Self::ContentLengthOverflow { .. } => "content_length_overflow",
            Self::RepeatedTransferEncoding { .. } => "repeated_transfer_encoding",
            Self::UnknownTransferCoding { .. } => "unknown_transfer_coding",
            Self::TransferEncodingInHttp10 { .. } => "transfer_encoding_in_http_10",
            Self::BareLf { .. } => "bare_lf",
            Self::BareCr { .. } => "bare_cr",
            Self::ObsFold { .. } => "obs_fold",
            Self::SpaceBeforeColon { .. } => "space_before_colon",
            Self::MissingColon { .. } => "missing_colon",
            Self::BadHeaderName { .. } => "bad_header_name",
            Self::ControlByteInValue { .. } => "control_byte_in_value",
            Self::BadMethod { .. } => "bad_method",
            Self::BadTarget { .. } => "bad_target",
            Self::FragmentInTarget { .. } => "fragment_in_target",
            Self::NonAsciiTarget { .. } => "non_ascii_target",
            Self::UserInTarget { .. } => "user_in_target",
            Self::BadEscape { .. } => "bad_escape",
            Self::BadVersion { .. } => "bad_version",
            Self::UnsupportedVersion { .. } => "unsupported_version",
            Self::Http2Preface => "http2_preface",
            Self::TlsHandshake => "tls_handshake",
            Self::MissingHost => "missing_host",
            Self::RepeatedHost { .. } => "repeated_host",
            Self::BadHost { .. } => "bad_host",
            Self::HostDisagrees { .. } => "host_disagrees",
            Self::HeadTooLarge { .. } => "head_too_large",
            Self::TooManyHeaders { .. } => "too_many_headers",
            Self::TooManyEmptyLines { .. } => "too_many_empty_lines",
            Self::MalformedHead => "malformed_head",
            Self::BadChunkSize { .. } => "bad_chunk_size",
            Self::ChunkSizeOverflow { .. } => "chunk_size_overflow",
            Self::MissingChunkEnd { .. } => "missing_chunk_end",
            Self::BadChunkExtension { .. } => "bad_chunk_extension",
            Self::ChunkLineTooLong { .. } => "chunk_line_too_long",
            Self::ChunkExtensionsTooLarge { .. } => "chunk_extensions_too_large",
            Self::ChunkBareLf { .. } => "chunk_bare_lf",
            Self::ChunkBareCr { .. } => "chunk_bare_cr",
            Self::BadTrailer { .. } => "bad_trailer",
            Self::TrailersTooLarge { .. } => "trailers_too_large",
            Self::ChunkedBodyTooLarge { .. } => "chunked_body_too_large",
            Self::Incomplete => "incomplete",
        }
    }

    /// The whole answer for the client: status line, the `Display` text as a `text/plain` body, and
    /// `Connection: close`, since a refusal ends the connection.
    pub fn response(&self) -> Bytes {
        let text = self.to_string();
        let status = self.status();
        let reason = self.reason_phrase();
        let length = text.len() + 1;
        Bytes::from(format!(
            "HTTP/1.1 {status} {reason}\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\n\
             Connection: close\r\n\r\n{text}\n"
        ))
    }
}

/// A header's name for an error text: what came from outside is kept short.
pub(crate) fn shown(name: &[u8]) -> String {
    const LONGEST: usize = 64;
    let short = name.get(..LONGEST).unwrap_or(name);
    String::from_utf8_lossy(short).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_whole_and_carries_the_text() {
        let error = RequestError::SpaceBeforeColon {
            name: "Host".into(),
            at: 16,
        };
        let response = error.response();
        let text =
            "whitespace before the colon of header \"Host\" at byte 16 of the head; remove it\n";
        let expected = format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        );
        assert_eq!(response, expected.as_bytes());
    }

    #[test]
    fn each_status_has_its_phrase() {
        let rows = [
            (RequestError::MissingHost, 400, "Bad Request"),
            (
                RequestError::ChunkedBodyTooLarge { limit: 1 },
                413,
                "Content Too Large",
            ),
            (
                RequestError::HeadTooLarge { limit: 1 },
                431,
                "Request Header Fields Too Large",
            ),
            (
                RequestError::UnknownTransferCoding { at: 1 },
                501,
                "Not Implemented",
            ),
            (
                RequestError::Http2Preface,
                505,
                "HTTP Version Not Supported",
            ),
        ];
        for (error, status, phrase) in rows {
            assert_eq!(
                (error.status(), error.reason_phrase()),
                (status, phrase),
                "{}",
                error.name()
            );
        }
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(shown(&[b'a'; 500]).len(), 64);
    }
}
