//! What is decoded to: a line of a request or an answer.

use std::borrow::Cow;

/// Which packet type is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// `http`, `http_bin`: a request line or a status line.
    Http,
    /// `httph`, `httph_bin`: a header line or the end of headers.
    Httph,
}

/// What is at the front of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// `{more, undefined}`
    More,
    /// `{ok, Packet, Rest}`
    Packet {
        /// The term.
        packet: Packet<'a>,
        /// Where the rest starts.
        consumed: usize,
    },
    /// `{error, invalid}`: the line is longer than allowed.
    Invalid,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `{http_request, Method, Uri, {Major, Minor}}`
    Request {
        /// An atom where it's known.
        method: Method<'a>,
        /// The request target.
        uri: Uri<'a>,
        /// `{0, 9}` where the line has none.
        version: (i32, i32),
    },
    /// `{http_response, {Major, Minor}, Status, Phrase}`
    Response {
        /// Major and minor.
        version: (i32, i32),
        /// The status code; 0 where there is none.
        status: i32,
        /// The reason phrase, maybe empty.
        phrase: &'a [u8],
    },
    /// `{http_header, Number, Name, RawName, Value}`
    Header {
        /// The number of a known name, 0 for all others.
        number: u8,
        /// The name in its canonical case, an atom where it's known.
        name: HeaderName<'a>,
        /// The name as it came.
        raw_name: &'a [u8],
        /// The value without the whitespace before it. Whitespace behind it is left, and so are the
        /// line ends of a folded value.
        value: &'a [u8],
    },
    /// `http_eoh`
    EndOfHeaders,
    /// `{http_error, Line}`
    Error(&'a [u8]),
}

/// A request's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    /// An atom.
    Known(&'static str),
    /// A binary (or a string).
    Other(&'a [u8]),
}

/// A request's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uri<'a> {
    /// `'*'`
    Asterisk,
    /// `{abs_path, Path}`
    AbsPath(&'a [u8]),
    /// `{absoluteURI, http | https, Host, Port | undefined, Path}`
    Absolute {
        /// http or https.
        scheme: Scheme,
        /// The host.
        host: &'a [u8],
        /// The port, if there is one.
        port: Option<i32>,
        /// `/` where there is none.
        path: &'a [u8],
    },
    /// `{scheme, Scheme, Rest}`: what precedes and follows the first colon.
    Scheme(&'a [u8], &'a [u8]),
    /// A plain binary (or string).
    Other(&'a [u8]),
}

/// The scheme of an absolute URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

/// A header's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderName<'a> {
    /// An atom.
    Known(&'static str),
    /// A binary (or a string) in canonical case; longer than 50 bytes, it's as it came.
    Other(Cow<'a, [u8]>),
}

/// The methods that are atoms.
pub const METHODS: [&str; 7] = ["OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE"];

/// The header names that are atoms. A name's number is its place, counted from 1.
pub const HEADERS: [&str; 52] = [
    "Cache-Control",
    "Connection",
    "Date",
    "Pragma",
    "Transfer-Encoding",
    "Upgrade",
    "Via",
    "Accept",
    "Accept-Charset",
    "Accept-Encoding",
    "Accept-Language",
    "Authorization",
    "From",
    "Host",
    "If-Modified-Since",
    "If-Match",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Max-Forwards",
    "Proxy-Authorization",
    "Range",
    "Referer",
    "User-Agent",
    "Age",
    "Location",
    "Proxy-Authenticate",
    "Public",
    "Retry-After",
    "Server",
    "Vary",
    "Warning",
    "Www-Authenticate",
    "Allow",
    "Content-Base",
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-Location",
    "Content-Md5",
    "Content-Range",
    "Content-Type",
    "Etag",
    "Expires",
    "Last-Modified",
    "Accept-Ranges",
    "Set-Cookie",
    "Set-Cookie2",
    "X-Forwarded-For",
    "Cookie",
    "Keep-Alive",
    "Proxy-Connection",
];

impl Packet<'_> {
    /// The kind that follows on a socket whose packet type is `http` or `http_bin`: headers follow a
    /// first line, a first line follows the end of headers, and an error changes nothing.
    pub fn next_kind(&self, current: PacketKind) -> PacketKind {
        match self {
            Self::Request { .. } | Self::Response { .. } | Self::Header { .. } => PacketKind::Httph,
            Self::EndOfHeaders => PacketKind::Http,
            Self::Error(_) => current,
        }
    }
}
